//! The plans by which the quality of calls is judged: bad networks, and what people are to see in spite of them.
//!
//! `docs/quality.md` is the table of them, `cargo xtask sim` plays one.

mod losses;

use std::ops::Range;
use std::time::Duration;

use madang_core::Source::{self, Camera, Screen};

use crate::browser::BrowserConfig;
use crate::measure::{Measured, Subject};
use crate::network::{LinkConfig, Trace};
use crate::payload::{Codec, Mode};
use crate::plan::Action::{Downlink, JoinWith, Publish, Talk, Tile, Tiles, Uplink};
use crate::plan::{Action, Plan};

/// How the cameras of a study encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Vp8Simulcast,
    H264Simulcast,
    Vp9Svc,
    Av1Svc,
}

impl Encoding {
    pub const ALL: [Self; 4] = [
        Self::Vp8Simulcast,
        Self::H264Simulcast,
        Self::Vp9Svc,
        Self::Av1Svc,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Vp8Simulcast => "vp8-simulcast",
            Self::H264Simulcast => "h264-simulcast",
            Self::Vp9Svc => "vp9-svc",
            Self::Av1Svc => "av1-svc",
        }
    }

    pub fn find(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|encoding| encoding.name() == name)
    }

    fn browser(self) -> BrowserConfig {
        // One mode in which pictures are predicted from smaller ones always, and one in which they are in keyframes alone.
        let (video_codec, svc) = match self {
            Self::Vp8Simulcast => (Codec::Vp8, None),
            Self::H264Simulcast => (Codec::H264, None),
            Self::Vp9Svc => (Codec::Vp9, Some(Mode::key(3, 3))),
            Self::Av1Svc => (Codec::Av1, Some(Mode::new(3, 3))),
        };
        BrowserConfig {
            video_codec,
            svc,
            adaptive: true,
            allocations: true,
            dtx: true,
            red: true,
            ..BrowserConfig::default()
        }
    }
}

/// A plan, whom to look at in it, and what is to be achieved.
#[derive(Debug)]
pub struct Study {
    pub name: &'static str,
    pub plan: Plan,
    pub subject: Subject,
    pub targets: Targets,
}

/// What a run of a study must reach; `None` where nothing is promised.
#[derive(Debug, Clone, Copy, Default)]
pub struct Targets {
    /// At the most.
    pub freezes_per_minute: Option<f64>,
    pub frozen: Option<f64>,
    pub concealed: Option<f64>,
    /// Of the picture that is paused most often.
    pub pauses_per_minute: Option<f64>,
    pub self_made_loss: Option<f64>,
    pub top_layer_ms: Option<f64>,
    pub first_frame_ms: Option<f64>,
    /// At the least.
    pub link_use: Option<f64>,
}

impl Study {
    /// What a run has not reached, in words.
    pub fn missed(&self, measured: &Measured) -> Vec<String> {
        let targets = &self.targets;
        let most = [
            (
                "freezes a minute",
                Some(measured.freezes_per_minute),
                targets.freezes_per_minute,
            ),
            (
                "share of time frozen",
                Some(measured.frozen),
                targets.frozen,
            ),
            (
                "share of sound concealed",
                Some(measured.concealed),
                targets.concealed,
            ),
            (
                "pauses a minute",
                Some(measured.pauses_per_minute),
                targets.pauses_per_minute,
            ),
            (
                "self-made loss",
                Some(measured.self_made_loss),
                targets.self_made_loss,
            ),
            (
                "ms to the top layer",
                measured.top_layer_ms,
                targets.top_layer_ms,
            ),
            (
                "ms to the first frame",
                measured.first_frame_ms,
                targets.first_frame_ms,
            ),
            ("torn frames", Some(measured.torn_frames), Some(0.0)),
            ("ms from lips to voice", measured.skew_ms, Some(SKEW_MS)),
        ];
        let over = most.iter().filter_map(|(what, value, target)| {
            let target = (*target)?;
            let value = value.unwrap_or(f64::INFINITY);
            (value > target).then(|| format!("{what}: {value:.3}, at most {target:.3}"))
        });
        let least = targets
            .link_use
            .filter(|least| measured.link_use.is_none_or(|used| used < *least));
        let under =
            least.map(|least| format!("link use: {:?}, at least {least:.3}", measured.link_use));
        over.chain(under).collect()
    }
}

/// All studies with cameras that encode so.
pub fn studies(encoding: Encoding) -> Vec<Study> {
    vec![
        steady(encoding),
        cap(encoding),
        losses::random_loss(encoding, "loss-5", "5 % random loss", 0.05),
        losses::random_loss(encoding, "loss-15", "15 % random loss", 0.15),
        losses::heavy_loss(encoding),
        losses::lossy_publisher(encoding),
        losses::burst_loss(encoding),
        delay_step(encoding),
        trace(
            encoding,
            "4g-handover",
            "4G with a handover",
            Trace::handover(),
        ),
        trace(
            encoding,
            "wifi",
            "Wi-Fi with busy neighbours",
            Trace::wifi(),
        ),
        congested_publisher(encoding),
        grid(encoding),
        screen_share(encoding),
    ]
}

