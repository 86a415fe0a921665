//! RED (RFC 2198) for a receiver that loses packets: each audio packet brings the sound of the one before it once more, or of the
//! two before it.
//!
//! Browsers' microphones send RED with one packet before. That is passed on as it is, and what it lacks is put in front.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::Pt;

use super::pacer::Outgoing;
use crate::limits::RTP_PAYLOAD_BYTES_MAX;
use crate::publish::Packet;

/// From these shares of lost packets on, a packet brings the sound of one before it, and of two. Concealment hides a single packet
/// in fifty; of what comes twice, one in 150 is missing at 8 %, one in 44 at 15 %. Less would spend bandwidth on what nobody
/// hears, more would let words break. Each time takes as much as the sound itself, 40 kbit/s.
const FROM_PERMILLE: [u64; BEFORE_MAX] = [20, 80];
const BEFORE_MAX: usize = 2;
/// It goes on for so long after the last such loss: losses come in clusters.
const HOLD: Duration = Duration::from_secs(10);

/// What RFC 2198 section 3 has 14 and 10 bits for.
const OFFSET_MAX: u32 = (1 << 14) - 1;
const BLOCK_BYTES_MAX: usize = (1 << 10) - 1;
const HEADER_BYTES: usize = 4;
/// The header of a packet's own sound.
const OWN_HEADER_BYTES: usize = 1;
/// Another block follows.
const FOLLOWED: u8 = 1 << 7;

/// How much of a receiver's sound is sent again.
#[derive(Debug, Default)]
pub(super) struct Redundancy {
    until: [Option<Instant>; BEFORE_MAX],
}

impl Redundancy {
    pub(super) fn on_loss(&mut self, now: Instant, loss_permille: u64) {
        for (until, from) in self.until.iter_mut().zip(FROM_PERMILLE) {
            if loss_permille >= from {
                *until = Some(now + HOLD);
            } else if until.is_some_and(|until| until <= now) {
                *until = None;
            }
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.packets_before() > 0
    }

    /// Of how many packets before it each brings the sound.
    pub(super) fn packets_before(&self) -> usize {
        self.until.iter().flatten().count()
    }
}

/// What a slot has sent last, the newest first.
#[derive(Debug, Default)]
pub(super) struct Sounds([Option<Sound>; BEFORE_MAX]);

/// The sound of a packet.
#[derive(Debug, Clone)]
struct Sound {
    seq: u64,
    timestamp: u32,
    pt: Pt,
    packet: Arc<Packet>,
    /// Where the sound starts in the packet's payload.
    from: usize,
}

/// What a packet brings beside its own payload.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) red: Pt,
    own: Own,
    /// The newest first.
    blocks: [Option<Block>; BEFORE_MAX],
}

/// The payload that a packet has come with.
#[derive(Debug, Clone, Copy)]
enum Own {
    Plain(Pt),
    /// RED, of which the first bytes are the headers of so many blocks before.
    Red(usize),
}

#[derive(Debug)]
struct Block {
    header: [u8; HEADER_BYTES],
    sound: Sound,
}

impl Sounds {
    /// Takes note of a packet; gives what it can bring of so many before it. That is nothing where the receiver takes no
    /// RED, the publisher's own holds as much, or they do not follow each other.
    pub(super) fn repeat(&mut self, outgoing: &Outgoing, most: usize) -> Option<Repeated> {
        let Outgoing {
            payload_types,
            packet,
            rewritten,
            ..
        } = outgoing;
        // Receivers take RED apart after they have decrypted what came.
        let red = payload_types.red.filter(|_| !packet.encrypted)?;
        let (pt, from) = payload_types.choose(packet);
        let payload = packet.payload.get(from..)?;
        let own = if pt == red {
            Own::Red(blocks_before(payload))
        } else {
            Own::Plain(pt)
        };
        let sound = Sound {
            seq: rewritten.seq,
            timestamp: rewritten.timestamp,
            pt: payload_types.plain,
            packet: packet.clone(),
            from: packet.red.map_or(0, |red| red.primary_at),
        };
        let room = RTP_PAYLOAD_BYTES_MAX.checked_sub(own.header_bytes() + payload.len())?;
        let blocks = self.before(&sound, own.blocks()..most, room);
        let [newest, before] = &mut self.0;
        *before = newest.replace(sound);
        let repeats = blocks.iter().any(Option::is_some);
        repeats.then_some(Repeated { red, own, blocks })
    }

    /// The sounds before this one at these places, as far as nothing is missing between them and there is room.
    fn before(
        &self,
        own: &Sound,
        places: Range<usize>,
        mut room: usize,
    ) -> [Option<Block>; BEFORE_MAX] {
        let mut blocks = [const { None }; BEFORE_MAX];
        let mut next_seq = own.seq;
        for (at, (block, sound)) in blocks.iter_mut().zip(&self.0).enumerate() {
            let Some(sound) = sound.as_ref().filter(|sound| sound.seq + 1 == next_seq) else {
                break;
            };
            next_seq = sound.seq;
            if !places.contains(&at) {
                continue;
            }
            *block = sound
                .block(own.timestamp)
                .filter(|block| block.len() <= room);
            let Some(block) = block else {
                break;
            };
            room -= block.len();
        }
        blocks
    }
}

