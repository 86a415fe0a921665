//! One slot's outgoing streams: the media, and RTX for what is sent again (RFC 4588).

use std::time::Instant;

use str0m::media::Mid;

use super::header::{Fields, Template};
use super::pacer::Outgoing;
use super::patience::Told;
use super::redundancy::Sounds;
use super::resent::Resent;
use super::unheard::{self, Unheard};
use crate::publish::Packet;
use crate::rewrite::Rewritten;

/// One slot's outgoing streams.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) mid: Mid,
    pub(super) ssrc: u32,
    pub(super) rtx: Option<u32>,
    /// Extended sequence number of the next RTX packet.
    pub(super) rtx_seq: u64,
    pub(super) template: Template,
    pub(super) cname: Box<str>,
    pub(super) report: Report,
    /// The newest ones, while they are sent again.
    pub(super) sounds: Sounds,
    pub(super) resent: Resent,
    /// Some packets before this number have been given up; none of them is sent again.
    pub(super) given_up_before: u64,
    pub(super) first_picture: Option<FirstPicture>,
    /// The newest keyframe, and the newest of which something has left.
    pub(super) newest_keyframe: Option<Keyframe>,
    pub(super) begun_keyframe: Option<Keyframe>,
    pub(super) unheard: Unheard,
    pub(super) told: Told,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct FirstPicture {
    timestamp: u32,
    /// What has come of it.
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Keyframe {
    layer: usize,
    source: u32,
    timestamp: u32,
    /// The number of its first packet.
    seq: u64,
}

impl Keyframe {
    fn of(packet: &Packet, rewritten: &Rewritten) -> Self {
        Self {
            layer: packet.layer,
            source: packet.stream,
            timestamp: rewritten.timestamp,
            seq: rewritten.seq,
        }
    }

    pub(super) fn holds(&self, packet: &Packet, rewritten: &Rewritten) -> bool {
        rewritten.timestamp == self.timestamp && self.is_of_layer(packet)
    }

    pub(super) fn is_of_layer(&self, packet: &Packet) -> bool {
        (packet.layer, packet.stream) == (self.layer, self.source)
    }
}

/// What sender reports of a stream need.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// How many packets had been sent when the receiver last told what has come.
    pub(super) told_of: u32,
    pub(super) srtcp_index: u32,
    pub(super) due: Option<Instant>,
}

impl Stream {
    /// How much has come of the first picture with this packet; `None` where it is part of another.
    pub(super) fn opens(&mut self, timestamp: u32, bytes: usize) -> Option<usize> {
        let first = self.first_picture.get_or_insert(FirstPicture {
            timestamp,
            bytes: 0,
        });
        (first.timestamp == timestamp).then(|| {
            first.bytes = first.bytes.saturating_add(bytes);
            first.bytes
        })
    }

    /// Whether the packet that is next in order is part of a keyframe.
    pub(super) fn is_of_keyframe(&mut self, packet: &Packet, rewritten: &Rewritten) -> bool {
        if packet.starts_keyframe {
            self.newest_keyframe = Some(Keyframe::of(packet, rewritten));
        }
        self.newest_keyframe
            .is_some_and(|newest| newest.holds(packet, rewritten))
    }

    /// Notes under which number of the transport a packet leaves, where it could be sent again or has been; whether reports are to
    /// tell what becomes of it.
    pub(super) fn note_sent(
        &mut self,
        now: Instant,
        transport_seq: u16,
        outgoing: &Outgoing,
        content: Content,
    ) -> bool {
        let seq = wire_seq(outgoing.rewritten.seq);
        if content == Content::Media && self.rtx.is_some() {
            let sent = unheard::Sent { transport_seq, seq };
            self.unheard.note(now, sent)
        } else if content == Content::Copy && outgoing.resend {
            self.resent.note_left(seq, transport_seq);
            true
        } else {
            false
        }
    }

    /// Notes which keyframe leaves.
    pub(super) fn note_begun(&mut self, outgoing: &Outgoing) {
        if outgoing.packet.starts_keyframe {
            self.begun_keyframe = Some(Keyframe::of(&outgoing.packet, &outgoing.rewritten));
        }
    }

    /// Whether a packet that has left is not worth sending again.
    pub(super) fn has_given_up(&self, packet: &Packet, rewritten: &Rewritten) -> bool {
        let begun = self.begun_keyframe;
        rewritten.seq < self.given_up_before
            && begun.is_none_or(|begun| !begun.holds(packet, rewritten))
    }

    /// Whether a keyframe has begun to leave that comes after this packet: receivers go on with that, whatever is missing before.
    pub(super) fn is_overtaken(&self, seq: u64) -> bool {
        self.begun_keyframe.is_some_and(|begun| seq < begun.seq)
    }

    /// Header, index and payload of the next packet.
    pub(super) fn next<'a>(
        &mut self,
        outgoing: &'a Outgoing,
        content: Content,
    ) -> Option<(Fields, u64, &'a [u8])> {
        let Outgoing {
            payload_types,
            packet,
            rewritten,
            ..
        } = outgoing;
        let (pt, from) = payload_types.choose(packet);
        let from = if rewritten.empty {
            packet.payload.len()
        } else {
            from
        };
        let payload = packet.payload.get(from..)?;
        let (pt, ssrc, index, payload) = match content {
            Content::Media => (pt, self.ssrc, rewritten.seq, payload),
            Content::Copy | Content::Padding(_) => {
                self.rtx_seq += 1;
                let payload = match content {
                    Content::Padding(bytes) => ZEROS.get(..usize::from(bytes))?,
                    Content::Copy | Content::Media => payload,
                };
                (payload_types.rtx?, self.rtx?, self.rtx_seq, payload)
            }
        };
        let padding = matches!(content, Content::Padding(_));
        let fields = Fields {
            payload_type: *pt,
            marker: rewritten.marker && !padding,
            padding,
            seq: wire_seq(index),
            timestamp: rewritten.timestamp,
            ssrc,
        };
        Some((fields, index, payload))
    }
}

/// What a packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Media,
    /// The same again, by RTX (RFC 4588).
    Copy,
    /// That many bytes that mean nothing, the last of which counts them (RFC 3550 section 5.1).
    Padding(u8),
}

static ZEROS: [u8; u8::MAX as usize] = [0; u8::MAX as usize];

pub(super) fn write_payload(
    bytes: &mut Vec<u8>,
    outgoing: &Outgoing,
    content: Content,
    payload: &[u8],
) -> Option<()> {
    let Rewritten {
        seq,
        picture_id,
        tl0_pic_idx,
        ..
    } = outgoing.rewritten;
    if content == Content::Copy {
        // RFC 4588 section 4: the original number stands before the payload.
        bytes.extend_from_slice(&wire_seq(seq).to_be_bytes());
    }
    let payload_at = bytes.len();
    bytes.extend_from_slice(payload);
    if let Content::Padding(count) = content {
        *bytes.last_mut()? = count;
    } else if let Some(counters) = outgoing.packet.counters.filter(|_| !payload.is_empty()) {
        counters.patch(bytes.get_mut(payload_at..)?, picture_id, tl0_pic_idx);
    }
    Some(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "numbers wrap at 16 bits on the wire"
)]
pub(super) fn wire_seq(extended: u64) -> u16 {
    extended as u16
}
