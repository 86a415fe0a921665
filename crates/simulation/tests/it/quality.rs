//! The studies of the catalogue reach their targets, with committed seeds.

use std::cell::RefCell;

use madang_simulation::Action::{Downlink, Join, JoinWith, Uplink};
use madang_simulation::catalogue::{self, Encoding};
use madang_simulation::measure::{Measured, measure};
use madang_simulation::network::{Fate, LinkConfig};
use madang_simulation::{BrowserConfig, Plan};

use crate::{look_at, ms};

const SEEDS: [u64; 2] = [1, 2];

/// Plays a study in these encodings; what it measures goes to `verdict`.
fn play(name: &str, encodings: &[Encoding], verdict: impl Fn(&Measured)) {
    play_seeds(&SEEDS, name, encodings, verdict);
}

/// The same with fewer seeds, where a room is large.
fn play_seeds(seeds: &[u64], name: &str, encodings: &[Encoding], verdict: impl Fn(&Measured)) {
    for &encoding in encodings {
        for &seed in seeds {
            let study = catalogue::find(encoding, name).unwrap();
            let viewer = [study.subject.viewer];
            study.plan.play(seed, 1, &viewer, |world| {
                let measured = measure(world, &study.subject);
                assert_eq!(world.complaints(), [] as [String; 0]);
                assert!(measured.torn_frames < 0.5, "{measured:?}");
                verdict(&measured);
            });
        }
    }
}

#[test]
fn one_seed_is_one_run() {
    let [first, second] = [(), ()].map(|()| {
        let study = catalogue::find(Encoding::Vp8Simulcast, "loss-15").unwrap();
        let log = RefCell::new(Vec::new());
        study.plan.play(1, 1, &["anna", "ben"], |world| {
            let links = ["anna", "ben"].map(|name| world.seat(name));
            let passages = links.map(|seat| (seat.down.log().to_vec(), seat.up.log().to_vec()));
            log.borrow_mut().extend(passages);
        });
        log.into_inner()
    });
    assert!(first == second, "two runs of one seed differ");
}

#[test]
fn fault_07_a_cap_is_lifted_and_the_top_layer_is_back_within_eight_seconds() {
    play("cap-300k", &Encoding::ALL, |measured| {
        assert!(measured.top_layer_ms.unwrap() < 8_000.0, "{measured:?}");
        assert!(measured.self_made_loss < 0.01, "{measured:?}");
    });
}

#[test]
fn fault_08_a_publishers_loss_lowers_no_viewers_estimate() {
    let plan = Plan::new("ben's uplink loses 10 %")
        .at(0, "two start", [Join("ben"), Join("anna")])
        .at(
            0,
            "anna's link carries 3 Mbit/s",
            [Downlink("anna", LinkConfig::rate(3_000_000))],
        )
        .at(
            8_000,
            "ben's uplink gets bad",
            [Uplink("ben", LinkConfig::loss(0.1))],
        )
        .at(18_000, "the end", []);
    for seed in SEEDS {
        plan.play(seed, 1, &["anna"], |world| {
            let estimates = |from: u64, until: u64| {
                let samples = world.seat("anna").samples.iter();
                let samples = samples.filter(|s| (ms(from)..ms(until)).contains(&s.at));
                samples
                    .filter_map(|s| s.downlink.estimate_bps)
                    .min()
                    .unwrap()
            };
            let (before, after) = (estimates(7_000, 8_000), estimates(8_000, 18_000));
            assert!(after * 10 >= before * 9, "{before} became {after}");
        });
    }
}

#[test]
fn fault_12_a_keyframe_into_a_narrow_link_is_no_burst() {
    // At once, a keyframe of 6.7 KB would stand in the queue for 77 ms.
    let narrow = LinkConfig {
        queue: ms(72),
        ..LinkConfig::rate(700_000)
    };
    let plan = Plan::new("keyframes into a narrow link")
        .at(
            0,
            "ben shows himself, and anna comes",
            [Join("ben"), JoinWith("anna", BrowserConfig::default())],
        )
        .at(0, "over 700 kbit/s", [Downlink("anna", narrow)])
        .at(8_000, "cleo comes and needs a keyframe", [Join("cleo")])
        .at(8_000, "at whom anna does not look", look_at("anna", "ben"))
        .at(11_000, "the end", []);
    for seed in SEEDS {
        plan.play(seed, 1, &["anna"], |world| {
            let log = world.seat("anna").down.log().iter();
            let late = log.filter(|passage| passage.at > ms(8_000));
            let dropped = late.filter(|passage| passage.fate == Fate::Dropped).count();
            assert_eq!(dropped, 0, "the queue was full");
        });
    }
}

#[test]
fn a_steady_link_is_used_and_not_overfilled() {
    play_seeds(&SEEDS[..1], "steady-3m", &Encoding::ALL, |measured| {
        assert!(measured.link_use.unwrap() >= 0.85, "{measured:?}");
        assert!(measured.self_made_loss < 0.01, "{measured:?}");
        assert!(measured.top_layer_ms.unwrap() < 8_000.0, "{measured:?}");
        assert!(measured.freezes_per_minute < 0.1, "{measured:?}");
    });
}

#[test]
fn a_link_that_becomes_narrow_stops_the_picture_for_a_moment_alone() {
    play("cap-300k", &Encoding::ALL, |measured| {
        assert!(measured.frozen < 0.025, "{measured:?}");
    });
}

#[test]
fn the_first_picture_is_a_small_one_and_the_best_one_follows_soon() {
    play("delay-step", &Encoding::ALL, |measured| {
        assert!(measured.first_frame_ms.unwrap() < 100.0, "{measured:?}");
        assert!(measured.top_layer_ms.unwrap() < 6_000.0, "{measured:?}");
    });
}

#[test]
fn many_first_pictures_come_at_once_and_hardly_any_is_paused() {
    play_seeds(
        &SEEDS[..1],
        "grid-25",
        &[Encoding::H264Simulcast],
        |measured| {
            assert!(measured.first_frame_ms.unwrap() < 400.0, "{measured:?}");
            // Keyframes count for what pictures take at first: one of 24 may be paused for some seconds.
            assert!(measured.paused < 0.02, "{measured:?}");
            assert!(measured.freezes_per_minute < 0.1, "{measured:?}");
        },
    );
}

#[test]
fn a_longer_way_freezes_nothing() {
    play("delay-step", &Encoding::ALL, |measured| {
        assert!(measured.freezes_per_minute < 0.1, "{measured:?}");
    });
}

#[test]
fn what_is_lost_by_chance_is_repaired_before_it_is_seen() {
    for name in ["loss-5", "loss-15"] {
        play_seeds(&SEEDS[..1], name, &Encoding::ALL, |measured| {
            assert!(measured.freezes_per_minute < 0.1, "{measured:?}");
        });
    }
}

#[test]
fn probes_look_for_the_room_that_repairs_take() {
    play_seeds(&[1, 21], "loss-15", &[Encoding::Vp8Simulcast], |measured| {
        assert!(measured.top_layer_ms.unwrap() < 8_000.0, "{measured:?}");
    });
}
