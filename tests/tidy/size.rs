//! How long things may be. In every media server measured the tail is where they rot: the participant object and the
//! per-subscriber video object grew to thousands of lines.

use crate::Rule;
use crate::tidy::repo::{Repo, Violation};
use crate::tidy::source::Source;

/// Lines of a function, from `fn` to its closing brace. One screen.
const FUNCTION_LINES: usize = 70;

/// Lines of a file, tests aside. What one can still find one's way in.
const FILE_LINES: usize = 500;

pub(crate) const RULES: &[Rule] = &[
    Rule {
        name: "function length",
        check: |repo| production_sources(repo, long_functions),
        bad: &[&[("src/a.rs", LONG_FUNCTION)]],
        good: &[&[("src/tests.rs", LONG_FUNCTION)]],
    },
    Rule {
        name: "file length",
        check: |repo| production_sources(repo, long_file),
        bad: &[&[("loadtest/src/a.rs", LONG_FILE)]],
        good: &[&[("src/a/tests.rs", LONG_FILE)], &[("src/a.rs", LONG_TESTS)]],
    },
];

fn production_sources(repo: &Repo, check: fn(&Source<'_>) -> Vec<Violation>) -> Vec<Violation> {
    repo.rust("src/").chain(repo.rust("loadtest/")).flat_map(|source| check(&source)).collect()
}

fn long_functions(source: &Source<'_>) -> Vec<Violation> {
    let long = source.functions().into_iter().filter(|function| function.lines > FUNCTION_LINES);
    long.map(|function| {
        let remedy = format!(
            "`{}` has {} lines, {FUNCTION_LINES} are allowed: keep the branches here and move what they do into \
             named functions",
            function.name, function.lines
        );
        source.violation(function.line, remedy)
    })
    .collect()
}

fn long_file(source: &Source<'_>) -> Vec<Violation> {
    let lines = source.production_lines();
    if lines <= FILE_LINES {
        return Vec::new();
    }
    let remedy = format!("{lines} lines without tests, {FILE_LINES} are allowed: which of its nouns can stand alone?");
    vec![source.violation(0, remedy)]
}

const LONG_FUNCTION: &str = concat!("//! A.\nfn a() {\n", ten!(ten!("b();\n")), "}\n");
const LONG_FILE: &str = concat!("//! A.\n", ten!(ten!("// b\n// b\n// b\n// b\n// b\n")), "// c\n");
const LONG_TESTS: &str = concat!("//! A.\n#[cfg(test)]\nmod tests {\n", ten!(ten!(ten!("// b\n"))), "}\n");
