//! The publishing side: tracks, their layers, and the packet as it is read once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::format::CodecSpec;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::{ExtensionValues, RtpPacket};

use crate::codec::{self, Vp8};
use crate::peer::Stream;
use crate::{MediaKind, RoomId, Source, TrackSpec};

/// Place of a track in the shard.
pub(crate) type TrackKey = usize;
/// Place of a peer in the shard.
pub(crate) type PeerKey = usize;

/// An RTP packet of a publisher, read once; from here on it is shared and never changes.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) track: TrackKey,
    /// Index into [`Track::layers`].
    pub(crate) layer: usize,
    /// Counts up when the layer starts over with another SSRC; sequence numbers of different
    /// streams have nothing to do with each other.
    pub(crate) stream: u32,
    /// Extended sequence number and timestamp of the publisher.
    pub(crate) seq: u64,
    pub(crate) timestamp: u64,
    pub(crate) marker: bool,
    pub(crate) codec: CodecSpec,
    /// The payload is RED (RFC 2198) around `codec`, whose blocks carry this payload type.
    pub(crate) red: Option<Pt>,
    pub(crate) starts_keyframe: bool,
    pub(crate) vp8: Option<Vp8>,
    pub(crate) arrived: Instant,
    /// When the frame was captured, on the publisher's clock as its sender reports tell it.
    pub(crate) captured: Option<Instant>,
    pub(crate) extensions: ExtensionValues,
    pub(crate) payload: Arc<[u8]>,
}

impl Packet {
    pub(crate) fn clock_rate(&self) -> u32 {
        self.codec.clock_rate.get()
    }
}

/// What a participant publishes on one m-line.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) spec: TrackSpec,
    pub(crate) room: RoomId,
    pub(crate) publisher: PeerKey,
    pub(crate) layers: Vec<Layer>,
    /// Slots that this track is switched into.
    pub(crate) subscribers: Vec<Subscriber>,
    /// The newest packets of an audio track: a listener who gets the track when somebody starts to
    /// speak gets the first syllable too.
    pub(crate) recent: VecDeque<Packet>,
    /// The due time of this track's entry in the heap.
    pub(crate) due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) peer: PeerKey,
    pub(crate) slot: usize,
}

impl Track {
    pub(crate) fn new(spec: TrackSpec, room: RoomId, publisher: PeerKey) -> Self {
        Self {
            spec,
            room,
            publisher,
            layers: Vec::new(),
            subscribers: Vec::new(),
            recent: VecDeque::new(),
            due: None,
        }
    }

    pub(crate) fn is_audio(&self) -> bool {
        self.spec.kind == MediaKind::Audio
    }

    /// Measured rate of a microphone in bit/s; `None` until it has been measured.
    pub(crate) fn audio_bps(&self) -> Option<u64> {
        self.layers
            .first()
            .map(|layer| layer.rate.bps())
            .filter(|bps| *bps > 0)
    }

    pub(crate) fn is_screen(&self) -> bool {
        self.spec.source == Source::Screen
    }

    /// The layer of this rid, made where it is new. `None` over the limit.
    pub(crate) fn layer(&mut self, rid: Option<Rid>, limit: usize) -> Option<usize> {
        if let Some(at) = self.layers.iter().position(|layer| layer.rid == rid) {
            return Some(at);
        }
        if self.layers.len() >= limit {
            return None;
        }
        self.layers.push(Layer::new(rid));
        Some(self.layers.len() - 1)
    }

    /// Layers to be had, from the smallest to the largest, by measured height and then rate: a rid's
    /// name says nothing about its size.
    pub(crate) fn ladder(&self, now: Instant) -> Vec<Rung> {
        let mut ladder: Vec<Rung> = self
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.paused || layer.is_active(now))
            .map(|(index, layer)| Rung {
                layer: index,
                height: layer.size.map_or(0, |(_, height)| height),
                bps: layer.rate.bps(),
            })
            .collect();
        // A layer of which nothing is known yet would be taken for the smallest.
        if ladder.iter().any(|rung| rung.height > 0 || rung.bps > 0) {
            ladder.retain(|rung| rung.height > 0 || rung.bps > 0);
        }
        if ladder.iter().all(|rung| rung.height > 0) {
            ladder.sort_by_key(|rung| (rung.height, rung.bps));
        } else {
            ladder.sort_by_key(|rung| rung.bps);
        }
        self.guess_heights(&mut ladder);
        guess_rates(&mut ladder);
        ladder
    }

    /// Codecs whose payload doesn't tell the size: the declared size belongs to the largest layer,
    /// and each one below is half of the next, as browsers scale simulcast.
    fn guess_heights(&self, ladder: &mut [Rung]) {
        let mut height = self.spec.height.unwrap_or(720);
        for rung in ladder.iter_mut().rev() {
            if rung.height == 0 {
                rung.height = height;
            }
            height = rung.height / 2;
        }
    }

    /// Packets of the last moments, for a listener who gets the track now. After a pause there are none:
    /// what was sent before it belongs to its own time.
    pub(crate) fn recent(&self, now: Instant) -> impl Iterator<Item = &Packet> {
        self.recent
            .iter()
            .filter(move |packet| now.saturating_duration_since(packet.arrived) < RECENT_AGE)
    }

    pub(crate) fn remember(&mut self, packet: &Packet) {
        if self.recent.len() == RECENT_PACKETS {
            self.recent.pop_front();
        }
        self.recent.push_back(packet.clone());
    }
}

