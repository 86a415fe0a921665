//! One participant's media leg. The only place that drives an `Rtc`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use str0m::change::SdpPendingOffer;
use str0m::channel::ChannelId;
use str0m::media::{Mid, Pt};
use str0m::rtp::Ssrc;
use str0m::{Input, Output, Rtc};

use crate::allocate::{Downlink, Lasting};
use crate::egress::{Lane, Route};
use crate::explain::Changes;
use crate::forward::Slot;
use crate::publish::{PeerKey, PublishedMid, PublisherClock, TrackKey};
use crate::shard::LastFlight;
use crate::trembling::Troughs;
use crate::{CloseReason, LayerChoice, MediaKind, Outbox, PeerId, Quality, RoomId, Slots, View};

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) room: RoomId,
    pub(crate) rtc: Rtc,
    /// Sends what its slots take.
    pub(crate) lane: Box<Lane>,
    pub(crate) subscribe: bool,
    pub(crate) slots: Vec<Slot>,
    pub(crate) published: Vec<PublishedMid>,
    /// Where packets of an SSRC belong, learned from their first packet.
    pub(crate) streams: HashMap<Ssrc, Stream>,
    /// Payload types that say to which m-line a packet belongs, where the packets themselves do not.
    pub(crate) unmarked: Vec<(Pt, Mid)>,
    /// SSRCs that have been told apart so.
    pub(crate) expected: Vec<Ssrc>,
    pub(crate) clock: PublisherClock,
    pub(crate) view: View,
    pub(crate) choices: Vec<LayerChoice>,
    /// Packets of the batch that this peer's slots may take.
    pub(crate) pending: Pending,
    /// The bandwidth estimate in bit/s.
    pub(crate) estimate_bps: Option<u64>,
    /// To what it has fallen lately.
    pub(crate) troughs: Troughs,
    /// There was a picture to be had when the estimator was last asked.
    pub(crate) video_asked: bool,
    /// What the estimator was last asked to look for, in bit/s.
    pub(crate) desired_bps: u64,
    /// What the last allocation has found.
    pub(crate) downlink: Downlink,
    /// What there has been to share out for a while, in bit/s.
    pub(crate) lasting: Lasting,
    pub(crate) channel: Option<ChannelId>,
    pub(crate) connected: bool,
    /// When the peer is ended unless it connects, or is heard of again.
    pub(crate) give_up_at: Option<Instant>,
    /// While it leaves once more.
    pub(crate) last_flight: Option<LastFlight>,
    /// The due time of this peer's entry in the heap.
    pub(crate) scheduled: Option<Instant>,
    /// The due time of this peer's send lane in the heap.
    pub(crate) lane_scheduled: Option<Instant>,
    /// The address from which the client has said last that it is going to use it.
    pub(crate) selected: Option<SocketAddr>,
    /// Where the client is by now, where str0m does not know it yet.
    pub(crate) moved: Option<Moved>,
    /// When the client was last heard from where media goes.
    pub(crate) heard_at: Instant,
    /// The last address of which was found out whether media goes there.
    pub(crate) followed: Option<SocketAddr>,
    /// From then on the peer counts as idle; media that goes through it puts this off.
    pub(crate) busy_until: Instant,
    /// When str0m wants to be driven; not before the entry.
    pub(crate) wants_drive_at: Instant,
    pub(crate) stale: Stale,
    pub(crate) candidates: usize,
    /// What the client signs its answers to our checks with; str0m has it too, but keeps it to itself.
    pub(crate) remote_password: String,
    /// An offer of ours that waits for its answer.
    pub(crate) invitation: Option<SdpPendingOffer>,
    /// The log says already that this publisher's packets are too large.
    pub(crate) told_too_large: bool,
    /// Numbers of this peer's ufrags, and addresses from which it has been heard, oldest first.
    pub(crate) ufrags: Vec<u32>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// What the control plane was last told.
    pub(crate) told: Told,
    pub(crate) changes: Changes,
}

/// Where packets of one SSRC belong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) track: TrackKey,
    pub(crate) layer: usize,
}

/// What str0m sends to `from` reaches the client by `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) from: SocketAddr,
    pub(crate) to: Route,
}

/// What has to be worked out anew before the next flush ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stale {
    /// Which tracks stand in the slots.
    pub(crate) view: bool,
    /// Which microphones stand in the audio slots.
    pub(crate) audio: bool,
    /// Which layer each slot gets.
    pub(crate) allocation: bool,
    /// What the control plane knows of the slots.
    pub(crate) slots: bool,
}

impl Stale {
    pub(crate) fn any(self) -> bool {
        self != Self::default()
    }
}

/// What the control plane was last told about a peer.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) slots: Slots,
    pub(crate) need: (usize, usize),
    /// And since when.
    pub(crate) quality: Option<(Quality, Instant)>,
}

/// How driving a peer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driven {
    /// The peer wants to be driven again then.
    Until(Instant),
    /// The peer is over.
    Ended(CloseReason),
    /// str0m panicked; the peer is over and nothing of it may be touched again.
    Panicked,
}

