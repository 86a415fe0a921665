//! `cargo xtask test`: the steps in order of cheapness, and the report at the end.

use std::{
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    architecture, browser, counts::Counts, deploy, instructions, licences, packages, rust,
    shell::Result, tidy,
};

/// Something that must be there before a step can run.
type Need = fn() -> Result<()>;

struct Step {
    name: &'static str,
    about: &'static str,
    needs: &'static [Need],
    run: fn() -> std::result::Result<Counts, Failure>,
}

/// Why a step did not pass.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) counts: Counts,
    pub(crate) why: String,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        let counts = Counts {
            passed: 0,
            failed: 1,
        };
        Self { counts, why }
    }
}

const STEPS: [Step; 11] = [
    Step {
        name: "fmt",
        about: "the code is formatted",
        needs: &[],
        run: rust::fmt,
    },
    Step {
        name: "tidy",
        about: "sizes, words, secrets, links, and documents that name what exists",
        needs: &[packages::git],
        run: tidy::run,
    },
    Step {
        name: "architecture",
        about: "who may depend on whom; the core depends on no socket and no runtime",
        needs: &[],
        run: architecture::run,
    },
    Step {
        name: "licences",
        about: "every dependency comes from crates.io under a licence that .deny.toml allows",
        needs: &[],
        run: licences::run,
    },
    Step {
        name: "types",
        about: "the browser client's types",
        needs: &[packages::web],
        run: browser::types,
    },
    Step {
        name: "clippy",
        about: "lints, warnings are errors",
        needs: &[packages::build],
        run: rust::clippy,
    },
    Step {
        name: "rust",
        about: "unit, property, simulation, integration and documentation tests",
        needs: &[packages::build],
        run: rust::tests,
    },
    Step {
        name: "deploy",
        about: "Kubernetes manifests, compose file, systemd unit and their configurations",
        needs: &[
            packages::build,
            packages::python,
            packages::kubectl,
            packages::systemd,
        ],
        run: deploy::manifests,
    },
    Step {
        name: "browser",
        about: "real browsers against the real server, in a network namespace",
        needs: &[
            packages::build,
            packages::web,
            packages::browsers,
            packages::stream_clients,
        ],
        run: browser::tests,
    },
    Step {
        name: "image",
        about: "the steps of the container image: release build, dependencies of the binary",
        needs: &[packages::build],
        run: deploy::image,
    },
    Step {
        name: "instructions",
        about: "what a shard's work costs, in instructions and allocations, against the baseline",
        needs: &[
            instructions::same_machine,
            packages::build,
            packages::valgrind,
        ],
        run: instructions::run,
    },
];

/// The steps' names, in the order in which they run.
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

pub(crate) fn list() {
    for step in &STEPS {
        println!("{:14}{}", step.name, step.about);
    }
}

/// Runs the steps named in `only`, or all, and prints a table of how it went.
pub(crate) fn run(only: &[String]) -> ExitCode {
    let mut report = Vec::new();
    for step in &STEPS {
        if only.is_empty() || only.iter().any(|name| name == step.name) {
            println!("\n=== {}: {} ===", step.name, step.about);
            let started = Instant::now();
            let outcome = run_step(step);
            if let Outcome::NotRun(why) = &outcome {
                println!("{why}");
            }
            report.push((step.name, outcome, started.elapsed()));
        }
    }
    // In CI a step that cannot run hides a defect, elsewhere it may be the machine.
    let strict = env::var("CI").is_ok_and(|value| value == "true");
    print_report(&report, strict)
}

enum Outcome {
    Passed(Counts),
    Failed(Failure),
    NotRun(String),
}

fn run_step(step: &Step) -> Outcome {
    for need in step.needs {
        if let Err(why) = need() {
            return Outcome::NotRun(why);
        }
    }
    match (step.run)() {
        Ok(counts) => Outcome::Passed(counts),
        Err(failure) => Outcome::Failed(failure),
    }
}

fn print_report(report: &[(&str, Outcome, Duration)], strict: bool) -> ExitCode {
    // Once more, where somebody who reads the end of a long log finds it.
    for (name, outcome, _) in report {
        if let Outcome::Failed(failure) = outcome {
            println!("\n=== what failed in {name} ===\n{}", failure.why);
        }
    }
    println!("\n=== summary ===");
    let mut total = Counts::default();
    let mut bad = Vec::new();
    for (name, outcome, time) in report {
        let (word, counts, why) = match outcome {
            Outcome::Passed(counts) => ("ok", *counts, ""),
            Outcome::Failed(failure) => ("FAILED", failure.counts, failure.why.as_str()),
            Outcome::NotRun(why) => {
                let failed = u32::from(strict);
                ("not run", Counts { passed: 0, failed }, why.as_str())
            }
        };
        total += counts;
        if counts.failed > 0 {
            bad.push(*name);
        }
        let why = why.lines().next().unwrap_or_default();
        println!(
            "{name:13} {word:8} {:4} passed {:3} failed {:6.1} s  {why}",
            counts.passed,
            counts.failed,
            time.as_secs_f32()
        );
    }
    if !bad.is_empty() {
        println!(
            "failed: {}; to repeat: cargo xtask test --only {}",
            bad.join(", "),
            bad.join(",")
        );
    }
    println!("tests: {} passed, {} failed", total.passed, total.failed);
    if bad.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_cannot_run_fails_the_run_in_ci_only() {
        let report = || {
            vec![(
                "x",
                Outcome::NotRun("no browser".to_owned()),
                Duration::ZERO,
            )]
        };
        assert_eq!(print_report(&report(), true), ExitCode::FAILURE);
        assert_eq!(print_report(&report(), false), ExitCode::SUCCESS);
    }

    #[test]
    fn a_need_that_is_not_met_keeps_the_step_from_running() {
        let step = Step {
            name: "x",
            about: "",
            needs: &[|| Err("no browser".to_owned())],
            run: || {
                Ok(Counts {
                    passed: 1,
                    failed: 0,
                })
            },
        };
        assert!(matches!(run_step(&step), Outcome::NotRun(why) if why == "no browser"));
    }
}
