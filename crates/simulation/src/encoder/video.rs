//! A simulcast video encoder.

use std::collections::VecDeque;
use std::time::Duration;

use fastrand::Rng;
use str0m::media::Rid;

use super::spatial::{Active, shares};
use super::{EncodedPacket, Encoding, LayerSpec, StartValues, media_ticks};
use crate::allocation::{self, Allocated, AllocationBytes};
use crate::dependency::{self, Place, cycle};
use crate::extension::Value;
use crate::payload::{
    Codec, Tag, Vp8Descriptor, Vp9Descriptor, write_av1, write_h264, write_opaque, write_vp8,
    write_vp9,
};

/// A video encoder: several streams of different sizes, or one with several layers, or both.
#[derive(Debug)]
pub struct VideoEncoder {
    source: u32,
    layers: Vec<VideoLayer>,
    /// Frames since the start.
    ticks: u64,
    /// What was said last of which layers are sent.
    said: Vec<Vec<Allocated>>,
    rng: Rng,
}

#[derive(Debug)]
struct VideoLayer {
    spec: LayerSpec,
    /// What it is where everything is wanted, and how many sizes that has.
    full: (LayerSpec, u8),
    encoding: Encoding,
    sequence: u64,
    timestamp_base: u32,
    picture_id: u16,
    short_picture_id: bool,
    tl0: u8,
    frame: u32,
    frame_number_base: u16,
    /// Of the dependency structure: each keyframe has another.
    id_offset: u8,
    /// Pictures since the keyframe.
    picture: u32,
    /// The newest pictures' frames, newest first.
    history: VecDeque<Vec<u32>>,
    wants_keyframe: bool,
    /// The server has a use for it.
    wanted: bool,
    /// Its share of the uplink, in bit/s; 0 is too little to encode anything.
    share_bps: u64,
    /// What that is enough for.
    active: Active,
    /// What it has not used for frames that it has dropped, in bit/s for the time of one frame.
    saved_bps: u64,
}

/// A frame of one spatial layer, on its way.
#[derive(Debug, Clone, Copy)]
struct Frame {
    spatial: u8,
    temporal: u8,
    keyframe: bool,
    reference: Option<u32>,
    /// How many pictures back that is.
    back: Option<u8>,
    below: Option<u32>,
}

const FRAMES_PER_SECOND: u32 = 30;
/// A layer gets at least this share of its full rate or nothing.
const LAYER_PERCENT_MIN: u64 = 50;
/// The least that the smallest layer is encoded with (libwebrtc's minimum).
const SMALLEST_BPS: u64 = 30_000;
/// RTP payload of a full packet.
const PACKET_BYTES: usize = 1_050;
/// Pictures whose frames are referred to.
const HISTORY: usize = 4;
/// How much larger a keyframe is than the average frame.
const KEYFRAME_FACTOR: usize = 4;

impl VideoEncoder {
    pub fn new(
        source: u32,
        encoding: Encoding,
        specs: Vec<LayerSpec>,
        start: StartValues,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let layers = specs
            .into_iter()
            .map(|spec| VideoLayer::new(spec, encoding, start, &mut rng))
            .collect();
        Self {
            source,
            layers,
            ticks: 0,
            said: Vec::new(),
            rng,
        }
    }

    /// When the next frame is captured, counted from the first one.
    pub fn next_capture(&self) -> Duration {
        Duration::from_secs(self.ticks) / FRAMES_PER_SECOND
    }

    pub fn request_keyframe(&mut self, rid: Option<Rid>) {
        for layer in &mut self.layers {
            if rid.is_none() || layer.rid() == rid {
                layer.wants_keyframe = true;
            }
        }
    }

    /// Encodes otherwise from the next frame on; streams go on counting.
    pub fn change(&mut self, encoding: Encoding) {
        for layer in 0..self.layers.len() {
            self.change_layer(layer, encoding);
        }
    }

    /// The same for one stream.
    pub fn change_layer(&mut self, layer: usize, encoding: Encoding) {
        if let Some(layer) = self.layers.get_mut(layer) {
            layer.encoding = encoding;
            (layer.spec, layer.full.1) = (layer.full.0, encoding.mode().spatial);
            layer.active = Active::all(encoding.mode());
            layer.wants_keyframe = true;
        }
    }

