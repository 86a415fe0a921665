//! Choose: whether a slot takes a packet. What it takes is rewritten by [`crate::rewrite`].
//!
//! A slot is one stream for life. A switch of layer or source looks to the receiver like that stream
//! had a keyframe: numbers go on without a gap, time goes on as time did. What got lost on the way
//! to the server stays visible as a hole; what the server leaves out is none.

use std::sync::Arc;
use std::time::Duration;

use str0m::Rtc;
use str0m::format::CodecSpec;
use str0m::media::Mid;

use crate::codec;
use crate::egress::PayloadTypes;
use crate::layering::{Point, Target};
use crate::publish::{Packet, TrackKey};
use crate::rewrite::{Rewriter, Rewritten, Wanted};
use crate::switching::{Sent, step};
use crate::view::Tile;
use crate::{MediaKind, TrackId, Why};

/// A send m-line of a peer, into which tracks are switched.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) mid: Mid,
    pub(crate) kind: MediaKind,
    /// The receiver is known to have applied the answer that declares this slot's SSRC.
    pub(crate) declared: bool,
    /// The receiver has not closed the m-line.
    pub(crate) open: bool,
    pub(crate) source: Option<SlotSource>,
    /// What to show for a slot whose track has gone.
    pub(crate) gone: bool,
    rewriter: Rewriter,
    sent: Sent,
    /// The target's packets from its keyframe on, while a frame of the layer before is half sent.
    held: Vec<Arc<Packet>>,
    payload_types: Option<(Arc<CodecSpec>, Option<PayloadTypes>)>,
}

/// How long a keyframe waits for the rest of the frame before it: a NACK and its answer fit into it;
/// waiting longer for what has got lost would only delay the picture.
const HOLD_MAX: Duration = Duration::from_millis(150);
/// No keyframe of a smaller layer has more packets.
const HELD_PACKETS_MAX: usize = 256;

/// The track in a slot.
#[derive(Debug)]
pub(crate) struct SlotSource {
    pub(crate) track: TrackKey,
    pub(crate) id: TrackId,
    /// What the slot should carry; `None` = paused.
    pub(crate) target: Option<Target>,
    /// What goes out.
    pub(crate) current: Option<Current>,
    /// Why nothing is sent, where nothing is.
    pub(crate) why: Why,
    pub(crate) tile: Tile,
}

/// What a slot sends at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) layer: usize,
    pub(crate) stream: u32,
    pub(crate) point: Point,
    /// See [`crate::layering::Frame::nested`].
    nested: bool,
}

impl SlotSource {
    /// What the slot counts as carrying: within a stream the way to the target is short.
    pub(crate) fn standing(&self) -> Option<Target> {
        let current = self.current?;
        let target = self.target.filter(|target| target.layer == current.layer);
        Some(target.unwrap_or(Target {
            layer: current.layer,
            point: current.point,
        }))
    }
}

impl Current {
    fn is_of(&self, packet: &Packet) -> bool {
        (self.layer, self.stream) == (packet.layer, packet.stream)
    }
}

impl Slot {
    /// `first_seq` and `first_timestamp` start the numbering (RFC 3550: unpredictable).
    pub(crate) fn new(mid: Mid, kind: MediaKind, first_seq: u16, first_timestamp: u32) -> Self {
        Self {
            mid,
            kind,
            declared: false,
            open: true,
            source: None,
            gone: false,
            rewriter: Rewriter::new(first_seq, first_timestamp),
            sent: Sent::default(),
            held: Vec::new(),
            payload_types: None,
        }
    }

    pub(crate) fn assign(&mut self, track: TrackKey, id: TrackId, tile: Tile) {
        self.gone = false;
        self.held.clear();
        self.source = Some(SlotSource {
            track,
            id,
            target: None,
            current: None,
            why: Why::NoKeyframe,
            tile,
        });
    }

    /// Takes the track out. `gone`: because there is no such track any more.
    pub(crate) fn release(&mut self, gone: bool) -> Option<SlotSource> {
        self.gone = gone;
        self.held.clear();
        self.source.take()
    }

    /// What goes out.
    pub(crate) fn carries(&self) -> Option<Current> {
        self.source.as_ref()?.current
    }

