//! What a lane hears and says by RTCP: receivers' reports, its own sender reports, and requests for what it misses itself.

use std::time::{Duration, Instant};

use super::{Lane, stream_of};
use crate::Outbox;
use crate::egress::estimate::{BPS_MAX, BPS_MIN, Estimator, Fate};
use crate::egress::pacer::Outgoing;
use crate::egress::rtcp::{self, Message, ReportBlock, SenderReport};
use crate::egress::stream::Stream;
use crate::egress::twcc::{self, Feedback};

/// What a receiver has said, and a buffer to read it in. Reused.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Slots and the numbers of packets that are missing there.
    pub(crate) missing: Vec<(usize, u16)>,
    /// Slots that have lost their picture.
    pub(crate) lost_pictures: Vec<usize>,
    /// Slots of which packets are missing that will not come soon, or never, each once.
    pub(crate) overdue: Vec<usize>,
    buffer: Vec<u8>,
    feedback: Feedback,
}

/// Sender reports of a sending stream: lips are in sync soon after a switch. libwebrtc does the same.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// What one datagram may ask for, and tell of: more is not read. Receivers ask for a burst of losses at once, and
/// report several times a second.
const MISSING_MAX: usize = 512;
const STATUSES_MAX: usize = 4_096;
/// Under which SSRC the lane speaks of what it receives; libwebrtc has the same for those who send nothing.
const FEEDBACK_SSRC: u32 = 1;
/// Where its SRTCP indexes start. Those of slots and of the engine start at 0 and come once or a few times a second: even where chance
/// gives them the same SSRC, no index is ever used twice under it.
pub(super) const FEEDBACK_INDEX_START: u32 = 1 << 30;
/// The index has 31 bits (RFC 3711 section 3.4), and must not begin anew under the same key.
const SRTCP_INDEX_MAX: u32 = (1 << 31) - 1;

impl Lane {
    /// Reads a receiver's RTCP. False where the engine has to read it too.
    pub(crate) fn on_rtcp(&mut self, now: Instant, datagram: &[u8], heard: &mut Heard) -> bool {
        heard.missing.clear();
        heard.lost_pictures.clear();
        heard.overdue.clear();
        let Some(keys) = &self.keys else {
            return false;
        };
        heard.buffer.clear();
        heard.buffer.extend_from_slice(datagram);
        let Some((compound, index)) = keys.open_rtcp(&mut heard.buffer) else {
            return true;
        };
        let sender = compound.get(4..).and_then(|rest| rest.first_chunk());
        if !self
            .replay
            .is_new(sender.map_or(0, |ssrc| u32::from_be_bytes(*ssrc)), index)
        {
            return true;
        }
        let (mut complete, mut statuses) = (true, 0);
        for message in rtcp::messages(compound) {
            match message {
                Message::Nack { ssrc, missing } => {
                    if let Some(slot) = self.slot(ssrc) {
                        let room = MISSING_MAX - heard.missing.len();
                        heard
                            .missing
                            .extend(missing.map(|seq| (slot, seq)).take(room));
                    }
                }
                Message::KeyframeRequest { ssrc } => heard.lost_pictures.extend(self.slot(ssrc)),
                Message::TransportFeedback(body) => {
                    if statuses < STATUSES_MAX && twcc::parse(body, &mut heard.feedback) {
                        statuses += heard.feedback.arrivals.len();
                        self.estimator.on_feedback(now, &heard.feedback);
                        if self.awaits_reports_until.is_some_and(|until| now < until) {
                            miss_first(now, &mut self.streams, &self.estimator, &mut heard.missing);
                            miss_again(now, &mut self.streams, &self.estimator, &mut heard.missing);
                        }
                        // The first large picture does not wait until more is known.
                        let loss_permille = self.estimator.loss_so_far_permille();
                        self.redundancy.on_loss(now, loss_permille);
                        self.ask_for_patience(now);
                    }
                }
                Message::Remb { bps } => self.remb_bps = Some(bps.clamp(BPS_MIN, BPS_MAX)),
                Message::Received(block) => self.on_block(now, &block),
                Message::Report => {}
                Message::ForEngine => complete = false,
            }
        }
        // What is repaired first does not depend on how the receiver has put its reports together.
        heard.missing.sort_by_key(|(slot, _)| *slot);
        complete
    }

