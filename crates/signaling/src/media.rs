//! What the media engine says of one peer: in the protocol's words, and the newest of it.

use std::collections::BTreeMap;

use madang_core::{LayerName, QualityReason, SlotName, TrackId, Trouble};

use crate::protocol::{
    AudioSlot, LayerInfo, LayerWanted, QualityWhy, ServerMessage, SlotInfo, VideoSlot, Warning, Why,
};

/// The newest of what the media engine said, for a client that has missed it.
#[derive(Debug, Default)]
pub(crate) struct MediaState {
    /// All slots.
    pub(crate) slots: Vec<SlotInfo>,
    rev: u32,
    video: Option<Vec<VideoSlot>>,
    audio: Option<Vec<AudioSlot>>,
    layers: BTreeMap<TrackId, Vec<LayerWanted>>,
    /// Audio and video slots that the next offer should have.
    pub(crate) need_slots: Option<(usize, usize)>,
}

impl MediaState {
    pub(crate) fn take_slots(&mut self, slots: madang_core::Slots) -> ServerMessage {
        let video = slots
            .video
            .map(|slots| slots.iter().map(VideoSlot::from).collect::<Vec<_>>());
        let audio = slots
            .audio
            .map(|slots| slots.iter().map(AudioSlot::from).collect::<Vec<_>>());
        self.rev = slots.rev;
        if video.is_some() {
            self.video.clone_from(&video);
        }
        if audio.is_some() {
            self.audio.clone_from(&audio);
        }
        ServerMessage::Slots {
            rev: slots.rev,
            video,
            audio,
        }
    }

    pub(crate) fn take_layers(
        &mut self,
        track: TrackId,
        layers: &[madang_core::LayerWanted],
    ) -> ServerMessage {
        let layers: Vec<_> = layers.iter().map(LayerWanted::from).collect();
        self.layers.insert(track, layers.clone());
        ServerMessage::Layers {
            track: track.into(),
            layers,
        }
    }

    pub(crate) fn take_need_slots(&mut self, audio: usize, video: usize) -> ServerMessage {
        self.need_slots = Some((audio, video));
        ServerMessage::NeedSlots { audio, video }
    }

    /// Everything once more. Of `layers` only those of tracks that are still published: the rest is forgotten.
    pub(crate) fn again(&mut self, is_published: impl Fn(TrackId) -> bool) -> Vec<ServerMessage> {
        self.layers.retain(|track, _| is_published(*track));
        let slots = (self.video.is_some() || self.audio.is_some()).then(|| ServerMessage::Slots {
            rev: self.rev,
            video: self.video.clone(),
            audio: self.audio.clone(),
        });
        let layers = self.layers.iter();
        let layers = layers.map(|(track, l)| ServerMessage::Layers {
            track: (*track).into(),
            layers: l.clone(),
        });
        let need_slots = self
            .need_slots
            .map(|(audio, video)| ServerMessage::NeedSlots { audio, video });
        slots.into_iter().chain(layers).chain(need_slots).collect()
    }
}

impl From<&SlotName> for SlotInfo {
    fn from(slot: &SlotName) -> Self {
        Self {
            mid: slot.mid.to_string(),
            kind: slot.kind.into(),
        }
    }
}

impl From<&madang_core::VideoSlot> for VideoSlot {
    fn from(slot: &madang_core::VideoSlot) -> Self {
        Self {
            mid: slot.mid.to_string(),
            track: slot.track.map(Into::into),
            paused: slot.paused,
            why: slot.why.into(),
            layer: slot.layer.as_ref().map(LayerInfo::from),
        }
    }
}

impl From<&madang_core::AudioSlot> for AudioSlot {
    fn from(slot: &madang_core::AudioSlot) -> Self {
        Self {
            mid: slot.mid.to_string(),
            track: slot.track.map(Into::into),
            level: slot.level,
        }
    }
}

impl From<&LayerName> for LayerInfo {
    fn from(layer: &LayerName) -> Self {
        Self {
            rid: layer.rid.map(|rid| rid.to_string()),
            w: layer.width,
            h: layer.height,
        }
    }
}

impl From<&madang_core::LayerWanted> for LayerWanted {
    fn from(layer: &madang_core::LayerWanted) -> Self {
        let rid = layer.rid.map(|rid| rid.to_string());
        Self {
            rid,
            active: layer.active,
            max_bps: None,
            max_height: layer.max_height,
            max_fps: layer.max_fps,
        }
    }
}

impl From<madang_core::Why> for Why {
    fn from(why: madang_core::Why) -> Self {
        match why {
            madang_core::Why::Live => Self::Live,
            madang_core::Why::Muted => Self::Muted,
            madang_core::Why::NoBandwidth => Self::NoBandwidth,
            madang_core::Why::NoKeyframe => Self::NoKeyframe,
            madang_core::Why::NotVisible => Self::NotVisible,
            madang_core::Why::PublisherGone => Self::PublisherGone,
            madang_core::Why::NoCommonCodec => Self::NoCommonCodec,
        }
    }
}

impl From<Trouble> for Warning {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::IgnoresKeyframeRequests => Self::NoKeyframeOnRequest,
            Trouble::Reorders => Self::BFrames,
            Trouble::UnusualProfile => Self::H264Profile,
        }
    }
}

impl From<QualityReason> for QualityWhy {
    fn from(reason: QualityReason) -> Self {
        match reason {
            QualityReason::Good => Self::Good,
            QualityReason::UplinkLoss => Self::UplinkLoss,
            QualityReason::DownlinkBandwidth => Self::DownlinkBandwidth,
            QualityReason::Disconnected => Self::Disconnected,
        }
    }
}
