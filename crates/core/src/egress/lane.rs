//! The send lane of one peer: numbers, seals and paces what leaves for it, and hears what comes back.
//!
//! The media engine negotiates and keys the connection; the lane takes over the slots' SSRCs from it. A packet
//! is written once: header from the slot's template, payload, tag, straight into the outbox.

mod copied;
mod outdated;
mod repairs;
mod reports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::crypto::SrtpProvider;
use str0m::media::Mid;
use str0m::rtp::Ssrc;

use self::copied::Copied;
use self::repairs::Account;
use super::PayloadTypes;
use super::estimate::{Estimator, Probe};
use super::header::{Dependency, Hop, Template};
use super::pacer::{OVERHEAD_BYTES, Outgoing, Pacer, Rate};
use super::patience::{Patience, Told};
use super::reception::Reception;
use super::redundancy::{Redundancy, Sounds};
use super::resent::Resent;
use super::rtcp::Replay;
use super::srtp::Keys;
use super::stream::{Content, Report, Stream, wire_seq, write_payload};
use super::unheard::Unheard;
use super::wallclock::Wallclock;
use crate::Outbox;
use crate::crypto::Keying;
use crate::publish::Packet;
use crate::rewrite::Rewritten;

pub(crate) use reports::Heard;

/// A peer's send path of our own.
#[derive(Debug)]
pub(crate) struct Lane {
    wallclock: Wallclock,
    keys: Option<Keys>,
    route: Option<Route>,
    /// By slot; none where the receiver's m-line has no stream that could be taken over.
    streams: Vec<Option<Stream>>,
    pacer: Pacer,
    estimator: Estimator,
    /// What a receiver estimates that numbers no packets, in bit/s.
    remb_bps: Option<u64>,
    /// And what it tells of its way.
    reception: Reception,
    replay: Replay,
    redundancy: Redundancy,
    patience: Patience,
    copied: Copied,
    due: Option<Instant>,
    account: Account,
    /// SRTCP index of the newest feedback under [`FEEDBACK_SSRC`].
    feedback_index: u32,
    /// Until when a report may tell of a first packet, or of one that has been sent again. Without it each report would look at
    /// each stream.
    awaits_reports_until: Option<Instant>,
    stats: LaneStats,
}

/// From where to where datagrams go: the nominated candidate pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// What a lane has done since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LaneStats {
    pub(crate) packets: u64,
    pub(crate) resends: u64,
    pub(crate) padding: u64,
    pub(crate) dropped: u64,
}

/// What is this old when it is written has been kept for a newcomer. It waits beside the queue's limit.
const KEPT_AGE_MIN: Duration = Duration::from_secs(1);
/// A first picture is large from here on: no keyframe of a smallest layer has more. Lower makes some of these wait for a report,
/// higher fills the queue of a narrow path with more of a large one before it is known to be narrow.
const LARGE_BYTES: usize = 4_000;
/// How far ahead of its rate a probe may run. More would measure the queue, not the rate.
const PROBE_BURST: Duration = Duration::from_millis(2);
/// A lane is woken no sooner than that: what is due in between leaves together.
const WAKE_MIN: Duration = Duration::from_millis(1);
/// Of what no report has told by then, nothing is known any more. Less does not outlast a long way, more costs time and nothing
/// else.
const REPORTS_AWAITED_FOR: Duration = Duration::from_secs(1);
/// Copies that one wake-up may send for a probe: 10 ms at 50 Mbit/s.
const PADDING_PER_WAKE_MAX: usize = 64;

impl Lane {
    pub(crate) fn new(now: Instant, start_bps: u64, wallclock: Wallclock) -> Self {
        Self {
            wallclock,
            keys: None,
            route: None,
            streams: Vec::new(),
            pacer: Pacer::new(now),
            estimator: Estimator::new(now, start_bps),
            remb_bps: None,
            reception: Reception::default(),
            replay: Replay::default(),
            redundancy: Redundancy::default(),
            patience: Patience::default(),
            copied: Copied::default(),
            due: None,
            account: Account::default(),
            feedback_index: reports::FEEDBACK_INDEX_START,
            awaits_reports_until: None,
            stats: LaneStats::default(),
        }
    }

