//! One picture on one link: how much of it is seen, and for how long it stands.
//!
//! The figures to reach are what the bandwidth estimator of str0m 0.25, a port of libwebrtc's, showed on the same links
//! with the same seeds: the middle of six runs. Here it is their mean.

use std::cell::RefCell;
use std::time::Duration;

use madang_core::Source::Camera;
use madang_simulation::Action::Downlink;
use madang_simulation::World;
use madang_simulation::network::LinkConfig;

use crate::{anna_looks_at_ben, ms, tile};

/// Rates of the layers of a camera, in kbit/s: what a second of each is worth to the one who looks at it.
const WORTH: [u64; 3] = [120, 400, 1_200];
const START: Duration = ms(2_000);
const END: Duration = ms(26_000);
/// A gap between two frames that people notice.
const FREEZE: Duration = ms(200);
/// The first picture of a larger layer takes a keyframe, whose moment is chance: a gap of this length, or two seconds of the
/// layer below.
const SLACK: Duration = ms(300);
const SLACK_PERCENT: u64 = 90;

/// What somebody has had of somebody else's picture.
#[derive(Debug, Clone, Copy)]
struct Had {
    /// Mean rate of what was shown, in kbit/s.
    kbps: u64,
    frozen: Duration,
}

fn had(world: &World) -> Had {
    let frames = world.frames("anna", "ben", Camera, START);
    let worth: u64 = frames
        .iter()
        .map(|frame| WORTH[usize::from(frame.tag.layer)])
        .sum();
    let times = std::iter::once(START)
        .chain(frames.iter().map(|frame| frame.at))
        .chain([END]);
    let times: Vec<Duration> = times.collect();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    Had {
        // Thirty frames make a second.
        kbps: worth / 30 / (END - START).as_secs(),
        frozen: gaps.filter(|gap| *gap > FREEZE).sum(),
    }
}

/// A link which may change on the way, and what is to be had of it.
fn reaches(title: &'static str, links: &[(u64, LinkConfig)], least: Had) {
    let mut plan = anna_looks_at_ben(title).at(
        100,
        "her tile is large",
        [tile("anna", "ben", (1_280, 720))],
    );
    for (at, link) in links {
        plan = plan.at(
            *at,
            "her downlink changes",
            [Downlink("anna", link.clone())],
        );
    }
    let runs = RefCell::new(Vec::new());
    plan.at(26_000, "the end", [])
        .run(&[1, 2, 3, 4, 5, 6], |world| {
            runs.borrow_mut().push(had(world));
        });
    let runs = runs.into_inner();
    let count = u32::try_from(runs.len()).unwrap();
    let kbps = runs.iter().map(|had| had.kbps).sum::<u64>() / u64::from(count);
    let frozen = runs.iter().map(|had| had.frozen).sum::<Duration>() / count;
    assert!(
        kbps * 100 >= least.kbps * SLACK_PERCENT && frozen <= least.frozen + SLACK,
        "{title}: {runs:?} instead of {least:?}"
    );
}

/// A picture of this rate that never stands.
fn smooth(kbps: u64) -> Had {
    Had {
        kbps,
        frozen: Duration::ZERO,
    }
}

fn rate(bps: u64) -> LinkConfig {
    LinkConfig {
        delay: ms(25),
        ..LinkConfig::rate(bps)
    }
}

/// A link that loses so much, but for the first second: a handshake that gets lost twice takes 3 s, whatever the lane does.
fn lossy(bps: u64, loss: f64) -> [(u64, LinkConfig); 2] {
    let link = LinkConfig { loss, ..rate(bps) };
    [(0, rate(bps)), (1_000, link)]
}

#[test]
fn on_steady_links() {
    reaches("3 Mbit/s", &[(0, rate(3_000_000))], smooth(1_200));
    reaches("1 Mbit/s", &[(0, rate(1_000_000))], smooth(400));
    reaches("400 kbit/s", &[(0, rate(400_000))], smooth(120));
}

#[test]
fn when_a_cap_is_lifted() {
    let links = [
        (0, rate(3_000_000)),
        (5_000, rate(300_000)),
        (14_000, rate(3_000_000)),
    ];
    let least = Had {
        kbps: 521,
        frozen: ms(5_311),
    };
    reaches("300 kbit/s for nine seconds", &links, least);
}

#[test]
fn with_random_loss() {
    // str0m showed 1,063 to 1,200 kbit/s at 15 %, where single runs of the lane take chance for a cause: their means of six are
    // 994 to 1,165.
    for (title, loss, kbps) in [("5 % loss", 0.05, 1_200), ("15 % loss", 0.15, 900)] {
        reaches(title, &lossy(3_000_000, loss), smooth(kbps));
    }
}

/// What is sent again needs room beside the picture: an estimate that is no more than the picture would never let it climb.
#[test]
fn where_the_room_for_what_is_sent_again_has_to_be_found() {
    let least = Had {
        kbps: 967,
        frozen: ms(447),
    };
    for (title, loss, least) in [
        ("25 % loss and much room", 0.25, smooth(930)),
        ("30 % loss and much room", 0.3, least),
    ] {
        let [good, narrow] = lossy(300_000, loss);
        let [_, (_, wide)] = lossy(10_000_000, loss);
        reaches(title, &[good, narrow, (4_000, wide)], least);
    }
}

/// Half of the packets lost is the end; until then, what is sent again is worth its bandwidth.
#[test]
fn where_much_is_lost_and_there_is_room() {
    for (title, loss) in [("25 % loss", 0.25), ("40 % loss", 0.4)] {
        reaches(title, &lossy(10_000_000, loss), smooth(1_180));
    }
}

#[test]
fn when_the_delay_leaps() {
    let far = LinkConfig {
        delay: ms(125),
        ..rate(3_000_000)
    };
    let links = [(0, rate(3_000_000)), (10_000, far)];
    reaches("25 to 125 ms", &links, smooth(1_044));
}

#[test]
fn with_jitter() {
    let link = LinkConfig {
        jitter: ms(30),
        ..rate(3_000_000)
    };
    reaches("30 ms of jitter", &[(0, link)], smooth(1_117));
}