/// How many blocks a payload of RED holds before the primary one.
fn blocks_before(payload: &[u8]) -> usize {
    let headers = payload.chunks(HEADER_BYTES);
    headers
        .take_while(|header| header.first().is_some_and(|first| first & FOLLOWED != 0))
        .count()
}

impl Own {
    fn blocks(self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Red(blocks) => blocks,
        }
    }

    /// What the payload takes more in RED of ours.
    fn header_bytes(self) -> usize {
        match self {
            Self::Plain(_) => OWN_HEADER_BYTES,
            Self::Red(_) => 0,
        }
    }
}

impl Sound {
    /// As it is said again in a packet of this time.
    fn block(&self, timestamp: u32) -> Option<Block> {
        let offset = timestamp.wrapping_sub(self.timestamp);
        let length = self.bytes().len();
        if !(1..=OFFSET_MAX).contains(&offset) || length > BLOCK_BYTES_MAX {
            return None;
        }
        let places = (offset << 10) | u32::try_from(length).ok()?;
        let [_, high, middle, low] = places.to_be_bytes();
        Some(Block {
            header: [FOLLOWED | (*self.pt & 0x7f), high, middle, low],
            sound: self.clone(),
        })
    }

    fn bytes(&self) -> &[u8] {
        self.packet.payload.get(self.from..).unwrap_or_default()
    }
}

impl Block {
    fn len(&self) -> usize {
        HEADER_BYTES + self.sound.bytes().len()
    }
}

impl Repeated {
    /// By how much the payload is longer.
    pub(super) fn len(&self) -> usize {
        self.own.header_bytes() + self.blocks().map(Block::len).sum::<usize>()
    }

