//! Joining: from the offer to the session.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter};
use madang_core::sdp::{AnswerSdp, Offer, SdpError};
use madang_core::{Answer, Command, PeerId, RoomId};
use tokio::sync::oneshot;

use super::commands::Workers;
use super::state::State;
use super::{Attached, Hub, HubConfig, millis, quota, too_fast};
use crate::limits::Limits;
use crate::nodes;
use crate::protocol::{ErrorCode, Fault, Join, Joined, Secret, ServerMessage, SlotInfo, VERSION};
use crate::room::{Participant, nothing};
use crate::session::{Session, Socket};
use crate::token::{Access, Renewal};

/// Somebody who may enter.
#[derive(Debug)]
pub(crate) struct Entrant {
    /// The `id` of the request, for its reply.
    pub(crate) re: u64,
    pub(crate) room: String,
    pub(crate) participant: Participant,
    /// For the next token, where the first one can be signed anew.
    pub(crate) renewal: Option<Renewal>,
    /// `None` for who wants to answer an offer of ours.
    pub(crate) offer: Option<Offer>,
    /// Refuses answers with which they do not want to be in the room. Nobody notices then that they came: above all, an older
    /// session of the same identity goes on.
    pub(crate) check_answer: fn(&AnswerSdp) -> Result<(), Fault>,
}

/// Somebody who waits for the answer.
#[derive(Debug)]
pub(super) struct Joining {
    re: u64,
    room: RoomId,
    pub(super) worker: usize,
    participant: Participant,
    renewal: Option<Renewal>,
    address: IpAddr,
    socket: Socket,
    check_answer: fn(&AnswerSdp) -> Result<(), Fault>,
    done: oneshot::Sender<Result<Attached, Fault>>,
}

/// Takes the join back where nobody waits for it any more.
struct Abandon<'a> {
    hub: &'a Arc<Hub>,
    peer: PeerId,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let fault = Fault::new(ErrorCode::Timeout, "nobody waits for this join any more");
        let mut state = self.hub.state.lock();
        if let Some(worker) = state.fail_join(self.peer, fault) {
            let leave = Command::Leave { peer: self.peer };
            state.lines.push(worker, leave);
            drop(state);
            self.hub.flush_later([worker].into());
        }
    }
}

impl Hub {
    /// Lets somebody into a room. `joined` goes to `socket` before any event does. A join that fails
    /// leaves nothing behind.
    pub(crate) async fn join(
        self: &Arc<Self>,
        re: u64,
        join: Join,
        address: IpAddr,
        socket: Socket,
    ) -> Result<Attached, Fault> {
        let result = self.try_join(re, join, address, socket).await;
        count_join(result.as_ref().err().map(|fault| fault.code.as_str()));
        result
    }

    /// The node that a client is sent to, where another one has the room. Who has been sent already stays: nodes that do
    /// not know the same list would send it round and round.
    pub(crate) fn redirect(&self, room: &str, moved: bool) -> Option<&str> {
        let node = self.config.nodes.elsewhere(room).filter(|_| !moved)?;
        metrics::counter!("madang_redirects_total").increment(1);
        Some(node)
    }

    async fn try_join(
        self: &Arc<Self>,
        re: u64,
        mut join: Join,
        address: IpAddr,
        socket: Socket,
    ) -> Result<Attached, Fault> {
        check_version(join.v)?;
        self.check_join_rate(address)?;
        let guest = || format!("guest-{:08x}", rand::random::<u32>());
        let mut access = self.config.auth.check(join.token.as_ref(), guest)?;
        let room = room_name(&access, join.room.take())?;
        check_fields(&room, &access, &join, &self.config.limits)?;
        if let Some(node) = self.redirect(&room, join.moved == Some(true)) {
            return Err(Fault::moved(nodes::websocket(node)));
        }
        let offer = Offer::parse(&join.offer)?;
        tracing::debug!(room, identity = access.identity, client = ?join.client, e2ee = ?join.e2ee, "join");
        let entrant = Entrant {
            re,
            room,
            renewal: access.renewal.take(),
            participant: participant(access, &mut join),
            offer: Some(offer),
            check_answer: |_| Ok(()),
        };
        self.admit(entrant, address, socket).await
    }

