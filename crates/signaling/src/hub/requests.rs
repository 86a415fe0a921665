//! What a session's client asks for.

use std::sync::Arc;

use governor::DefaultDirectRateLimiter;
use madang_core::sdp::{Offer, RemoteCandidate};
use madang_core::{Command, PeerId};

use super::commands::Workers;
use super::state::{Ids, State};
use super::{Attached, Hub, too_fast};
use crate::limits::Limits;
use crate::protocol::{ClientFrame, ClientMessage, ErrorCode, Fault, Published, ServerMessage};
use crate::room::{Effects, Room, ViewRequest};
use crate::session::{CLOSE_NORMAL, End, Session, Waiter};

/// What a request comes to.
enum Outcome {
    /// Replied to with `ok`.
    Done(Effects),
    Published(Vec<Published>, Effects),
    /// Replied to when the media engine has answered this offer.
    Offered(u32, Effects),
}

impl Hub {
    /// Carries out one frame of a session's client, and replies.
    pub(crate) async fn handle(self: &Arc<Self>, at: &Attached, text: &str) {
        let (id, message) = read(text, &self.config.limits);
        let carried_out = message.and_then(|message| {
            check_rate(&at.rate)?;
            message
                .map(|message| self.carry_out(at, id, message))
                .transpose()
        });
        match carried_out {
            Ok(Some(given)) => self.flush_all(given).await,
            Ok(None) => {}
            Err(fault) => self.refuse(at, id, fault),
        }
    }

    /// Carries out a request that wants no reply but whether it was refused.
    pub(crate) async fn ask(
        self: &Arc<Self>,
        at: &Attached,
        message: ClientMessage,
    ) -> Result<(), Fault> {
        let given = self.carry_out(at, None, message)?;
        self.flush_all(given).await;
        Ok(())
    }

    /// Sends an `err`.
    pub(crate) fn refuse(&self, at: &Attached, id: Option<u64>, fault: Fault) {
        if let Some(place) = self.state.lock().place(at) {
            tracing::debug!(
                peer = at.peer.0,
                code = fault.code.as_str(),
                "refused: {}",
                fault.text
            );
            place.session.send(fault.reply(id).to_text().into());
        }
    }

    fn carry_out(
        self: &Arc<Self>,
        at: &Attached,
        id: Option<u64>,
        message: ClientMessage,
    ) -> Result<Workers, Fault> {
        // Takes milliseconds: not under the lock.
        let offer = match message.offer() {
            Some(sdp) => Some(Box::new(Offer::parse(sdp)?)),
            None => None,
        };
        let mut state = self.state.lock();
        let Some(place) = state.place(at) else {
            return Err(Fault::new(
                ErrorCode::ResumeFailed,
                "another WebSocket has this session",
            ));
        };
        let room = place.room.id;
        let outcome = place.ask(at.peer, id, message, offer, &self.config.limits)?;
        let (published, effects) = match outcome {
            Outcome::Done(effects) => (None, effects),
            Outcome::Published(published, effects) => (Some(published), effects),
            Outcome::Offered(count, effects) => {
                self.expect_answer(at.peer, count);
                return Ok(state.apply(room, effects));
            }
        };
        // The reply comes first: who leaves gets it, too.
        if let (Some(place), Some(re)) = (state.place(at), id) {
            place.session.send(
                ServerMessage::Ok {
                    re,
                    tracks: published,
                }
                .to_text()
                .into(),
            );
        }
        Ok(state.apply(room, effects))
    }

    /// Gives up on an offer that the media engine does not answer in time.
    fn expect_answer(self: &Arc<Self>, peer: PeerId, count: u32) {
        self.later(self.config.limits.answer_timeout, move |hub| {
            let mut state = hub.state.lock();
            if let Some(session) = state
                .sessions
                .get_mut(&peer)
                .filter(|session| session.awaits(count))
            {
                let text = "the media engine did not answer in time: send a newer offer";
                session.answer_fault(Fault::new(ErrorCode::Timeout, text));
            }
        });
    }
}

/// A session with all that its requests touch.
struct Place<'a> {
    session: &'a mut Session,
    room: &'a mut Room,
    ids: &'a mut Ids,
}

impl State {
    /// The place of a WebSocket's session, while the WebSocket serves it.
    fn place(&mut self, at: &Attached) -> Option<Place<'_>> {
        let session = self
            .sessions
            .get_mut(&at.peer)
            .filter(|session| session.attachment == at.attachment)?;
        let room = self.rooms.get_mut(&session.room)?;
        Some(Place {
            session,
            room,
            ids: &mut self.ids,
        })
    }
}