    /// Whether the slot sends this layer, or is to.
    pub(crate) fn wants(&self, layer: usize) -> bool {
        self.source.as_ref().is_some_and(|source| {
            source.target.is_some_and(|target| target.layer == layer)
                || source.current.is_some_and(|current| current.layer == layer)
        })
    }

    /// Whether the slot waits for a keyframe of its target.
    pub(crate) fn awaits_keyframe(&self) -> Option<(TrackKey, usize)> {
        let source = self.source.as_ref()?;
        let target = source.target?;
        let reached = source.current.is_some_and(|current| {
            current.layer == target.layer && !needs_keyframe(current, target.point)
        });
        (self.declared && self.kind == MediaKind::Video && !reached)
            .then_some((source.track, target.layer))
    }

    /// Lets a packet through, or not; `emit` gets what leaves, in order.
    ///
    /// A switch happens on a keyframe of the target layer and on nothing else; until one comes, the
    /// layer before goes on. Layers arrive interleaved: where a frame of the layer before is half
    /// sent, the keyframe waits for the rest of it, so that no frame is torn.
    pub(crate) fn forward(
        &mut self,
        track: TrackKey,
        packet: &Arc<Packet>,
        emit: &mut impl FnMut(&Arc<Packet>, Rewritten),
    ) {
        let Some(source) = self
            .source
            .as_mut()
            .filter(|source| self.declared && self.open && source.track == track)
        else {
            return;
        };
        let target = source.target.filter(|target| target.layer == packet.layer);
        if source.current.is_some_and(|current| current.is_of(packet)) {
            self.pass(target, packet, emit);
            if self.held.is_empty() || self.rewriter.amid_frame() {
                return;
            }
        } else if target.is_none() || (self.held.is_empty() && !packet.starts_keyframe) {
            return;
        } else {
            let may_wait = source
                .current
                .is_some_and(|current| current.layer != packet.layer)
                && self.rewriter.amid_frame();
            self.held
                .retain(|held| (held.layer, held.stream) == (packet.layer, packet.stream));
            self.held.push(packet.clone());
            let since = self
                .held
                .first()
                .map_or(packet.arrived, |first| first.arrived);
            let waited = packet.arrived.saturating_duration_since(since);
            if may_wait && waited < HOLD_MAX && self.held.len() < HELD_PACKETS_MAX {
                return;
            }
        }
        self.switch(emit);
    }

    /// Lets a packet of the current stream through, if what goes out of it needs the packet.
    fn pass(
        &mut self,
        target: Option<Target>,
        packet: &Arc<Packet>,
        emit: &mut impl FnMut(&Arc<Packet>, Rewritten),
    ) {
        let Some(current) = self.source.as_mut().and_then(|s| s.current.as_mut()) else {
            return;
        };
        if let Some(target) = target
            && target.point != current.point
            && (packet.frame.starts || packet.starts_keyframe)
            && self.rewriter.is_ahead(packet)
            && let Some(point) = step(current.point, target.point, packet, &self.sent)
        {
            current.point = point;
            current.nested = packet.frame.nested;
            self.rewriter.go_on(packet, point);
        }
        let point = current.point;
        if let Some(rewritten) = self.rewriter.rewrite(packet) {
            if packet.frame.needed.contains(point) {
                self.sent.note(packet);
            }
            emit(packet, rewritten);
        }
    }

    /// Goes over to the layer whose keyframe is held.
    fn switch(&mut self, emit: &mut impl FnMut(&Arc<Packet>, Rewritten)) {
        let mut held = std::mem::take(&mut self.held);
        if let (Some(first), Some(source)) = (held.first(), self.source.as_mut()) {
            let same_track = source.current.is_some();
            let point = source.target.map_or(Point::WHOLE, |target| target.point);
            source.current = Some(Current {
                layer: first.layer,
                stream: first.stream,
                point,
                nested: first.frame.nested,
            });
            self.rewriter.switch(first, point, source.id, same_track);
            self.sent = Sent::default();
        }
        for packet in held.drain(..) {
            self.pass(None, &packet, emit);
        }
        self.held = held;
    }

    /// Whether the receiver has no picture in this slot yet, and may start with one that is a moment old: what has
    /// been shown cannot be followed by what was before it.
    pub(crate) fn may_start_late(&self) -> bool {
        self.rewriter.is_new()
    }

    /// Which packet left this slot under this number.
    pub(crate) fn wanted(&self, seq: u16) -> Option<Wanted> {
        self.rewriter.wanted(seq)
    }

