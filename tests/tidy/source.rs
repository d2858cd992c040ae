//! A Rust file as the rules see it: its code with comments, literals and tests blanked out, and its functions.
//!
//! Not a parser: it knows comments, strings, characters and braces, which formatted code needs and nothing more.

use crate::tidy::repo::{File, Violation};

/// One analysed file.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
    /// The text, line by line, with comments and the insides of literals replaced by spaces.
    pub(crate) code: Vec<String>,
    /// Whether a line belongs to a test.
    test: Vec<bool>,
}

/// A function with a body: its name, the line of its `fn` (from 1), and how many lines it spans.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn of(file: &'a File) -> Self {
        let code: Vec<String> = mask(&file.text).split('\n').map(str::to_owned).collect();
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let test = if name == "tests.rs" || file.path.contains("/tests/") || file.path.starts_with("tests/") {
            vec![true; code.len()]
        } else {
            test_lines(&code)
        };
        Self { file, code, test }
    }

    /// Lines of code outside tests, with their numbers from 1.
    pub(crate) fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.code.iter().zip(&self.test).enumerate();
        lines.filter(|(_, (_, test))| !**test).map(|(index, (line, _))| (index + 1, line.as_str()))
    }

    /// How many lines are not tests, comments and blank lines included.
    pub(crate) fn production_lines(&self) -> usize {
        let lines = self.test.iter().filter(|test| !**test).count();
        if self.file.text.ends_with('\n') { lines.saturating_sub(1) } else { lines }
    }

    /// Functions outside tests.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (number, line) in self.production() {
            let Some(at) = word_position(line, "fn") else { continue };
            let name: String = line[at + 2..].trim_start().chars().take_while(|c| is_word(*c)).collect();
            if name.is_empty() {
                continue;
            }
            if let Some(last) = block_end(&self.code, number - 1, at) {
                found.push(Function { name, line: number, lines: last + 2 - number });
            }
        }
        found
    }

    pub(crate) fn violation(&self, line: usize, remedy: impl Into<String>) -> Violation {
        self.file.violation(line, remedy)
    }
}

/// Whether `word` stands in `line` with nothing of a name touching its ends.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    word_position(line, word).is_some()
}

fn word_position(line: &str, word: &str) -> Option<usize> {
    let starts_as_name = word.starts_with(is_word);
    let ends_as_name = word.ends_with(is_word);
    line.match_indices(word).map(|(at, _)| at).find(|at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !(starts_as_name && before.is_some_and(is_word) || ends_as_name && after.is_some_and(is_word))
    })
}

/// Whether a character can be part of a Rust name.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Marks the lines of items under `#[cfg(test)]`.
fn test_lines(code: &[String]) -> Vec<bool> {
    let mut test = vec![false; code.len()];
    let mut index = 0;
    while index < code.len() {
        let line = code[index].trim();
        if line == "#![cfg(test)]" {
            return vec![true; code.len()];
        }
        if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            let last = block_end(code, index, 0).unwrap_or(index);
            test[index..=last].fill(true);
            index = last;
        }
        index += 1;
    }
    test
}

/// The index of the line where the first block after a place ends; the line of the `;` where one comes first means
/// that there is no block. Brackets are followed so that `[u8; 4]` in a signature does not count.
fn block_end(code: &[String], line: usize, column: usize) -> Option<usize> {
    let (mut braces, mut others) = (0, 0);
    for (index, text) in code.iter().enumerate().skip(line) {
        let start = if index == line { column } else { 0 };
        for c in text[start..].chars() {
            match c {
                '(' | '[' => others += 1,
                ')' | ']' => others -= 1,
                '{' => braces += 1,
                '}' => {
                    braces -= 1;
                    if braces == 0 {
                        return Some(index);
                    }
                }
                ';' if braces == 0 && others == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

/// Replaces comments and the insides of literals by spaces, keeping every line break and column.
fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// Where the comment or literal that starts here ends; the same place where none starts.
fn literal_end(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    let after_name = at > 0 && is_word(chars[at - 1]);
    match rest {
        ['/', '/', ..] => at + rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => at + block_comment_length(rest),
        ['"', ..] => at + quoted_length(rest, '"'),
        ['b' | 'c', '"', ..] if !after_name => at + 1 + quoted_length(&rest[1..], '"'),
        ['b', '\'', ..] if !after_name => at + 1 + quoted_length(&rest[1..], '\''),
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => at + quoted_length(rest, '\''),
        ['r', '"' | '#', ..] if !after_name => at + raw_length(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !after_name => at + raw_length(rest, 2),
        _ => at,
    }
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_length(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of `r"..."`, `r#"..."#` and so on, or 0 where it is a raw name such as `r#type`.
fn raw_length(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    if rest.get(prefix + hashes) != Some(&'"') {
        return 0;
    }
    let mut at = prefix + hashes + 1;
    while at < rest.len() {
        let closes = rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    rest.len()
}

#[test]
fn comments_and_literals_are_blanked_and_code_stays_in_its_column() {
    let table = [
        ("a // b", "a     "),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"x\\\"y\", 'z', '\\'', b'q')", "f(      ,    ,     ,     )"),
        ("r#\"a\"b\"# + r#type", "         + r#type"),
        ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
    ];
    for (text, expected) in table {
        assert_eq!(mask(text), expected);
    }
}

#[test]
fn functions_are_measured_from_fn_to_closing_brace_and_tests_are_left_out() {
    let text =
        "fn a(x: [u8; 2]) {\n    {}\n}\ntrait T {\n    fn b(&self);\n}\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n";
    let file = File { path: "src/a.rs".into(), text: text.into() };
    let source = Source::of(&file);
    assert_eq!(source.functions(), [Function { name: "a".into(), line: 1, lines: 3 }]);
    assert_eq!(source.production_lines(), 6);
}
