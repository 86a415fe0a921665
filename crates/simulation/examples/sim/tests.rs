//! What a run leaves behind, and what a search finds.

use std::collections::HashSet;
use std::{env, fs, process};

use super::*;

fn studies(codec: &str) -> Vec<(Encoding, Study)> {
    let args = ["sim", "--plan", "cap-300k", "--codec", codec];
    chosen(&Args::try_parse_from(args).unwrap())
}

#[test]
fn a_traced_run_leaves_a_timeline_of_packets_and_a_picture_of_rates_and_freezes() {
    let directory = env::temp_dir().join(format!("madang-sim-{}", process::id()));
    let runs = batch::play(&studies("vp8-simulcast"), 1..=1, Some(&directory));
    let file =
        |end: &str| fs::read_to_string(directory.join(format!("cap-300k-vp8-simulcast-1.{end}")));
    let (timeline, picture) = (file("jsonl").unwrap(), file("svg").unwrap());
    fs::remove_dir_all(&directory).unwrap();

    let mut told = HashSet::new();
    let mut before = 0;
    for line in timeline.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let at = line["at_us"].as_u64().unwrap();
        assert!(at >= before, "in the order of time");
        before = at;
        told.extend(line.as_object().unwrap().keys().cloned());
    }
    for what in [
        "step",
        "down",
        "up",
        "seq",
        "dropped",
        "estimate_bps",
        "allocated_bps",
        "frame",
        "freeze_ms",
    ] {
        assert!(told.contains(what), "no {what} in {told:?}");
    }
    assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
    assert_eq!(
        picture.matches("<polyline").count(),
        5,
        "capacity, estimate, allocated, sent, received"
    );

    let table = table::markdown(&runs, &(1..=1));
    assert!(table.contains("| cap-300k | vp8-simulcast |"), "{table}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let played = || {
        let runs = batch::play(&studies("av1-svc"), 7..=7, None);
        table::markdown(&runs, &(7..=7))
    };
    assert_eq!(played(), played());
}

#[test]
fn a_search_finds_what_misses_a_target() {
    let mut studies = studies("h264-simulcast");
    assert_eq!(search(&studies, 1, 0, None), 0);
    for (_, study) in &mut studies {
        study.targets.top_layer_ms = Some(1.0);
    }
    assert_eq!(search(&studies, 1, 0, None), 1);
}
