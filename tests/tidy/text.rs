//! How files look: what every editor should do and every reader may expect.

use crate::Rule;
use crate::tidy::repo::{File, Repo, Violation};

/// Columns of a line of code. Two files fit side by side on a screen.
const COLUMNS: usize = 120;

/// What a person writes and reads as code.
const CODE: &[&str] = &["rs", "js", "mjs", "css", "html", "py", "sh", "all", "run"];

/// All that is text.
const TEXT: &[&str] =
    &["rs", "js", "mjs", "ts", "css", "html", "py", "sh", "all", "run", "toml", "md", "json", "yml", "yaml", "svg"];

/// Words that promise work instead of doing it, in two parts so that this file does not contain them.
const PROMISES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "line width",
        check: |repo| {
            lines(repo, CODE, |file, line| {
                let columns = line.chars().count();
                let long = columns > COLUMNS && !line.contains("http");
                long.then(|| format!("{columns} columns, {COLUMNS} are allowed in {}", file.path))
            })
        },
        bad: &[&[("web/a.js", concat!("// ", "0123456789", ten!(ten!("01")), "0123456789"))]],
        good: &[&[("web/a.js", concat!("// ", ten!(ten!("ä")), "0123456789"))]],
    },
    Rule {
        name: "white space",
        check: |repo| {
            lines(repo, TEXT, |_, line| {
                let stray = line.ends_with([' ', '\t', '\r']) || line.contains('\t');
                stray.then(|| "no tabs, nothing after the last character, lines end in LF".to_owned())
            })
        },
        bad: &[&[("a.md", "text \n")], &[("src/a.rs", "\tlet")], &[("web/a.css", "a\r\n")]],
        good: &[&[("a.md", "text\n\n    code\n")]],
    },
    Rule {
        name: "promises",
        check: |repo| {
            lines(repo, TEXT, |_, line| {
                let promise = PROMISES.iter().find(|word| crate::tidy::source::has_word(line, word))?;
                Some(format!("{promise}: do it now, or file an issue; a comment is not a list of work"))
            })
        },
        bad: &[&[("src/a.rs", concat!("// TO", "DO: later"))]],
        good: &[&[("src/a.rs", concat!("// TO", "DOS is a name"))]],
    },
    Rule {
        name: "identities in the log",
        check: |repo| {
            lines(repo, CODE, |_, line| {
                let raw = line.contains(concat!("identity = ", "%"));
                raw.then(|| "clients choose theirs: logged as a string it is escaped and cannot forge lines".to_owned())
            })
        },
        bad: &[&[("src/a.rs", concat!("info!(identity = ", "%join.identity);"))]],
        good: &[&[("src/a.rs", "info!(identity = &*join.identity);")]],
    },
    Rule {
        name: "module documentation",
        check: undocumented_modules,
        bad: &[&[("src/a.rs", "use std::fs;\n\n//! Late.\n")], &[("loadtest/src/a.rs", "")]],
        good: &[&[("src/a.rs", "//! Does a thing.\n")], &[("src/lib.rs", "#![doc = include_str!(\"A.md\")]\n")]],
    },
    Rule {
        name: "exceptions have reasons",
        check: exceptions_without_reason,
        bad: &[&[("src/a.rs", "#[allow(dead_code)]\nfn f() {}")]],
        good: &[&[("src/a.rs", "#[expect(\n    clippy::x,\n    reason = \"y\"\n)]\nfn f() {}")]],
    },
    Rule {
        name: "last line",
        check: |repo| {
            let unfinished = repo.text(TEXT).filter(|file| !file.text.is_empty() && !ends_once(&file.text));
            unfinished.map(|file| file.violation(file.lines().count(), "end the file with one line break")).collect()
        },
        bad: &[&[("a.md", "text")], &[("a.md", "text\n\n")]],
        good: &[&[("a.md", "text\n")]],
    },
];

fn lines(repo: &Repo, endings: &[&str], check: fn(&File, &str) -> Option<String>) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repo.text(endings) {
        for (number, line) in file.lines() {
            found.extend(check(file, line).map(|remedy| file.violation(number, remedy)));
        }
    }
    found
}

fn undocumented_modules(repo: &Repo) -> Vec<Violation> {
    let documented = |file: &&File| file.text.starts_with("//! ") || file.text.starts_with("#![doc = ");
    let rust = repo.text(&["rs"]).filter(|file| !documented(file));
    rust.map(|file| file.violation(1, "begin with `//!`: what it does and what it deliberately does not do")).collect()
}

/// `#[allow]` and `#[expect]` say why, in the attribute.
fn exceptions_without_reason(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in repo.rust("") {
        for (index, line) in source.code.iter().enumerate() {
            let attribute = line.trim_start();
            if !["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|start| attribute.starts_with(start)) {
                continue;
            }
            let end = source.code[index..].iter().position(|line| line.contains(")]")).unwrap_or_default();
            if !source.code[index..=index + end].iter().any(|line| line.contains("reason")) {
                found.push(source.violation(index + 1, "add `reason = \"...\"`, or remove the cause"));
            }
        }
    }
    found
}

fn ends_once(text: &str) -> bool {
    text.ends_with('\n') && !text.ends_with("\n\n")
}
