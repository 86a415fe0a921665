//! The browser client: its types, and real browsers against the real server.
//!
//! Browsers and server run inside one network namespace that has only loopback and a pair of
//! virtual interfaces whose two ends both stay inside: nothing leaves the machine, and browsers
//! that refuse to gather candidates on loopback have an address to use.

use std::fs;

use crate::{
    counts::Counts,
    packages::{self, node_path, stream_python_path, with_node},
    rust::{self, ONE, counted},
    shell::{Cmd, Result, target},
    steps::Failure,
};

const NAMESPACE: &str = "madang-test";
const TESTS: &str = "crates/web/tests";

pub(crate) fn types() -> std::result::Result<Counts, Failure> {
    for project in [".", "tests"] {
        with_node(&format!("npx --no-install tsc --project {project}"))
            .dir("crates/web")
            .run()?;
    }
    Ok(ONE)
}

/// Runs every `*.test.mjs`, one file after the other: two cores carry one call at a time.
pub(crate) fn tests() -> std::result::Result<Counts, Failure> {
    let files = test_files()?;
    let server = rust::server()?;
    let artifacts = format!("{}/browser", target());
    let node = node_path();
    let python = stream_python_path();
    let network = Network::new()?;
    let commands = files.iter().map(|file| {
        network
            .inside(&format!("{node} --test --test-reporter=spec {file}"))
            .dir("crates/web")
            .env("MADANG_BIN", server.as_str())
            .env("MADANG_ARTIFACTS", artifacts.as_str())
            .env("MADANG_STREAM_PYTHON", python.as_str())
            .minutes(10)
    });
    counted(commands)
}

/// Carries out all plans of `crates/web/tests/plans.json` in Chromium and in the simulator. Takes some minutes, and a
/// machine that does nothing else.
pub(crate) fn chromium() -> Result<()> {
    packages::web()?;
    packages::browsers()?;
    let server = rust::fast_server()?;
    let simulator = "cargo run --release --quiet --package madang-simulation --example chromium";
    let simulated = Cmd::new(&format!("{simulator} -- {TESTS}/plans.json")).read()?;
    let artifacts = format!("{}/browser", target());
    let network = Network::new()?;
    network
        .inside(&format!(
            "{} --test --test-reporter=spec tests/chromium-table.mjs",
            node_path()
        ))
        .dir("crates/web")
        .env("MADANG_BIN", server.as_str())
        .env("MADANG_ARTIFACTS", artifacts.as_str())
        .env("MADANG_SIMULATED", simulated.as_str())
        .minutes(30)
        .run()
}

/// Paths relative to `crates/web`.
fn test_files() -> Result<Vec<String>> {
    let entries = fs::read_dir(TESTS).map_err(|error| format!("cannot list {TESTS}: {error}"))?;
    let mut files: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".test.mjs"))
        .map(|name| format!("tests/{name}"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("no *.test.mjs in {TESTS}"));
    }
    Ok(files)
}

/// The namespace; removed, with every process in it, when dropped.
struct Network {
    root: Vec<String>,
}

impl Network {
    fn new() -> Result<Self> {
        // Left over where an earlier run was interrupted.
        remove();
        let ip = |line: &str| Cmd::as_root(&format!("ip {line}"))?.run();
        ip(&format!("netns add {NAMESPACE}"))?;
        let network = Self {
            root: if Cmd::new("id -u").read()?.trim() == "0" {
                vec![]
            } else {
                vec!["sudo".to_owned(), "-E".to_owned()]
            },
        };
        for line in [
            "link set lo up",
            "link add d0 type veth peer name d1",
            // A link-local address would come two seconds later, and Chromium ends what it is loading when addresses change.
            "link set d0 addrgenmode none",
            "link set d1 addrgenmode none",
            "address add 10.77.0.1/24 dev d0",
            "link set d0 up",
            "link set d1 up",
            "route add default dev d0",
        ] {
            ip(&format!("-n {NAMESPACE} {line}"))?;
        }
        Ok(network)
    }

    fn inside(&self, line: &str) -> Cmd {
        Cmd::new(&format!(
            "{} ip netns exec {NAMESPACE} {line}",
            self.root.join(" ")
        ))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove();
    }
}

/// Ends what runs in the namespace, and the namespace; quiet where there is none.
fn remove() {
    let read = |line: &str| Cmd::as_root(line).and_then(|command| command.read());
    let Ok(processes) = read(&format!("ip netns pids {NAMESPACE}")) else {
        return;
    };
    for process in processes.lines() {
        // It may have ended by itself in the meantime.
        let _ = read(&format!("kill -KILL {process}"));
    }
    if let Err(why) = read(&format!("ip netns del {NAMESPACE}")) {
        println!("{why}");
    }
}
