//! Metrics in the Prometheus text format: one table says what there is, from which description,
//! recording and documentation follow.

use std::fmt::Write;

use madang_driver::WorkerStats;
use metrics::Label;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

/// What renders the metrics of this process.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

/// A metric that is copied from the statistics of each worker.
struct Metric {
    name: &'static str,
    help: &'static str,
    read: Read,
}

/// Where a metric's value is.
#[derive(Clone, Copy)]
enum Read {
    Counter(fn(&WorkerStats) -> u64),
    Gauge(fn(&WorkerStats) -> u64),
    /// A gauge from 0 to 1.
    Ratio(fn(&WorkerStats) -> f64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

impl Metrics {
    /// Makes this process record metrics.
    ///
    /// # Errors
    /// Where it already does.
    pub(crate) fn install() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new().install_recorder()?;
        for (kind, name, help) in all() {
            match kind {
                Kind::Counter => metrics::describe_counter!(name, help),
                Kind::Gauge => metrics::describe_gauge!(name, help),
            }
        }
        let process = Collector::default();
        process.describe();
        Ok(Self { handle, process })
    }

    /// The text of `GET /metrics`.
    pub(crate) fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Keeps the recorder's memory bounded; due every few seconds.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

/// Records what the workers have counted.
pub(crate) fn record(workers: &[WorkerStats]) {
    for stats in workers {
        let labels = [Label::new("worker", stats.worker.to_string())];
        for metric in WORKER_METRICS {
            match metric.read {
                Read::Counter(read) => {
                    metrics::counter!(metric.name, labels.iter()).absolute(read(stats));
                }
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "gauges count things far below 2^53"
                )]
                Read::Gauge(read) => {
                    metrics::gauge!(metric.name, labels.iter()).set(read(stats) as f64);
                }
                Read::Ratio(read) => metrics::gauge!(metric.name, labels.iter()).set(read(stats)),
            }
        }
    }
}

/// The page of the documentation.
pub(crate) fn markdown() -> String {
    let mut page = "\
# Metrics

<!-- Generated from crates/server/src/telemetry/metrics.rs by `cargo xtask docs`. -->

`GET /metrics` answers in the Prometheus text format. What the media workers count is copied
once a second and has the label `worker`; the metrics without it are the whole node's.

| metric | type | meaning |
|---|---|---|
"
    .to_owned();
    for (kind, name, help) in all() {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(page, "| `{name}` | {kind} | {help} |");
    }
    page.push_str(
        "\nThe process itself is described by the usual `process_cpu_seconds_total`, `process_resident_memory_bytes`, \
         `process_open_fds`,\n`process_max_fds`, `process_threads` and `process_start_time_seconds`.\n",
    );
    page
}

/// Everything that is described.
fn all() -> impl Iterator<Item = (Kind, &'static str, &'static str)> {
    let workers = WORKER_METRICS
        .iter()
        .map(|metric| (metric.kind(), metric.name, metric.help));
    NODE_METRICS.iter().copied().chain(workers)
}

/// What the control plane records by itself.
const NODE_METRICS: &[(Kind, &str, &str)] = &[
    (Kind::Gauge, "madang_rooms", "Rooms with somebody in them."),
    (
        Kind::Gauge,
        "madang_participants",
        "Participants of all rooms, and those who watch by WHEP.",
    ),
    (
        Kind::Gauge,
        "madang_sessions",
        "Sessions, those included whose WebSocket is away.",
    ),
    (
        Kind::Counter,
        "madang_joins_total",
        "Attempts to join, publish or watch by any way, by `result`.",
    ),
    (
        Kind::Counter,
        "madang_redirects_total",
        "Clients that were sent to the node which has their room.",
    ),
    (
        Kind::Counter,
        "madang_errors_total",
        "Errors told to clients, by `code`.",
    ),
    (
        Kind::Counter,
        "madang_data_dropped_total",
        "Unreliable messages dropped because a worker was behind.",
    ),
];

impl Metric {
    fn kind(&self) -> Kind {
        match self.read {
            Read::Counter(_) => Kind::Counter,
            Read::Gauge(_) | Read::Ratio(_) => Kind::Gauge,
        }
    }
}

