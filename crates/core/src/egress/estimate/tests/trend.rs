//! Delays that are a queue, and delays that are none.

use super::super::trend::{Trend, Usage};

/// Packets each 6 ms with the delays, in µs, that `delay` gives them; whether overuse was ever seen.
fn overuse(trend: &mut Trend, from: i64, delay: impl Fn(i64) -> i64) -> bool {
    let mut seen = false;
    for packet in from..from + 200 {
        trend.add(packet * 6_000, packet * 6_000 + delay(packet - from));
        seen |= trend.usage() == Usage::Over;
    }
    seen
}

#[test]
fn a_growing_queue_is_overuse_and_a_draining_one_is_not() {
    let mut trend = Trend::new();
    assert!(!overuse(&mut trend, 0, |_| 20_000));
    assert!(overuse(&mut trend, 200, |packet| 20_000 + packet * 600));
    assert!(!overuse(&mut Trend::new(), 400, |packet| 200_000 - packet * 600));
    assert!(trend.queue() > 80_000.0);
}

#[test]
fn another_route_is_no_overuse() {
    let mut trend = Trend::new();
    assert!(!overuse(&mut trend, 0, |_| 20_000));
    assert!(!overuse(&mut trend, 200, |_| 220_000));
    assert!(!overuse(&mut trend, 400, |_| 20_000));
    assert!(trend.queue() < 1_000.0);
}

#[test]
fn a_leap_after_which_the_delay_grows_on_is_overuse() {
    let mut trend = Trend::new();
    assert!(!overuse(&mut trend, 0, |_| 20_000));
    assert!(overuse(&mut trend, 200, |packet| 20_000 + packet * 60_000));
}

#[test]
fn the_queue_of_a_probe_is_not_measured() {
    let mut trend = Trend::new();
    overuse(&mut trend, 0, |_| 20_000);
    trend.skip(199 * 6_000);
    assert!(!overuse(&mut trend, 200, |packet| 20_000
        + (40_000 - packet * 3_000).max(0)));
}