    /// Transport-wide feedback tells more than reports do; who numbers no packets for it has nothing else.
    fn on_block(&mut self, now: Instant, block: &ReportBlock) {
        if self.will_know() {
            return;
        }
        let mut streams = self.streams.iter_mut().flatten();
        let Some(stream) = streams.find(|stream| stream.ssrc == block.ssrc) else {
            return;
        };
        let report = &mut stream.report;
        let packets = report.packets.wrapping_sub(report.told_of);
        report.told_of = report.packets;
        self.reception
            .on_block(self.wallclock.ntp_at(now), block, packets);
        self.redundancy.on_loss(now, self.loss_permille());
        self.ask_for_patience(now);
    }

    /// Waiting helps against what is lost by chance, and by bursts that come again. Where a queue stands it would be longer with
    /// that queue.
    fn ask_for_patience(&mut self, now: Instant) {
        if let Some(round_trip) = self.round_trip().filter(|_| !self.is_queued()) {
            let loses = self.redundancy.is_on();
            let hole = self.estimator.expected_hole(now);
            self.patience.on_report(loses, round_trip, hole);
        }
    }

    /// Asks the peer for packets of a stream that it sends. False where it cannot be reached.
    pub(crate) fn nack(&mut self, media: u32, missing: &[u16], outbox: &mut Outbox) -> bool {
        let (Some(keys), Some(route)) = (&self.keys, self.route) else {
            return false;
        };
        if self.feedback_index == SRTCP_INDEX_MAX {
            return false;
        }
        self.feedback_index += 1;
        let index = self.feedback_index;
        outbox.write(route.source, route.destination, |bytes| {
            let start = bytes.len();
            rtcp::write_nack(bytes, FEEDBACK_SSRC, media, missing);
            keys.seal_rtcp(bytes, start, FEEDBACK_SSRC, index)
        });
        true
    }

    fn slot(&self, ssrc: u32) -> Option<usize> {
        self.streams
            .iter()
            .position(|stream| stream.as_ref().is_some_and(|stream| stream.ssrc == ssrc))
    }

    /// Sends a sender report of the stream whose packet has just left.
    pub(super) fn report(&mut self, now: Instant, outgoing: &Outgoing, outbox: &mut Outbox) {
        let (Some(stream), Some(keys), Some(route)) = (
            stream_of(&mut self.streams, outgoing.slot),
            &self.keys,
            self.route,
        ) else {
            return;
        };
        let report = &mut stream.report;
        report.due = Some(now + REPORT_INTERVAL);
        report.srtcp_index += 1;
        let since_shown = now.saturating_duration_since(outgoing.packet.shown_at());
        let ticks = since_shown.as_secs_f64() * f64::from(outgoing.packet.clock_rate());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "RTP timestamps wrap at 32 bits"
        )]
        let ticks = ticks.round() as u64 as u32;
        let report = SenderReport {
            ssrc: stream.ssrc,
            ntp: self.wallclock.ntp_at(now),
            timestamp: outgoing.rewritten.clock.wrapping_add(ticks),
            packets: report.packets,
            octets: report.octets,
        };
        outbox.write(route.source, route.destination, |bytes| {
            let start = bytes.len();
            report.write(bytes, &stream.cname);
            keys.seal_rtcp(bytes, start, stream.ssrc, stream.report.srtcp_index)
        });
    }
}

/// Finds the first packets of streams that have got lost: nobody asks for these.
fn miss_first(
    now: Instant,
    streams: &mut [Option<Stream>],
    estimator: &Estimator,
    missing: &mut Vec<(usize, u16)>,
) {
    for (slot, stream) in streams.iter_mut().enumerate() {
        let Some(stream) = stream else {
            continue;
        };
        let lost = stream
            .unheard
            .on_report(now, |seq| estimator.fate(seq) == Fate::Arrived);
        let room = MISSING_MAX.saturating_sub(missing.len());
        missing.extend(lost.iter().map(|sent| (slot, sent.seq)).take(room));
    }
}

/// Finds the packets that have been sent again and have got lost once more: the receiver asks for these when an answer would have come,
/// or 100 ms later where it does not know how long that takes.
fn miss_again(
    now: Instant,
    streams: &mut [Option<Stream>],
    estimator: &Estimator,
    missing: &mut Vec<(usize, u16)>,
) {
    // What a full queue has dropped it would drop again.
    if estimator.is_queued() {
        return;
    }
    for (slot, stream) in streams.iter_mut().enumerate() {
        let Some(stream) = stream else {
            continue;
        };
        let room = MISSING_MAX.saturating_sub(missing.len());
        let lost = stream.resent.lost(now, |seq| estimator.fate(seq));
        missing.extend(lost.map(|seq| (slot, seq)).take(room));
    }
}
