//! One encoding of a track: what it measures, and when its encoder is asked for a keyframe.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::format::{Codec, CodecSpec};
use str0m::media::Rid;
use str0m::rtp::RtpPacket;
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::vla::VideoLayersAllocation;

use crate::codec::Sizes;
use crate::dependency::{Descriptor, Known, Raw, Unreadable};
use crate::egress::OVERHEAD_BYTES;
use crate::evidence::FrameSizes;
use crate::keyframes::Keyframes;
use crate::layering::{Frame, Point};
use crate::nacks::Nacks;
use crate::operating::{Choice, Operating, declared_bps, merge_sizes};
use crate::publish::Packet;
use crate::relay::LayerState;
use crate::store::Store;
use crate::unread::Unread;

/// One simulcast encoding of a track.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) rid: Option<Rid>,
    pub(crate) stream: u32,
    /// What the newest packet was encoded with.
    pub(crate) codec: Option<Arc<CodecSpec>>,
    /// The `profile-level-id` that the encoder has written into an H.264 stream.
    pub(crate) profile: Option<u32>,
    pub(crate) sizes: Sizes,
    pub(crate) rate: Rate,
    /// What its operating points take, where it has layers of its own.
    operating: Operating,
    descriptors: Known,
    /// Other operating points are to be had than before, and nobody has looked.
    pub(crate) has_other_points: bool,
    /// Packets whose structure has not come yet.
    pub(crate) unread: Unread<RtpPacket>,
    /// Which of the streams this is in the publisher's list of layers.
    place_declared: Option<usize>,
    sizes_of_frames: FrameSizes,
    /// What the publisher says the whole stream may take, in bit/s.
    declared_bps: u64,
    pub(crate) keyframes: Keyframes,
    /// What the publisher may be asked for again; none where it would not understand.
    pub(crate) nacks: Option<Nacks>,
    /// What receivers may ask for again.
    pub(crate) store: Store,
    /// The publisher has been told that nobody wants this layer; it comes back when asked for.
    pub(crate) paused: bool,
    /// Since when the layer has had no taker.
    pub(crate) unwanted_since: Option<Instant>,
    /// The publisher has been told that nobody looks at more lines of the stream.
    pub(crate) max_height: Option<u32>,
    /// Since when fewer would do.
    smaller_since: Option<Instant>,
    last_packet: Option<Instant>,
    pub(crate) report: Option<(SystemTime, u32)>,
    highest_seq: Option<u64>,
    /// Of the frame that is shown last of all that have begun.
    newest_timestamp: Option<u64>,
    /// Frames that are shown before one that was sent before them (B-frames).
    pub(crate) reordered: u64,
    /// How many there were at the last tick, and until when the layer counts as sending such frames.
    reordered_before: u64,
    reorders_until: Option<Instant>,
    received: u64,
    expected: u64,
}

/// A layer that has sent nothing for this long is taken for paused. Browsers send a frame at least
/// every 100 ms, screen shares of a still picture once a second.
const LAYER_ACTIVE: Duration = Duration::from_millis(2_500);

/// A layer that is so far behind another one of its track has stopped: a browser that has less bandwidth drops the
/// largest layer from one frame to the next. Lower would take a burst of loss for that, higher is a picture that stands
/// for longer.
const LAYER_LAGS: Duration = Duration::from_millis(600);

/// A layer that nobody wants goes on for this long: tiles that come and go cost no restart.
pub(crate) const UNWANTED_HOLD: Duration = Duration::from_secs(3);

/// An encoder that has sent no B-frame for this long has been set otherwise. A picture that stands still has few of them.
const REORDERS_HOLD: Duration = Duration::from_secs(10);

/// More packets in a row than this do not get lost, or overtaken: RFC 3550 appendix A.1 takes a leap of 3,000 for
/// a restart, too.
const SEQ_LEAP_MAX: u64 = 3_000;
/// SRTP's index has 48 bits.
const SEQ_MAX: u64 = 1 << 48;

