//! Flags, environment and file become one configuration.
//!
//! The values of the environment and the file take the place of the flags' defaults, so that one parser reads all
//! four sources and gives them their precedence: flag, environment, file, default.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};

use super::error::{ConfigError, LoadError, Origin};
use super::file;
use super::values::shown;
use crate::cli::Cli;

/// Where the file is looked for when nobody names one.
const FILES: [&str; 2] = ["madang.toml", "/etc/madang/madang.toml"];

const PREFIX: &str = "MADANG_";

/// What a start of the program has been told.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) cli: Cli,
    /// Each setting in the order of the documentation.
    pub(crate) values: Vec<Value>,
    /// Environment variables that look like settings and are none.
    pub(crate) strangers: Vec<String>,
}

/// One setting as it stands, secrets replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) key: String,
    pub(crate) texts: Vec<String>,
    pub(crate) is_list: bool,
    pub(crate) origin: Origin,
}

struct Layer {
    key: String,
    texts: Vec<String>,
    origin: Origin,
}

/// Resolves the configuration from the arguments, the environment and the file.
pub(crate) fn load(
    arguments: &[OsString],
    environment: &BTreeMap<String, String>,
) -> Result<Loaded, LoadError> {
    let arguments_only = Cli::from_arg_matches(&matches(command(), arguments)?).map_err(usage)?;
    let path = arguments_only
        .config
        .or_else(|| environment.get("MADANG_CONFIG").map(PathBuf::from));
    let (mut layers, mut errors) = read_file(path);
    let (variables, strangers) = read_environment(environment);
    layers.extend(variables);
    let mut command = command();
    let mut origins = BTreeMap::new();
    for layer in layers {
        match check(&layer) {
            Err(error) => errors.push(error),
            Ok(()) => {
                command = command.mut_arg(&layer.key, |arg| arg.default_values(layer.texts));
                origins.insert(layer.key, layer.origin);
            }
        }
    }
    if !errors.is_empty() {
        return Err(LoadError::Config(errors));
    }
    let matches = matches(command, arguments)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(usage)?;
    cli.settings.resolve().map_err(LoadError::Config)?;
    Ok(Loaded {
        cli,
        values: values(&matches, &origins),
        strangers,
    })
}

/// The command with everything that follows from a setting's identifier.
pub(crate) fn command() -> clap::Command {
    let mut place = 0;
    Cli::command().mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        if !is_setting(&arg) {
            return arg;
        }
        place += 1;
        arg.long(flag(&id))
            .num_args(1)
            .display_order(place)
            .help_heading(id.split_once('.').map_or_else(
                || "Server".to_owned(),
                |(section, _)| format!("[{section}]"),
            ))
            .hide_short_help(id.starts_with("limits."))
    })
}

/// The settings, in the order of the documentation.
pub(crate) fn settings() -> Vec<Arg> {
    command()
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .cloned()
        .collect()
}

/// What a key accepts, as its error says it; `None` where it takes any text.
pub(crate) fn allowed(key: &str) -> Option<String> {
    let error = command()
        .try_get_matches_from(["madang", &format!("--{}=?", flag(key))])
        .err()?;
    Some(problem(&error).trim_start_matches("expected ").to_owned())
}

/// `media.port` as a flag, without its dashes: `media-port`.
pub(crate) fn flag(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

/// `media.port` as an environment variable: `MADANG_MEDIA_PORT`.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn is_setting(arg: &Arg) -> bool {
    !["config", "help", "version"].contains(&arg.get_id().as_str())
}

fn read_file(path: Option<PathBuf>) -> (Vec<Layer>, Vec<ConfigError>) {
    let Some(path) = path.or_else(|| FILES.iter().map(PathBuf::from).find(|path| path.exists()))
    else {
        return Default::default();
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            return (
                vec![],
                vec![ConfigError::Unreadable {
                    path,
                    problem: error.to_string(),
                }],
            );
        }
    };
    let keys: BTreeSet<String> = settings()
        .iter()
        .map(|arg| arg.get_id().to_string())
        .collect();
    let origin = |line| Origin::File {
        path: path.clone(),
        line,
    };
    let entries = match file::parse(&text, |key| keys.contains(key)) {
        Ok(entries) => entries,
        Err(error) => {
            return (
                vec![],
                vec![ConfigError::Syntax {
                    origin: origin(error.line),
                    problem: error.problem,
                }],
            );
        }
    };
    let (known, unknown): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| keys.contains(&entry.key));
    let layers = known
        .into_iter()
        .map(|entry| Layer {
            key: entry.key,
            texts: entry.texts,
            origin: origin(entry.line),
        })
        .collect();
    let errors = unknown
        .into_iter()
        .map(|entry| ConfigError::UnknownKey {
            origin: origin(entry.line),
            suggestion: nearest(&entry.key, &keys),
            key: entry.key,
        })
        .collect();
    (layers, errors)
}