/// 60 ms of audio: what passes between the start of a word and a level that says so.
const RECENT_PACKETS: usize = 3;
const RECENT_AGE: Duration = Duration::from_millis(120);

/// What browsers spend on a picture of this height; it stands in until the rate has been measured.
fn guess_rates(ladder: &mut [Rung]) {
    for rung in ladder.iter_mut().filter(|rung| rung.bps == 0) {
        rung.bps = match rung.height {
            0..=180 => 150_000,
            181..=360 => 500_000,
            361..=720 => 1_500_000,
            _ => 3_000_000,
        };
    }
}

/// One step of a track's ladder of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rung {
    pub(crate) layer: usize,
    /// In pixels.
    pub(crate) height: u32,
    /// Measured rate in bit/s.
    pub(crate) bps: u64,
}

/// One simulcast encoding of a track.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) rid: Option<Rid>,
    pub(crate) stream: u32,
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) rate: Rate,
    pub(crate) keyframes: Keyframes,
    /// The publisher has been told that nobody wants this layer; it comes back when asked for.
    pub(crate) paused: bool,
    /// Since when the layer has had no taker.
    pub(crate) unwanted_since: Option<Instant>,
    last_packet: Option<Instant>,
    report: Option<(SystemTime, u32)>,
    highest_seq: Option<u64>,
    received: u64,
    expected: u64,
}

/// A layer that has sent nothing for this long is taken for paused. Browsers send a frame at least
/// every 100 ms, screen shares of a still picture once a second.
const LAYER_ACTIVE: Duration = Duration::from_millis(2_500);

impl Layer {
    fn new(rid: Option<Rid>) -> Self {
        Self {
            rid,
            stream: 0,
            size: None,
            rate: Rate::default(),
            keyframes: Keyframes::default(),
            paused: false,
            unwanted_since: None,
            last_packet: None,
            report: None,
            highest_seq: None,
            received: 0,
            expected: 0,
        }
    }

    pub(crate) fn is_active(&self, now: Instant) -> bool {
        self.last_packet
            .is_some_and(|at| now.saturating_duration_since(at) < LAYER_ACTIVE)
    }

    /// The publisher's encoder has started over with a new SSRC.
    pub(crate) fn restart(&mut self) {
        self.stream += 1;
        self.report = None;
        self.highest_seq = None;
    }

    pub(crate) fn on_sender_report(&mut self, info: &SenderInfo) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "RTP timestamps are 32 bits on the wire"
        )]
        let rtp = info.rtp_time.numer() as u32;
        self.report = Some((info.ntp_time, rtp));
    }

    /// Share of packets that did not arrive since the last call, 0 to 1.
    pub(crate) fn take_loss(&mut self) -> f32 {
        let (received, expected) = (
            std::mem::take(&mut self.received),
            std::mem::take(&mut self.expected),
        );
        if expected == 0 || received >= expected {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few thousand packets")]
        let loss = (expected - received) as f32 / expected as f32;
        loss
    }

    fn count(&mut self, seq: u64, bytes: usize, now: Instant) {
        self.last_packet = Some(now);
        self.rate.add(bytes);
        self.received += 1;
        self.expected += match self.highest_seq {
            None => 1,
            Some(highest) => seq.saturating_sub(highest),
        };
        self.highest_seq = self.highest_seq.max(Some(seq));
    }
}

/// Reads a packet once: everything that forwarding asks of it stands in the result.
pub(crate) fn read(
    rtp: RtpPacket,
    stream: Stream,
    track: &mut Track,
    codec: CodecSpec,
    red: Option<Pt>,
    clock: &PublisherClock,
) -> Option<Packet> {
    let layer = track.layers.get_mut(stream.layer)?;
    let reading = codec::read(codec.codec, &rtp.payload);
    layer.count(*rtp.seq_no, rtp.payload.len(), rtp.timestamp);
    layer.size = reading.size.or(layer.size);
    if reading.starts_keyframe {
        layer.keyframes.on_keyframe();
    }
    let timestamp = rtp.time.numer();
    let captured = layer.report.and_then(|(ntp, rtp_time)| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "RTP timestamps wrap at 32 bits"
        )]
        let ticks = (timestamp as u32).wrapping_sub(rtp_time) as i32;
        clock.instant(ntp, ticks, codec.clock_rate.get())
    });
    let mut extensions = rtp.header.ext_vals;
    // Those name the hop, not the media: each leg has its own.
    extensions.mid = None;
    extensions.rid = None;
    extensions.rid_repair = None;
    extensions.transport_cc = None;
    extensions.abs_send_time = None;
    extensions.tx_time_offs = None;
    Some(Packet {
        track: stream.track,
        layer: stream.layer,
        stream: layer.stream,
        seq: *rtp.seq_no,
        timestamp,
        marker: rtp.header.marker,
        codec,
        red,
        starts_keyframe: reading.starts_keyframe,
        vp8: reading.vp8,
        arrived: rtp.timestamp,
        captured,
        extensions,
        payload: rtp.payload,
    })
}

