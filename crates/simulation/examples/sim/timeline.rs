//! All that happened to the viewer's connection, as JSON lines in the order of time.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use madang_simulation::World;
use madang_simulation::catalogue::Study;
use madang_simulation::measure::freezes_of;
use madang_simulation::network::{Fate, Link};

pub(crate) fn write(world: &World, study: &Study, path: &Path) -> io::Result<()> {
    let mut lines: Vec<(Duration, String)> = Vec::new();
    for step in study.plan.steps() {
        lines.push((step.at, format!(r#""step":"{}""#, step.description)));
    }
    let seat = world.seat(study.subject.viewer);
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
    for (publisher, source) in &study.subject.pictures {
        for frame in world.frames(seat.name, publisher, *source, Duration::ZERO) {
            let (layer, temporal, number) = (frame.tag.rank(), frame.tag.temporal, frame.tag.frame);
            let (key, age) = (
                frame.tag.is_keyframe(),
                (frame.at - frame.tag.captured).as_micros(),
            );
            let what = format!(
                r#""frame":{number},"of":"{publisher} {source:?}","layer":{layer},"temporal":{temporal},"key":{key},"age_us":{age}"#
            );
            lines.push((frame.at, what));
        }
        for freeze in freezes_of(world, seat.name, publisher, *source) {
            let length = (freeze.end - freeze.start).as_millis();
            let what = format!(r#""freeze_ms":{length},"of":"{publisher} {source:?}""#);
            lines.push((freeze.start, what));
        }
    }
    lines.sort_by_key(|(at, _)| *at);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    for (at, what) in lines {
        writeln!(file, r#"{{"at_us":{},{what}}}"#, at.as_micros())?;
    }
    file.flush()
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
