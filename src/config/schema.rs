//! Which keys exist, what kind of value each holds, and which of them somebody probably meant.
//!
//! Read off the defaults, so that it cannot disagree with the sections of [`Config`].

use toml::Value;
use toml::de::DeValue;

use super::Config;

/// Environment variables start with this.
pub(super) const VARIABLE_PREFIX: &str = "CROSSPOINT_";

/// Likeness (0 to 1) from which a key is suggested. Larger: fewer suggestions; smaller: sillier ones.
const SUGGEST_FROM: f64 = 0.75;

/// All keys.
pub(super) struct Schema {
    keys: Vec<KnownKey>,
}

/// One key.
pub(super) struct KnownKey {
    pub(super) section: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    default: Value,
}

/// The kind of value a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Whole,
    List,
}

impl Schema {
    /// The keys of [`Config`].
    pub(super) fn new() -> Self {
        let sections = toml::Table::try_from(Config::default()).unwrap_or_default();
        let keys = sections.into_iter().flat_map(|(section, table)| {
            let Value::Table(table) = table else { return Vec::new() };
            let known = |(name, default): (String, Value)| {
                let kind = Kind::of_default(&default);
                KnownKey { section: section.clone(), name, kind, default }
            };
            table.into_iter().map(known).collect()
        });
        Self { keys: keys.collect() }
    }

    /// All keys, by section.
    pub(super) fn keys(&self) -> &[KnownKey] {
        &self.keys
    }

    /// The key `section.name`.
    pub(super) fn find(&self, path: &str) -> Option<&KnownKey> {
        self.keys.iter().find(|key| key.path() == path)
    }

    /// The names of the sections.
    pub(super) fn sections(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.keys.iter().map(|key| key.section.as_str()).collect();
        names.dedup();
        names
    }

    /// The names of a section's keys; empty when there is no such section.
    pub(super) fn names_in(&self, section: &str) -> Vec<&str> {
        self.keys.iter().filter(|key| key.section == section).map(|key| key.name.as_str()).collect()
    }

    /// What to say about a key that does not exist: what was probably meant, and what is allowed.
    pub(super) fn unknown(&self, path: &str) -> String {
        let meant = self.nearest(path).map(|key| format!("; did you mean `{}`?", key.path())).unwrap_or_default();
        let section = path.split_once('.').map_or("", |(section, _)| section);
        let allowed = match self.names_in(section) {
            names if names.is_empty() => format!("the sections are: {}", self.sections().join(", ")),
            names => format!("[{section}] has: {}", names.join(", ")),
        };
        format!("unknown key `{path}`{meant} ({allowed})")
    }

    /// The variable closest to a name that is none, and how many letters they differ by.
    pub(super) fn nearest_variable(&self, name: &str) -> Option<(usize, String)> {
        self.keys
            .iter()
            .map(|key| (strsim::damerau_levenshtein(&key.variable(), name), key.variable()))
            .min_by_key(|(letters, _)| *letters)
    }

    fn nearest(&self, path: &str) -> Option<&KnownKey> {
        // A key is often right but in the wrong section, or in none.
        let name = path.rsplit('.').next().unwrap_or(path);
        let likeness = |key: &KnownKey| {
            strsim::jaro_winkler(&key.path(), path)
                .max(strsim::jaro_winkler(&key.name, name))
                .max(if key.name == name { 1.0 } else { 0.0 })
        };
        self.keys
            .iter()
            .map(|key| (likeness(key), key))
            .filter(|(likeness, _)| *likeness >= SUGGEST_FROM)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, key)| key)
    }
}

impl KnownKey {
    /// `section.name`
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that sets it: `CROSSPOINT_SECTION_NAME`.
    pub(super) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// The default, as it is written in the file.
    pub(super) fn default_text(&self) -> String {
        self.default.to_string()
    }
}

impl Kind {
    /// The kind of a parsed value, if it is one that any key holds.
    pub(super) fn of(value: &DeValue<'_>) -> Option<Self> {
        match value {
            DeValue::String(_) => Some(Self::Text),
            DeValue::Integer(_) => Some(Self::Whole),
            DeValue::Array(_) => Some(Self::List),
            _ => None,
        }
    }

    /// For error texts.
    pub(super) fn described(self) -> &'static str {
        match self {
            Self::Text => "a text in quotes",
            Self::Whole => "a whole number without quotes",
            Self::List => "a list in brackets",
        }
    }

    fn of_default(value: &Value) -> Self {
        match value {
            Value::Integer(_) => Self::Whole,
            Value::Array(_) => Self::List,
            _ => Self::Text,
        }
    }
}
