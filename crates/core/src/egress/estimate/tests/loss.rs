//! Loss of the rate's making, and of the path's.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::super::super::twcc::Feedback;
use super::super::Estimator;
use super::super::aimd::Path;
use super::super::loss::Loss;

const STEP_US: i64 = 3_000;

/// Sends a packet each 3 ms, of which every `one_in`th is lost, as long as `lossy` says so of the limit.
fn run(loss: &mut Loss, from: i64, one_in: i64, lossy: impl Fn(Option<f64>) -> bool) -> i64 {
    run_sized(loss, from, (1_200, one_in), lossy)
}

/// The same with packets of this size. Small ones are less than could be sent, as is known from the last moments.
fn run_sized(
    loss: &mut Loss,
    from: i64,
    (bytes, one_in): (u16, i64),
    lossy: impl Fn(Option<f64>) -> bool,
) -> i64 {
    for packet in 0..600 {
        let path = Path {
            acked: Some(3e6),
            rtt_us: 50_000.0,
            queue_us: 0.0,
            limited: bytes < 800 || (from > 0 && packet < 100),
        };
        let at = from + packet * STEP_US;
        let lost = packet % one_in == 1 && lossy(loss.limit());
        loss.add(at, bytes, lost);
        if packet % 20 == 0 {
            loss.update(at, 20 * STEP_US, 3.2e6, path);
        }
    }
    from + 600 * STEP_US
}

#[test]
fn loss_that_stays_at_a_lower_rate_is_the_paths_nature() {
    let mut loss = Loss::new();
    run(&mut loss, 0, 8, |_| true);
    assert!((loss.natural() - 0.125).abs() < 0.05);
    assert_eq!(loss.limit(), None);
    assert!(!loss.shallow(0));
}

#[test]
fn loss_that_was_the_same_at_a_lower_rate_needs_no_experiment() {
    let mut loss = Loss::new();
    let later = run_sized(&mut loss, 0, (300, 8), |_| true);
    run(&mut loss, later, 8, |limit| {
        assert_eq!(limit, None, "the rate was lowered to find that out");
        true
    });
    assert!((loss.natural() - 0.125).abs() < 0.05);
}

#[test]
fn loss_that_was_not_there_at_a_lower_rate_limits_a_higher_one() {
    let mut loss = Loss::new();
    let later = run_sized(&mut loss, 0, (300, 600), |_| true);
    run(&mut loss, later, 4, |limit| limit.is_none());
    assert!(loss.limit().is_some_and(|limit| limit < 2.6e6));
}

#[test]
fn loss_that_goes_away_at_a_lower_rate_limits_it() {
    let mut loss = Loss::new();
    run(&mut loss, 0, 4, |limit| limit.is_none());
    assert!(loss.limit().is_some_and(|limit| limit < 2.6e6));
    assert!(loss.shallow(0));
    assert!(loss.natural() < 0.01);
}

#[test]
fn loss_that_is_less_by_chance_is_no_answer() {
    let mut loss = Loss::new();
    let spared = Cell::new(false);
    run(&mut loss, 0, 8, |limit| {
        spared.set(limit.is_some() && !spared.get());
        !spared.get()
    });
    assert_eq!(loss.limit(), None);
    assert!((loss.natural() - 0.1).abs() < 0.05, "{}", loss.natural());
}

#[test]
fn a_limit_that_was_found_by_chance_is_given_up_where_as_much_is_lost_below_it() {
    for (one_in, stays) in [(4, false), (600, true)] {
        let mut loss = Loss::new();
        let later = run(&mut loss, 0, 4, |limit| limit.is_none());
        run_sized(&mut loss, later, (300, one_in), |_| true);
        assert_eq!(loss.limit().is_some(), stays);
        assert_eq!(loss.shallow(later), stays);
    }
}

#[test]
fn that_packets_get_lost_is_seen_sooner_than_it_is_known_how_many() {
    let mut loss = Loss::new();
    let path = Path {
        acked: Some(3e6),
        rtt_us: 50_000.0,
        queue_us: 0.0,
        limited: true,
    };
    for packet in 1..=600 {
        let at = packet * STEP_US;
        loss.add(at, 300, packet % 15 == 0);
        loss.update(at, STEP_US, 3.2e6, path);
        if packet == 100 {
            assert!((loss.seen() - 1.0 / 15.0).abs() < 0.02);
            assert_eq!(loss.reported(), None);
        }
    }
    assert_eq!(loss.reported(), Some(loss.seen()));
}

#[test]
fn an_outage_says_nothing_about_the_rate() {
    let mut loss = Loss::new();
    let mut at = run(&mut loss, 0, 600, |_| false);
    for _ in 0..1_000 {
        loss.add(at, 1_200, true);
        at += STEP_US;
    }
    run(&mut loss, at, 600, |_| false);
    assert_eq!(loss.limit(), None);
    assert!(loss.natural() < 0.01);
}

#[test]
fn a_report_that_begins_with_an_arrival_tells_of_what_is_missing_before_it() {
    let start = Instant::now();
    let mut estimator = Estimator::new(start, 1_000_000);
    let left = |packet: u32| start + Duration::from_millis(10) * packet;
    for number in 0..100u8 {
        for packet in 0..4 {
            estimator.on_sent(left(u32::from(number) * 4 + packet), 1_200, false);
        }
        // Of each four, the first one arrives.
        let arrival_ms = i32::from(number) * 40;
        let feedback = Feedback {
            base: u16::from(number) * 4,
            reference_time: u32::try_from(arrival_ms / 64).unwrap(),
            number,
            arrivals: vec![Some(arrival_ms % 64 * 4)],
        };
        estimator.on_feedback(left(u32::from(number) * 4 + 4), &feedback);
    }
    assert!(
        estimator.loss_permille().unwrap() > 700,
        "{}",
        estimator.loss_permille().unwrap()
    );
    let estimate = estimator.estimate_bps().unwrap();
    assert!(estimate < 500_000, "{estimate} where 240,000 came through");
}
