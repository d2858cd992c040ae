//! Puts the sources on top of each other: defaults, file, environment, flags.
//!
//! Every value is tried alone first, so that each mistake is reported with its own place; then all of them together.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue, Deserializer};

use super::check;
use super::problem::{LoadError, Place, Problem};
use super::schema::{Kind, Schema};
use super::source::{self, File, Setting};
use super::{Config, Flags};

/// Names the configuration file when `--config` does not.
const FILE_VARIABLE: &str = "CROSSPOINT_CONFIG";

impl Config {
    /// Reads the file named by `--config` or `CROSSPOINT_CONFIG` (none: no file), then `environment`, then `flags`.
    ///
    /// # Errors
    /// The file cannot be read, or anything in any of the three is wrong; all of it is reported.
    pub fn load(flags: &Flags, environment: &[(String, String)]) -> Result<Self, LoadError> {
        let from_variable = || {
            let (_, path) = environment.iter().find(|(name, path)| name == FILE_VARIABLE && !path.is_empty())?;
            Some(PathBuf::from(path))
        };
        let Some(path) = flags.config.clone().or_else(from_variable) else {
            return Self::assemble(None, environment, flags);
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(LoadError::Unreadable { path, source }),
        };
        Self::assemble(Some(File { name: &path.to_string_lossy(), text: &text }), environment, flags)
    }

    /// [`Config::load`] with the file already read.
    pub(super) fn assemble(
        file: Option<File<'_>>,
        environment: &[(String, String)],
        flags: &Flags,
    ) -> Result<Self, LoadError> {
        let schema = Schema::new();
        let mut problems = Vec::new();
        let mut settings = Vec::new();
        if let Some(file) = file {
            settings.extend(source::from_file(&schema, file, &mut problems));
        }
        settings.extend(source::from_environment(&schema, environment, &mut problems));
        for (flag, path, value) in flags.settings() {
            settings.extend(source::from_flag(&schema, &flag, &path, value, &mut problems));
        }
        problems.extend(settings.iter().filter_map(|setting| wrong_alone(&schema, file, setting)));
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        if !problems.is_empty() {
            return Err(LoadError::Invalid(problems));
        }
        let places: BTreeMap<String, Place> =
            settings.iter().map(|setting| (setting.path(), setting.place.clone())).collect();
        let config =
            merge(settings).map_err(|error| LoadError::Invalid(vec![Problem::new(Place::Default, error.message())]))?;
        let problems = check::check(&config, flags.lan, &places);
        if problems.is_empty() { Ok(config) } else { Err(LoadError::Invalid(problems)) }
    }
}

/// What is wrong with a value whatever the others are.
fn wrong_alone(schema: &Schema, file: Option<File<'_>>, setting: &Setting<'_>) -> Option<Problem> {
    let path = setting.path();
    let key = schema.find(&path)?;
    if Kind::of(setting.value.get_ref()) != Some(key.kind) {
        let what = format!(
            "`{path}` must be {}, like the default: {} = {}",
            key.kind.described(),
            key.name,
            key.default_text()
        );
        return Some(Problem::new(setting.place.clone(), what));
    }
    let error = merge([setting.clone()]).err()?;
    let place = match (file, &setting.place) {
        (Some(file), Place::File { .. }) => file.place(error.span()),
        _ => setting.place.clone(),
    };
    Some(Problem::new(place, format!("`{path}`: {}", error.message())))
}

/// Later settings replace earlier ones; what is not set has its default.
fn merge<'i>(settings: impl IntoIterator<Item = Setting<'i>>) -> Result<Config, toml::de::Error> {
    let mut sections: BTreeMap<String, DeTable<'i>> = BTreeMap::new();
    for Setting { section, name, value, .. } in settings {
        let keys = sections.entry(section).or_default();
        keys.insert(Spanned::new(value.span(), DeString::Owned(name)), value);
    }
    let table = sections.into_iter().map(|(section, keys)| {
        (Spanned::new(0..0, DeString::Owned(section)), Spanned::new(0..0, DeValue::Table(keys)))
    });
    Config::deserialize(Deserializer::from(Spanned::new(0..0, table.collect::<DeTable<'i>>())))
}