const WORKER_METRICS: &[Metric] = &[
    Metric {
        name: "madang_worker_busy_ratio",
        help: "Share of the last second in which the worker did not sleep, 0 to 1.",
        read: Read::Ratio(|stats| stats.busy),
    },
    gauge(
        "madang_peers",
        "Peers, each one ICE and DTLS endpoint.",
        |stats| stats.shard.peers,
    ),
    gauge("madang_tracks", "Published tracks.", |stats| {
        stats.shard.tracks
    }),
    gauge(
        "madang_subscriptions",
        "Tracks that are being forwarded to a slot, counted per slot.",
        |stats| stats.shard.subscriptions,
    ),
    counter(
        "madang_shard_datagrams_in_total",
        "Datagrams that the worker's peers have been given.",
        |stats| stats.shard.datagrams_in,
    ),
    counter(
        "madang_shard_datagrams_out_total",
        "Datagrams that the worker's peers have made.",
        |stats| stats.shard.datagrams_out,
    ),
    counter(
        "madang_shard_in_bytes_total",
        "Bytes of the datagrams that peers have been given.",
        |stats| stats.shard.bytes_in,
    ),
    counter(
        "madang_shard_out_bytes_total",
        "Bytes of the datagrams that peers have made.",
        |stats| stats.shard.bytes_out,
    ),
    counter(
        "madang_rtp_packets_in_total",
        "RTP packets received from publishers.",
        |stats| stats.shard.packets_in,
    ),
    counter(
        "madang_rtp_packets_out_total",
        "RTP packets forwarded to subscribers.",
        |stats| stats.shard.packets_out,
    ),
    counter(
        "madang_rtp_packets_nacked_total",
        "Requests to publishers for RTP packets that got lost, one for each packet and attempt.",
        |stats| stats.shard.packets_nacked,
    ),
    counter(
        "madang_rtp_packets_resent_total",
        "RTP packets that receivers asked for again, and got.",
        |stats| stats.shard.packets_resent,
    ),
    counter(
        "madang_rtp_packets_padding_total",
        "RTP packets that bandwidth probes were filled up with.",
        |stats| stats.shard.packets_padding,
    ),
    counter(
        "madang_rtp_packets_dropped_queue_total",
        "RTP packets for which a participant's queue had no room; they are sent when asked for again.",
        |stats| stats.shard.packets_dropped_queue,
    ),
    counter(
        "madang_rtp_packets_dropped_too_large_total",
        "RTP packets dropped because they could not be forwarded within the MTU.",
        |stats| stats.shard.packets_dropped_too_large,
    ),
    counter(
        "madang_frames_reordered_total",
        "Frames that are shown before one that was sent before them (B-frames), which browsers do not expect.",
        |stats| stats.shard.frames_reordered,
    ),
    counter(
        "madang_rtp_packets_dropped_unknown_total",
        "RTP packets dropped because they belong to no published track or layer.",
        |stats| stats.shard.packets_dropped_unknown,
    ),
    counter(
        "madang_shard_datagrams_dropped_unknown_total",
        "Datagrams dropped because they belong to no peer.",
        |stats| stats.shard.datagrams_dropped_unknown,
    ),
    counter(
        "madang_keyframe_requests_in_total",
        "Keyframe requests (PLI, FIR) received from subscribers.",
        |stats| stats.shard.keyframe_requests_in,
    ),
    counter(
        "madang_keyframe_requests_out_total",
        "Keyframe requests sent to publishers, after coalescing.",
        |stats| stats.shard.keyframe_requests_out,
    ),
    counter(
        "madang_peer_drives_total",
        "How often the media engine of a peer was driven.",
        |stats| stats.shard.drives,
    ),
    counter(
        "madang_peer_panics_total",
        "Panics caught; each has ended one peer. Any is a fault of the server.",
        |stats| stats.shard.peer_panics,
    ),
    gauge(
        "madang_event_backlog",
        "Events that wait because the control plane's queue is full.",
        |stats| stats.io.event_backlog,
    ),
    counter(
        "madang_events_dropped_total",
        "Speaker, quality and data events lost because the control plane's queue was full.",
        |stats| stats.io.events_dropped,
    ),
    counter(
        "madang_worker_turns_total",
        "Turns of the event loop.",
        |stats| stats.io.turns,
    ),
    counter(
        "madang_udp_receive_calls_total",
        "System calls that brought datagrams.",
        |stats| stats.io.receive_calls,
    ),
    counter(
        "madang_udp_datagrams_received_total",
        "Datagrams received.",
        |stats| stats.io.datagrams_received,
    ),
    counter(
        "madang_udp_received_bytes_total",
        "Bytes of the datagrams received.",
        |stats| stats.io.bytes_received,
    ),
    counter(
        "madang_udp_receive_errors_total",
        "Receive calls that failed.",
        |stats| stats.io.receive_errors,
    ),
    counter(
        "madang_udp_datagrams_handed_over_total",
        "Datagrams given to the workers that own them.",
        |stats| stats.io.datagrams_handed_over,
    ),
    counter(
        "madang_udp_datagrams_taken_over_total",
        "Datagrams taken from other workers.",
        |stats| stats.io.datagrams_taken_over,
    ),
    counter(
        "madang_udp_datagrams_dropped_handover_total",
        "Datagrams lost because the other worker's queue was full.",
        |stats| stats.io.datagrams_dropped_handover,
    ),
    counter(
        "madang_stun_responses_offered_total",
        "STUN responses from unknown addresses that were offered to all workers.",
        |stats| stats.io.responses_offered,
    ),
    counter(
        "madang_stun_responses_dropped_total",
        "STUN responses from unknown addresses beyond the limit.",
        |stats| stats.io.responses_dropped,
    ),
    counter(
        "madang_udp_datagrams_dropped_stale_total",
        "STUN requests for another node, an earlier process or no worker.",
        |stats| stats.io.datagrams_dropped_stale,
    ),
    counter(
        "madang_udp_datagrams_dropped_unclassified_total",
        "Datagrams that are neither STUN, DTLS, RTP nor RTCP.",
        |stats| stats.io.datagrams_dropped_unclassified,
    ),
    gauge(
        "madang_relay_backlog",
        "Notices for other workers that wait because their queues are full.",
        |stats| stats.io.relay_backlog,
    ),
    counter(
        "madang_relay_packets_sent_total",
        "RTP packets given to other workers that have people of their rooms.",
        |stats| stats.io.relay_packets_sent,
    ),
    counter(
        "madang_relay_packets_received_total",
        "RTP packets taken from other workers.",
        |stats| stats.io.relay_packets_received,
    ),
    counter(
        "madang_relay_packets_dropped_total",
        "RTP packets lost because the other worker's queue was full.",
        |stats| stats.io.relay_packets_dropped,
    ),
    counter(
        "madang_udp_send_calls_total",
        "System calls that sent.",
        |stats| stats.io.send_calls,
    ),
    counter(
        "madang_udp_datagrams_sent_total",
        "Datagrams sent.",
        |stats| stats.io.datagrams_sent,
    ),
    counter(
        "madang_udp_sent_bytes_total",
        "Bytes of the datagrams sent.",
        |stats| stats.io.bytes_sent,
    ),
    counter(
        "madang_udp_datagrams_dropped_send_full_total",
        "Datagrams that found no room in the socket's send buffer.",
        |stats| stats.io.datagrams_dropped_send_full,
    ),
    counter(
        "madang_udp_datagrams_dropped_send_error_total",
        "Datagrams that the kernel refused, for instance because there is no route.",
        |stats| stats.io.datagrams_dropped_send_error,
    ),
    counter(
        "madang_udp_gso_fallbacks_total",
        "Sends by GSO that failed and were repeated datagram by datagram.",
        |stats| stats.io.gso_fallbacks,
    ),
];

const fn counter(name: &'static str, help: &'static str, read: fn(&WorkerStats) -> u64) -> Metric {
    Metric {
        name,
        help,
        read: Read::Counter(read),
    }
}

const fn gauge(name: &'static str, help: &'static str, read: fn(&WorkerStats) -> u64) -> Metric {
    Metric {
        name,
        help,
        read: Read::Gauge(read),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use madang_core::ShardStats;
    use madang_driver::IoStats;

    use super::*;

    #[test]
    fn the_documentation_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            markdown(),
            "run `cargo xtask docs`"
        );
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in WORKER_METRICS {
            assert!(metric.name.starts_with("madang_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind() == Kind::Counter,
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn all_that_is_counted_is_exported() {
        let fields = |debug: String| debug.matches(": ").count();
        let counted = fields(format!("{:?}", ShardStats::default()))
            + fields(format!("{:?}", IoStats::default()))
            // The share of time that a worker is busy.
            + 1;
        assert_eq!(
            WORKER_METRICS.len(),
            counted,
            "a field of ShardStats or IoStats has no metric, or two"
        );
        let names: BTreeSet<&str> = WORKER_METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), counted, "a name stands for two fields");
    }
}
