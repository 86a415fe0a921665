//! Numbers that wrap, and reports that lie.

use std::time::{Duration, Instant};

use super::super::super::twcc::{Feedback, REFERENCE_US};
use super::super::{BPS_MAX, BPS_MIN, Estimator};
use super::link::{MS, Weather};
use super::world::World;

const START_BPS: u64 = 1_000_000;

/// A peer in the middle of a call.
fn busy() -> World {
    let mut world = World::new(Weather::fair(3e6), &[START_BPS], 1);
    world.demand(5e6);
    world.run(10_000);
    world
}

/// All of an estimator but when it was made.
fn state(world: &World) -> String {
    let all = format!("{:?}", world.flows[0].estimator);
    all.split_once("history").unwrap().1.to_owned()
}

#[test]
fn numbers_and_clocks_may_wrap() {
    let mut world = World::new(Weather::fair(3e6), &[START_BPS], 1);
    // The receiver's 24 bits end within the run, and its 16-bit numbers more than once.
    world.receivers[0].clock = (REFERENCE_US << 24) - 60_000 * MS;
    world.demand(5e6);
    world.run(20_000);
    let from = world.now;
    world.run(330_000);
    let (lowest, mean, highest) = world.flows[0].spread(from);
    println!(
        "wrap: {} packets, {lowest:.0} {mean:.0} {highest:.0}",
        world.flows[0].packets
    );
    assert!(world.flows[0].packets > 1 << 16);
    assert!(lowest > 2.2e6 && highest < 3.3e6);
}

#[test]
fn a_report_twice_is_a_report_once() {
    let run = |twice| {
        let mut world = World::new(Weather::fair(3e6), &[START_BPS], 1);
        world.flows[0].twice = twice;
        world.demand(5e6);
        world.run(20_000);
        state(&world)
    };
    assert!(run(false) == run(true));
}

#[test]
fn reports_about_nothing_that_is_on_its_way_change_nothing() {
    let mut world = busy();
    world.run(1);
    let now = world.at(world.now);
    let next = u16::try_from(world.flows[0].packets & 0xffff).unwrap();
    let before = state(&world);
    let estimator = &mut world.flows[0].estimator;
    let mut feedback = Feedback {
        reference_time: 5,
        ..Feedback::default()
    };
    // Never sent.
    for ahead in [0, 1, 1_000, 30_000] {
        feedback.base = next.wrapping_add(ahead);
        feedback.arrivals = vec![Some(3); 500];
        estimator.on_feedback(now, &feedback);
    }
    // Long reported.
    feedback.base = next.wrapping_sub(120);
    feedback.arrivals = vec![Some(-9_999); 20];
    estimator.on_feedback(now, &feedback);
    feedback.arrivals = vec![None; 20];
    estimator.on_feedback(now, &feedback);
    // About nothing.
    feedback.arrivals.clear();
    estimator.on_feedback(now, &feedback);
    assert!(before == state(&world));
}

#[test]
fn a_clock_that_was_set_is_survived() {
    for leap in [-3_600_000 * MS, 3_600_000 * MS, 20_000 * MS, -20_000 * MS] {
        let mut world = busy();
        let (before, from) = (world.flows[0].estimate(), world.now);
        world.receivers[0].clock += leap;
        world.run(5_000);
        let (lowest, _, highest) = world.flows[0].spread(from);
        println!("clock {leap}: {before:.0}, {lowest:.0} {highest:.0}");
        assert!(lowest > before * 0.8 && highest < 3.5e6);
    }
}

#[test]
fn random_reports_never_panic_nor_leave_the_bounds() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = Instant::now();
        let mut estimator = Estimator::new(start, START_BPS);
        let (mut now, mut sent) = (start, 0);
        for _ in 0..3_000 {
            now += Duration::from_micros(random.u64(0..40_000));
            if random.u8(..) == 0 {
                now += Duration::from_secs(random.u64(0..3_000));
            }
            estimator.set_demand(now, random.u64(..));
            for _ in 0..random.u8(..30) {
                sent = estimator.on_sent(now, random.usize(..3_000), random.bool());
            }
            let mut ticks = 0_i32;
            let arrivals = (0..random.usize(..60)).map(|_| {
                ticks += random.i32(-300..300) * if random.u8(..) == 0 { 100 } else { 1 };
                random.bool().then_some(ticks)
            });
            let feedback = Feedback {
                arrivals: arrivals.collect(),
                base: sent.wrapping_sub(random.u16(..60)),
                reference_time: random.u32(..1 << 24) >> random.u8(..24),
                number: random.u8(..2),
            };
            estimator.on_feedback(now, &feedback);
            estimator.on_timeout(now);
            assert!(estimator.poll_timeout().is_none_or(|due| due > now));
            let estimate = estimator.estimate_bps().unwrap_or(START_BPS);
            assert!((BPS_MIN..=BPS_MAX).contains(&estimate));
            assert!(estimator.rtt().unwrap_or_default() <= Duration::from_secs(5));
            assert!(
                estimator
                    .loss_permille()
                    .is_none_or(|permille| permille <= 1_000)
            );
        }
    }
}

#[test]
fn a_peer_that_never_reports_has_no_estimate_and_no_timer() {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, START_BPS);
    estimator.set_demand(start, 5_000_000);
    for ms in 0..5_000 {
        estimator.on_sent(start + Duration::from_millis(ms), 1_200, false);
        assert_eq!(estimator.poll_timeout(), None);
        assert_eq!(estimator.probe(), None);
    }
    assert_eq!(estimator.estimate_bps(), None);
    assert!(estimator.pacing_bps() > START_BPS);
}