    /// Lets somebody in who may enter: asks the media engine for the answer, and makes the session.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        entrant: Entrant,
        address: IpAddr,
        socket: Socket,
    ) -> Result<Attached, Fault> {
        let may_receive = entrant.participant.grants.subscribe;
        let (peer, room, worker, answered) = {
            let (done, answered) = oneshot::channel();
            let mut state = self.state.lock();
            let limits = &self.config.limits;
            let who = &entrant.participant;
            let (room, worker) = state.take_places(&entrant.room, address, who, limits)?;
            let peer = state.ids.next_peer();
            let joining = Joining {
                re: entrant.re,
                room,
                worker,
                participant: entrant.participant,
                renewal: entrant.renewal,
                address,
                socket,
                check_answer: entrant.check_answer,
                done,
            };
            state.joining.insert(peer, joining);
            (peer, room, worker, answered)
        };
        let abandon = Abandon { hub: self, peer };
        let enter = self.enter(peer, room, entrant.offer)?;
        {
            let mut state = self.state.lock();
            // Whoever has taken the join back meanwhile has told the worker.
            if state.joining.contains_key(&peer) {
                state.lines.push(worker, enter);
                if !may_receive {
                    state.lines.push(worker, nothing(peer));
                }
            }
        }
        self.wait_for_answer(abandon, worker, answered).await
    }

    /// Makes the command by which a peer gets its answer, or our offer. Its engine takes long: it is made for who has a place,
    /// not under the lock, and not on the media thread.
    fn enter(&self, peer: PeerId, room: RoomId, offer: Option<Offer>) -> Result<Command, Fault> {
        let Some(offer) = offer else {
            return Ok(Command::Invite { peer, room });
        };
        let engine = self.engines.accept(Instant::now(), offer)?;
        Ok(Command::Join(Box::new(madang_core::Join {
            peer,
            room,
            engine,
            // An administrator may allow it later.
            subscribe: true,
        })))
    }

    async fn wait_for_answer(
        self: &Arc<Self>,
        abandon: Abandon<'_>,
        worker: usize,
        mut answered: oneshot::Receiver<Result<Attached, Fault>>,
    ) -> Result<Attached, Fault> {
        let wait = async {
            self.flush(worker).await;
            (&mut answered).await
        };
        let in_time = tokio::time::timeout(self.config.limits.answer_timeout, wait).await;
        drop(abandon);
        match in_time {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Fault::new(ErrorCode::Internal, "the join has got lost")),
            // The answer may have come between the two lines above: then it counts.
            Err(_) => match answered.try_recv() {
                Ok(Ok(attached)) => Ok(attached),
                _ => Err(Fault::new(
                    ErrorCode::Timeout,
                    "the media engine did not answer in time: try again",
                )),
            },
        }
    }

    /// Refuses where the server stops.
    pub(crate) fn check_open(&self) -> Result<(), Fault> {
        self.state.lock().check_open()
    }

    pub(crate) fn check_join_rate(&self, address: IpAddr) -> Result<(), Fault> {
        check_key(
            &self.joins,
            &address,
            "too many attempts to join from your address",
        )
    }

    /// Refuses requests about sessions without a WebSocket that come too fast.
    pub(crate) fn check_request_rate(&self, address: IpAddr) -> Result<(), Fault> {
        check_key(
            &self.requests,
            &address,
            "too many requests from your address",
        )
    }

    /// Refuses requests with one token that come too fast, from wherever they come.
    pub(crate) fn check_token_rate(&self, token: &Secret) -> Result<(), Fault> {
        let key = self.token_hash.hash_one(&token.0);
        check_key(&self.tokens, &key, "too many requests with this token")
    }
}

/// Counts an attempt to join, by whatever way: whether it failed, and why.
pub(crate) fn count_join(failure: Option<&'static str>) {
    let result = failure.unwrap_or("ok");
    metrics::counter!("madang_joins_total", "result" => result).increment(1);
}

