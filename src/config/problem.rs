//! What is wrong with a configuration, and where: all of it at once, for the person who has to mend it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not there, or may not be read.
    #[error(
        "cannot read the configuration file {} (named by --config or CROSSPOINT_CONFIG; without, the defaults hold)",
        path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Keys or values are wrong: each of them, in the order file, environment, flags.
    #[error("the configuration cannot be used:\n{}", Lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub place: Place,
    /// What is wrong, and what is allowed.
    pub what: String,
}

/// Where a value was written. In the order in which one overrides the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: it is the default.
    Default,
    /// In the file.
    File {
        /// Its path, as it was given.
        name: String,
        /// Line, from 1.
        line: usize,
    },
    /// In this environment variable.
    Environment(String),
    /// By this flag.
    Flag(String),
}

impl Problem {
    pub(super) fn new(place: Place, what: impl Into<String>) -> Self {
        Self { place, what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Default => {}
            Place::File { name, line } => write!(f, "{name}:{line}: ")?,
            Place::Environment(name) | Place::Flag(name) => write!(f, "{name}: ")?,
        }
        f.write_str(&self.what)
    }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            write!(f, "{separator}  {problem}")?;
        }
        Ok(())
    }
}
