//! The files of a repository, real or made up for an example, and what is said about them.

use std::fs;
use std::path::Path;

use crate::tidy::source::Source;

/// What is never looked at: other people's files, build products, bytes.
const SKIPPED_NAMES: &[&str] =
    &[".git", "target", "node_modules", ".venv", "artefacts", "corpus", "Cargo.lock", "package-lock.json"];

/// What is read as text. Anything else only counts as a name.
const TEXT_ENDINGS: &[&str] =
    &["rs", "toml", "md", "js", "mjs", "ts", "css", "html", "svg", "json", "yml", "yaml", "py", "sh", "all", "run"];

/// All files, sorted by path.
pub(crate) struct Repo {
    pub(crate) files: Vec<File>,
}

/// One file: its path from the root with `/`, and its content (empty unless it is text).
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A place where a rule is broken and what to do about it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) path: String,
    /// From 1; 0 is the file as a whole.
    pub(crate) line: usize,
    pub(crate) remedy: String,
}

impl Repo {
    /// The repository these tests belong to: cargo starts a test in its package's directory.
    pub(crate) fn read() -> Self {
        let root = Path::new(".");
        let mut files = Vec::new();
        collect(root, root, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { files }
    }

    /// A repository of an example's files.
    pub(crate) fn of(example: &[(&str, &str)]) -> Self {
        let files = example.iter().map(|(path, text)| File { path: (*path).into(), text: (*text).into() }).collect();
        Self { files }
    }

    /// The Rust sources under a directory (`"src/"`), analysed.
    pub(crate) fn rust(&self, under: &str) -> impl Iterator<Item = Source<'_>> {
        self.text(&["rs"]).filter(move |file| file.path.starts_with(under)).map(Source::of)
    }

    /// The files with one of these endings.
    pub(crate) fn text(&self, endings: &[&str]) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| endings.contains(&file.ending()))
    }

    /// The file at this path.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a file or a directory has this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        let directory = format!("{}/", path.trim_end_matches('/'));
        self.files.iter().any(|file| file.path == path || file.path.starts_with(&directory))
    }
}

impl File {
    /// What follows the last dot of the name; the name itself where it has none.
    pub(crate) fn ending(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit('.').next().unwrap_or_default()
    }

    /// Lines with their numbers from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.split('\n').enumerate().map(|(index, line)| (index + 1, line))
    }

    pub(crate) fn violation(&self, line: usize, remedy: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, remedy: remedy.into() }
    }
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("the repository is readable") {
        let entry = entry.expect("the repository is readable");
        let name = entry.file_name();
        let name = name.to_str().expect("file names are UTF-8");
        if SKIPPED_NAMES.contains(&name) || name.ends_with(".log") {
            continue;
        }
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let relative = path.strip_prefix(root).expect("below the root").to_str().expect("file names are UTF-8");
        let mut file = File { path: relative.replace('\\', "/"), text: String::new() };
        if TEXT_ENDINGS.contains(&file.ending()) {
            file.text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", file.path));
        }
        files.push(file);
    }
}
