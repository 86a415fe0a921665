//! `docs/packet-path.md`: the newcomer's table names a file and a function for each step.

use super::Repository;

const PAGE: &str = "docs/packet-path.md";

/// The parts of the way, each a heading with a table below it.
const SECTIONS: [&str; 3] = ["## Enters", "## Forwarded", "## Leaves"];

/// Every function of the table is defined in the file that stands beside it.
pub(super) fn functions(repository: &Repository) -> Vec<String> {
    rows(page(repository))
        .filter_map(|(file, function)| {
            let Some(text) = repository.text(file) else {
                return Some(format!("{PAGE}: there is no {file}"));
            };
            (!defines(text, function)).then(|| format!("{PAGE}: {file} has no fn {function}"))
        })
        .collect()
}

/// Every part of the way is there and has a row.
pub(super) fn sections(repository: &Repository) -> Vec<String> {
    let has_rows = |heading: &&str| {
        let section = page(repository)
            .split_once(&format!("{heading}\n"))
            .map_or("", |(_, rest)| rest);
        rows(section.split("\n## ").next().unwrap_or_default())
            .next()
            .is_some()
    };
    SECTIONS
        .iter()
        .filter(|heading| !has_rows(heading))
        .map(|heading| {
            format!("{PAGE}: `{heading}` is missing, or has no row with a file and a function")
        })
        .collect()
}

/// The only module that knows how a packet is written: what leaves can be made anew there alone.
const EGRESS: &str = "crates/core/src/egress/";

/// The crates of the server; simulated browsers, and clients in tests, write packets as they like.
const SERVER: [&str; 4] = [
    "crates/core/src/",
    "crates/driver/src/",
    "crates/signaling/src/",
    "crates/server/src/",
];

/// No module of the server but the egress seals packets, and none hands them to str0m.
pub(super) fn one_way_out(repository: &Repository) -> Vec<String> {
    const SEALS: &str = ".seal_rtp(";
    const HANDS_OVER: &str = ".write_rtp(";
    let with = |write: &'static str| {
        repository
            .ending(&[".rs"])
            .filter(move |(path, text)| {
                SERVER.iter().any(|krate| path.starts_with(krate))
                    && !path.contains("/tests/")
                    && text.contains(write)
            })
            .map(|(path, _)| path)
    };
    let elsewhere = with(SEALS).filter(|path| !path.starts_with(EGRESS));
    let mut problems: Vec<String> = elsewhere
        .chain(with(HANDS_OVER))
        .map(|path| format!("{path}: RTP leaves through {EGRESS} only"))
        .collect();
    if !with(SEALS).any(|path| path.starts_with(EGRESS)) {
        problems.push(format!(
            "{EGRESS} does not seal RTP: this check looks for the wrong thing"
        ));
    }
    problems
}

fn page(repository: &Repository) -> &str {
    repository.text(PAGE).unwrap_or_default()
}

/// The rows that have a cell `` `crates/….rs` `` followed by a cell `` `function` ``.
fn rows(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| {
            let code = |cell: &'_ str| {
                cell.trim()
                    .strip_prefix('`')?
                    .strip_suffix('`')
                    .map(str::len)
            };
            let cells: Vec<&str> = line.split('|').collect();
            let at = cells
                .iter()
                .position(|cell| code(cell).is_some() && cell.contains("`crates/"))?;
            let bare = |at: usize| cells.get(at).map(|cell| cell.trim().trim_matches('`'));
            Some((bare(at)?, bare(at + 1)?))
        })
}

/// `function` is `name` or `Type::name`.
fn defines(text: &str, function: &str) -> bool {
    let name = function.rsplit("::").next().unwrap_or(function);
    let (call, generic) = (format!("fn {name}("), format!("fn {name}<"));
    text.contains(&call) || text.contains(&generic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "## Enters\n\n| step | file | function |\n|---|---|---|\n\
        | read | `crates/a/src/x.rs` | `Socket::receive` |\n\n## Forwarded\n\n\
        | rewrite | `crates/a/src/x.rs` | `rewrite` |\n\n## Leaves\n\n\
        | send | `crates/a/src/x.rs` | `send` |\n";
    const CODE: &str = "fn receive(&self) {}\nfn rewrite<T>(t: T) {}\nfn send() {}\n";

    fn with(page: &str, code: &str) -> Repository {
        Repository::of(&[(PAGE, page), ("crates/a/src/x.rs", code)])
    }

    #[test]
    fn a_whole_table_passes() {
        assert_eq!(functions(&with(WHOLE, CODE)), Vec::<String>::new());
        assert_eq!(sections(&with(WHOLE, CODE)), Vec::<String>::new());
    }

    #[test]
    fn a_function_that_was_renamed_is_found() {
        assert_eq!(
            functions(&with(WHOLE, &CODE.replace("fn send(", "fn transmit("))),
            ["docs/packet-path.md: crates/a/src/x.rs has no fn send"]
        );
    }

    #[test]
    fn a_file_that_was_moved_is_found() {
        assert_eq!(
            functions(&with(&WHOLE.replace("x.rs", "y.rs"), CODE)).len(),
            3
        );
    }

    #[test]
    fn a_second_way_out_is_found() {
        let writes = "fn a() { stream.write_rtp(rtp); keys.seal_rtp(packet); }";
        let egress = (
            "crates/core/src/egress/lane.rs",
            "fn a() { keys.seal_rtp(packet); }",
        );
        let browser = ("crates/simulation/src/browser.rs", writes);
        assert_eq!(
            one_way_out(&Repository::of(&[egress, browser])),
            Vec::<String>::new()
        );
        let second = ("crates/core/src/forward.rs", writes);
        assert_eq!(one_way_out(&Repository::of(&[egress, second])).len(), 2);
        assert_eq!(one_way_out(&Repository::of(&[browser])).len(), 1);
    }

    #[test]
    fn an_empty_page_does_not_pass() {
        assert_eq!(sections(&with("", CODE)).len(), 3);
        assert_eq!(
            sections(&with(&WHOLE.replace("## Leaves", "## Out"), CODE)).len(),
            1
        );
    }
}
