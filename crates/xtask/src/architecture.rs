//! The arrows between the crates, read from `cargo tree`.

use std::fs;

use crate::{
    counts::Counts,
    rust::ONE,
    shell::{Cmd, Result},
    steps::Failure,
};

/// Who may depend on whom, for every crate of the workspace. Arrows point one way; a crate that
/// is not here must be added, and the addition thought about.
const ARROWS: [(&str, &[&str]); 8] = [
    ("madang-core", &[]),
    ("madang-driver", &["madang-core"]),
    ("madang-web", &[]),
    ("madang-signaling", &["madang-core", "madang-web"]),
    ("madang-simulation", &["madang-core"]),
    (
        "madang",
        &[
            "madang-core",
            "madang-driver",
            "madang-signaling",
            "madang-web",
        ],
    ),
    // It speaks to servers over the network, ours as any other.
    ("madang-load", &[]),
    ("xtask", &[]),
];

/// What the sans-IO core must not reach, at any depth.
const OUTSIDE_THE_CORE: [&str; 5] = ["tokio", "mio", "socket2", "axum", "hyper"];

pub(crate) fn run() -> std::result::Result<Counts, Failure> {
    let mut problems =
        sans_io(&Cmd::new("cargo tree -p madang-core -e normal --prefix none").read()?);
    for name in members()? {
        let tree = format!("cargo tree -p {name} -e normal,build --depth 1 --prefix none");
        problems.extend(wrong_arrows(&name, &Cmd::new(&tree).read()?));
        let all = format!("cargo tree -p {name} --depth 1 --prefix none -e dev");
        problems.extend(imports_server(&name, &Cmd::new(&all).read()?));
    }
    if problems.is_empty() {
        return Ok(ONE);
    }
    Err(problems.join("\n").into())
}

/// The one crate that does not stand under `crates/`.
const LOAD_TESTS: &str = "load-tests";

/// The names of the workspace's crates.
fn members() -> Result<Vec<String>> {
    let entries =
        fs::read_dir("crates").map_err(|error| format!("cannot list crates/: {error}"))?;
    let mut names = Vec::new();
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .chain([LOAD_TESTS.into()])
        .map(|folder| folder.join("Cargo.toml"))
    {
        if let Ok(text) = fs::read_to_string(&path) {
            let manifest: toml::Table = text
                .parse()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let name = manifest
                .get("package")
                .and_then(|package| package.get("name"));
            names.extend(name.and_then(|name| name.as_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

fn sans_io(tree: &str) -> Vec<String> {
    crates(tree)
        .filter(|name| OUTSIDE_THE_CORE.contains(name))
        .map(|name| {
            format!("madang-core reaches {name}; see `cargo tree -p madang-core -i {name}`")
        })
        .collect()
}

fn wrong_arrows(of: &str, tree: &str) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == of) else {
        return vec![format!(
            "{of} is not in the table of crates/xtask/src/architecture.rs"
        )];
    };
    crates(tree)
        .filter(|name| *name != of && ARROWS.iter().any(|(ours, _)| ours == name))
        .filter(|name| !allowed.contains(name))
        .map(|name| format!("{of} depends on {name}; it may depend on {allowed:?} only"))
        .collect()
}

/// The binary is the end of every arrow, in tests too.
fn imports_server(of: &str, dev_tree: &str) -> Option<String> {
    (of != "madang" && crates(dev_tree).any(|name| name == "madang"))
        .then(|| format!("{of} depends on the server; nothing may"))
}

/// The first word of each line of `cargo tree --prefix none`.
fn crates(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter_map(|line| line.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_under_the_core_is_found_at_any_depth() {
        let clean = "madang-core v0.1.0 (/x)\nstr0m v0.25.0\nmio-like v1.0.0\n";
        assert_eq!(sans_io(clean), Vec::<String>::new());
        assert_eq!(sans_io(&format!("{clean}socket2 v0.6.0 (*)\n")).len(), 1);
    }

    #[test]
    fn an_arrow_that_points_back_is_found() {
        let tree = "madang-driver v0.1.0 (/x)\nmadang-core v0.1.0 (/x)\nbytes v1.0.0\n";
        assert_eq!(wrong_arrows("madang-driver", tree), Vec::<String>::new());
        let back = format!("{tree}madang-signaling v0.1.0 (/x)\n");
        assert_eq!(
            wrong_arrows("madang-driver", &back),
            [r#"madang-driver depends on madang-signaling; it may depend on ["madang-core"] only"#]
        );
    }

    #[test]
    fn a_new_crate_needs_a_place_in_the_table() {
        assert_eq!(
            wrong_arrows("madang-extra", "madang-extra v0.1.0\n").len(),
            1
        );
    }

    #[test]
    fn nothing_imports_the_server_even_in_tests() {
        assert!(imports_server("madang-web", "madang-web v0.1.0\nmadang v0.1.0\n").is_some());
        assert!(imports_server("madang", "madang v0.1.0\n").is_none());
    }
}
