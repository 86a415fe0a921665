//! Calls in virtual time, through a real shard. Each test is a story and runs over committed seeds.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod allocation;
mod bandwidth;
mod calls;
mod codecs;
mod continuity;
mod demand;
mod encoder;
mod garbage;
mod layers;
mod links;
mod lossy;
mod outages;
mod pacing;
mod quality;
mod repair;
mod slots;
mod timing;

use std::time::Duration;

use madang_core::Source::Camera;
use madang_simulation::Expectation::Sees;
use madang_simulation::{Action, BrowserConfig, Plan, World};

/// Each story runs once for each of them.
const SEEDS: &[u64] = &[1, 2, 3];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Everybody sees everybody else.
fn all_see_all(people: &[&'static str]) -> Vec<Action> {
    let pairs = people
        .iter()
        .flat_map(|viewer| people.iter().map(move |publisher| (*viewer, *publisher)));
    pairs
        .filter(|(viewer, publisher)| viewer != publisher)
        .map(|(viewer, publisher)| Action::Expect(Sees(viewer, publisher, Camera)))
        .collect()
}

/// Whether a publisher was last told to send the stream of that name.
fn is_asked_for(world: &World, publisher: &str, rid: &str) -> Option<bool> {
    let layers = world.seat(publisher).page.layers.values().flatten();
    let of_rid = layers.filter(|layer| layer.rid == Some(rid.into()));
    of_rid.map(|layer| layer.active).next_back()
}

/// A tile for somebody's camera.
fn tile(viewer: &'static str, publisher: &'static str, size: (u32, u32)) -> Action {
    Action::Tile {
        viewer,
        publisher,
        source: Camera,
        size,
    }
}

/// One picture without sound, and one who looks at it.
fn anna_looks_at_ben(title: &'static str) -> Plan {
    Plan::new(title)
        .at(
            0,
            "ben has a camera and no microphone",
            [
                Action::JoinWith("ben", BrowserConfig::default()),
                Action::Publish("ben", Camera),
            ],
        )
        .at(
            0,
            "anna looks at him",
            [Action::JoinWith("anna", BrowserConfig::default())],
        )
}

/// A browser that can show one picture.
fn one_slot() -> BrowserConfig {
    BrowserConfig {
        video_slots: 1,
        ..BrowserConfig::default()
    }
}

/// Somebody with one slot looks at somebody else, and at nobody besides.
fn look_at(viewer: &'static str, publisher: &'static str) -> [Action; 2] {
    [
        Action::Tiles(viewer, None),
        tile(viewer, publisher, (640, 360)),
    ]
}
