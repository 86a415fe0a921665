//! What calls send: from who takes part to packets per second.

use serde::{Deserialize, Serialize};

/// Rooms that are alike. Numbers of participants are for each room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Call {
    pub(super) rooms: u32,
    /// Participants that send camera, microphone or both, and watch each other.
    pub(super) publishers: u32,
    /// Participants that send nothing.
    pub(super) viewers: u32,
    /// The camera's layers, the smallest first; every receiver gets the last one. None: no camera.
    pub(super) video_kbps: Vec<u32>,
    pub(super) audio: bool,
    /// Cameras, and microphones, that one participant gets at most.
    pub(super) visible: u32,
    pub(super) audible: u32,
    /// Slots that each participant has, used or not.
    pub(super) slots: u32,
}

/// What goes through the server, each second where it is not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(super) struct Traffic {
    pub(super) packets_in: f64,
    pub(super) packets_out: f64,
    /// Packets of one frame to one receiver, which leave together.
    pub(super) bursts_out: f64,
    pub(super) bits_in: f64,
    pub(super) bits_out: f64,
}

/// As the page asks of the camera, and as the load generator encodes.
const FRAMES_PER_SECOND: f64 = 30.0;
const VIDEO_PAYLOAD_BYTES_MAX: f64 = 1_150.0;
/// Opus in packets of 20 ms at 40 kbit/s.
const AUDIO_PACKETS_PER_SECOND: f64 = 50.0;
const AUDIO_PAYLOAD_BYTES: f64 = 100.0;
/// IP, UDP, RTP with extensions, and the tag of SRTP.
const HEADER_BYTES: f64 = 72.0;
/// `crates/core/src/store.rs` keeps so much of each layer.
const STORE_SECONDS: f64 = 2.0;
const STORE_PACKETS_MAX: f64 = 512.0;

impl Traffic {
    pub(super) fn scaled(self, by: f64) -> Self {
        Self {
            packets_in: self.packets_in * by,
            packets_out: self.packets_out * by,
            bursts_out: self.bursts_out * by,
            bits_in: self.bits_in * by,
            bits_out: self.bits_out * by,
        }
    }
}

impl Call {
    pub(super) fn participants(&self) -> f64 {
        f64::from(self.publishers) + f64::from(self.viewers)
    }

    /// Of all rooms.
    pub(super) fn peers(&self) -> f64 {
        f64::from(self.rooms) * self.participants()
    }

    /// Participants of all rooms to whom something is sent.
    pub(super) fn receivers(&self) -> f64 {
        let gets = |publishers: u32| self.tiles(publishers) + self.voices(publishers) > 0.0;
        let (mut receivers, others) = (0.0, self.publishers.saturating_sub(1));
        if gets(others) {
            receivers += f64::from(self.publishers);
        }
        if gets(self.publishers) {
            receivers += f64::from(self.viewers);
        }
        f64::from(self.rooms) * receivers
    }

    pub(super) fn traffic(&self) -> Traffic {
        let rooms = f64::from(self.rooms);
        let senders = rooms * f64::from(self.publishers);
        let tiles = self.all(|publishers| self.tiles(publishers));
        let voices = self.all(|publishers| self.voices(publishers));
        let layers_in: f64 = self
            .video_kbps
            .iter()
            .map(|kbps| video_packets(*kbps))
            .sum();
        let kbps_in: f64 = self.video_kbps.iter().map(|kbps| f64::from(*kbps)).sum();
        let kbps_out = self.video_kbps.last().copied().unwrap_or_default();
        let microphones = if self.audio { senders } else { 0.0 };
        let audio_in = microphones * AUDIO_PACKETS_PER_SECOND;
        let audio_out = voices * AUDIO_PACKETS_PER_SECOND;
        let packets_in = senders * layers_in + audio_in;
        let packets_out = tiles * video_packets(kbps_out) + audio_out;
        let bits = |packets: f64, video_kbps: f64, audio_packets: f64| {
            video_kbps * 1e3 + (packets * HEADER_BYTES + audio_packets * AUDIO_PAYLOAD_BYTES) * 8.0
        };
        Traffic {
            packets_in,
            packets_out,
            bursts_out: tiles * FRAMES_PER_SECOND + audio_out,
            bits_in: bits(packets_in, senders * kbps_in, audio_in),
            bits_out: bits(packets_out, tiles * f64::from(kbps_out), audio_out),
        }
    }

