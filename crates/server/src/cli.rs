//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};
use humantime::Duration;

use crate::config::{Settings, duration};
use crate::plan::{Question, Results};

/// Madang: group calls from the browser, through one server
#[derive(Debug, Parser)]
#[command(
    name = "madang",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    args_override_self = true,
    after_help = "Without a command the server runs. Every option is also an environment variable and a key of the \
                  file: --media-port is MADANG_MEDIA_PORT and `port` in the section [media]. A flag wins over the \
                  environment, the environment over the file.\n\n\
                  The section [limits] is left out here: `madang check-config` shows it, docs/configuration.md explains it."
)]
pub(crate) struct Cli {
    /// Configuration file; else ./madang.toml or /etc/madang/madang.toml, where there is one
    #[arg(long, short, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,

    /// Print help
    #[arg(long, short, action = ArgAction::HelpShort, global = true)]
    help: Option<bool>,

    #[command(flatten)]
    pub(crate) settings: Settings,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the configuration with the origin of each value, or what is wrong with it
    CheckConfig,
    /// Print an access token, signed with a configured key
    Token(Token),
    /// Print what calls need: cores, memory, bandwidth, servers
    Plan(Question),
    /// Print the costs that `plan` reckons with, from result files of the load generator
    #[command(hide = true)]
    FitCosts(Results),
    /// Print a page of the documentation
    #[command(hide = true)]
    Docs {
        #[arg(value_enum)]
        page: Page,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Room that the token opens
    #[arg(long)]
    pub(crate) room: String,
    /// Who the participant is; joining twice with one identity ends the older session
    #[arg(long)]
    pub(crate) identity: String,
    /// Name that others see
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Allow to remove and mute others, to lock and to end the room
    #[arg(long)]
    pub(crate) admin: bool,
    /// How long the token is good for joining
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// Id of the key that signs; else the first one
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
}

/// A page that is generated from the source.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Page {
    Configuration,
    Metrics,
}
