//! The documents: links, the book's list of pages, and the commands that readers are told to run.

use super::Repository;

/// Every relative link names a file or directory of the repository, and a heading that is there.
pub(super) fn links(repository: &Repository) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in repository.ending(&[".md"]) {
        for target in targets(text) {
            if let Some(what) = broken(repository, path, target) {
                problems.push(format!("{path}: the link `{target}` leads nowhere: {what}"));
            }
        }
    }
    problems
}

/// Every page of docs/ is in SUMMARY.md: mdBook leaves the others out without a word.
pub(super) fn summary(repository: &Repository) -> Vec<String> {
    let Some(summary) = repository.text("docs/SUMMARY.md") else {
        return vec!["docs/SUMMARY.md is missing".to_owned()];
    };
    repository
        .ending(&[".md"])
        .filter_map(|(path, _)| path.strip_prefix("docs/"))
        .filter(|page| *page != "SUMMARY.md")
        .filter(|page| !targets(summary).any(|target| target.trim_start_matches("./") == *page))
        .map(|page| format!("docs/SUMMARY.md does not list {page}"))
        .collect()
}

/// A `cargo xtask` command that a document names is one that exists.
pub(super) fn commands(repository: &Repository) -> Vec<String> {
    const COMMANDS: [&str; 6] = ["bench", "chromium", "docs", "mutations", "sim", "test"];
    let mut problems = Vec::new();
    for (path, text) in repository.ending(&[".md"]) {
        for rest in text.split("cargo xtask ").skip(1) {
            let word: String = rest
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            if !COMMANDS.contains(&word.as_str()) {
                problems.push(format!("{path}: `cargo xtask {word}` does not exist"));
            }
        }
    }
    problems
}

/// The targets of `[text](target)`, outside code.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.lines()
        .filter(move |line| {
            let fence = line.trim_start().starts_with("```");
            code ^= fence;
            !code && !fence
        })
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split([')', ' ']).next())
}

fn broken(repository: &Repository, page: &str, target: &str) -> Option<String> {
    if target.starts_with("http://")
        || target.starts_with("https://")
        || target.starts_with("mailto:")
    {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        page.to_owned()
    } else {
        resolve(page, file)
    };
    let directory = format!("{path}/");
    let exists = path.is_empty()
        || std::path::Path::new(&path).is_file()
        || repository
            .files
            .keys()
            .any(|name| *name == path || name.starts_with(&directory));
    if !exists {
        return Some(format!("there is no {path}"));
    }
    let headings = repository.text(&path).unwrap_or_default();
    (!anchor.is_empty()
        && !headings
            .lines()
            .filter_map(heading)
            .any(|slug| slug == anchor))
    .then(|| format!("{path} has no heading #{anchor}"))
}

/// `target` as seen from the directory of `page`.
fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchor that a heading gets on the page.
fn heading(line: &str) -> Option<String> {
    let text = line
        .strip_prefix('#')?
        .trim_start_matches('#')
        .strip_prefix(' ')?;
    let kept = text.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_followed_from_the_page_they_stand_on() {
        let pages = [
            (
                "README.md",
                "[a](docs/a.md) [b](docs/) [c](https://example.org/x) [d](docs/a.md#two-words)",
            ),
            (
                "docs/a.md",
                "# One\n## Two words!\n[up](../README.md) [here](#one)\n```\n[x](gone.md)\n```\n",
            ),
        ];
        assert_eq!(links(&Repository::of(&pages)), Vec::<String>::new());
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let page = ("docs/a.md", "# One\n[x](gone.md) [y](#two) [z](../gone/)\n");
        assert_eq!(links(&Repository::of(&[page])).len(), 3);
    }

    #[test]
    fn a_page_that_the_book_does_not_list_is_found() {
        let summary_page = ("docs/SUMMARY.md", "- [A](a.md)\n- [B](./b.md)\n");
        let pages = [
            summary_page,
            ("docs/a.md", ""),
            ("docs/b.md", ""),
            ("docs/c.md", ""),
        ];
        assert_eq!(
            summary(&Repository::of(&pages)),
            ["docs/SUMMARY.md does not list c.md"]
        );
    }

    #[test]
    fn a_command_that_does_not_exist_is_found() {
        let page = ("README.md", "`cargo xtask test`, then `cargo xtask dance`");
        assert_eq!(commands(&Repository::of(&[page])).len(), 1);
    }
}