fn check_key<K: Hash + Eq + Clone>(
    rates: &DefaultKeyedRateLimiter<K>,
    key: &K,
    text: &str,
) -> Result<(), Fault> {
    rates
        .check_key(key)
        .map_err(|not_until| too_fast(&not_until, text))
}

impl State {
    /// Refuses everything new where the server stops.
    fn check_open(&self) -> Result<(), Fault> {
        if !self.draining {
            return Ok(());
        }
        let text = "this server stops and takes no new sessions: try another, or this one later";
        Err(Fault::new(ErrorCode::Draining, text).retry_ms(DRAINING_RETRY_MS))
    }

    /// Takes a place in the room, among the sessions of the address, and on a worker.
    fn take_places(
        &mut self,
        room_name: &str,
        address: IpAddr,
        who: &Participant,
        limits: &Limits,
    ) -> Result<(RoomId, usize), Fault> {
        self.check_open()?;
        let room = self.room_named(room_name, limits)?.id;
        let placed = self.take_places_in(room, address, who, limits);
        if placed.is_err() {
            self.remove_room_if_empty(room);
        }
        Ok((room, placed?))
    }

    fn take_places_in(
        &mut self,
        room: RoomId,
        address: IpAddr,
        who: &Participant,
        limits: &Limits,
    ) -> Result<usize, Fault> {
        self.sessions_per_address
            .take(address, limits.sessions_per_address, "sessions")?;
        let reserved = self
            .rooms
            .get_mut(&room)
            .map_or(Ok(()), |room| room.reserve(who));
        if let Err(fault) = reserved {
            self.sessions_per_address.give_back(address);
            return Err(fault);
        }
        let no_worker = || Fault::new(ErrorCode::Internal, "this server has no media worker");
        self.placement.place(room).ok_or_else(no_worker)
    }

    /// The media engine has answered somebody who joins.
    pub(super) fn finish_join(
        &mut self,
        peer: PeerId,
        result: Result<Answer, SdpError>,
        config: &HubConfig,
    ) -> Workers {
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                self.fail_join(peer, error.into());
                return Workers::new();
            }
        };
        let joining = self.joining.get(&peer);
        let refused = joining.and_then(|joining| (joining.check_answer)(&answer.sdp).err());
        let Some(fault) = refused else {
            return self.complete_join(peer, answer, config).unwrap_or_default();
        };
        let worker = self.fail_join(peer, fault);
        if let Some(worker) = worker {
            self.lines.push(worker, Command::Leave { peer });
        }
        worker.into_iter().collect()
    }

    fn complete_join(
        &mut self,
        peer: PeerId,
        answer: Answer,
        config: &HubConfig,
    ) -> Option<Workers> {
        let joining = self.joining.remove(&peer)?;
        let room = self.rooms.get_mut(&joining.room)?;
        let is_viewer = joining.participant.viewer;
        room.release(is_viewer);
        let effects = room.enter(peer, joining.participant);
        let limits = &config.limits;
        let rate = quota(limits.frames_per_second, limits.frames_burst);
        let rate = DefaultDirectRateLimiter::direct_with_clock(rate, self.clock.clone());
        let rate = Arc::new(rate);
        let mut session = Session::new(
            joining.room,
            joining.worker,
            joining.address,
            Arc::clone(&rate),
            joining.socket,
            limits,
        );
        session.renewal = joining.renewal;
        session.media.slots = answer.slots.iter().map(SlotInfo::from).collect();
        let snapshot = room.snapshot(peer, session.media.slots.clone())?;
        let joined = Joined {
            re: joining.re,
            session: session.name.clone(),
            secret: session.secret().clone(),
            resume_ttl: config.resume_ttl.as_secs(),
            you: snapshot.you,
            answer: answer.sdp.to_string(),
            ice_servers: config.ice_servers.clone(),
            slots: snapshot.slots,
            peers: snapshot.peers,
            tracks: snapshot.tracks,
            grants: snapshot.grants,
            room: snapshot.room,
            ping_ms: millis(config.ping),
            codecs: answer.codecs,
        };
        session.send(ServerMessage::Joined(Box::new(joined)).to_text().into());
        let attached = Attached {
            peer,
            attachment: session.attachment,
            rate,
        };
        self.insert_session(peer, session);
        if is_viewer {
            self.tell_newcomer(peer, joining.room);
        }
        let given = self.apply(joining.room, effects);
        if joining.done.send(Ok(attached)).is_err()
            && let Some(session) = self.sessions.get_mut(&peer)
        {
            session.detach();
        }
        Some(given)
    }

    /// Takes back what a join has taken. Returns its worker, or `None` where nobody joins as this peer.
    pub(super) fn fail_join(&mut self, peer: PeerId, fault: Fault) -> Option<usize> {
        let joining = self.joining.remove(&peer)?;
        if let Some(room) = self.rooms.get_mut(&joining.room) {
            room.release(joining.participant.viewer);
        }
        self.remove_room_if_empty(joining.room);
        self.sessions_per_address.give_back(joining.address);
        self.placement.gone(joining.room, joining.worker);
        // Who no longer waits needs no fault.
        let _ = joining.done.send(Err(fault));
        Some(joining.worker)
    }
}