impl Place<'_> {
    fn ask(
        self,
        peer: PeerId,
        id: Option<u64>,
        message: ClientMessage,
        offer: Option<Box<Offer>>,
        limits: &Limits,
    ) -> Result<Outcome, Fault> {
        let Self { session, room, ids } = self;
        let effects = match message {
            ClientMessage::Join(_) | ClientMessage::Resume { .. } => {
                return Err(bad_request(
                    "this WebSocket has a session already: leave it first",
                ));
            }
            ClientMessage::Offer { generation, .. } => {
                return offered(session, peer, id, generation, offer);
            }
            ClientMessage::Candidate {
                generation,
                candidate,
            } => candidate_command(
                session,
                peer,
                generation,
                candidate.as_deref().unwrap_or_default(),
            )?,
            ClientMessage::Publish { tracks } => {
                let (published, effects) = room.publish(peer, tracks, ids, limits)?;
                return Ok(Outcome::Published(published, effects));
            }
            ClientMessage::Unpublish { tracks } => room.unpublish(peer, &tracks)?,
            ClientMessage::Mute { track, muted } => room.mute(peer, track.0, muted)?,
            ClientMessage::View {
                rev,
                video,
                auto,
                audio,
            } => room.view(
                peer,
                &ViewRequest {
                    rev,
                    video,
                    auto,
                    audio,
                },
                limits,
            )?,
            ClientMessage::Update { name, meta } => room.update(peer, name, meta, limits)?,
            ClientMessage::Msg(message) => {
                let reliable = message.reliable.unwrap_or(true);
                room.message(peer, message, reliable, limits)?
            }
            ClientMessage::E2ee { to, body } => room.e2ee(peer, to.as_deref(), body, limits)?,
            ClientMessage::P2p { to, kind, body } => room.p2p(peer, to, kind, body)?,
            ClientMessage::Admin {
                op,
                target,
                track,
                grants,
            } => room.admin(peer, op, target, track, grants)?,
            ClientMessage::Ping { n } => {
                session.send(ServerMessage::Pong { n }.to_text().into());
                Effects::default()
            }
            ClientMessage::Leave {} => room.end(peer, End::Close(CLOSE_NORMAL)),
        };
        Ok(Outcome::Done(effects))
    }
}

fn offered(
    session: &mut Session,
    peer: PeerId,
    id: Option<u64>,
    generation: u32,
    offer: Option<Box<Offer>>,
) -> Result<Outcome, Fault> {
    let (Some(offer), Some(re)) = (offer, id) else {
        return Err(bad_request("an offer needs an 'id'"));
    };
    let newest = session.offers.generation;
    if generation <= newest {
        let text = format!("offer {generation} is not newer than {newest}, which has come already");
        return Err(Fault::new(ErrorCode::StaleGeneration, text));
    }
    session.offers.generation = generation;
    let count = session.expect_answer(Waiter::Reply { re, generation });
    Ok(Outcome::Offered(
        count,
        Effects::one(Command::Offer {
            peer,
            generation: count,
            offer,
        }),
    ))
}

fn candidate_command(
    session: &Session,
    peer: PeerId,
    generation: u32,
    line: &str,
) -> Result<Effects, Fault> {
    let newest = session.offers.generation;
    if generation != newest {
        let code = if generation < newest {
            ErrorCode::StaleGeneration
        } else {
            ErrorCode::BadRequest
        };
        let text = format!("the candidate is of offer {generation}, the newest is {newest}");
        return Err(Fault::new(code, text));
    }
    let candidate = RemoteCandidate::parse(line)?;
    Ok(candidate.map_or_else(Effects::default, |candidate| {
        Effects::one(Command::Candidate { peer, candidate })
    }))
}

/// Reads a frame of a joined client. What is over its limit is not carried out, `id` is kept where
/// it can be.
pub(super) fn read(
    text: &str,
    limits: &Limits,
) -> (Option<u64>, Result<Option<ClientMessage>, Fault>) {
    let too_large = |limit: usize| {
        let text = format!("the frame has {} bytes, the limit is {limit}", text.len());
        Err(Fault::new(ErrorCode::TooLarge, text))
    };
    if text.len() > limits.offer_frame_bytes {
        return (None, too_large(limits.offer_frame_bytes));
    }
    match ClientFrame::parse(text) {
        Ok(None) => (None, Ok(None)),
        Ok(Some(frame)) if text.len() > limits.frame_bytes && !frame.message.may_carry_offer() => {
            (frame.id, too_large(limits.frame_bytes))
        }
        Ok(Some(frame)) => (frame.id, Ok(Some(frame.message))),
        Err((id, fault)) => (id, Err(fault)),
    }
}

/// Refuses a frame that comes too fast.
pub(crate) fn check_rate(rate: &DefaultDirectRateLimiter) -> Result<(), Fault> {
    rate.check()
        .map_err(|not_until| too_fast(&not_until, "too many frames"))
}

fn bad_request(text: &str) -> Fault {
    Fault::new(ErrorCode::BadRequest, text)
}
