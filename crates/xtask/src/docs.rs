//! The pages of docs/ that are generated from the code.

use std::fs;

use crate::shell::{Cmd, Result};

/// The pages that `madang docs` prints.
const PAGES: [&str; 2] = ["configuration", "metrics"];

pub(crate) fn write() -> Result<()> {
    for name in PAGES {
        let text = Cmd::new(&format!(
            "cargo run --quiet --package madang -- docs {name}"
        ))
        .read()?;
        let page = format!("docs/{name}.md");
        fs::write(&page, text).map_err(|error| format!("cannot write {page}: {error}"))?;
        println!("wrote {page}");
    }
    Ok(())
}