    /// Pauses a layer, or goes on with it; a stream of several sizes has only those that so many lines need.
    pub fn want(&mut self, rid: Option<Rid>, wanted: bool, max_height: Option<u32>) {
        for layer in self.layers.iter_mut().filter(|layer| layer.rid() == rid) {
            layer.wanted = wanted;
            layer.limit(max_height);
        }
    }

    /// What the layers that somebody wants would take, in bit/s.
    pub fn desired_bps(&self) -> u64 {
        let wanted = self.layers.iter().filter(|layer| layer.wanted);
        wanted.map(|layer| layer.spec.bitrate_bps).sum()
    }

    /// Fits the layers into a rate, as browsers do: the smallest first, each up to its full rate, and a larger one
    /// only where there is enough for a picture worth looking at. What is taken, in bit/s.
    pub fn share(&mut self, bps: u64) -> u64 {
        let mut left = bps;
        let smallest = self.layers.iter().position(|layer| layer.wanted);
        for (position, layer) in self.layers.iter_mut().enumerate() {
            let full = layer.spec.bitrate_bps;
            let enough = full * LAYER_PERCENT_MIN / 100;
            let share = match left.min(full) {
                _ if !layer.wanted => 0,
                share if share >= enough => share,
                // The smallest that is wanted goes on whatever happens.
                share if Some(position) == smallest => share.max(SMALLEST_BPS),
                _ => 0,
            };
            // A layer that comes back starts with a keyframe.
            layer.wants_keyframe |= layer.share_bps == 0 && share > 0;
            layer.share_bps = share;
            layer.fit();
            left = left.saturating_sub(layer.share_bps);
        }
        bps.saturating_sub(left)
    }

    /// Lets one frame pass without encoding it: the source is muted. What follows the pause is
    /// predicted from what was before it, as in a browser.
    pub fn skip_frame(&mut self) {
        self.ticks += 1;
    }

    /// Encodes the next frame in all layers.
    pub fn encode_frame(&mut self, captured: Duration) -> Vec<EncodedPacket> {
        self.ticks += 1;
        let mut packets = Vec::new();
        for (position, layer) in self.layers.iter_mut().enumerate() {
            let layer_number = u8::try_from(position).unwrap_or(u8::MAX);
            let varied = self.rng.u64(80..=120);
            if !layer.wanted || layer.share_bps == 0 || layer.drops_frame() {
                continue;
            }
            let bytes = layer.share_bps.max(layer.least_bps()) * varied
                / 100
                / 8
                / u64::from(FRAMES_PER_SECOND);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            packets.extend(layer.encode(self.source, layer_number, captured, bytes));
        }
        self.say(&mut packets);
        packets
    }

    /// Says with the first packet of each stream which layers are sent, where that is news.
    fn say(&mut self, packets: &mut [EncodedPacket]) {
        let allocated: Vec<_> = self.layers.iter().map(VideoLayer::allocated).collect();
        let news = std::mem::replace(&mut self.said, allocated) != self.said;
        for (layer, carrier) in self.layers.iter().zip(0..) {
            let mut own = packets.iter_mut();
            let first = own.find(|packet| packet.rid == layer.rid());
            if let (true, true, Some(first)) = (layer.encoding.allocations, news, first) {
                let bytes = allocation::write(carrier, &self.said);
                first.allocation = Some(AllocationBytes::new(bytes));
            }
        }
    }
}

impl VideoLayer {
    fn new(spec: LayerSpec, encoding: Encoding, start: StartValues, rng: &mut Rng) -> Self {
        // Where all counters are to wrap, this one does, too.
        let frame_number_base = start.picture_id.map_or(0xfff0, |id| id | 0x8000);
        Self {
            encoding,
            sequence: u64::from(start.sequence.unwrap_or_else(|| rng.u16(0..0x8000))),
            timestamp_base: start.timestamp.unwrap_or_else(|| rng.u32(..)),
            picture_id: start.picture_id.unwrap_or_else(|| rng.u16(0..0x8000)),
            short_picture_id: start.short_picture_id,
            tl0: start.tl0.unwrap_or_else(|| rng.u8(..)),
            frame: 0,
            frame_number_base,
            id_offset: 0,
            picture: 0,
            history: VecDeque::new(),
            wants_keyframe: true,
            wanted: true,
            share_bps: spec.bitrate_bps,
            active: Active::all(encoding.mode()),
            saved_bps: 0,
            full: (spec, encoding.mode().spatial),
            spec,
        }
    }

