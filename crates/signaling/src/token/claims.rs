//! What tokens say: our own claim, and that of LiveKit's token servers.

use serde::Deserialize;
use serde_json::Value;

use super::{Access, unauthorized};
use crate::protocol::{ErrorCode, Fault, Grants, Source};

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: String,
    name: Option<String>,
    metadata: Option<Value>,
    madang: Option<Claim>,
    video: Option<LiveKitClaim>,
}

/// The claim `madang`. What is not said is the usual participant: sends and receives everything,
/// administers nothing.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct Claim {
    room: Option<String>,
    join: bool,
    publish: Vec<Source>,
    subscribe: bool,
    data: bool,
    update_own: bool,
    hidden: bool,
    recorder: bool,
    admin: bool,
    p2p: bool,
}

impl Default for Claim {
    fn default() -> Self {
        Self {
            room: None,
            join: false,
            publish: Source::ALL.to_vec(),
            subscribe: true,
            data: true,
            update_own: false,
            hidden: false,
            recorder: false,
            admin: false,
            p2p: false,
        }
    }
}

/// The grants of LiveKit's token servers (claim `video`), with its defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LiveKitClaim {
    room: Option<String>,
    room_join: bool,
    room_admin: bool,
    can_publish: Option<bool>,
    can_subscribe: Option<bool>,
    can_publish_data: Option<bool>,
    can_publish_sources: Vec<String>,
    can_update_own_metadata: Option<bool>,
    hidden: bool,
    recorder: bool,
}

impl Claims {
    pub(super) fn access(self) -> Result<Access, Fault> {
        let claim = match (self.madang, self.video) {
            (Some(claim), _) => claim,
            (None, Some(claim)) => claim.into(),
            (None, None) => {
                return Err(forbidden(
                    "the token grants nothing: give it a claim 'madang' or 'video'",
                ));
            }
        };
        if !claim.join {
            return Err(forbidden(
                "the token does not allow to join: set 'madang.join' or 'video.roomJoin'",
            ));
        }
        if self.sub.is_empty() {
            return Err(unauthorized(
                "the token's 'sub' is empty: it must name the participant",
            ));
        }
        Ok(Access {
            identity: self.sub,
            name: self.name,
            meta: self.metadata,
            grants: claim.grants(),
            room: claim.room.filter(|room| !room.is_empty()),
            renewal: None,
        })
    }
}

impl Claim {
    pub(super) fn grants(&self) -> Grants {
        Grants {
            publish: self.publish.clone(),
            subscribe: self.subscribe,
            data: self.data,
            update_own: self.update_own,
            hidden: self.hidden,
            recorder: self.recorder,
            admin: self.admin,
            p2p: self.p2p,
        }
    }
}

impl From<LiveKitClaim> for Claim {
    fn from(claim: LiveKitClaim) -> Self {
        let may_publish = claim.can_publish.unwrap_or(true);
        let listed = |source: Source| {
            let name = match source {
                Source::Microphone => "microphone",
                Source::Camera => "camera",
                Source::Screen => "screen_share",
                Source::ScreenAudio => "screen_share_audio",
            };
            claim.can_publish_sources.is_empty()
                || claim
                    .can_publish_sources
                    .iter()
                    .any(|listed| listed == name)
        };
        Self {
            publish: Source::ALL
                .into_iter()
                .filter(|source| may_publish && listed(*source))
                .collect(),
            room: claim.room,
            join: claim.room_join,
            subscribe: claim.can_subscribe.unwrap_or(true),
            data: claim.can_publish_data.unwrap_or(may_publish),
            update_own: claim.can_update_own_metadata.unwrap_or(false),
            hidden: claim.hidden,
            recorder: claim.recorder,
            admin: claim.room_admin,
            p2p: false,
        }
    }
}

fn forbidden(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::Forbidden, text)
}
