//! Listens to what a session is told, as the page does at the other end of a WebSocket.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Resource, Scene};
use crate::protocol::{ClientMessage, ServerMessage};
use crate::session::Outgoing;
use crate::whip::Gateway;

/// The listener of one session. It ends with the session, and the session with it.
#[derive(Debug)]
pub(in crate::whip) struct Agent {
    pub(in crate::whip) gateway: Arc<Gateway>,
    pub(in crate::whip) resource: Arc<Resource>,
    pub(in crate::whip) outgoing: mpsc::Receiver<Outgoing>,
    /// What a viewer sees of the room.
    pub(in crate::whip) scene: Option<Scene>,
}

impl Agent {
    /// Listens until the session ends; then the resource is gone, too.
    pub(in crate::whip) async fn run(mut self, name: String) {
        self.show().await;
        while let Some(next) = self.outgoing.recv().await {
            let text = match next {
                Outgoing::Text(text) => text,
                Outgoing::Live(live) => {
                    if let Some(happenings) = &self.resource.happenings {
                        happenings.take_live(live);
                    }
                    continue;
                }
                Outgoing::Close(_) => break,
            };
            match serde_json::from_str(&text) {
                Ok(ServerMessage::Bye(bye)) => {
                    tracing::debug!(
                        code = bye.code.as_str(),
                        "a session without a WebSocket has ended: {}",
                        bye.msg
                    );
                }
                Ok(message) => self.on_message(message).await,
                Err(error) => tracing::error!(%error, "a message of this server cannot be read"),
            }
        }
        self.gateway.resources.remove(&name);
        // Where the queue was full, the session does not know yet that nobody listens.
        let _ = self
            .gateway
            .hub
            .ask(&self.resource.at, ClientMessage::Leave {})
            .await;
    }

    async fn on_message(&mut self, message: ServerMessage) {
        if let Some(happenings) = &self.resource.happenings {
            happenings.take(&message);
        }
        if self.scene.as_mut().is_some_and(|scene| scene.take(message)) {
            self.show().await;
        }
    }

    /// Asks for what the viewer is to see.
    async fn show(&mut self) {
        let Some(view) = self.scene.as_mut().map(Scene::view) else {
            return;
        };
        if let Err(fault) = self.gateway.hub.ask(&self.resource.at, view).await {
            tracing::debug!(
                code = fault.code.as_str(),
                "a viewer's view was refused: {}",
                fault.text
            );
        }
    }
}
