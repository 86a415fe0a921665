//! RED (RFC 2198) for a receiver that loses packets: each audio packet brings the sound of the one before it once more.
//!
//! Publishers that send RED themselves are passed on as they are; this is for the sound of those who do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::media::Pt;

use super::pacer::Outgoing;
use crate::limits::RTP_PAYLOAD_BYTES_MAX;
use crate::publish::Packet;

/// From this share of lost packets on, sound is sent twice. Concealment hides a single packet in fifty; less would
/// spend bandwidth on what nobody hears, more would let words break.
const LOSS_PERMILLE_MIN: u64 = 20;
/// It goes on for so long after the last such loss: losses come in clusters.
const HOLD: Duration = Duration::from_secs(10);

/// What RFC 2198 section 3 has 14 and 10 bits for.
const OFFSET_MAX: u32 = (1 << 14) - 1;
const BLOCK_BYTES_MAX: usize = (1 << 10) - 1;
const HEADER_BYTES: usize = 5;
/// Another block follows.
const FOLLOWED: u8 = 1 << 7;

/// Whether a receiver's sound is sent twice.
#[derive(Debug, Default)]
pub(super) struct Redundancy {
    until: Option<Instant>,
}

impl Redundancy {
    pub(super) fn on_loss(&mut self, now: Instant, loss_permille: u64) {
        if loss_permille >= LOSS_PERMILLE_MIN {
            self.until = Some(now + HOLD);
        } else if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }
}

/// The sound that a slot has sent last.
#[derive(Debug)]
pub(super) struct Sound {
    seq: u64,
    timestamp: u32,
    pt: Pt,
    packet: Arc<Packet>,
    /// Where the sound starts in the packet's payload.
    from: usize,
}

/// What stands before the sound of a packet: the header of both blocks, and the block before.
#[derive(Debug)]
pub(super) struct Repeated {
    pub(super) red: Pt,
    header: [u8; HEADER_BYTES],
    before: Sound,
}

impl Sound {
    /// Takes note of a packet; gives what it can bring of the one before it. That is nothing where the receiver takes no
    /// RED, the publisher's own is passed on, or the two do not follow each other.
    pub(super) fn repeat(noted: &mut Option<Self>, outgoing: &Outgoing) -> Option<Repeated> {
        let Outgoing {
            payload_types,
            packet,
            rewritten,
            ..
        } = outgoing;
        // Receivers take RED apart after they have decrypted what came.
        let red = payload_types.red.filter(|_| !packet.encrypted)?;
        let (pt, from) = payload_types.choose(packet);
        if pt == red {
            *noted = None;
            return None;
        }
        let sound = Self {
            seq: rewritten.seq,
            timestamp: rewritten.timestamp,
            pt,
            packet: packet.clone(),
            from,
        };
        let bytes = sound.bytes()?.len();
        let before = noted.replace(sound)?;
        let offset = rewritten.timestamp.wrapping_sub(before.timestamp);
        let length = before.bytes()?.len();
        let fits = (1..=OFFSET_MAX).contains(&offset)
            && length <= BLOCK_BYTES_MAX
            && HEADER_BYTES + length + bytes <= RTP_PAYLOAD_BYTES_MAX;
        if !fits || before.seq + 1 != rewritten.seq {
            return None;
        }
        let places = (offset << 10) | u32::try_from(length).ok()?;
        let [_, high, middle, low] = places.to_be_bytes();
        Some(Repeated {
            red,
            header: [
                FOLLOWED | (*before.pt & 0x7f),
                high,
                middle,
                low,
                *pt & 0x7f,
            ],
            before,
        })
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.packet.payload.get(self.from..)
    }
}

impl Repeated {
    pub(super) fn len(&self) -> usize {
        HEADER_BYTES + self.before.bytes().map_or(0, <[u8]>::len)
    }

    /// Appends what stands before the packet's own sound.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(&self.header);
        out.extend_from_slice(self.before.bytes()?);
        Some(())
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

    fn payload_of(repeated: &Repeated, own: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        repeated.write(&mut payload).unwrap();
        assert_eq!(payload.len(), repeated.len());
        payload.extend_from_slice(own);
        payload
    }

    #[test]
    fn a_packet_brings_the_sound_of_the_one_before_it() {
        let mut noted = None;
        assert!(Sound::repeat(&mut noted, &outgoing(1, &[1; 80], None)).is_none());
        let repeated = Sound::repeat(&mut noted, &outgoing(2, &[2; 60], None)).unwrap();
        assert_eq!(*repeated.red, RED);
        let payload = payload_of(&repeated, &[2; 60]);
        let blocks = RedDecoder::decode(&payload).unwrap();
        let told: Vec<_> = blocks
            .iter()
            .map(|block| (block.pt, block.timestamp_offset, block.payload.to_vec()))
            .collect();
        assert_eq!(told, [(PLAIN, 960, vec![1; 80]), (PLAIN, 0, vec![2; 60])]);
    }

    #[test]
    fn nothing_is_repeated_after_a_hole_a_pause_or_in_red_of_the_publishers_own() {
        let mut noted = None;
        Sound::repeat(&mut noted, &outgoing(1, &[1; 80], None));
        assert!(Sound::repeat(&mut noted, &outgoing(3, &[3; 80], None)).is_none());
        let mut late = outgoing(4, &[4; 80], None);
        late.rewritten.timestamp = late.rewritten.timestamp.wrapping_add(OFFSET_MAX);
        assert!(Sound::repeat(&mut noted, &late).is_none());
        Sound::repeat(&mut noted, &outgoing(5, &[5; 1_024], None));
        assert!(Sound::repeat(&mut noted, &outgoing(6, &[6; 80], None)).is_none());
        Sound::repeat(&mut noted, &outgoing(7, &[7; 900], None));
        assert!(Sound::repeat(&mut noted, &outgoing(8, &[8; 900], None)).is_none());
        let own = Red {
            inner: PLAIN.into(),
            primary_at: 1,
        };
        assert!(Sound::repeat(&mut noted, &outgoing(9, &[9; 80], Some(own))).is_none());
        assert!(noted.is_none(), "it holds what came before already");
    }

    #[test]
    fn sound_is_repeated_while_packets_get_lost_and_some_seconds_longer() {
        let start = Instant::now();
        let mut redundancy = Redundancy::default();
        redundancy.on_loss(start, 10);
        assert!(!redundancy.is_on());
        redundancy.on_loss(start, 50);
        redundancy.on_loss(start + HOLD / 2, 0);
        assert!(redundancy.is_on());
        redundancy.on_loss(start + HOLD, 0);
        assert!(!redundancy.is_on());
    }
}
