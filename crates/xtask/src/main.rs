//! Commands for people who work on Madang.
//!
//! `cargo xtask test` runs every check and test, `cargo xtask docs` writes the generated pages, `cargo xtask
//! bench` counts instructions, `cargo xtask sim` plays calls over bad networks, `cargo xtask mutations` shows that tests
//! can fail.
#![expect(
    clippy::print_stdout,
    reason = "printing is what a command for people does"
)]

mod architecture;
mod browser;
mod counts;
mod deploy;
mod docs;
mod instructions;
mod licences;
mod mutations;
mod packages;
mod rust;
mod shell;
mod sim;
mod steps;
mod tidy;

use std::{env, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand, builder::PossibleValuesParser};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Commands for people who work on Madang")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need, and run all of them, the cheapest first
    Test {
        /// Run only these steps
        #[arg(long, value_name = "STEP", value_delimiter = ',', value_parser = PossibleValuesParser::new(steps::names()))]
        only: Vec<String>,
        /// List the steps and stop
        #[arg(long)]
        list: bool,
    },
    /// Write the pages of docs/ that are generated from the code
    Docs,
    /// Measure real Chromium over bad networks, and print it beside the simulator's figures
    Chromium,
    /// Count the instructions and allocations of a shard's work, and print them beside the baseline
    Bench {
        /// Make what is measured the baseline
        #[arg(long)]
        bless: bool,
    },
    /// Switch off what keeps faults out, one after the other, and show that a test fails each time
    Mutations {
        /// Only those whose test has this in its name
        only: Option<String>,
    },
    /// Play calls over bad networks in virtual time: `cargo xtask sim --help` says what there is
    #[command(disable_help_flag = true)]
    Sim {
        /// What the program `crates/simulation/examples/sim` is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(error) = env::set_current_dir(repository()) {
        println!("cannot enter the repository: {error}");
        return ExitCode::FAILURE;
    }
    match cli.command {
        Command::Test { list: true, .. } => {
            steps::list();
            ExitCode::SUCCESS
        }
        Command::Test { only, .. } => steps::run(&only),
        Command::Chromium => finish(browser::chromium()),
        Command::Docs => finish(docs::write()),
        Command::Bench { bless } => finish(instructions::bench(bless)),
        Command::Mutations { only } => finish(mutations::run(only.as_deref())),
        Command::Sim { args } => finish(sim::run(args)),
    }
}

fn finish(result: shell::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository; every path in this crate is relative to it.
fn repository() -> PathBuf {
    let manifest =
        env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    PathBuf::from(manifest).join("../..")
}
