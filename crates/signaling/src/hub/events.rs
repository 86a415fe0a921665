//! What the media engine says, as the sessions get it.

use std::sync::Arc;

use madang_core::sdp::SdpError;
use madang_core::{Answer, CloseReason, Event, PeerId, Quality, RoomId};

use super::Hub;
use super::commands::Workers;
use super::requests::{check_rate, read};
use super::state::State;
use crate::media::MediaState;
use crate::protocol::{
    Action, ClientMessage, ErrorCode, Fault, PeerLevel, PeerQuality, QualityWhy, ServerMessage,
    SlotInfo,
};
use crate::room::bye;
use crate::session::Waiter;

impl Hub {
    /// Hands an event to those whom it concerns. It never waits: a worker that waits for its events
    /// to be taken would wait for ever.
    pub(super) fn on_event(self: &Arc<Self>, event: Event) {
        let given = self.dispatch(event);
        self.flush_later(given);
    }

    fn dispatch(&self, event: Event) -> Workers {
        let mut state = self.state.lock();
        match event {
            Event::Answered {
                peer,
                generation,
                result,
            } => return self.answered(&mut state, peer, generation, result),
            Event::Data { peer, payload } => return self.data(&mut state, peer, &payload),
            Event::Closed { peer, reason } => state.closed(peer, reason),
            Event::Slots { peer, slots } => state.tell(peer, |media| media.take_slots(slots)),
            Event::Layers {
                peer,
                track,
                layers,
            } => state.tell(peer, |media| media.take_layers(track, &layers)),
            Event::Available {
                room,
                track,
                layers,
            } => state.available(room, track, layers),
            Event::Format {
                room,
                track,
                format,
            } => return state.format(room, track, format),
            Event::Troubles {
                room,
                track,
                troubles,
            } => return state.troubles(room, track, &troubles),
            Event::NeedSlots { peer, audio, video } => {
                state.tell(peer, |media| media.take_need_slots(audio, video));
            }
            Event::Speakers {
                worker,
                room,
                speakers,
            } => state.speakers(worker.into(), room, &speakers),
            Event::Quality {
                room,
                peer,
                quality,
            } => state.quality(room, peer, quality),
            Event::Explained {
                request,
                explanation,
                ..
            } => state.explained(request, explanation),
            Event::Connected { peer } => tracing::debug!(peer = peer.0, "media is connected"),
            Event::Disconnected { peer } => tracing::debug!(peer = peer.0, "media is disconnected"),
        }
        Workers::new()
    }

    fn answered(
        &self,
        state: &mut State,
        peer: PeerId,
        generation: u32,
        result: Result<Answer, SdpError>,
    ) -> Workers {
        if state.joining.contains_key(&peer) {
            return state.finish_join(peer, result, &self.config);
        }
        let session = state.sessions.get_mut(&peer);
        let Some(session) = session.filter(|session| session.awaits(generation)) else {
            return Workers::new();
        };
        match result {
            Ok(answer) => {
                session.media.slots = answer.slots.iter().map(SlotInfo::from).collect();
                session.media.need_slots = None;
                match session.offers.pending.take().map(|pending| pending.waiter) {
                    Some(Waiter::Reply { re, generation }) => {
                        let slots = session.media.slots.clone();
                        let reply = ServerMessage::Answer {
                            re,
                            generation,
                            sdp: answer.sdp.to_string(),
                            slots,
                        };
                        session.send(reply.to_text().into());
                    }
                    // Who no longer waits needs no answer.
                    Some(Waiter::Resume(done)) => drop(done.send(Ok(answer))),
                    None => {}
                }
            }
            Err(error) => session.answer_fault(error.into()),
        }
        Workers::new()
    }

