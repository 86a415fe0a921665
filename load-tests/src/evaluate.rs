//! From counters to numbers.

use std::time::Duration;

use crate::media::delay::Times;
use crate::media::engine::EngineReport;
use crate::media::peer::PeerReport;
use crate::process::{Usage, Used, machine_busy};
use crate::result::{Measured, ServerUse, ThreadUse};
use crate::scenario::Scenario;

/// Threads that are named in a result.
const THREADS_NAMED: usize = 8;

/// What everybody has used of the machine, at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    server: Option<Usage>,
    client: Usage,
    machine: Duration,
}

impl Sample {
    pub(crate) fn take(server: Option<u32>) -> Self {
        Self {
            server: server.map(Usage::of),
            client: Usage::own(),
            machine: machine_busy(),
        }
    }
}

/// The moments of a run.
#[derive(Debug)]
pub(crate) struct Span {
    /// Nobody is there.
    pub(crate) empty: Sample,
    /// Everybody is there.
    pub(crate) joined: Sample,
    pub(crate) before: Sample,
    pub(crate) after: Sample,
}

pub(crate) fn evaluate(scenario: &Scenario, reports: &[EngineReport], span: &Span) -> Measured {
    let peers = || reports.iter().flat_map(|report| &report.peers);
    let sum = |of: fn(&PeerReport) -> u64| peers().map(of).sum::<u64>();
    let sent = sum(|peer| peer.sent);
    let received = sum(|peer| peer.received.iter().map(|of| of.packets).sum());
    let missing = sum(|peer| peer.missing);
    let expected = expected(scenario, sent);
    let mut delays = Times::new();
    for report in reports {
        delays.add(&report.delays);
    }
    let client = span.after.client.since(&span.before.client);
    let server = used(&span.before, &span.after);
    let known = client.cpu + server.as_ref().map_or(Duration::ZERO, |used| used.cpu);
    let busy = span.after.machine.saturating_sub(span.before.machine);
    let percent = |cpu: Duration| cpu.as_secs_f64() / client.wall.as_secs_f64() * 100.0;
    Measured {
        participants: scenario.participants(),
        connections: 0,
        broken: 0,
        incomplete: 0,
        turned_away: 0,
        reasons: Vec::new(),
        seconds: client.wall.as_secs_f64(),
        sent,
        expected,
        received,
        missing,
        loss: loss(expected, received, missing),
        delay_ms: delays.percentiles(),
        connect_ms: peers()
            .filter_map(|peer| peer.connected)
            .collect::<Times>()
            .percentiles(),
        first_media_ms: peers()
            .filter_map(|peer| peer.first_media)
            .collect::<Times>()
            .percentiles(),
        datagrams_received: reports.iter().map(|report| report.datagrams_received).sum(),
        server: server.map(|used| server_use(scenario, &used, span, received)),
        client_cpu_percent: percent(client.cpu),
        others_cpu_percent: percent(busy.saturating_sub(known)),
    }
}

/// What viewers were to receive, where every receiver gets every packet.
fn expected(scenario: &Scenario, sent: u64) -> Option<u64> {
    let receivers = scenario.viewers + scenario.watched_by(true);
    let everything = scenario.video_kbps.len() <= 1 && scenario.churn_per_second == 0;
    (everything && scenario.publishers > 0).then_some(sent * receivers as u64)
}

fn loss(expected: Option<u64>, received: u64, missing: u64) -> f64 {
    let (lost, of) = match expected {
        Some(expected) => (expected.saturating_sub(received), expected),
        None => (missing, received + missing),
    };
    if of == 0 {
        0.0
    } else {
        lost as f64 / of as f64
    }
}

fn used(before: &Sample, after: &Sample) -> Option<Used> {
    Some(after.server.as_ref()?.since(before.server.as_ref()?))
}

fn server_use(scenario: &Scenario, used: &Used, span: &Span, received: u64) -> ServerUse {
    let wall = used.wall.as_secs_f64();
    let resident = |sample: &Sample| {
        let usage = sample.server.as_ref();
        usage.map_or(0.0, |usage| usage.resident_bytes as f64)
    };
    let participants = scenario.participants() as f64;
    let grown = resident(&span.after) - resident(&span.empty);
    let joins = used_by_joins(scenario, span);
    let ticks = (used.user + used.system).as_secs_f64();
    let threads = used.threads.iter().take(THREADS_NAMED);
    ServerUse {
        cpu_percent: used.cpu.as_secs_f64() / wall * 100.0,
        cpu_us_per_packet: (received > 0).then(|| used.cpu.as_secs_f64() * 1e6 / received as f64),
        user_share: if ticks > 0.0 {
            used.user.as_secs_f64() / ticks
        } else {
            0.0
        },
        memory_mib: resident(&span.after) / 1_048_576.0,
        memory_kib_per_participant: grown.max(0.0) / 1_024.0 / participants,
        cpu_ms_per_join: joins.map(|cpu| cpu.as_secs_f64() * 1_000.0 / participants),
        threads: threads
            .map(|(name, time)| ThreadUse {
                name: name.clone(),
                cpu_percent: time.as_secs_f64() / wall * 100.0,
            })
            .collect(),
    }
}

/// The server's time from the first join to the last, where it had nothing else to do.
fn used_by_joins(scenario: &Scenario, span: &Span) -> Option<Duration> {
    let silent = scenario.publishers == 0;
    used(&span.empty, &span.joined)
        .filter(|_| silent)
        .map(|used| used.cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(publishers: usize, viewers: usize) -> Scenario {
        let text = format!(
            "title = 'a'\npublishers = {publishers}\nviewers = {viewers}\nvideo_kbps = [1000]"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn everybody_but_the_publisher_is_to_receive_a_packet() {
        assert_eq!(expected(&scenario(1, 200), 100), Some(20_000));
        assert_eq!(expected(&scenario(5, 0), 100), Some(400));
        assert_eq!(expected(&scenario(4, 46), 1), Some(49));
        assert_eq!(expected(&scenario(0, 5), 0), None, "nobody sends");
    }

    #[test]
    fn who_is_to_receive_what_is_not_known_with_layers_or_churn() {
        let mut simulcast = scenario(1, 10);
        simulcast.video_kbps = vec![100, 500];
        assert_eq!(expected(&simulcast, 100), None);
        let mut churn = scenario(1, 10);
        churn.churn_per_second = 1;
        assert_eq!(expected(&churn, 100), None);
    }

    #[test]
    fn loss_is_a_share_of_what_was_expected_or_of_the_numbers() {
        let near = |found: f64, wanted: f64| (found - wanted).abs() < 1e-9;
        assert!(near(loss(Some(200), 150, 0), 0.25));
        assert!(near(loss(None, 90, 10), 0.1));
        assert!(near(loss(None, 0, 0), 0.0));
        assert!(
            near(loss(Some(10), 11, 0), 0.0),
            "a packet too many is no loss"
        );
    }
}
