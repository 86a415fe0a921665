//! What participants tell each other: names, messages, and bodies that the server does not read.

use madang_core::{Command, PeerId};
use serde_json::Value;

use super::{Effects, Room, no_peer};
use crate::limits::Limits;
use crate::protocol::{Fault, Message, P2pKind, PeerName, ServerMessage};

impl Room {
    /// Changes the own name and metadata.
    pub(crate) fn update(
        &mut self,
        peer: PeerId,
        name: Option<String>,
        meta: Option<Value>,
        limits: &Limits,
    ) -> Result<Effects, Fault> {
        self.grant(peer, "update_own", |grants| grants.update_own)?;
        limits.check_name("name", name.as_deref().unwrap_or_default())?;
        limits.check_meta("meta", meta.as_ref().unwrap_or(&Value::Null))?;
        let before = self.participant(peer)?;
        let name_bytes = name.as_ref().unwrap_or(&before.name).len();
        let meta_bytes = meta.as_ref().unwrap_or(&before.meta).to_string().len();
        let bytes = name_bytes + meta_bytes;
        self.relays.spend(peer, bytes, self.others(peer).len())?;
        let participant = self.participant_mut(peer)?;
        if let Some(name) = name {
            participant.name = name;
        }
        if let Some(meta) = meta {
            participant.meta = meta;
        }
        let mut effects = Effects::default();
        if let Some(info) = self.announced(peer) {
            effects.event(
                self.others(peer),
                ServerMessage::Peers {
                    add: vec![],
                    upd: vec![info],
                    del: vec![],
                },
            );
        }
        Ok(effects)
    }

    /// Relays a message: as an event where it is `reliable`, over the data channel where not.
    pub(crate) fn message(
        &self,
        peer: PeerId,
        message: Message,
        reliable: bool,
        limits: &Limits,
    ) -> Result<Effects, Fault> {
        self.grant(peer, "data", |grants| grants.data)?;
        limits.check_name("topic", &message.topic)?;
        let to = self.recipients(peer, message.to.as_deref())?;
        let relayed = ServerMessage::Msg {
            from: peer.into(),
            topic: message.topic,
            body: message.body,
        };
        let text = self.relayed_text(peer, &relayed, &to, limits)?;
        let mut effects = Effects::default();
        if reliable {
            effects.event(to, relayed);
        } else if !to.is_empty() {
            effects.command(Command::Data {
                peers: to,
                payload: text.into(),
            });
        }
        Ok(effects)
    }

    /// Relays what only the participants' encryption understands.
    pub(crate) fn e2ee(
        &self,
        peer: PeerId,
        to: Option<&[PeerName]>,
        body: Value,
        limits: &Limits,
    ) -> Result<Effects, Fault> {
        let to = self.recipients(peer, to)?;
        let relayed = ServerMessage::E2ee {
            from: peer.into(),
            body,
        };
        self.relayed_text(peer, &relayed, &to, limits)?;
        let mut effects = Effects::default();
        effects.event(to, relayed);
        Ok(effects)
    }

    /// Relays the setting up of a direct connection.
    pub(crate) fn p2p(
        &self,
        peer: PeerId,
        to: PeerName,
        kind: P2pKind,
        body: Option<Value>,
    ) -> Result<Effects, Fault> {
        self.grant(peer, "p2p", |grants| grants.p2p)?;
        let mut effects = Effects::default();
        let message = ServerMessage::P2p {
            from: peer.into(),
            kind,
            body: body.unwrap_or_default(),
        };
        effects.event(self.recipients(peer, Some(&[to]))?, message);
        Ok(effects)
    }

    /// What goes to these, where it is within its limits.
    fn relayed_text(
        &self,
        peer: PeerId,
        relayed: &ServerMessage,
        to: &[PeerId],
        limits: &Limits,
    ) -> Result<String, Fault> {
        let text = relayed.to_text();
        limits.check_message(&text)?;
        self.relays.spend(peer, text.len(), to.len())?;
        Ok(text)
    }

    fn recipients(&self, peer: PeerId, to: Option<&[PeerName]>) -> Result<Vec<PeerId>, Fault> {
        let Some(to) = to else {
            return Ok(self.others(peer));
        };
        let mut recipients: Vec<_> = to.iter().map(|name| name.0).collect();
        recipients.sort_unstable();
        recipients.dedup();
        match recipients
            .iter()
            .find(|peer| !self.participants.contains_key(peer))
        {
            Some(stranger) => Err(no_peer(*stranger)),
            None => Ok(recipients),
        }
    }
}
