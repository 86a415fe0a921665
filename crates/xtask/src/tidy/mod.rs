//! Checks over the text of the repository.

mod docs;
mod layout;
mod mutations;
mod packet_path;
mod text;

use std::{collections::BTreeMap, fs};

use crate::{
    counts::Counts,
    shell::{Cmd, Result},
    steps::Failure,
};

/// A check returns one line for each problem: where, what, and what is allowed.
type Check = fn(&Repository) -> Vec<String>;

const CHECKS: [(&str, Check); 13] = [
    ("files have a readable size", text::sizes),
    ("no word of unfinished work", text::words),
    ("no secret", text::secrets),
    ("no skipped test", text::skipped_tests),
    ("the top level holds what it should", layout::top_level),
    ("documents name every crate", layout::crates_are_documented),
    ("links lead somewhere", docs::links),
    ("the book lists every page", docs::summary),
    ("commands in documents exist", docs::commands),
    (
        "the packet's path names functions that exist",
        packet_path::functions,
    ),
    ("RTP leaves by one way", packet_path::one_way_out),
    ("the packet's path is whole", packet_path::sections),
    ("mutations change what is there", mutations::apply),
];

pub(crate) fn run() -> std::result::Result<Counts, Failure> {
    let repository = Repository::read()?;
    let mut counts = Counts::default();
    let mut all = Vec::new();
    for (name, check) in CHECKS {
        let problems = check(&repository);
        println!(
            "{} {name}",
            if problems.is_empty() {
                "ok    "
            } else {
                "FAILED"
            }
        );
        if problems.is_empty() {
            counts.passed += 1;
        } else {
            counts.failed += 1;
        }
        all.extend(problems);
    }
    if all.is_empty() {
        return Ok(counts);
    }
    let why = format!("{} problems\n{}", all.len(), all.join("\n"));
    Err(Failure { counts, why })
}

/// The files of the repository that are text, by path. What `.gitignore` names is not in it.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    files: BTreeMap<String, String>,
}

impl Repository {
    pub(crate) fn read() -> Result<Self> {
        let list = Cmd::new("git ls-files --cached --others --exclude-standard").read()?;
        // A file that is deleted but still in the index cannot be read, and a picture is no text.
        let files = list
            .lines()
            .filter_map(|path| Some((path.to_owned(), fs::read_to_string(path).ok()?)))
            .collect();
        Ok(Self { files })
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self {
            files: files.iter().map(owned).collect(),
        }
    }

    /// Files whose path ends in one of these.
    pub(crate) fn ending<'a>(
        &'a self,
        ends: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .filter(move |(path, _)| ends.iter().any(|end| path.ends_with(end)))
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// The directories under `crates/`.
    fn crates(&self) -> Vec<&str> {
        self.ending(&["/Cargo.toml"])
            .filter_map(|(path, _)| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"))
            .collect()
    }
}
