//! Faults 1 to 5: what leaves is one continuous stream, whatever is switched.

use std::time::Duration;

use madang_core::Source::{Camera, Microphone};
use madang_simulation::Action::{Expect, Join, JoinWith, LoseUp, Mute, Publish, Talk, Unmute};
use madang_simulation::Expectation::{Hears, Sees, SeesLayer};
use madang_simulation::{BrowserConfig, Plan, StartValues, World};

use crate::{SEEDS, all_see_all, look_at, ms, one_slot, tile};

const CLOCK_RATE: u32 = 90_000;
/// Half a frame, and two steps of virtual time.
const TOLERANCE: Duration = Duration::from_micros(16_700 + 2_000);

/// How far the timestamp moved over the longest pause in the picture, and how long that was.
fn longest_pause(world: &World, viewer: &str) -> (Duration, Duration) {
    let decoder = world.seat(viewer).browser.video.values().next().unwrap();
    let pairs = decoder.shown().windows(2);
    let longest = pairs
        .max_by_key(|pair| pair[1].tag.captured.saturating_sub(pair[0].tag.captured))
        .unwrap();
    let ticks = longest[1].timestamp.wrapping_sub(longest[0].timestamp);
    let elapsed = longest[1].tag.captured - longest[0].tag.captured;
    (Duration::from_secs(u64::from(ticks)) / CLOCK_RATE, elapsed)
}

#[test]
fn fault_01_timestamps_advance_with_time_over_switches_and_pauses() {
    Plan::new("a muted camera, a hidden tile, another camera")
        .at(
            0,
            "anna has one slot",
            [JoinWith("anna", one_slot()), Join("ben"), Join("cleo")],
        )
        .at(100, "she looks at ben", look_at("anna", "ben"))
        .at(
            3_000,
            "ben turns his camera off",
            [Expect(Sees("anna", "ben", Camera)), Mute("ben", Camera)],
        )
        .at(7_321, "and on again", [Unmute("ben", Camera)])
        .at(
            10_000,
            "the tile is hidden",
            [
                Expect(Sees("anna", "ben", Camera)),
                tile("anna", "ben", (0, 0)),
            ],
        )
        .at(12_345, "and shown", [tile("anna", "ben", (640, 360))])
        .at(15_000, "she looks at cleo", look_at("anna", "cleo"))
        .at(
            18_000,
            "she sees her",
            [Expect(Sees("anna", "cleo", Camera))],
        )
        .run(SEEDS, |world| {
            let (advanced, elapsed) = longest_pause(world, "anna");
            assert!(elapsed > ms(4_000), "{elapsed:?}");
            assert!(
                advanced.abs_diff(elapsed) <= TOLERANCE,
                "{advanced:?} instead of {elapsed:?}"
            );
        });
}

#[test]
fn fault_02_a_publishers_loss_stays_visible() {
    let lose = LoseUp {
        publisher: "ben",
        source: Camera,
        rid: Some("h"),
        packets: 4,
        retransmissions: 1_000,
    };
    Plan::new("four packets are lost for ever on ben's uplink")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(
            4_000,
            "anna sees the middle layer",
            [Expect(SeesLayer("anna", "ben", "h"))],
        )
        .at(4_005, "the packets are lost", [lose])
        .at(
            8_000,
            "the picture has recovered",
            [Expect(Sees("anna", "ben", Camera))],
        )
        .run(SEEDS, |world| {
            assert_eq!(world.lost_packets("anna"), 4, "the holes that anna sees");
        });
}

