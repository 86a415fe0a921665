//! Madang's own send path beside str0m's, on the same links: it is never worse.

use std::time::Duration;

use madang_core::SendPath;
use madang_core::Source::Camera;
use madang_simulation::Action::{Downlink, JoinWith, Publish};
use madang_simulation::network::LinkConfig;
use madang_simulation::{BrowserConfig, Plan, World};

use crate::{ms, tile};

/// Rates of the layers of a camera, in kbit/s: what a second of each is worth to the one who looks at it.
const WORTH: [u64; 3] = [120, 400, 1_200];
const START: Duration = ms(2_000);
const END: Duration = ms(26_000);
/// A gap between two frames that people notice.
const FREEZE: Duration = ms(200);
/// The first picture of a larger layer takes a keyframe, which the two send paths do not get at the same time: a
/// gap of this length, or two seconds of the layer below, is chance.
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

/// Both send paths on one link, which may change on the way.
#[expect(clippy::print_stdout, reason = "the figures, for who asks for them")]
fn compare(title: &'static str, links: &[(u64, LinkConfig)]) {
    let mut results = Vec::new();
    for path in [SendPath::Lane, SendPath::Engine] {
        let mut plan = Plan::new(title)
            .sending_by(path)
            .at(
                0,
                "ben has a camera and no microphone",
                [
                    JoinWith("ben", BrowserConfig::default()),
                    Publish("ben", Camera),
                ],
            )
            .at(
                0,
                "anna looks at him",
                [JoinWith("anna", BrowserConfig::default())],
            )
            .at(
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
        let seen = std::cell::Cell::new(None);
        plan.at(26_000, "the end", [])
            .run(&[1], |world| seen.set(Some(had(world))));
        results.push(seen.get().unwrap());
    }
    let (lane, engine) = (results[0], results[1]);
    println!("{title}: {lane:?}, str0m {engine:?}");
    assert!(
        lane.kbps * 100 >= engine.kbps * SLACK_PERCENT && lane.frozen <= engine.frozen + SLACK,
        "{title}: {lane:?} instead of {engine:?}"
    );
}

fn rate(bps: u64) -> LinkConfig {
    LinkConfig {
        delay: ms(25),
        ..LinkConfig::rate(bps)
    }
}

#[test]
fn on_steady_links() {
    compare("3 Mbit/s", &[(0, rate(3_000_000))]);
    compare("1 Mbit/s", &[(0, rate(1_000_000))]);
    compare("400 kbit/s", &[(0, rate(400_000))]);
}

#[test]
fn when_a_cap_is_lifted() {
    let links = [
        (0, rate(3_000_000)),
        (5_000, rate(300_000)),
        (14_000, rate(3_000_000)),
    ];
    compare("300 kbit/s for nine seconds", &links);
}

#[test]
fn with_random_loss() {
    for (title, loss) in [("5 % loss", 0.05), ("15 % loss", 0.15)] {
        let link = LinkConfig {
            loss,
            ..rate(3_000_000)
        };
        compare(title, &[(0, link)]);
    }
}

#[test]
fn when_the_delay_leaps() {
    let far = LinkConfig {
        delay: ms(125),
        ..rate(3_000_000)
    };
    compare("25 to 125 ms", &[(0, rate(3_000_000)), (10_000, far)]);
}

#[test]
fn with_jitter() {
    let link = LinkConfig {
        jitter: ms(30),
        ..rate(3_000_000)
    };
    compare("30 ms of jitter", &[(0, link)]);
}
