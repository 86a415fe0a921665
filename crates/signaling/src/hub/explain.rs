//! How a participant's media does, asked of its worker.

use std::sync::Arc;

use madang_core::{Command, Explanation, PeerId};
use tokio::sync::oneshot;

use super::Hub;
use super::state::State;
use crate::limits::EXPLANATIONS_WAITING_MAX;
use crate::protocol::{ErrorCode, Fault, Secret};
use crate::token::Auth;

/// The answer; nothing where the worker does not know the peer any more.
pub(super) type Explained = Option<Box<Explanation>>;

/// Takes the question back where nobody waits for its answer any more.
struct Abandon<'a> {
    hub: &'a Hub,
    request: u64,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.hub.state.lock().explaining.remove(&self.request);
    }
}

impl Hub {
    /// What the worker of a participant says about its media. For those who may administer the room; in development
    /// for everybody, as it changes nothing.
    pub(crate) async fn explain(
        self: &Arc<Self>,
        token: Option<&Secret>,
        room: &str,
        peer: PeerId,
    ) -> Result<Box<Explanation>, Fault> {
        self.may_explain(token, room)?;
        let (request, worker, answered) = self.state.lock().ask(room, peer)?;
        let _abandon = Abandon { hub: self, request };
        let wait = async {
            self.flush(worker).await;
            answered.await
        };
        let no_peer = || Fault::new(ErrorCode::NotFound, "the participant has just left");
        match tokio::time::timeout(self.config.limits.answer_timeout, wait).await {
            Ok(Ok(explanation)) => explanation.ok_or_else(no_peer),
            Ok(Err(_)) => Err(Fault::new(ErrorCode::Internal, "the answer has got lost")),
            Err(_) => Err(Fault::new(
                ErrorCode::Timeout,
                "the media engine did not answer in time",
            )),
        }
    }

    fn may_explain(&self, token: Option<&Secret>, room: &str) -> Result<(), Fault> {
        if matches!(self.config.auth, Auth::Development) {
            return Ok(());
        }
        let access = self.config.auth.check(token, String::new)?;
        let of_this_room = access.room.is_none_or(|own| own == room);
        if access.grants.admin && of_this_room {
            return Ok(());
        }
        let text = "this needs a token with the 'admin' grant for the room";
        Err(Fault::new(ErrorCode::Forbidden, text))
    }
}

impl State {
    /// Puts the question in the line for the participant's worker.
    fn ask(
        &mut self,
        room: &str,
        peer: PeerId,
    ) -> Result<(u64, usize, oneshot::Receiver<Explained>), Fault> {
        let session = self.sessions.get(&peer);
        let session = session.filter(|session| {
            let of = self.rooms.get(&session.room);
            of.is_some_and(|of| of.name == room)
        });
        let Some(worker) = session.map(|session| session.worker) else {
            let text = "there is no such participant in the room";
            return Err(Fault::new(ErrorCode::NotFound, text));
        };
        if self.explaining.len() >= EXPLANATIONS_WAITING_MAX {
            let text = "too many such questions wait for their answers";
            return Err(Fault::new(ErrorCode::RateLimited, text).retry_ms(RETRY_MS));
        }
        let request = self.ids.next_request();
        let (done, answered) = oneshot::channel();
        self.explaining.insert(request, done);
        self.lines.push(worker, Command::Explain { peer, request });
        Ok((request, worker, answered))
    }

    pub(super) fn explained(&mut self, request: u64, explanation: Explained) {
        if let Some(done) = self.explaining.remove(&request) {
            // Who no longer waits needs no answer.
            let _ = done.send(explanation);
        }
    }
}

/// Answers take a turn of a worker, in milliseconds.
const RETRY_MS: u64 = 100;
