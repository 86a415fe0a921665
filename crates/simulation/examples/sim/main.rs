//! Plays the studies of the simulation: one with a picture of it, many for a table, more and more to find a seed
//! that misses a target. `cargo xtask sim` runs it.
#![expect(
    clippy::print_stdout,
    reason = "a program that prints what it has found"
)]

mod batch;
mod chart;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use clap::builder::PossibleValuesParser;
use madang_simulation::catalogue::{self, Encoding, Study};

use batch::{Outcome, Run};

#[derive(Parser)]
#[command(
    name = "cargo xtask sim",
    about = "Calls over bad networks in virtual time: all plans and codecs, or those that are named"
)]
struct Args {
    /// Plays only this plan
    #[arg(long, value_parser = PossibleValuesParser::new(names()))]
    plan: Option<String>,
    /// Plays only cameras that encode so
    #[arg(long, value_parser = PossibleValuesParser::new(Encoding::ALL.map(Encoding::name)))]
    codec: Option<String>,
    /// The first seed, or the only one: 1, and in a search one that nobody has played yet
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds. A plan runs on one worker with odd ones, on three with even ones
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Writes a timeline of all packets, and a picture, of each run
    #[arg(long)]
    trace: bool,
    /// Prints medians and worst of all seeds as a table in Markdown, instead of each run
    #[arg(long)]
    table: bool,
    /// Goes on with new seeds for so many minutes, and says which runs have missed a target
    #[arg(long, value_name = "MINUTES", num_args = 0..=1, default_missing_value = "10", conflicts_with_all = ["seeds", "table"])]
    search: Option<u64>,
    /// Where timelines and pictures go
    #[arg(long, default_value = "target/sim")]
    directory: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let studies = chosen(&args);
    let trace = args.trace.then_some(args.directory.as_path());
    if let Some(minutes) = args.search {
        let missed = search(&studies, args.seed.unwrap_or_else(new_seed), minutes, trace);
        return exit_code(missed == 0);
    }
    let first = args.seed.unwrap_or(1);
    let seeds = first..=first + args.seeds.saturating_sub(1);
    let runs = batch::play(&studies, seeds.clone(), trace);
    if args.table {
        print!("{}", table::markdown(&runs, &seeds));
    } else {
        runs.iter().for_each(print_run);
    }
    exit_code(args.table || runs.iter().all(|run| run.outcome.missed().is_empty()))
}

fn exit_code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn names() -> Vec<&'static str> {
    let studies = catalogue::studies(Encoding::Vp8Simulcast);
    studies.iter().map(|study| study.name).collect()
}

fn chosen(args: &Args) -> Vec<(Encoding, Study)> {
    let encodings = Encoding::ALL.into_iter();
    let encodings = encodings.filter(|encoding| {
        args.codec
            .as_deref()
            .is_none_or(|name| name == encoding.name())
    });
    let studies = encodings.flat_map(|encoding| {
        let studies = catalogue::studies(encoding).into_iter();
        studies.map(move |study| (encoding, study))
    });
    studies
        .filter(|(_, study)| args.plan.as_deref().is_none_or(|name| name == study.name))
        .collect()
}

/// Plays one seed after the other. What is missed is said at once, and how to see it again. How many runs missed a target.
fn search(studies: &[(Encoding, Study)], first: u64, minutes: u64, trace: Option<&Path>) -> usize {
    let began = Instant::now();
    let (mut played, mut missed) = (0, 0);
    for seed in first.. {
        let runs = batch::play(studies, seed..=seed, trace);
        played += runs.len();
        for run in runs.iter().filter(|run| !run.outcome.missed().is_empty()) {
            missed += 1;
            print_run(run);
            println!("  {}", run.command());
        }
        if began.elapsed() >= Duration::from_secs(60 * minutes) {
            println!("seeds {first} to {seed}: {missed} of {played} runs missed a target");
            break;
        }
    }
    missed
}

/// A search begins somewhere else each time: at the seconds of the clock.
fn new_seed() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs())
}

fn print_run(run: &Run) {
    println!("{} {} seed {}", run.plan, run.encoding.name(), run.seed);
    match &run.outcome {
        Outcome::Measured { measured, missed } => {
            println!("  {}", table::line(measured));
            missed
                .iter()
                .for_each(|missed| println!("  MISSED {missed}"));
        }
        Outcome::Failed(_) => println!("  FAILED, see above"),
    }
}