    /// A message over the data channel: the same checks as over the WebSocket.
    fn data(&self, state: &mut State, peer: PeerId, payload: &[u8]) -> Workers {
        let limits = &self.config.limits;
        let Some((session, room)) = state.session_and_room(peer) else {
            return Workers::new();
        };
        let read = || {
            check_rate(&session.rate)?;
            let text = std::str::from_utf8(payload).map_err(|_| bad_data("is no UTF-8"))?;
            match read(text, limits).1? {
                Some(ClientMessage::Msg(message)) => {
                    room.message(peer, message, false, limits).map(Some)
                }
                Some(_) => Err(bad_data("is no 'msg': send it over the WebSocket")),
                None => Ok(None),
            }
        };
        match read() {
            Ok(effects) => {
                let room = room.id;
                state.apply(room, effects.unwrap_or_default())
            }
            Err(fault) => {
                session.send(fault.reply(None).to_text().into());
                Workers::new()
            }
        }
    }
}

impl State {
    /// The peer is gone. A session that has not left itself is told to join again.
    fn closed(&mut self, peer: PeerId, reason: CloseReason) {
        let code = if reason == CloseReason::Internal {
            ErrorCode::Internal
        } else {
            ErrorCode::Timeout
        };
        let text = match reason {
            CloseReason::Left => "the media connection has been ended",
            CloseReason::RemoteClosed => "the media connection has been closed by the client",
            CloseReason::ConnectTimeout => {
                "no media connection came up: is UDP blocked on the way?"
            }
            CloseReason::HandshakeFailed => {
                "the DTLS handshake has failed: the client's certificate must be one of ECDSA"
            }
            CloseReason::ConsentLost => "the media connection is lost",
            CloseReason::Internal => "the media engine has failed",
        };
        if self.joining.contains_key(&peer) {
            self.fail_join(peer, Fault::new(code, text));
        } else if let Some((_, room)) = self.session_and_room(peer) {
            tracing::debug!(peer = peer.0, ?reason, "media is closed");
            let id = room.id;
            let was_connected =
                matches!(reason, CloseReason::ConsentLost | CloseReason::RemoteClosed);
            let effects = room.lose(peer, bye(code, text, Action::Rejoin), was_connected);
            self.apply(id, effects);
        }
    }

    /// Updates what is known of a peer's media, and sends the event.
    fn tell(&mut self, peer: PeerId, take: impl FnOnce(&mut MediaState) -> ServerMessage) {
        if let Some(session) = self.sessions.get_mut(&peer) {
            let event = take(&mut session.media);
            session.event(&event.to_text());
        }
    }

    /// Who speaks, as one worker's people hear it.
    fn speakers(&self, worker: usize, room: RoomId, speakers: &[(PeerId, u8)]) {
        let list = speakers
            .iter()
            .map(|(peer, level)| PeerLevel {
                peer: (*peer).into(),
                level: *level,
            })
            .collect();
        let Some(room) = self.rooms.get(&room) else {
            return;
        };
        let is_there = |peer: &PeerId| {
            let session = self.sessions.get(peer);
            session.is_some_and(|session| session.worker == worker)
        };
        self.hint(
            &room.peers().filter(is_there).collect::<Vec<_>>(),
            &ServerMessage::Speakers { list },
        );
    }

    fn quality(&self, room: RoomId, peer: PeerId, quality: Quality) {
        let Some(room) = self.rooms.get(&room) else {
            return;
        };
        let to = if room.is_announced(peer) {
            room.peers().collect()
        } else {
            vec![peer]
        };
        let why = QualityWhy::from(quality.reason);
        let list = vec![PeerQuality {
            peer: peer.into(),
            score: quality.score,
            why,
        }];
        self.hint(&to, &ServerMessage::Quality { list });
    }

    fn hint(&self, to: &[PeerId], message: &ServerMessage) {
        let text = axum::extract::ws::Utf8Bytes::from(message.to_text());
        for session in to.iter().filter_map(|peer| self.sessions.get(peer)) {
            session.hint(text.clone());
        }
    }
}

fn bad_data(text: &str) -> Fault {
    Fault::new(
        ErrorCode::BadRequest,
        format!("a message on the data channel {text}"),
    )
}
