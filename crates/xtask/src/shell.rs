//! Running other programs: one builder, three ways to run.

use std::{
    collections::VecDeque,
    env,
    io::{BufRead as _, BufReader, Write as _, pipe},
    process::Command,
};

use crate::counts::{Counter, Counts};

/// How much of a failed test runner's output is said again at the end of the run.
const LAST_LINES: usize = 60;

/// What went wrong, in words for the person at the terminal.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// A command line. It runs in the root of the repository unless [`Cmd::dir`] says otherwise.
#[derive(Debug)]
pub(crate) struct Cmd {
    argv: Vec<String>,
    dir: Option<String>,
    env: Vec<(String, String)>,
    minutes: Option<u32>,
}

impl Cmd {
    /// `line` is split at white space; arguments that contain some are added with [`Cmd::arg`].
    pub(crate) fn new(line: &str) -> Self {
        Self {
            argv: line.split_whitespace().map(str::to_owned).collect(),
            dir: None,
            env: Vec::new(),
            minutes: None,
        }
    }

    /// As [`Cmd::new`], by the super-user: directly where we are, through sudo otherwise.
    pub(crate) fn as_root(line: &str) -> Result<Self> {
        if Self::new("id -u").read()?.trim() == "0" {
            return Ok(Self::new(line));
        }
        if !on_path("sudo") {
            return Err(format!("`{line}` needs root: run as root, or install sudo"));
        }
        Ok(Self::new(&format!("sudo -E {line}")))
    }

    pub(crate) fn arg(mut self, arg: impl Into<String>) -> Self {
        self.argv.push(arg.into());
        self
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn dir(mut self, dir: &str) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Ends the command, and fails, after this time: a test that hangs must not hang the run.
    pub(crate) fn minutes(mut self, minutes: u32) -> Self {
        self.minutes = Some(minutes);
        self
    }

    /// Runs with output to the terminal.
    pub(crate) fn run(&self) -> Result<()> {
        let status = self
            .command()
            .status()
            .map_err(|error| self.cannot_run(&error))?;
        self.judge(status.code())
    }

    /// Runs and returns standard output; on failure the error holds standard error.
    pub(crate) fn read(&self) -> Result<String> {
        let output = self
            .command()
            .output()
            .map_err(|error| self.cannot_run(&error))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        self.judge(output.status.code())
            .map_err(|why| format!("{why}\n{}", stderr.trim_end()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs a test runner with output to the terminal, and counts the tests that it reports. On failure the error ends
    /// with what the runner said last: runners name there what failed, and why.
    pub(crate) fn count(&self) -> (Counts, Result<()>) {
        let mut counter = Counter::default();
        let mut last = VecDeque::new();
        let result = self.tee(|line| {
            counter.line(line);
            last.truncate(LAST_LINES - 1);
            last.push_front(line.to_owned());
        });
        let result = result.map_err(|why| {
            let last: Vec<&str> = last.iter().rev().map(String::as_str).collect();
            format!("{why}\n{}", last.join("\n"))
        });
        (counter.counts(), result)
    }

    fn tee(&self, mut each: impl FnMut(&str)) -> Result<()> {
        let failed = |error: &std::io::Error| self.cannot_run(error);
        let (reader, writer) = pipe().map_err(|error| failed(&error))?;
        let mut command = self.command();
        command
            .stdout(writer.try_clone().map_err(|error| failed(&error))?)
            .stderr(writer);
        let mut child = command.spawn().map_err(|error| failed(&error))?;
        // The command holds the write ends: dropped, so that reading ends with the child.
        drop(command);
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            let text = String::from_utf8_lossy(&line);
            print!("{text}");
            each(text.trim_end());
            line.clear();
        }
        // A closed terminal is no reason to leave the child behind.
        let _ = std::io::stdout().flush();
        let status = child.wait().map_err(|error| failed(&error))?;
        self.judge(status.code())
    }

    fn command(&self) -> Command {
        let timeout = self.minutes.map(|minutes| {
            ["timeout", "--foreground", "--kill-after=15s"]
                .map(str::to_owned)
                .into_iter()
                .chain([format!("{minutes}m")])
        });
        let mut argv = timeout.into_iter().flatten().chain(self.argv.clone());
        let mut command = Command::new(argv.next().unwrap_or_default());
        command.args(argv).envs(self.env.iter().cloned());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn judge(&self, code: Option<i32>) -> Result<()> {
        match (code, self.minutes) {
            (Some(0), _) => Ok(()),
            // The codes of timeout(1): ended, or killed.
            (Some(124 | 137), Some(minutes)) => {
                Err(format!("`{self}` was ended after {minutes} minutes"))
            }
            (Some(code), _) => Err(format!("`{self}` exited with {code}")),
            (None, _) => Err(format!("`{self}` was ended by a signal")),
        }
    }

    fn cannot_run(&self, error: &std::io::Error) -> String {
        format!("cannot run `{self}`: {error}")
    }
}

impl std::fmt::Display for Cmd {
    /// The first words: enough to find the command again.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const WORDS: usize = 6;
        f.write_str(
            &self
                .argv
                .iter()
                .take(WORDS)
                .cloned()
                .collect::<Vec<_>>()
                .join(" "),
        )?;
        if self.argv.len() > WORDS {
            f.write_str(" ...")?;
        }
        Ok(())
    }
}

/// Whether a program of this name can be run.
pub(crate) fn on_path(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        // Debian keeps `ip` and `nft` where only root's PATH looks.
        env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(program).is_file())
    })
}

/// Cargo's output directory, absolute: commands run in other directories too.
pub(crate) fn target() -> String {
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let absolute = std::path::absolute(&target).unwrap_or_else(|_| target.into());
    absolute.to_string_lossy().into_owned()
}
