//! The simulator's figures for the plans that real Chromium is measured with, as JSON: `cargo xtask chromium` prints
//! both side by side.
//!
//! One argument, the file of the plans. Medians over the seeds.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a tool for people who work on Madang"
)]

use std::time::Duration;

use madang_core::Source::{Camera, Microphone};
use madang_simulation::measure::freezes_of;
use madang_simulation::network::LinkConfig;
use madang_simulation::{Action, BrowserConfig, Plan, World};
use serde_json::{Value, json};

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
/// The picture has its top layer by then: the plan begins.
const BEGIN: Duration = Duration::from_secs(10);
/// What the links of a plan have where it says nothing.
const DELAY_MS: u64 = 25;

fn main() {
    let file = std::env::args().nth(1).unwrap();
    let plans: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let figures = plans.as_array().unwrap().iter().map(|plan| {
        let name = plan["name"].as_str().unwrap().to_owned();
        let runs: Vec<Figures> = SEEDS.iter().map(|seed| run(plan, *seed)).collect();
        let median = |value: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = runs.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let figures = json!({
            "freezes": median(|figures| figures.freezes),
            "frozen": median(|figures| figures.frozen),
            "frames": median(|figures| figures.frames),
            "keyframes": median(|figures| figures.keyframes),
            "concealed": median(|figures| figures.concealed),
            "recovery": Some(median(|figures| figures.recovery)).filter(|seconds| seconds.is_finite()),
        });
        (name, figures)
    });
    println!("{:#}", Value::Object(figures.collect()));
}

/// The same as getStats gives: see `crates/web/tests/support/quality.mjs`.
#[derive(Debug, Default)]
struct Figures {
    freezes: f64,
    /// In seconds.
    frozen: f64,
    /// Decoded in a second.
    frames: f64,
    keyframes: f64,
    /// Share of the sound.
    concealed: f64,
    /// In seconds; infinite where the top layer has not come back.
    recovery: f64,
}

fn run(plan: &Value, seed: u64) -> Figures {
    let seconds = plan["seconds"].as_u64().unwrap();
    let end = BEGIN + Duration::from_secs(seconds);
    let mut last_step = BEGIN;
    let wires = ["sender", "viewer"].into_iter().flat_map(|who| {
        let wire = link(&json!({}));
        [
            Action::Uplink(who, wire.clone()),
            Action::Downlink(who, wire),
        ]
    });
    let browser = BrowserConfig {
        red: true,
        sends_red: true,
        small_camera: true,
        adaptive: true,
        allocations: true,
        ..BrowserConfig::default()
    };
    let join = [
        Action::JoinWith("sender", browser),
        Action::Publish("sender", Microphone),
        Action::Publish("sender", Camera),
        Action::JoinWith("viewer", browser),
        Action::Talk("sender", -20),
        Action::Tiles("viewer", Some((480, 272))),
    ];
    let mut story = Plan::new("beside Chromium").at(
        0,
        "a camera and a viewer",
        join.into_iter().chain(wires).collect::<Vec<_>>(),
    );
    let mut changes: Vec<(u64, Action)> = Vec::new();
    for step in plan["steps"].as_array().unwrap() {
        let at = BEGIN + Duration::from_secs_f64(step["at"].as_f64().unwrap());
        last_step = last_step.max(at);
        changes.extend(actions(step, at, end));
    }
    changes.sort_by_key(|(at, _)| *at);
    for (at, action) in changes {
        story = story.at(at, "the network changes", [action]);
    }
    let millis = u64::try_from(end.as_millis()).unwrap();
    story = story.at(millis, "the end", []);
    let figures = std::cell::RefCell::new(Figures::default());
    story.run(&[seed], |world| {
        *figures.borrow_mut() = measure(world, last_step, end);
    });
    figures.into_inner()
}

/// What one step does to the links, in milliseconds from the start.
fn actions(step: &Value, at: Duration, end: Duration) -> Vec<(u64, Action)> {
    type Change = fn(&'static str, LinkConfig) -> Action;
    let links: [(&str, &'static str, Change); 4] = [
        ("sender_up", "sender", Action::Uplink),
        ("sender_down", "sender", Action::Downlink),
        ("viewer_up", "viewer", Action::Uplink),
        ("viewer_down", "viewer", Action::Downlink),
    ];
    let mut actions = Vec::new();
    for (field, who, change) in links {
        let config = &step[field];
        if config.is_null() {
            continue;
        }
        let at_ms = u64::try_from(at.as_millis()).unwrap();
        actions.push((at_ms, change(who, link(config))));
        let burst = &config["burst"];
        if let (Some(every), Some(lasts)) = (burst["every_ms"].as_u64(), burst["for_ms"].as_u64()) {
            let mut next = at_ms + every;
            while u128::from(next) <= end.as_millis() {
                let out = LinkConfig {
                    outage: true,
                    ..link(config)
                };
                actions.push((next - lasts, change(who, out)));
                actions.push((next, change(who, link(config))));
                next += every;
            }
        }
    }
    actions
}

fn link(config: &Value) -> LinkConfig {
    LinkConfig {
        rate_bps: config["rate_bps"].as_u64(),
        queue: Duration::from_millis(config["queue_ms"].as_u64().unwrap_or(300)),
        delay: Duration::from_millis(config["delay_ms"].as_u64().unwrap_or(DELAY_MS)),
        jitter: Duration::from_millis(config["jitter_ms"].as_u64().unwrap_or(0)),
        loss: config["loss"].as_f64().unwrap_or(0.0),
        ..LinkConfig::default()
    }
}

fn measure(world: &World, last_step: Duration, end: Duration) -> Figures {
    let frames = world.frames("viewer", "sender", Camera, BEGIN);
    let sounds = world.sounds("viewer", "sender", Microphone, BEGIN);
    let seconds = (end - BEGIN).as_secs_f64();
    let freezes = freezes_of(world, "viewer", "sender", Camera);
    let freezes = freezes.iter().filter(|freeze| freeze.start > BEGIN);
    Figures {
        freezes: freezes.clone().count() as f64,
        frozen: freezes
            .map(|freeze| (freeze.end - freeze.start).as_secs_f64())
            .sum(),
        frames: frames.len() as f64 / seconds,
        keyframes: frames
            .iter()
            .filter(|frame| frame.tag.reference.is_none())
            .count() as f64,
        concealed: (1.0 - sounds.len() as f64 / (seconds * 50.0)).max(0.0),
        recovery: frames
            .iter()
            .find(|frame| frame.at > last_step && frame.tag.layer == TOP_LAYER)
            .map_or(f64::INFINITY, |frame| (frame.at - last_step).as_secs_f64()),
    }
}

const TOP_LAYER: u8 = 2;
