//! The three places a value can come from, each read into [`Setting`]s: the file, the environment, the flags.
//!
//! One rule for the last two: the value is written as in the file, without quotes, and a list is separated by commas
//! (or written as in the file, in brackets).

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::problem::{Place, Problem};
use super::schema::{Kind, KnownKey, Schema, VARIABLE_PREFIX};

/// How many letters a variable may differ from one of ours and still be taken for a mistake. What differs more belongs
/// to somebody else: Kubernetes sets `CROSSPOINT_SERVICE_HOST` and the like for a service of that name.
const MISTYPED_LETTERS: usize = 2;

/// One value, and where it was written.
#[derive(Clone)]
pub(super) struct Setting<'i> {
    pub(super) section: String,
    pub(super) name: String,
    pub(super) value: Spanned<DeValue<'i>>,
    pub(super) place: Place,
}

impl Setting<'_> {
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// A configuration file's name and contents.
#[derive(Clone, Copy)]
pub(super) struct File<'i> {
    pub(super) name: &'i str,
    pub(super) text: &'i str,
}

impl File<'_> {
    /// The place of a byte range of the text.
    pub(super) fn place(&self, span: Option<Range<usize>>) -> Place {
        let start = span.map_or(0, |span| span.start);
        let before = self.text.get(..start).unwrap_or(self.text);
        Place::File { name: self.name.to_owned(), line: before.matches('\n').count() + 1 }
    }
}

/// Reads the file. A file that is not TOML yields only its syntax errors: the rest of it cannot be trusted.
pub(super) fn from_file<'i>(schema: &Schema, file: File<'i>, problems: &mut Vec<Problem>) -> Vec<Setting<'i>> {
    let (table, errors) = DeTable::parse_recoverable(file.text);
    if !errors.is_empty() {
        problems.extend(errors.iter().map(|error| Problem::new(file.place(error.span()), error.message())));
        return Vec::new();
    }
    let mut settings = Vec::new();
    for (section, contents) in table.into_inner() {
        let place = file.place(Some(section.span()));
        let DeValue::Table(keys) = contents.into_inner() else {
            let what = if schema.names_in(section.as_ref()).is_empty() {
                schema.unknown(section.as_ref())
            } else {
                format!("`{0}` is a section; write [{0}] on a line of its own", section.as_ref())
            };
            problems.push(Problem::new(place, what));
            continue;
        };
        if schema.names_in(section.as_ref()).is_empty() && keys.is_empty() {
            problems.push(Problem::new(place, schema.unknown(section.as_ref())));
        }
        for (name, value) in keys {
            let place = file.place(Some(name.span()));
            let path = format!("{}.{}", section.as_ref(), name.as_ref());
            match schema.find(&path) {
                Some(key) => settings.push(Setting::new(key, value, place)),
                None => problems.push(Problem::new(place, schema.unknown(&path))),
            }
        }
    }
    settings
}

/// Reads the variables that are ours. An empty one counts as not set: that is what compose files make of a variable
/// nobody set.
pub(super) fn from_environment<'i>(
    schema: &Schema,
    variables: &'i [(String, String)],
    problems: &mut Vec<Problem>,
) -> Vec<Setting<'i>> {
    let mut settings = Vec::new();
    for (variable, value) in variables.iter().filter(|(_, value)| !value.is_empty()) {
        let Some(ours) = variable.strip_prefix(VARIABLE_PREFIX) else { continue };
        let place = Place::Environment(variable.clone());
        if let Some(key) = schema.keys().iter().find(|key| key.variable() == *variable) {
            settings.extend(from_text(key, value, place, problems));
            continue;
        }
        let section = schema
            .sections()
            .into_iter()
            .find(|section| ours.strip_prefix(&section.to_ascii_uppercase()).is_some_and(|rest| rest.starts_with('_')));
        match (section, schema.nearest_variable(variable)) {
            (_, Some((letters, meant))) if letters <= MISTYPED_LETTERS => {
                problems.push(Problem::new(place, format!("unknown variable; did you mean {meant}?")));
            }
            (Some(section), _) => {
                let names = schema.names_in(section).join(", ");
                problems.push(Problem::new(place, format!("unknown variable ([{section}] has: {names})")));
            }
            _ => {}
        }
    }
    settings
}

/// Reads a key and its value as given by a flag.
pub(super) fn from_flag<'i>(
    schema: &Schema,
    flag: &str,
    path: &str,
    value: &'i str,
    problems: &mut Vec<Problem>,
) -> Option<Setting<'i>> {
    let place = Place::Flag(flag.to_owned());
    match schema.find(path) {
        Some(key) => from_text(key, value, place, problems),
        None => {
            problems.push(Problem::new(place, schema.unknown(path)));
            None
        }
    }
}

impl<'i> Setting<'i> {
    fn new(key: &KnownKey, value: Spanned<DeValue<'i>>, place: Place) -> Self {
        Self { section: key.section.clone(), name: key.name.clone(), value, place }
    }
}

fn from_text<'i>(key: &KnownKey, text: &'i str, place: Place, problems: &mut Vec<Problem>) -> Option<Setting<'i>> {
    let written = text.trim();
    let value = match key.kind {
        Kind::Text => unplaced(DeValue::String(DeString::Borrowed(text))),
        Kind::List if !written.starts_with('[') => unplaced(DeValue::Array(comma_separated(written))),
        Kind::List | Kind::Whole => match DeValue::parse(written) {
            Ok(value) => value,
            Err(_) => {
                problems.push(Problem::new(place, format!("`{}` must be {}", key.path(), expected_text(key.kind))));
                return None;
            }
        },
    };
    Some(Setting::new(key, value, place))
}

fn expected_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a text",
        Kind::Whole => "a whole number",
        Kind::List => "a list separated by commas, or one in brackets as in the file",
    }
}

fn comma_separated(text: &str) -> DeArray<'_> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| unplaced(DeValue::String(DeString::Borrowed(item)))).collect()
}

/// A value that stands in no file has no span; nothing looks at it.
fn unplaced(value: DeValue<'_>) -> Spanned<DeValue<'_>> {
    Spanned::new(0..0, value)
}
