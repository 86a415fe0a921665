//! Many runs on all cores.

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io, thread};

use madang_simulation::catalogue::{Encoding, Study};
use madang_simulation::measure::{Measured, measure};
use madang_simulation::{World, timeline};

use crate::chart;

/// One run of one study.
pub(crate) struct Run {
    pub(crate) plan: &'static str,
    pub(crate) encoding: Encoding,
    pub(crate) seed: u64,
    pub(crate) outcome: Outcome,
}

pub(crate) enum Outcome {
    Measured {
        measured: Measured,
        missed: Vec<String>,
    },
    /// The run stopped at a surprise, or a receiver complained; the story has been printed.
    Failed(Vec<String>),
}

impl Outcome {
    /// What was not reached.
    pub(crate) fn missed(&self) -> &[String] {
        let (Self::Measured { missed, .. } | Self::Failed(missed)) = self;
        missed
    }
}

impl Run {
    /// How to see it again.
    pub(crate) fn command(&self) -> String {
        let (plan, codec, seed) = (self.plan, self.encoding.name(), self.seed);
        format!("cargo xtask sim --plan {plan} --codec {codec} --seed {seed} --trace")
    }
}

/// Plays each study with each seed. Traces go to a directory, where there is one.
pub(crate) fn play(
    studies: &[(Encoding, Study)],
    seeds: RangeInclusive<u64>,
    trace: Option<&Path>,
) -> Vec<Run> {
    let jobs: Vec<(usize, u64)> = seeds
        .flat_map(|seed| (0..studies.len()).map(move |study| (study, seed)))
        .collect();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(jobs.len()) {
            scope.spawn(|| {
                while let Some(&(study, seed)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Some((encoding, chosen)) = studies.get(study) else {
                        break;
                    };
                    let outcome = play_one(*encoding, chosen, seed, trace);
                    let run = Run {
                        plan: chosen.name,
                        encoding: *encoding,
                        seed,
                        outcome,
                    };
                    if let Ok(mut done) = done.lock() {
                        done.push((study, seed, run));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(study, seed, _)| (*study, *seed));
    done.into_iter().map(|(_, _, run)| run).collect()
}

fn write_trace(world: &World, study: &Study, directory: &Path, name: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let viewer = world.seat(study.subject.viewer);
    let timeline = directory.join(format!("{name}.jsonl"));
    timeline::write(world, study.plan.steps(), viewer, &timeline)?;
    chart::write(world, study, &directory.join(format!("{name}.svg")))
}

fn play_one(encoding: Encoding, study: &Study, seed: u64, trace: Option<&Path>) -> Outcome {
    let mut outcome = Outcome::Failed(vec!["the run did not end".to_owned()]);
    let played = catch_unwind(AssertUnwindSafe(|| {
        study.plan.play(seed, &[study.subject.viewer], |world| {
            let complaints = world.complaints();
            let measured = measure(world, &study.subject);
            if let Some(directory) = trace {
                let name = format!("{}-{}-{seed}", study.name, encoding.name());
                match write_trace(world, study, directory, &name) {
                    Ok(()) => println!("wrote {}/{name}.jsonl and .svg", directory.display()),
                    Err(error) => println!("cannot write to {}: {error}", directory.display()),
                }
            }
            let mut missed = study.missed(&measured);
            missed.extend(complaints.into_iter().take(3));
            outcome = Outcome::Measured { measured, missed };
        });
    }));
    if played.is_err() {
        return Outcome::Failed(vec!["the run stopped at a surprise".to_owned()]);
    }
    outcome
}
