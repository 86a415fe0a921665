//! What the people in a world see and hear: questions that tests ask.

use std::time::Duration;

use madang_core::{Source, VideoSlot};

use crate::browser::source_number;
use crate::decoder::{Heard, Shown};
use crate::world::{Seat, World};

impl World {
    /// Frames of a publisher's source that a viewer could decode, in the order in which they could be, since `from`.
    pub fn frames(
        &self,
        viewer: &str,
        publisher: &str,
        source: Source,
        from: Duration,
    ) -> Vec<Shown> {
        let mut frames = self.frames_in_turn(viewer, publisher, source);
        frames.retain(|frame| frame.at >= from);
        frames.sort_by_key(|frame| frame.at);
        frames
    }

    /// All of them in the order of the stream.
    pub(crate) fn frames_in_turn(
        &self,
        viewer: &str,
        publisher: &str,
        source: Source,
    ) -> Vec<Shown> {
        let number = self.number_of(publisher, source);
        let decoders = self.seat(viewer).browser.video.values();
        let shown = decoders.flat_map(|decoder| decoder.shown()).copied();
        let mut frames: Vec<Shown> = shown.filter(|shown| shown.tag.source == number).collect();
        frames.sort_by_key(|frame| frame.turn_at);
        frames
    }

    /// Packets of a publisher's source that a listener could play, in the order of arrival, since `from`.
    pub fn sounds(
        &self,
        listener: &str,
        publisher: &str,
        source: Source,
        from: Duration,
    ) -> Vec<Heard> {
        let number = self.number_of(publisher, source);
        let decoders = self.seat(listener).browser.audio.values();
        let heard = decoders.flat_map(|decoder| decoder.heard());
        let mut heard: Vec<Heard> = heard
            .filter(|heard| heard.at >= from && heard.tag.source == number)
            .copied()
            .collect();
        heard.sort_by_key(|heard| heard.at);
        heard
    }

    /// Video packets that never came, over all slots of the viewer: the holes that it sees.
    pub fn lost_packets(&self, viewer: &str) -> u64 {
        let decoders = self.seat(viewer).browser.video.values();
        decoders.map(|decoder| decoder.lost()).sum()
    }

    /// The longest time since `from` in which no frame of the source was shown.
    pub fn longest_freeze(
        &self,
        viewer: &str,
        publisher: &str,
        source: Source,
        from: Duration,
    ) -> Duration {
        let frames = self.frames(viewer, publisher, source, from);
        let times = [from]
            .into_iter()
            .chain(frames.iter().map(|frame| frame.at))
            .chain([self.now()]);
        let times: Vec<Duration> = times.collect();
        times
            .windows(2)
            .filter_map(|pair| Some(*pair.last()? - *pair.first()?))
            .max()
            .unwrap_or_default()
    }

    /// What the viewer's page has been told about the slot that carries this source.
    pub fn slot_of(&mut self, viewer: &str, publisher: &str, source: Source) -> Option<VideoSlot> {
        let owner = self.find(publisher)?;
        let track = self.track(owner, source)?.id;
        self.seat(viewer)
            .page
            .video
            .iter()
            .find(|slot| slot.track == Some(track))
            .cloned()
    }

    /// Everything that any receiver held against its streams, one line each.
    pub fn complaints(&self) -> Vec<String> {
        self.all_seats().iter().flat_map(complaints_of).collect()
    }

    fn number_of(&self, publisher: &str, source: Source) -> u32 {
        let seat = self.position(publisher);
        source_number(u32::try_from(seat).unwrap_or(u32::MAX), source)
    }
}

fn complaints_of(seat: &Seat) -> Vec<String> {
    let name = seat.name;
    let browser = &seat.browser;
    let mut lines = Vec::new();
    for (mid, decoder) in &browser.video {
        let faults = decoder.complaints().iter();
        lines.extend(faults.map(|fault| {
            format!(
                "{name}, video slot {mid}, at {:?}: {:?}",
                fault.at, fault.fault
            )
        }));
    }
    for (mid, decoder) in &browser.audio {
        let faults = decoder.complaints().iter();
        lines.extend(faults.map(|fault| {
            format!(
                "{name}, audio slot {mid}, at {:?}: {:?}",
                fault.at, fault.fault
            )
        }));
    }
    let undeclared = browser.undeclared.iter();
    lines.extend(
        undeclared.map(|(at, ssrc)| {
            format!("{name}, at {at:?}: RTP of SSRC {ssrc} before it was declared")
        }),
    );
    let without_mid = browser.without_mid.iter();
    lines.extend(
        without_mid.map(|mid| format!("{name}, slot {mid}: the first packet does not say its MID")),
    );
    let refusals = seat.page.refusals.iter();
    lines.extend(refusals.map(|text| format!("{name}: an offer was refused: {text}")));
    lines
}
