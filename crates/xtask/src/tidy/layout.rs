//! What stands where.

use std::collections::BTreeSet;

use super::Repository;

/// All that may be at the top: a newcomer reads this list first.
const TOP: [&str; 18] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "crates",
    "deploy",
    "docs",
    "load-tests",
];

pub(super) fn top_level(repository: &Repository) -> Vec<String> {
    let there: BTreeSet<&str> = repository
        .files
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    there
        .into_iter()
        .filter(|name| !TOP.contains(name))
        .map(|name| {
            format!("{name}: not expected at the top level (crates/xtask/src/tidy/layout.rs)")
        })
        .collect()
}

/// README's map is the list of crates; nobody keeps a second one by hand.
pub(super) fn crates_are_documented(repository: &Repository) -> Vec<String> {
    let readme = repository.text("README.md").unwrap_or_default();
    let named = |name: &str| readme.contains(&format!("`crates/{name}`"));
    let mut problems: Vec<String> = repository
        .crates()
        .into_iter()
        .filter(|name| !named(name))
        .map(|name| format!("README.md: the map has no line for `crates/{name}`"))
        .collect();
    for name in readme
        .split("`crates/")
        .skip(1)
        .filter_map(|rest| rest.split('`').next())
    {
        if !repository.crates().contains(&name) {
            problems.push(format!(
                "README.md: the map names `crates/{name}`, which does not exist"
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_file_at_the_top_is_found() {
        let repository = Repository::of(&[("README.md", ""), ("notes.txt", ""), ("docs/a.md", "")]);
        let problems = top_level(&repository);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("notes.txt"), "{problems:?}");
    }

    #[test]
    fn readme_and_crates_agree_both_ways() {
        let readme = ("README.md", "- `crates/core`: x\n- `crates/gone`: y\n");
        let core = ("crates/core/Cargo.toml", "");
        let new = ("crates/new/Cargo.toml", "");
        let problems = crates_are_documented(&Repository::of(&[readme, core, new]));
        assert_eq!(
            problems,
            [
                "README.md: the map has no line for `crates/new`",
                "README.md: the map names `crates/gone`, which does not exist"
            ]
        );
    }
}
