//! One encoding of a track: what it measures, and when its encoder is asked for a keyframe.

use std::time::{Duration, Instant, SystemTime};

use str0m::media::Rid;
use str0m::rtp::rtcp::SenderInfo;

use crate::egress::OVERHEAD_BYTES;
use crate::publish::Packet;
use crate::relay::LayerState;
use crate::store::Store;

/// One simulcast encoding of a track.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) rid: Option<Rid>,
    pub(crate) stream: u32,
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) rate: Rate,
    pub(crate) keyframes: Keyframes,
    /// What receivers may ask for again.
    pub(crate) store: Store,
    /// The publisher has been told that nobody wants this layer; it comes back when asked for.
    pub(crate) paused: bool,
    /// Since when the layer has had no taker.
    pub(crate) unwanted_since: Option<Instant>,
    last_packet: Option<Instant>,
    pub(crate) report: Option<(SystemTime, u32)>,
    highest_seq: Option<u64>,
    received: u64,
    expected: u64,
}

/// A layer that has sent nothing for this long is taken for paused. Browsers send a frame at least
/// every 100 ms, screen shares of a still picture once a second.
const LAYER_ACTIVE: Duration = Duration::from_millis(2_500);

/// A layer that is so far behind another one of its track has stopped: a browser that has less bandwidth drops the
/// largest layer from one frame to the next. Lower would take a burst of loss for that, higher is a picture that stands
/// for longer.
const LAYER_LAGS: Duration = Duration::from_millis(600);

/// More packets in a row than this do not get lost, or overtaken: RFC 3550 appendix A.1 takes a leap of 3,000 for
/// a restart, too.
const SEQ_LEAP_MAX: u64 = 3_000;
/// SRTP's index has 48 bits.
const SEQ_MAX: u64 = 1 << 48;

impl Layer {
    pub(crate) fn new(rid: Option<Rid>) -> Self {
        Self {
            rid,
            stream: 0,
            size: None,
            rate: Rate::default(),
            keyframes: Keyframes::default(),
            store: Store::default(),
            paused: false,
            unwanted_since: None,
            last_packet: None,
            report: None,
            highest_seq: None,
            received: 0,
            expected: 0,
        }
    }

    pub(crate) fn is_active(&self, now: Instant) -> bool {
        self.last_packet
            .is_some_and(|at| now.saturating_duration_since(at) < LAYER_ACTIVE)
    }

    pub(crate) fn last_packet(&self) -> Option<Instant> {
        self.last_packet
    }

    /// Whether another layer of the track has gone on for long without this one: the encoder has let it go.
    pub(crate) fn lags(&self, newest: Option<Instant>) -> bool {
        let (Some(newest), Some(last)) = (newest, self.last_packet) else {
            return false;
        };
        newest.saturating_duration_since(last) >= LAYER_LAGS
    }

    /// Whether a packet of this number may come now. One far ahead begins a stream of its own, which takes a
    /// keyframe: passed on as a hole, it would lead receivers to guess another rollover counter (RFC 3711 section
    /// 3.3.1). One far behind belongs nowhere, and one beyond all that is ever sent is made up.
    pub(crate) fn follows(&mut self, seq: u64) -> bool {
        let Some(highest) = self.highest_seq else {
            return seq < SEQ_MAX;
        };
        if seq > highest.saturating_add(SEQ_LEAP_MAX) && seq < SEQ_MAX {
            self.restart();
        }
        seq < SEQ_MAX && seq.saturating_add(SEQ_LEAP_MAX) >= highest
    }

    /// The publisher's encoder has started over with a new SSRC.
    pub(crate) fn restart(&mut self) {
        self.stream += 1;
        self.report = None;
        self.highest_seq = None;
    }

    pub(crate) fn state(&self) -> LayerState {
        LayerState {
            rid: self.rid,
            stream: self.stream,
            size: self.size,
            bps: self.rate.bps,
            paused: self.paused,
            last_packet: self.last_packet,
        }
    }

    pub(crate) fn mirror(&mut self, state: &LayerState) {
        self.stream = state.stream;
        self.size = state.size;
        self.rate.bps = state.bps;
        self.paused = state.paused;
        self.last_packet = self.last_packet.max(state.last_packet);
    }

    /// A packet of a mirrored layer has come over.
    pub(crate) fn on_relayed(&mut self, packet: &Packet) {
        self.last_packet = self.last_packet.max(Some(packet.arrived));
        if packet.starts_keyframe {
            self.keyframes.on_keyframe();
        }
    }