    /// Sends this layer from its next keyframe on; `None` stops at once, and `why` says why.
    pub(crate) fn aim(&mut self, target: Option<Target>, why: Why) {
        let Some(source) = self.source.as_mut() else {
            return;
        };
        if source.target.map(|target| target.layer) != target.map(|target| target.layer) {
            self.held.clear();
        }
        source.target = target;
        source.why = why;
        if target.is_none() {
            source.current = None;
        }
    }

    /// The payload types that the receiver negotiated on this m-line for the packet's codec, looked up once per codec.
    pub(crate) fn payload_types(&mut self, packet: &Packet, rtc: &Rtc) -> Option<PayloadTypes> {
        match &self.payload_types {
            Some((codec, found)) if Arc::ptr_eq(codec, &packet.codec) => *found,
            _ => {
                let found = negotiated(rtc, self.mid, &packet.codec);
                self.payload_types = Some((packet.codec.clone(), found));
                found
            }
        }
    }

    /// What the receiver is told about this slot's picture.
    pub(crate) fn why(&self) -> Why {
        match &self.source {
            None if self.gone => Why::PublisherGone,
            None => Why::NotVisible,
            Some(source) if source.target.is_none() => source.why,
            Some(_) if matches!(self.payload_types, Some((_, None))) => Why::NoCommonCodec,
            Some(source) if source.current.is_none() => Why::NoKeyframe,
            Some(_) => Why::Live,
        }
    }
}

/// Of what the m-line negotiated the best fit for a codec, and of several that fit alike the one that the receiver
/// likes best. The session's configuration holds what it never offered, too.
fn negotiated(rtc: &Rtc, mid: Mid, codec: &CodecSpec) -> Option<PayloadTypes> {
    let configured = rtc.codec_config().params();
    let offered = rtc.media(mid)?.remote_pts().iter().rev();
    let fitting = offered.filter_map(|pt| {
        let params = configured.iter().find(|params| params.pt() == *pt)?;
        Some((codec::fit(codec, &params.spec())?, params))
    });
    let (_, params) = fitting.max_by_key(|(fit, _)| *fit)?;
    Some(PayloadTypes {
        plain: params.pt(),
        red: params.red(),
        rtx: params.resend(),
    })
}