/// The settings among the variables, and those that are none. An empty variable is as good as none. Variables
/// that Kubernetes makes for a service with our name are nobody's mistake.
fn read_environment(environment: &BTreeMap<String, String>) -> (Vec<Layer>, Vec<String>) {
    let keys: BTreeMap<String, Arg> = settings()
        .into_iter()
        .map(|arg| (variable(arg.get_id().as_str()), arg))
        .collect();
    let mut layers = Vec::new();
    let mut strangers = Vec::new();
    for (name, text) in environment
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
    {
        match keys.get(name) {
            Some(_) if text.is_empty() => {}
            Some(arg) => {
                let texts = match arg.get_value_delimiter() {
                    Some(delimiter) => text
                        .split(delimiter)
                        .map(|text| text.trim().to_owned())
                        .collect(),
                    None => vec![text.clone()],
                };
                layers.push(Layer {
                    key: arg.get_id().to_string(),
                    texts,
                    origin: Origin::Environment(name.clone()),
                });
            }
            None if name == "MADANG_CONFIG"
                || name.contains("_SERVICE_")
                || text.starts_with("tcp://") => {}
            None => strangers.push(name.clone()),
        }
    }
    (layers, strangers)
}

/// Reads the values of one layer as flags.
fn check(layer: &Layer) -> Result<(), ConfigError> {
    for text in &layer.texts {
        let argument = format!("--{}={text}", flag(&layer.key));
        if let Err(error) = command().try_get_matches_from(["madang", &argument]) {
            return Err(ConfigError::Value {
                origin: layer.origin.clone(),
                key: layer.key.clone(),
                text: shown(&layer.key, text),
                problem: problem(&error),
            });
        }
    }
    if layer.texts.len() > 1 && !is_list(&layer.key) {
        return Err(ConfigError::Value {
            origin: layer.origin.clone(),
            key: layer.key.clone(),
            text: layer.texts.join(", "),
            problem: "expected one value, not a list".to_owned(),
        });
    }
    Ok(())
}

fn is_list(key: &str) -> bool {
    settings()
        .iter()
        .any(|arg| arg.get_id() == key && arg.get_value_delimiter().is_some())
}

fn matches(command: clap::Command, arguments: &[OsString]) -> Result<ArgMatches, LoadError> {
    command.try_get_matches_from(arguments).map_err(usage)
}

/// Bad values of flags are told like those of the other sources; the rest is the command line's own affair.
fn usage(error: clap::Error) -> LoadError {
    if let (
        ErrorKind::ValueValidation | ErrorKind::InvalidValue,
        Some(ContextValue::String(named)),
    ) = (error.kind(), error.get(ContextKind::InvalidArg))
    {
        let flag_named = named
            .trim_start_matches('-')
            .split_whitespace()
            .next()
            .unwrap_or_default();
        let setting = settings()
            .into_iter()
            .find(|arg| arg.get_long() == Some(flag_named));
        if let (Some(arg), Some(ContextValue::String(text))) =
            (setting, error.get(ContextKind::InvalidValue))
        {
            let key = arg.get_id().to_string();
            return LoadError::Config(vec![ConfigError::Value {
                origin: Origin::Flag(flag_named.to_owned()),
                text: shown(&key, text),
                key,
                problem: problem(&error),
            }]);
        }
    }
    LoadError::Usage(Box::new(error))
}

fn problem(error: &clap::Error) -> String {
    use std::error::Error;
    match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(allowed))) => {
            format!("expected {}", allowed.join(" or "))
        }
        (None, _) => "expected a value".to_owned(),
    }
}

/// The known key that is most like `key`, if any is.
fn nearest(key: &str, keys: &BTreeSet<String>) -> Option<String> {
    let name = |key: &str| {
        key.rsplit_once('.')
            .map_or_else(|| key.to_owned(), |(_, name)| name.to_owned())
    };
    keys.iter()
        .map(|known| {
            // A key in the wrong section is as likely as a misspelt one.
            let whole = strsim::jaro_winkler(key, known);
            (
                whole.max(strsim::jaro_winkler(&name(key), &name(known))),
                whole,
                known,
            )
        })
        .filter(|(likeness, ..)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(.., known)| known.clone())
}

fn values(matches: &ArgMatches, origins: &BTreeMap<String, Origin>) -> Vec<Value> {
    settings()
        .iter()
        .map(|arg| {
            let key = arg.get_id().to_string();
            let origin = match matches.value_source(&key) {
                Some(ValueSource::CommandLine) => Origin::Flag(flag(&key)),
                _ => origins.get(&key).cloned().unwrap_or(Origin::Default),
            };
            let raw = matches.get_raw(&key).into_iter().flatten();
            let texts = raw
                .map(|text| shown(&key, &text.to_string_lossy()))
                .collect();
            Value {
                key,
                texts,
                is_list: arg.get_value_delimiter().is_some(),
                origin,
            }
        })
        .collect()
}
