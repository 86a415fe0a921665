//! The publishing side: tracks, their layers, and the packet as it is read once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::format::CodecSpec;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::{ExtensionValues, RedDecoder, RtpPacket};

use crate::codec::{self, Vp8};
use crate::layer::Layer;
use crate::peer::Stream;
use crate::relay::{Elsewhere, LayerState};
use crate::{MediaKind, PeerId, RoomId, Source, TrackSpec};

/// Place of a track in the shard.
pub(crate) type TrackKey = usize;
/// Place of a peer in the shard.
pub(crate) type PeerKey = usize;

/// An RTP packet of a publisher, read once; from here on it is shared and never changes.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    /// Index into [`Track::layers`].
    pub(crate) layer: usize,
    /// Counts up when the layer starts over with another SSRC; sequence numbers of different
    /// streams have nothing to do with each other.
    pub(crate) stream: u32,
    /// Extended sequence number and timestamp of the publisher.
    pub(crate) seq: u64,
    pub(crate) timestamp: u64,
    pub(crate) marker: bool,
    /// Shared by the packets of a track, so that they can be told to have the same at a glance.
    pub(crate) codec: Arc<CodecSpec>,
    /// The payload is RED (RFC 2198) around `codec`.
    pub(crate) red: Option<Red>,
    pub(crate) starts_keyframe: bool,
    pub(crate) vp8: Option<Vp8>,
    pub(crate) arrived: Instant,
    /// When the frame was captured, on the publisher's clock as its sender reports tell it.
    pub(crate) captured: Option<Instant>,
    pub(crate) extensions: ExtensionValues,
    pub(crate) payload: Arc<[u8]>,
}

/// Redundant audio in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Red {
    /// The payload type that the blocks carry, as the publisher numbers it.
    pub(crate) inner: Pt,
    /// Where the primary block starts, the last one: the rest of the payload is what a plain packet would hold.
    pub(crate) primary_at: usize,
}

impl Packet {
    pub(crate) fn clock_rate(&self) -> u32 {
        self.codec.clock_rate.get()
    }

    /// What sender reports map to the RTP timestamp: the capture time, so that lips stay in sync.
    pub(crate) fn shown_at(&self) -> Instant {
        self.captured.unwrap_or(self.arrived)
    }
}

/// What a participant publishes on one m-line.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) spec: TrackSpec,
    pub(crate) room: RoomId,
    pub(crate) publisher: Publisher,
    pub(crate) publisher_id: PeerId,
    /// Other shards with people who may want the track.
    pub(crate) elsewhere: Vec<Elsewhere>,
    /// What the home of this mirror was last told to be wanted here.
    pub(crate) told_wanted: u32,
    /// What the newest packet was encoded with.
    pub(crate) codec: Option<Arc<CodecSpec>>,
    pub(crate) layers: Vec<Layer>,
    /// Slots that this track is switched into.
    pub(crate) subscribers: Vec<Subscriber>,
    /// The newest packets of an audio track: a listener who gets the track when somebody starts to
    /// speak gets the first syllable too.
    pub(crate) recent: VecDeque<Arc<Packet>>,
    /// The due time of this track's entry in the heap.
    pub(crate) due: Option<Instant>,
}

/// Where a track's publisher is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// One of this shard's peers.
    Here(PeerKey),
    /// On this worker; here stands a mirror.
    At(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) peer: PeerKey,
    pub(crate) slot: usize,
}

impl Track {
    pub(crate) fn new(
        spec: TrackSpec,
        room: RoomId,
        publisher: Publisher,
        publisher_id: PeerId,
    ) -> Self {
        Self {
            spec,
            room,
            publisher,
            publisher_id,
            elsewhere: Vec::new(),
            told_wanted: 0,
            codec: None,
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
        let newest = self.layers.iter().filter_map(Layer::last_packet).max();
        let mut ladder: Vec<Rung> = self
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.paused || (layer.is_active(now) && !layer.lags(newest)))
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

    /// What mirrors have to know of the layers.
    pub(crate) fn layer_states(&self) -> Vec<LayerState> {
        self.layers.iter().map(Layer::state).collect()
    }

    /// Takes over how the layers do at the track's home.
    pub(crate) fn mirror_layers(&mut self, states: &[LayerState], limit: usize) {
        for (index, state) in states.iter().enumerate().take(limit) {
            if index == self.layers.len() {
                self.layers.push(Layer::new(state.rid));
            }
            if let Some(layer) = self.layers.get_mut(index) {
                layer.mirror(state);
            }
        }
    }

    /// Packets of the last moments, for a listener who gets the track now. After a pause there are none:
    /// what was sent before it belongs to its own time.
    pub(crate) fn recent(&self, now: Instant) -> impl Iterator<Item = &Arc<Packet>> {
        self.recent
            .iter()
            .filter(move |packet| now.saturating_duration_since(packet.arrived) < RECENT_AGE)
    }

    pub(crate) fn remember(&mut self, packet: &Arc<Packet>) {
        if !self.is_audio() {
            if let Some(layer) = self.layers.get_mut(packet.layer) {
                layer.store.push(packet);
            }
            return;
        }
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

/// Reads a packet once: everything that forwarding asks of it stands in the result.
pub(crate) fn read(
    rtp: RtpPacket,
    stream: Stream,
    track: &mut Track,
    codec: CodecSpec,
    red: Option<Pt>,
    clock: &PublisherClock,
) -> Option<Packet> {
    let red = match red {
        Some(inner) => Some(redundancy(inner, &rtp.payload)?),
        None => None,
    };
    if track.codec.as_deref() != Some(&codec) {
        track.codec = Some(Arc::new(codec));
    }
    let codec = track.codec.clone()?;
    let layer = track.layers.get_mut(stream.layer)?;
    if !layer.follows(*rtp.seq_no) {
        return None;
    }
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

/// Finds the primary block. `None` where the packet is no RED.
fn redundancy(inner: Pt, payload: &[u8]) -> Option<Red> {
    let blocks = RedDecoder::decode(payload).ok()?;
    let primary_at = payload.len().checked_sub(blocks.last()?.payload.len())?;
    Some(Red { inner, primary_at })
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

/// Where the media of a published m-line goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PublishedMid {
    pub(crate) mid: Mid,
    pub(crate) track: TrackKey,
}
