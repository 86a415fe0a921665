//! Publishing and muting.

use std::sync::Arc;

use madang_core::{Command, PeerId, Rid, TrackId, TrackSpec};

use super::{Effects, Room, Track, TrackIds, bad_request};
use crate::limits::{Limits, MID_BYTES_MAX, RID_BYTES_MAX, RIDS_PER_TRACK_MAX};
use crate::protocol::{
    ErrorCode, Fault, Grants, Publication, Published, ServerMessage, TrackInfo, TrackName,
};

impl Room {
    /// Makes tracks visible to the room: all of them, or none and a fault. A publication that is
    /// there already is answered with the track that it has made: the reply to it may have been lost.
    pub(crate) fn publish(
        &mut self,
        peer: PeerId,
        publications: Vec<Publication>,
        ids: &mut impl TrackIds,
        limits: &Limits,
    ) -> Result<(Vec<Published>, Effects), Fault> {
        self.check_publications(peer, &publications, limits)?;
        let encrypted = self.participant(peer)?.encrypts;
        let mut effects = Effects::default();
        let mut published = Vec::new();
        let mut add = Vec::new();
        for publication in publications {
            let cid = publication.cid.clone();
            let id = if let Some(there) = self.published_before(peer, &publication) {
                self.repeat(there, publication.muted, &mut effects);
                there
            } else {
                let left = self.take_left(peer, &publication);
                let id = left.unwrap_or_else(|| ids.next_track());
                effects.command(Command::Publish {
                    peer,
                    track: spec(id, &publication, encrypted),
                });
                let track = Track::new(id, peer, publication);
                add.push(track.info.clone());
                self.tracks.insert(id, track);
                id
            };
            published.push(Published { cid, id: id.into() });
        }
        if !add.is_empty() {
            effects.event(
                self.others(peer),
                ServerMessage::Tracks {
                    add,
                    upd: vec![],
                    del: vec![],
                },
            );
        }
        Ok((published, effects))
    }

    /// Takes own tracks away again: all of them, or none and a fault.
    pub(crate) fn unpublish(
        &mut self,
        peer: PeerId,
        tracks: &[TrackName],
    ) -> Result<Effects, Fault> {
        for track in tracks {
            self.own_track(peer, track.0)?;
        }
        let mut effects = Effects::default();
        self.withdraw(peer, self.others(peer), &mut effects, |track| {
            tracks.contains(&track.info.id)
        });
        Ok(effects)
    }

    /// Mutes or unmutes an own track.
    pub(crate) fn mute(
        &mut self,
        peer: PeerId,
        track: TrackId,
        muted: bool,
    ) -> Result<Effects, Fault> {
        let own = self.own_track(peer, track)?;
        own.muted_by = None;
        let mut effects = Effects::default();
        self.set_muted(track, muted, &mut effects);
        Ok(effects)
    }

    /// Removes those tracks of `peer` that `which` names, and tells `to`.
    pub(super) fn withdraw(
        &mut self,
        peer: PeerId,
        to: Vec<PeerId>,
        effects: &mut Effects,
        which: impl Fn(&Track) -> bool,
    ) {
        let gone = self
            .tracks
            .extract_if(.., |_, track| track.info.peer.0 == peer && which(track));
        let gone: Vec<TrackId> = gone.map(|(id, _)| id).collect();
        if gone.is_empty() {
            return;
        }
        effects
            .commands
            .extend(gone.iter().map(|track| Command::Unpublish {
                peer,
                track: *track,
            }));
        let del = gone.into_iter().map(TrackName).collect();
        effects.event(
            to,
            ServerMessage::Tracks {
                add: vec![],
                upd: vec![],
                del,
            },
        );
    }

    /// Sets a track's state, and tells everybody but its publisher where that changes it.
    pub(super) fn set_muted(&mut self, track: TrackId, muted: bool, effects: &mut Effects) {
        let Some(found) = self
            .tracks
            .get_mut(&track)
            .filter(|found| found.info.muted != muted)
        else {
            return;
        };
        found.info.muted = muted;
        let (peer, info) = (found.info.peer.0, found.info.clone());
        effects.command(Command::Mute { peer, track, muted });
        effects.event(
            self.others(peer),
            ServerMessage::Tracks {
                add: vec![],
                upd: vec![info],
                del: vec![],
            },
        );
    }

    /// The track that the same publication has made before.
    fn published_before(&self, peer: PeerId, publication: &Publication) -> Option<TrackId> {
        let same = |track: &&Track| {
            track.info.peer.0 == peer
                && track.cid == publication.cid
                && track.mid == publication.mid
                && track.info.kind == publication.kind
                && track.info.source == publication.source
        };
        self.tracks.values().find(same).map(|track| track.info.id.0)
    }

    /// Takes over whether a publication is muted. Of an administrator, who has muted it meanwhile,
    /// its publisher could not know: they are told again.
    fn repeat(&mut self, track: TrackId, muted: bool, effects: &mut Effects) {
        let Some(found) = self.tracks.get(&track) else {
            return;
        };
        match (found.muted_by, muted) {
            (Some(by), false) => {
                let again = ServerMessage::Muted {
                    track: track.into(),
                    muted: true,
                    by: by.into(),
                };
                effects.event(vec![found.info.peer.0], again);
            }
            (None, _) | (Some(_), true) => self.set_muted(track, muted, effects),
        }
    }

