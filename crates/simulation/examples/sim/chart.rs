//! A picture of a run: rates over time, and below them a row for each picture with its layers and freezes.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use madang_simulation::World;
use madang_simulation::catalogue::Study;
use madang_simulation::measure;
use madang_simulation::network::{Fate, Passage};

const WIDTH: f64 = 1_200.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
const PLOT: f64 = 420.0;
const ROW: f64 = 26.0;
/// Rates of what was sent are over so long.
const BUCKET: Duration = Duration::from_millis(250);
/// Rates above this many times the capacity, or what is wanted, are cut off.
const HEADROOM: f64 = 1.2;

const GRID_BPS: f64 = 500_000.0;

const CURVES: [(&str, &str); 5] = [
    ("capacity", "#999999"),
    ("estimate", "#d62728"),
    ("allocated", "#1f77b4"),
    ("sent", "#ff7f0e"),
    ("received", "#2ca02c"),
];
const LAYERS: [&str; 3] = ["#c6dbef", "#6baed6", "#08519c"];

/// Where a moment and a rate are.
struct Scale {
    end: f64,
    most_bps: f64,
}

impl Scale {
    fn x(&self, at: Duration) -> f64 {
        LEFT + at.as_secs_f64() / self.end * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, bps: f64) -> f64 {
        TOP + PLOT - (bps / self.most_bps).min(1.0) * PLOT
    }
}

pub(crate) fn write(world: &World, study: &Study, path: &Path) -> io::Result<()> {
    let curves = curves(world, study);
    let wanted = world.seat(study.subject.viewer).samples.iter();
    let wanted = wanted
        .map(|sample| sample.downlink.wanted_bps as f64)
        .fold(0.0, f64::max);
    let sent = curves.last().into_iter().flatten().map(|point| point.1);
    let most_bps = sent.fold(wanted, f64::max) * HEADROOM;
    // So that the lines of the grid are at whole hundreds.
    let most_bps = (most_bps / GRID_BPS).ceil() * GRID_BPS;
    let scale = Scale {
        end: world.now().as_secs_f64(),
        most_bps,
    };
    let height = TOP + PLOT + 60.0 + ROW * study.subject.pictures.len() as f64;
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="20" font-size="15">{}, seed {}</text>
<text x="{}" y="40" fill="#777777" text-anchor="end">below: frames by layer, keyframes taller; red: a freeze</text>
"##,
        study.plan.title(),
        world.seed(),
        WIDTH - RIGHT
    );
    axes(&mut svg, &scale);
    steps(&mut svg, &scale, study);
    for ((number, (name, colour)), curve) in (0u8..).zip(CURVES).zip(&curves) {
        let x = LEFT + 110.0 * f64::from(number);
        let _ = writeln!(svg, r#"<text x="{x}" y="40" fill="{colour}">{name}</text>"#);
        let points = curve
            .iter()
            .map(|(at, bps)| format!("{:.1},{:.1}", scale.x(*at), scale.y(*bps)));
        let points = points.collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            svg,
            r#"<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>"#
        );
    }
    for (number, (publisher, source)) in (0u16..).zip(&study.subject.pictures) {
        let y = TOP + PLOT + 45.0 + ROW * f64::from(number);
        let _ = writeln!(
            svg,
            r#"<text x="4" y="{}">{publisher} {source:?}</text>"#,
            y + 14.0
        );
        for frame in world.frames(study.subject.viewer, publisher, *source, Duration::ZERO) {
            let colour = LAYERS
                .get(usize::from(frame.tag.rank()))
                .unwrap_or(&"#08519c");
            let (x, tall) = (
                scale.x(frame.at),
                if frame.tag.is_keyframe() { 18.0 } else { 12.0 },
            );
            let _ = writeln!(
                svg,
                r#"<rect x="{x:.1}" y="{:.1}" width="1.3" height="{tall}" fill="{colour}"/>"#,
                y + 18.0 - tall
            );
        }
        for freeze in measure::freezes_of(world, study.subject.viewer, publisher, *source) {
            let (x, until) = (scale.x(freeze.start), scale.x(freeze.end));
            let _ = writeln!(
                svg,
                r##"<rect x="{x:.1}" y="{y:.1}" width="{:.1}" height="20" fill="#d62728" opacity="0.5"/>"##,
                until - x
            );
        }
    }
    svg.push_str("</svg>\n");
    fs::write(path, svg)
}

