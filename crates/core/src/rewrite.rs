//! Rewrite: the sequence number, timestamp, picture id and frame number under which packets of changing sources
//! leave as one stream.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::TrackId;
use crate::codec::Counters;
use crate::gaps::Gaps;
use crate::layering::Point;
use crate::publish::Packet;

/// A packet as it leaves one slot; the payload stays shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewritten {
    pub(crate) seq: u64,
    pub(crate) timestamp: u32,
    /// The same where nothing puts it off: what the source's clock reads as the receiver knows it.
    pub(crate) clock: u32,
    pub(crate) marker: bool,
    pub(crate) picture_id: Option<u16>,
    pub(crate) tl0_pic_idx: Option<u8>,
    /// For the dependency descriptor: the frame's number, and the decode targets that are left.
    pub(crate) frame_number: u16,
    pub(crate) active_targets: Option<u32>,
    /// The packet is of a layer that the receiver does not get, and came so late that its number is missed: it
    /// leaves without its payload.
    pub(crate) empty: bool,
}

/// Keeps one outgoing stream continuous over all its sources.
#[derive(Debug)]
pub(crate) struct Rewriter {
    span: Span,
    /// The spans before it, newest last: receivers ask for packets from before a switch too.
    earlier: VecDeque<Span>,
    first_seq: u16,
    first_timestamp: u32,
    last: Option<Last>,
    left: Left,
}

/// What one source's packets become, between two switches. Offsets wrap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    source: Option<SpanSource>,
    /// The first packet as it leaves.
    first_seq: u64,
    /// Packets of the source before this one belong to what was switched away from.
    first_source_seq: u64,
    /// What the receiver gets of the source.
    point: Point,
    /// As many numbers as a [`crate::store::Store`] keeps packets.
    seqs: Gaps<8>,
    timestamp_offset: u32,
    /// Timestamps of the frame that was switched to: as it came, and as it leaves.
    first_frame: (u32, u32),
    /// How long the source's time goes half as fast, in ticks: it began with a picture that had been kept.
    catch_up: u32,
    /// Two seconds of pictures.
    pictures: Gaps<1>,
    tl0_offset: u8,
    frame_number_offset: u16,
}

/// Where a span's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpanSource {
    pub(crate) track: TrackId,
    pub(crate) layer: usize,
    pub(crate) stream: u32,
}

/// A packet that a receiver asks for again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Its number here.
    pub(crate) seq: u64,
    pub(crate) source: SpanSource,
    /// Its number as the publisher counts.
    pub(crate) source_seq: u64,
    pub(crate) span: Span,
}

/// Receivers ask for what was sent within the last second; there are fewer switches in that.
const EARLIER_SPANS_MAX: usize = 8;

/// The newest packet that has left.
#[derive(Debug, Clone, Copy)]
struct Last {
    seq: u64,
    timestamp: u32,
    /// See [`Rewritten::clock`].
    clock: u32,
    marker: bool,
    arrived: Instant,
    captured: Option<Instant>,
    picture_id: Option<u16>,
    tl0_pic_idx: Option<u8>,
    frame_number: Option<u16>,
    /// Timestamp ticks from frame to frame, as last seen within one source.
    cadence: Option<u32>,
}

/// Picture ids wrap at 15 bits whatever the source uses; a 7-bit source shows the lower ones.
pub(crate) const PICTURE_ID_MASK: u16 = 0x7fff;
const PICTURE_ID_SHORT_MASK: u16 = 0x7f;

fn picture_id_mask(counters: Counters) -> u16 {
    if counters.short {
        PICTURE_ID_SHORT_MASK
    } else {
        PICTURE_ID_MASK
    }
}

impl Rewriter {
    pub(crate) fn new(first_seq: u16, first_timestamp: u32) -> Self {
        Self {
            span: Span::NOTHING,
            earlier: VecDeque::new(),
            first_seq,
            first_timestamp,
            last: None,
            left: Left::default(),
        }
    }

