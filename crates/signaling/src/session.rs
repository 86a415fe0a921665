//! A participant's signalling lifetime, which outlives its WebSockets.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use governor::DefaultDirectRateLimiter;
use madang_core::{Answer, LayerAvailable, RoomId, TrackId};
use subtle::ConstantTimeEq;
use tokio::sync::{mpsc, oneshot};

use crate::limits::Limits;
use crate::media::MediaState;
use crate::protocol::{Bye, ErrorCode, Fault, Secret, ServerMessage};
use crate::token::Renewal;

/// What goes to a WebSocket.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Text(Utf8Bytes),
    /// For viewers that have no WebSocket.
    Live(Live),
    /// The last one: end the WebSocket with this close code.
    Close(u16),
}

/// What viewers are told beside the protocol of WebSockets.
#[derive(Debug, Clone)]
pub(crate) enum Live {
    /// The layers that there are of a track.
    Layers(TrackId, Arc<[LayerAvailable]>),
    /// How many viewers the room has.
    Viewers(usize),
    /// This server stops soon.
    Reconnect,
}

/// The bounded queue to a WebSocket.
pub(crate) type Socket = mpsc::Sender<Outgoing>;

/// How a session's WebSocket learns of the end.
#[derive(Debug)]
pub(crate) enum End {
    Bye(Bye),
    /// With this close code and no `bye`, for a client that knows.
    Close(u16),
}

/// RFC 6455: the purpose has been fulfilled.
pub(crate) const CLOSE_NORMAL: u16 = 1000;

/// What the server knows about a session beside its place in the room.
#[derive(Debug)]
pub(crate) struct Session {
    /// What the client calls the session, with its secret.
    pub(crate) name: String,
    secret: Secret,
    pub(crate) room: RoomId,
    /// The number of the worker on which the media is.
    pub(crate) worker: usize,
    /// Whose share of the limits the session takes.
    pub(crate) address: IpAddr,
    pub(crate) rate: Arc<DefaultDirectRateLimiter>,
    /// The WebSocket that serves it, or none while it is away.
    socket: Option<Socket>,
    /// Counts WebSockets: what an earlier one still says is not heard.
    pub(crate) attachment: u64,
    log: Log,
    /// For the next token, where the participant has joined with one that can be signed anew.
    pub(crate) renewal: Option<Renewal>,
    pub(crate) offers: Offers,
    pub(crate) media: MediaState,
}

/// The offers of a session.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// The `gen` of the newest offer.
    pub(crate) generation: u32,
    /// The media engine's generation: counts the offers that come with a `resume` too.
    pub(crate) count: u32,
    /// The offer that waits for its answer.
    pub(crate) pending: Option<PendingOffer>,
}

#[derive(Debug)]
pub(crate) struct PendingOffer {
    /// The [`Offers::count`] that its answer carries.
    pub(crate) count: u32,
    pub(crate) waiter: Waiter,
}

/// What carried an offer decides where the answer goes.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// `offer`: a reply on the session's WebSocket.
    Reply { re: u64, generation: u32 },
    /// `resume`: to the one who is about to attach.
    Resume(oneshot::Sender<Result<Answer, Fault>>),
}

impl Session {
    /// A new session with an unguessable name and secret.
    pub(crate) fn new(
        room: RoomId,
        worker: usize,
        address: IpAddr,
        rate: Arc<DefaultDirectRateLimiter>,
        socket: Socket,
        limits: &Limits,
    ) -> Self {
        Self {
            name: format!("{:032x}", rand::random::<u128>()),
            secret: Secret(format!(
                "{:032x}{:032x}",
                rand::random::<u128>(),
                rand::random::<u128>()
            )),
            room,
            worker,
            address,
            rate,
            socket: Some(socket),
            attachment: 0,
            log: Log::new(limits),
            renewal: None,
            offers: Offers::default(),
            media: MediaState::default(),
        }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Compares in constant time, so that the time taken tells nothing about the secret.
    pub(crate) fn knows(&self, secret: &Secret) -> bool {
        self.secret.0.as_bytes().ct_eq(secret.0.as_bytes()).into()
    }

    pub(crate) fn is_away(&self) -> bool {
        self.socket.is_none()
    }

    /// Sends an event of the session's state. It is kept, so that a `resume` brings it again.
    /// `body` is the event's text without `s`.
    pub(crate) fn event(&mut self, body: &str) {
        let text = self.log.append(body);
        self.send(text);
    }

    /// Sends a reply or another frame without `s`. A client that lets its queue fill up loses its
    /// WebSocket, and may resume.
    pub(crate) fn send(&mut self, text: Utf8Bytes) {
        let sent = self
            .socket
            .as_ref()
            .is_some_and(|socket| socket.try_send(Outgoing::Text(text)).is_ok());
        if !sent {
            self.socket = None;
        }
    }

    /// Tells a viewer something; one whose queue is full is told the next time.
    pub(crate) fn tell_live(&self, live: Live) {
        if let Some(socket) = &self.socket {
            let _ = socket.try_send(Outgoing::Live(live));
        }
    }

    /// Sends what is out of date soon: nothing to a client that is slow.
    pub(crate) fn hint(&self, text: Utf8Bytes) {
        if let Some(socket) = &self.socket
            && socket.capacity() > socket.max_capacity() / 2
        {
            // A queue that has just been closed needs no hints.
            let _ = socket.try_send(Outgoing::Text(text));
        }
    }

    /// Registers an offer and returns its number for the media engine. An offer that still waits is
    /// told that it is stale.
    pub(crate) fn expect_answer(&mut self, waiter: Waiter) -> u32 {
        self.answer_fault(Fault::new(
            ErrorCode::StaleGeneration,
            "a newer offer has come before the answer",
        ));
        self.offers.count += 1;
        self.offers.pending = Some(PendingOffer {
            count: self.offers.count,
            waiter,
        });
        self.offers.count
    }

    /// Whether this offer is the one whose answer is due.
    pub(crate) fn awaits(&self, count: u32) -> bool {
        self.offers
            .pending
            .as_ref()
            .is_some_and(|pending| pending.count == count)
    }

    /// Tells the one who waits for an answer that none comes.
    pub(crate) fn answer_fault(&mut self, fault: Fault) {
        match self.offers.pending.take().map(|pending| pending.waiter) {
            Some(Waiter::Reply { re, .. }) => self.send(fault.reply(Some(re)).to_text().into()),
            // Who no longer waits needs no fault.
            Some(Waiter::Resume(done)) => drop(done.send(Err(fault))),
            None => {}
        }
    }

    /// Gives the session to another WebSocket; the one before it, if any, is ended with `bye`.
    pub(crate) fn attach(&mut self, socket: Socket, bye: Bye) {
        self.end(&End::Bye(bye));
        self.socket = Some(socket);
        self.attachment += 1;
    }

    /// The WebSocket is lost.
    pub(crate) fn detach(&mut self) {
        self.socket = None;
    }

    /// Ends the WebSocket.
    pub(crate) fn end(&mut self, end: &End) {
        let code = match end {
            End::Bye(bye) => {
                self.send(ServerMessage::Bye(bye.clone()).to_text().into());
                bye.code.close_code()
            }
            End::Close(code) => *code,
        };
        if let Some(socket) = self.socket.take() {
            // Where the queue is full the socket is dropped, which ends the WebSocket too.
            let _ = socket.try_send(Outgoing::Close(code));
        }
    }

    /// The number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.log.newest
    }