    /// Takes over the stream that a slot has been given, with its SSRCs. Called after each round of SDP.
    pub(crate) fn adopt(&mut self, now: Instant, rtc: &mut Rtc, slot: usize, mid: Mid) {
        if self.streams.len() <= slot {
            self.streams.resize_with(slot + 1, || None);
        }
        let Some(place) = self.streams.get_mut(slot) else {
            return;
        };
        let Some(media) = rtc.media(mid) else {
            return;
        };
        let template = Template::new(mid, media.remote_extmap());
        let cname = Box::from(media.cname());
        match place {
            Some(known) if known.mid == mid => known.template = template,
            _ => {
                *place = rtc
                    .direct_api()
                    .stream_tx_by_mid(mid, None)
                    .map(|stream| Stream {
                        mid,
                        ssrc: *stream.ssrc(),
                        rtx: stream.rtx().map(|rtx| *rtx),
                        rtx_seq: 0,
                        template,
                        cname,
                        resent: Resent::default(),
                        sounds: Sounds::default(),
                        given_up_before: 0,
                        first_picture: None,
                        newest_keyframe: None,
                        begun_keyframe: None,
                        unheard: Unheard::default(),
                        told: Told::default(),
                        report: Report {
                            due: Some(now),
                            ..Report::default()
                        },
                    });
            }
        }
    }

    /// Takes all streams of slots out of the engine. It must send nothing under their SSRCs, not even a report:
    /// its indexes and ours would meet under one key.
    pub(crate) fn reclaim(&self, rtc: &mut Rtc) {
        let mut api = rtc.direct_api();
        for stream in self.streams.iter().flatten() {
            api.remove_stream_tx(stream.ssrc.into());
        }
    }

    /// Lets the engine name these SSRCs in its next answer.
    pub(crate) fn declare(&self, rtc: &mut Rtc) {
        for stream in self.streams.iter().flatten() {
            // An m-line may have been recycled for another (RFC 8829 section 5.2.2).
            if rtc.media(stream.mid).is_some() {
                let rtx = stream.rtx.map(Ssrc::from);
                let mut api = rtc.direct_api();
                api.declare_stream_tx(stream.ssrc.into(), rtx, stream.mid, None);
            }
        }
    }

    /// The DTLS handshake is through.
    pub(crate) fn key(&mut self, keying: &Keying, derive: &dyn SrtpProvider) {
        self.keys = Keys::new(keying, derive);
    }

    pub(crate) fn set_route(&mut self, route: Route) {
        self.route = Some(route);
    }

    pub(crate) fn route(&self) -> Option<Route> {
        self.route
    }

    /// What the slots would take if there were bandwidth, in bit/s.
    pub(crate) fn set_demand(&mut self, now: Instant, wanted_bps: u64) {
        self.estimator.set_demand(now, wanted_bps);
    }

    /// What leaves now waits on the way.
    pub(crate) fn is_queued(&self) -> bool {
        self.estimator.is_queued()
    }

    /// The estimate is lower than it was, but only for a moment, to find something out.
    pub(crate) fn is_experimenting(&self) -> bool {
        self.estimator.is_experimenting()
    }

    /// The bandwidth estimate in bit/s; `None` while nothing is known.
    pub(crate) fn estimate_bps(&self) -> Option<u64> {
        self.estimator.estimate_bps().or(self.remb_bps)
    }

    /// Whether the receiver tells what arrives, so that there will be an estimate.
    pub(crate) fn will_know(&self) -> bool {
        let mut streams = self.streams.iter().flatten();
        streams.any(|stream| stream.template.numbers_transport())
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let reported = || self.reception.round_trip();
        self.estimator.rtt().or_else(reported)
    }

    /// How many of 1,000 packets were lost lately, as far as that is known.
    pub(crate) fn loss_permille(&self) -> u64 {
        self.known_loss_permille().unwrap_or(0)
    }

    fn known_loss_permille(&self) -> Option<u64> {
        let reported = || self.reception.loss_permille();
        self.estimator.loss_permille().or_else(reported)
    }

    /// How often sound is sent where it can be repeated.
    pub(crate) fn copies_of_sound(&self) -> usize {
        1 + self.redundancy.packets_before()
    }

    pub(crate) fn take_stats(&mut self) -> LaneStats {
        std::mem::take(&mut self.stats)
    }

