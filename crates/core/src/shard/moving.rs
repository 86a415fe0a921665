//! Clients whose address changes in the middle of a call. A NAT that forgets a mapping tells nobody: the client goes
//! on as before, and is seen to come from somewhere else.
//!
//! str0m goes by priorities: it sends to the address before until its checks there have failed for half a minute. So media
//! goes where the client is heard from, as soon as ICE has proven that it is there.

use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive};
use str0m::{Input, Rtc};

use super::{Datagram, Shard};
use crate::egress::Route;
use crate::peer::Moved;
use crate::publish::PeerKey;
use crate::stun;

/// Who has not been heard for that long from where media goes, and is heard from elsewhere, has moved. Who receives video
/// reports at least ten times a second. Lower takes a gap for a move, and then another for a move back; higher is a
/// picture that stands for longer.
const SILENT_AFTER: Duration = Duration::from_millis(200);

/// Any RTCP packet: a receiver report of nothing.
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 0];

impl Shard {
    /// A request of the peer was answered: its integrity held.
    pub(super) fn on_request(&mut self, key: PeerKey, datagram: Datagram<'_>) {
        if let Some(peer) = self.peers.get_mut(key)
            && stun::nominates(datagram.contents)
        {
            peer.selected = Some(datagram.source);
        }
    }

    /// The peer, or somebody who writes its address on datagrams, is heard.
    pub(super) fn follow_client(&mut self, now: Instant, key: PeerKey, datagram: Datagram<'_>) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let Some(route) = peer.lane.route() else {
            return;
        };
        if route.destination == datagram.source {
            peer.heard_at = now;
            return;
        }
        let is_silent = now.saturating_duration_since(peer.heard_at) >= SILENT_AFTER;
        if !is_silent
            || peer.selected != Some(datagram.source)
            || !is_proven(&peer.rtc, now, datagram)
        {
            return;
        }
        let from = peer.moved.map_or(route.destination, |moved| moved.from);
        let to = Route {
            source: datagram.destination,
            destination: datagram.source,
        };
        peer.moved = (to.destination != from).then_some(Moved { from, to });
        peer.heard_at = now;
        peer.lane.set_route(to);
        tracing::debug!(peer = peer.id.0, "the address of a peer has changed");
    }
}

/// Whether checks of the pair by which a datagram has come were answered. str0m tells by whether it would take media there.
fn is_proven(rtc: &Rtc, now: Instant, datagram: Datagram<'_>) -> bool {
    let (source, destination) = (datagram.source, datagram.destination);
    Receive::new(Protocol::Udp, source, destination, &REPORT)
        .is_ok_and(|media| rtc.accepts(&Input::Receive(now, media)))
}
