//! What ties files together: the top level, dependencies, links, metrics, the manual and the changelog.

use crate::Rule;
use crate::tidy::repo::{File, Repo, Violation};
use crate::tidy::source::is_word;

/// All that may stand at the top, beside names that begin with a dot and licences.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "web",
    "config",
    "loadtest",
    "tests",
    "README.md",
    "docker-compose.yml",
    "CHANGELOG.md",
];

/// Kinds of change in the changelog (keepachangelog.com).
const CHANGES: &[&str] = &["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// Every metric of ours begins with this.
const METRIC: &str = "crosspoint_";

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "top level",
        check: top_level,
        bad: &[&[("notes.md", "")], &[("scripts/run.sh", "")]],
        good: &[&[(".ci/run", ""), ("LICENSE-MIT", ""), ("src/lib.rs", ""), ("Cargo.toml", "")]],
    },
    Rule {
        name: "dependencies have reasons",
        check: unexplained_dependencies,
        bad: &[
            &[("Cargo.toml", "[workspace.dependencies]\n# A.\na = \"1\"\nb = \"2\"\n")],
            &[("loadtest/Cargo.toml", "[dependencies]\na = { version = \"1\" }\n")],
        ],
        good: &[&[("Cargo.toml", "[workspace.dependencies]\n# A.\na = \"1\"\n\n[dependencies]\na.workspace = true\n")]],
    },
    Rule {
        name: "links lead somewhere",
        check: broken_links,
        bad: &[
            &[("README.md", "See [it](src/NOTHING.md).")],
            &[("src/A.md", "Run `tests/nothing`.")],
            &[("src/A.md", "See [it](src/A.md).")],
        ],
        good: &[
            &[("src/A.md", "[a](A.md#part) [b](https://example.org) [c](#here) `src/`, `../tests/x`, `src/{a,b}.rs`")],
            &[("README.md", "```\n[a](nowhere)\n```\n")],
        ],
    },
    Rule {
        name: "every metric is in a dashboard",
        check: undrawn_metrics,
        bad: &[
            &[("src/a.rs", "f(\"crosspoint_rooms\")"), ("config/grafana/a.json", "")],
            &[("src/a.rs", ""), ("config/grafana/a.json", "sum(crosspoint_lost_total)")],
        ],
        good: &[
            &[("src/a.rs", "f(\"crosspoint_rooms\")"), ("config/grafana/a.json", "sum(crosspoint_rooms)")],
            &[("src/a.rs", "f(\"crosspoint_rtt\")"), ("config/grafana/a.json", "crosspoint_rtt_bucket")],
            &[("src/tests.rs", "f(\"crosspoint_x\")"), ("config/grafana/a.json", "")],
        ],
    },
    Rule {
        name: "every key of the manual has a reason",
        check: unexplained_keys,
        bad: &[&[("config/crosspoint.toml", "[http]\n# Where.\nlisten = 1\n\nother = 2\n")]],
        good: &[&[("config/crosspoint.toml", "# Head.\n\n[http]\n# Where.\n# listen = 1\n\n# Other.\nother = 2\n")]],
    },
    Rule {
        name: "changelog form",
        check: changelog_form,
        bad: &[
            &[("CHANGELOG.md", "# Changelog\n")],
            &[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n### News\n")],
            &[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n## 0.1.0\n")],
            &[("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- No full stop\n")],
        ],
        good: &[&[(
            "CHANGELOG.md",
            "# Changelog\n\nWhat.\n\n## [Unreleased]\n\n## [0.1.0] - 2026-11-22\n\n### Fixed\n\n- One,\n  and more.\n",
        )]],
    },
];

fn top_level(repo: &Repo) -> Vec<Violation> {
    let mut found: Vec<Violation> = Vec::new();
    for file in &repo.files {
        let name = file.path.split('/').next().unwrap_or_default();
        if name.starts_with('.') || name.starts_with("LICENSE-") || TOP_LEVEL.contains(&name) {
            continue;
        }
        found.push(file.violation(0, "the top level is fixed: find it a place inside one of the directories"));
    }
    found
}

fn unexplained_dependencies(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repo.text(&["toml"]).filter(|file| file.path.ends_with("Cargo.toml")) {
        let (mut section, mut previous) = ("", "");
        for (number, line) in file.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let entry = section.ends_with("dependencies]") && line.starts_with(is_word);
            let ours = line.contains("workspace = true") || line.contains("path = ");
            if entry && !ours && !previous.starts_with('#') && !line.contains(" # ") {
                found.push(file.violation(number, "say in the line above what it is for and why this one"));
            }
            previous = line;
        }
    }
    found
}

/// Links in Markdown, and paths in code font that begin at the top of the repository.
fn broken_links(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repo.text(&["md"]) {
        let mut fenced = false;
        for (number, line) in file.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            let links = between(line, "](", ")").into_iter().filter_map(|target| linked_path(file, target));
            let paths = between(line, "`", "`").into_iter().filter_map(rooted_path);
            for path in links.chain(paths).filter(|path| !repo.has(path)) {
                found.push(file.violation(number, format!("there is no `{path}` here")));
            }
        }
    }
    found
}

