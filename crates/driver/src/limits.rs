//! Everything in a driver that grows with what others send, and how far.
//!
//! Memory of one worker at the limits: receive buffer 2 MiB, batches handed over to it 16 MiB and
//! 4 MiB kept for reuse, relayed packets that wait for it 20 MiB (their payloads, which may outlive what
//! their publisher's worker keeps), owners of addresses about 5 MiB; each socket's kernel buffers come on top.

use std::time::Duration;

/// Workers of one node: a username fragment has 8 bits for them.
pub const WORKERS_MAX: usize = 256;

/// Commands that wait for one worker. A sender waits while it is full.
pub(crate) const COMMANDS_MAX: usize = 1_024;

/// Commands that one turn takes, of which one at most reads SDP. More would let media wait behind them; fewer would cost a
/// burst of them more turns.
pub(crate) const COMMANDS_PER_TURN: usize = 8;

/// Events of all workers that wait for the control plane.
pub(crate) const EVENTS_MAX: usize = 4_096;

/// Events of one worker that may wait beyond that before data channel messages are dropped:
/// 16 MiB of the longest ones.
pub(crate) const BACKLOG_FOR_DATA_MAX: usize = 1_024;

/// Datagrams (or runs of them, where GRO joins some) that one system call receives.
pub(crate) const RECEIVE_BATCH: usize = quinn_udp::BATCH_SIZE;

/// The largest UDP payload, which is also the most that GRO puts into one buffer.
pub(crate) const RECEIVE_BUFFER_BYTES: usize = 65_535;

/// Receive calls per socket and turn. More delays sending under load, fewer costs system calls.
pub(crate) const RECEIVE_CALLS_PER_TURN: usize = 4;

/// Batches handed over by other workers that wait for one worker. A full queue drops.
pub(crate) const HANDOVER_BATCHES_MAX: usize = 64;

/// A batch of handed-over datagrams leaves when it has grown to this.
pub(crate) const HANDOVER_BATCH_BYTES: usize = 256 * 1024;

/// Handed-over batches that one turn takes.
pub(crate) const HANDOVER_BATCHES_PER_TURN: usize = 16;

/// Notices of other workers that wait for one worker; further ones wait with their senders.
pub(crate) const NOTICES_MAX: usize = 1_024;

/// Notices that may wait with one sender before it takes no more commands, and says so. They are some for
/// each join, so that only a worker that has stopped turning lets them become this many.
pub(crate) const NOTICES_BACKLOG_MAX: usize = 16_384;

/// Relayed packets that wait for one worker. More would be late when they are forwarded, fewer would lose the
/// bursts of keyframes: it is what 100 full-HD cameras send in a third of a second.
pub(crate) const RELAY_PACKETS_WAITING_MAX: usize = 16_384;

/// Relayed batches that one turn takes.
pub(crate) const RELAY_BATCHES_PER_TURN: usize = 64;

/// Remote addresses whose worker is remembered. A peer has a few (one per candidate that checks),
/// and each worker meets only those that the kernel gives it.
pub(crate) const OWNERS_MAX: usize = 65_536;

/// STUN responses from unknown addresses that are offered to all workers, per second. They only
/// come from peers that answer our checks before they have sent any of their own.
pub(crate) const OFFERS_PER_SECOND: u32 = 256;

/// Runs of datagrams that one system call sends. More save little, and let what other workers wait for wait longer.
pub(crate) const SEND_BATCH: usize = 32;

/// How long one batch waits for room in a socket's send buffer. Longer would make the media of
/// everybody late, shorter would drop bursts that the network card works off in time.
pub(crate) const SEND_WAIT: Duration = Duration::from_millis(2);

/// The turns of a worker without media begin at least this far apart. Longer would make the first packet of a call
/// late; shorter costs wake-ups: 1,000 idle peers take 6.6 % of a core without it, 4.7 % with 2 ms.
pub(crate) const QUIET_TURN_SPACING: Duration = Duration::from_millis(2);

/// How often statistics are published; also the slowest heartbeat of a worker with nothing to do.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A worker that has not turned for this long is stuck.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(5);

const _: () = assert!(REPORT_INTERVAL.as_millis() * 2 < STUCK_AFTER.as_millis());
