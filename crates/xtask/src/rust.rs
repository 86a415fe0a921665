//! The steps that cargo does: formatting, lints, tests.

use crate::{
    counts::Counts,
    shell::{self, Cmd, on_path, target},
    steps::Failure,
};

/// One check that is not a test runner counts as one test.
pub(crate) const ONE: Counts = Counts {
    passed: 1,
    failed: 0,
};

pub(crate) fn fmt() -> Result<Counts, Failure> {
    Cmd::new("cargo fmt --all --check").run()?;
    Ok(ONE)
}

pub(crate) fn clippy() -> Result<Counts, Failure> {
    Cmd::new("cargo clippy --workspace --all-targets -- -D warnings").run()?;
    Ok(ONE)
}

/// Everything in the workspace that is a Rust test, with cargo-nextest where it is installed.
pub(crate) fn tests() -> Result<Counts, Failure> {
    let runner = if on_path("cargo-nextest") {
        "cargo nextest run --workspace --no-fail-fast --status-level fail --failure-output immediate-final"
    } else {
        "cargo test --workspace --no-fail-fast --lib --bins --tests"
    };
    let doc_tests = Cmd::new("cargo test --workspace --no-fail-fast --doc");
    counted([Cmd::new(runner).minutes(40), doc_tests.minutes(20)])
}

/// Builds the server for tests, and returns its path.
pub(crate) fn server() -> shell::Result<String> {
    // By itself: with the features that people get, and whatever other crates' tests are up to.
    Cmd::new("cargo build --package madang").run()?;
    Ok(format!("{}/debug/madang", target()))
}

/// The server as people run it: for what is measured.
pub(crate) fn fast_server() -> shell::Result<String> {
    Cmd::new("cargo build --release --package madang").run()?;
    Ok(format!("{}/release/madang", target()))
}

/// Runs test runners one after the other; a runner that ran no test at all is a failure.
pub(crate) fn counted(commands: impl IntoIterator<Item = Cmd>) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut reasons = Vec::new();
    for command in commands {
        let (more, result) = command.count();
        counts += more;
        reasons.extend(result.err());
    }
    if reasons.is_empty() && counts == Counts::default() {
        reasons.push("no test ran".to_owned());
    }
    if reasons.is_empty() && counts.failed == 0 {
        return Ok(counts);
    }
    // A runner that broke before it reported anything has failed all the same.
    counts.failed = counts.failed.max(1);
    let why = reasons.join("\n");
    Err(Failure { counts, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_that_runs_nothing_fails() {
        assert_eq!(counted([Cmd::new("true")]).unwrap_err().why, "no test ran");
    }

    #[test]
    fn a_runner_that_breaks_fails_however_many_tests_passed() {
        let broken = Cmd::new("sh -c").arg("echo Ran 3 tests; exit 7");
        let failure = counted([broken]).unwrap_err();
        assert_eq!(
            failure.counts,
            Counts {
                passed: 3,
                failed: 1
            }
        );
        let why = "`sh -c echo Ran 3 tests; exit 7` exited with 7\nRan 3 tests";
        assert_eq!(failure.why, why);
    }

    #[test]
    fn counts_of_several_runners_add_up() {
        let three = || Cmd::new("echo Ran 3 tests");
        assert_eq!(
            counted([three(), three()]).unwrap(),
            Counts {
                passed: 6,
                failed: 0
            }
        );
    }
}
