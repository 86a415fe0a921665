//! One encoding of a track: what it measures, and when its encoder is asked for a keyframe.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::format::{Codec, CodecSpec};
use str0m::media::Rid;
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::vla::{SimulcastStreamAllocation, VideoLayersAllocation};

use crate::ceiling::Ceiling;
use crate::codec::Sizes;
use crate::dependency::{Descriptor, Known, Raw, Unreadable};
use crate::evidence::FrameSizes;
use crate::incoming::Incoming;
use crate::keyframes::Keyframes;
use crate::layering::{Frame, Point};
use crate::nacks::Nacks;
use crate::operating::{Choice, Operating, declared_bps, merge_sizes};
use crate::plenty::Plenty;
use crate::publish::Packet;
use crate::rate::{Part, Rate};
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
    /// As it was negotiated, whatever the stream tells of its profile.
    negotiated: Option<CodecSpec>,
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
    pub(crate) unread: Unread<Incoming>,
    /// Which of the streams this is in the publisher's list of layers.
    place_declared: Option<usize>,
    sizes_of_frames: FrameSizes,
    /// What the publisher says the whole stream may take, in bit/s.
    declared_bps: u64,
    plenty: Plenty,
    pub(crate) keyframes: Keyframes,
    /// What the publisher may be asked for again; none where it would not understand.
    pub(crate) nacks: Option<Nacks>,
    /// What receivers may ask for again.
    pub(crate) store: Store,
    /// The publisher has been told that nobody wants this layer; it comes back when asked for.
    pub(crate) paused: bool,
    /// When the publisher was last asked to go on with it.
    resumed: Option<Instant>,
    /// Since when the layer has had no taker.
    pub(crate) unwanted_since: Option<Instant>,
    /// Nobody looks at more lines of the stream, or at more frames a second.
    pub(crate) lines: Ceiling,
    pub(crate) frames: Ceiling,
    last_packet: Option<Instant>,
    /// Of the newest keyframe.
    keyframe_timestamp: Option<u64>,
    pub(crate) report: Option<(SystemTime, u32)>,
    /// Its sound comes in RED, and twice by that.
    pub(crate) red: bool,
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