    /// Leaves out the spatial layers that the rate is not enough for.
    fn fit(&mut self) {
        let mode = self.encoding.mode();
        let more = self.active.fit(mode, &self.spec, self.share_bps);
        // A layer that is back is predicted from the one below, which it may be in keyframes alone (libwebrtc's
        // `ScalabilityStructureKeySvc`).
        self.wants_keyframe |= more && mode.key;
        let most = self.active.most(mode, self.spec.bitrate_bps);
        self.share_bps = self.share_bps.min(most);
    }

    /// What a picture of that size takes at the least, at 30 a second. Of several sizes the smallest takes next to nothing.
    fn least_bps(&self) -> u64 {
        match self.encoding.mode().spatial {
            1 => self.spec.bitrate_bps * LAYER_PERCENT_MIN / 100,
            _ => 0,
        }
    }

    /// Whether there is not enough for the next frame yet, as libwebrtc's frame dropper finds it.
    fn drops_frame(&mut self) -> bool {
        let least = self.least_bps();
        self.saved_bps += self.share_bps;
        let drops = self.saved_bps < least;
        if !drops {
            self.saved_bps = (self.saved_bps - least).min(least);
        }
        drops
    }

    /// Leaves out the sizes that are larger than needed, by scaling the picture down, as the page does.
    fn limit(&mut self, max_height: Option<u32>) {
        let Some(mode) = &mut self.encoding.svc else {
            return;
        };
        let (full, layers) = self.full;
        let mut halvings = 0;
        while halvings + 1 < layers
            && max_height.is_some_and(|most| u32::from(full.height >> (halvings + 1)) >= most)
        {
            halvings += 1;
        }
        if mode.spatial == layers - halvings {
            return;
        }
        mode.spatial = layers - halvings;
        self.spec = LayerSpec {
            width: full.width >> halvings,
            height: full.height >> halvings,
            bitrate_bps: full.bitrate_bps >> (2 * halvings),
            ..full
        };
        self.share_bps = self.share_bps.min(self.spec.bitrate_bps);
        self.active = Active::all(*mode);
        self.wants_keyframe = true;
    }

    /// The spatial layers that are sent.
    fn allocated(&self) -> Vec<Allocated> {
        if !self.wanted || self.share_bps == 0 {
            return Vec::new();
        }
        let cycle = cycle(self.encoding.mode().temporal);
        let temporal = 0..self.encoding.mode().temporal;
        let parts: Vec<u64> = temporal
            .map(|most| cycle.iter().filter(|(of, _)| *of <= most).count() as u64)
            .collect();
        let own = self.sizes().into_iter().zip(shares(self.active.layers));
        own.map(|(size, share)| {
            let kbps = self.share_bps * share / 100 / 1_000;
            let kbps = parts.iter().map(|part| kbps * part / cycle.len() as u64);
            Allocated {
                size,
                kbps: kbps.collect(),
            }
        })
        .collect()
    }

    fn rid(&self) -> Option<Rid> {
        self.spec.rid.map(Rid::from)
    }

    /// Encodes a picture: a frame for each spatial layer.
    fn encode(
        &mut self,
        source: u32,
        layer: u8,
        captured: Duration,
        bytes: usize,
    ) -> Vec<EncodedPacket> {
        let keyframe = std::mem::take(&mut self.wants_keyframe);
        let mode = self.encoding.mode();
        self.picture = if keyframe { 0 } else { self.picture + 1 };
        if keyframe {
            self.history.clear();
            self.id_offset = (self.id_offset + 23) % 64;
            self.active.begin(mode);
        }
        let bytes = match self.encoding.keyframe_bytes {
            Some(bytes) if keyframe => bytes,
            None if keyframe => bytes * KEYFRAME_FACTOR,
            Some(_) | None => bytes,
        };
        let planned = self.picture(keyframe);
        let frames = (self.frame..).take(planned.len()).collect();
        let mut packets = Vec::new();
        for (at, (frame, share)) in planned.iter().zip(shares(self.active.layers)).enumerate() {
            if frame.spatial == 0 && frame.temporal == 0 {
                self.tl0 = self.tl0.wrapping_add(1);
            }
            let share = usize::try_from(*share).unwrap_or_default();
            let bytes = bytes * share / 100;
            let last = at + 1 == planned.len();
            packets.extend(self.packetize((source, layer), (*frame, last), captured, bytes));
            self.active.sent(frame.spatial, frame.temporal);
            self.frame += 1;
        }
        self.history.push_front(frames);
        self.history.truncate(HISTORY);
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        packets
    }