    /// Sends a packet of a slot, or queues it.
    pub(crate) fn write(
        &mut self,
        now: Instant,
        slot: usize,
        payload_types: PayloadTypes,
        packet: &Arc<Packet>,
        rewritten: Rewritten,
        outbox: &mut Outbox,
    ) {
        let mut stream = stream_of(&mut self.streams, slot);
        let opened = stream
            .as_mut()
            .and_then(|stream| stream.opens(rewritten.timestamp, packet.payload.len()));
        let is_reported = stream
            .as_ref()
            .is_some_and(|stream| stream.template.numbers_transport());
        let outgoing = Outgoing {
            slot,
            payload_types,
            packet: packet.clone(),
            rewritten,
            resend: false,
            kept: now.saturating_duration_since(packet.arrived) > KEPT_AGE_MIN,
            opening: opened.is_some(),
            large: is_reported && opened.is_some_and(|bytes| bytes > LARGE_BYTES),
            keyframe: stream.is_some_and(|stream| stream.is_of_keyframe(packet, &rewritten)),
        };
        // What has been kept for long is in a hurry.
        let begins = packet.starts_keyframe && outgoing.opening && !outgoing.kept;
        if begins && is_reported {
            self.estimator.on_first_picture(now);
        }
        let at_once = packet.codec.codec.is_audio() || self.may_send_now(now);
        if packet.starts_keyframe {
            self.give_up_before(now, &outgoing);
        }
        if at_once {
            self.send_counted(now, &outgoing, outbox);
        } else if !self.pacer.push(outgoing) {
            self.stats.dropped += 1;
        }
    }

    /// Sends what may leave now. To be called after writing, and when [`Lane::poll_timeout`] is due.
    pub(crate) fn pump(&mut self, now: Instant, outbox: &mut Outbox) {
        self.estimator.on_timeout(now);
        while let Some(outgoing) = self.pacer.pop(now) {
            self.send_counted(now, &outgoing, outbox);
        }
        self.probe(now, outbox);
        let paced = self.pacer.due(now);
        let probing = (self.estimator.probe().is_some() && !self.copied.is_empty())
            .then(|| self.pacer.after(now, PROBE_BURST));
        let soonest = paced.into_iter().chain(probing).min();
        self.due = soonest.map(|at| at.max(now + WAKE_MIN));
    }

