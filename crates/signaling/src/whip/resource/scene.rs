//! What a viewer sees of a room.

use std::collections::BTreeMap;

use crate::protocol::{
    AudioMode, Auto, ClientMessage, Joined, Kind, PeerInfo, PeerName, ServerMessage, SlotInfo,
    Source, Tile, TrackInfo, TrackName, ViewAudio,
};

/// A viewer says nothing about the size of its picture: as large as there is, as far as the bandwidth goes.
const WIDTH: u32 = 3_840;
const HEIGHT: u32 = 2_160;

/// A viewer's slots, and what there is to show in them.
#[derive(Debug)]
pub(in crate::whip) struct Scene {
    /// The participant who is to be shown, by identity or name; `None` for whoever speaks.
    follows: Option<String>,
    video_slots: usize,
    rev: u32,
    peers: BTreeMap<PeerName, PeerInfo>,
    tracks: BTreeMap<TrackName, TrackInfo>,
}

impl Scene {
    pub(in crate::whip) fn new(follows: Option<String>, joined: Joined) -> Self {
        let is_video = |slot: &&SlotInfo| slot.kind == Kind::Video;
        Self {
            follows,
            video_slots: joined.slots.iter().filter(is_video).count(),
            rev: 0,
            peers: joined
                .peers
                .into_iter()
                .map(|peer| (peer.id, peer))
                .collect(),
            tracks: joined
                .tracks
                .into_iter()
                .map(|track| (track.id, track))
                .collect(),
        }
    }

    /// Takes in what the room says. True where the viewer's view changes by it.
    pub(super) fn take(&mut self, message: ServerMessage) -> bool {
        if self.follows.is_none() {
            return false;
        }
        if let ServerMessage::Peers { add, upd, del } = message {
            self.peers
                .extend(add.into_iter().chain(upd).map(|peer| (peer.id, peer)));
            self.peers.retain(|peer, _| !del.contains(peer));
            true
        } else if let ServerMessage::Tracks { add, upd, del } = message {
            self.tracks
                .extend(add.into_iter().chain(upd).map(|track| (track.id, track)));
            self.tracks.retain(|track, _| !del.contains(track));
            true
        } else {
            false
        }
    }

    /// The view that shows it.
    pub(super) fn view(&mut self) -> ClientMessage {
        self.rev += 1;
        let Some(follows) = &self.follows else {
            return self.whoever_speaks();
        };
        let shown = self.find(follows);
        let of = |kind: Kind| {
            let tracks = self.tracks.values();
            tracks.filter(move |track| Some(track.peer) == shown && track.kind == kind)
        };
        // A shared screen is what the participant wants to show.
        let mut pictures: Vec<&TrackInfo> = of(Kind::Video).collect();
        pictures.sort_by_key(|track| track.source != Source::Screen);
        let tiles = pictures
            .into_iter()
            .take(self.video_slots)
            .map(|track| Tile {
                track: track.id,
                slot: None,
                w: WIDTH,
                h: HEIGHT,
                prio: None,
                min_h: None,
                fps: None,
            });
        ClientMessage::View {
            rev: self.rev,
            video: tiles.collect(),
            auto: None,
            audio: Some(ViewAudio {
                mode: AudioMode::List,
                pin: None,
                tracks: Some(of(Kind::Audio).map(|track| track.id).collect()),
            }),
        }
    }

    fn whoever_speaks(&self) -> ClientMessage {
        ClientMessage::View {
            rev: self.rev,
            video: Vec::new(),
            auto: Some(Auto {
                max: self.video_slots,
                w: WIDTH,
                h: HEIGHT,
                pin: None,
            }),
            audio: Some(ViewAudio {
                mode: AudioMode::Loudest,
                pin: None,
                tracks: None,
            }),
        }
    }

    /// The participant of this identity, else the first one of this name.
    fn find(&self, who: &str) -> Option<PeerName> {
        let by = |matches: fn(&PeerInfo, &str) -> bool| {
            self.peers.values().find(|peer| matches(peer, who))
        };
        let found =
            by(|peer, who| peer.identity == who).or_else(|| by(|peer, who| peer.name == who));
        found.map(|peer| peer.id)
    }
}
