//! The one interface through which RTP leaves. Here it is made of str0m's own send path; nothing
//! outside this module knows how a packet is written.

use std::sync::Arc;
use std::time::Instant;

use str0m::Rtc;
use str0m::media::{Mid, Pt};
use str0m::rtp::{RedDecoder, RtpWrite, Vp8Descriptor};

use crate::publish::Packet;
use crate::rewrite::Rewritten;

/// Queues one packet on the peer's stream for this m-line. It leaves when the peer is driven next.
/// False where the m-line has no stream.
pub(crate) fn write(
    rtc: &mut Rtc,
    mid: Mid,
    payload_types: PayloadTypes,
    packet: &Packet,
    rewritten: &Rewritten,
) -> bool {
    let Some((pt, payload)) = payload(payload_types, packet) else {
        return false;
    };
    let mut api = rtc.direct_api();
    let Some(stream) = api.stream_tx_by_mid(mid, None) else {
        return false;
    };
    let mut extensions = packet.extensions.clone();
    // Every packet names its m-line: browsers' demultiplexers latch on to the wrong one otherwise.
    extensions.mid = Some(mid);
    let video = !packet.codec.codec.is_audio();
    let mut rtp = RtpWrite::new(
        pt,
        rewritten.seq.into(),
        rewritten.timestamp,
        wallclock(packet),
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

/// The receiver's payload types for a packet's codec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PayloadTypes {
    pub(crate) plain: Pt,
    pub(crate) red: Option<Pt>,
}

/// The payload as the receiver can take it: RED is unwrapped for those who did not negotiate it so.
fn payload(payload_types: PayloadTypes, packet: &Packet) -> Option<(Pt, Arc<[u8]>)> {
    match (packet.red, payload_types.red) {
        (None, _) => Some((payload_types.plain, packet.payload.clone())),
        // The blocks inside name their payload type as the publisher numbers it.
        (Some(inner), Some(red)) if inner == payload_types.plain => {
            Some((red, packet.payload.clone()))
        }
        (Some(_), _) => {
            let blocks = RedDecoder::decode(&packet.payload).ok()?;
            Some((payload_types.plain, Arc::from(blocks.last()?.payload)))
        }
    }
}

/// Sender reports map this to the RTP timestamp: the capture time, so that lips stay in sync.
fn wallclock(packet: &Packet) -> Instant {
    packet.captured.unwrap_or(packet.arrived)
}

fn vp8_patch(packet: &Packet, rewritten: &Rewritten) -> Option<str0m::rtp::Vp8Patch> {
    packet.vp8?;
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
