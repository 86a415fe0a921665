//! Rooms: who is in one, what they publish and may do. Pure state but for the clock of [`Relays`]: requests go in, [`Effects`] come out.

mod admin;
mod live;
mod relay;
mod relays;
mod tracks;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use madang_core::{Command, LayerAvailable, PeerId, RoomId, TrackId};
use serde_json::Value;

use crate::limits::Limits;
use crate::protocol::{
    Action, Bye, ErrorCode, Fault, Grants, PeerInfo, RoomInfo, ServerMessage, SlotInfo, Snapshot,
    TrackInfo,
};
use crate::session::End;

use live::{Away, Left};
use relays::Relays;
pub(crate) use tracks::check_publishable;
pub(crate) use view::{ViewRequest, nothing};

#[cfg(test)]
mod tests;

/// A room and everybody in it.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) name: String,
    /// For participants.
    places: Places,
    /// For viewers, who take nobody else's.
    viewer_places: Places,
    locked: bool,
    participants: BTreeMap<PeerId, Participant>,
    /// What each participant may still have relayed.
    relays: Relays,
    tracks: BTreeMap<TrackId, Track>,
    /// How many viewers the viewers were last told of.
    told_viewers: usize,
    /// What publishers have left who may come back, oldest first.
    left: VecDeque<Left>,
    /// Those of them who have not said that they go, as the others see them, oldest first.
    away: Vec<Away>,
}

/// How many of a kind may be in a room.
#[derive(Debug)]
struct Places {
    max: usize,
    /// Those that wait for their answer.
    joining: usize,
}

/// Somebody in a room.
#[derive(Debug, Clone)]
pub(crate) struct Participant {
    pub(crate) identity: String,
    pub(crate) name: String,
    pub(crate) meta: Value,
    pub(crate) grants: Grants,
    /// Watches by WHEP.
    pub(crate) viewer: bool,
    /// Encrypts its media from end to end.
    pub(crate) encrypts: bool,
    /// Comes back in a session of its own where its connection breaks: it publishes by WHIP.
    pub(crate) returns: bool,
}

/// What somebody publishes.
#[derive(Debug, Clone)]
struct Track {
    info: TrackInfo,
    /// The publisher's own name for it.
    cid: String,
    mid: String,
    /// The administrator who muted it, until its publisher changes that.
    muted_by: Option<PeerId>,
    layers: Arc<[LayerAvailable]>,
}

/// What a request brings about.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Events of the sessions' state, each with those who get it.
    pub(crate) events: Vec<(Vec<PeerId>, ServerMessage)>,
    /// For the workers of the peers that they name.
    pub(crate) commands: Vec<Command>,
    /// Participants whose grants have changed, so that their tokens say too much or too little.
    pub(crate) regranted: Vec<PeerId>,
    /// Sessions that end.
    pub(crate) ended: Vec<(PeerId, End)>,
}

impl Effects {
    /// A command and nothing else.
    pub(crate) fn one(command: Command) -> Self {
        Self {
            commands: vec![command],
            ..Self::default()
        }
    }

    fn event(&mut self, to: Vec<PeerId>, message: ServerMessage) {
        if !to.is_empty() {
            self.events.push((to, message));
        }
    }

    fn command(&mut self, command: Command) {
        self.commands.push(command);
    }
}

/// Hands out track ids.
pub(crate) trait TrackIds {
    fn next_track(&mut self) -> TrackId;
}

impl Room {
    pub(crate) fn new(id: RoomId, name: String, limits: &Limits) -> Self {
        let places = |max| Places { max, joining: 0 };
        Self {
            id,
            name,
            places: places(limits.participants_per_room),
            viewer_places: places(limits.viewers_per_room),
            locked: false,
            participants: BTreeMap::new(),
            relays: Relays::new(limits),
            tracks: BTreeMap::new(),
            told_viewers: 0,
            left: VecDeque::new(),
            away: Vec::new(),
        }
    }

    /// Keeps a place for somebody who waits for an answer; [`Room::release`] gives it back.
    ///
    /// A locked room still takes who is in it already, and an administrator where it has none: somebody has to be able to unlock it.
    pub(crate) fn reserve(&mut self, who: &Participant) -> Result<(), Fault> {
        let (identity, viewer) = (who.identity.as_str(), who.viewer);
        let unlocks = who.grants.admin && !self.has_admin();
        if self.locked && !unlocks && !self.knows(identity) {
            let text = format!(
                "the room '{}' is locked: ask its administrator",
                self.name.escape_debug()
            );
            return Err(Fault::new(ErrorCode::RoomClosed, text));
        }
        let others = self.participants.values();
        // Who is there with the same identity makes room.
        let others = others.filter(|other| other.viewer == viewer && other.identity != identity);
        let others = others.count();
        let places = self.places_of(viewer);
        if others + places.joining >= places.max {
            let (max, who) = (places.max, if viewer { "viewers" } else { "participants" });
            let name = self.name.escape_debug();
            let text = format!("the room '{name}' is full: it holds {max} {who}");
            return Err(Fault::new(ErrorCode::RoomFull, text));
        }
        places.joining += 1;
        Ok(())
    }

