//! House rules as tests: what the design asks of every file, held without anybody having to remember it.
//!
//! Each rule is a function from the repository to what breaks it, with small examples that break it and that do not,
//! so that every rule is itself tested. The rules read text, not syntax trees: they assume `cargo fmt`, and where they
//! guess (indexing, walking a hash map) they guess in the way that formatted code makes reliable.
//!
//! Deliberately not here: what the compiler and clippy already refuse, and whether `config/crosspoint.toml` holds every
//! key, which the tests of `src/config.rs` know from the type itself.

/// A text ten times, for examples that are too long.
macro_rules! ten {
    ($text:expr) => {
        concat!($text, $text, $text, $text, $text, $text, $text, $text, $text, $text)
    };
}

mod tidy {
    pub(crate) mod levels;
    pub(crate) mod project;
    pub(crate) mod repo;
    pub(crate) mod size;
    pub(crate) mod source;
    pub(crate) mod text;
}

use tidy::repo::{Repo, Violation};
use tidy::{levels, project, size, text};

/// Files of a made-up repository: path and content.
type Example = &'static [(&'static str, &'static str)];

/// One house rule.
struct Rule {
    /// Said first in every message.
    name: &'static str,
    /// Finds what breaks it.
    check: fn(&Repo) -> Vec<Violation>,
    /// Repositories that break it, each in exactly one place.
    bad: &'static [Example],
    /// Repositories that look like breaking it and do not.
    good: &'static [Example],
}

fn rules() -> impl Iterator<Item = &'static Rule> {
    [levels::RULES, size::RULES, text::RULES, project::RULES].into_iter().flatten()
}

#[test]
fn the_repository_keeps_every_house_rule() {
    let repo = Repo::read();
    let mut report = String::new();
    for rule in rules() {
        for violation in (rule.check)(&repo) {
            report.push_str(&format!("{}:{}: {}: {}\n", violation.path, violation.line, rule.name, violation.remedy));
        }
    }
    assert!(report.is_empty(), "house rules are broken:\n{report}");
}

#[test]
fn every_rule_finds_each_of_its_bad_examples_once() {
    for rule in rules() {
        assert!(!rule.bad.is_empty(), "rule \"{}\" has no bad example: nothing shows that it can fail", rule.name);
        for (number, example) in rule.bad.iter().enumerate() {
            let found = (rule.check)(&Repo::of(example));
            assert_eq!(found.len(), 1, "rule \"{}\", bad example {number}: {found:?}", rule.name);
        }
    }
}

#[test]
fn no_rule_objects_to_its_good_examples() {
    for rule in rules() {
        for (number, example) in rule.good.iter().enumerate() {
            let found = (rule.check)(&Repo::of(example));
            assert!(found.is_empty(), "rule \"{}\", good example {number}: {found:?}", rule.name);
        }
    }
}
