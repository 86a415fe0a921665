//! What a shard's work costs, in instructions and allocations, against a committed baseline.
//!
//! callgrind counts while the program `crates/simulation/examples/instructions` plays scenarios in virtual
//! time. Unlike times, these numbers are the same on a busy machine, so that 5 % is a finding.

mod baseline;

use std::{fs, thread};

use crate::{
    counts::Counts,
    packages,
    shell::{Cmd, Result, target},
    steps::Failure,
};
use baseline::{Baseline, Numbers};

/// Played side by side.
const SCENARIOS: [&str; 5] = ["broadcast", "audio", "views", "grid", "silence"];

/// Functions of the program: counted while it runs, and where one metric ends and the next begins.
const METERED: &str = "*instructions::meter::metered*";
const REPORT: &str = "*instructions::meter::report*";

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metric {
    name: String,
    numbers: Numbers,
}

/// The step of `cargo xtask test`.
pub(crate) fn run() -> std::result::Result<Counts, Failure> {
    let baseline = Baseline::read()?;
    let metrics = measure()?;
    print!("{}", baseline.table(&metrics));
    let problems = baseline.problems(&metrics);
    let failed = u32::try_from(problems.len()).unwrap_or(u32::MAX);
    let measured = u32::try_from(metrics.len()).unwrap_or(u32::MAX);
    let counts = Counts {
        passed: measured.saturating_sub(failed),
        failed,
    };
    if problems.is_empty() {
        return Ok(counts);
    }
    let advice = baseline.advice(&compiler()?);
    let why = format!("{}\n{advice}", problems.join("\n"));
    Err(Failure { counts, why })
}

/// `cargo xtask bench`: prints the table, and times beside it, which nothing goes by; makes it the baseline where `bless` says so.
pub(crate) fn bench(bless: bool) -> Result<()> {
    for need in [same_machine, packages::build, packages::valgrind] {
        need()?;
    }
    let metrics = measure()?;
    let before = Baseline::read().or_else(|why| {
        if bless {
            Ok(Baseline::default())
        } else {
            Err(why)
        }
    })?;
    print!("{}", before.table(&metrics));
    let program = format!("{}/release/examples/instructions", target());
    println!();
    print!("{}", Cmd::new(&program).arg("times").minutes(5).read()?);
    if bless {
        Baseline::new(&metrics, compiler()?).write()?;
        println!("wrote {}", baseline::PATH);
    }
    Ok(())
}

/// The cryptography picks its code by what the processor can do; callgrind knows the baseline's choice.
pub(crate) fn same_machine() -> Result<()> {
    #[cfg(target_arch = "x86_64")]
    let same = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq");
    #[cfg(not(target_arch = "x86_64"))]
    let same = false;
    same.then_some(())
        .ok_or_else(|| "instructions are counted on x86-64 with AVX2 and AES-NI only".to_owned())
}

fn compiler() -> Result<String> {
    Ok(Cmd::new("rustc --version").read()?.trim().to_owned())
}

fn measure() -> Result<Vec<Metric>> {
    Cmd::new("cargo build --release --package madang-simulation --example instructions").run()?;
    let counts = format!("{}/instructions", target());
    if fs::exists(&counts).unwrap_or(false) {
        fs::remove_dir_all(&counts).map_err(|error| format!("cannot empty {counts}: {error}"))?;
    }
    fs::create_dir_all(&counts).map_err(|error| format!("cannot make {counts}: {error}"))?;
    let paths = SCENARIOS.map(|name| (name, format!("{counts}/{name}")));
    let played: Vec<Result<Vec<Metric>>> = thread::scope(|scope| {
        let playing = paths
            .each_ref()
            .map(|(name, path)| scope.spawn(|| play(path, name)));
        let joined = playing.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|scenario| scenario.unwrap_or_else(|_| Err("a scenario panicked".to_owned())))
            .collect()
    });
    let mut metrics = Vec::new();
    for scenario in played {
        metrics.extend(scenario?);
    }
    Ok(metrics)
}

/// Plays one scenario; callgrind writes the count of its nth metric to `counts` with `.n` behind it.
fn play(counts: &str, name: &str) -> Result<Vec<Metric>> {
    let lines = Cmd::new("valgrind --tool=callgrind")
        .arg(format!("--toggle-collect={METERED}"))
        .arg(format!("--dump-before={REPORT}"))
        .arg(format!("--callgrind-out-file={counts}"))
        .arg(format!("{}/release/examples/instructions", target()))
        .arg(name)
        .minutes(10)
        .read()?;
    let read = |(number, line): (usize, &str)| {
        let path = format!("{counts}.{}", number + 1);
        let text =
            fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
        let total = total(&text).filter(|total| *total > 0.0);
        let total = total.ok_or_else(|| {
            format!("{path} has no count: does the program still have the functions {METERED} and {REPORT}?")
        })?;
        metric(line, total).ok_or_else(|| format!("{name}: `{line}` is no line of a metric"))
    };
    let metrics: Vec<Metric> = lines.lines().enumerate().map(read).collect::<Result<_>>()?;
    if metrics.is_empty() {
        return Err(format!("the scenario {name} has measured nothing"));
    }
    Ok(metrics)
}

/// The sum of a count, in instructions.
fn total(callgrind: &str) -> Option<f64> {
    let mut lines = callgrind.lines();
    lines
        .find_map(|line| line.strip_prefix("totals: "))?
        .trim()
        .parse()
        .ok()
}

/// Reads `units, allocations, allocations of a typical call, name`.
fn metric(line: &str, total: f64) -> Option<Metric> {
    let mut fields = line.split('\t');
    let mut number = || fields.next()?.parse::<f64>().ok();
    let (units, allocations, typical) = (number()?, number()?, number()?);
    let name = fields.next()?.to_owned();
    let numbers = Numbers {
        instructions: total / units,
        allocations: allocations / units,
        typical,
    };
    (units > 0.0).then_some(Metric { name, numbers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_its_count_become_a_metric() {
        let count = "events: Ir\nsummary: 3000\n\nfn=(1) main\n58 3000\ntotals: 3000\n";
        let metric = metric("60\t30\t0\tforward, per packet", total(count).unwrap()).unwrap();
        assert_eq!(metric.name, "forward, per packet");
        assert_eq!(
            metric.numbers,
            Numbers {
                instructions: 50.0,
                allocations: 0.5,
                typical: 0.0
            }
        );
    }

    #[test]
    fn nothing_measured_is_no_metric() {
        assert_eq!(metric("0\t0\t0\tforward, per packet", 3000.0), None);
        assert_eq!(metric("warning: x", 3000.0), None);
        assert_eq!(total("summary: 3000"), None);
    }
}
