//! What must hold on each kind of path.

use super::link::{MS, Weather};
use super::world::{World, median};

const SEEDS: [u64; 3] = [1, 2, 3];
const SECOND: i64 = 1_000;

fn print(what: &str, seed: u64, line: &str) {
    println!("{what} (seed {seed}): {line}");
}

#[test]
fn a_steady_path_is_used_without_a_queue() {
    for bps in [1e6, 3e6] {
        for seed in SEEDS {
            let mut world = World::new(Weather::fair(bps), &[300_000], seed);
            world.demand(5e6);
            world.run(20 * SECOND);
            let (dropped, packets) = (world.link.dropped, world.flows[0].packets);
            let from = world.now;
            let used = world.run(60 * SECOND)[0] / bps;
            let lost =
                (world.link.dropped - dropped) as f64 / (world.flows[0].packets - packets) as f64;
            let wait = median(&world.waits[20_000..]);
            let (lowest, mean, highest) = world.flows[0].spread(from);
            print(
                "steady",
                seed,
                &format!(
                    "{bps} used {used:.3} lost {lost:.4} wait {wait:.0} ms, estimate {:.2} {:.2} {:.2}, probes {}",
                    lowest / bps,
                    mean / bps,
                    highest / bps,
                    world.flows[0].probes
                ),
            );
            assert!(used > 0.85);
            assert!(lost < 0.01);
            assert!(wait < 100.0);
            assert!(lowest > mean * 0.85 && highest < mean * 1.15);
        }
    }
}

#[test]
fn paths_of_all_sizes_are_used() {
    for (bps, delay_ms, pacer_ms) in [
        (150e3, 25, 1),
        (500e3, 150, 5),
        (3e6, 5, 5),
        (3e6, 150, 1),
        (20e6, 5, 1),
        (20e6, 25, 5),
    ] {
        for seed in SEEDS {
            let weather = Weather {
                delay_ms,
                ..Weather::fair(bps)
            };
            let mut world = World::new(weather, &[300_000], seed);
            world.flows[0].pacer_ms = pacer_ms;
            world.demand(30e6);
            world.run(10 * SECOND);
            let from = world.now;
            let used = world.run(30 * SECOND)[0] / bps;
            let (lowest, mean, highest) = world.flows[0].spread(from);
            let wait = median(&world.waits[10_000..]);
            print(
                "size",
                seed,
                &format!(
                    "{bps} {delay_ms} ms, pacer {pacer_ms} ms: used {used:.2}, wait {wait:.0} ms, {:.2} {:.2} {:.2}",
                    lowest / bps,
                    mean / bps,
                    highest / bps
                ),
            );
            assert!(used > 0.75 && wait < 100.0);
        }
    }
}

#[test]
fn probing_finds_a_fast_path_at_the_start() {
    for (start, copies) in [(300_000, false), (300_000, true), (1_000_000, true)] {
        for seed in SEEDS {
            let mut world = World::new(Weather::fair(5e6), &[start], seed);
            world.flows[0].copies = copies;
            world.demand(6e6);
            world.run(3 * SECOND);
            let reached = world.flows[0].reached(0, 0.85 * 5e6);
            print(
                "start",
                seed,
                &format!("{start} copies {copies}: 85 % after {reached:?} s"),
            );
            assert!(reached.is_some());
        }
    }
}

#[test]
fn a_lifted_cap_is_found() {
    for seed in SEEDS {
        let mut world = World::new(Weather::fair(300e3), &[1_000_000], seed);
        world.flows[0].copies = seed % 2 == 0;
        world.demand(3e6);
        world.run(30 * SECOND);
        let (capped, lifted) = (world.flows[0].spread(10_000 * MS), world.now);
        world.link.weather.bps = 3e6;
        world.run(8 * SECOND);
        let reached = world.flows[0].reached(lifted, 2.5e6);
        let wait = median(&world.waits[10_000..30_000]);
        print(
            "cap lifted",
            seed,
            &format!("capped {capped:.0?} wait {wait:.0} ms, 2.5 Mbit/s after {reached:?} s"),
        );
        assert!(reached.is_some());
    }
}