    /// Appends what stands before the packet's own payload, or within it; gives what is left of that.
    pub(super) fn write<'a>(&self, out: &mut Vec<u8>, payload: &'a [u8]) -> Option<&'a [u8]> {
        for block in self.blocks() {
            out.extend_from_slice(&block.header);
        }
        let left = match self.own {
            Own::Plain(pt) => {
                out.push(*pt & 0x7f);
                payload
            }
            Own::Red(blocks) => {
                let header_bytes = blocks * HEADER_BYTES + OWN_HEADER_BYTES;
                let (headers, left) = payload.split_at_checked(header_bytes)?;
                out.extend_from_slice(headers);
                left
            }
        };
        for block in self.blocks() {
            out.extend_from_slice(block.sound.bytes());
        }
        Some(left)
    }

    /// In the order of time.
    fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().rev().flatten()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use str0m::format::{Codec, CodecSpec, FormatParams};
    use str0m::media::Frequency;
    use str0m::rtp::{ExtensionValues, RedDecoder};

    use super::*;
    use crate::egress::PayloadTypes;
    use crate::layering::Frame;
    use crate::publish::Red;
    use crate::rewrite::Rewritten;

    const PLAIN: u8 = 111;
    const RED: u8 = 63;

    pub(in crate::egress) fn outgoing(seq: u64, payload: &[u8], red: Option<Red>) -> Outgoing {
        let arrived = Instant::now();
        let packet = Packet {
            layer: 0,
            stream: 0,
            seq,
            timestamp: seq * 960,
            marker: false,
            codec: Arc::new(CodecSpec {
                codec: Codec::Opus,
                clock_rate: Frequency::FORTY_EIGHT_KHZ,
                channels: Some(2),
                format: FormatParams::default(),
            }),
            red,
            encrypted: false,
            starts_keyframe: false,
            counters: None,
            frame: Frame::PLAIN,
            descriptor: None,
            arrived,
            captured: None,
            repaired_within: Duration::ZERO,
            extensions: ExtensionValues::default(),
            payload: Arc::from(payload),
        };
        Outgoing {
            slot: 0,
            payload_types: PayloadTypes {
                plain: PLAIN.into(),
                red: Some(RED.into()),
                rtx: None,
            },
            rewritten: Rewritten {
                seq,
                timestamp: u32::MAX.wrapping_add(u32::try_from(seq * 960).unwrap()),
                clock: 0,
                marker: false,
                picture_id: None,
                tl0_pic_idx: None,
                frame_number: 0,
                active_targets: None,
                empty: false,
            },
            packet: Arc::new(packet),
            resend: false,
            kept: false,
            opening: false,
            large: false,
            keyframe: false,
        }
    }

    /// What is in a packet: payload type, age and bytes of each sound.
    fn sounds_of(repeated: &Repeated, own: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        let mut payload = Vec::new();
        let left = repeated.write(&mut payload, own).unwrap();
        payload.extend_from_slice(left);
        assert_eq!(payload.len(), repeated.len() + own.len());
        assert_eq!(*repeated.red, RED);
        let blocks = RedDecoder::decode(&payload).unwrap();
        let told = blocks
            .iter()
            .map(|block| (block.pt, block.timestamp_offset, block.payload.to_vec()));
        told.collect()
    }

    /// The sound of the packet with this number, so long after it.
    fn sound(seq: u8, packets_later: u32) -> (u8, u32, Vec<u8>) {
        (PLAIN, 960 * packets_later, vec![seq; 60])
    }

    /// A packet of a publisher that repeats sound by itself.
    fn in_red(seq: u8) -> Outgoing {
        let before = [FOLLOWED | PLAIN, 0x0f, 0x00, 60, PLAIN];
        let payload = [&before[..], &[seq - 1; 60], &[seq; 60]].concat();
        let red = Red {
            inner: PLAIN.into(),
            primary_at: payload.len() - 60,
        };
        outgoing(seq.into(), &payload, Some(red))
    }

    #[test]
    fn a_packet_brings_the_sound_of_those_before_it() {
        let mut sounds = Sounds::default();
        let mut sent = |seq: u8, most| {
            let own = [seq; 60];
            let repeated = sounds.repeat(&outgoing(seq.into(), &own, None), most)?;
            Some(sounds_of(&repeated, &own))
        };
        assert_eq!(sent(1, 2), None);
        assert_eq!(sent(2, 2), Some(vec![sound(1, 1), sound(2, 0)]));
        let three = vec![sound(1, 2), sound(2, 1), sound(3, 0)];
        assert_eq!(sent(3, 2), Some(three));
        assert_eq!(sent(4, 1), Some(vec![sound(3, 1), sound(4, 0)]));
        assert_eq!(sent(6, 2), None);
        assert_eq!(sent(7, 2), Some(vec![sound(6, 1), sound(7, 0)]));
    }

    #[test]
    fn red_of_the_publishers_own_gets_what_it_lacks() {
        let mut sounds = Sounds::default();
        let mut sent = |seq, most| {
            let outgoing = in_red(seq);
            let repeated = sounds.repeat(&outgoing, most)?;
            Some(sounds_of(&repeated, &outgoing.packet.payload))
        };
        assert_eq!(sent(2, 2), None);
        assert_eq!(sent(3, 2), None, "it holds what came before already");
        let three = vec![sound(2, 2), sound(3, 1), sound(4, 0)];
        assert_eq!(sent(4, 2), Some(three));
        assert_eq!(sent(5, 1), None);
        assert_eq!(sent(7, 2), None);
    }

    #[test]
    fn nothing_is_repeated_after_a_hole_or_a_pause() {
        let mut sounds = Sounds::default();
        let mut repeat = |outgoing: &Outgoing| sounds.repeat(outgoing, BEFORE_MAX).is_some();
        assert!(!repeat(&outgoing(1, &[1; 80], None)));
        assert!(!repeat(&outgoing(3, &[3; 80], None)));
        let mut late = outgoing(4, &[4; 80], None);
        late.rewritten.timestamp = late.rewritten.timestamp.wrapping_add(OFFSET_MAX);
        assert!(!repeat(&late));
        assert!(!repeat(&outgoing(5, &[5; 1_024], None)));
        assert!(!repeat(&outgoing(6, &[6; 80], None)));
    }

    #[test]
    fn no_more_is_repeated_than_a_packet_holds() {
        let mut sounds = Sounds::default();
        for seq in 1..=4 {
            let own = [9; 500];
            if let Some(repeated) = sounds.repeat(&outgoing(seq, &own, None), BEFORE_MAX) {
                assert_eq!(sounds_of(&repeated, &own).len(), 2);
                assert!(repeated.len() + own.len() <= RTP_PAYLOAD_BYTES_MAX);
            }
        }
        let long = [9; 900];
        sounds.repeat(&outgoing(5, &long, None), BEFORE_MAX);
        let next = sounds.repeat(&outgoing(6, &long, None), BEFORE_MAX);
        assert!(next.is_none());
    }

    #[test]
    fn sound_is_repeated_while_packets_get_lost_and_some_seconds_longer() {
        let start = Instant::now();
        let mut redundancy = Redundancy::default();
        let mut heard = |after, loss_permille| {
            redundancy.on_loss(start + after, loss_permille);
            redundancy.packets_before()
        };
        assert_eq!(heard(Duration::ZERO, 10), 0);
        assert_eq!(heard(Duration::ZERO, 50), 1);
        assert_eq!(heard(Duration::ZERO, 100), 2);
        assert_eq!(heard(HOLD / 2, 50), 2);
        assert_eq!(heard(HOLD, 0), 1);
        assert_eq!(heard(HOLD * 3 / 2, 0), 0);
    }
}
