//! What `deploy/` holds: rendered, validated, and built as the image builds it.

use std::fs;

use crate::{
    counts::Counts,
    packages::{kubectl_path, python_path},
    rust::{self, ONE, counted},
    shell::{Cmd, Result, target},
    steps::Failure,
};

/// The oldest and the newest are what the documents promise; schemas know no feature gates.
const KUBERNETES: [&str; 8] = [
    "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37",
];

const OVERLAYS: [&str; 1] = ["single"];

/// systemd's own score of a unit's exposure, in tenths: 0 is locked in, 100 is wide open.
const EXPOSURE_MAX: u32 = 15;

/// Manifests, compose file, systemd unit, and the configuration files that they carry.
pub(crate) fn manifests() -> std::result::Result<Counts, Failure> {
    let binary = rust::server()?;
    let out = format!("{}/deploy", target());
    fs::create_dir_all(&out).map_err(|error| format!("cannot make {out}: {error}"))?;
    for overlay in OVERLAYS {
        render(overlay, &out)?;
    }
    unit(&binary, &out)?;
    configurations(&binary, &out)?;
    let python = python_path();
    counted([Cmd::new(&format!(
        "{python} -B -m unittest --verbose deploy/check.py"
    ))
    .env("RENDERED", format!("{out}/single.yaml"))])
}

/// Renders an overlay and validates it for every Kubernetes version, unknown fields forbidden.
fn render(overlay: &str, out: &str) -> Result<()> {
    let yaml = Cmd::new(&format!(
        "{} kustomize deploy/kustomize/overlays/{overlay}",
        kubectl_path()
    ))
    .read()?;
    let path = format!("{out}/{overlay}.yaml");
    fs::write(&path, yaml).map_err(|error| format!("cannot write {path}: {error}"))?;
    let validate = python_path().replace("bin/python", "bin/kubernetes-validate");
    for version in KUBERNETES {
        println!("overlay {overlay}, Kubernetes {version}");
        Cmd::new(&format!("{validate} --strict --quiet -k {version} {path}")).run()?;
    }
    Ok(())
}

/// Verifies the unit, with the binary of this build in the place of the installed one.
fn unit(binary: &str, out: &str) -> Result<()> {
    let source = "deploy/madang.service";
    let text =
        fs::read_to_string(source).map_err(|error| format!("cannot read {source}: {error}"))?;
    let path = format!("{out}/madang.service");
    fs::write(&path, text.replace("/usr/bin/madang", binary))
        .map_err(|error| format!("cannot write {path}: {error}"))?;
    Cmd::new(&format!("systemd-analyze verify --man=no {path}")).run()?;
    Cmd::new(&format!(
        "systemd-analyze security --offline=true --no-pager --threshold={EXPOSURE_MAX}"
    ))
    .arg(path)
    .read()
    .map(drop)
}

/// The server itself judges the configuration files, with keys where the deployment has them.
fn configurations(binary: &str, out: &str) -> Result<()> {
    let keys = format!("{out}/keys");
    // It opens nothing: no server runs with it.
    fs::write(&keys, format!("main={}\n", "0123456789abcdef".repeat(4)))
        .map_err(|error| format!("cannot write {keys}: {error}"))?;
    for config in ["deploy/madang.toml", "deploy/kustomize/base/madang.toml"] {
        Cmd::new(&format!("{binary} check-config --config {config}"))
            .env("MADANG_AUTH_KEYS_FILE", keys.as_str())
            .read()
            .map_err(|why| format!("{config}: {why}"))?;
    }
    Ok(())
}

/// Runs the image's build steps without a container engine, and the binary that comes out.
pub(crate) fn image() -> std::result::Result<Counts, Failure> {
    let root = format!("{}/image", target());
    Cmd::new(&format!("deploy/build.sh {root}"))
        .minutes(30)
        .run()?;
    Cmd::new(&format!("{root}/usr/bin/madang --version")).run()?;
    Ok(ONE)
}