    /// Makes `packet`, of this track, the next one after the newest that has left. `kept`: for how long, where that is long.
    pub(crate) fn switch(&mut self, packet: &Packet, point: Point, track: TrackId, kept: Duration) {
        // Also after a pause, in which a smaller picture may come sooner than the larger ones before it.
        let same_track = self.is_of(track);
        // str0m starts at rollover counter 0, as a receiver does: below 65,536.
        let (mut seq, mut timestamp, mut shown) = (
            u64::from(self.first_seq),
            self.first_timestamp,
            self.first_timestamp,
        );
        let mut catch_up = 0;
        if let Some(last) = &self.last {
            let video = !packet.codec.codec.is_audio();
            let (elapsed, displacement) = ticks_since(last, packet, same_track);
            // A frame whose end never came stays visibly unfinished.
            seq = last.seq + if last.marker || !video { 1 } else { 2 };
            let behind = ticks_behind(last, packet, same_track);
            timestamp = last.clock.wrapping_add(elapsed).wrapping_sub(behind);
            // Simulcast layers show the same moments: the frame that is switched to may be the one that
            // has just been sent. It alone is put half a frame later, and the next is on time again.
            shown = last.timestamp.wrapping_add(displacement);
            // What has been kept comes as late as it is old: a receiver that is told its true time waits for more such.
            let late = if video { ticks(kept, packet) } else { 0 };
            let now = timestamp.wrapping_add(late);
            if now.wrapping_sub(shown).cast_signed() > 0 {
                shown = now;
            }
            let ahead = shown.wrapping_sub(timestamp);
            if ahead > displacement {
                catch_up = ahead.saturating_mul(2);
            }
        }
        let mut span = Span {
            source: Some(SpanSource {
                track,
                layer: packet.layer,
                stream: packet.stream,
            }),
            first_seq: seq,
            first_source_seq: packet.seq,
            point,
            seqs: Gaps::new(packet.seq, seq),
            timestamp_offset: timestamp.wrapping_sub(wire_timestamp(packet)),
            first_frame: (wire_timestamp(packet), shown),
            catch_up,
            ..self.span
        };
        self.go_on_counting(&mut span, packet);
        self.begin(span);
    }

    /// Lets the counters of the payload, and the frame number, follow those that have left.
    fn go_on_counting(&self, span: &mut Span, packet: &Packet) {
        let last = self.last.as_ref();
        if let Some(counters) = packet.counters {
            if let Some(id) = counters.picture_id {
                let next = last.and_then(|last| last.picture_id);
                let next = next.map_or(id, |before| before.wrapping_add(1));
                span.pictures = Gaps::new(PICTURES_FROM + u64::from(id), next.into());
            }
            if let (Some(index), Some(before)) =
                (counters.tl0_pic_idx, last.and_then(|last| last.tl0_pic_idx))
            {
                span.tl0_offset = before.wrapping_add(1).wrapping_sub(index);
            }
        }
        if let (Some(descriptor), Some(before)) =
            (&packet.descriptor, last.and_then(|last| last.frame_number))
        {
            span.frame_number_offset = before.wrapping_add(1).wrapping_sub(descriptor.frame_number);
        }
    }

    /// No later packet of the current source has come: what has left is not decided anew.
    pub(crate) fn is_ahead(&self, packet: &Packet) -> bool {
        packet.seq > self.span.seqs.newest()
    }

    /// From `packet` on, the receiver gets something else of the same source.
    pub(crate) fn go_on(&mut self, packet: &Packet, point: Point) {
        self.begin(Span {
            first_seq: self
                .span
                .seqs
                .get(packet.seq)
                .unwrap_or(self.span.first_seq),
            first_source_seq: packet.seq,
            point,
            ..self.span
        });
    }

    fn begin(&mut self, span: Span) {
        if self.earlier.len() == EARLIER_SPANS_MAX {
            self.earlier.pop_front();
        }
        self.earlier
            .push_back(std::mem::replace(&mut self.span, span));
    }