impl Layer {
    pub(crate) fn new(rid: Option<Rid>) -> Self {
        Self {
            rid,
            stream: 0,
            codec: None,
            profile: None,
            sizes: Sizes::default(),
            rate: Rate::default(),
            operating: Operating::default(),
            descriptors: Known::default(),
            unread: Unread::default(),
            has_other_points: false,
            place_declared: None,
            sizes_of_frames: FrameSizes::default(),
            declared_bps: 0,
            keyframes: Keyframes::default(),
            nacks: None,
            store: Store::default(),
            paused: false,
            unwanted_since: None,
            max_height: None,
            smaller_since: None,
            last_packet: None,
            report: None,
            highest_seq: None,
            newest_timestamp: None,
            reordered: 0,
            reordered_before: 0,
            reorders_until: None,
            received: 0,
            expected: 0,
        }
    }

    pub(crate) fn is_active(&self, now: Instant) -> bool {
        self.last_packet
            .is_some_and(|at| now.saturating_duration_since(at) < LAYER_ACTIVE)
    }

    pub(crate) fn last_packet(&self) -> Option<Instant> {
        self.last_packet
    }

    /// Whether another layer of the track has gone on for long without this one: the encoder has let it go.
    pub(crate) fn lags(&self, newest: Option<Instant>) -> bool {
        let (Some(newest), Some(last)) = (newest, self.last_packet) else {
            return false;
        };
        newest.saturating_duration_since(last) >= LAYER_LAGS
    }

    /// Whether a packet of this number may come now. One far ahead begins a stream of its own, which takes a
    /// keyframe: passed on as a hole, it would lead receivers to guess another rollover counter (RFC 3711 section
    /// 3.3.1). One far behind belongs nowhere, and one beyond all that is ever sent is made up.
    pub(crate) fn follows(&mut self, seq: u64) -> bool {
        let Some(highest) = self.highest_seq else {
            return seq < SEQ_MAX;
        };
        if seq > highest.saturating_add(SEQ_LEAP_MAX) && seq < SEQ_MAX {
            self.restart();
        }
        seq < SEQ_MAX && seq.saturating_add(SEQ_LEAP_MAX) >= highest
    }

    /// The publisher's encoder has started over with a new SSRC.
    pub(crate) fn restart(&mut self) {
        self.stream += 1;
        self.report = None;
        self.highest_seq = None;
        self.descriptors = Known::default();
        self.unread.clear();
        self.newest_timestamp = None;
    }

    /// No packet of this stream has come yet.
    pub(crate) fn is_new(&self) -> bool {
        self.highest_seq.is_none()
    }

    /// What a packet is encoded with: what has been negotiated, but for the profile, which the stream itself may tell.
    pub(crate) fn encoding(
        &mut self,
        negotiated: CodecSpec,
        profile: Option<u32>,
    ) -> Arc<CodecSpec> {
        let known = self.profile.filter(|_| negotiated.codec == Codec::H264);
        self.profile = profile.or(known);
        let mut spec = negotiated;
        spec.format.profile_level_id = self.profile.or(spec.format.profile_level_id);
        match &self.codec {
            Some(known) if **known == spec => known.clone(),
            _ => self.codec.insert(Arc::new(spec)).clone(),
        }
    }

