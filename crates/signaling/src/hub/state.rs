//! The tables of a hub.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use governor::clock::DefaultClock;
use madang_core::{Command, PeerId, RoomId, TrackId};
use tokio::sync::oneshot;

use super::Counts;
use super::addresses::PerAddress;
use super::commands::{Lines, Workers};
use super::explain::Explained;
use super::join::Joining;
use super::placement::Placement;
use crate::limits::Limits;
use crate::protocol::{Bye, ErrorCode, Fault};
use crate::room::{Effects, Room, TrackIds};
use crate::session::{End, Session};

/// Everything that the hub's lock guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) ids: Ids,
    room_names: HashMap<String, RoomId>,
    pub(super) rooms: BTreeMap<RoomId, Room>,
    pub(super) sessions: BTreeMap<PeerId, Session>,
    session_names: HashMap<String, PeerId>,
    /// Those who wait for the answer to their `join`.
    pub(super) joining: BTreeMap<PeerId, Joining>,
    /// When each session's token is signed anew, in seconds since the epoch.
    pub(super) tokens_due: BTreeSet<(u64, PeerId)>,
    pub(super) sessions_per_address: PerAddress,
    pub(super) websockets: PerAddress,
    pub(super) placement: Placement,
    pub(super) lines: Lines,
    /// Those who wait for how a participant does, by their request.
    pub(super) explaining: BTreeMap<u64, oneshot::Sender<Explained>>,
    pub(super) draining: bool,
    /// Of the sessions' rates. Making one asks the processor what it can do, which takes 20 µs in a virtual machine.
    pub(super) clock: DefaultClock,
}

/// Counters behind all identifiers.
#[derive(Debug, Default)]
pub(super) struct Ids {
    peers: u64,
    tracks: u64,
    rooms: u64,
    requests: u64,
}

impl Ids {
    pub(super) fn next_peer(&mut self) -> PeerId {
        self.peers += 1;
        PeerId(self.peers)
    }

    pub(super) fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn next_room(&mut self) -> RoomId {
        self.rooms += 1;
        RoomId(self.rooms)
    }
}

impl TrackIds for Ids {
    fn next_track(&mut self) -> TrackId {
        self.tracks += 1;
        TrackId(self.tracks)
    }
}

impl State {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            ids: Ids::default(),
            room_names: HashMap::new(),
            rooms: BTreeMap::new(),
            sessions: BTreeMap::new(),
            session_names: HashMap::new(),
            joining: BTreeMap::new(),
            tokens_due: BTreeSet::new(),
            sessions_per_address: PerAddress::default(),
            websockets: PerAddress::default(),
            placement: Placement::new(workers),
            lines: Lines::new(workers),
            explaining: BTreeMap::new(),
            draining: false,
            clock: DefaultClock::default(),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            rooms: self.rooms.len(),
            participants: self.rooms.values().map(Room::len).sum(),
            sessions: self.sessions.len(),
        }
    }

    /// The room of this name, which may be new.
    pub(super) fn room_named(&mut self, name: &str, limits: &Limits) -> Result<&mut Room, Fault> {
        let id = match self.room_names.get(name) {
            Some(id) => *id,
            None => self.new_room(name, limits)?,
        };
        self.rooms
            .get_mut(&id)
            .ok_or_else(|| Fault::new(ErrorCode::Internal, "the room has got lost"))
    }

    /// The room of this name, where there is one.
    pub(super) fn room_of_name(&self, name: &str) -> Option<&Room> {
        self.rooms.get(self.room_names.get(name)?)
    }

    fn new_room(&mut self, name: &str, limits: &Limits) -> Result<RoomId, Fault> {
        if self.rooms.len() >= limits.rooms {
            let text = format!(
                "this server has {} rooms, which is its limit: try later",
                limits.rooms
            );
            return Err(Fault::new(ErrorCode::Draining, text).retry_ms(ROOMS_RETRY_MS));
        }
        let id = self.ids.next_room();
        self.room_names.insert(name.to_owned(), id);
        self.rooms
            .insert(id, Room::new(id, name.to_owned(), limits));
        Ok(id)
    }

    /// Forgets a room in which nobody is left.
    pub(super) fn remove_room_if_empty(&mut self, id: RoomId) {
        if self.rooms.get(&id).is_some_and(Room::is_empty)
            && let Some(room) = self.rooms.remove(&id)
        {
            self.room_names.remove(&room.name);
        }
    }

    pub(super) fn insert_session(&mut self, peer: PeerId, session: Session) {
        self.session_names.insert(session.name.clone(), peer);
        if let Some(renewal) = &session.renewal {
            self.tokens_due.insert((renewal.due(), peer));
        }
        self.sessions.insert(peer, session);
    }

    /// The session that a client names, whatever it knows of the secret.
    pub(super) fn session_named(&self, name: &str) -> Option<PeerId> {
        self.session_names.get(name).copied()
    }

    /// The session and its room.
    pub(super) fn session_and_room(&mut self, peer: PeerId) -> Option<(&mut Session, &mut Room)> {
        let session = self.sessions.get_mut(&peer)?;
        let room = self.rooms.get_mut(&session.room)?;
        Some((session, room))
    }

    /// Forgets a session that the room does not know any more.
    fn remove_session(&mut self, peer: PeerId) -> Option<Session> {
        let session = self.sessions.remove(&peer)?;
        self.session_names.remove(&session.name);
        if let Some(renewal) = &session.renewal {
            self.tokens_due.remove(&(renewal.due(), peer));
        }
        self.sessions_per_address.give_back(session.address);
        Some(session)
    }

    /// Ends everything.
    pub(super) fn end_all(&mut self, mut bye: impl FnMut() -> Bye) {
        for peer in self.joining.keys().copied().collect::<Vec<_>>() {
            let bye = bye();
            let fault = Fault {
                retry_ms: bye.after_ms,
                url: bye.url,
                ..Fault::new(bye.code, bye.msg)
            };
            if let Some(worker) = self.fail_join(peer, fault) {
                self.lines.push(worker, Command::Leave { peer });
            }
        }
        for peer in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.end_session(peer, End::Bye(bye()));
        }
    }

    /// Ends a session from this side.
    pub(super) fn end_session(&mut self, peer: PeerId, end: End) -> Workers {
        let Some((_, room)) = self.session_and_room(peer) else {
            return Workers::new();
        };
        let id = room.id;
        let effects = room.end(peer, end);
        self.apply(id, effects)
    }

    /// Carries out what a request has brought about in a room.
    pub(super) fn apply(&mut self, room: RoomId, effects: Effects) -> Workers {
        let mut given = Workers::new();
        for command in effects.commands {
            self.command(command, &mut given);
        }
        for (to, message) in effects.events {
            let text = message.to_text();
            for peer in to {
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.event(&text);
                }
            }
        }
        for peer in effects.regranted {
            self.renew_token(peer, jsonwebtoken::get_current_timestamp());
        }
        for (peer, end) in effects.ended {
            if let Some(mut session) = self.remove_session(peer) {
                session.end(&end);
                self.placement.gone(room, session.worker);
            }
        }
        self.remove_room_if_empty(room);
        given
    }
}

/// Rooms end when people leave: no reason to ask often, in milliseconds.
const ROOMS_RETRY_MS: u64 = 30_000;