#[test]
fn little_demand_neither_lowers_nor_raises_the_estimate() {
    for seed in SEEDS {
        let mut world = World::new(Weather::fair(3e6), &[1_000_000], seed);
        world.demand(200e3);
        world.run(60 * SECOND);
        let (spread, probes) = (world.flows[0].spread(0), world.flows[0].probes);
        let from = world.now;
        world.demand(2.5e6);
        world.run(2 * SECOND);
        let rate = world.run(SECOND)[0];
        let reached = world.flows[0].reached(from, 2.5e6);
        print(
            "little demand",
            seed,
            &format!("{spread:.0?}, {probes} probes, then full after {reached:?}, {rate:.0}"),
        );
        assert_eq!(probes, 0);
        assert!(spread.0 > 900e3 && spread.2 < 1.5e6);
        assert!(reached.is_some_and(|seconds| seconds < 3.0) && rate > 2.3e6);
    }
}

#[test]
fn loss_by_chance_is_no_congestion() {
    for (loss, burst, least) in [(0.05, 1, 0.7), (0.15, 1, 0.5), (0.05, 5, 0.6)] {
        for seed in SEEDS {
            let weather = Weather {
                loss,
                burst,
                ..Weather::fair(3e6)
            };
            let mut world = World::new(weather, &[300_000], seed);
            world.demand(5e6);
            world.run(10 * SECOND);
            let used = world.run(60 * SECOND)[0] / 3e6;
            let (lowest, mean, highest) = world.flows[0].spread(10_000 * MS);
            print(
                "loss by chance",
                seed,
                &format!("{loss} x{burst}: used {used:.2}, {lowest:.0} {mean:.0} {highest:.0}"),
            );
            assert!(used > least);
        }
    }
}

#[test]
fn loss_without_a_queue_is_congestion() {
    for seed in SEEDS {
        let mut world = World::new(
            Weather {
                queue_ms: 10.0,
                ..Weather::fair(6e6)
            },
            &[1_000_000],
            seed,
        );
        world.demand(5e6);
        world.run(10 * SECOND);
        let (before, from) = (world.flows[0].estimate(), world.now);
        world.link.weather.bps = 3e6;
        world.run(2 * SECOND);
        let after = world.flows[0].estimate();
        let dropped = world.link.dropped;
        let packets = world.flows[0].packets;
        let used = world.run(30 * SECOND)[0] / 3e6;
        let lost =
            (world.link.dropped - dropped) as f64 / (world.flows[0].packets - packets) as f64;
        let spread = world.flows[0].spread(from + 2_000 * MS);
        print(
            "no queue",
            seed,
            &format!("{before:.0} -> {after:.0}, then used {used:.2} lost {lost:.3} {spread:.0?}"),
        );
        assert!(before > 4e6);
        assert!(after < 3e6);
        assert!(used > 0.7 && lost < 0.05);
    }
}

#[test]
fn a_longer_route_is_no_congestion() {
    for seed in SEEDS {
        let mut world = World::new(Weather::fair(3e6), &[1_000_000], seed);
        world.demand(5e6);
        world.run(20 * SECOND);
        let (before, from) = (world.flows[0].estimate(), world.now);
        world.link.weather.delay_ms = 125;
        world.run(5 * SECOND);
        let (lowest, _, _) = world.flows[0].spread(from);
        let after = world.flows[0].estimate();
        print(
            "longer route",
            seed,
            &format!("{before:.0}, lowest {lowest:.0}, after 5 s {after:.0}"),
        );
        assert!(lowest > before / 2.0);
        assert!(after > before * 0.85);
    }
}