    /// Size of the full picture.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        self.size_of(Point::WHOLE)
    }

    /// Size of the picture that a receiver of this operating point gets.
    pub(crate) fn size_of(&self, point: Point) -> Option<(u32, u32)> {
        let sizes = self.sizes.iter().take(usize::from(point.spatial) + 1);
        sizes.rev().find_map(|size| *size)
    }

    /// Keeps a packet for those who miss it. `true` where a frame has ended that must be a keyframe, by what can be
    /// seen of an encrypted stream: it is taken for one from now on.
    pub(crate) fn remember(&mut self, packet: &Arc<Packet>, encrypted: bool) -> bool {
        self.store.push(packet, self.keyframes.ignored);
        if !encrypted || packet.descriptor.is_some() {
            return false;
        }
        let asked = self.keyframes.unanswered();
        let found = self.sizes_of_frames.keyframe(packet, asked);
        let is_known = found.is_some_and(|seq| self.store.begin_picture(packet.stream, seq));
        if is_known {
            self.keyframes.on_keyframe(packet.arrived);
        }
        is_known
    }

    /// The dependency structure says how large pictures are: nothing else need be asked.
    pub(crate) fn has_structured_sizes(&self) -> bool {
        let structure = self.descriptors.structure();
        structure.is_some_and(|structure| structure.size(0).is_some())
    }

    /// Reads a dependency descriptor, and remembers what later ones refer to.
    pub(crate) fn descriptor(
        &mut self,
        raw: &Raw,
        (seq, now): (u64, Instant),
    ) -> Result<Descriptor, Unreadable> {
        let (descriptor, news) = self.descriptors.read(raw, seq)?;
        let structure = &descriptor.structure;
        if news.begins {
            self.has_other_points |= news.restructured;
            self.operating.begin(structure);
            for (size, spatial) in self.sizes.iter_mut().zip(0..) {
                *size = structure.size(spatial).or(*size);
            }
        }
        if news.names_active {
            self.has_other_points |= self.operating.activate(structure, descriptor.active, now);
        }
        Ok(descriptor)
    }

    /// Takes over what the publisher says of the layers of all its streams, of which this one carried it where
    /// `own`. `true` where a layer has stopped.
    pub(crate) fn declare(&mut self, allocation: &VideoLayersAllocation, own: bool) -> bool {
        if own {
            self.place_declared = Some(allocation.current_simulcast_stream_index.into());
        }
        let stream = self
            .place_declared
            .and_then(|place| allocation.simulcast_streams.get(place));
        let Some(stream) = stream else {
            return false;
        };
        for (size, layer) in self.sizes.iter_mut().zip(&stream.spatial_layers) {
            if let Some(resolution) = &layer.resolution_and_framerate {
                *size = Some((resolution.width.into(), resolution.height.into()));
            }
        }
        let total = stream.spatial_layers.iter();
        let total_kbps = total
            .filter_map(|layer| layer.temporal_layers.last())
            .map(|temporal| temporal.cumulative_kbps)
            .fold(0, u64::saturating_add);
        self.declared_bps = declared_bps(total_kbps);
        let mut stopped = self.operating.declare(stream);
        if total_kbps == 0 {
            stopped |= self.last_packet.take().is_some();
        }
        stopped
    }

    /// Measured rate in bit/s, or what the publisher says where nothing has been measured; 0 where nothing is known.
    pub(crate) fn bps(&self) -> u64 {
        match self.rate.bps() {
            0 => self.declared_bps,
            measured => measured,
        }
    }

    /// Rate in bit/s of what a receiver of this operating point gets.
    pub(crate) fn bps_of(&self, point: Point) -> u64 {
        self.operating.bps_of(point).unwrap_or_else(|| self.bps())
    }

    /// What there is to choose from within the layer; none where it can only be had whole.
    pub(crate) fn choices(&self, now: Instant) -> Vec<Choice> {
        let silence = if self.paused {
            Duration::MAX
        } else {
            LAYER_ACTIVE
        };
        self.operating.choices(now, silence)
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.rate.tick(now);
        self.operating.tick(now);
        if self.reordered > std::mem::replace(&mut self.reordered_before, self.reordered) {
            self.reorders_until = Some(now + REORDERS_HOLD);
        }
    }

    /// Whether frames are shown in another order than they are sent, or were lately.
    pub(crate) fn reorders(&self, now: Instant) -> bool {
        self.reorders_until.is_some_and(|until| now < until)
    }

    /// Notes in which order frames are to be shown; packets that come late tell nothing about that. Before [`Layer::count`].
    pub(crate) fn note_order(&mut self, seq: u64, timestamp: u64, ends_frame: bool) {
        if self.highest_seq.is_some_and(|highest| seq <= highest) {
            return;
        }
        let newest = self.newest_timestamp.get_or_insert(timestamp);
        self.reordered += u64::from(ends_frame && timestamp < *newest);
        *newest = timestamp.max(*newest);
    }

    /// Takes over how many lines anybody looks at, none for all of them; true where the publisher has to be told.
    pub(crate) fn want_lines(&mut self, now: Instant, lines: Option<u32>) -> bool {
        let enough = lines.and_then(|lines| self.enough_for(lines));
        let rank = |height: Option<u32>| height.unwrap_or(u32::MAX);
        if rank(enough) < rank(self.max_height) {
            let since = *self.smaller_since.get_or_insert(now);
            if now.saturating_duration_since(since) < UNWANTED_HOLD {
                return false;
            }
        }
        self.smaller_since = None;
        std::mem::replace(&mut self.max_height, enough) != enough
    }

    /// Whether the stream has pictures of several sizes.
    pub(crate) fn has_sizes(&self) -> bool {
        matches!(self.sizes, [_, Some(_), ..])
    }

    /// The height of the smallest picture in the stream that has so many lines; none where that is the largest.
    fn enough_for(&self, lines: u32) -> Option<u32> {
        let heights = self.sizes.iter().flatten().map(|(_, height)| *height);
        let largest = heights.clone().max()?;
        let enough = heights.filter(|height| *height >= lines).min()?;
        (enough < largest).then_some(enough)
    }

    pub(crate) fn state(&self) -> LayerState {
        LayerState {
            rid: self.rid,
            stream: self.stream,
            sizes: self.sizes,
            bps: self.bps(),
            points: self.operating.states(),
            paused: self.paused,
            ignores_requests: self.keyframes.ignored,
            last_packet: self.last_packet,
        }
    }

    pub(crate) fn mirror(&mut self, state: &LayerState) {
        self.stream = state.stream;
        merge_sizes(&mut self.sizes, &state.sizes);
        self.rate.bps = state.bps;
        self.operating.mirror(&state.points);
        self.paused = state.paused;
        self.keyframes.ignored = state.ignores_requests;
        let newest = self.last_packet.max(state.last_packet);
        self.last_packet = state.last_packet.and(newest);
    }

    /// A packet of a mirrored layer has come over. A `kept` keyframe is none for those who watch already.
    pub(crate) fn on_relayed(&mut self, packet: &Packet, kept: bool) {
        self.last_packet = self.last_packet.max(Some(packet.arrived));
        self.operating.on_relayed(&packet.frame);
        if packet.starts_keyframe && !kept {
            self.keyframes.on_keyframe(packet.arrived);
        }
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

    /// Of a stream without a structure, frames tell which layers there are.
    pub(crate) fn learn(&mut self, frame: &mut Frame) {
        if self.descriptors.structure().is_none() {
            self.operating.learn(frame);
        }
    }

    /// Takes a packet into the rates, once it has been read. One that was overtaken does not tell what the encoder makes
    /// by now. After [`Layer::count`].
    pub(crate) fn measure(&mut self, frame: &Frame, bytes: usize, (seq, now): (u64, Instant)) {
        let newest = (self.highest_seq <= Some(seq)).then_some(now);
        self.last_packet = newest.or(self.last_packet);
        let bytes = bytes + OVERHEAD_BYTES;
        self.rate.add(bytes);
        self.operating.count(frame, bytes, newest);
    }

    /// Takes a packet into the losses, readable or not.
    pub(crate) fn count(&mut self, seq: u64) {
        self.received += 1;
        self.expected += match self.highest_seq {
            None => 1,
            Some(highest) => seq.saturating_sub(highest),
        };
        self.highest_seq = self.highest_seq.max(Some(seq));
    }
}

