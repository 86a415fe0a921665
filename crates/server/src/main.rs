//! The `madang` binary: configuration, wiring, telemetry and shutdown. No logic of its own.

mod cli;
mod config;
mod http;
mod plan;
mod run;
mod telemetry;
mod token;
mod wiring;

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use cli::{Command, Page};
use config::LoadError;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let environment: BTreeMap<String, String> = env::vars_os()
        .filter_map(|(name, text)| {
            Some((
                name.into_string().ok()?,
                text.to_string_lossy().into_owned(),
            ))
        })
        .collect();
    let loaded = match config::load(&arguments, &environment) {
        Ok(loaded) => loaded,
        Err(LoadError::Usage(message)) => {
            // Without a place to print to there is nobody to tell.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
        Err(LoadError::Config(errors)) => return fail(errors),
    };
    let settings = &loaded.cli.settings;
    match &loaded.cli.command {
        None => run::run(settings, &loaded.strangers).unwrap_or_else(|error| fail([error])),
        Some(Command::CheckConfig) => {
            for stranger in &loaded.strangers {
                let _ = writeln!(
                    io::stderr(),
                    "warning: the environment variable {stranger} is no setting"
                );
            }
            print(&config::print(&loaded))
        }
        Some(Command::Token(request)) => match token::sign(settings, request) {
            Ok(token) => print(&format!("{token}\n")),
            Err(error) => fail([error]),
        },
        Some(Command::Plan(question)) => match plan::answer(question) {
            Ok(text) => print(&text),
            Err(error) => fail([error]),
        },
        Some(Command::FitCosts(results)) => match plan::fitted(&results.files) {
            Ok(text) => print(&text),
            Err(error) => fail([error]),
        },
        Some(Command::Docs {
            page: Page::Configuration,
        }) => print(&config::markdown()),
        Some(Command::Docs {
            page: Page::Metrics,
        }) => print(&telemetry::metrics::markdown()),
    }
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail<E: std::fmt::Display>(errors: impl IntoIterator<Item = E>) -> ExitCode {
    for error in errors {
        let _ = writeln!(io::stderr(), "error: {error}");
    }
    ExitCode::FAILURE
}
