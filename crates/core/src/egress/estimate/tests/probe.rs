//! Probes on paths that are faster, and that are not.

use super::super::probe::{Found, Prober};

const ESTIMATE: f64 = 1e6;

/// What becomes of a packet.
enum Outcome {
    Arrives,
    GetsLost,
    IsNotReported,
}

/// Sends the probe that is due, a packet each ms, over a path of `bps`, that reports `known` of its packets;
/// what it says.
fn probe(prober: &mut Prober, at: i64, bps: i64, known: impl Fn(u32) -> bool) -> Option<Found> {
    probe_lossy(prober, at, (bps, 0.0), |packet| match known(packet) {
        true => Outcome::Arrives,
        false => Outcome::IsNotReported,
    })
}

/// The same over a path that is known to lose a share of its packets at any rate.
fn probe_lossy(
    prober: &mut Prober,
    at: i64,
    (bps, loss): (i64, f64),
    outcome: impl Fn(u32) -> Outcome,
) -> Option<Found> {
    prober.start(at, ESTIMATE, 10e6, 50_000);
    let probe = prober.current().unwrap();
    let bytes = usize::try_from(probe.rate_bps / 8_000).unwrap();
    let (mut now, mut busy, mut packet) = (at, at, 0);
    while prober.current().is_some() {
        let id = prober.on_sent(now, bytes).unwrap();
        busy = busy.max(now) + i64::try_from(bytes).unwrap() * 8_000_000 / bps;
        match outcome(packet) {
            Outcome::Arrives => prober.on_arrival(id, now, busy - now),
            Outcome::GetsLost => prober.on_loss(id),
            Outcome::IsNotReported => prober.on_silence(id),
        }
        now += 1_000;
        packet += 1;
    }
    prober.conclude(now, ESTIMATE, loss, false)
}

#[test]
fn a_probe_measures_the_path_or_itself() {
    let mut prober = Prober::new();
    let guess = probe(&mut prober, 0, 20_000_000, |_| true);
    assert!(near(guess, 1.2e6, false), "{guess:?}");
    assert!(prober.searching());
    let itself = probe(&mut prober, 100_000, 20_000_000, |_| true);
    assert!(near(itself, 3e6, false), "{itself:?}");
    assert!(prober.searching());
    let path = probe(&mut prober, 200_000, 1_500_000, |_| true);
    assert!(near(path, 1.43e6, true), "{path:?}");
    assert!(!prober.searching());
}

#[test]
fn what_one_starts_from_is_a_guess_that_a_probe_corrects() {
    let mut prober = Prober::new();
    let less = probe(&mut prober, 0, 400_000, |_| true);
    assert!(near(less, 0.38e6, true), "{less:?}");
    assert!(!prober.searching());
    assert_eq!(
        probe(&mut prober, 2_000_000, 400_000, |_| true)
            .map(|found| matches!(found, Found::Full(_))),
        Some(true),
        "what is known is no guess"
    );
}

fn near(found: Option<Found>, bps: f64, filled: bool) -> bool {
    matches!(found, Some(Found::More { rate, full })
        if full.is_some() == filled && (rate - bps).abs() < 0.1e6)
}

#[test]
fn a_probe_that_finds_nothing_puts_the_next_off() {
    let mut prober = Prober::new();
    assert!(probe(&mut prober, 0, 20_000_000, |_| true).is_some());
    let found = probe(&mut prober, 100_000, 1_000_000, |_| true);
    assert!(matches!(found, Some(Found::Full(_))), "{found:?}");
    prober.start(500_000, ESTIMATE, 10e6, 50_000);
    assert_eq!(prober.current(), None);
    prober.start(1_500_000, ESTIMATE, 10e6, 50_000);
    assert!(prober.current().is_some());
}

/// Of 25 packets 3 or 4 get lost at any rate, and as many as 6 in one case of ten.
#[test]
fn what_a_probe_loses_by_chance_is_not_the_end_of_the_path() {
    let lossy = (20_000_000, 0.14);
    let losing = |every: u32| {
        probe_lossy(&mut Prober::new(), 0, lossy, |packet| {
            match packet % every == 1 {
                true => Outcome::GetsLost,
                false => Outcome::Arrives,
            }
        })
    };
    let by_chance = losing(4);
    assert!(near(by_chance, 1.2e6, false), "{by_chance:?}");
    let by_its_rate = losing(2);
    assert!(near(by_its_rate, 0.87e6, true), "{by_its_rate:?}");
}

#[test]
fn a_probe_whose_report_was_lost_is_repeated() {
    let mut prober = Prober::new();
    assert_eq!(
        probe(&mut prober, 0, 20_000_000, |packet| packet < 10),
        None
    );
    prober.start(100_000, ESTIMATE, 10e6, 50_000);
    assert!(prober.current().is_some());
}

#[test]
fn a_probe_that_cannot_be_sent_ends_by_itself() {
    let mut prober = Prober::new();
    prober.start(0, ESTIMATE, 10e6, 50_000);
    let expires = prober.expires().unwrap();
    prober.expire(expires);
    assert_eq!(prober.current(), None);
    assert_eq!(prober.expires(), None);
}