    fn has_admin(&self) -> bool {
        let mut here = self.participants.values();
        here.any(|participant| participant.grants.admin)
    }

    /// Somebody with this identity is here, or comes back.
    fn knows(&self, identity: &str) -> bool {
        let mut here = self.participants.values();
        here.any(|other| other.identity == identity)
            || self.away().any(|away| away.identity == identity)
    }

    pub(crate) fn release(&mut self, viewer: bool) {
        let joining = &mut self.places_of(viewer).joining;
        *joining = joining.saturating_sub(1);
    }

    fn places_of(&mut self, viewer: bool) -> &mut Places {
        if viewer {
            &mut self.viewer_places
        } else {
            &mut self.places
        }
    }

    /// Adds somebody. Who is there with the same identity has to go.
    pub(crate) fn enter(&mut self, peer: PeerId, participant: Participant) -> Effects {
        let mut effects = Effects::default();
        let older = self
            .participants
            .iter()
            .find(|(_, other)| other.identity == participant.identity);
        if let Some(older) = older.map(|(older, _)| *older) {
            let text = "the same identity has joined from elsewhere";
            self.expel(
                older,
                bye(ErrorCode::DuplicateIdentity, text, Action::None),
                &mut effects,
            );
        }
        self.welcome_back(&participant.identity, &mut effects);
        self.participants.insert(peer, participant);
        if let Some(info) = self.announced(peer) {
            effects.event(self.others(peer), peers_added(info));
        }
        effects
    }

    /// Ends somebody's session: because the client says so, or time has run out.
    pub(crate) fn end(&mut self, peer: PeerId, end: End) -> Effects {
        let mut effects = Effects::one(Command::Leave { peer });
        self.remove(peer, &mut effects);
        effects.ended.push((peer, end));
        effects
    }

    /// Ends the session of somebody whose media connection is no more. A publisher who has had one, and does not say that it
    /// goes, may come back.
    pub(crate) fn lose(&mut self, peer: PeerId, bye: Bye, was_connected: bool) -> Effects {
        let mut effects = Effects::default();
        let lost = self.participants.get(&peer);
        let lost = lost.filter(|lost| lost.returns && was_connected);
        let info = lost.map(|lost| lost.info(peer));
        if let Some(info) = info.filter(|_| self.tracks_of(peer).next().is_some()) {
            self.keep_away(info);
        }
        self.remove(peer, &mut effects);
        effects.ended.push((peer, End::Bye(bye)));
        effects
    }

    /// Nobody is here and nobody is on the way.
    pub(crate) fn is_empty(&self) -> bool {
        let joining = self.places.joining + self.viewer_places.joining;
        self.participants.is_empty() && joining == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.participants.len()
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.participants.keys().copied()
    }

    /// Whether the others know of this participant.
    pub(crate) fn is_announced(&self, peer: PeerId) -> bool {
        self.announced(peer).is_some()
    }

    /// The room as `peer` sees it, without its own tracks. `None` where it is not in the room.
    pub(crate) fn snapshot(&self, peer: PeerId, slots: Vec<SlotInfo>) -> Option<Snapshot> {
        let participant = self.participants.get(&peer)?;
        Some(Snapshot {
            you: participant.info(peer),
            peers: self
                .others(peer)
                .into_iter()
                .filter_map(|other| self.announced(other))
                .chain(self.away())
                .collect(),
            tracks: self
                .tracks
                .values()
                .filter(|track| track.info.peer.0 != peer)
                .map(|t| t.info.clone())
                .collect(),
            grants: participant.grants.clone(),
            room: self.info(),
            slots,
        })
    }

    pub(crate) fn grants_of(&self, peer: PeerId) -> Option<&Grants> {
        self.participants
            .get(&peer)
            .map(|participant| &participant.grants)
    }

    /// The `muted` events that still hold for the participant's own tracks.
    pub(crate) fn muted_by_others(&self, peer: PeerId) -> Vec<ServerMessage> {
        self.tracks_of(peer)
            .filter_map(|track| {
                track.muted_by.map(|by| ServerMessage::Muted {
                    track: track.info.id,
                    muted: true,
                    by: by.into(),
                })
            })
            .collect()
    }

