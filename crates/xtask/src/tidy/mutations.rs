//! The list of mutations does not rot: what it changes is there, and so are the tests.

use super::Repository;
use crate::mutations::{LIST, PAGE, page, parse};

/// Faults that other servers have shipped, each with a test of this name at least.
const FAULTS: std::ops::RangeInclusive<u32> = 1..=16;

pub(super) fn apply(repository: &Repository) -> Vec<String> {
    let Some(list) = repository.text(LIST) else {
        return vec![format!("{LIST} is missing")];
    };
    let mutations = match parse(list) {
        Ok(mutations) => mutations,
        Err(why) => return vec![why],
    };
    let mut problems = Vec::new();
    for one in &mutations {
        let text = repository.text(&one.file).unwrap_or_default();
        let found = text.matches(&one.find).count();
        if found != 1 {
            problems.push(format!(
                "{LIST}: '{}' is {found} times in {}, must be once",
                one.find.trim(),
                one.file
            ));
        }
        let function = format!("fn {}(", one.test);
        let mut tests = repository.ending(&[".rs"]);
        if !tests.any(|(_, text)| text.contains(&function)) {
            problems.push(format!("{LIST}: there is no test {}", one.test));
        }
    }
    for fault in FAULTS {
        let name = format!("fault_{fault:02}_");
        if !mutations.iter().any(|one| one.test.starts_with(&name)) {
            problems.push(format!("{LIST}: no mutation for a test {name}..."));
        }
    }
    if repository.text(PAGE) != Some(&page(&mutations)) {
        problems.push(format!(
            "{PAGE} does not tell of {LIST}: `cargo xtask mutations` writes it"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(source: &str, test: &str) -> Vec<String> {
        let list = "[[mutation]]\nfault = 'f'\nmechanism = 'm'\nfile = 'a.rs'\nfind = 'x = 1'\nput = 'x = 2'\ntest = 'good'\n";
        let files = [(LIST, list), ("a.rs", source), ("b.rs", test)];
        let all = apply(&Repository::of(&files)).into_iter();
        all.filter(|problem| problem.contains("x = 1") || problem.contains("good"))
            .collect()
    }

    #[test]
    fn what_is_changed_must_be_there_once_and_so_the_test() {
        assert!(problems("let x = 1;", "fn good() {}").is_empty());
        assert_eq!(problems("let x = 3;", "fn good() {}").len(), 1);
        assert_eq!(problems("let x = 1; x = 1", "fn good() {}").len(), 1);
        assert_eq!(problems("let x = 1;", "fn bad() {}").len(), 1);
    }
}