pub fn find(encoding: Encoding, name: &str) -> Option<Study> {
    studies(encoding)
        .into_iter()
        .find(|study| study.name == name)
}

const FULL: (u32, u32) = (1_280, 720);
const MEDIUM: (u32, u32) = (640, 360);
const SMALL: (u32, u32) = (320, 180);
/// The layers of a camera.
const TOP: u8 = 2;
const MIDDLE: u8 = 1;
const BASE: u8 = 0;
/// Nobody notices 45 ms (ITU-R BT.1359).
const SKEW_MS: f64 = 40.0;
/// Each way; a round trip is twice that.
const DELAY: Duration = Duration::from_millis(25);
/// 1.5 round trips, and a keyframe of the base layer (2 KB at 300 kbit/s and more), in steps of 1 ms.
const FIRST_FRAME_MS: f64 = 75.0 + 60.0;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn link(rate_bps: u64) -> LinkConfig {
    LinkConfig {
        delay: DELAY,
        ..LinkConfig::rate(rate_bps)
    }
}

/// People with cameras come at once, the viewer two seconds later, over this link.
fn room(
    encoding: Encoding,
    title: &'static str,
    people: &[&'static str],
    downlink: LinkConfig,
    tiles: Vec<Action>,
) -> Plan {
    room_of(encoding.browser(), title, people, downlink, tiles)
}

/// The same with these browsers.
fn room_of(
    browser: BrowserConfig,
    title: &'static str,
    people: &[&'static str],
    downlink: LinkConfig,
    tiles: Vec<Action>,
) -> Plan {
    let publishes = people.iter().flat_map(|name| {
        [
            JoinWith(name, browser),
            Publish(name, Source::Microphone),
            Publish(name, Camera),
        ]
    });
    let uplink = LinkConfig {
        delay: downlink.delay,
        ..LinkConfig::default()
    };
    let viewer = BrowserConfig {
        video_slots: people.len().max(9) + 1,
        ..browser
    };
    let mut comes = vec![
        JoinWith("anna", viewer),
        Uplink("anna", uplink),
        Downlink("anna", downlink),
    ];
    comes.extend(tiles);
    Plan::new(title)
        .at(0, "people with cameras come", publishes.collect::<Vec<_>>())
        .at(1_500, "ben speaks", [Talk("ben", -20)])
        .at(2_000, "anna comes and looks at them", comes)
}

/// Ben's picture, on this link.
fn ben_alone(encoding: Encoding, title: &'static str, downlink: LinkConfig) -> Plan {
    room(
        encoding,
        title,
        &["ben"],
        downlink,
        vec![tile("ben", Camera, FULL)],
    )
}

fn tile(publisher: &'static str, source: Source, size: (u32, u32)) -> Action {
    Tile {
        viewer: "anna",
        publisher,
        source,
        size,
    }
}

/// Anna looks at ben, whose camera is to reach its top layer.
fn subject(steady: Range<u64>) -> Subject {
    Subject {
        viewer: "anna",
        pictures: vec![("ben", Camera)],
        speaker: "ben",
        steady: secs(steady.start)..secs(steady.end),
        top: ("ben", Camera, TOP),
        top_from: None,
    }
}

fn steady(encoding: Encoding) -> Study {
    let people = MANY.split_at(9).0;
    Study {
        name: "steady-3m",
        plan: room(
            encoding,
            "steady 3 Mbit/s, nine pictures that would take 4",
            people,
            link(3_000_000),
            vec![Tiles("anna", Some(MEDIUM))],
        )
        .at(32_000, "the end", []),
        subject: Subject {
            pictures: people.iter().map(|name| (*name, Camera)).collect(),
            top: ("ben", Camera, MIDDLE),
            ..subject(12..32)
        },
        targets: Targets {
            freezes_per_minute: Some(0.0),
            concealed: Some(0.02),
            // Once, before more is known of the link than that it carries the first pictures.
            pauses_per_minute: Some(2.1),
            link_use: Some(0.85),
            self_made_loss: Some(0.01),
            top_layer_ms: Some(8_000.0),
            ..Targets::default()
        },
    }
}

fn cap(encoding: Encoding) -> Study {
    Study {
        name: "cap-300k",
        plan: ben_alone(
            encoding,
            "3 Mbit/s, a cap of 300 kbit/s, and 3 Mbit/s again",
            link(3_000_000),
        )
        .at(
            10_000,
            "the link is capped at 300 kbit/s",
            [Downlink("anna", link(300_000))],
        )
        .at(
            22_000,
            "the cap is lifted",
            [Downlink("anna", link(3_000_000))],
        )
        .at(36_000, "the end", []),
        subject: Subject {
            top_from: Some(secs(22)),
            ..subject(14..22)
        },
        targets: Targets {
            // The moment of the cap: see docs/quality.md.
            frozen: Some(0.025),
            concealed: Some(0.03),
            self_made_loss: Some(0.01),
            top_layer_ms: Some(8_000.0),
            first_frame_ms: Some(FIRST_FRAME_MS),
            ..Targets::default()
        },
    }
}

fn delay_step(encoding: Encoding) -> Study {
    let far = LinkConfig {
        delay: Duration::from_millis(125),
        ..link(3_000_000)
    };
    Study {
        name: "delay-step",
        plan: ben_alone(
            encoding,
            "the round trip goes from 50 to 250 ms",
            link(3_000_000),
        )
        .at(
            12_000,
            "another route",
            [
                Downlink("anna", far.clone()),
                Uplink(
                    "anna",
                    LinkConfig {
                        rate_bps: None,
                        ..far
                    },
                ),
            ],
        )
        .at(32_000, "the end", []),
        subject: subject(14..32),
        targets: Targets {
            freezes_per_minute: Some(0.0),
            concealed: Some(0.02),
            self_made_loss: Some(0.01),
            top_layer_ms: Some(6_000.0),
            first_frame_ms: Some(FIRST_FRAME_MS),
            ..Targets::default()
        },
    }
}

fn trace(encoding: Encoding, name: &'static str, title: &'static str, trace: Trace) -> Study {
    let traced = LinkConfig {
        trace: Some(trace),
        ..link(0)
    };
    Study {
        name,
        plan: room(
            encoding,
            title,
            &["ben", "cleo"],
            traced,
            vec![Tiles("anna", Some(MEDIUM)), tile("ben", Camera, FULL)],
        )
        .at(62_000, "the end", []),
        subject: Subject {
            pictures: vec![("ben", Camera), ("cleo", Camera)],
            ..subject(12..62)
        },
        targets: Targets {
            // In both there are moments in which nothing gets through.
            frozen: Some(0.03),
            concealed: Some(0.03),
            top_layer_ms: Some(8_000.0),
            first_frame_ms: Some(FIRST_FRAME_MS),
            ..Targets::default()
        },
    }
}

fn congested_publisher(encoding: Encoding) -> Study {
    // A size of each is looked at, so that there is one to let go.
    let others = [("dan", MEDIUM), ("eve", SMALL)];
    let others =
        others.map(|(name, size)| [JoinWith(name, encoding.browser()), Tiles(name, Some(size))]);
    Study {
        name: "congested-publisher",
        plan: ben_alone(
            encoding,
            "the publisher's uplink is narrow for a while",
            link(3_000_000),
        )
        .at(
            3_000,
            "two look at him at smaller sizes",
            others.into_iter().flatten().collect::<Vec<_>>(),
        )
        .at(
            10_000,
            "ben's uplink is narrow",
            [Uplink("ben", link(500_000))],
        )
        .at(22_000, "and wide again", [Uplink("ben", link(5_000_000))])
        .at(40_000, "the end", []),
        subject: Subject {
            top_from: Some(secs(22)),
            ..subject(14..22)
        },
        targets: Targets {
            freezes_per_minute: Some(6.5),
            frozen: Some(0.08),
            top_layer_ms: Some(8_000.0),
            first_frame_ms: Some(FIRST_FRAME_MS),
            ..Targets::default()
        },
    }
}

const MANY: [&str; 24] = [
    "ben", "cleo", "dan", "eve", "finn", "gina", "hugo", "ida", "jan", "kim", "leo", "mia", "noah",
    "olga", "paul", "quin", "rosa", "sam", "tina", "udo", "vera", "will", "xena", "yan",
];

fn grid(encoding: Encoding) -> Study {
    Study {
        name: "grid-25",
        plan: room(
            encoding,
            "a grid of 25 people at 4 Mbit/s",
            &MANY,
            link(4_000_000),
            vec![Tiles("anna", Some(SMALL))],
        )
        .at(22_000, "the end", []),
        subject: Subject {
            pictures: MANY.map(|name| (name, Camera)).to_vec(),
            top: ("ben", Camera, BASE),
            ..subject(12..22)
        },
        targets: Targets {
            freezes_per_minute: Some(0.0),
            concealed: Some(0.01),
            pauses_per_minute: Some(3.5),
            self_made_loss: Some(0.01),
            ..Targets::default()
        },
    }
}

fn screen_share(encoding: Encoding) -> Study {
    let people = MANY.split_at(9).0;
    let mut pictures = vec![("ben", Screen)];
    pictures.extend(people.iter().map(|name| (*name, Camera)));
    Study {
        name: "screen-and-9",
        plan: room(
            encoding,
            "a screen and nine cameras at 1.5 Mbit/s",
            people,
            link(1_500_000),
            vec![
                Tiles("anna", Some(SMALL)),
                tile("ben", Screen, (1_920, 1_080)),
            ],
        )
        .at(2_500, "ben shares his screen", [Publish("ben", Screen)])
        .at(32_000, "the end", []),
        subject: Subject {
            pictures,
            top: ("ben", Screen, BASE),
            ..subject(12..32)
        },
        targets: Targets {
            freezes_per_minute: Some(0.0),
            concealed: Some(0.02),
            pauses_per_minute: Some(10.0),
            self_made_loss: Some(0.01),
            ..Targets::default()
        },
    }
}