#[test]
fn a_slower_path_is_not_overrun_for_long() {
    for bps in [1e6, 500e3] {
        for seed in SEEDS {
            let weather = Weather {
                queue_ms: 2_000.0,
                ..Weather::fair(3e6)
            };
            let mut world = World::new(weather, &[1_000_000], seed);
            world.demand(5e6);
            world.run(20 * SECOND);
            let start = world.waits.len();
            world.link.weather.bps = bps;
            world.run(2 * SECOND);
            let after = world.flows[0].estimate() / bps;
            world.run(8 * SECOND);
            let waits = &world.waits[start..];
            let longest = waits.iter().copied().fold(0.0, f64::max);
            let drained = waits.iter().rposition(|wait| *wait > 100.0);
            let used = world.run(20 * SECOND)[0] / bps;
            print(
                "slower path",
                seed,
                &format!(
                    "{bps}: after 2 s {after:.2}, longest wait {longest:.0} ms, under 100 ms after {drained:?} ms, used {used:.2}"
                ),
            );
            assert!(after < 1.0);
            assert!(drained.is_none_or(|ms| ms < 7_000));
            assert!(used > 0.8);
        }
    }
}

#[test]
fn an_estimate_is_none_until_it_is_no_guess_and_stays_from_then_on() {
    for seed in SEEDS {
        let mut world = World::new(Weather::fair(3e6), &[1_000_000], seed);
        world.demand(2e6);
        world.run(SECOND / 10);
        assert_eq!(world.flows[0].estimator.estimate_bps(), None);
        world.run(SECOND);
        let known = world.flows[0].estimator.estimate_bps().unwrap();
        assert!((900_000..3_000_000).contains(&known), "{known}");
        world.demand(6e6);
        for _ in 0..20 {
            world.run(SECOND / 20);
            assert!(world.flows[0].estimator.estimate_bps().is_some());
        }
    }
}

/// Its queue is full before a line can be drawn through the delays.
#[test]
fn a_path_that_has_become_narrow_is_noticed_at_once() {
    for seed in SEEDS {
        let weather = Weather {
            queue_ms: 300.0,
            ..Weather::fair(3e6)
        };
        let mut world = World::new(weather, &[1_000_000], seed);
        world.demand(2e6);
        world.flows[0].video_bps = 1.3e6;
        world.run(10 * SECOND);
        world.link.weather.bps = 300e3;
        world.run(SECOND / 3);
        let after = world.flows[0].estimate() / 300e3;
        print("narrow path", seed, &format!("after 333 ms {after:.2}"));
        assert!(after < 1.1);
    }
}

#[test]
fn what_is_wanted_but_not_sent_is_probed_up_to_the_path() {
    for seed in SEEDS {
        let mut world = World::new(Weather::fair(3e6), &[300_000], seed);
        world.demand(5e6);
        world.flows[0].video_bps = 200e3;
        world.run(60 * SECOND);
        let (lowest, mean, highest) = world.flows[0].spread(5_000 * MS);
        let wait = median(&world.waits);
        let probes = world.flows[0].probes;
        print(
            "wanted",
            seed,
            &format!("{lowest:.0} {mean:.0} {highest:.0}, {probes} probes, wait {wait:.0}"),
        );
        assert!(lowest > 2e6 && highest < 3.5e6);
        assert!(probes < 25);
    }
}

#[test]
fn jitter_and_reordering_are_no_congestion() {
    for reorder in [false, true] {
        for seed in SEEDS {
            let weather = Weather {
                jitter_ms: 30,
                reorder,
                ..Weather::fair(3e6)
            };
            let mut world = World::new(weather, &[1_000_000], seed);
            world.demand(5e6);
            world.run(10 * SECOND);
            let from = world.now;
            let used = world.run(60 * SECOND)[0] / 3e6;
            let spread = world.flows[0].spread(from);
            let wait = median(&world.waits[10_000..]);
            print(
                "jitter",
                seed,
                &format!("reorder {reorder}: used {used:.2}, wait {wait:.0}, {spread:.0?}"),
            );
            assert!(used > 0.7);
        }
    }
}