    /// Which packet left under this number; `None` for one that never did, or too long ago. Such as the number that
    /// shows that a frame was left unfinished: a packet of that frame would go on with it.
    pub(crate) fn wanted(&self, seq: u16) -> Option<Wanted> {
        let newest = self.last?.seq;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "numbers wrap at 16 bits on the wire"
        )]
        let behind = (newest as u16).wrapping_sub(seq);
        let seq = newest.checked_sub(u64::from(behind))?;
        if !self.left.is_set(seq) {
            return None;
        }
        let span = std::iter::once(&self.span)
            .chain(self.earlier.iter().rev())
            .find(|span| span.first_seq <= seq)?;
        Some(Wanted {
            seq,
            source: span.source?,
            source_seq: span.seqs.source_of(seq)?,
            span: *span,
        })
    }

    /// What left last was of this track.
    fn is_of(&self, track: TrackId) -> bool {
        self.span.source.is_some_and(|before| before.track == track)
    }

    /// All that has left of this track came before the packet, as far as nothing of another has followed.
    pub(crate) fn is_behind(&self, packet: &Packet, track: TrackId) -> bool {
        let goes_on = self.is_of(track);
        let last = self.last.filter(|_| goes_on);
        last.is_none_or(|last| last.arrived < packet.arrived)
    }

    /// Whether the newest frame that has left lacks its end.
    pub(crate) fn amid_frame(&self) -> bool {
        self.last.is_some_and(|last| !last.marker)
    }

    /// Takes a packet of the current source. `None` for one that does not leave.
    pub(crate) fn rewrite(&mut self, packet: &Packet) -> Option<Rewritten> {
        let rewritten = if packet.seq < self.span.first_source_seq {
            self.late(packet)?
        } else {
            self.span.take(packet)?
        };
        if !self
            .left
            .is_new(rewritten.seq, self.last.map(|last| last.seq))
        {
            return None;
        }
        if self.last.is_none_or(|last| rewritten.seq > last.seq) {
            let step = self
                .last
                .map(|last| rewritten.timestamp.wrapping_sub(last.timestamp));
            let switched = packet.seq == self.span.first_source_seq;
            let before = self.last;
            self.last = Some(Last {
                seq: rewritten.seq,
                timestamp: rewritten.timestamp,
                clock: rewritten.clock,
                marker: rewritten.marker,
                arrived: packet.arrived,
                captured: packet.captured,
                picture_id: rewritten.picture_id,
                tl0_pic_idx: rewritten.tl0_pic_idx,
                frame_number: match &packet.descriptor {
                    Some(_) => Some(rewritten.frame_number),
                    None => before.and_then(|last| last.frame_number),
                },
                cadence: step
                    .filter(|step| *step != 0 && !switched)
                    .or_else(|| before.and_then(|last| last.cadence)),
            });
        }
        Some(rewritten)
    }

    /// A packet from before something else of the source was sent: it leaves as it would have then.
    fn late(&self, packet: &Packet) -> Option<Rewritten> {
        let spans = self.earlier.iter().rev();
        let mut same_source = spans.take_while(|span| span.source == self.span.source);
        same_source
            .find(|span| span.first_source_seq <= packet.seq)?
            .rewrite(packet)
    }
}

/// Which of the newest numbers have left. No number leaves twice: the seal of a second packet under it would
/// tell its key.
#[derive(Debug, Default)]
struct Left([u64; LEFT_WORDS]);

/// 1,024 packets: what comes later than that fills no hole any more.
const LEFT_WORDS: usize = 16;
const LEFT_BITS: u64 = LEFT_WORDS as u64 * 64;

impl Left {
    /// Whether the number has not left yet; it counts as left from then on. `newest` is the highest that has.
    fn is_new(&mut self, seq: u64, newest: Option<u64>) -> bool {
        match newest {
            Some(newest) if seq <= newest && newest - seq >= LEFT_BITS => return false,
            Some(newest) if seq > newest => {
                for passed in (newest + 1..=seq).rev().take(LEFT_WORDS * 64) {
                    self.set(passed, false);
                }
            }
            Some(_) | None => {}
        }
        let new = !self.is_set(seq);
        self.set(seq, true);
        new
    }

    fn is_set(&self, seq: u64) -> bool {
        let (word, bit) = Self::place(seq);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    fn set(&mut self, seq: u64, left: bool) {
        let (word, bit) = Self::place(seq);
        if let Some(word) = self.0.get_mut(word) {
            *word = if left { *word | bit } else { *word & !bit };
        }
    }

    fn place(seq: u64) -> (usize, u64) {
        ((seq % LEFT_BITS / 64) as usize, 1 << (seq % 64))
    }
}

/// Picture ids count on from here, so that they can go back, too.
const PICTURES_FROM: u64 = 1 << 32;

impl Span {
    const NOTHING: Self = Self {
        source: None,
        first_seq: 0,
        first_source_seq: 0,
        point: Point::WHOLE,
        seqs: Gaps::NONE,
        timestamp_offset: 0,
        first_frame: (0, 0),
        catch_up: 0,
        pictures: Gaps::NONE,
        tl0_offset: 0,
        frame_number_offset: 0,
    };

    /// Takes the next packet of the source, or one that has come a little late.
    fn take(&mut self, packet: &Packet) -> Option<Rewritten> {
        let needed = packet.frame.needed.contains(self.point);
        let seq = if needed {
            self.seqs.pass(packet.seq)?
        } else {
            let left_out = self.seqs.leave_out(packet.seq);
            self.leave_picture_out(packet);
            if left_out {
                return None;
            }
            self.seqs.get(packet.seq)?
        };
        let picture_id = packet.counters.and_then(|counters| {
            let id = self.picture(counters)?;
            let id = if needed {
                self.pictures.pass(id)?
            } else {
                self.pictures.get(id)?
            };
            Some(masked(id, counters))
        });
        Some(self.rewritten(packet, seq, picture_id))
    }

    /// The same packet always becomes the same. `None` for one from before the switch, or that was left out.
    pub(crate) fn rewrite(&self, packet: &Packet) -> Option<Rewritten> {
        if packet.seq < self.first_source_seq {
            return None;
        }
        let seq = self.seqs.get(packet.seq)?;
        let picture_id = packet.counters.and_then(|counters| {
            let id = self.pictures.get(self.picture(counters)?)?;
            Some(masked(id, counters))
        });
        Some(self.rewritten(packet, seq, picture_id))
    }