#[test]
fn fault_03_a_switch_waits_for_a_keyframe_of_its_layer() {
    let sizes = [
        (160, 90),
        (1_280, 720),
        (640, 360),
        (1_280, 720),
        (160, 90),
        (640, 360),
    ];
    let mut plan = Plan::new("three viewers change layers at different times").at(
        0,
        "four start",
        ["anna", "ben", "cleo", "dan"].map(Join),
    );
    let shifted = |by| sizes.into_iter().cycle().skip(by);
    let steps = (0..).zip(sizes).zip(shifted(1)).zip(shifted(2));
    for (((step, first), second), third) in steps {
        let at = 3_000 + step * 1_700;
        plan = plan
            .at(at, "anna's tile changes", [tile("anna", "ben", first)])
            .at(
                at + 300,
                "cleo's tile changes",
                [tile("cleo", "ben", second)],
            )
            .at(at + 310, "dan's tile changes", [tile("dan", "ben", third)]);
    }
    plan.at(
        20_000,
        "all still see ben",
        ["anna", "cleo", "dan"].map(|name| Expect(Sees(name, "ben", Camera))),
    )
    .run(SEEDS, |world| {
        for viewer in ["anna", "cleo", "dan"] {
            let frames = world.frames(viewer, "ben", Camera, ms(2_000));
            let switches: Vec<_> = frames
                .windows(2)
                .filter(|pair| pair[0].tag.layer != pair[1].tag.layer)
                .collect();
            assert!(
                switches.len() >= 3,
                "{viewer} switched {} times",
                switches.len()
            );
            assert!(switches.iter().all(|pair| pair[1].tag.is_keyframe()));
        }
    });
}

#[test]
fn fault_04_the_last_packet_of_a_frame_is_not_held_back() {
    Plan::new("a call of two on perfect links")
        .at(0, "two start", [Join("anna"), Join("ben")])
        .at(
            8_000,
            "they have talked for a while",
            all_see_all(&["anna", "ben"]),
        )
        .run(SEEDS, |world| {
            let network = ms(20);
            let frames = world.frames("anna", "ben", Camera, ms(3_000));
            let delays = frames.iter().filter(|frame| !frame.tag.is_keyframe());
            let worst = delays
                .map(|frame| frame.at - frame.tag.captured)
                .max()
                .unwrap();
            assert!(
                worst < network + ms(15),
                "a frame was complete {worst:?} after its capture"
            );
        });
}

#[test]
fn fault_05_counters_wrap_around() {
    let (long, short) = about_to_wrap();
    Plan::new("every counter is about to wrap")
        .at(
            0,
            "they join",
            [
                JoinWith("anna", one_slot()),
                JoinWith("ben", long),
                JoinWith("cleo", short),
            ],
        )
        .at(
            0,
            "they publish",
            ["ben", "cleo"].map(|name| Publish(name, Camera)),
        )
        .at(
            0,
            "with sound",
            ["ben", "cleo"].map(|name| Publish(name, Microphone)),
        )
        .at(100, "anna looks at ben", look_at("anna", "ben"))
        .at(
            1_000,
            "both speak",
            ["ben", "cleo"].map(|name| Talk(name, -20)),
        )
        .at(
            9_000,
            "she sees him",
            [
                Expect(Sees("anna", "ben", Camera)),
                Expect(Hears("anna", "ben")),
            ],
        )
        .at(9_000, "she looks at cleo", look_at("anna", "cleo"))
        .at(
            17_000,
            "she sees her",
            [
                Expect(Sees("anna", "cleo", Camera)),
                Expect(Hears("anna", "cleo")),
            ],
        )
        .at(17_000, "and back to ben", look_at("anna", "ben"))
        .at(
            20_000,
            "she sees him",
            [Expect(Sees("anna", "ben", Camera))],
        )
        .run(SEEDS, |world| {
            assert_eq!(world.lost_packets("anna"), 0);
        });
}

/// Cameras whose counters all wrap within seconds; picture ids have 15 bits and 7.
fn about_to_wrap() -> (BrowserConfig, BrowserConfig) {
    let start = StartValues {
        sequence: Some(65_400),
        timestamp: Some(u32::MAX - 5 * CLOCK_RATE),
        picture_id: Some(0x7fc0),
        tl0: Some(240),
        short_picture_id: false,
    };
    let long = BrowserConfig {
        start,
        ..BrowserConfig::default()
    };
    let short = BrowserConfig {
        start: StartValues {
            short_picture_id: true,
            ..start
        },
        ..long
    };
    (long, short)
}