#[test]
fn lost_reports_and_an_outage_are_recovered_from() {
    for outage_ms in [400, 3_000] {
        for seed in SEEDS {
            let mut world = World::new(Weather::fair(3e6), &[1_000_000], seed);
            world.demand(5e6);
            world.run(20 * SECOND);
            let before = world.flows[0].estimate();
            let start = world.now;
            if outage_ms < 1_000 {
                world.link.weather.report_loss = 1.0;
            } else {
                world.link.weather.outage = true;
            }
            world.run(outage_ms);
            let during = world.flows[0].estimate();
            world.link.weather = Weather::fair(3e6);
            let from = world.now;
            world.run(5 * SECOND);
            let after = world.flows[0].estimate();
            let lowest = world.flows[0].spread(start).0;
            let reached = world.flows[0].reached(from, before * 0.85);
            print(
                "no reports",
                seed,
                &format!(
                    "{outage_ms} ms: {before:.0}, {during:.0}, lowest {lowest:.0}, back after {reached:?}, then {after:.0}"
                ),
            );
            assert!(outage_ms < 1_000 || during < before / 2.0);
            assert!(after > before * 0.85);
        }
    }
}

#[test]
fn what_got_lost_before_a_packet_that_is_not_late_was_no_congestion() {
    for seed in SEEDS {
        let mut world = World::new(Weather::fair(3e6), &[1_000_000], seed);
        world.demand(5e6);
        world.run(20 * SECOND);
        let start = world.now;
        for hole in 0..10 {
            // A queue grows, and is gone after a moment in which nothing comes through.
            world.link.weather.bps = 2e6;
            world.run(250);
            world.link.weather = Weather {
                loss: 1.0,
                ..Weather::fair(30e6)
            };
            world.run(200 + 20 * hole);
            world.link.weather = Weather::fair(3e6);
            world.run(5 * SECOND);
        }
        let lowest = world.flows[0].spread(start).0;
        print("holes", seed, &format!("lowest {lowest:.0}"));
        assert!(lowest > 1e6);
    }
}

#[test]
fn a_pause_is_not_forgotten_and_its_end_no_overload() {
    for audio in [false, true] {
        for seed in SEEDS {
            let mut world = World::new(Weather::fair(3e6), &[1_000_000], seed);
            world.demand(2.5e6);
            world.run(20 * SECOND);
            let before = world.flows[0].estimate();
            world.demand(0.0);
            world.flows[0].audio = audio;
            world.run(60 * SECOND);
            let paused = world.flows[0].estimate();
            let probes = world.flows[0].probes;
            if !audio {
                assert_eq!(world.flows[0].estimator.poll_timeout(), None);
            }
            world.flows[0].audio = true;
            world.flows[0].keyframe = 100_000;
            world.demand(2.5e6);
            let from = world.now;
            world.run(3 * SECOND);
            let (lowest, _, _) = world.flows[0].spread(from);
            let after = world.flows[0].estimate();
            print(
                "pause",
                seed,
                &format!(
                    "audio {audio}: {before:.0}, {paused:.0}, lowest {lowest:.0}, after 3 s {after:.0}, probes {probes}"
                ),
            );
            assert!(paused > before * 0.95 && paused < before * 1.3);
            assert!(lowest > 0.75 * before.min(3e6));
            assert!(after > 2.5e6);
        }
    }
}

#[test]
fn two_peers_share_a_path() {
    for seed in SEEDS {
        let mut world = World::new(Weather::fair(3e6), &[300_000, 300_000], seed);
        world.demand_of(0, 5e6);
        world.run(10 * SECOND);
        world.demand_of(1, 5e6);
        world.run(30 * SECOND);
        let rates = world.run(120 * SECOND);
        let wait = median(&world.waits[40_000..]);
        print("shared", seed, &format!("{rates:.0?}, wait {wait:.0} ms"));
        assert!(rates.iter().all(|rate| *rate > 0.25 * 3e6));
    }
}