    fn tracks_of(&self, peer: PeerId) -> impl Iterator<Item = &Track> {
        let tracks = self.tracks.values();
        tracks.filter(move |track| track.info.peer.0 == peer)
    }

    /// Whether the track is in this room and published by `peer`.
    pub(crate) fn publishes(&self, peer: PeerId, track: TrackId) -> bool {
        self.tracks
            .get(&track)
            .is_some_and(|track| track.info.peer.0 == peer)
    }

    fn info(&self) -> RoomInfo {
        RoomInfo {
            name: self.name.clone(),
            locked: self.locked,
            max: self.places.max,
        }
    }

    fn announced(&self, peer: PeerId) -> Option<PeerInfo> {
        self.participants
            .get(&peer)
            .filter(|participant| !participant.grants.hidden)
            .map(|p| p.info(peer))
    }

    /// Everybody but `peer`, hidden ones included.
    fn others(&self, peer: PeerId) -> Vec<PeerId> {
        self.peers().filter(|other| *other != peer).collect()
    }

    fn participant(&self, peer: PeerId) -> Result<&Participant, Fault> {
        self.participants.get(&peer).ok_or_else(|| no_peer(peer))
    }

    fn participant_mut(&mut self, peer: PeerId) -> Result<&mut Participant, Fault> {
        self.participants
            .get_mut(&peer)
            .ok_or_else(|| no_peer(peer))
    }

    /// Refuses where `allowed` says no of the participant's grants.
    fn grant(
        &self,
        peer: PeerId,
        name: &str,
        allowed: impl Fn(&Grants) -> bool,
    ) -> Result<(), Fault> {
        if allowed(&self.participant(peer)?.grants) {
            return Ok(());
        }
        Err(Fault::new(
            ErrorCode::Forbidden,
            format!("this needs the grant '{name}', which the token does not give"),
        ))
    }

    /// Ends somebody's session because of what somebody else did.
    fn expel(&mut self, peer: PeerId, bye: Bye, effects: &mut Effects) {
        self.remove(peer, effects);
        effects.command(Command::Leave { peer });
        effects.ended.push((peer, End::Bye(bye)));
    }

    fn remove(&mut self, peer: PeerId, effects: &mut Effects) {
        let announced = self.is_announced(peer);
        let Some(participant) = self.participants.remove(&peer) else {
            return;
        };
        self.relays.forget_idle();
        let gone = self
            .tracks
            .extract_if(.., |_, track| track.info.peer.0 == peer);
        let gone: Vec<_> = gone.map(|(_, track)| track).collect();
        if participant.returns {
            self.leave_behind(&participant.identity, &gone);
        }
        let gone: Vec<_> = gone.into_iter().map(|track| track.info.id).collect();
        if !gone.is_empty() {
            effects.event(
                self.peers().collect(),
                ServerMessage::Tracks {
                    add: vec![],
                    upd: vec![],
                    del: gone,
                },
            );
        }
        let goes = match self.away().find(|away| away.id.0 == peer) {
            Some(away) => Some(peers_changed(away)),
            None => announced.then(|| peer_gone(peer)),
        };
        if let Some(goes) = goes {
            effects.event(self.peers().collect(), goes);
        }
    }
}

impl Participant {
    fn info(&self, peer: PeerId) -> PeerInfo {
        PeerInfo {
            id: peer.into(),
            identity: self.identity.clone(),
            name: self.name.clone(),
            meta: self.meta.clone(),
            away: false,
        }
    }
}

/// A `bye` without a place to go to.
pub(crate) fn bye(code: ErrorCode, text: impl Into<String>, action: Action) -> Bye {
    Bye {
        code,
        msg: text.into(),
        action,
        url: None,
        after_ms: None,
    }
}

fn peers_added(info: PeerInfo) -> ServerMessage {
    ServerMessage::Peers {
        add: vec![info],
        upd: vec![],
        del: vec![],
    }
}

fn peers_changed(info: PeerInfo) -> ServerMessage {
    ServerMessage::Peers {
        add: vec![],
        upd: vec![info],
        del: vec![],
    }
}

fn peer_gone(peer: PeerId) -> ServerMessage {
    ServerMessage::Peers {
        add: vec![],
        upd: vec![],
        del: vec![peer.into()],
    }
}

fn no_peer(peer: PeerId) -> Fault {
    Fault::new(
        ErrorCode::NotFound,
        format!("there is no peer p{peer} in this room"),
    )
}

fn bad_request(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::BadRequest, text)
}