fn undrawn_metrics(repo: &Repo) -> Vec<Violation> {
    let dashboards: Vec<&File> = repo.text(&["json"]).filter(|file| file.path.starts_with("config/grafana/")).collect();
    let drawn: Vec<(&File, usize, String)> = dashboards
        .iter()
        .flat_map(|file| file.lines().map(move |(number, line)| (*file, number, line)))
        .flat_map(|(file, number, line)| metrics(line).into_iter().map(move |name| (file, number, name)))
        .collect();
    let mut made = Vec::new();
    let mut found = Vec::new();
    for source in repo.rust("src/") {
        let text: Vec<&str> = source.file.text.split('\n').collect();
        for (number, _) in source.production() {
            for name in quoted_metrics(text[number - 1]) {
                if !drawn.iter().any(|(_, _, drawn)| family(drawn) == name) {
                    let remedy = format!("draw `{name}` in config/grafana, or stop counting what nobody looks at");
                    found.push(source.violation(number, remedy));
                }
                made.push(name);
            }
        }
    }
    for (file, number, name) in &drawn {
        if !made.iter().any(|made| made == name || made == family(name)) {
            found.push(file.violation(*number, format!("the server has no `{name}`: the panel would stay empty")));
        }
    }
    found
}

/// In the manual a comment stands above each key, or above the first of a run of keys that belong together.
fn unexplained_keys(repo: &Repo) -> Vec<Violation> {
    let Some(file) = repo.file("config/crosspoint.toml") else { return Vec::new() };
    let mut found = Vec::new();
    let mut previous = "";
    for (number, line) in file.lines() {
        let is_key = |line: &str| {
            let line = line.trim_start_matches(['#', ' ']);
            line.split_once(" = ")
                .is_some_and(|(key, _)| !key.is_empty() && key.chars().all(|c| is_word(c) || c == '.'))
        };
        if is_key(line) && !previous.starts_with('#') && !is_key(previous) {
            found.push(file.violation(number, "say in the line above why somebody would change this key"));
        }
        previous = line;
    }
    found
}

fn changelog_form(repo: &Repo) -> Vec<Violation> {
    let Some(file) = repo.file("CHANGELOG.md") else { return Vec::new() };
    let mut found = Vec::new();
    let mut unreleased = false;
    let lines: Vec<&str> = file.text.split('\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1).copied().unwrap_or_default();
        let wrong = if let Some(version) = line.strip_prefix("## ") {
            unreleased |= version == "[Unreleased]";
            !is_version(version)
        } else if let Some(kind) = line.strip_prefix("### ") {
            !CHANGES.contains(&kind)
        } else {
            let bullet = line.starts_with("- ") || line.starts_with("  ");
            bullet && !next.starts_with("  ") && !line.ends_with('.')
        };
        if wrong {
            let remedy = "`## [version] - YYYY-MM-DD`, `### Added` and its kin, bullets that are sentences";
            found.push(file.violation(index + 1, remedy));
        }
    }
    if !unreleased {
        found.push(file.violation(0, "add `## [Unreleased]`: the next change has no place to be told"));
    }
    found
}

/// `[Unreleased]` or `[1.2.3] - 2026-11-22`.
fn is_version(text: &str) -> bool {
    let date = |text: &str| text.len() == 10 && text.chars().all(|c| c.is_ascii_digit() || c == '-');
    let number = |text: &str| text.starts_with('[') && text.ends_with(']') && text.matches('.').count() == 2;
    text == "[Unreleased]" || text.split_once(" - ").is_some_and(|(version, day)| number(version) && date(day))
}

/// The texts between an opening and the next closing mark.
fn between<'a>(line: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some((_, after)) = rest.split_once(open) {
        let Some((inside, behind)) = after.split_once(close) else { break };
        found.push(inside);
        rest = behind;
    }
    found
}

/// The path from the root that a relative link means.
fn linked_path(file: &File, target: &str) -> Option<String> {
    let target = target.split(['#', ' ']).next().unwrap_or_default();
    if target.is_empty() || target.contains(':') {
        return None;
    }
    let mut parts: Vec<&str> = file.path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// A path in code font that begins with one of our directories; patterns and commands are not paths.
fn rooted_path(text: &str) -> Option<String> {
    let (first, _) = text.split_once('/')?;
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    (TOP_LEVEL.contains(&first) && plain).then(|| text.trim_end_matches('/').to_owned())
}

fn metrics(line: &str) -> Vec<String> {
    let starts = line.match_indices(METRIC);
    starts.map(|(at, _)| line[at..].chars().take_while(|c| is_word(*c)).collect()).collect()
}

/// Metric names that are whole string literals.
fn quoted_metrics(line: &str) -> Vec<String> {
    let names =
        between(line, "\"", "\"").into_iter().filter(|text| text.starts_with(METRIC) && text.chars().all(is_word));
    names.map(str::to_owned).collect()
}

/// What a histogram's series are called after.
fn family(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}