/// A layer that was paused is to be had for so long before it sends: that is a round trip by signalling, and a frame. Less
/// would give its viewers something else meanwhile, and that waits for a keyframe, too; more keeps them waiting for an
/// encoder that has no bandwidth for it.
const RESUME_MAX: Duration = Duration::from_secs(1);

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
            negotiated: None,
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
            plenty: Plenty::default(),
            keyframes: Keyframes::default(),
            nacks: None,
            store: Store::default(),
            paused: false,
            resumed: None,
            unwanted_since: None,
            lines: Ceiling::default(),
            frames: Ceiling::default(),
            last_packet: None,
            keyframe_timestamp: None,
            report: None,
            red: false,
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

    /// Asks the publisher to go on; true where it was paused.
    pub(crate) fn resume(&mut self, now: Instant) -> bool {
        let was_paused = std::mem::take(&mut self.paused);
        if was_paused {
            self.resumed = Some(now);
        }
        was_paused
    }

    /// Whether nothing may come of it because nobody wanted it.
    fn rests(&self, now: Instant) -> bool {
        let resumed = |at| now.saturating_duration_since(at) < RESUME_MAX;
        self.paused || self.resumed.is_some_and(resumed)
    }

    /// Whether viewers can get it. `newest`: when any layer of the track has sent.
    pub(crate) fn is_to_be_had(&self, now: Instant, newest: Option<Instant>) -> bool {
        self.rests(now) || (self.is_active(now) && !self.lags(newest))
    }

    pub(crate) fn last_packet(&self) -> Option<Instant> {
        self.last_packet
    }

    /// Whether another layer of the track has gone on for long without this one: the encoder has let it go.
    fn lags(&self, newest: Option<Instant>) -> bool {
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
        self.keyframe_timestamp = None;
    }

    /// Whether a packet of this codec may come now. Where the publisher has changed it, what comes from now on is a stream
    /// of its own: it takes a keyframe, and the layers in it are others. What is late of the codec before is of no use
    /// to anybody.
    pub(crate) fn may_be_encoded_with(&mut self, codec: CodecSpec, seq: u64) -> bool {
        let before = self.negotiated.get_or_insert(codec);
        if *before == codec || codec.codec.is_audio() {
            return true;
        }
        if self.highest_seq.is_some_and(|highest| seq <= highest) {
            return false;
        }
        *before = codec;
        self.profile = None;
        self.sizes = Sizes::default();
        self.operating = Operating::default();
        self.sizes_of_frames = FrameSizes::default();
        // Clock and sender reports are those of the SSRC.
        let report = self.report;
        self.restart();
        self.report = report;
        true
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
    pub(crate) fn remember(&mut self, packet: &Arc<Packet>, guessed: bool) -> bool {
        self.store.push(packet, self.keyframes.ignored);
        if !guessed || packet.descriptor.is_some() {
            return false;
        }
        let asked = self.keyframes.unanswered();
        let found = self.sizes_of_frames.keyframe(packet, asked);
        let Some(seq) = found.filter(|seq| self.store.begin_picture(packet.stream, *seq)) else {
            return false;
        };
        self.on_keyframe(packet.arrived, seq);
        true
    }

    /// A keyframe has come that begins with this packet.
    pub(crate) fn on_keyframe(&mut self, now: Instant, seq: u64) {
        self.keyframes.on_keyframe(now);
        if let Some(nacks) = &mut self.nacks {
            nacks.on_keyframe(seq);
        }
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
            self.operating.begin(structure, now);
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
        let Some(place) = self.place_declared else {
            return false;
        };
        // libwebrtc leaves out the streams behind the last one that it sends.
        let unsent = SimulcastStreamAllocation {
            spatial_layers: Vec::new(),
        };
        let stream = allocation.simulcast_streams.get(place).unwrap_or(&unsent);
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

    /// Whether its encoder has far less for it than it had.
    pub(crate) fn starves(&self) -> bool {
        self.plenty.starves()
    }

    /// Rate in bit/s of what a receiver of this operating point gets.
    pub(crate) fn bps_of(&self, point: Point) -> u64 {
        self.operating.bps_of(point).unwrap_or_else(|| self.bps())
    }

    /// Frames a second that a receiver of this operating point gets, and the number of its temporal layer; nothing where
    /// that is not known.
    pub(crate) fn fps_of(&self, point: Point) -> Option<u32> {
        let rate = self.operating.rate_of(point).unwrap_or(&self.rate);
        rate.fps()
    }

    pub(crate) fn temporal_of(&self, point: Point) -> Option<u8> {
        self.operating.temporal_of(point)
    }

    /// The temporal layer that has so many frames a second, if the point has more.
    pub(crate) fn enough_frames(&self, point: Point, fps: u32) -> Option<u8> {
        self.operating.enough_frames(point, fps)
    }

    /// What there is to choose from within the layer; none where it can only be had whole.
    pub(crate) fn choices(&self, now: Instant) -> Vec<Choice> {
        let silence = if self.rests(now) {
            Duration::MAX
        } else {
            LAYER_ACTIVE
        };
        self.operating.choices(now, silence)
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        self.rate.tick(now);
        self.note_plenty();
        self.operating.tick(now);
        if self.reordered > std::mem::replace(&mut self.reordered_before, self.reordered) {
            self.reorders_until = Some(now + REORDERS_HOLD);
        }
    }

    /// Frames tell nothing where the publisher was told to send fewer.
    fn note_plenty(&mut self) {
        if self.place_declared.is_some() {
            self.plenty.note(self.declared_bps);
        } else if self.frames.told.is_none() {
            self.plenty.note(self.rate.fps().unwrap_or(0).into());
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

    /// Of the newest packet that has been read, without wrapping around.
    pub(crate) fn newest_timestamp(&self) -> Option<u64> {
        self.newest_timestamp
    }

    /// Takes over how many lines anybody looks at, none for all of them; true where the publisher has to be told.
    pub(crate) fn want_lines(&mut self, now: Instant, lines: Option<u32>) -> bool {
        let enough = lines.and_then(|lines| self.enough_for(lines));
        self.lines.want(now, enough)
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
            codec: self.codec.clone(),
            sizes: self.sizes,
            bps: self.bps(),
            pace: self.rate.pace(),
            points: self.operating.states(),
            paused: self.paused,
            resumed: self.resumed,
            ignores_requests: self.keyframes.ignored,
            last_packet: self.last_packet,
        }
    }

    pub(crate) fn mirror(&mut self, state: &LayerState) {
        if std::mem::replace(&mut self.stream, state.stream) != state.stream {
            self.sizes = Sizes::default();
        }
        self.codec.clone_from(&state.codec);
        merge_sizes(&mut self.sizes, &state.sizes);
        self.rate = Rate::mirrored(state.bps, state.pace);
        self.operating.mirror(&state.points);
        (self.paused, self.resumed) = (state.paused, state.resumed);
        self.keyframes.ignored = state.ignores_requests;
        let newest = self.last_packet.max(state.last_packet);
        self.last_packet = state.last_packet.and(newest);
    }

    /// A packet of a mirrored layer has come over. A `kept` keyframe is none for those who watch already.
    pub(crate) fn on_relayed(&mut self, packet: &Packet, kept: bool) {
        self.last_packet = self.last_packet.max(Some(packet.arrived));
        self.operating.on_relayed(&packet.frame);
        self.red = packet.red.is_some();
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

    /// Whether a packet is of a keyframe, given whether one starts with it: all packets of a picture share their timestamp.
    pub(crate) fn is_of_keyframe(&mut self, timestamp: u64, starts: bool) -> bool {
        if starts {
            self.keyframe_timestamp = Some(timestamp);
        }
        self.keyframe_timestamp == Some(timestamp)
    }

    /// Of a stream without a structure, frames tell which layers there are.
    pub(crate) fn learn(&mut self, frame: &mut Frame, at: Instant) {
        if self.descriptors.structure().is_none() {
            self.operating.learn(frame, at);
        }
    }

    /// Takes a packet into the rates, once it has been read. One that was overtaken does not tell what the encoder makes
    /// by now. After [`Layer::count`].
    pub(crate) fn measure(&mut self, frame: &Frame, part: Part, seq: u64) {
        let newest = self.highest_seq <= Some(seq);
        if newest {
            self.last_packet = Some(part.at);
        }
        self.rate.add(part);
        self.operating.count(frame, part, newest);
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

#[cfg(test)]
mod tests;
