//! Log lines on standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::Layer;
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
        .with(layer.with_filter(settings.log.level.clone()))
        .try_init()
}
