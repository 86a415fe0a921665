//! From one operating point of a stream to another: where that is possible without a keyframe.

use crate::layering::Point;
use crate::publish::Packet;

/// How far towards another point of the same stream a receiver may go at this first packet of a frame.
pub(crate) fn step(from: Point, to: Point, packet: &Packet, sent: &Sent) -> Option<Point> {
    let frame = &packet.frame;
    if packet.starts_keyframe {
        return Some(to);
    }
    let fewer = Point {
        spatial: if frame.nested {
            from.spatial.min(to.spatial)
        } else {
            from.spatial
        },
        temporal: from.temporal.min(to.temporal),
    };
    if fewer != from && frame.layer.spatial == 0 {
        return Some(fewer);
    }
    let next = Point {
        temporal: from.temporal + u8::from(to.temporal > from.temporal),
        ..from
    };
    // A picture that has begun ends with the layer that it was to end with: it grows with a keyframe alone.
    [to, next].into_iter().find(|point| {
        *point != from
            && point.spatial == from.spatial
            && frame.switch.contains(*point)
            && frame.base.contains(from)
            && sent.has_references_of(packet)
    })
}

/// Which of the newest frames of the current stream have been sent.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    newest: Option<u16>,
    /// Bit n: the frame n before the newest.
    frames: u128,
}

impl Sent {
    pub(crate) fn note(&mut self, packet: &Packet) {
        let Some(number) = packet.descriptor.as_ref().map(|d| d.frame_number) else {
            return;
        };
        let ahead = self.newest.map_or(0, |newest| number.wrapping_sub(newest));
        if ahead < u16::MAX / 2 {
            self.frames = self.frames.checked_shl(ahead.into()).unwrap_or(0) | 1;
            self.newest = Some(number);
        } else {
            self.frames |= 1_u128.checked_shl(ahead.wrapping_neg().into()).unwrap_or(0);
        }
    }

    fn has_references_of(&self, packet: &Packet) -> bool {
        let Some(descriptor) = &packet.descriptor else {
            return true;
        };
        descriptor.references.all(|back| {
            let number = descriptor.frame_number.wrapping_sub(back);
            let behind = self.newest.map(|newest| newest.wrapping_sub(number));
            behind
                .is_some_and(|behind| self.frames.checked_shr(behind.into()).unwrap_or(0) & 1 == 1)
        })
    }
}