fn axes(svg: &mut String, scale: &Scale) {
    for part in 0u8..=5 {
        let bps = scale.most_bps * f64::from(part) / 5.0;
        let y = scale.y(bps);
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1}" y2="{y:.1}" stroke="#dddddd"/><text x="{}" y="{:.1}" text-anchor="end">{:.0} kbit/s</text>"##,
            LEFT - 8.0,
            y + 4.0,
            bps / 1e3
        );
    }
    for at in (0..)
        .step_by(5)
        .map(Duration::from_secs)
        .take_while(|at| at.as_secs_f64() <= scale.end)
    {
        let (x, y) = (scale.x(at), TOP + PLOT + 16.0);
        let _ = writeln!(
            svg,
            r#"<text x="{x:.1}" y="{y:.1}">{} s</text>"#,
            at.as_secs()
        );
    }
}

fn steps(svg: &mut String, scale: &Scale, study: &Study) {
    for (number, step) in (0u8..).zip(study.plan.steps()) {
        let x = scale.x(step.at);
        let y = TOP + 14.0 + f64::from(number) * 14.0;
        let late = x > WIDTH / 2.0;
        let (text_x, anchor) = if late {
            (x - 3.0, "end")
        } else {
            (x + 3.0, "start")
        };
        let _ = writeln!(
            svg,
            r##"<line x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{}" stroke="#bbbbbb" stroke-dasharray="4"/><text x="{text_x:.1}" y="{y}" fill="#777777" text-anchor="{anchor}">{}</text>"##,
            TOP + PLOT,
            step.description
        );
    }
}

type Curve = Vec<(Duration, f64)>;

/// In the order of [`CURVES`].
fn curves(world: &World, study: &Study) -> [Curve; 5] {
    let seat = world.seat(study.subject.viewer);
    let samples = &seat.samples;
    let capacity = samples
        .iter()
        .filter_map(|sample| Some((sample.at, sample.capacity_bps? as f64)));
    let estimate = samples
        .iter()
        .filter_map(|sample| Some((sample.at, sample.downlink.estimate_bps? as f64)));
    let allocated = samples
        .iter()
        .map(|sample| (sample.at, sample.downlink.used_bps as f64));
    let sent = seat.down.log().iter().map(|one| (one.at, one));
    let received = seat.down.log().iter().filter_map(|one| match one.fate {
        Fate::Arrives(at) => Some((at, one)),
        Fate::Lost | Fate::Dropped => None,
    });
    [
        capacity.collect(),
        estimate.collect(),
        allocated.collect(),
        rates(sent, world.now()),
        rates(received, world.now()),
    ]
}

/// Bit/s for each bucket of time.
fn rates<'a>(passed: impl Iterator<Item = (Duration, &'a Passage)>, end: Duration) -> Curve {
    let buckets = usize::try_from(end.as_micros() / BUCKET.as_micros()).unwrap_or(0) + 1;
    let mut bits = vec![0.0; buckets];
    for (at, one) in passed {
        let bucket = usize::try_from(at.as_micros() / BUCKET.as_micros()).unwrap_or(usize::MAX);
        if let Some(sum) = bits.get_mut(bucket) {
            *sum += one.bytes as f64 * 8.0;
        }
    }
    let rates = (0u32..)
        .zip(bits)
        .map(|(bucket, bits)| (BUCKET * bucket, bits / BUCKET.as_secs_f64()));
    rates.collect()
}