/// A smoothed rate, measured between ticks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    bytes: u64,
    since: Option<Instant>,
    bps: u64,
}

impl Rate {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// In bit/s, with headers.
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

#[cfg(test)]
mod tests {
    use str0m::rtp::vla::{
        ResolutionAndFramerate, SimulcastStreamAllocation, SpatialLayerAllocation,
        TemporalLayerAllocation,
    };

    use super::*;

    fn received(numbers: &[u64]) -> (Vec<bool>, Layer) {
        let mut layer = Layer::new(None);
        let mut taken = Vec::new();
        for &seq in numbers {
            let follows = layer.follows(seq);
            if follows {
                layer.count(seq);
            }
            taken.push(follows);
        }
        (taken, layer)
    }

    #[test]
    fn a_leap_begins_a_stream_of_its_own() {
        let (taken, layer) = received(&[5, 6, 3_006, 23_006, 23_007]);
        assert_eq!(taken, [true; 5]);
        assert_eq!(layer.stream, 1);
    }

    #[test]
    fn whip_46_frames_that_are_shown_earlier_are_counted() {
        let mut layer = Layer::new(None);
        // Decoded as I P B B; each frame has two packets, and one is sent again.
        let packets = [
            (1, 0, false),
            (2, 0, true),
            (3, 9_000, false),
            (4, 9_000, true),
            (5, 3_000, false),
            (6, 3_000, true),
            (3, 9_000, false),
            (7, 6_000, true),
            (8, 12_000, true),
        ];
        for (seq, timestamp, ends_frame) in packets {
            layer.note_order(seq, timestamp, ends_frame);
            layer.count(seq);
        }
        assert_eq!(layer.reordered, 2);
    }

