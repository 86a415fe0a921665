//! Whether picture and sound of a person belong together, as a receiver reckons it from sender reports (RFC 3550
//! section 6.4.1).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use madang_core::Source;
use str0m::media::Mid;

use crate::browser::{Browser, source_number};
use crate::world::World;

/// What a sender report says of a slot: this timestamp is that time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    pub(crate) at: Duration,
    pub(crate) time: SystemTime,
    pub(crate) timestamp: u32,
}

pub(crate) type Reports = BTreeMap<Mid, Vec<Report>>;

impl World {
    /// How far picture and sound of a publisher are apart at worst for a viewer since `from`, and how many frames
    /// that was measured at.
    pub fn lip_sync(&self, viewer: &str, publisher: &str, from: Duration) -> (Duration, usize) {
        let browser = &self.seat(viewer).browser;
        let number = u32::try_from(self.position(publisher)).unwrap_or(u32::MAX);
        let pictures = video_errors(browser, source_number(number, Source::Camera));
        let sounds = audio_errors(browser, source_number(number, Source::Microphone));
        let mut worst = (Duration::ZERO, 0);
        for (at, picture) in pictures.iter().filter(|(at, _)| *at >= from) {
            let before = sounds.iter().rev().find(|(of, _)| of <= at);
            if let Some((_, sound)) = before {
                let apart = Duration::from_micros(picture.abs_diff(*sound));
                worst = (worst.0.max(apart), worst.1 + 1);
            }
        }
        worst
    }
}

fn video_errors(browser: &Browser, source: u32) -> Vec<(Duration, i64)> {
    let frames = browser.video.iter().flat_map(|(mid, decoder)| {
        let shown = decoder.shown().iter();
        let own = shown.filter(|shown| shown.tag.source == source);
        own.filter_map(|shown| {
            let seen = (shown.at, shown.timestamp, 90_000);
            Some((shown.at, error(browser, *mid, seen, shown.tag.captured)?))
        })
    });
    frames.collect()
}

fn audio_errors(browser: &Browser, source: u32) -> Vec<(Duration, i64)> {
    let packets = browser.audio.iter().flat_map(|(mid, decoder)| {
        let heard = decoder.heard().iter();
        let own = heard.filter(|heard| heard.tag.source == source);
        own.filter_map(|heard| {
            let seen = (heard.at, heard.timestamp, 48_000);
            Some((heard.at, error(browser, *mid, seen, heard.tag.captured)?))
        })
    });
    packets.collect()
}

/// The capture time as the receiver knows it less the true one, in microseconds; both clocks have their own zero.
/// `None` where no report has come yet.
fn error(
    browser: &Browser,
    mid: Mid,
    (at, timestamp, clock_rate): (Duration, u32, i64),
    captured: Duration,
) -> Option<i64> {
    let reports = browser.reports.get(&mid)?;
    let report = reports.iter().rev().find(|report| report.at <= at)?;
    let ticks = i64::from(timestamp.wrapping_sub(report.timestamp).cast_signed());
    let since_1970 = report.time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let told = i64::try_from(since_1970.as_micros()).ok()? + ticks * 1_000_000 / clock_rate;
    Some(told - i64::try_from(captured.as_micros()).ok()?)
}
