//! Tokens that are signed anew, for the client's next `join`.

use madang_core::PeerId;

use super::state::State;
use crate::limits::TOKENS_PER_ROUND_MAX;
use crate::protocol::ServerMessage;

impl State {
    /// Signs the tokens of which half of the life is over.
    pub(super) fn renew_due_tokens(&mut self, now: u64) {
        for _ in 0..TOKENS_PER_ROUND_MAX {
            let next = self.tokens_due.first().copied();
            let Some((at, peer)) = next.filter(|(at, _)| *at <= now) else {
                return;
            };
            self.tokens_due.remove(&(at, peer));
            self.renew_token(peer, now);
        }
    }

    /// Sends a token with the present grants to somebody who has joined with one.
    pub(super) fn renew_token(&mut self, peer: PeerId, now: u64) {
        let Some((session, room)) = self.session_and_room(peer) else {
            return;
        };
        let (Some(renewal), Some(grants)) = (&mut session.renewal, room.grants_of(peer)) else {
            return;
        };
        let before = renewal.due();
        let signed = renewal.sign(&room.name, grants, now);
        let after = renewal.due();
        match signed {
            Ok(token) => session.event(&ServerMessage::Token { token }.to_text()),
            Err(error) => tracing::error!(peer = peer.0, %error, "a token cannot be signed anew"),
        }
        self.tokens_due.remove(&(before, peer));
        self.tokens_due.insert((after, peer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_bounded_and_takes_the_oldest_first() {
        let mut state = State::new(1);
        let many = u64::try_from(TOKENS_PER_ROUND_MAX).unwrap() + 2;
        state.tokens_due = (1..=many).map(|n| (n, PeerId(n))).collect();
        state.renew_due_tokens(many - 1);
        assert_eq!(
            Vec::from_iter(state.tokens_due.clone()),
            [(many - 1, PeerId(many - 1)), (many, PeerId(many))]
        );
        state.renew_due_tokens(many - 1);
        assert_eq!(
            Vec::from_iter(state.tokens_due),
            [(many, PeerId(many))],
            "the last one is not due"
        );
    }
}
