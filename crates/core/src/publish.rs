//! The publishing side: tracks, their layers, and the packet as it is read once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::format::CodecSpec;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::{ExtensionValues, RedDecoder};

use crate::codec::{self, Counters, Reading};
use crate::dependency::{Descriptor, Extensions, Raw, Unreadable};
use crate::egress::OVERHEAD_BYTES;
use crate::h264;
use crate::incoming::Incoming;
use crate::ladder::Ladder;
use crate::layer::Layer;
use crate::layering::Frame;
use crate::operating::merge_sizes;
use crate::peer::Stream;
use crate::rate::Part;
use crate::relay::{Elsewhere, LayerState, Wanted};
use crate::{Format, LayerAvailable, MediaKind, PeerId, RoomId, Source, TrackSpec, Trouble};

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
    /// From end to end: the payload is nobody's to read or to change.
    pub(crate) encrypted: bool,
    pub(crate) starts_keyframe: bool,
    pub(crate) counters: Option<Counters>,
    pub(crate) frame: Frame,
    pub(crate) descriptor: Option<Box<Descriptor>>,
    pub(crate) arrived: Instant,
    /// When the frame was captured, on the publisher's clock as its sender reports tell it.
    pub(crate) captured: Option<Instant>,
    /// How late packets of the track may come that have to be asked for.
    pub(crate) repaired_within: Duration,
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
    pub(crate) told_wanted: Wanted,
    pub(crate) layers: Vec<Layer>,
    pub(crate) ladder: Ladder,
    /// Slots that this track is switched into.
    pub(crate) subscribers: Vec<Subscriber>,
    /// The newest packets of an audio track: a listener who gets the track when somebody starts to
    /// speak gets the first syllable too.
    pub(crate) recent: VecDeque<Arc<Packet>>,
    /// Share of packets that did not arrive at the first attempt lately, 0 to 1.
    pub(crate) loss: f32,
    /// The layers that the control plane knows of.
    pub(crate) told_layers: Vec<LayerAvailable>,
    /// How it knows the track to be encoded, and what it knows to be wrong with it.
    pub(crate) told_format: Option<Format>,
    pub(crate) told_troubles: Vec<Trouble>,
    /// The due time of this track's entry in the heap.
    pub(crate) due: Option<Instant>,
    /// The due time of its entry for missing packets.
    pub(crate) nacks_due: Option<Instant>,
    /// When a keyframe that is held back is asked for next.
    pub(crate) keyframes_due: Option<Instant>,
    /// The publisher has said that a layer is no more, and nobody has looked yet who had it.
    pub(crate) stopped: bool,
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
            told_wanted: Wanted::default(),
            layers: Vec::new(),
            ladder: Ladder::default(),
            subscribers: Vec::new(),
            recent: VecDeque::new(),
            loss: 0.0,
            told_layers: Vec::new(),
            told_format: None,
            told_troubles: Vec::new(),
            due: None,
            nacks_due: None,
            keyframes_due: None,
            stopped: false,
        }
    }

    pub(crate) fn is_audio(&self) -> bool {
        self.spec.kind == MediaKind::Audio
    }

    /// What a microphone takes whose sound is sent so often, in bit/s; `None` until it has been measured.
    pub(crate) fn audio_bps(&self, copies: u64) -> Option<u64> {
        let layer = self.layers.first()?;
        let own = if layer.red { 2 } else { 1 };
        let bps = layer.rate.bps() * copies.max(own) / own;
        (bps > 0).then_some(bps)
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

    /// How the track is encoded; `None` until anything has come.
    pub(crate) fn format(&self) -> Option<Format> {
        let mut layers = self.layers.iter();
        let (layer, codec) = layers.find_map(|layer| Some((layer, layer.codec.as_ref()?)))?;
        Some(Format {
            codec: codec.codec,
            profile: layer.profile,
        })
    }

    /// How late packets may come that have to be asked for; zero where hardly any have to be.
    fn repaired_within(&self, now: Instant) -> Duration {
        let nacks = self.layers.iter().filter_map(|layer| layer.nacks.as_ref());
        nacks
            .map(|nacks| nacks.lateness(now))
            .max()
            .unwrap_or_default()
    }

    /// What is wrong with how the track is sent.
    pub(crate) fn troubles(&self, now: Instant) -> Vec<Trouble> {
        let ignored = self.layers.iter().any(|layer| layer.keyframes.ignored);
        let reordered = self.layers.iter().any(|layer| layer.reorders(now));
        let mut profiles = self.layers.iter().filter_map(|layer| layer.profile);
        let unusual = profiles.any(h264::is_unusual);
        let all = [
            (ignored, Trouble::IgnoresKeyframeRequests),
            (reordered, Trouble::Reorders),
            (unusual, Trouble::UnusualProfile),
        ];
        all.into_iter()
            .filter(|(present, _)| *present)
            .map(|(_, trouble)| trouble)
            .collect()
    }

    /// Takes over what the publisher says of its layers.
    fn declare(&mut self, carrier: usize, extensions: &Extensions) {
        if let Some(allocation) = &extensions.allocation {
            for (index, layer) in self.layers.iter_mut().enumerate() {
                self.stopped |= layer.declare(allocation, index == carrier);
            }
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

    /// Keeps a packet; `true` where it shows that the frame that ends with it is a keyframe.
    pub(crate) fn remember(&mut self, packet: &Arc<Packet>) -> bool {
        if !self.is_audio() {
            // A mirror's shard has seen too few frames to compare: its home tells.
            let guessed = self.spec.encrypted && matches!(self.publisher, Publisher::Here(_));
            let layer = self.layers.get_mut(packet.layer);
            return layer.is_some_and(|layer| layer.remember(packet, guessed));
        }
        if self.recent.len() == RECENT_PACKETS {
            self.recent.pop_front();
        }
        self.recent.push_back(packet.clone());
        false
    }
}

/// 60 ms of audio: what passes between the start of a word and a level that says so.
const RECENT_PACKETS: usize = 3;
const RECENT_AGE: Duration = Duration::from_millis(120);

/// What becomes of a packet that comes in.
#[derive(Debug)]
pub(crate) enum Read {
    Packet(Packet),
    /// It cannot be told what it is until the structure has come that it refers to.
    Later(Incoming),
    Refused,
}

/// How a packet is encoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoding {
    pub(crate) codec: CodecSpec,
    /// The payload type inside RED.
    pub(crate) red: Option<Pt>,
}

/// Reads a packet once: everything that forwarding asks of it stands in the result.
pub(crate) fn read(
    mut rtp: Incoming,
    stream: Stream,
    track: &mut Track,
    encoding: Encoding,
    clock: &PublisherClock,
) -> Read {
    let red = encoding.red.map(|inner| redundancy(inner, &rtp.payload));
    if matches!(red, Some(None)) {
        return Read::Refused;
    }
    let red = red.flatten();
    let Some(layer) = track.layers.get_mut(stream.layer) else {
        return Read::Refused;
    };
    let seq = rtp.seq;
    if !layer.follows(seq) || !layer.may_be_encoded_with(encoding.codec, seq) {
        return Read::Refused;
    }
    layer.red = red.is_some();
    let begins = layer.is_new();
    let raw = rtp.header.ext_vals.user_values.get_arc::<Raw>();
    let descriptor = match raw.map(|raw| layer.descriptor(&raw, (seq, rtp.arrived))) {
        Some(Err(Unreadable::NoStructure)) => return Read::Later(rtp),
        Some(Ok(descriptor)) => Some(Box::new(descriptor)),
        Some(Err(Unreadable::Malformed)) | None => None,
    };
    layer.note_order(seq, rtp.timestamp, rtp.header.marker);
    layer.count(seq);
    let reading = if track.spec.encrypted {
        Reading::default()
    } else {
        codec::read(encoding.codec.codec, &rtp.payload)
    };
    let codec = layer.encoding(encoding.codec, reading.profile);
    if !layer.has_structured_sizes() {
        merge_sizes(&mut layer.sizes, &reading.sizes);
    }
    let (mut frame, starts_keyframe) = match &descriptor {
        Some(descriptor) => (descriptor.frame, descriptor.begins_sequence),
        // An encoder begins with a keyframe; sound can begin anywhere.
        None if track.spec.encrypted => (reading.frame, begins || codec.codec.is_audio()),
        None => (reading.frame, reading.starts_keyframe),
    };
    layer.learn(&mut frame, rtp.arrived);
    let timestamp = rtp.timestamp;
    measure(
        layer,
        &rtp,
        &frame,
        starts_keyframe && !codec.codec.is_audio(),
    );
    if starts_keyframe {
        layer.on_keyframe(rtp.arrived, rtp.seq);
    }
    let captured = clock.captured(layer.report, timestamp, codec.clock_rate.get());
    let layer_stream = layer.stream;
    track.declare(stream.layer, &Extensions::take(&mut rtp.header.ext_vals));
    Read::Packet(Packet {
        layer: stream.layer,
        stream: layer_stream,
        seq,
        timestamp,
        marker: rtp.header.marker,
        codec,
        red,
        encrypted: track.spec.encrypted,
        starts_keyframe,
        counters: reading.counters,
        frame,
        descriptor,
        arrived: rtp.arrived,
        captured,
        repaired_within: track.repaired_within(rtp.arrived),
        extensions: for_receivers(rtp.header.ext_vals),
        payload: rtp.payload,
    })
}

fn measure(layer: &mut Layer, rtp: &Incoming, frame: &Frame, starts_picture: bool) {
    let timestamp = rtp.timestamp;
    let part = Part {
        bytes: rtp.payload.len() + OVERHEAD_BYTES,
        at: rtp.arrived,
        timestamp,
        of_keyframe: layer.is_of_keyframe(timestamp, starts_picture),
    };
    layer.measure(frame, part, rtp.seq);
}

/// Without those that name the hop, not the media: each leg has its own.
fn for_receivers(mut extensions: ExtensionValues) -> ExtensionValues {
    extensions.mid = None;
    extensions.rid = None;
    extensions.rid_repair = None;
    extensions.transport_cc = None;
    extensions.abs_send_time = None;
    extensions.tx_time_offs = None;
    extensions
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

    /// When a packet of this RTP time was captured, by the newest report of its stream.
    fn captured(
        &self,
        report: Option<(SystemTime, u32)>,
        timestamp: u64,
        clock_rate: u32,
    ) -> Option<Instant> {
        let (ntp, rtp_time) = report?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "RTP timestamps wrap at 32 bits"
        )]
        let ticks = (timestamp as u32).wrapping_sub(rtp_time) as i32;
        self.instant(ntp, ticks, clock_rate)
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
