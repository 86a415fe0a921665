//! The committed numbers, and what is held against a change.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use super::Metric;
use crate::shell::Result;

/// Stands beside the program that it is about.
pub(super) const PATH: &str = "crates/simulation/examples/instructions/baseline.toml";

/// Runs differ by up to 2 % for hash maps, most by less than 0.5 %; a change next door that moves inlining, by more.
const WORSE_PERCENT: f64 = 5.0;
/// Allocations by timers, not by packets: a few more or less for each packet that happened to be counted.
const ALLOCATIONS_SLACK: f64 = 0.01;

/// What one unit of a metric costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Numbers {
    pub(super) instructions: f64,
    /// All of them, timers' included.
    pub(super) allocations: f64,
    /// Of the median call: 0 where only timers allocate.
    pub(super) typical: f64,
}

#[derive(Debug, Default)]
pub(super) struct Baseline {
    compiler: String,
    metrics: BTreeMap<String, Numbers>,
}

impl Baseline {
    pub(super) fn new(metrics: &[Metric], compiler: String) -> Self {
        let metrics = metrics
            .iter()
            .map(|metric| (metric.name.clone(), metric.numbers));
        Self {
            compiler,
            metrics: metrics.collect(),
        }
    }

    pub(super) fn read() -> Result<Self> {
        let text = fs::read_to_string(PATH).map_err(|error| {
            format!("cannot read {PATH}: {error}; `cargo xtask bench --bless` writes it")
        })?;
        Self::parse(&text)
    }