/// Whether there is no way to the point but a keyframe. Temporal layers have switching points of their own.
fn needs_keyframe(current: Current, to: Point) -> bool {
    let from = current.point;
    to.spatial > from.spatial || (to.spatial < from.spatial && !current.nested)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use str0m::format::{Codec, CodecSpec, FormatParams};
    use str0m::media::Frequency;
    use str0m::rtp::ExtensionValues;

    use super::*;
    use crate::codec;
    use crate::layering::Frame;
    use crate::rewrite::PICTURE_ID_MASK;

    const TRACK: TrackKey = 0;

    /// A source of one-packet frames, 30 a second.
    struct Encoder {
        layer: usize,
        seq: u64,
        timestamp: u64,
        picture_id: u16,
        tl0: u8,
        captured: Instant,
    }

    impl Encoder {
        fn packet(&mut self, keyframe: bool) -> Arc<Packet> {
            self.seq += 1;
            self.timestamp += 3_000;
            self.picture_id = (self.picture_id + 1) & PICTURE_ID_MASK;
            self.tl0 = self.tl0.wrapping_add(1);
            self.captured += Duration::from_secs(1) / 30;
            let [high, low] = self.picture_id.to_be_bytes();
            let payload = [0x90, 0xc0, 0x80 | high, low, self.tl0, 1];
            Arc::new(Packet {
                layer: self.layer,
                stream: 0,
                seq: self.seq,
                timestamp: self.timestamp,
                marker: true,
                codec: Arc::new(CodecSpec {
                    codec: Codec::Vp8,
                    clock_rate: Frequency::NINETY_KHZ,
                    channels: None,
                    format: FormatParams::default(),
                }),
                red: None,
                encrypted: false,
                starts_keyframe: keyframe,
                counters: codec::read(Codec::Vp8, &payload).counters,
                frame: Frame::PLAIN,
                descriptor: None,
                arrived: self.captured,
                captured: Some(self.captured),
                extensions: ExtensionValues::default(),
                payload: Arc::from(payload),
            })
        }
    }

    fn encoder(layer: usize, start: Instant) -> Encoder {
        let seed = u16::try_from(layer).unwrap() * 1_000;
        Encoder {
            layer,
            seq: 65_530 + u64::from(seed),
            timestamp: 0xffff_0000 + u64::from(seed) * 77,
            picture_id: 0x7ffa - seed,
            tl0: 250,
            captured: start,
        }
    }

    fn slot(target: usize) -> Slot {
        let mut slot = Slot::new("0".into(), MediaKind::Video, 100, u32::MAX - 5_000);
        slot.declared = true;
        slot.assign(TRACK, TrackId(1), Tile::default());
        aim(&mut slot, target);
        slot
    }

    fn aim(slot: &mut Slot, target: usize) {
        slot.aim(Some(Target::whole(target)), Why::NoKeyframe);
    }

    /// What leaves when this packet comes.
    fn all(slot: &mut Slot, packet: &Arc<Packet>) -> Vec<Rewritten> {
        let mut sent = Vec::new();
        slot.forward(TRACK, packet, &mut |_, rewritten| sent.push(rewritten));
        sent
    }

    fn one(slot: &mut Slot, packet: &Arc<Packet>) -> Option<Rewritten> {
        all(slot, packet).pop()
    }

    #[test]
    fn numbers_go_on_over_switches_and_wraps() {
        let start = Instant::now();
        let (mut low, mut high) = (encoder(0, start), encoder(1, start));
        let mut slot = slot(0);
        let mut sent = Vec::new();
        for frame in 0..60 {
            if frame == 20 {
                aim(&mut slot, 1);
            }
            let packets = [low.packet(frame == 0), high.packet(frame == 25)];
            sent.extend(packets.iter().flat_map(|packet| all(&mut slot, packet)));
        }
        assert_eq!(
            sent.len(),
            61,
            "the moment of the switch is shown by both layers"
        );
        for (before, after) in sent.iter().zip(sent.iter().skip(1)) {
            assert_eq!(after.seq, before.seq + 1);
            let step = after.timestamp.wrapping_sub(before.timestamp);
            assert!(step == 3_000 || step == 1_500, "{step}");
            assert_eq!(
                after.picture_id.unwrap(),
                (before.picture_id.unwrap() + 1) & PICTURE_ID_MASK
            );
            assert_eq!(
                after.tl0_pic_idx.unwrap(),
                before.tl0_pic_idx.unwrap().wrapping_add(1)
            );
        }
    }

    #[test]
    fn a_keyframe_of_another_layer_switches_nothing() {
        let start = Instant::now();
        let (mut low, mut high) = (encoder(0, start), encoder(1, start));
        let mut slot = slot(0);
        assert!(one(&mut slot, &low.packet(true)).is_some());
        aim(&mut slot, 1);
        assert!(one(&mut slot, &high.packet(false)).is_none());
        assert!(
            one(&mut slot, &low.packet(true)).is_some(),
            "the layer before goes on"
        );
        assert_eq!(slot.carries().map(|current| current.layer), Some(0));
        assert!(one(&mut slot, &high.packet(true)).is_some());
        assert!(one(&mut slot, &low.packet(true)).is_none());
    }

    #[test]
    fn what_the_publisher_lost_stays_a_hole_and_what_came_late_fills_it() {
        let mut source = encoder(0, Instant::now());
        let mut slot = slot(0);
        let first = one(&mut slot, &source.packet(true)).unwrap();
        let late = source.packet(false);
        let third = one(&mut slot, &source.packet(false)).unwrap();
        assert_eq!(third.seq, first.seq + 2);
        assert_eq!(one(&mut slot, &late).unwrap().seq, first.seq + 1);
    }

    #[test]
    fn no_number_leaves_twice() {
        let mut source = encoder(0, Instant::now());
        let mut slot = slot(0);
        let packets: Vec<_> = (0..1_500).map(|at| source.packet(at == 0)).collect();
        let sent = |slot: &mut Slot, packets: &[Arc<Packet>]| -> usize {
            packets.iter().map(|packet| all(slot, packet).len()).sum()
        };
        assert_eq!(sent(&mut slot, &packets[..1_000]), 1_000);
        assert_eq!(
            sent(&mut slot, &packets[..1_000]),
            0,
            "a copy of the same picture"
        );
        assert_eq!(sent(&mut slot, &packets[1_010..]), 490);
        assert_eq!(
            sent(&mut slot, &packets[1_000..1_010]),
            10,
            "what came late"
        );
        assert_eq!(sent(&mut slot, &packets), 0);
    }

    #[test]
    fn a_pause_moves_the_timestamp_by_as_long_as_it_lasted() {
        let mut source = encoder(0, Instant::now());
        let mut slot = slot(0);
        one(&mut slot, &source.packet(true)).unwrap();
        let before = one(&mut slot, &source.packet(false)).unwrap();
        slot.aim(None, Why::Muted);
        aim(&mut slot, 0);
        source.captured += Duration::from_secs(7);
        source.timestamp += 12_345;
        source.seq += 100;
        let after = one(&mut slot, &source.packet(true)).unwrap();
        assert_eq!(after.seq, before.seq + 1);
        let ticks = after.timestamp.wrapping_sub(before.timestamp);
        assert!(ticks.abs_diff(7 * 90_000 + 3_000) <= 1_500, "{ticks}");
    }

    #[test]
    fn an_encoder_that_starts_over_needs_a_keyframe() {
        let mut source = encoder(0, Instant::now());
        let mut slot = slot(0);
        one(&mut slot, &source.packet(true)).unwrap();
        let mut restarted = source.packet(false);
        Arc::make_mut(&mut restarted).stream = 1;
        assert!(one(&mut slot, &restarted).is_none());
        Arc::make_mut(&mut restarted).starts_keyframe = true;
        assert!(one(&mut slot, &restarted).is_some());
    }

    #[test]
    fn nothing_leaves_before_the_slot_is_declared() {
        let mut slot = slot(0);
        slot.declared = false;
        assert!(one(&mut slot, &encoder(0, Instant::now()).packet(true)).is_none());
    }

    #[test]
    fn a_switch_waits_for_the_rest_of_the_frame_before() {
        let start = Instant::now();
        let (mut low, mut high) = (encoder(0, start), encoder(1, start));
        let mut slot = slot(0);
        one(&mut slot, &low.packet(true)).unwrap();
        aim(&mut slot, 1);
        let mut first_half = low.packet(false);
        Arc::make_mut(&mut first_half).marker = false;
        let before = one(&mut slot, &first_half).unwrap();
        let keyframe = high.packet(true);
        assert!(one(&mut slot, &keyframe).is_none());
        let mut second_half = low.packet(false);
        Arc::make_mut(&mut second_half).timestamp = first_half.timestamp;
        let sent = all(&mut slot, &second_half);
        assert_eq!(sent.len(), 2, "the end of the frame, and then the keyframe");
        assert_eq!(
            (sent[0].seq, sent[0].timestamp),
            (before.seq + 1, before.timestamp)
        );
        assert_eq!(sent[1].seq, before.seq + 2);
        assert_eq!(slot.carries().map(|current| current.layer), Some(1));
    }

    #[test]
    fn a_switch_does_not_wait_for_a_frame_whose_end_is_lost() {
        let start = Instant::now();
        let (mut low, mut high) = (encoder(0, start), encoder(1, start));
        let mut slot = slot(0);
        one(&mut slot, &low.packet(true)).unwrap();
        aim(&mut slot, 1);
        let mut half = low.packet(false);
        Arc::make_mut(&mut half).marker = false;
        one(&mut slot, &half).unwrap();
        assert!(one(&mut slot, &high.packet(true)).is_none());
        let sent: Vec<usize> = (0..5)
            .map(|_| all(&mut slot, &high.packet(false)).len())
            .collect();
        assert_eq!(
            sent,
            [0, 0, 0, 0, 6],
            "five frames and the keyframe, 167 ms after it"
        );
    }
    #[test]
    fn what_was_left_unfinished_is_not_gone_on_with() {
        let mut source = encoder(0, Instant::now());
        let mut slot = slot(0);
        let mut half = source.packet(true);
        Arc::make_mut(&mut half).marker = false;
        one(&mut slot, &half).unwrap();
        slot.aim(None, Why::NoBandwidth);
        aim(&mut slot, 0);
        assert_eq!(one(&mut slot, &source.packet(true)).unwrap().seq, 102);
        assert!(slot.wanted(101).is_none(), "the hole is all that shows it");
    }
}