    /// The frames of the next picture. A layer that is back begins with temporal layer 0, predicted from the layer below
    /// (libwebrtc's `ScalabilityStructureFullSvc`).
    fn picture(&self, keyframe: bool) -> Vec<Frame> {
        let below = |spatial: u8| Some(self.frame + u32::from(spatial.checked_sub(1)?));
        (0..self.active.layers)
            .map(|spatial| self.predict(spatial, keyframe, below(spatial)))
            .take_while(|frame| keyframe || frame.temporal == 0 || frame.reference.is_some())
            .collect()
    }

    fn predict(&self, spatial: u8, keyframe: bool, below: Option<u32>) -> Frame {
        let mode = self.encoding.mode();
        let cycle = cycle(mode.temporal);
        let position = usize::try_from(self.picture).unwrap_or_default() % cycle.len();
        let (temporal, back) = match cycle.get(position) {
            Some(place) if !keyframe => *place,
            _ => (0, 0),
        };
        let reference = usize::try_from(back)
            .ok()
            .and_then(|back| self.history.get(back.checked_sub(1)?))
            .and_then(|picture| picture.get(usize::from(spatial)).copied());
        Frame {
            spatial,
            temporal,
            keyframe,
            reference,
            back: reference.and_then(|_| u8::try_from(back).ok()),
            below: below.filter(|_| keyframe || !mode.key),
        }
    }

    fn packetize(
        &mut self,
        (source, layer): (u32, u8),
        (frame, ends_picture): (Frame, bool),
        captured: Duration,
        bytes: usize,
    ) -> Vec<EncodedPacket> {
        let slices = bytes.div_ceil(PACKET_BYTES).max(1);
        let own_packet = frame.keyframe && self.encoding.codec == Codec::H264;
        let parameter_sets = usize::from(own_packet && !self.encoding.opaque);
        let packets = u16::try_from(slices + parameter_sets).unwrap_or(u16::MAX);
        let timestamp = self
            .timestamp_base
            .wrapping_add(media_ticks(captured, 90_000));
        let encoded = (0..packets).map(|packet| {
            let tag = Tag {
                source,
                layer,
                spatial: frame.spatial,
                temporal: frame.temporal,
                frame: self.frame,
                packet,
                packets,
                reference: frame.reference,
                below: frame.below,
                captured,
            };
            EncodedPacket {
                codec: self.encoding.codec,
                rid: self.rid(),
                sequence: self.sequence + u64::from(packet),
                timestamp,
                marker: ends_picture && packet + 1 == packets,
                captured,
                level: None,
                descriptor: self.descriptor(frame, (packet == 0, packet + 1 == packets)),
                allocation: None,
                payload: self.payload(frame, &tag, bytes / slices),
            }
        });
        let encoded = encoded.collect();
        self.sequence += u64::from(packets);
        encoded
    }

    /// Width and height of each spatial layer.
    fn sizes(&self) -> Vec<(u16, u16)> {
        let layers = self.encoding.mode().spatial;
        (0..layers)
            .map(|spatial| {
                let scale = layers - 1 - spatial;
                (self.spec.width >> scale, self.spec.height >> scale)
            })
            .collect()
    }

    fn descriptor(&self, frame: Frame, (first, last): (bool, bool)) -> Option<Vec<u8>> {
        let references = [frame.reference, frame.below].into_iter().flatten();
        let place = Place {
            spatial: frame.spatial,
            keyframe: frame.keyframe,
            picture: self.picture,
            back: references.map(|other| self.frame - other).collect(),
            active: self.active.told(self.encoding.mode()).filter(|_| first),
        };
        #[expect(clippy::cast_possible_truncation, reason = "frame numbers wrap")]
        let number = self.frame_number_base.wrapping_add(self.frame as u16);
        let begins = frame.keyframe && frame.spatial == 0;
        let sizes = begins.then(|| self.sizes());
        self.encoding.descriptors.then(|| {
            dependency::write(
                self.encoding.mode(),
                &place,
                number,
                self.id_offset,
                (first, last),
                sizes.as_deref(),
            )
        })
    }

