//! Taking up a session whose WebSocket was lost, and ending one that nobody takes up.

use std::net::IpAddr;
use std::sync::Arc;

use madang_core::sdp::{Offer, RemoteAnswer};
use madang_core::{Answer, Command, PeerId};
use tokio::sync::oneshot;

use super::join::check_version;
use super::state::State;
use super::{Attached, Hub};
use crate::protocol::{Action, ErrorCode, Fault, Secret, ServerMessage, SlotInfo};
use crate::room::bye;
use crate::session::{CLOSE_NORMAL, End, Session, Socket, Waiter};

/// The fields of `resume`.
#[derive(Debug)]
pub(crate) struct Resume {
    pub(crate) re: u64,
    pub(crate) v: u32,
    pub(crate) session: String,
    pub(crate) secret: Secret,
    pub(crate) last_s: u64,
    pub(crate) offer: Option<String>,
}

impl Hub {
    /// Gives a session to another WebSocket. `resumed` and what was missed go to `socket` before
    /// anything else does.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        resume: Resume,
        address: IpAddr,
        socket: Socket,
    ) -> Result<Attached, Fault> {
        check_version(resume.v)?;
        self.check_join_rate(address)?;
        let offer = resume.offer.as_deref().map(Offer::parse).transpose()?;
        let peer = self.state.lock().find_session(&resume)?;
        let answer = match offer {
            Some(offer) => Some(self.restart(peer, offer).await?),
            None => None,
        };
        self.state.lock().attach(peer, &resume, answer, socket)
    }

    /// An ICE restart whose answer goes to the caller: on behalf of a session whose WebSocket is not there yet, or that has none.
    pub(crate) async fn restart(
        self: &Arc<Self>,
        peer: PeerId,
        offer: Offer,
    ) -> Result<Answer, Fault> {
        let offer = Box::new(offer);
        self.exchange(peer, |generation| Command::Offer {
            peer,
            generation,
            offer,
        })
        .await
    }

    /// What somebody answers to an offer of ours.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        peer: PeerId,
        answer: RemoteAnswer,
    ) -> Result<Answer, Fault> {
        let answer = Box::new(answer);
        self.exchange(peer, |generation| Command::Accept {
            peer,
            generation,
            answer,
        })
        .await
    }

    /// Gives a session's worker what it answers, and waits for that.
    async fn exchange(
        self: &Arc<Self>,
        peer: PeerId,
        command: impl FnOnce(u32) -> Command,
    ) -> Result<Answer, Fault> {
        let (done, answered) = oneshot::channel();
        let worker = {
            let mut state = self.state.lock();
            let Some(session) = state.sessions.get_mut(&peer) else {
                return Err(gone());
            };
            let generation = session.expect_answer(Waiter::Resume(done));
            let worker = session.worker;
            state.lines.push(worker, command(generation));
            worker
        };
        let wait = async {
            self.flush(worker).await;
            answered.await
        };
        match tokio::time::timeout(self.config.limits.answer_timeout, wait).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(Fault::new(
                ErrorCode::Timeout,
                "the media engine did not answer in time: join again",
            )),
        }
    }

    /// A WebSocket is over. The session waits for another.
    pub(crate) fn detach(self: &Arc<Self>, at: &Attached) {
        let (peer, attachment) = (at.peer, at.attachment);
        let mut state = self.state.lock();
        let session = state
            .sessions
            .get_mut(&peer)
            .filter(|session| session.attachment == attachment);
        if let Some(session) = session {
            session.detach();
            self.later(self.config.resume_ttl, move |hub| {
                hub.expire(peer, attachment);
            });
        }
    }

    /// Ends a session that nobody has taken up since.
    fn expire(self: &Arc<Self>, peer: PeerId, attachment: u64) {
        let mut state = self.state.lock();
        let expired = |session: &Session| session.attachment == attachment && session.is_away();
        if !state.sessions.get(&peer).is_some_and(expired) {
            return;
        }
        let given = state.end_session(peer, End::Close(CLOSE_NORMAL));
        drop(state);
        self.flush_later(given);
    }
}

impl State {
    fn find_session(&self, resume: &Resume) -> Result<PeerId, Fault> {
        let peer = self.session_named(&resume.session).ok_or_else(gone)?;
        let known = self
            .sessions
            .get(&peer)
            .is_some_and(|session| session.knows(&resume.secret));
        if known { Ok(peer) } else { Err(gone()) }
    }

    fn attach(
        &mut self,
        peer: PeerId,
        resume: &Resume,
        answer: Option<Answer>,
        socket: Socket,
    ) -> Result<Attached, Fault> {
        let (session, room) = self.session_and_room(peer).ok_or_else(gone)?;
        let text = "another WebSocket has taken up this session";
        session.attach(
            socket,
            bye(ErrorCode::DuplicateIdentity, text, Action::None),
        );
        if let Some(answer) = &answer {
            session.media.slots = answer.slots.iter().map(SlotInfo::from).collect();
        }
        let missed = session.missed(resume.last_s);
        let full = match missed {
            Some(_) => None,
            None => Some(
                room.snapshot(peer, session.media.slots.clone())
                    .map(Box::new)
                    .ok_or_else(gone)?,
            ),
        };
        let resumed = ServerMessage::Resumed {
            re: resume.re,
            s: session.newest(),
            answer: answer.map(|answer| answer.sdp.to_string()),
            full,
        };
        session.send(resumed.to_text().into());
        let attached = Attached {
            peer,
            attachment: session.attachment,
            rate: Arc::clone(&session.rate),
        };
        match missed {
            Some(frames) => frames.into_iter().for_each(|frame| session.send(frame)),
            None => {
                let own = |track| room.publishes(peer, track);
                let events = session
                    .media
                    .again(own)
                    .into_iter()
                    .chain(room.muted_by_others(peer));
                events
                    .collect::<Vec<_>>()
                    .iter()
                    .for_each(|event| session.event(&event.to_text()));
                self.renew_token(peer, jsonwebtoken::get_current_timestamp());
            }
        }
        Ok(attached)
    }
}

fn gone() -> Fault {
    Fault::new(
        ErrorCode::ResumeFailed,
        "the session is gone, or the secret is wrong: join again",
    )
}