    /// What the server keeps of all layers, for receivers that miss a packet, in KiB.
    pub(super) fn stored_kib(&self) -> f64 {
        let kept = |packets: f64| (packets * STORE_SECONDS).min(STORE_PACKETS_MAX);
        let video: f64 = (self.video_kbps.iter())
            .map(|kbps| {
                let packets = video_packets(*kbps);
                let payload_bytes = f64::from(*kbps) * 125.0 / packets;
                kept(packets) * (payload_bytes + HEADER_BYTES)
            })
            .sum();
        let audio = if self.audio {
            kept(AUDIO_PACKETS_PER_SECOND) * (AUDIO_PAYLOAD_BYTES + HEADER_BYTES)
        } else {
            0.0
        };
        f64::from(self.rooms) * f64::from(self.publishers) * (video + audio) / 1_024.0
    }

    /// Sums over all participants what one gets who can choose among so many publishers.
    fn all(&self, gets: impl Fn(u32) -> f64) -> f64 {
        let publishers = f64::from(self.publishers) * gets(self.publishers.saturating_sub(1));
        f64::from(self.rooms) * (publishers + f64::from(self.viewers) * gets(self.publishers))
    }

    fn tiles(&self, publishers: u32) -> f64 {
        if self.video_kbps.is_empty() {
            0.0
        } else {
            f64::from(self.visible.min(publishers))
        }
    }

    fn voices(&self, publishers: u32) -> f64 {
        if self.audio {
            f64::from(self.audible.min(publishers))
        } else {
            0.0
        }
    }
}

/// Frames vary in size and the last packet of each is not full: half a packet more than the mean fills.
fn video_packets(kbps: u32) -> f64 {
    let frame_bytes = f64::from(kbps) * 125.0 / FRAMES_PER_SECOND;
    let whole = frame_bytes / VIDEO_PAYLOAD_BYTES_MAX;
    if kbps == 0 {
        0.0
    } else {
        FRAMES_PER_SECOND * (whole + 0.5).max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(publishers: u32, viewers: u32) -> Call {
        Call {
            rooms: 1,
            publishers,
            viewers,
            video_kbps: vec![1_000],
            audio: true,
            visible: 9,
            audible: 3,
            slots: 12,
        }
    }

    #[test]
    fn nobody_receives_themselves_nor_more_than_is_visible() {
        let traffic = call(5, 0).traffic();
        let tiles = 5.0 * 4.0;
        let voices = 5.0 * 3.0;
        assert!((traffic.bursts_out - (tiles * 30.0 + voices * 50.0)).abs() < 1e-9);
        let many = call(20, 10).traffic();
        assert!((many.bursts_out - 30.0 * (9.0 * 30.0 + 3.0 * 50.0)).abs() < 1e-9);
    }

    #[test]
    fn one_alone_sends_and_receives_nothing() {
        let alone = call(1, 0);
        assert!(alone.traffic().packets_in > 100.0);
        assert!(alone.traffic().packets_out.abs() < 1e-9);
        assert!(alone.receivers().abs() < 1e-9);
    }

    #[test]
    fn every_layer_comes_in_and_the_last_one_goes_out() {
        let simulcast = Call {
            video_kbps: vec![150, 500, 1_000],
            audio: false,
            ..call(1, 10)
        };
        let traffic = simulcast.traffic();
        assert!(traffic.bits_in > 1_650e3 && traffic.bits_in < 1_850e3);
        assert!(traffic.bits_out > 10e6 && traffic.bits_out < 10.8e6);
    }

    #[test]
    fn what_is_stored_of_a_layer_has_an_end() {
        let stored = |kbps| {
            Call {
                video_kbps: vec![kbps],
                audio: false,
                ..call(1, 1)
            }
            .stored_kib()
        };
        assert!(stored(500) < stored(1_000));
        assert!(stored(50_000) < 700.0, "{}", stored(50_000));
    }
}
