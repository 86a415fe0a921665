//! All that happened to somebody's connection, and what they saw, as JSON lines in the order of time.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use madang_core::Source;

use crate::measure::freezes_of;
use crate::network::{Fate, Link};
use crate::plan::Step;
use crate::world::{Seat, World};

/// Writes what was recorded of somebody who is watched.
///
/// # Errors
///
/// Where the file cannot be written.
pub fn write(world: &World, steps: &[Step], seat: &Seat, path: &Path) -> io::Result<()> {
    let mut lines: Vec<(Duration, String)> = Vec::new();
    for step in steps {
        lines.push((step.at, format!(r#""step":"{}""#, step.description)));
    }
    lines.extend(packets(&seat.down, "down"));
    lines.extend(packets(&seat.up, "up"));
    for sample in &seat.samples {
        let (estimate, capacity) = (
            number(sample.downlink.estimate_bps),
            number(sample.capacity_bps),
        );
        let (used, wanted) = (sample.downlink.used_bps, sample.downlink.wanted_bps);
        let what = format!(
            r#""estimate_bps":{estimate},"allocated_bps":{used},"wanted_bps":{wanted},"capacity_bps":{capacity}"#
        );
        lines.push((sample.at, what));
    }
    for publisher in world.all_seats() {
        for source in [Source::Camera, Source::Screen] {
            lines.extend(picture(world, seat.name, publisher.name, source));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    for (at, what) in lines {
        writeln!(file, r#"{{"at_us":{},{what}}}"#, at.as_micros())?;
    }
    file.flush()
}

/// The frames and freezes of one picture.
fn picture(
    world: &World,
    viewer: &str,
    publisher: &str,
    source: Source,
) -> Vec<(Duration, String)> {
    let frames = world.frames(viewer, publisher, source, Duration::ZERO);
    let frames = frames.iter().map(|frame| {
        let (layer, temporal, number) = (frame.tag.rank(), frame.tag.temporal, frame.tag.frame);
        let (key, age) = (
            frame.tag.is_keyframe(),
            (frame.at - frame.tag.captured).as_micros(),
        );
        let what = format!(
            r#""frame":{number},"of":"{publisher} {source:?}","layer":{layer},"temporal":{temporal},"key":{key},"age_us":{age}"#
        );
        (frame.at, what)
    });
    let freezes = freezes_of(world, viewer, publisher, source).into_iter();
    let freezes = freezes.map(|freeze| {
        let length = (freeze.end - freeze.start).as_millis();
        let what = format!(r#""freeze_ms":{length},"of":"{publisher} {source:?}""#);
        (freeze.start, what)
    });
    frames.chain(freezes).collect()
}

fn packets(link: &Link, way: &'static str) -> impl Iterator<Item = (Duration, String)> {
    link.log().iter().map(move |packet| {
        let rtp = packet
            .rtp
            .map(|(ssrc, sequence)| format!(r#","ssrc":{ssrc},"seq":{sequence}"#));
        let fate = match packet.fate {
            Fate::Arrives(at) => format!(r#""arrives_us":{}"#, at.as_micros()),
            Fate::Lost => r#""lost":true"#.to_owned(),
            Fate::Dropped => r#""dropped":true"#.to_owned(),
        };
        let (bytes, rtp) = (packet.bytes, rtp.unwrap_or_default());
        (packet.at, format!(r#""{way}":{bytes}{rtp},{fate}"#))
    })
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}
