//! Offers as our page makes them, and their answers.

use std::time::Duration;

use madang_core::Source;
use str0m::change::{SdpAnswer, SdpApi, SdpOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::media::{Direction, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::{Candidate, Input};

use super::Browser;
use crate::encoder::LayerSpec;

/// The m-lines of the offer.
#[derive(Debug, Default)]
pub(super) struct Mids {
    pub(super) sources: Vec<(Source, Mid)>,
    pub(super) slots: Vec<(Mid, MediaKind)>,
}

impl Browser {
    /// Everything that a call needs: data channel, four sendonly m-lines, the slots.
    pub fn first_offer(&mut self) -> String {
        let (audio_slots, video_slots) = (self.config.audio_slots, self.config.video_slots);
        let simulcast = self.config.svc.is_none();
        let mut change = self.rtc.sdp_api();
        change.add_channel_with_config(ChannelConfig {
            label: "madang".to_owned(),
            ordered: false,
            reliability: Reliability::MaxRetransmits { retransmits: 0 },
            ..ChannelConfig::default()
        });
        let mut send =
            |kind, simulcast| change.add_media(kind, Direction::SendOnly, None, None, simulcast);
        let microphone = send(MediaKind::Audio, None);
        let streams = simulcast.then(camera_simulcast);
        let camera = send(MediaKind::Video, streams);
        let screen = send(MediaKind::Video, None);
        let screen_audio = send(MediaKind::Audio, None);
        let mut slots = add_slots(&mut change, MediaKind::Audio, audio_slots);
        slots.extend(add_slots(&mut change, MediaKind::Video, video_slots));
        let offer = change.apply();
        let sdp = self.finish_offer_of(offer);
        self.mids.sources = vec![
            (Source::Microphone, microphone),
            (Source::Camera, camera),
            (Source::Screen, screen),
            (Source::ScreenAudio, screen_audio),
        ];
        self.mids.slots = slots;
        sdp
    }

    /// What a WHIP client offers: microphone and camera, and where it is.
    pub fn whip_offer(&mut self) -> String {
        self.candidate();
        let mut change = self.rtc.sdp_api();
        let stream = || Some("live".to_owned());
        let mut send = |kind, simulcast| {
            change.add_media(kind, Direction::SendOnly, stream(), None, simulcast)
        };
        let microphone = send(MediaKind::Audio, None);
        let streams = self.config.svc.is_none().then(camera_simulcast);
        let camera = send(MediaKind::Video, streams);
        let offer = change.apply();
        self.mids.sources = vec![(Source::Microphone, microphone), (Source::Camera, camera)];
        self.finish_offer_of(offer)
    }

    /// What a WHEP client offers: one slot for sound and one for a picture, and where it is.
    pub fn whep_offer(&mut self) -> String {
        self.candidate();
        let mut change = self.rtc.sdp_api();
        let mut slots = add_slots(&mut change, MediaKind::Audio, 1);
        slots.extend(add_slots(&mut change, MediaKind::Video, 1));
        let offer = change.apply();
        self.mids.slots = slots;
        self.finish_offer_of(offer)
    }

    /// Answers an offer of the server: whatever it sends is welcome.
    pub fn answer(&mut self, now: Duration, sdp: &str) -> String {
        self.candidate();
        let offer = SdpOffer::from_sdp_string(sdp).unwrap_or_else(|error| {
            panic!("browser {} cannot parse the offer: {error}", self.number)
        });
        self.declared.extend(declared_ssrcs(sdp));
        let answer = self.rtc.sdp_api().accept_offer(offer);
        let answer = answer.unwrap_or_else(|error| {
            panic!("browser {} cannot answer: {error}\n{sdp}", self.number)
        });
        self.suppress_requests();
        let kinds = [("m=audio", MediaKind::Audio), ("m=video", MediaKind::Video)];
        let mut kind = None;
        for line in sdp.lines() {
            if let Some((_, found)) = kinds.iter().find(|(name, _)| line.starts_with(name)) {
                kind = Some(*found);
            } else if let (Some(mid), Some(kind)) = (line.strip_prefix("a=mid:"), kind) {
                self.mids.slots.push((mid.into(), kind));
            }
        }
        self.drain(now);
        answer.to_sdp_string()
    }

    /// More video slots, in the same session.
    pub(crate) fn more_slots_offer(&mut self, count: usize) -> String {
        let mut change = self.rtc.sdp_api();
        let slots = add_slots(&mut change, MediaKind::Video, count);
        let offer = change.apply();
        self.mids.slots.extend(slots);
        self.finish_offer_of(offer)
    }

    /// New ICE credentials, everything else stays.
    pub fn restart_offer(&mut self) -> String {
        let mut change = self.rtc.sdp_api();
        change.ice_restart(true);
        let offer = change.apply();
        self.finish_offer_of(offer)
    }

    /// Starts to listen and says where, as a trickled candidate.
    pub fn candidate(&mut self) -> String {
        let candidate =
            Candidate::host(self.address, "udp").expect("a host candidate of a plain address");
        let line = candidate.to_sdp_string();
        self.rtc.add_local_candidate(candidate);
        line
    }

    pub fn accept_answer(&mut self, now: Duration, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).unwrap_or_else(|error| {
            panic!(
                "browser {} cannot parse the answer: {error}\n{sdp}",
                self.number
            )
        });
        let pending = self.pending.take().expect("an answer comes to an offer");
        self.declared.extend(declared_ssrcs(sdp));
        if let Err(error) = self.rtc.sdp_api().accept_answer(pending, answer) {
            panic!(
                "browser {} cannot apply the answer: {error}\n{sdp}",
                self.number
            );
        }
        self.suppress_requests();
        // As DTLS server there is nothing to do but to check candidates, and that begins with a timeout.
        self.input(now, Input::Timeout(self.start + now));
    }

    pub fn mid_of(&self, source: Source) -> Option<Mid> {
        self.mids
            .sources
            .iter()
            .find(|(of, _)| *of == source)
            .map(|(_, mid)| *mid)
    }

    fn finish_offer_of(
        &mut self,
        offer: Option<(SdpOffer, str0m::change::SdpPendingOffer)>,
    ) -> String {
        let (offer, pending) = offer.expect("the offer changes something");
        self.pending = Some(pending);
        offer.to_sdp_string()
    }
}

fn add_slots(change: &mut SdpApi<'_>, kind: MediaKind, count: usize) -> Vec<(Mid, MediaKind)> {
    (0..count)
        .map(|_| {
            (
                change.add_media(kind, Direction::RecvOnly, None, None, None),
                kind,
            )
        })
        .collect()
}

fn camera_simulcast() -> Simulcast {
    let mut simulcast = Simulcast::new();
    for rid in LayerSpec::camera().iter().filter_map(|layer| layer.rid) {
        simulcast.add_send_layer(SimulcastLayer::new(rid));
    }
    simulcast
}

fn declared_ssrcs(sdp: &str) -> impl Iterator<Item = u32> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=ssrc:"))
        .filter_map(|line| line.split(' ').next()?.parse().ok())
}