/// More outputs than any one input can cause; a peer that exceeds it is continued a moment later.
const DRIVE_TURNS_MAX: usize = 2_000;
const BREATH: Duration = Duration::from_millis(1);

/// Changes a peer's `Rtc` by `mutate` and drains it: datagrams into the outbox, events into
/// `events`. Nothing else touches an `Rtc` in motion. A panic inside str0m ends here.
pub(crate) fn drive(
    rtc: &mut Rtc,
    now: Instant,
    mutate: impl FnOnce(&mut Rtc),
    outbox: &mut Outbox,
    events: &mut Vec<str0m::Event>,
) -> Driven {
    let driven = guarded(|| {
        mutate(rtc);
        drain(rtc, now, outbox, events)
    });
    driven.unwrap_or(Driven::Panicked)
}

/// Calls str0m; `None` after a panic.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// Lets str0m act on what has been changed: what is queued leaves only after a timeout.
pub(crate) fn pass_time(rtc: &mut Rtc, now: Instant) {
    if let Err(error) = rtc.handle_input(Input::Timeout(now)) {
        tracing::debug!(%error, "a peer's timeout failed");
    }
}

/// Which packets of a batch, by their places there, concern which slots of a peer.
#[derive(Debug, Default)]
pub(crate) struct Pending(Vec<(usize, Range<usize>)>);

impl Pending {
    /// Notes that some packets concern a slot. `touched` has everybody of whom something is noted.
    pub(crate) fn note(
        &mut self,
        peer: PeerKey,
        slot: usize,
        places: Range<usize>,
        touched: &mut Vec<PeerKey>,
    ) {
        if places.is_empty() {
            return;
        }
        if self.0.is_empty() {
            touched.push(peer);
        }
        self.0.push((slot, places));
    }

    /// All of them, each once.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = (usize, Range<usize>)> {
        self.0.drain(..)
    }
}

impl Peer {
    pub(crate) fn new(id: PeerId, room: RoomId, rtc: Rtc, lane: Lane, now: Instant) -> Self {
        Self {
            id,
            room,
            rtc,
            lane: Box::new(lane),
            subscribe: false,
            slots: Vec::new(),
            published: Vec::new(),
            streams: HashMap::new(),
            unmarked: Vec::new(),
            expected: Vec::new(),
            clock: PublisherClock::default(),
            view: View::default(),
            choices: Vec::new(),
            pending: Pending::default(),
            estimate_bps: None,
            troughs: Troughs::default(),
            video_asked: false,
            desired_bps: 0,
            lasting: Lasting::default(),
            downlink: Downlink::default(),
            channel: None,
            connected: false,
            give_up_at: None,
            last_flight: None,
            scheduled: None,
            lane_scheduled: None,
            selected: None,
            moved: None,
            heard_at: now,
            followed: None,
            busy_until: now,
            wants_drive_at: now,
            stale: Stale::default(),
            candidates: 0,
            remote_password: String::new(),
            invitation: None,
            told_too_large: false,
            ufrags: Vec::new(),
            addresses: Vec::new(),
            told: Told::default(),
            changes: Changes::default(),
        }
    }

    /// Gives up what a slot still has to send: it goes on with a keyframe.
    pub(crate) fn halt(&mut self, index: usize) {
        self.lane.give_up(index);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.halt();
        }
    }

    /// Takes a stream out again that was told apart by its payload type.
    pub(crate) fn forget_expected(&mut self, ssrc: Ssrc) {
        if let Some(at) = self.expected.iter().position(|known| *known == ssrc) {
            self.expected.remove(at);
            self.rtc.direct_api().remove_stream_rx(ssrc);
        }
    }

    pub(crate) fn slots_of(&self, kind: MediaKind) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(move |slot| slot.kind == kind)
    }

    pub(crate) fn slot(&self, mid: Mid) -> Option<usize> {
        self.slots.iter().position(|slot| slot.mid == mid)
    }
}

fn drain(
    rtc: &mut Rtc,
    now: Instant,
    outbox: &mut Outbox,
    events: &mut Vec<str0m::Event>,
) -> Driven {
    for _ in 0..DRIVE_TURNS_MAX {
        match rtc.poll_output() {
            Ok(Output::Transmit(transmit)) => {
                outbox.push(transmit.source, transmit.destination, &transmit.contents);
            }
            Ok(Output::Event(event)) => events.push(event),
            // The pacer releases one packet per timeout: go on until nothing is due.
            Ok(Output::Timeout(at)) if at <= now && rtc.is_alive() => {
                if let Err(error) = rtc.handle_input(Input::Timeout(now)) {
                    tracing::debug!(%error, "a peer's timeout failed");
                    return Driven::Ended(CloseReason::Internal);
                }
            }
            Ok(Output::Timeout(_)) if !rtc.is_alive() => {
                return Driven::Ended(CloseReason::RemoteClosed);
            }
            Ok(Output::Timeout(at)) => return Driven::Until(at),
            Err(error) => {
                tracing::debug!(%error, "a peer has failed");
                return Driven::Ended(CloseReason::Internal);
            }
        }
    }
    Driven::Until(now + BREATH)
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}
