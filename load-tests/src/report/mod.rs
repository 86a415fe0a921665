//! The published results: a page for the book and one with plots.

mod html;
mod markdown;
mod summary;
mod svg;

use std::io;
use std::path::{Path, PathBuf};

use crate::result::ResultFile;
use summary::Summary;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{path}: {source}", path = path.display())]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path}: no result files (*.json)", path = path.display())]
    Nothing { path: PathBuf },
}

/// A result file and its name.
#[derive(Debug)]
struct Named {
    name: String,
    file: ResultFile,
    summary: Summary,
}

/// Writes the pages from all result files of the folder, the newest first.
pub(crate) fn write(
    folder: &Path,
    markdown: Option<&Path>,
    html: Option<&Path>,
) -> Result<(), ReportError> {
    let files = read_all(folder)?;
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|source| ReportError::File {
            path: path.to_owned(),
            source,
        })
    };
    if let Some(path) = markdown {
        write(path, markdown::page(&files))?;
    }
    if let Some(path) = html {
        write(path, html::page(&files))?;
    }
    Ok(())
}

fn read_all(folder: &Path) -> Result<Vec<Named>, ReportError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| ReportError::File { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(at(&path))?;
        let file: ResultFile =
            serde_json::from_str(&text).map_err(|source| ReportError::Parse {
                path: path.clone(),
                source,
            })?;
        files.push(Named {
            name: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            summary: Summary::of(&file),
            file,
        });
    }
    files.sort_by(|a, b| b.file.date.cmp(&a.file.date).then(a.name.cmp(&b.name)));
    if files.is_empty() {
        let path = folder.to_owned();
        return Err(ReportError::Nothing { path });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_the_repository_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        assert!(!read_all(&folder).unwrap().is_empty());
    }
}