/// How long a client should wait for a server that stops to be back, in milliseconds.
const DRAINING_RETRY_MS: u64 = 2_000;

pub(super) fn check_version(v: u32) -> Result<(), Fault> {
    if v == VERSION {
        return Ok(());
    }
    let text =
        format!("this server speaks version {VERSION} of the protocol, not {v}: reload the page");
    Err(Fault::new(ErrorCode::BadVersion, text))
}

/// The token's room wins; the client names one where the token is good for all.
pub(crate) fn room_name(access: &Access, asked: Option<String>) -> Result<String, Fault> {
    match (&access.room, asked) {
        (Some(room), Some(asked)) if *room != asked => {
            let text = format!("the token is for the room '{}'", room.escape_debug());
            Err(Fault::new(ErrorCode::Forbidden, text))
        }
        (Some(room), _) => Ok(room.clone()),
        (None, Some(asked)) => Ok(asked),
        (None, None) => Err(Fault::new(
            ErrorCode::BadRequest,
            "neither the token nor the field 'room' names a room",
        )),
    }
}

/// Refuses a name that no room can have.
pub(crate) fn check_room_name(room: &str, limits: &Limits) -> Result<(), Fault> {
    if room.trim().is_empty() || room.chars().any(char::is_control) {
        return Err(Fault::new(
            ErrorCode::BadRequest,
            "the room's name is empty or has control characters",
        ));
    }
    limits.check_name("room", room)
}

fn check_fields(room: &str, access: &Access, join: &Join, limits: &Limits) -> Result<(), Fault> {
    check_room_name(room, limits)?;
    limits.check_name("the token's 'sub'", &access.identity)?;
    for name in [&access.name, &join.name].into_iter().flatten() {
        limits.check_name("name", name)?;
    }
    for meta in [&access.meta, &join.meta, &join.client]
        .into_iter()
        .flatten()
    {
        limits.check_meta("meta or client", meta)?;
    }
    let slots = join.want.audio.saturating_add(join.want.video);
    if slots > limits.slots_per_participant {
        let text = format!(
            "you want {slots} slots, the limit is {}",
            limits.slots_per_participant
        );
        return Err(Fault::new(ErrorCode::SlotLimit, text));
    }
    Ok(())
}

/// What the token says wins, unless it lets the participant change it anyway.
fn participant(access: Access, join: &mut Join) -> Participant {
    fn choose<T: Default>(own: bool, token: Option<T>, asked: Option<T>) -> T {
        if own {
            asked.or(token)
        } else {
            token.or(asked)
        }
        .unwrap_or_default()
    }
    let own = access.grants.update_own;
    Participant {
        name: choose(own, access.name, join.name.take()),
        meta: choose(own, access.meta, join.meta.take()),
        identity: access.identity,
        grants: access.grants,
        viewer: false,
        encrypts: join.e2ee.unwrap_or(false),
        returns: false,
    }
}