    fn rewritten(&self, packet: &Packet, seq: u64, picture_id: Option<u16>) -> Rewritten {
        let came = wire_timestamp(packet);
        let on_time = came.wrapping_add(self.timestamp_offset);
        let (first, shown) = self.first_frame;
        let timestamp = match came.wrapping_sub(first) {
            0 => shown,
            since if since < self.catch_up => shown.wrapping_add(since / 2),
            _ => on_time,
        };
        let frame = &packet.frame;
        let needed = frame.needed.contains(self.point);
        // The picture ends with the largest layer that the receiver gets of it.
        let ends = packet.marker || (frame.ends && frame.layer.spatial == self.point.spatial);
        let tl0_pic_idx = packet
            .counters
            .and_then(|counters| counters.tl0_pic_idx)
            .map(|index| index.wrapping_add(self.tl0_offset));
        let descriptor = packet.descriptor.as_ref();
        Rewritten {
            seq,
            timestamp,
            clock: on_time,
            marker: ends && needed,
            picture_id,
            tl0_pic_idx,
            frame_number: descriptor.map_or(0, |descriptor| {
                descriptor
                    .frame_number
                    .wrapping_add(self.frame_number_offset)
            }),
            active_targets: descriptor.and_then(|descriptor| descriptor.told_active(self.point)),
            empty: !needed,
        }
    }

    fn leave_picture_out(&mut self, packet: &Packet) {
        if let Some(counters) = packet.counters.filter(|counters| counters.gapless)
            && let Some(id) = self.picture(counters)
        {
            self.pictures.leave_out(id);
        }
    }

    /// The picture id, counted on over its wraps.
    fn picture(&self, counters: Counters) -> Option<u64> {
        let mask = picture_id_mask(counters);
        let newest = self.pictures.newest();
        let ahead = counters.picture_id?.wrapping_sub(low(newest)) & mask;
        if ahead > mask / 2 {
            return Some(newest.wrapping_sub(u64::from(mask - ahead) + 1));
        }
        Some(newest.wrapping_add(ahead.into()))
    }
}

fn masked(id: u64, counters: Counters) -> u16 {
    low(id) & picture_id_mask(counters)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "picture ids have 15 bits on the wire"
)]
fn low(id: u64) -> u16 {
    id as u16
}

/// How far the outgoing clock moves from the last packet to `packet`, in ticks: as long as passed between
/// the captures of the two where both are known on one clock, else as long as passed between their
/// arrivals; on the frame grid where it is close to it. And how far a frame of the same moment is put
/// off: half a frame, 17 ms at the most.
fn ticks_since(last: &Last, packet: &Packet, same_track: bool) -> (u32, u32) {
    let audio = packet.codec.codec.is_audio();
    // Audio may pause between packets (DTX): its last step says nothing about the next.
    let cadence = match last.cadence {
        Some(cadence) if !audio => cadence.max(2),
        _ => packet.clock_rate() / if audio { 50 } else { 30 },
    };
    let elapsed = match (last.captured, packet.captured) {
        (Some(before), Some(now)) if same_track => now.saturating_duration_since(before),
        _ => packet.arrived.saturating_duration_since(last.arrived),
    };
    let ticks = ticks(elapsed, packet);
    let on_grid = (ticks.saturating_add(cadence / 2) / cadence).saturating_mul(cadence);
    // A quarter of a frame, of 33 ms at the most: frames of few temporal layers are further apart, and what is switched
    // to may be of a moment between them.
    let near = cadence.min(packet.clock_rate() / 30) / 4;
    let elapsed = if on_grid.abs_diff(ticks) <= near {
        on_grid
    } else {
        ticks
    };
    // Two packets of sound never share a moment, as two layers' frames may.
    if audio {
        return (elapsed.max(cadence), 0);
    }
    (elapsed, cadence.min(packet.clock_rate() / 30) / 2)
}

/// How much longer ago than the last packet of another track this one came, in ticks: it was kept.
fn ticks_behind(last: &Last, packet: &Packet, same_track: bool) -> u32 {
    if same_track || packet.codec.codec.is_audio() {
        return 0;
    }
    ticks(
        last.arrived.saturating_duration_since(packet.arrived),
        packet,
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "RTP timestamps wrap at 32 bits"
)]
fn ticks(time: Duration, packet: &Packet) -> u32 {
    (time.as_secs_f64() * f64::from(packet.clock_rate())).round() as u64 as u32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "RTP timestamps are 32 bits on the wire"
)]
fn wire_timestamp(packet: &Packet) -> u32 {
    packet.timestamp as u32
}
