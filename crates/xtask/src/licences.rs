//! Licences and sources of the dependencies, against the lists of `.deny.toml`.
//!
//! cargo-deny reads the same file and checks more (advisories, duplicates), but is built from
//! source for many minutes; these two checks run every time.

use std::fs;

use crate::{
    counts::Counts,
    rust::ONE,
    shell::{Cmd, Result},
    steps::Failure,
};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NPM: &str = "https://registry.npmjs.org/";

pub(crate) fn run() -> std::result::Result<Counts, Failure> {
    let allowed = allowed(&read(".deny.toml")?)?;
    let tree = "cargo tree --workspace -e normal,build,dev --prefix none -f {p}|{l}";
    let mut problems = licences(&Cmd::new(tree).read()?, &allowed);
    problems.extend(sources(&read("Cargo.lock")?, "source = \"", CRATES_IO));
    problems.extend(sources(
        &read("crates/web/package-lock.json")?,
        "\"resolved\": \"",
        NPM,
    ));
    if problems.is_empty() {
        return Ok(ONE);
    }
    Err(problems.join("\n").into())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
}

/// `licenses.allow` of cargo-deny's configuration.
fn allowed(deny: &str) -> Result<Vec<String>> {
    let table: toml::Table = deny
        .parse()
        .map_err(|error| format!(".deny.toml: {error}"))?;
    let list = table
        .get("licenses")
        .and_then(|licenses| licenses.get("allow"));
    let list = list.and_then(|allow| allow.as_array());
    let list = list.ok_or(".deny.toml: licenses.allow must be a list of SPDX names")?;
    Ok(list
        .iter()
        .filter_map(|name| name.as_str())
        .map(str::to_owned)
        .collect())
}

/// `tree` has one `name version (path)|licence` a line.
fn licences(tree: &str, allowed: &[String]) -> Vec<String> {
    let mut problems: Vec<String> = tree
        .lines()
        .filter_map(|line| line.trim_end_matches(" (*)").rsplit_once('|'))
        .filter(|(_, licence)| !satisfied(licence, allowed))
        .map(|(package, licence)| {
            let licence = if licence.is_empty() { "none" } else { licence };
            format!("{package}: the licence `{licence}` is not allowed by .deny.toml")
        })
        .collect();
    problems.sort();
    problems.dedup();
    problems
}

/// Whether an SPDX expression can be met with the allowed licences: AND binds closer than OR.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    // `MIT/Apache-2.0` is how Cargo wrote OR before SPDX.
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = all(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed);
    }
    met
}

fn all(words: &mut Words<'_>, allowed: &[String]) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &[String]) -> bool {
    match words.next() {
        Some("(") => {
            let met = any(words, allowed);
            words.next_if_eq(&")").is_some() && met
        }
        Some(name) => {
            // An exception adds permissions, and is listed together with its licence.
            let with = words.next_if_eq(&"WITH").and_then(|_| words.next());
            let name = with.map_or_else(|| name.to_owned(), |with| format!("{name} WITH {with}"));
            allowed.contains(&name)
        }
        None => false,
    }
}

/// Lines of a lock file that name another place than `registry`.
fn sources(lock: &str, key: &str, registry: &str) -> Vec<String> {
    lock.lines()
        .filter_map(|line| line.trim().strip_prefix(key))
        .filter(|source| !source.starts_with(registry))
        .map(|source| format!("a lock file names another source than {registry}: {source}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<String> {
        ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn expressions() {
        let met = [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "ISC AND (GPL-3.0 OR MIT)",
        ];
        let not = [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "ISC AND (MIT",
            "Apache-2.0",
            "MIT MIT",
        ];
        assert!(met.iter().all(|text| satisfied(text, &list())));
        assert!(!not.iter().any(|text| satisfied(text, &list())));
        assert!(satisfied(
            "GPL-2.0 OR Apache-2.0 WITH LLVM-exception",
            &list()
        ));
        assert!(satisfied("GPL-2.0 AND GPL-3.0 OR ISC AND MIT", &list()));
    }

    #[test]
    fn a_package_under_another_licence_is_named_once() {
        let tree = "a v1.0.0|MIT\nb v1.0.0|GPL-3.0\nb v1.0.0|GPL-3.0 (*)\nc v1.0.0|\n";
        assert_eq!(
            licences(tree, &list()),
            [
                "b v1.0.0: the licence `GPL-3.0` is not allowed by .deny.toml",
                "c v1.0.0: the licence `none` is not allowed by .deny.toml",
            ]
        );
    }

    #[test]
    fn another_registry_is_found() {
        let lock = format!("source = \"{CRATES_IO}\"\nsource = \"git+https://example.org/x\"\n");
        assert_eq!(sources(&lock, "source = \"", CRATES_IO).len(), 1);
        let lock = "\"resolved\": \"https://mirror.example/a.tgz\",";
        assert_eq!(sources(lock, "\"resolved\": \"", NPM).len(), 1);
    }
}
