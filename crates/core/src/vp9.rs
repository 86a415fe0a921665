//! The VP9 payload descriptor (RFC 9628 section 4.2).

use crate::codec::{Counters, Reading, Sizes};
use crate::layering::{Frame, Point, Points};

const PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGINS: u8 = 0x08;
const ENDS: u8 = 0x04;
const STRUCTURE: u8 = 0x02;
/// Larger layers do without this one.
const NOT_REFERENCED: u8 = 0x01;
/// A flexible descriptor names up to three references.
const REFERENCES_MAX: usize = 3;

/// What the descriptor tells; `None` where it is cut off.
pub(crate) fn read(payload: &[u8]) -> Option<Reading> {
    let first = *payload.first()?;
    let is = |flag: u8| first & flag != 0;
    let mut at = 1;
    let mut counters = Counters::default();
    if is(PICTURE_ID) {
        at = counters.read_picture_id(payload, at)?;
    }
    let mut frame = Frame::PLAIN;
    if is(LAYERS) {
        let layers = *payload.get(at)?;
        at += 1;
        frame = layered(first, layers);
        if !is(FLEXIBLE) {
            at = counters.read_tl0(payload, at)?;
        }
    }
    if is(FLEXIBLE) && is(PREDICTED) {
        for _ in 0..REFERENCES_MAX {
            let reference = *payload.get(at)?;
            at += 1;
            if reference & 1 == 0 {
                break;
            }
        }
    }
    let sizes = if is(STRUCTURE) {
        sizes(payload.get(at..)?)
    } else {
        Sizes::default()
    };
    Some(Reading {
        starts_keyframe: is(BEGINS) && !is(PREDICTED) && frame.layer.spatial == 0,
        sizes,
        profile: None,
        counters: Some(counters),
        frame,
    })
}

fn layered(first: u8, layers: u8) -> Frame {
    let layer = Point::new((layers >> 1) & 0x07, layers >> 5);
    let from = Points::from(layer);
    // U: pictures of higher temporal layers do not depend on any before this one from now on.
    let switching_up = layers & 0x10 != 0;
    let switch = if switching_up { from } else { Points::NONE };
    Frame {
        layer,
        needed: from,
        switch,
        base: switch,
        starts: first & BEGINS != 0,
        ends: first & ENDS != 0,
        nested: first & NOT_REFERENCED == 0,
    }
}

/// The picture sizes of a scalability structure.
fn sizes(structure: &[u8]) -> Sizes {
    let mut sizes = Sizes::default();
    let Some((header, rest)) = structure.split_first() else {
        return sizes;
    };
    if header & 0x10 == 0 {
        return sizes;
    }
    let layers = usize::from(header >> 5) + 1;
    for (size, bytes) in sizes.iter_mut().zip(rest.chunks_exact(4)).take(layers) {
        if let [w1, w0, h1, h0] = *bytes {
            *size = Some((
                u16::from_be_bytes([w1, w0]).into(),
                u16::from_be_bytes([h1, h0]).into(),
            ));
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyframe_tells_layer_counters_and_sizes() {
        let payload = [
            PICTURE_ID | LAYERS | BEGINS | ENDS | STRUCTURE,
            0x92,
            0x34,
            0x10,
            0x55,
            (1 << 5) | 0x10,
            1,
            64,
            0,
            180,
            2,
            128,
            1,
            104,
            9,
        ];
        let reading = read(&payload).unwrap();
        assert!(reading.starts_keyframe);
        assert_eq!(
            reading.sizes[..3],
            [Some((320, 180)), Some((640, 360)), None]
        );
        let counters = reading.counters.unwrap();
        assert_eq!(
            (counters.picture_id, counters.tl0_pic_idx),
            (Some(0x1234), Some(0x55))
        );
        let mut patched = payload;
        counters.patch(&mut patched, Some(0x7fff), Some(0));
        assert_eq!(patched[..5], [0xae, 0xff, 0xff, 0x10, 0]);
    }

    #[test]
    fn layers_and_switching_points_are_read() {
        let temporal = [LAYERS | PREDICTED | BEGINS, (2 << 5) | 0x10 | (1 << 1), 7];
        let frame = read(&temporal).unwrap().frame;
        assert_eq!(frame.layer, Point::new(1, 2));
        assert!(frame.starts && !frame.ends);
        assert!(frame.needed.contains(Point::new(1, 2)));
        assert!(!frame.needed.contains(Point::new(0, 2)));
        assert!(!frame.needed.contains(Point::new(1, 1)));
        assert!(frame.switch.contains(Point::WHOLE));
        assert!(frame.nested);
        let alone = [temporal[0] | NOT_REFERENCED, temporal[1], 7];
        assert!(!read(&alone).unwrap().frame.nested);
    }
}
