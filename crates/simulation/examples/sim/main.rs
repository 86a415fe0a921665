//! Plays the studies of the simulation: one with a picture of it, many for a table, more and more to find a seed
//! that misses a target. `cargo xtask sim` runs it.
#![expect(
    clippy::print_stdout,
    reason = "a program that prints what it has found"
)]

mod batch;
mod chart;
mod table;
mod timeline;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// The first seed, or the only one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Writes a timeline of all packets, and a picture, of each run
    #[arg(long)]
    trace: bool,
    /// Prints medians and worst of all seeds as a table in Markdown, instead of each run
    #[arg(long)]
    table: bool,
    /// Goes on with new seeds until a run misses a target
    #[arg(long)]
    search: bool,
    /// Where timelines and pictures go
    #[arg(long, default_value = "target/sim")]
    directory: PathBuf,
}

/// Seeds that a search plays before it says how far it is.
const ROUND: u64 = 20;

fn main() -> ExitCode {
    let args = Args::parse();
    let studies = chosen(&args);
    let mut seeds = args.seed..=args.seed + args.seeds.saturating_sub(1);
    if args.search {
        loop {
            if let Some(run) = first_miss(&studies, seeds.clone()) {
                print_run(&run);
                println!("{}", run.command());
                return ExitCode::FAILURE;
            }
            println!(
                "seeds {} to {} reach every target",
                seeds.start(),
                seeds.end()
            );
            seeds = seeds.end() + 1..=seeds.end() + ROUND;
        }
    }
    let trace = args.trace.then_some(args.directory.as_path());
    let runs = batch::play(&studies, seeds.clone(), trace);
    if args.table {
        print!("{}", table::markdown(&runs, &seeds));
    } else {
        runs.iter().for_each(print_run);
    }
    if args.table || runs.iter().all(|run| run.outcome.missed().is_empty()) {
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

fn first_miss(studies: &[(Encoding, Study)], seeds: RangeInclusive<u64>) -> Option<Run> {
    let runs = batch::play(studies, seeds, None);
    runs.into_iter()
        .find(|run| !run.outcome.missed().is_empty())
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