    pub(super) fn write(&self) -> Result<()> {
        fs::write(PATH, self.text()).map_err(|error| format!("cannot write {PATH}: {error}"))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut table: toml::Table = text.parse().map_err(|error| format!("{PATH}: {error}"))?;
        let compiler = table.remove("compiler");
        let compiler = compiler.as_ref().and_then(|compiler| compiler.as_str());
        let mut metrics = BTreeMap::new();
        for (name, numbers) in &table {
            let number = |key: &str| {
                let value = numbers.get(key).and_then(toml::Value::as_float);
                value.ok_or_else(|| format!("{PATH}: `{name}` has no `{key}`"))
            };
            let numbers = Numbers {
                instructions: number("instructions")?,
                allocations: number("allocations")?,
                typical: number("typical_allocations")?,
            };
            metrics.insert(name.clone(), numbers);
        }
        Ok(Self {
            compiler: compiler.unwrap_or_default().to_owned(),
            metrics,
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# What a shard's work costs. `cargo xtask bench --bless` writes this, by measuring.\n\
             compiler = \"{}\"\n",
            self.compiler
        );
        for (name, numbers) in &self.metrics {
            let _ = write!(
                text,
                "\n[\"{name}\"]\ninstructions = {:.1}\nallocations = {:.3}\ntypical_allocations = {:.1}\n",
                numbers.instructions, numbers.allocations, numbers.typical
            );
        }
        text
    }

    /// The numbers beside the baseline's.
    pub(super) fn table(&self, metrics: &[Metric]) -> String {
        let mut text = format!(
            "{:48}{:>13}{:>13}{:>9}{:>13}{:>10}{:>9}\n",
            "", "instructions", "baseline", "change", "allocations", "baseline", "typical"
        );
        for Metric { name, numbers } in metrics {
            let _ = write!(text, "{name:48}{:>13.1}", numbers.instructions);
            if let Some(before) = self.metrics.get(name) {
                let percent = change(before.instructions, numbers.instructions);
                let _ = write!(text, "{:>13.1}{percent:>+7.1} %", before.instructions);
                let _ = write!(
                    text,
                    "{:>13.3}{:>10.3}",
                    numbers.allocations, before.allocations
                );
            } else {
                let _ = write!(
                    text,
                    "{:>13}{:>9}{:>13.3}{:>10}",
                    "-", "-", numbers.allocations, "-"
                );
            }
            let _ = writeln!(text, "{:>9.0}", numbers.typical);
        }
        text
    }

    /// One line, with both numbers, for each metric that has got worse or cannot be compared.
    pub(super) fn problems(&self, metrics: &[Metric]) -> Vec<String> {
        let gone = self
            .metrics
            .keys()
            .filter(|name| !metrics.iter().any(|metric| metric.name == **name))
            .map(|name| format!("{name}: in the baseline, but not measured"));
        metrics
            .iter()
            .filter_map(|metric| self.problem(metric))
            .chain(gone)
            .collect()
    }

    fn problem(&self, Metric { name, numbers }: &Metric) -> Option<String> {
        let Some(before) = self.metrics.get(name) else {
            return Some(format!("{name}: measured, but not in the baseline"));
        };
        let allowed = |before: f64| before * (1.0 + WORSE_PERCENT / 100.0);
        let (what, now, then) = if numbers.instructions > allowed(before.instructions) {
            ("instructions", numbers.instructions, before.instructions)
        } else if numbers.typical > before.typical {
            (
                "allocations of a typical call",
                numbers.typical,
                before.typical,
            )
        } else if numbers.allocations > allowed(before.allocations) + ALLOCATIONS_SLACK {
            ("allocations", numbers.allocations, before.allocations)
        } else {
            return None;
        };
        let percent = change(then, now);
        Some(format!(
            "{name}: {now:.2} {what}, {then:.2} in the baseline ({percent:+.1} %)"
        ))
    }

    /// What to do about problems.
    pub(super) fn advice(&self, compiler: &str) -> String {
        let mut text = "if that is what it has to cost: cargo xtask bench --bless".to_owned();
        if compiler != self.compiler {
            let _ = write!(
                text,
                "\nthe baseline was compiled by {}, this by {compiler}",
                self.compiler
            );
        }
        text
    }
}

/// In percent.
fn change(before: f64, now: f64) -> f64 {
    if before > 0.0 {
        (now / before - 1.0) * 100.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, instructions: f64, allocations: f64, typical: f64) -> Vec<Metric> {
        vec![Metric {
            name: name.to_owned(),
            numbers: Numbers {
                instructions,
                allocations,
                typical,
            },
        }]
    }

    fn baseline() -> Baseline {
        Baseline::new(&one("forward", 1000.0, 0.5, 0.0), "rustc 1".to_owned())
    }

    #[test]
    fn more_than_5_percent_is_a_problem_with_both_numbers() {
        assert_eq!(
            baseline().problems(&one("forward", 1049.0, 0.5, 0.0)),
            Vec::<String>::new()
        );
        assert_eq!(
            baseline().problems(&one("forward", 1051.0, 0.5, 0.0)),
            ["forward: 1051.00 instructions, 1000.00 in the baseline (+5.1 %)"]
        );
        assert_eq!(
            baseline().problems(&one("forward", 500.0, 0.0, 0.0)),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_allocation_where_there_was_none_is_a_problem() {
        assert_eq!(
            baseline().problems(&one("forward", 1000.0, 0.5, 1.0)),
            ["forward: 1.00 allocations of a typical call, 0.00 in the baseline (+0.0 %)"]
        );
        assert_eq!(
            baseline().problems(&one("forward", 1000.0, 0.6, 0.0)).len(),
            1
        );
    }

    #[test]
    fn a_metric_that_is_new_or_gone_is_a_problem() {
        let problems = baseline().problems(&one("rewrite", 1.0, 0.0, 0.0));
        assert_eq!(
            problems,
            [
                "rewrite: measured, but not in the baseline",
                "forward: in the baseline, but not measured"
            ]
        );
    }

    #[test]
    fn what_is_written_can_be_read() {
        let read = Baseline::parse(&baseline().text()).unwrap();
        assert_eq!(read.metrics, baseline().metrics);
        assert!(!read.advice("rustc 1").contains("compiled by"));
        assert!(read.advice("rustc 2").contains("rustc 1, this by rustc 2"));
    }
}