    #[test]
    fn whip_46_an_encoder_that_is_set_right_is_no_trouble_any_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut layer = Layer::new(None);
        layer.note_order(1, 3_000, true);
        layer.count(1);
        layer.tick(at(0));
        assert!(!layer.reorders(at(0)));
        layer.note_order(2, 0, true);
        layer.tick(at(1));
        assert!(layer.reorders(at(1)) && layer.reorders(at(10)));
        layer.tick(at(11));
        assert!(!layer.reorders(at(11)));
    }

    #[test]
    fn what_is_far_behind_or_made_up_is_not_taken() {
        let made_up = u64::MAX - 25_535;
        let (taken, layer) = received(&[50_000, 49_000, 40_000, made_up, 1 << 48, 50_001]);
        assert_eq!(taken, [true, true, false, false, false, true]);
        assert_eq!(layer.stream, 0);
    }

    fn declared(index: u8, kbps: &[&[u64]]) -> VideoLayersAllocation {
        let streams = kbps.iter().map(|temporal| SimulcastStreamAllocation {
            spatial_layers: vec![SpatialLayerAllocation {
                temporal_layers: temporal
                    .iter()
                    .map(|kbps| TemporalLayerAllocation {
                        cumulative_kbps: *kbps,
                    })
                    .collect(),
                resolution_and_framerate: Some(ResolutionAndFramerate {
                    width: 640,
                    height: 360,
                    framerate: 30,
                }),
            }],
        });
        VideoLayersAllocation {
            current_simulcast_stream_index: index,
            simulcast_streams: streams.collect(),
        }
    }

    #[test]
    fn what_the_publisher_declares_stands_in_until_it_is_measured() {
        let now = Instant::now();
        let mut layer = Layer::new(None);
        assert!(!layer.declare(&declared(0, &[&[100], &[500]]), false));
        assert_eq!(layer.bps(), 0, "which of the streams it is, is not known");
        layer.declare(&declared(1, &[&[100], &[300, 500]]), true);
        assert_eq!((layer.bps(), layer.size()), (500_000, Some((640, 360))));
        layer.measure(&Frame::PLAIN, 1_000, (0, now));
        layer.tick(now);
        layer.measure(&Frame::PLAIN, 12_500 - OVERHEAD_BYTES, (0, now));
        layer.tick(now + Duration::from_millis(250));
        assert_eq!(layer.bps(), 400_000);
    }

    #[test]
    fn a_layer_that_is_declared_to_have_stopped_is_not_waited_for() {
        let now = Instant::now();
        let mut layer = Layer::new(None);
        layer.measure(&Frame::PLAIN, 1_000, (0, now));
        assert!(!layer.declare(&declared(0, &[&[100], &[500]]), true));
        assert!(layer.is_active(now));
        assert!(layer.declare(&declared(1, &[&[], &[500]]), false));
        assert!(!layer.is_active(now));
    }
}
