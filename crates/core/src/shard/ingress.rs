//! Datagrams on their way to str0m: whose they are, and what has to be mended before it takes them.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::rtp::Ssrc;
use str0m::{Input, RtcError};

use super::{Datagram, QUIET_AFTER_HANDSHAKE, Shard};
use crate::limits::{DATAGRAM_BYTES_MAX, UNMARKED_STREAMS_MAX};
use crate::publish::PeerKey;
use crate::{CloseReason, demux, egress, stun};

impl Shard {
    /// Takes in one datagram. Media waits for [`Shard::flush`].
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.contents.len() as u64;
        let kind = demux::classify(datagram.contents);
        let key = match kind {
            demux::Datagram::StunRequest(ufrag) => self.by_ufrag.get(&ufrag.number),
            demux::Datagram::Stun | demux::Datagram::Media => self.by_address.get(&datagram.source),
            demux::Datagram::Unknown => None,
        };
        let Some(&key) = key.filter(|_| datagram.contents.len() <= DATAGRAM_BYTES_MAX) else {
            self.stats.datagrams_dropped_unknown += 1;
            return;
        };
        if self.peers.get(key).is_some_and(|peer| !peer.connected) {
            self.stay_lively(now, QUIET_AFTER_HANDSHAKE);
        }
        if kind == demux::Datagram::Media {
            self.follow_client(now, key, datagram);
        }
        if kind == demux::Datagram::Media
            && egress::is_rtcp(datagram.contents)
            && self.on_rtcp(now, key, datagram.contents)
        {
            return;
        }
        let expected = match kind {
            demux::Datagram::Media => self.expect_unmarked(now, key, datagram.contents),
            demux::Datagram::StunRequest(_) | demux::Datagram::Stun | demux::Datagram::Unknown => {
                None
            }
        };
        let repaired = self.repaired(key, kind, datagram);
        let received = Receive::new(
            Protocol::Udp,
            datagram.source,
            datagram.destination,
            repaired.as_deref().unwrap_or(datagram.contents),
        );
        let Ok(received) = received else {
            self.stats.datagrams_dropped_unknown += 1;
            return;
        };
        let answers_from = self.outbox.position();
        let mut refused = None;
        self.drive(now, key, |rtc| {
            // One bad datagram is no reason to end a peer: whoever can send to us could do it.
            refused = rtc.handle_input(Input::Receive(now, received)).err();
        });
        if let Some(error) = refused {
            self.on_refused(now, key, &error);
        }
        if let Some(ssrc) = expected {
            self.forget_unproven(key, ssrc);
        }
        if matches!(kind, demux::Datagram::StunRequest(_))
            && self.outbox.answered_stun(answers_from, datagram.source)
        {
            self.learn_address(key, datagram.source);
            self.learned = Some(datagram.source);
            self.on_request(key, datagram);
            self.follow_route(now, key, datagram.source);
        }
        if kind != demux::Datagram::Media {
            self.follow_client(now, key, datagram);
        }
    }

    /// A datagram was of no use. In a handshake that is the end: DTLS says so only of what it cannot go on after.
    fn on_refused(&mut self, now: Instant, key: PeerKey, error: &RtcError) {
        tracing::trace!(%error, "a datagram was refused");
        let peer = self.peers.get(key).filter(|peer| !peer.connected);
        if let (Some(peer), RtcError::Dtls(error)) = (peer, error) {
            tracing::info!(peer = peer.id.0, %error, "a client's DTLS handshake has failed: its certificate must be one of ECDSA");
            self.remove_peer(now, key, CloseReason::HandshakeFailed);
        }
    }

    /// The remote address of a peer here, where the datagram before has proven it: by a STUN request whose integrity
    /// held. Until then nobody knows to whom an address belongs, whatever a request says.
    pub fn take_learned(&mut self) -> Option<SocketAddr> {
        self.learned.take()
    }

    /// A STUN request of this peer came from there and was answered: its integrity held.
    fn learn_address(&mut self, key: PeerKey, address: SocketAddr) {
        /// A client has a few interfaces, and a few NAT mappings for each.
        const ADDRESSES_MAX: usize = 32;
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        if peer.addresses.contains(&address) {
            return;
        }
        if peer.addresses.len() == ADDRESSES_MAX {
            let oldest = peer.addresses.remove(0);
            self.by_address.remove(&oldest);
        }
        peer.addresses.push(address);
        if let Some(before) = self
            .by_address
            .insert(address, key)
            .filter(|before| *before != key)
            && let Some(other) = self.peers.get_mut(before)
        {
            other.addresses.retain(|known| *known != address);
        }
    }

    /// A STUN message in which a client has left out what str0m wants, with it: FFmpeg 8.0 makes checks without PRIORITY
    /// (RFC 8445 section 7.1.1), and FFmpeg up to 9 answers ours without the mapped address (RFC 8489 section 6.3.1.1),
    /// which can be no other than the one that the answer has come to.
    fn repaired(
        &mut self,
        key: PeerKey,
        kind: demux::Datagram,
        datagram: Datagram<'_>,
    ) -> Option<Vec<u8>> {
        let Datagram {
            destination,
            contents,
            ..
        } = datagram;
        match kind {
            demux::Datagram::StunRequest(_) if stun::lacks_priority(contents) => {
                let rtc = &mut self.peers.get_mut(key)?.rtc;
                let password = rtc.direct_api().local_ice_credentials().pass;
                stun::with_priority(contents, password.as_bytes())
            }
            demux::Datagram::Stun if stun::lacks_mapped_address(contents) => {
                let password = &self.peers.get(key)?.remote_password;
                stun::with_mapped_address(contents, password.as_bytes(), destination)
            }
            demux::Datagram::StunRequest(_)
            | demux::Datagram::Stun
            | demux::Datagram::Media
            | demux::Datagram::Unknown => None,
        }
    }

    /// Media of a client that offers neither MIDs in its packets nor SSRCs belongs to the m-line with its payload type
    /// (RFC 8843 section 9.2). An SSRC that is new.
    fn expect_unmarked(&mut self, now: Instant, key: PeerKey, rtp: &[u8]) -> Option<Ssrc> {
        let peer = self
            .peers
            .get_mut(key)
            .filter(|peer| !peer.unmarked.is_empty() && is_rtp(rtp))?;
        let (second, &ssrc) = (rtp.get(1)?, rtp.get(8..)?.first_chunk()?);
        let (payload_type, ssrc) = (second & 0x7f, Ssrc::from(u32::from_be_bytes(ssrc)));
        let mid = peer
            .unmarked
            .iter()
            .find(|(pt, _)| **pt == payload_type)
            .map(|(_, mid)| *mid);
        let known = peer.expected.contains(&ssrc) || peer.streams.contains_key(&ssrc);
        let mid = mid.filter(|_| !known && peer.expected.len() < UNMARKED_STREAMS_MAX)?;
        peer.expected.push(ssrc);
        self.drive(now, key, |rtc| {
            let mut api = rtc.direct_api();
            if api.stream_rx(&ssrc).is_none() {
                api.expect_stream_rx(ssrc, None, mid, None);
            }
        });
        Some(ssrc)
    }

    /// The packet that brought this SSRC has been looked at. Where it was none of the client's, it leaves no trace: anybody
    /// can write a header, and there is room for a few streams.
    fn forget_unproven(&mut self, key: PeerKey, ssrc: Ssrc) {
        if let Some(peer) = self.peers.get_mut(key)
            && !peer.streams.contains_key(&ssrc)
        {
            peer.forget_expected(ssrc);
        }
    }
}

/// RTP and not DTLS or RTCP (RFC 7983, RFC 5761).
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(128..=191)) && !egress::is_rtcp(datagram)
}