    pub(crate) fn on_sender_report(&mut self, info: &SenderInfo) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "RTP timestamps are 32 bits on the wire"
        )]
        let rtp = info.rtp_time.numer() as u32;
        self.report = Some((info.ntp_time, rtp));
    }

    /// Share of packets that did not arrive since the last call, 0 to 1.
    pub(crate) fn take_loss(&mut self) -> f32 {
        let (received, expected) = (
            std::mem::take(&mut self.received),
            std::mem::take(&mut self.expected),
        );
        if expected == 0 || received >= expected {
            return 0.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few thousand packets")]
        let loss = (expected - received) as f32 / expected as f32;
        loss
    }

    pub(crate) fn count(&mut self, seq: u64, bytes: usize, now: Instant) {
        self.last_packet = Some(now);
        self.rate.add(bytes + OVERHEAD_BYTES);
        self.received += 1;
        self.expected += match self.highest_seq {
            None => 1,
            Some(highest) => seq.saturating_sub(highest),
        };
        self.highest_seq = self.highest_seq.max(Some(seq));
    }
}

/// A smoothed rate, measured between ticks.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    bytes: u64,
    since: Option<Instant>,
    bps: u64,
}

impl Rate {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// In bit/s, with headers.
    pub(crate) fn bps(&self) -> u64 {
        self.bps
    }

    /// Takes in what has come since the last tick. An encoder that stood still says nothing about
    /// what it takes when it runs.
    pub(crate) fn tick(&mut self, now: Instant) {
        let bytes = std::mem::take(&mut self.bytes);
        let elapsed = self
            .since
            .replace(now)
            .map(|since| now.saturating_duration_since(since));
        let Some(elapsed) = elapsed.filter(|elapsed| bytes > 0 && *elapsed < RATE_WINDOW_MAX)
        else {
            return;
        };
        let micros = u64::try_from(elapsed.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let bps = bytes.saturating_mul(8_000_000) / micros;
        self.bps = if self.bps == 0 {
            bps
        } else {
            (self.bps + bps) / 2
        };
    }
}

/// A longer time than this between ticks holds a pause.
const RATE_WINDOW_MAX: Duration = Duration::from_secs(1);

/// Coalesces keyframe requests to one layer's encoder.
#[derive(Debug, Default)]
pub(crate) struct Keyframes {
    last_request: Option<Instant>,
    /// A keyframe has come since the last request.
    answered: bool,
    wanted: bool,
}

/// Between a keyframe that has been asked for and the next request: 50 viewers who join within a
/// second cost their publisher two keyframes, not fifty. More makes late joiners wait longer.
const REQUEST_INTERVAL: Duration = Duration::from_millis(1_000);
/// Until a request that has not been answered is repeated: it, or the keyframe, may have got lost.
const REQUEST_REPEAT: Duration = Duration::from_millis(500);

impl Keyframes {
    /// Somebody needs a keyframe. True where the encoder is to be asked now.
    pub(crate) fn want(&mut self, now: Instant) -> bool {
        self.wanted = true;
        self.take_due(now)
    }

    /// True where a request that was held back is due. It counts as sent.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        if !self.wanted || self.due().is_some_and(|due| now < due) {
            return false;
        }
        self.last_request = Some(now);
        self.answered = false;
        self.wanted = false;
        true
    }

    /// A keyframe has come, asked for or not: it serves everybody who has waited until now.
    pub(crate) fn on_keyframe(&mut self) {
        self.answered = true;
        self.wanted = false;
    }

    /// When the next request may go out, while one is wanted.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.wanted { self.due() } else { None }
    }

    fn due(&self) -> Option<Instant> {
        let interval = if self.answered {
            REQUEST_INTERVAL
        } else {
            REQUEST_REPEAT
        };
        self.last_request.and_then(|at| at.checked_add(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(numbers: &[u64]) -> (Vec<bool>, Layer) {
        let now = Instant::now();
        let mut layer = Layer::new(None);
        let mut taken = Vec::new();
        for &seq in numbers {
            let follows = layer.follows(seq);
            if follows {
                layer.count(seq, 1_000, now);
            }
            taken.push(follows);
        }
        (taken, layer)
    }

    #[test]
    fn a_leap_begins_a_stream_of_its_own() {
        let (taken, layer) = received(&[5, 6, 3_006, 23_006, 23_007]);
        assert_eq!(taken, [true; 5]);
        assert_eq!(layer.stream, 1);
    }

    #[test]
    fn what_is_far_behind_or_made_up_is_not_taken() {
        let made_up = u64::MAX - 25_535;
        let (taken, layer) = received(&[50_000, 49_000, 40_000, made_up, 1 << 48, 50_001]);
        assert_eq!(taken, [true, true, false, false, false, true]);
        assert_eq!(layer.stream, 0);
    }
}
