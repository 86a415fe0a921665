//! The video layers allocation as libwebrtc writes it: an RTP header extension by which a sender says which layers it
//! sends, how large they are, and what each may take.
//!
//! Written here independently of the core and of the engine, so that a mistake there is not repeated here.

use crate::extension::Value;

/// The bytes of one packet's allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AllocationBytes(Vec<u8>);

impl Value for AllocationBytes {
    const URI: &'static str =
        "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00";

    fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A spatial layer that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allocated {
    pub(crate) size: (u16, u16),
    /// What it may take with each of its temporal layers and all below that.
    pub(crate) kbps: Vec<u64>,
}

const FRAMES_PER_SECOND: u8 = 30;

/// What a packet of one of the streams says: of each stream the spatial layers that are sent. Those behind the last of which any is sent
/// are left out (`RtpVideoLayersAllocationExtension::Write`).
pub(crate) fn write(carrier: u8, streams: &[Vec<Allocated>]) -> Vec<u8> {
    let last = streams.iter().rposition(|layers| !layers.is_empty());
    let streams = last.and_then(|last| streams.get(..=last)).unwrap_or(&[]);
    let masks: Vec<u8> = streams
        .iter()
        .map(|layers| (1 << layers.len()) - 1)
        .collect();
    let first = masks.first().copied().unwrap_or_default();
    let alike = masks.iter().all(|mask| *mask == first);
    if streams.is_empty() {
        return vec![0];
    }
    let count = u8::try_from(streams.len()).unwrap_or(1) - 1;
    let mut out = vec![carrier << 6 | count << 4 | if alike { first } else { 0 }];
    if !alike {
        let pairs = masks.chunks(2);
        out.extend(pairs.map(|pair| joined(pair.iter().copied(), 4)));
    }
    let layers: Vec<&Allocated> = streams.iter().flatten().collect();
    for four in layers.chunks(4) {
        let temporal = four.iter().map(|layer| layer.kbps.len() - 1);
        out.push(joined(
            temporal.filter_map(|more| u8::try_from(more).ok()),
            2,
        ));
    }
    for kbps in layers.iter().flat_map(|layer| &layer.kbps) {
        write_leb128(&mut out, *kbps);
    }
    for layer in layers {
        out.extend((layer.size.0 - 1).to_be_bytes());
        out.extend((layer.size.1 - 1).to_be_bytes());
        out.push(FRAMES_PER_SECOND);
    }
    out
}

/// A byte of parts of so many bits, the first in front.
fn joined(parts: impl Iterator<Item = u8>, bits: u8) -> u8 {
    let places = (1..=8 / bits).map(|place| 8 - place * bits);
    parts
        .zip(places)
        .fold(0, |byte, (part, place)| byte | part << place)
}

fn write_leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(height: u16, kbps: &[u64]) -> Vec<Allocated> {
        vec![Allocated {
            size: (height * 16 / 9, height),
            kbps: kbps.to_vec(),
        }]
    }

    #[test]
    fn streams_that_are_not_sent_have_no_layers() {
        let sent = [layer(180, &[30, 60]), Vec::new(), layer(360, &[300])];
        let bytes = write(2, &sent);
        let expected = [
            0b1010_0000,
            0b0001_0000,
            0b0001_0000,
            0b0100_0000,
            30,
            60,
            0xac,
            0x02,
        ];
        assert_eq!(bytes[..8], expected);
        assert_eq!(bytes.len(), 8 + 2 * 5);
        let first = [layer(180, &[30]), Vec::new(), Vec::new()];
        assert_eq!(write(0, &first)[..3], [0b0000_0001, 0b0000_0000, 30]);
        assert_eq!(write(0, &[Vec::new(), Vec::new()]), [0]);
    }
}
