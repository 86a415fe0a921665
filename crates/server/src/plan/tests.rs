//! The command line, as someone who plans meets it.

use std::collections::BTreeMap;

use super::{PAGE_SLOTS, Video, answer, bits, percent};
use crate::cli::Command;
use crate::config::{LoadError, load};

fn ask(arguments: &[&str]) -> Result<String, String> {
    let all = ["madang", "plan"].iter().chain(arguments);
    let all: Vec<_> = all.map(Into::into).collect();
    let loaded = load(&all, &BTreeMap::default()).map_err(|error| match error {
        LoadError::Usage(error) => error.to_string(),
        LoadError::Config(errors) => panic!("{errors:?}"),
    })?;
    let Some(Command::Plan(question)) = loaded.cli.command else {
        panic!("not a plan");
    };
    answer(&question).map_err(|error| error.to_string())
}

fn planned(arguments: &[&str]) -> serde_json::Value {
    let json = ask(&[arguments, &["--json"]].concat()).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn number(plan: &serde_json::Value, pointer: &str) -> f64 {
    let value = plan.pointer(pointer).and_then(serde_json::Value::as_f64);
    value.unwrap_or_else(|| panic!("{pointer} in {plan}"))
}

#[test]
fn the_table_has_what_a_plan_is_made_of() {
    let text = ask(&["--participants=30", "--rooms=100", "--video=720p"]).unwrap();
    assert!(
        text.starts_with(
            "100 rooms of 30, 30 of them publish; each gets at most 9 tiles at 2,000 kbit/s and 3 voices\n"
        ),
        "{text}"
    );
    for part in [
        "\ncores, used to 60 %  ",
        "\nmemory, MiB  ",
        "\nbandwidth in, Mbit/s  ",
        "\nbandwidth out, Mbit/s  ",
        "\npackets out, 1/s  ",
        " instances with 4 cores, 60 % of them used, and 10,000 Mbit/s; what limits is ",
        "\nThe model is within ",
        "\nNearest of them: ",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(
        !text.contains("-room-"),
        "measurements are told when asked for"
    );
}

#[test]
fn the_explanation_shows_the_error_at_every_measurement() {
    let text = ask(&["--explain"]).unwrap();
    for point in super::model::embedded().unwrap().measured {
        let row = text.lines().find(|line| line.starts_with(&point.scenario));
        assert!(row.is_some_and(|row| row.contains('%')), "{text}");
    }
}

#[test]
fn bandwidth_follows_from_the_page_s_bitrates() {
    let plan = planned(&["--participants=2", "--video=720p", "--audio=0"]);
    let out = number(&plan, "/whole/bits_out");
    assert!((4.0e6..4.4e6).contains(&out), "{out}");
    let silent = planned(&["--video=none", "--audio=0"]);
    assert!(number(&silent, "/whole/bits_out").abs() < 1e-9);
    assert!(number(&silent, "/whole/cores") > 0.0, "even silence costs");
}

#[test]
fn better_video_more_tiles_and_more_publishers_cost_more() {
    let cores = |more: &str| {
        let plan = planned(&["--participants=20", more]);
        number(&plan, "/whole/cores")
    };
    let base = cores("--rooms=1");
    for more in [
        "--video=720p",
        "--visible=16",
        "--rooms=2",
        "--joins-per-second=10",
    ] {
        assert!(cores(more) > base, "{more}");
    }
    for less in ["--video=180p", "--visible=4", "--publishers=2", "--audio=1"] {
        assert!(cores(less) < base, "{less}");
    }
}

#[test]
fn a_call_unlike_all_that_was_measured_comes_with_a_warning() {
    let text = ask(&["--participants=30", "--video=1080p"]).unwrap();
    assert!(
        text.contains("warning: not measured: ")
            && text.contains("packets per second to a receiver"),
        "{text}"
    );
}

#[test]
fn bad_input_names_the_flag_the_value_and_what_is_allowed() {
    for (argument, parts) in [
        ("--participants=0", ["'0'", "--participants", "1..=100000"]),
        ("--video=4k", ["'4k'", "--video", "720p"]),
        ("--core-target=120", ["'120'", "--core-target", "1 to 100"]),
        (
            "--bandwidth-per-instance=10",
            ["'10'", "--bandwidth-per-instance", "10gbit"],
        ),
        ("--publishers=11", ["11", "--publishers", "10 participants"]),
    ] {
        let error = ask(&[argument]).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "no {part} in {error}");
        }
    }
}

#[test]
fn rates_and_shares_are_read() {
    assert_eq!(percent("60%"), percent("60"));
    assert!(percent("0").is_err() && percent("many").is_err());
    assert!((bits("1.5gbit").unwrap() - 1.5e9).abs() < 1.0);
    assert!((bits("800mbit").unwrap() - 8e8).abs() < 1.0);
    assert!(bits("-1gbit").is_err() && bits("nangbit").is_err());
}

#[test]
fn bitrates_and_slots_are_those_of_the_page() {
    let encodings = include_str!("../../../web/client/encodings.js");
    for part in [
        "FULL_BPS = 2_000_000;",
        "PIXEL_EXPONENT = 0.75;",
        "share: 1 / 12 }",
        "share: 2 / 7 }",
        "share: 1 }",
    ] {
        assert!(
            encodings.contains(part),
            "{part}: the plan's bitrates are others"
        );
    }
    let camera = |pixels: f64| {
        let full = 2_000.0 * (pixels / (1_280.0 * 720.0)).powf(0.75);
        [full / 12.0, full * 2.0 / 7.0, full].map(|kbps| format!("{kbps:.0}"))
    };
    let planned = |video: Video| {
        let layers = video.layers_kbps().iter();
        layers.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(planned(Video::P720), camera(1_280.0 * 720.0));
    assert_eq!(planned(Video::P1080), camera(1_920.0 * 1_080.0));
    assert_eq!(planned(Video::P360), camera(1_280.0 * 720.0)[..2]);
    let (video, audio) = PAGE_SLOTS;
    let slots = format!("FIRST_SLOTS = Object.freeze({{ audio: {audio}, video: {video} }})");
    assert!(include_str!("../../../web/client/protocol.js").contains(&slots));
}

#[test]
fn the_help_names_every_flag() {
    let help = ask(&["--help"]).unwrap_err();
    for flag in [
        "--participants <N>",
        "--publishers <N>",
        "--rooms <N>",
        "--video <VIDEO>",
        "--visible <N>",
        "--audio <N>",
        "--joins-per-second <N>",
        "--core-target <PERCENT>",
        "--cores-per-instance <N>",
        "--bandwidth-per-instance <RATE>",
        "--explain",
        "--json",
    ] {
        assert!(help.contains(flag), "no {flag} in {help}");
    }
    assert!(!help.contains("MADANG_"), "a plan has no settings");
}

#[test]
fn the_documentation_shows_what_is_printed() {
    let page = include_str!("../../../../docs/operations.md");
    let blocks = page.split("```\n$ madang plan ").skip(1);
    let mut count = 0;
    for block in blocks {
        let block = block.split("```").next().unwrap();
        let (arguments, shown) = block.split_once('\n').unwrap();
        let arguments: Vec<&str> = arguments.split(' ').collect();
        let printed = ask(&arguments).unwrap();
        assert_eq!(
            shown, printed,
            "docs/operations.md shows an old plan; now it is\n{printed}"
        );
        count += 1;
    }
    assert!(count > 0);
}
