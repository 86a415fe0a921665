//! Checks that look at one line, or one file, at a time.

use super::Repository;

/// A file beyond this has more than one subject.
const LINES_MAX: usize = 600;

/// Files that are longer all the same, and how long they may be: these numbers only go down.
const LONGER: [(&str, usize); 0] = [];

const SOURCES: [&str; 4] = [".rs", ".mjs", ".js", ".css"];

/// Marks of unfinished work, split so that this file does not hold them itself.
const WORDS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("HA", "CK"),
    concat!("for", " now"),
];

/// How known kinds of secret begin; a secret is one of these and what follows it.
const SECRETS: [&str; 8] = [
    concat!("-----BEGIN", " PRIVATE KEY"),
    concat!("-----BEGIN", " RSA PRIVATE KEY"),
    concat!("-----BEGIN", " EC PRIVATE KEY"),
    concat!("AK", "IA"),
    concat!("gh", "p_"),
    concat!("glp", "at-"),
    concat!("xox", "b-"),
    concat!("sk_", "live_"),
];

const SKIPS: [&str; 6] = [
    concat!("#[ig", "nore"),
    concat!("test.sk", "ip("),
    concat!("test.on", "ly("),
    concat!("test.to", "do("),
    concat!("it.sk", "ip("),
    concat!("describe.sk", "ip("),
];

pub(super) fn sizes(repository: &Repository) -> Vec<String> {
    sizes_with(repository, &LONGER)
}

fn sizes_with(repository: &Repository, longer: &[(&str, usize)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in repository.ending(&SOURCES) {
        let lines = text.lines().count();
        let max = longer
            .iter()
            .find(|(longer, _)| *longer == path)
            .map(|(_, max)| *max);
        if lines > max.unwrap_or(LINES_MAX) {
            let max = max.unwrap_or(LINES_MAX);
            problems.push(format!(
                "{path}: {lines} lines, at most {max}: split it by subject"
            ));
        } else if max.is_some() && lines <= LINES_MAX {
            problems.push(format!(
                "{path}: short enough now, take it off the list LONGER"
            ));
        }
    }
    problems
}

pub(super) fn words(repository: &Repository) -> Vec<String> {
    lines(repository, |line| {
        WORDS
            .iter()
            .find(|word| contains_word(line, word))
            .map(|word| format!("`{word}`: finish it, or file it"))
    })
}

pub(super) fn secrets(repository: &Repository) -> Vec<String> {
    lines(repository, |line| {
        let secret = SECRETS.iter().find(|start| {
            line.split_once(**start).is_some_and(|(_, rest)| {
                start.ends_with("KEY")
                    || rest.chars().take_while(char::is_ascii_alphanumeric).count() >= 16
            })
        });
        secret.map(|start| format!("looks like a secret (`{start}`)"))
    })
}

pub(super) fn skipped_tests(repository: &Repository) -> Vec<String> {
    lines(repository, |line| {
        let skip = SKIPS.iter().find(|skip| line.contains(**skip));
        skip.map(|skip| format!("`{skip}`: a test runs or does not exist"))
    })
}

/// Asks about every line of every file but the lock files, which tools write.
fn lines(repository: &Repository, problem: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, text) in &repository.files {
        if path.ends_with("Cargo.lock") || path.ends_with("package-lock.json") {
            continue;
        }
        for (number, line) in (1..).zip(text.lines()) {
            problems.extend(problem(line).map(|what| format!("{path}:{number}: {what}")));
        }
    }
    problems
}

/// Whether `word` stands in `line` with no letter, digit or underscore on either side.
fn contains_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, rest) = line.split_at(at);
        let after = rest.strip_prefix(word).unwrap_or_default();
        !before.ends_with(part) && !after.starts_with(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> Repository {
        Repository::of(&[(path, text)])
    }

    #[test]
    fn a_planted_mark_of_unfinished_work_is_found_with_its_line() {
        for word in WORDS {
            let planted = one(
                "crates/core/src/a.rs",
                &format!("fn a() {{}}\n// {word}: b\n"),
            );
            let problems = words(&planted);
            assert_eq!(problems.len(), 1, "{word}");
            assert!(
                problems[0].starts_with("crates/core/src/a.rs:2: "),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn a_part_of_another_word_is_no_mark() {
        assert_eq!(
            words(&one("a.md", "AUTODOC METHOD SHACKLE for nowhere")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_planted_secret_is_found() {
        for start in SECRETS {
            assert_eq!(
                secrets(&one("a.toml", &format!("k = \"{start}0123456789abcdef\""))).len(),
                1,
                "{start}"
            );
        }
        assert_eq!(
            secrets(&one("a.md", &format!("keys begin with {}", SECRETS[3]))),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_skipped_test_is_found() {
        for skip in SKIPS {
            assert_eq!(
                skipped_tests(&one("a.rs", &format!("  {skip}"))).len(),
                1,
                "{skip}"
            );
        }
    }

    #[test]
    fn long_files_are_found_and_the_list_only_shrinks() {
        let long = "\n".repeat(LINES_MAX + 1);
        assert_eq!(sizes(&one("a.rs", &long)).len(), 1);
        assert_eq!(sizes(&one("a.md", &long)), Vec::<String>::new());
        assert_eq!(
            sizes_with(&one("a.rs", &long), &[("a.rs", 700)]),
            Vec::<String>::new()
        );
        assert_eq!(sizes_with(&one("a.rs", "x"), &[("a.rs", 700)]).len(), 1);
    }
}