    /// The events after `last_s`, or `None` where some of them are no longer kept.
    pub(crate) fn missed(&self, last_s: u64) -> Option<Vec<Utf8Bytes>> {
        self.log.after(last_s)
    }
}

/// The newest events, bounded by number and by size.
#[derive(Debug)]
struct Log {
    frames: VecDeque<Utf8Bytes>,
    newest: u64,
    bytes: usize,
    frames_max: usize,
    bytes_max: usize,
}

impl Log {
    fn new(limits: &Limits) -> Self {
        Self {
            frames: VecDeque::new(),
            newest: 0,
            bytes: 0,
            frames_max: limits.replay_frames,
            bytes_max: limits.replay_bytes,
        }
    }

    fn append(&mut self, body: &str) -> Utf8Bytes {
        self.newest += 1;
        let fields = body.strip_prefix('{').unwrap_or(body);
        let text = Utf8Bytes::from(format!("{{\"s\":{},{fields}", self.newest));
        self.bytes += text.len();
        self.frames.push_back(text.clone());
        while self.frames.len() > self.frames_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
        text
    }

    fn after(&self, last_s: u64) -> Option<Vec<Utf8Bytes>> {
        let missed = usize::try_from(self.newest.checked_sub(last_s)?).ok()?;
        let kept = self.frames.len().checked_sub(missed)?;
        Some(self.frames.iter().skip(kept).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limits: Limits) -> Log {
        let mut log = Log::new(&limits);
        for n in 1..=5 {
            log.append(&format!("{{\"n\":{n}}}"));
        }
        log
    }

    #[test]
    fn missed_events_come_again_while_they_are_kept() {
        let log = log(Limits {
            replay_frames: 3,
            ..Limits::default()
        });
        assert_eq!(log.after(5), Some(vec![]));
        assert_eq!(
            log.after(3).unwrap(),
            [r#"{"s":4,"n":4}"#, r#"{"s":5,"n":5}"#].map(Utf8Bytes::from)
        );
        assert_eq!(log.after(2).map(|frames| frames.len()), Some(3));
        assert_eq!(log.after(1), None, "event 2 is no longer kept");
        assert_eq!(
            log.after(6),
            None,
            "the client claims to have seen the future"
        );
    }

    #[test]
    fn the_log_is_bounded_by_size_too() {
        let log = log(Limits {
            replay_bytes: 30,
            ..Limits::default()
        });
        assert_eq!(log.frames.len(), 2);
        assert_eq!(log.after(3).map(|frames| frames.len()), Some(2));
        assert_eq!(log.after(2), None);
    }

    #[test]
    fn a_slow_client_misses_hints_and_then_loses_its_websocket() {
        let (socket, mut outgoing) = mpsc::channel(4);
        let rate = Arc::new(DefaultDirectRateLimiter::direct(
            governor::Quota::per_second(std::num::NonZeroU32::MIN),
        ));
        let address = IpAddr::from([127, 0, 0, 1]);
        let limits = Limits::default();
        let mut session = Session::new(RoomId(1), 0, address, rate, socket, &limits);
        session.hint("hint".into());
        session.event("{}");
        session.hint("too late".into());
        session.event("{}");
        session.event("{}");
        assert!(!session.is_away());
        session.event("{}");
        assert!(session.is_away());
        let mut sent = Vec::new();
        while let Ok(Outgoing::Text(text)) = outgoing.try_recv() {
            sent.push(text.to_string());
        }
        assert_eq!(sent, ["hint", "{\"s\":1,}", "{\"s\":2,}", "{\"s\":3,}"]);
        assert_eq!(
            session.missed(3).map(|frames| frames.len()),
            Some(1),
            "nothing is lost"
        );
    }
}
