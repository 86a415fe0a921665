//! Log lines on standard error.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, Settings};

/// Sends all log lines of the process to standard error, as the configuration wants them.
///
/// # Errors
/// Where the process already logs.
pub(crate) fn install(settings: &Settings) -> Result<(), TryInitError> {
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    let layer = match settings.log.format {
        LogFormat::Human => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(settings.log.level.clone().and(harmless())))
        .try_init()
}

/// Whatever level is asked for: tungstenite's trace has whole messages, of which some bring tokens and secrets, and that of str0m's ICE
/// has passwords.
fn harmless() -> Targets {
    Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_target("tungstenite", LevelFilter::DEBUG)
        .with_target("is", LevelFilter::DEBUG)
}