    /// When [`Lane::pump`] is due by itself; `None` for a peer to which nothing is sent.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due
            .into_iter()
            .chain(self.estimator.poll_timeout())
            .min()
    }

    fn may_send_now(&self, now: Instant) -> bool {
        self.pacer.is_empty() && self.pacer.may_burst(now)
    }

    fn rate(&self, probe: Option<Probe>, large: bool) -> Rate {
        let known = self.estimator.estimate_bps();
        let burst_bps = match (probe, known, self.remb_bps) {
            (Some(probe), ..) => probe.rate_bps,
            (None, None, Some(remb)) => remb * 2,
            _ => self.estimator.pacing_bps(),
        };
        // A probe finds out what the path carries beyond what is known.
        let path_bps = known.filter(|_| probe.is_none());
        let is_blind = large && probe.is_none();
        let cautious_bps = is_blind.then(|| self.estimator.cautious_bps()).flatten();
        Rate {
            burst_bps,
            path_bps,
            cautious_bps,
        }
    }

    /// Fills a probe up: with copies of what has just been sent, or with padding where many small packets are asked
    /// for. The receiver ignores both, but for copies of what got lost.
    fn probe(&mut self, now: Instant, outbox: &mut Outbox) {
        for _ in 0..PADDING_PER_WAKE_MAX {
            let free = self.pacer.is_empty() && self.pacer.is_free(now, PROBE_BURST);
            let Some(probe) = self.estimator.probe().filter(|_| free) else {
                return;
            };
            let Some(copied) = self.copied.next() else {
                return;
            };
            let content = match u8::try_from(probe.packet_bytes) {
                Ok(bytes) => Content::Padding(bytes),
                Err(_) => Content::Copy,
            };
            if !self.send(now, &copied, content, outbox) {
                return;
            }
            self.stats.padding += 1;
        }
    }

    fn send_counted(&mut self, now: Instant, outgoing: &Outgoing, outbox: &mut Outbox) {
        let content = if outgoing.resend {
            Content::Copy
        } else {
            Content::Media
        };
        let counter = match (self.send(now, outgoing, content, outbox), content) {
            (false, _) => &mut self.stats.dropped,
            (true, Content::Media) => &mut self.stats.packets,
            (true, _) => &mut self.stats.resends,
        };
        *counter += 1;
    }

    /// False where the connection is not there yet.
    fn send(
        &mut self,
        now: Instant,
        outgoing: &Outgoing,
        content: Content,
        outbox: &mut Outbox,
    ) -> bool {
        // Sound comes too seldom to be one.
        let is_sound = outgoing.packet.codec.codec.is_audio();
        let probe = self.estimator.probe();
        let probe = probe.filter(|_| !is_sound || !self.copied.is_empty());
        let rate = self.rate(probe, outgoing.large);
        let (Some(stream), Some(keys), Some(route)) = (
            stream_of(&mut self.streams, outgoing.slot),
            &self.keys,
            self.route,
        ) else {
            return false;
        };
        let Some((mut fields, index, payload)) = stream.next(outgoing, content) else {
            return false;
        };
        let dependency = dependency(outgoing, content);
        let mut wire_bytes = payload.len() + OVERHEAD_BYTES;
        let before = self.redundancy.packets_before();
        let repeated = (content == Content::Media && before > 0)
            .then(|| stream.sounds.repeat(outgoing, before))
            .flatten();
        if let Some(repeated) = &repeated {
            fields.payload_type = *repeated.red;
            wire_bytes += repeated.len();
        }
        let hop = Hop {
            transport_seq: stream
                .template
                .numbers_transport()
                .then(|| self.estimator.on_sent(now, wire_bytes, probe.is_some())),
            send_time: stream
                .template
                .wants_send_time()
                .then(|| self.wallclock.send_time(now)),
            playout_delay: stream.told.playout_delay(
                now,
                &self.patience,
                outgoing.packet.repaired_within,
            ),
        };
        if let Some(transport_seq) = hop.transport_seq
            && stream.note_sent(now, transport_seq, outgoing, content)
        {
            self.awaits_reports_until = Some(now + REPORTS_AWAITED_FOR);
        }
        self.pacer.sent(now, wire_bytes, rate);
        outbox.write(route.source, route.destination, |bytes| {
            let start = bytes.len();
            stream
                .template
                .write(bytes, fields, hop, &outgoing.packet.extensions, dependency);
            let header_bytes = bytes.len() - start;
            let payload = match &repeated {
                Some(repeated) => repeated.write(bytes, payload)?,
                None => payload,
            };
            write_payload(bytes, outgoing, content, payload)?;
            bytes.resize(bytes.len() + keys.rtp_tag_bytes(), 0);
            keys.seal_rtp(bytes.get_mut(start..)?, header_bytes, fields.ssrc, index)
        });
        if content == Content::Media {
            self.sent_media(now, outgoing, payload.len(), outbox);
        }
        true
    }

    /// What follows from media having left: it counts in reports, and probes may copy it.
    fn sent_media(
        &mut self,
        now: Instant,
        outgoing: &Outgoing,
        octets: usize,
        outbox: &mut Outbox,
    ) {
        let Some(stream) = stream_of(&mut self.streams, outgoing.slot) else {
            return;
        };
        if stream.rtx.is_some() && outgoing.payload_types.rtx.is_some() {
            self.copied.note(outgoing);
        }
        self.account.earn(octets);
        stream.note_begun(outgoing);
        let report = &mut stream.report;
        report.packets = report.packets.wrapping_add(1);
        report.octets = report
            .octets
            .wrapping_add(u32::try_from(octets).unwrap_or(0));
        if report.due.is_some_and(|due| due <= now) {
            self.report(now, outgoing, outbox);
        }
    }
}

/// What the receiver is told of the frame. Padding belongs to none.
fn dependency(outgoing: &Outgoing, content: Content) -> Option<Dependency<'_>> {
    let descriptor = outgoing.packet.descriptor.as_deref()?;
    let of_frame = !outgoing.rewritten.empty && !matches!(content, Content::Padding(_));
    of_frame.then_some(Dependency {
        descriptor,
        frame_number: outgoing.rewritten.frame_number,
        active_targets: outgoing.rewritten.active_targets,
    })
}

fn stream_of(streams: &mut [Option<Stream>], slot: usize) -> Option<&mut Stream> {
    streams.get_mut(slot)?.as_mut()
}
