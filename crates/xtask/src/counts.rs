//! Counting the tests that a runner reports.

use std::ops::AddAssign;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Reads the closing lines of cargo-nextest, cargo test, node's test runner and Python's unittest.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    counts: Counts,
}

impl Counter {
    /// Takes one line of a runner's output.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.words(rest, ';');
        } else if line.starts_with("Summary [") {
            self.words(line.split_once(':').map_or("", |(_, rest)| rest), ',');
        } else if let Some(rest) = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# ")) {
            match rest.split_once(' ') {
                Some(("pass", n)) => self.counts.passed += number(n),
                Some(("fail" | "cancelled", n)) => self.counts.failed += number(n),
                _ => {}
            }
        } else if let Some(rest) = line.strip_prefix("Ran ") {
            self.counts.passed += rest.split_once(" test").map_or(0, |(n, _)| number(n));
        } else if let Some(rest) = line.strip_prefix("FAILED (") {
            // unittest names only what went wrong: those are not among the passed.
            let failed = rest
                .trim_end_matches(')')
                .split(", ")
                .filter_map(|part| part.split_once('='))
                .filter(|(what, _)| matches!(*what, "failures" | "errors"))
                .map(|(_, n)| number(n))
                .sum();
            self.counts.failed += failed;
            self.counts.passed = self.counts.passed.saturating_sub(failed);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Adds up `12 passed, 1 failed, 1 timed out`, with anything before the number.
    fn words(&mut self, list: &str, separator: char) {
        for part in list.split(separator) {
            let mut words = part.split_whitespace().skip_while(|word| number(word) == 0);
            match (words.next().map(number), words.next()) {
                (Some(n), Some("passed")) => self.counts.passed += n,
                (Some(n), Some("failed" | "timed" | "exec")) => self.counts.failed += n,
                _ => {}
            }
        }
    }
}

fn number(text: &str) -> u32 {
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lines: &str) -> (u32, u32) {
        let mut counter = Counter::default();
        lines.lines().for_each(|line| counter.line(line));
        (counter.counts().passed, counter.counts().failed)
    }

    #[test]
    fn nextest() {
        let line = "     Summary [   0.311s] 15 tests run: 12 passed (2 slow), 2 failed, 1 timed out, 0 skipped";
        assert_eq!(count(line), (12, 3));
        assert_eq!(
            count("Summary [ 9.0s] 3/9 tests run: 2 passed, 1 failed"),
            (2, 1)
        );
    }

    #[test]
    fn cargo_test() {
        let lines = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\n\
                     test result: FAILED. 4 passed; 2 failed; 0 ignored";
        assert_eq!(count(lines), (7, 2));
    }

    #[test]
    fn node() {
        assert_eq!(
            count("ℹ tests 6\nℹ pass 4\nℹ fail 1\nℹ cancelled 1"),
            (4, 2)
        );
        assert_eq!(count("# tests 5\n# pass 5\n# fail 0"), (5, 0));
    }

    #[test]
    fn unittest() {
        assert_eq!(count("Ran 12 tests in 0.010s\n\nOK"), (12, 0));
        let failed = "Ran 12 tests in 0.010s\n\nFAILED (failures=1, errors=2, skipped=1)";
        assert_eq!(count(failed), (9, 3));
    }
}