/// A publisher's NTP clock seen from ours. Sender reports of all its streams share it, so that their
/// capture times can be compared.
#[derive(Debug, Default)]
pub(crate) struct PublisherClock {
    /// A pair of equal times: the report that was the least delayed.
    pair: Option<(Instant, SystemTime)>,
}

impl PublisherClock {
    pub(crate) fn on_sender_report(&mut self, received_at: Instant, ntp: SystemTime) {
        let least_delayed = match self.pair {
            None => true,
            // The new report has been under way for less time if more NTP time than our time has passed.
            Some((at, old)) => ntp
                .duration_since(old)
                .is_ok_and(|d| d > received_at.saturating_duration_since(at)),
        };
        if least_delayed {
            self.pair = Some((received_at, ntp));
        }
    }

    fn instant(&self, ntp: SystemTime, ticks: i32, clock_rate: u32) -> Option<Instant> {
        let (at, reference) = self.pair?;
        let at = match ntp.duration_since(reference) {
            Ok(later) => at.checked_add(later)?,
            Err(earlier) => at.checked_sub(earlier.duration())?,
        };
        let offset =
            Duration::from_secs_f64(f64::from(ticks.unsigned_abs()) / f64::from(clock_rate.max(1)));
        if ticks < 0 {
            at.checked_sub(offset)
        } else {
            at.checked_add(offset)
        }
    }
}

/// A smoothed rate, measured between ticks.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    bytes: u64,
    since: Option<Instant>,
    bps: u64,
}

impl Rate {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// In bit/s of payload.
    pub(crate) fn bps(&self) -> u64 {
        self.bps
    }

    /// Takes in what has come since the last tick. An encoder that stood still says nothing about
    /// what it takes when it runs.
    pub(crate) fn tick(&mut self, now: Instant) {
        let bytes = std::mem::take(&mut self.bytes);
        let elapsed = self
            .since
            .replace(now)
            .map(|since| now.saturating_duration_since(since));
        let Some(elapsed) = elapsed.filter(|elapsed| bytes > 0 && *elapsed < RATE_WINDOW_MAX)
        else {
            return;
        };
        let micros = u64::try_from(elapsed.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let bps = bytes.saturating_mul(8_000_000) / micros;
        self.bps = if self.bps == 0 {
            bps
        } else {
            (self.bps + bps) / 2
        };
    }
}

/// A longer time than this between ticks holds a pause.
const RATE_WINDOW_MAX: Duration = Duration::from_secs(1);

/// Coalesces keyframe requests to one layer's encoder.
#[derive(Debug, Default)]
pub(crate) struct Keyframes {
    last_request: Option<Instant>,
    /// A keyframe has come since the last request.
    answered: bool,
    wanted: bool,
}

/// Between a keyframe that has been asked for and the next request: 50 viewers who join within a
/// second cost their publisher two keyframes, not fifty. More makes late joiners wait longer.
const REQUEST_INTERVAL: Duration = Duration::from_millis(1_000);
/// Until a request that has not been answered is repeated: it, or the keyframe, may have got lost.
const REQUEST_REPEAT: Duration = Duration::from_millis(500);

impl Keyframes {
    /// Somebody needs a keyframe. True where the encoder is to be asked now.
    pub(crate) fn want(&mut self, now: Instant) -> bool {
        self.wanted = true;
        self.take_due(now)
    }

    /// True where a request that was held back is due. It counts as sent.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        if !self.wanted || self.due().is_some_and(|due| now < due) {
            return false;
        }
        self.last_request = Some(now);
        self.answered = false;
        self.wanted = false;
        true
    }

    /// A keyframe has come, asked for or not: it serves everybody who has waited until now.
    fn on_keyframe(&mut self) {
        self.answered = true;
        self.wanted = false;
    }

    /// When the next request may go out, while one is wanted.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.wanted { self.due() } else { None }
    }

    fn due(&self) -> Option<Instant> {
        let interval = if self.answered {
            REQUEST_INTERVAL
        } else {
            REQUEST_REPEAT
        };
        self.last_request.and_then(|at| at.checked_add(interval))
    }
}

/// Where the media of a published m-line goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishedMid {
    pub(crate) mid: Mid,
    pub(crate) track: TrackKey,
}
