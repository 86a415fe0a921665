//! Plans in which packets get lost, by chance or in bursts, on the way to the viewer or from the publisher.

use std::time::Duration;

use madang_core::Source::Camera;

use super::{
    Encoding, FIRST_FRAME_MS, FULL, Study, Targets, ben_alone, link, room_of, subject, tile,
};
use crate::browser::BrowserConfig;
use crate::network::{Bursts, LinkConfig};
use crate::plan::Action::Uplink;

pub(super) fn random_loss(
    encoding: Encoding,
    name: &'static str,
    title: &'static str,
    loss: f64,
) -> Study {
    let bad = LinkConfig {
        loss,
        ..link(3_000_000)
    };
    let freezes = if loss > 0.1 { 1.0 } else { 0.0 };
    Study {
        name,
        plan: ben_alone(encoding, title, bad)
            // A minute after the picture has come, since freezes are counted by the minute: one is not more than one.
            .at(64_000, "the end", []),
        subject: subject(12..64),
        targets: Targets {
            freezes_per_minute: Some(freezes),
            concealed: Some(loss / 3.0),
            top_layer_ms: Some(8_000.0),
            first_frame_ms: Some(FIRST_FRAME_MS),
            ..Targets::default()
        },
    }
}

/// Nobody calls that a connection, but a picture it still has.
pub(super) fn heavy_loss(encoding: Encoding) -> Study {
    let study = random_loss(encoding, "loss-25", "25 % random loss", 0.25);
    Study {
        targets: Targets {
            freezes_per_minute: Some(6.0),
            concealed: study.targets.concealed,
            ..Targets::default()
        },
        ..study
    }
}

/// What the publisher loses all viewers lose, and the server asks for it. Sound it cannot ask for.
pub(super) fn lossy_publisher(encoding: Encoding) -> Study {
    let browser = BrowserConfig {
        sends_red: true,
        ..encoding.browser()
    };
    Study {
        name: "lossy-publisher",
        plan: room_of(
            browser,
            "15 % of what ben sends gets lost",
            &["ben"],
            link(10_000_000),
            vec![tile("ben", Camera, FULL)],
        )
        .at(
            6_000,
            "ben's uplink gets bad",
            [Uplink(
                "ben",
                LinkConfig {
                    loss: 0.15,
                    ..link(10_000_000)
                },
            )],
        )
        .at(66_000, "the end", []),
        subject: subject(12..66),
        targets: Targets {
            freezes_per_minute: Some(1.0),
            concealed: Some(0.04),
            first_frame_ms: Some(FIRST_FRAME_MS),
            ..Targets::default()
        },
    }
}

pub(super) fn burst_loss(encoding: Encoding) -> Study {
    let bad = LinkConfig {
        bursts: Some(Bursts {
            share: 0.1,
            length: Duration::from_millis(200),
        }),
        ..link(3_000_000)
    };
    Study {
        name: "burst-loss",
        plan: ben_alone(
            encoding,
            "nothing gets through for 10 % of the time, 200 ms at a time",
            bad,
        )
        .at(32_000, "the end", []),
        subject: subject(12..32),
        targets: Targets {
            // Nobody can show what has not come: that is a tenth of the time, and some of it holding pictures hides.
            frozen: Some(0.18),
            concealed: Some(0.25),
            top_layer_ms: Some(8_000.0),
            first_frame_ms: Some(FIRST_FRAME_MS),
            ..Targets::default()
        },
    }
}
