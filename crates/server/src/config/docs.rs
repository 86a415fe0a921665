//! The configuration as text: the page of the documentation, and what `madang check-config` prints.

use std::fmt::Write;

use clap::Arg;

use super::error::Origin;
use super::load::{Loaded, allowed, flag, settings, variable};

const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from crates/server/src/config/settings.rs by `cargo xtask docs`. -->

Madang runs without any configuration. Every setting can be given in three ways, of which the first that is used wins:

1. a flag of the command line, `madang --media-port 9000`;
2. an environment variable, `MADANG_MEDIA_PORT=9000`; an empty one counts as not set;
3. a key of the TOML file, `port = 9000` in the section `[media]`. The file is the one that `--config` or `MADANG_CONFIG`
   names, else `madang.toml` in the working directory, else `/etc/madang/madang.toml`.

Lists are TOML arrays in the file, and separated by commas elsewhere. Unknown keys of the file are errors.
`madang check-config` prints every value with its origin, or everything that is wrong.

On Kubernetes set `enableServiceLinks: false`: a service named `madang-media` would else define `MADANG_MEDIA_PORT`.
";

/// The page of the documentation.
pub(crate) fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = None;
    for arg in settings() {
        let key = arg.get_id().as_str();
        let (its_section, name) = key
            .split_once('.')
            .map_or((None, key), |(section, name)| (Some(section), name));
        if its_section.is_some() && its_section.map(str::to_owned) != section {
            section = its_section.map(str::to_owned);
            let _ = write!(page, "\n## [{}]\n", its_section.unwrap_or_default());
        }
        let help = arg
            .get_long_help()
            .or_else(|| arg.get_help())
            .map(ToString::to_string)
            .unwrap_or_default();
        let _ = write!(
            page,
            "\n### {name}\n\n{}{}\n\nDefault {} · `--{} <{}>` · `{}`\n",
            sentence(&help),
            allowed(key)
                .map(|allowed| format!(" Allowed: {allowed}."))
                .unwrap_or_default(),
            default(&arg),
            flag(key),
            arg.get_value_names()
                .and_then(|names| names.first())
                .map(ToString::to_string)
                .unwrap_or_default(),
            variable(key),
        );
    }
    page
}

/// The whole configuration as TOML, with the origin of each value that is no default.
pub(crate) fn print(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut section = None;
    for value in &loaded.values {
        let (its_section, name) = value
            .key
            .split_once('.')
            .map_or((None, value.key.as_str()), |(section, name)| {
                (Some(section), name)
            });
        if its_section.is_some() && its_section != section {
            section = its_section;
            let _ = write!(text, "\n[{}]\n", its_section.unwrap_or_default());
        }
        let quoted: Vec<String> = value.texts.iter().map(|text| toml_value(text)).collect();
        let line = match (value.is_list, quoted.as_slice()) {
            (true, list) => format!("{name} = [{}]", list.join(", ")),
            (false, [one, ..]) => format!("{name} = {one}"),
            (false, []) => format!("# {name} is not set"),
        };
        let _ = if value.origin == Origin::Default {
            writeln!(text, "{line}")
        } else {
            writeln!(text, "{line:<40} # {}", value.origin)
        };
    }
    text
}

fn toml_value(text: &str) -> String {
    if text.parse::<i64>().is_ok() || text.parse::<bool>().is_ok() {
        return text.to_owned();
    }
    // A JSON string is a TOML basic string.
    serde_json::Value::from(text).to_string()
}

fn default(arg: &Arg) -> String {
    let values: Vec<String> = arg
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if values.is_empty() {
        "none".to_owned()
    } else {
        values.join(", ")
    }
}

/// clap leaves the last full stop of a first paragraph to whoever prints it.
fn sentence(help: &str) -> String {
    let (first, rest) = help.split_once("\n\n").unwrap_or((help, ""));
    format!("{}.\n\n{rest}", first.trim_end_matches('.'))
        .trim_end()
        .to_owned()
}
