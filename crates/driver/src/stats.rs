//! What a worker has counted.

use madang_core::ShardStats;

/// One worker's counters, published once a second.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WorkerStats {
    pub worker: u8,
    /// Gauge: the share of the second before in which it did not sleep, 0 to 1.
    pub busy: f64,
    pub shard: ShardStats,
    pub io: IoStats,
}

/// Plain counters of one worker's sockets and queues, all since its start but the gauges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IoStats {
    /// Gauge: events that wait because the control plane's queue is full.
    pub event_backlog: u64,
    /// Gauge: notices that wait because other workers' queues are full.
    pub relay_backlog: u64,

    /// Turns of the event loop.
    pub turns: u64,
    /// System calls that brought datagrams.
    pub receive_calls: u64,
    pub datagrams_received: u64,
    pub bytes_received: u64,
    /// Receive calls that failed.
    pub receive_errors: u64,

    /// Datagrams given to the workers that own them.
    pub datagrams_handed_over: u64,
    /// Datagrams taken from other workers.
    pub datagrams_taken_over: u64,
    /// Datagrams lost because the other worker's queue was full.
    pub datagrams_dropped_handover: u64,
    /// STUN responses from unknown addresses that were offered to all workers.
    pub responses_offered: u64,
    /// Such responses beyond the limit.
    pub responses_dropped: u64,
    /// STUN requests whose username fragment names another node, an earlier process or no worker.
    pub datagrams_dropped_stale: u64,
    /// Datagrams that are neither STUN, DTLS, RTP nor RTCP.
    pub datagrams_dropped_unclassified: u64,

    /// Packets given to other workers that have people of their rooms.
    pub relay_packets_sent: u64,
    /// Packets taken from other workers.
    pub relay_packets_received: u64,
    /// Packets lost because the other worker's queue was full.
    pub relay_packets_dropped: u64,

    /// System calls that sent datagrams.
    pub send_calls: u64,
    pub datagrams_sent: u64,
    pub bytes_sent: u64,
    /// Datagrams that found no room in the socket's send buffer.
    pub datagrams_dropped_send_full: u64,
    /// Datagrams that the kernel refused, for instance because there is no route.
    pub datagrams_dropped_send_error: u64,
    /// Sends by GSO that failed and were repeated datagram by datagram.
    pub gso_fallbacks: u64,

    /// Speaker, quality and data events lost because the control plane's queue was full.
    pub events_dropped: u64,
}
