//! Choose: whether a slot takes a packet. What it takes is rewritten by [`crate::rewrite`].
//!
//! A slot is one stream for life. A switch of layer or source looks to the receiver like that stream
//! had a keyframe: numbers go on without a gap, time goes on as time did. What got lost on the way
//! to the server stays visible as a hole; what the server leaves out is none.

use std::sync::Arc;
use std::time::Duration;

use str0m::media::Mid;

use crate::formats::Formats;
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
    /// What the receiver can decode.
    pub(crate) formats: Formats,
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
    /// The stream of which the target is at present.
    stream: u32,
    /// What would be carried if the receiver had its codec. It is kept going: nobody would else see that the publisher
    /// changes to a codec that the receiver has.
    pub(crate) unreadable: Option<usize>,
    /// What goes out.
    pub(crate) current: Option<Current>,
    /// Its picture stands still until a keyframe comes: going on with it would only have made that late.
    pub(crate) halted: bool,
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

    /// The slot sends nothing, or what it sent has ended and the next stream of the layer has not begun with a keyframe.
    fn is_between_streams(&self) -> bool {
        self.current.is_none_or(|current| {
            let same_layer = |target: Target| target.layer == current.layer;
            self.target.is_some_and(same_layer) && current.stream != self.stream
        })
    }

    /// Nothing is sent since even the base layer does not fit.
    pub(crate) fn is_short(&self) -> bool {
        self.target.is_none() && self.why == Why::NoBandwidth
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
            formats: Formats::default(),
        }
    }

    pub(crate) fn assign(&mut self, track: TrackKey, id: TrackId, tile: Tile) {
        self.gone = false;
        self.held.clear();
        self.source = Some(SlotSource {
            track,
            id,
            target: None,
            stream: 0,
            unreadable: None,
            current: None,
            halted: false,
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

    /// Whether the layer has to be encoded for this slot.
    pub(crate) fn needs(&self, layer: usize) -> bool {
        let source = self.source.as_ref();
        self.wants(layer) || source.is_some_and(|source| source.unreadable == Some(layer))
    }

    /// Whether the slot waits for a keyframe of its target.
    pub(crate) fn awaits_keyframe(&self) -> Option<(TrackKey, usize)> {
        let source = self.source.as_ref()?;
        let target = source.target?;
        let reached = source.current.is_some_and(|current| {
            current.layer == target.layer
                && current.stream == source.stream
                && !needs_keyframe(current, target.point)
        });
        (self.declared && self.kind == MediaKind::Video && !reached)
            .then_some((source.track, target.layer))
    }

    /// Lets a packet through, or not; `emit` gets what leaves, in order. Some of it may have waited, and be of another codec.
    ///
    /// A switch happens on a keyframe of the target layer and on nothing else; until one comes, the
    /// layer before goes on. Layers arrive interleaved: where a frame of the layer before is half
    /// sent, the keyframe waits for the rest of it, so that no frame is torn.
    ///
    /// What has been `kept` for so long is there to be caught up with: by the frames that others need, and no more.
    pub(crate) fn forward(
        &mut self,
        track: TrackKey,
        packet: &Arc<Packet>,
        kept: Option<Duration>,
        emit: &mut impl FnMut(&mut Formats, &Arc<Packet>, Rewritten),
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
            let slowed = |target: Target| kept.map_or(target, |_| target.slowest());
            self.pass(target.map(slowed), packet, emit);
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
        self.switch(kept.unwrap_or_default(), emit);
    }

    /// Lets a packet of the current stream through, if what goes out of it needs the packet.
    fn pass(
        &mut self,
        target: Option<Target>,
        packet: &Arc<Packet>,
        emit: &mut impl FnMut(&mut Formats, &Arc<Packet>, Rewritten),
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
            self.rewriter.go_on(packet, point);
        }
        current.nested = packet.frame.nested;
        let point = current.point;
        if let Some(rewritten) = self.rewriter.rewrite(packet) {
            if packet.frame.needed.contains(point) {
                self.sent.note(packet);
            }
            emit(&mut self.formats, packet, rewritten);
        }
    }

    /// Goes over to the layer whose keyframe is held.
    fn switch(
        &mut self,
        kept: Duration,
        emit: &mut impl FnMut(&mut Formats, &Arc<Packet>, Rewritten),
    ) {
        let mut held = std::mem::take(&mut self.held);
        if let (Some(first), Some(source)) = (held.first(), self.source.as_mut()) {
            let point = source.target.map_or(Point::WHOLE, |target| target.point);
            source.current = Some(Current {
                layer: first.layer,
                stream: first.stream,
                point,
                nested: first.frame.nested,
            });
            source.halted = false;
            self.rewriter.switch(first, point, source.id, kept);
            self.sent = Sent::default();
        }
        for packet in held.drain(..) {
            self.pass(None, &packet, emit);
        }
        self.held = held;
    }

    /// Whether the slot sends nothing, and may start with a packet that is a moment old: what has been shown of its track
    /// cannot be followed by what was before it.
    pub(crate) fn may_start_with(&self, packet: &Packet) -> bool {
        let source = self.source.as_ref();
        source.is_some_and(|source| {
            source.current.is_none() && self.rewriter.is_behind(packet, source.id)
        })
    }

    /// Whether a packet that has been kept may be news to the slot: it may start with it, or has begun with what was before.
    pub(crate) fn may_get_kept(&self, packet: &Packet) -> bool {
        self.carries().is_some_and(|current| current.is_of(packet)) || self.may_start_with(packet)
    }

    /// Sends nothing more of what it carries until the keyframe comes that it waits for.
    pub(crate) fn halt(&mut self) {
        if let Some(source) = &mut self.source {
            (source.current, source.halted) = (None, true);
        }
    }

    /// Whether the slot's picture stands still until a keyframe of its target comes.
    pub(crate) fn is_halted(&self) -> bool {
        self.source.as_ref().is_some_and(|source| source.halted)
    }

    /// Which packet left this slot under this number.
    pub(crate) fn wanted(&self, seq: u16) -> Option<Wanted> {
        self.rewriter.wanted(seq)
    }

    /// Sends this layer, which is of this stream at present, from its next keyframe on; `None` stops at once, and `why` says why.
    pub(crate) fn aim(&mut self, target: Option<(Target, u32)>, why: Why) {
        let (target, stream) = target.unzip();
        let Some(source) = self.source.as_mut() else {
            return;
        };
        if source.target.map(|target| target.layer) != target.map(|target| target.layer) {
            self.held.clear();
        }
        source.target = target;
        source.stream = stream.unwrap_or(source.stream);
        source.unreadable = None;
        source.why = why;
        if target.is_none() {
            (source.current, source.halted) = (None, false);
        }
    }

    /// What the receiver is told about this slot's picture.
    pub(crate) fn why(&self) -> Why {
        match &self.source {
            None if self.gone => Why::PublisherGone,
            None => Why::NotVisible,
            Some(source) if source.target.is_none() => source.why,
            Some(source) if source.is_between_streams() => Why::NoKeyframe,
            Some(_) => Why::Live,
        }
    }
}

/// Whether there is no way to the point but a keyframe. Temporal layers have switching points of their own.
pub(crate) fn needs_keyframe(current: Current, to: Point) -> bool {
    let from = current.point;
    to.spatial > from.spatial || (to.spatial < from.spatial && !current.nested)
}

#[cfg(test)]
mod tests;
