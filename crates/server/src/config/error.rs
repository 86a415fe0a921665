//! What can be wrong with a configuration, and where its values come from.

use std::fmt;
use std::path::PathBuf;

/// Who has set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => write!(f, "--{flag}"),
        }
    }
}

/// Why the program does not start.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The command line is wrong, or asks for help or the version.
    Usage(Box<clap::Error>),
    /// Everything that is wrong with the configuration.
    Config(Vec<ConfigError>),
}

/// One thing that is wrong with the configuration, and what to do about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{origin}: {key} = {text:?}: {problem}")]
    Value {
        origin: Origin,
        key: String,
        text: String,
        problem: String,
    },
    #[error("{origin}: there is no key {key}{}", suggestion.as_ref().map(|key| format!("; did you mean {key}?")).unwrap_or_default())]
    UnknownKey {
        origin: Origin,
        key: String,
        suggestion: Option<String>,
    },
    #[error("{origin}: {problem}")]
    Syntax { origin: Origin, problem: String },
    #[error("cannot read {}: {problem}", path.display())]
    Unreadable { path: PathBuf, problem: String },
    /// Values that are right alone and wrong together.
    #[error("{0}")]
    Together(String),
}
