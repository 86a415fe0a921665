//! The studies of the catalogue reach their targets, with committed seeds.

use std::cell::RefCell;

use madang_simulation::Action::{Downlink, Join, Uplink};
use madang_simulation::Plan;
use madang_simulation::catalogue::{self, Encoding};
use madang_simulation::measure::measure;
use madang_simulation::network::LinkConfig;

use crate::ms;

/// One with all people on one worker, and one with them on several.
const SEEDS: [u64; 2] = [1, 2];

/// A study reaches its targets with cameras of every kind.
fn reaches_its_targets(name: &str, seeds: &[u64]) {
    reaches_its_targets_with(&Encoding::ALL, name, seeds);
}

/// The same with cameras of these kinds, where a room is large.
fn reaches_its_targets_with(encodings: &[Encoding], name: &str, seeds: &[u64]) {
    for &encoding in encodings {
        for &seed in seeds {
            let study = catalogue::find(encoding, name).unwrap();
            let viewer = [study.subject.viewer];
            study.plan.play(seed, &viewer, |world| {
                let measured = measure(world, &study.subject);
                assert_eq!(world.complaints(), [] as [String; 0]);
                let missed = study.missed(&measured);
                assert_eq!(missed, [] as [String; 0], "{encoding:?}: {measured:?}");
            });
        }
    }
}

#[test]
fn a_steady_link_is_used_and_not_overfilled() {
    // With the second, those who come first have no sender report yet, and the viewer catches up with eight people.
    reaches_its_targets("steady-3m", &[1, 6]);
}

#[test]
fn fault_07_a_cap_is_lifted_and_the_top_layer_is_back_soon() {
    // With the third, what of the large picture gets lost is asked for while the small one waits; with the last, the small one begins
    // to leave while the queue is full.
    reaches_its_targets("cap-300k", &[1, 2, 3, 24]);
}

#[test]
fn a_twentieth_of_the_packets_lost_by_chance_freezes_nothing() {
    // With the third, all sound comes with that of before, where AV1 is sent; with the fourth, the end of a handshake gets lost, and
    // what has been sent in the meantime is repaired; with the next, packets of a large picture a second after the first; with the last, one
    // of these and two of its repairs, with H.264.
    reaches_its_targets("loss-5", &[1, 2, 26, 29, 46, 64]);
}

#[test]
fn a_seventh_of_the_packets_lost_by_chance_hardly_freezes_anything() {
    reaches_its_targets("loss-15", &[1, 4, 21]);
}

#[test]
fn a_quarter_of_the_packets_lost_by_chance_leaves_everybody_a_picture() {
    reaches_its_targets("loss-25", &SEEDS);
}

#[test]
fn what_a_publisher_loses_hardly_freezes_anything_and_words_are_heard() {
    reaches_its_targets("lossy-publisher", &SEEDS);
}

#[test]
fn losses_in_bursts_cost_no_more_than_the_bursts() {
    reaches_its_targets("burst-loss", &SEEDS);
}

#[test]
fn a_longer_way_freezes_nothing() {
    reaches_its_targets("delay-step", &SEEDS);
}

#[test]
fn a_phone_on_its_way_sees_and_hears() {
    reaches_its_targets("4g-handover", &[1]);
}

#[test]
fn busy_neighbours_of_a_wireless_network_freeze_hardly_anything() {
    reaches_its_targets("wifi", &[2]);
}

#[test]
fn a_publishers_narrow_uplink_shows_a_smaller_picture() {
    reaches_its_targets("congested-publisher", &SEEDS);
}

#[test]
fn a_grid_of_many_pictures_moves() {
    let encodings = [Encoding::H264Simulcast, Encoding::Av1Svc];
    reaches_its_targets_with(&encodings, "grid-25", &[1]);
}

#[test]
fn a_screen_and_nine_cameras_share_a_narrow_link() {
    reaches_its_targets("screen-and-9", &[1]);
}

#[test]
fn one_seed_is_one_run() {
    let runs = [
        (Encoding::Vp8Simulcast, "loss-15", 1),
        (Encoding::Vp8Simulcast, "loss-15", 2),
        // Packets of several pictures are missing at once.
        (Encoding::Av1Svc, "4g-handover", 2),
    ];
    for (encoding, name, seed) in runs {
        let [first, second] = [(), ()].map(|()| {
            let study = catalogue::find(encoding, name).unwrap();
            let log = RefCell::new(Vec::new());
            study.plan.play(seed, &["anna", "ben"], |world| {
                let links = ["anna", "ben"].map(|name| world.seat(name));
                let passages = links.map(|seat| (seat.down.log().to_vec(), seat.up.log().to_vec()));
                log.borrow_mut().extend(passages);
            });
            log.into_inner()
        });
        assert!(
            first == second,
            "two runs of {name} with seed {seed} differ"
        );
    }
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
        plan.play(seed, &["anna"], |world| {
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