    fn payload(&self, frame: Frame, tag: &Tag, length: usize) -> Vec<u8> {
        let size = (self.spec.width, self.spec.height);
        match self.encoding.codec {
            _ if self.encoding.opaque => write_opaque(tag, length),
            Codec::H264 => write_h264(tag, size, length),
            Codec::Av1 => write_av1(tag, length),
            Codec::Vp9 => self.vp9(frame, tag, length),
            Codec::Vp8 | Codec::Opus => write_vp8(&self.vp8(frame, tag), tag, size, length),
        }
    }

    fn vp8(&self, frame: Frame, tag: &Tag) -> Vp8Descriptor {
        // The second of two frames of the top layer is predicted from the one between them.
        let sync = frame.temporal > 0 && self.picture % 4 != 3;
        Vp8Descriptor {
            start: tag.packet == 0,
            picture_id: Some(if self.short_picture_id {
                self.picture_id & 0x7f
            } else {
                self.picture_id
            }),
            long_picture_id: !self.short_picture_id,
            tl0: Some(self.tl0),
            temporal: Some(frame.temporal),
            sync,
        }
    }

    fn vp9(&self, frame: Frame, tag: &Tag, length: usize) -> Vec<u8> {
        let mode = self.encoding.mode();
        let descriptor = Vp9Descriptor {
            picture_id: self.picture_id,
            tl0: (!self.encoding.flexible).then_some(self.tl0),
            back: frame.back.filter(|_| self.encoding.flexible),
            spatial: frame.spatial,
            temporal: frame.temporal,
            predicted: frame.reference.is_some(),
            inter_layer: frame.below.is_some(),
            start: tag.packet == 0,
            end: tag.packet + 1 == tag.packets,
            switching_up: frame.temporal + 1 < mode.temporal,
            not_referenced: frame.spatial + 1 == self.active.layers
                || (mode.key && !frame.keyframe),
        };
        let begins = frame.keyframe && frame.spatial == 0 && tag.packet == 0;
        let sizes = begins.then(|| self.sizes());
        write_vp9(&descriptor, sizes.as_deref(), tag, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::parse_vp8;

    fn encoder(start: StartValues) -> VideoEncoder {
        let encoding = Encoding::simulcast(Codec::Vp8);
        VideoEncoder::new(3, encoding, LayerSpec::camera(), start, 1)
    }

    #[test]
    fn counters_wrap_as_their_width_says() {
        let start = StartValues {
            sequence: Some(65_534),
            timestamp: Some(u32::MAX - 10),
            picture_id: Some(0x7fff),
            tl0: Some(255),
            short_picture_id: false,
        };
        let mut encoder = encoder(start);
        let first = encoder.encode_frame(Duration::ZERO);
        let second = encoder.encode_frame(Duration::from_millis(33));
        let read = |packets: &[EncodedPacket]| parse_vp8(&packets[0].payload).unwrap().vp8.unwrap();
        assert_eq!(
            (read(&first).picture_id, read(&second).picture_id),
            (Some(0x7fff), Some(0))
        );
        assert_eq!(read(&first).tl0, Some(0));
        assert_eq!(first[0].sequence, 65_534);
        assert!(second[0].timestamp < 3_000);
    }

    #[test]
    fn a_keyframe_comes_first_and_on_request_in_its_layer_alone() {
        let mut encoder = encoder(StartValues::default());
        let keyframes = |packets: Vec<EncodedPacket>| -> Vec<Rid> {
            packets
                .iter()
                .filter(|packet| parse_vp8(&packet.payload).unwrap().starts_keyframe)
                .filter_map(|packet| packet.rid)
                .collect()
        };
        assert_eq!(keyframes(encoder.encode_frame(Duration::ZERO)).len(), 3);
        assert_eq!(
            keyframes(encoder.encode_frame(Duration::from_millis(33))).len(),
            0
        );
        encoder.request_keyframe(Some("h".into()));
        assert_eq!(
            keyframes(encoder.encode_frame(Duration::from_millis(66))),
            ["h".into()]
        );
    }
}