    fn own_track(&mut self, peer: PeerId, track: TrackId) -> Result<&mut Track, Fault> {
        self.tracks
            .get_mut(&track)
            .filter(|found| found.info.peer.0 == peer)
            .ok_or_else(|| {
                Fault::new(
                    ErrorCode::NotFound,
                    format!("you publish no track t{track}"),
                )
            })
    }

    fn check_publications(
        &self,
        peer: PeerId,
        new: &[Publication],
        limits: &Limits,
    ) -> Result<(), Fault> {
        let grants = &self.participant(peer)?.grants;
        let mids: Vec<_> = self
            .tracks
            .values()
            .filter(|t| t.info.peer.0 == peer)
            .map(|t| t.mid.as_str())
            .collect();
        let is_new =
            |publication: &&Publication| self.published_before(peer, publication).is_none();
        check_count(mids.len() + new.iter().filter(is_new).count(), limits)?;
        check_publishable(grants, new, limits)?;
        let mut added = new.iter().filter(is_new);
        match added.find(|new| mids.contains(&new.mid.as_str())) {
            Some(taken) => Err(occupied(&taken.mid)),
            None => Ok(()),
        }
    }
}

/// Refuses what nobody with these grants could publish, whatever they publish already.
pub(crate) fn check_publishable(
    grants: &Grants,
    new: &[Publication],
    limits: &Limits,
) -> Result<(), Fault> {
    check_count(new.len(), limits)?;
    for (i, publication) in new.iter().enumerate() {
        check_grant(grants, publication)?;
        check_fields(publication, limits)?;
        if new.iter().take(i).any(|other| other.mid == publication.mid) {
            return Err(occupied(&publication.mid));
        }
    }
    Ok(())
}

fn check_count(tracks: usize, limits: &Limits) -> Result<(), Fault> {
    let max = limits.tracks_per_participant;
    if tracks <= max {
        return Ok(());
    }
    let text = format!("a participant may publish {max} tracks: unpublish one");
    Err(Fault::new(ErrorCode::PublishLimit, text))
}

fn occupied(mid: &str) -> Fault {
    let mid = mid.escape_debug();
    bad_request(format!(
        "mid '{mid}' carries another track: unpublish it first"
    ))
}

impl Track {
    fn new(id: TrackId, peer: PeerId, publication: Publication) -> Self {
        Self {
            info: TrackInfo {
                id: id.into(),
                peer: peer.into(),
                kind: publication.kind,
                source: publication.source,
                muted: publication.muted,
                w: publication.w,
                h: publication.h,
                rids: publication.rids.unwrap_or_default(),
                codec: publication.codec,
                profile: None,
                warnings: Vec::new(),
            },
            cid: publication.cid,
            mid: publication.mid,
            muted_by: None,
            layers: Arc::default(),
        }
    }
}

fn check_grant(grants: &Grants, publication: &Publication) -> Result<(), Fault> {
    let source = publication.source;
    if grants.hidden {
        return Err(Fault::new(
            ErrorCode::Forbidden,
            "a hidden participant cannot publish",
        ));
    }
    if !grants.publish.contains(&source) {
        let text = format!("the grants do not allow to publish a {}", source.as_str());
        return Err(Fault::new(ErrorCode::Forbidden, text));
    }
    Ok(())
}

fn check_fields(publication: &Publication, limits: &Limits) -> Result<(), Fault> {
    let source = publication.source;
    if source.kind() != publication.kind {
        return Err(bad_request(format!(
            "a {} is not of kind {:?}",
            source.as_str(),
            publication.kind
        )));
    }
    limits.check_name("cid", &publication.cid)?;
    limits.check_name("codec", publication.codec.as_deref().unwrap_or_default())?;
    if publication.mid.is_empty() || publication.mid.len() > MID_BYTES_MAX {
        return Err(bad_request(format!("a mid has 1 to {MID_BYTES_MAX} bytes")));
    }
    let rids = publication.rids.as_deref().unwrap_or_default();
    let limits = publication.max_bps.as_ref().map_or(0, Vec::len);
    if limits > rids.len().max(1) {
        return Err(bad_request(
            "max_bps has one number for each rid".to_owned(),
        ));
    }
    if rids.len() > RIDS_PER_TRACK_MAX
        || rids
            .iter()
            .any(|rid| rid.is_empty() || rid.len() > RID_BYTES_MAX)
    {
        let text =
            format!("a track has at most {RIDS_PER_TRACK_MAX} rids of 1 to {RID_BYTES_MAX} bytes");
        return Err(bad_request(text));
    }
    Ok(())
}

/// What is said of each stream, in the order of the rids.
fn limits(publication: &Publication) -> Vec<(Option<Rid>, u64)> {
    let limits = publication.max_bps.iter().flatten().copied();
    match publication.rids.as_deref() {
        None | Some([]) => limits.take(1).map(|bps| (None, bps)).collect(),
        Some(rids) => rids
            .iter()
            .map(|rid| Some(Rid::from(rid.as_str())))
            .zip(limits)
            .collect(),
    }
}

fn spec(id: TrackId, publication: &Publication, encrypted: bool) -> TrackSpec {
    TrackSpec {
        id,
        mid: publication.mid.as_str().into(),
        kind: publication.kind.into(),
        source: publication.source.into(),
        muted: publication.muted,
        width: publication.w,
        height: publication.h,
        max_bps: limits(publication),
        encrypted,
    }
}
