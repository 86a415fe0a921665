//! Packets that have been sent again and come when the media engine takes them no more.

use std::time::Instant;

use str0m::rtp::{RawPacket, RtpHeader};

use super::Shard;
use crate::incoming::Incoming;
use crate::publish::PeerKey;

/// str0m drops what is older than so many packets (`MAX_MISORDER`): of a keyframe that is sent in one burst what a round trip brings
/// again, and of 8 Mbit/s what comes after 110 ms.
const ENGINE_WINDOW: u64 = 100;

impl Shard {
    pub(super) fn on_raw_packet(&mut self, now: Instant, key: PeerKey, packet: RawPacket) {
        match packet {
            RawPacket::RtpRx(header, bytes) => {
                if let Some(late) = self.late(now, key, header, &bytes) {
                    self.ingest(now, key, late);
                }
            }
            RawPacket::RtpTx(..) | RawPacket::RtcpRx(_) | RawPacket::RtcpTx(_) => {}
        }
    }

    /// What an RTX packet repeats, where that is missing and too old for the engine.
    fn late(
        &mut self,
        now: Instant,
        key: PeerKey,
        header: RtpHeader,
        bytes: &[u8],
    ) -> Option<Incoming> {
        let peer = self.peers.get_mut(key)?;
        if peer.streams.contains_key(&header.ssrc) {
            return None;
        }
        let params = peer.rtc.codec_config().params().iter();
        let mut repaired = params.filter(|params| params.resend() == Some(header.payload_type));
        let payload_type = repaired.next()?.pt();
        let mut engine = peer.rtc.direct_api();
        let (ssrc, stream) = peer.streams.iter().find(|(ssrc, _)| {
            let rtx = engine.stream_rx(ssrc).and_then(|stream| stream.rtx());
            rtx == Some(header.ssrc)
        })?;
        let layer = self.tracks.get(stream.track)?.layers.get(stream.layer)?;
        let nacks = layer.nacks.as_ref()?;
        let timestamp = layer.newest_timestamp();
        let newest = (
            nacks.newest()?,
            timestamp.unwrap_or_else(|| header.timestamp.into()),
        );
        let late = Incoming::repeated(now, header, bytes, (*ssrc, payload_type), newest)?;
        let is_old = late.seq + ENGINE_WINDOW < newest.0;
        let is_missing = nacks.is_missing(late.seq);
        (is_old && is_missing).then_some(late)
    }
}
