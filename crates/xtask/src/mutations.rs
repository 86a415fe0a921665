//! `cargo xtask mutations`: each mechanism that keeps a fault out is switched off in a copy of the sources, and the test
//! that guards it must fail there.

use std::{collections::BTreeSet, fs, path::Path};

use toml::Table;

use crate::{
    packages,
    shell::{Cmd, Result, target},
    tidy::Repository,
};

/// Where the mutations are written down.
pub(crate) const LIST: &str = "crates/simulation/mutations.toml";
/// The page that tells of them.
pub(crate) const PAGE: &str = "docs/mutations.md";

/// A mechanism, and what switches it off.
#[derive(Debug)]
pub(crate) struct Mutation {
    pub(crate) fault: String,
    mechanism: String,
    pub(crate) file: String,
    pub(crate) find: String,
    put: String,
    pub(crate) test: String,
}

/// Reads the list.
pub(crate) fn parse(list: &str) -> Result<Vec<Mutation>> {
    let table: Table = list.parse().map_err(|error| format!("{LIST}: {error}"))?;
    let entries = table.get("mutation").and_then(|list| list.as_array());
    entries.into_iter().flatten().map(mutation).collect()
}

fn mutation(entry: &toml::Value) -> Result<Mutation> {
    let text = |name: &str| {
        let value = entry.get(name).and_then(|value| value.as_str());
        value
            .map(str::to_owned)
            .ok_or_else(|| format!("{LIST}: a mutation has no '{name}': {entry:?}"))
    };
    Ok(Mutation {
        fault: text("fault")?,
        mechanism: text("mechanism")?,
        file: text("file")?,
        find: text("find")?,
        put: text("put")?,
        test: text("test")?,
    })
}

/// The page, as it is to be while every mutation is found out.
pub(crate) fn page(mutations: &[Mutation]) -> String {
    let mut page = String::from(
        "# Mutations

A check that cannot fail is none. For every fault that other servers have shipped, the mechanism that keeps it out is switched off
here, in a copy of the sources, and the test in the last column fails:

```sh
cargo xtask mutations
```

What is changed to what stands in [`crates/simulation/mutations.toml`](../crates/simulation/mutations.toml).

| fault | switched off | in | test that fails |
|---|---|---|---|
",
    );
    for one in mutations {
        page.push_str(&format!(
            "| {} | {} | `{}` | `{}` |\n",
            one.fault, one.mechanism, one.file, one.test
        ));
    }
    page
}

/// Shows that every mutation is found out, and writes the page.
pub(crate) fn run(only: Option<&str>) -> Result<()> {
    packages::build()?;
    let repository = Repository::read()?;
    let mutations = parse(repository.text(LIST).unwrap_or_default())?;
    let copy = Copy::of(&repository)?;
    let chosen: Vec<&Mutation> = mutations
        .iter()
        .filter(|one| only.is_none_or(|part| one.test.contains(part)))
        .collect();
    let tests: Vec<&str> = chosen.iter().map(|one| one.test.as_str()).collect();
    let whole = copy.test(&tests)?;
    if whole != Outcome::Passed {
        return Err(format!("without any mutation: {whole:?}"));
    }
    let mut survivors = Vec::new();
    for one in &chosen {
        let outcome = copy.with(one, || copy.test(&[&one.test]))?;
        println!("{outcome:?}: {} ({})", one.mechanism, one.test);
        if outcome != Outcome::Failed {
            survivors.push(format!("{}: {outcome:?}", one.mechanism));
        }
    }
    if !survivors.is_empty() {
        let list = survivors.join("\n");
        return Err(format!("mutations that are not found out:\n{list}"));
    }
    if only.is_none() {
        let failed = |error| format!("cannot write {PAGE}: {error}");
        fs::write(PAGE, page(&mutations)).map_err(failed)?;
    }
    println!("{} mutations, all found out", chosen.len());
    Ok(())
}

/// How tests have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    DoesNotBuild,
    NoSuchTest,
}

/// A copy of the repository; what it depends on is built once for both.
struct Copy<'a> {
    root: String,
    repository: &'a Repository,
}

impl<'a> Copy<'a> {
    fn of(repository: &'a Repository) -> Result<Self> {
        let root = format!("{}/mutations", target());
        let copy = Self { root, repository };
        let _ = fs::remove_dir_all(format!("{}/crates", copy.root));
        for (path, text) in repository.ending(&[""]) {
            copy.write(path, text)?;
        }
        Ok(copy)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = format!("{}/{path}", self.root);
        let failed = |error| format!("cannot write {path}: {error}");
        if let Some(folder) = Path::new(&path).parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        fs::write(&path, text).map_err(failed)
    }

    /// Does something while a mutation is in the copy.
    fn with<T>(&self, one: &Mutation, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let text = self.repository.text(&one.file).unwrap_or_default();
        self.write(&one.file, &text.replacen(&one.find, &one.put, 1))?;
        let result = act();
        self.write(&one.file, text)?;
        result
    }

    fn test(&self, tests: &[&str]) -> Result<Outcome> {
        let packages: BTreeSet<String> = tests.iter().map(|test| self.package(test)).collect();
        let cargo = |line: &str| {
            let chosen = packages.iter().flat_map(|name| ["--package", name]);
            Cmd::new(&format!("cargo nextest run {line}"))
                .args(chosen)
                .dir(&self.root)
                .env("CARGO_TARGET_DIR", target())
        };
        if let Err(why) = cargo("--no-run").read() {
            println!("{why}");
            return Ok(Outcome::DoesNotBuild);
        }
        let run = cargo("--no-fail-fast").args(tests.iter().copied());
        let (counts, _) = run.minutes(5).count();
        Ok(match (counts.passed, counts.failed) {
            (0, 0) => Outcome::NoSuchTest,
            (_, 0) => Outcome::Passed,
            _ => Outcome::Failed,
        })
    }
    /// Where a test is.
    fn package(&self, test: &str) -> String {
        let name = format!("fn {test}(");
        let mut sources = self.repository.ending(&[".rs"]);
        let found = sources.find(|(_, text)| text.contains(&name));
        let folder = found.and_then(|(path, _)| path.split('/').nth(1));
        format!("madang-{}", folder.unwrap_or("simulation"))
    }
}
