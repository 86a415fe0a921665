//! What administrators do.

use madang_core::{PeerId, TrackId};

use super::{Effects, Room, bad_request, bye, view};
use crate::protocol::{
    Action, AdminOp, ErrorCode, Fault, GrantsChange, Kind, PeerName, ServerMessage, TrackName,
};

impl Room {
    /// Carries out an operation of an administrator.
    pub(crate) fn admin(
        &mut self,
        by: PeerId,
        op: AdminOp,
        target: Option<PeerName>,
        track: Option<TrackName>,
        grants: Option<GrantsChange>,
    ) -> Result<Effects, Fault> {
        self.grant(by, "admin", |grants| grants.admin)?;
        let target = || {
            let target = target.ok_or_else(|| bad_request("this operation needs a 'target'"))?;
            self.participant(target.0).map(|_| target.0)
        };
        let mut effects = Effects::default();
        match op {
            AdminOp::Kick => {
                let target = target()?;
                let text = "an administrator has removed you from the room";
                self.expel(
                    target,
                    bye(ErrorCode::Forbidden, text, Action::None),
                    &mut effects,
                );
            }
            AdminOp::Mute => {
                self.admin_mute(by, target()?, track.map(|track| track.0), &mut effects)?;
            }
            AdminOp::Grant => {
                let grants =
                    grants.ok_or_else(|| bad_request("the operation 'grant' needs 'grants'"))?;
                self.change_grants(target()?, grants, &mut effects)?;
            }
            AdminOp::Lock => self.set_locked(true, &mut effects),
            AdminOp::Unlock => self.set_locked(false, &mut effects),
            AdminOp::End => {
                for peer in self.peers().collect::<Vec<_>>() {
                    let text = "an administrator has ended the room";
                    self.expel(
                        peer,
                        bye(ErrorCode::RoomClosed, text, Action::None),
                        &mut effects,
                    );
                }
                // Nobody is left to be told who left before them.
                effects.events.clear();
            }
        }
        Ok(effects)
    }

    /// Mutes one track, or all audio of the target.
    fn admin_mute(
        &mut self,
        by: PeerId,
        target: PeerId,
        track: Option<TrackId>,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        if let Some(track) = track.filter(|track| !self.publishes(target, *track)) {
            return Err(Fault::new(
                ErrorCode::NotFound,
                format!("p{target} publishes no track t{track}"),
            ));
        }
        let own = self
            .tracks
            .values_mut()
            .filter(|found| found.info.peer.0 == target && !found.info.muted);
        let chosen = own.filter(|found| match track {
            Some(track) => found.info.id.0 == track,
            None => found.info.kind == Kind::Audio,
        });
        let mut muted = Vec::new();
        for found in chosen {
            found.muted_by = Some(by);
            muted.push(found.info.id);
        }
        for track in muted {
            self.set_muted(track.0, true, effects);
            effects.event(
                vec![target],
                ServerMessage::Muted {
                    track,
                    muted: true,
                    by: by.into(),
                },
            );
        }
        Ok(())
    }

    fn change_grants(
        &mut self,
        target: PeerId,
        change: GrantsChange,
        effects: &mut Effects,
    ) -> Result<(), Fault> {
        let grants = &mut self.participant_mut(target)?.grants;
        let fixed = |new: Option<bool>, old: bool| new.is_some_and(|new| new != old);
        if fixed(change.hidden, grants.hidden) || fixed(change.recorder, grants.recorder) {
            return Err(bad_request(
                "'hidden' and 'recorder' are decided by the token and cannot be changed",
            ));
        }
        let before = grants.clone();
        grants.publish = change.publish.unwrap_or_else(|| grants.publish.clone());
        grants.subscribe = change.subscribe.unwrap_or(grants.subscribe);
        grants.data = change.data.unwrap_or(grants.data);
        grants.update_own = change.update_own.unwrap_or(grants.update_own);
        grants.admin = change.admin.unwrap_or(grants.admin);
        grants.p2p = change.p2p.unwrap_or(grants.p2p);
        let grants = grants.clone();
        match (before.subscribe, grants.subscribe) {
            (true, false) => effects.command(view::nothing(target)),
            (false, true) => effects.command(view::sound(target)),
            (true, true) | (false, false) => {}
        }
        if grants != before {
            effects.regranted.push(target);
        }
        let everybody = self.peers().collect();
        self.withdraw(target, everybody, effects, |track| {
            !grants.publish.contains(&track.info.source)
        });
        effects.event(vec![target], ServerMessage::Grants { grants });
        Ok(())
    }

    fn set_locked(&mut self, locked: bool, effects: &mut Effects) {
        if self.locked != locked {
            self.locked = locked;
            effects.event(self.peers().collect(), ServerMessage::Room(self.info()));
        }
    }
}
