//! From counters to numbers.

use std::time::Duration;

use crate::media::delay::Times;
use crate::media::engine::EngineReport;
use crate::media::peer::PeerReport;
use crate::process::{Usage, Used, machine_busy};
use crate::result::{LinkUse, Measured, ServerUse, ThreadUse};
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
        links: links(scenario, reports),
        datagrams_received: reports.iter().map(|report| report.datagrams_received).sum(),
        server: server.map(|used| server_use(scenario, &used, span, received)),
        client_cpu_percent: percent(client.cpu),
        others_cpu_percent: percent(busy.saturating_sub(known)),
    }
}

/// What viewers were to receive, where every receiver gets every packet, and rooms are of one kind.
fn expected(scenario: &Scenario, sent: u64) -> Option<u64> {
    let receivers = scenario.viewers + scenario.watched_by(true);
    let everything = scenario.video_kbps.len() <= 1
        && scenario.beside.is_empty()
        && scenario.churn_per_second == 0
        && scenario.viewer_kbps.is_empty();
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

/// Viewers by the width of their links, the narrowest first.
fn links(scenario: &Scenario, reports: &[EngineReport]) -> Vec<LinkUse> {
    let mut widths = scenario.viewer_kbps.clone();
    widths.sort_unstable();
    widths.dedup();
    let of_width = |kbps| link_use(kbps, scenario, reports);
    widths.into_iter().filter_map(of_width).collect()
}

/// `None` where no viewer has such a link.
fn link_use(kbps: u32, scenario: &Scenario, reports: &[EngineReport]) -> Option<LinkUse> {
    let mut all = Vec::new();
    let mut layer_bytes = vec![0; scenario.video_kbps.len()];
    let mut delays = Times::new();
    for report in reports {
        report
            .link_delays
            .get(&kbps)
            .into_iter()
            .for_each(|of| delays.add(of));
        for peer in &report.peers {
            let Some(link) = peer.link.filter(|link| link.kbps == kbps) else {
                continue;
            };
            all.push(link);
            for received in &peer.received {
                let layer = received.stream.layer();
                if let Some(bytes) = layer.and_then(|layer| layer_bytes.get_mut(layer)) {
                    *bytes += received.bytes;
                }
            }
        }
    }
    let viewers = all.len();
    let passed: u64 = all.iter().map(|link| link.passed).sum();
    let dropped: u64 = all.iter().map(|link| link.dropped).sum();
    let seconds = scenario.measured().as_secs_f64();
    let mean_kbps = |bytes: u64| bytes as f64 / 125.0 / seconds / viewers as f64;
    (viewers > 0).then(|| LinkUse {
        kbps,
        viewers,
        received_kbps: mean_kbps(all.iter().map(|link| link.passed_bytes).sum()),
        dropped: dropped as f64 / (passed + dropped).max(1) as f64,
        delay_ms: delays.percentiles(),
        layer_kbps: layer_bytes.into_iter().map(mean_kbps).collect(),
    })
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
    let silent = scenario.kinds().all(|(_, kind)| kind.publishers == 0);
    used(&span.empty, &span.joined)
        .filter(|_| silent)
        .map(|used| used.cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::link::LinkReport;
    use crate::media::peer::Received;
    use crate::media::publication::stream_id;

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
    fn who_is_to_receive_what_is_not_known_with_layers_churn_or_narrow_links() {
        let mut simulcast = scenario(1, 10);
        simulcast.video_kbps = vec![100, 500];
        assert_eq!(expected(&simulcast, 100), None);
        let mut churn = scenario(1, 10);
        churn.churn_per_second = 1;
        assert_eq!(expected(&churn, 100), None);
        let mut narrow = scenario(1, 10);
        narrow.viewer_kbps = vec![300];
        assert_eq!(expected(&narrow, 100), None);
    }

    #[test]
    fn what_viewers_received_is_told_by_the_width_of_their_links() {
        let mut scenario = scenario(1, 3);
        scenario.viewer_kbps = vec![1_000, 300];
        scenario.video_kbps = vec![150, 500];
        scenario.measure_s = 1;
        let viewer = |kbps, layer, kilobytes: u64, dropped| PeerReport {
            key: 0,
            connected: None,
            first_media: None,
            sent: 0,
            received: vec![Received {
                stream: stream_id(0, layer),
                packets: 1,
                bytes: kilobytes * 1_000,
            }],
            missing: 0,
            link: Some(LinkReport {
                kbps,
                passed: 100 - dropped,
                passed_bytes: kilobytes * 1_100,
                dropped,
            }),
        };
        let report = EngineReport {
            peers: vec![
                viewer(1_000, 2, 60, 0),
                viewer(300, 1, 20, 10),
                viewer(1_000, 2, 40, 0),
            ],
            delays: Times::new(),
            link_delays: [(300, [Duration::from_millis(9)].into_iter().collect())].into(),
            datagrams_received: 0,
        };
        let [narrow, wide] = links(&scenario, &[report]).try_into().unwrap();
        assert_eq!((narrow.kbps, narrow.viewers, wide.viewers), (300, 1, 2));
        assert_eq!(narrow.layer_kbps, [160.0, 0.0]);
        assert_eq!(wide.layer_kbps, [0.0, 400.0]);
        assert!((wide.received_kbps - 440.0).abs() < 1e-9, "{wide:?}");
        assert!((narrow.dropped - 0.1).abs() < 1e-9, "{narrow:?}");
        assert!(narrow.delay_ms.is_some() && wide.delay_ms.is_none());
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
