//! `cargo xtask sim`: the studies of the simulation.

use crate::{
    packages,
    shell::{Cmd, Result},
};

/// Builds the program, optimised, and hands it what it is told.
pub(crate) fn run(args: Vec<String>) -> Result<()> {
    packages::build()?;
    Cmd::new("cargo run --quiet --release --package madang-simulation --example sim --")
        .args(args)
        .run()
}
