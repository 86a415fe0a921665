//! str0m's own send path: packets are handed to its streams and leave when the peer is driven.

use std::sync::Arc;
use std::time::Duration;

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{Mid, Pt};
use str0m::rtp::{RtpWrite, Vp8Descriptor};

use super::PayloadTypes;
use crate::dependency::Raw;
use crate::publish::Packet;
use crate::rewrite::Rewritten;

/// str0m keeps this many packets of each slot for NACK: a second of a 2 Mbit/s stream, at 1.5 KiB each.
const RTX_CACHE_PACKETS: usize = 256;
const RTX_CACHE_AGE: Duration = Duration::from_secs(3);

/// Losses on a bad link need more than str0m's 15 % of resent packets.
pub(crate) fn prepare(rtc: &mut Rtc, mid: Mid) {
    if let Some(stream) = rtc.direct_api().stream_tx_by_mid(mid, None) {
        stream.set_rtx_cache(RTX_CACHE_PACKETS, RTX_CACHE_AGE, None);
    }
}

/// Queues one packet on the peer's stream for this m-line. It leaves when the peer is driven next.
/// False where the m-line has no stream.
pub(crate) fn write(
    rtc: &mut Rtc,
    mid: Mid,
    payload_types: PayloadTypes,
    packet: &Packet,
    rewritten: &Rewritten,
) -> bool {
    let Some((pt, payload)) = payload(payload_types, packet, rewritten.empty) else {
        return false;
    };
    let mut api = rtc.direct_api();
    let Some(stream) = api.stream_tx_by_mid(mid, None) else {
        return false;
    };
    let mut extensions = packet.extensions.clone();
    // Every packet names its m-line: browsers' demultiplexers latch on to the wrong one otherwise.
    extensions.mid = Some(mid);
    if let Some(descriptor) = &packet.descriptor {
        let mut raw = Vec::new();
        descriptor.write(&mut raw, rewritten.frame_number, rewritten.active_targets);
        extensions.user_values.set(Raw(raw.into()));
    }
    let video = !packet.codec.codec.is_audio();
    let mut rtp = RtpWrite::new(
        pt,
        rewritten.seq.into(),
        rewritten.timestamp,
        packet.shown_at(),
        payload,
    )
    .marker(rewritten.marker)
    .ext_vals(extensions)
    .nackable(video);
    if let Some(patch) = vp8_patch(packet, rewritten) {
        rtp = rtp.vp8_patch(patch);
    }
    stream.write_rtp(rtp);
    true
}

/// The payload as the receiver can take it.
fn payload(payload_types: PayloadTypes, packet: &Packet, empty: bool) -> Option<(Pt, Arc<[u8]>)> {
    let (pt, from) = payload_types.choose(packet);
    let from = if empty { packet.payload.len() } else { from };
    if from == 0 {
        return Some((pt, packet.payload.clone()));
    }
    Some((pt, Arc::from(packet.payload.get(from..)?)))
}

fn vp8_patch(packet: &Packet, rewritten: &Rewritten) -> Option<str0m::rtp::Vp8Patch> {
    if packet.codec.codec != Codec::Vp8 || packet.counters.is_none() || rewritten.empty {
        return None;
    }
    let descriptor = Vp8Descriptor::parse(&packet.payload).ok()?;
    let mut patch = descriptor.patch();
    if let Some(id) = rewritten.picture_id {
        patch = patch.picture_id(id);
    }
    if let Some(index) = rewritten.tl0_pic_idx {
        patch = patch.tl0_pic_idx(index);
    }
    patch.build().ok()
}
