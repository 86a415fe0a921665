//! What calls cost a server: constants times what it has to do.

use serde::{Deserialize, Serialize};

use super::call::{Call, Traffic};

/// The file of constants, and the measurements that they are fitted to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Model {
    pub(super) origin: Origin,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) measured: Vec<Point>,
}

/// Where the measurements are from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    pub(super) machine: String,
    pub(super) date: String,
    pub(super) commands: Vec<String>,
}

/// Microseconds of a core.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cpu {
    /// Each second of a worker that has nothing else to do: its timers.
    pub(super) idle_worker_us: f64,
    /// Once a datagram finds its worker asleep: waking up, and caches that others have used meanwhile.
    pub(super) wake_us: f64,
    /// Each second of a connection.
    pub(super) peer_us: f64,
    /// Each second of a connection to which media goes: its feedback, estimation and pacing.
    pub(super) receiver_us: f64,
    /// Packets of one frame to one receiver: choosing, and the call that sends.
    pub(super) burst_us: f64,
    /// A packet that goes out: rewriting, sealing, the kernel's copy.
    pub(super) packet_out_us: f64,
    pub(super) packet_in_us: f64,
    pub(super) join_us: f64,
}

/// KiB of resident memory.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// The process, with what the first participant makes it keep.
    pub(super) process_kib: f64,
    pub(super) peer_kib: f64,
    pub(super) slot_kib: f64,
    /// For each KiB of packets that is kept for receivers that miss them.
    pub(super) stored_kib: f64,
}

/// One scenario as it was measured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Point {
    pub(super) scenario: String,
    pub(super) title: String,
    pub(super) call: Call,
    pub(super) workers: u32,
    pub(super) joins_per_second: f64,
    pub(super) packets_in: f64,
    pub(super) packets_out: f64,
    /// Of one core.
    pub(super) cpu_percent: f64,
    /// Of the whole process; none where it was not measured.
    pub(super) memory_mib: Option<f64>,
    pub(super) source: String,
}

/// A worker that was woken takes what comes within this time along, in seconds: of 125, 250, 500, 1,000 and 2,000 µs the one that
/// fits rooms of 5 × 5 best, of which 1, 4, 25 and 45 are on one worker: within 0.3 %.
const AWAKE_S: f64 = 250e-6;

/// How often each constant of [`Cpu`] is due in a second, in its order.
pub(super) type Work = [f64; 8];
/// How often each constant of [`Memory`] is due, in its order.
pub(super) type Kept = [f64; 4];

impl Cpu {
    pub(super) fn constants(&self) -> Work {
        [
            self.idle_worker_us,
            self.wake_us,
            self.peer_us,
            self.receiver_us,
            self.burst_us,
            self.packet_out_us,
            self.packet_in_us,
            self.join_us,
        ]
    }

    pub(super) fn from_constants(constants: Work) -> Self {
        let [
            idle_worker_us,
            wake_us,
            peer_us,
            receiver_us,
            burst_us,
            packet_out_us,
            packet_in_us,
            join_us,
        ] = constants;
        Self {
            idle_worker_us,
            wake_us,
            peer_us,
            receiver_us,
            burst_us,
            packet_out_us,
            packet_in_us,
            join_us,
        }
    }

    /// Of calls, in microseconds each second, without what idle workers cost.
    pub(super) fn busy_us(&self, call: &Call, traffic: &Traffic, joins_per_second: f64) -> f64 {
        sum(
            &self.constants(),
            &work(call, traffic, joins_per_second, 0.0, 0.0),
        )
    }

    /// Each second in which a worker has nothing to do, where so many packets a second come to it.
    fn idle_us(&self, packets_in: f64) -> f64 {
        self.idle_worker_us + self.wake_us * wakes(packets_in)
    }

    /// The cores that calls need, if this share of each may be used.
    pub(super) fn cores(&self, busy_us: f64, packets_in: f64, target: f64) -> f64 {
        // What `cores` may do is what is to be done and the wakes of their idle time, with packets_in / cores to each:
        // target * 1e6 * cores = busy + idle * (idle_worker * cores + wake * packets_in / (1 + packets_in * awake / cores))
        let idle = 1.0 - target;
        let each = (target * 1e6 - idle * self.idle_worker_us).max(1.0);
        let together = packets_in * AWAKE_S;
        let b = each * together - idle * self.wake_us * packets_in - busy_us;
        (((b * b) + 4.0 * each * together * busy_us).sqrt() - b) / (2.0 * each)
    }

    /// The share of one core that calls take on so many workers.
    pub(super) fn cores_used(&self, busy_us: f64, packets_in: f64, workers: f64) -> f64 {
        // used * 1e6 = busy + idle * (workers - used)
        let idle_us = self.idle_us(packets_in / workers);
        (busy_us + idle_us * workers) / (1e6 + idle_us)
    }
}

/// How often each second of idleness ends where so many packets a second come: as a counter with a dead time counts.
fn wakes(packets_in: f64) -> f64 {
    packets_in / (1.0 + packets_in * AWAKE_S)
}

impl Memory {
    pub(super) fn constants(&self) -> Kept {
        [
            self.process_kib,
            self.peer_kib,
            self.slot_kib,
            self.stored_kib,
        ]
    }

    pub(super) fn from_constants(constants: Kept) -> Self {
        let [process_kib, peer_kib, slot_kib, stored_kib] = constants;
        Self {
            process_kib,
            peer_kib,
            slot_kib,
            stored_kib,
        }
    }

    pub(super) fn mib(&self, call: &Call, processes: f64) -> f64 {
        sum(&self.constants(), &kept(call, processes)) / 1_024.0
    }
}

impl Point {
    /// The traffic of the scenario, with the packets that were counted.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            packets_in: self.packets_in,
            packets_out: self.packets_out,
            ..self.call.traffic()
        }
    }

    pub(super) fn work(&self) -> Work {
        let workers = f64::from(self.workers);
        let idle = (workers - self.cpu_percent / 100.0).max(0.0);
        let wakes = idle * wakes(self.packets_in / workers);
        work(
            &self.call,
            &self.traffic(),
            self.joins_per_second,
            idle,
            wakes,
        )
    }

    pub(super) fn kept(&self) -> Kept {
        kept(&self.call, 1.0)
    }
}

impl Model {
    /// What the model says of a measurement, in percent of one core.
    pub(super) fn cpu_percent(&self, point: &Point) -> f64 {
        let busy = self
            .cpu
            .busy_us(&point.call, &point.traffic(), point.joins_per_second);
        let workers = f64::from(point.workers);
        self.cpu.cores_used(busy, point.packets_in, workers) * 100.0
    }

    /// The share by which the model's time is more than was measured.
    pub(super) fn cpu_error(&self, point: &Point) -> f64 {
        self.cpu_percent(point) / point.cpu_percent - 1.0
    }

    pub(super) fn memory_error(&self, point: &Point) -> Option<f64> {
        Some(self.memory.mib(&point.call, 1.0) / point.memory_mib? - 1.0)
    }
}

fn work(call: &Call, traffic: &Traffic, joins: f64, idle_workers: f64, wakes: f64) -> Work {
    [
        idle_workers,
        wakes,
        call.peers(),
        call.receivers(),
        traffic.bursts_out,
        traffic.packets_out,
        traffic.packets_in,
        joins,
    ]
}

fn kept(call: &Call, processes: f64) -> Kept {
    let slots = call.peers() * f64::from(call.slots);
    [processes, call.peers(), slots, call.stored_kib()]
}

fn sum<const N: usize>(constants: &[f64; N], times: &[f64; N]) -> f64 {
    constants.iter().zip(times).map(|(a, b)| a * b).sum()
}

/// By so much medians of one scenario differ from one day to the next.
#[cfg(test)]
pub(super) const ERROR_MAX: f64 = 0.3;

/// The committed constants.
pub(super) fn embedded() -> Result<Model, toml::de::Error> {
    toml::from_str(include_str!("costs.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_within_its_error_of_every_measurement() {
        let model = embedded().unwrap();
        assert!(model.measured.len() > 5);
        for point in &model.measured {
            let (cpu, memory) = (model.cpu_error(point), model.memory_error(point));
            assert!(cpu.abs() < ERROR_MAX, "{}: {cpu:+.2}", point.scenario);
            let memory = memory.unwrap_or(0.0);
            assert!(memory.abs() < ERROR_MAX, "{}: {memory:+.2}", point.scenario);
        }
    }

    #[test]
    fn packets_are_counted_as_they_were_measured() {
        for point in embedded().unwrap().measured {
            // Which layer each receiver gets depends on more than the scenario.
            if point.call.video_kbps.len() > 1 {
                continue;
            }
            let traffic = point.call.traffic();
            for (said, counted) in [
                (traffic.packets_in, point.packets_in),
                (traffic.packets_out, point.packets_out),
            ] {
                assert!(
                    (said - counted).abs() <= counted * 0.05,
                    "{}: {said} for {counted}",
                    point.scenario
                );
            }
        }
    }

    #[test]
    fn a_core_carries_what_uses_the_share_that_it_may() {
        let cpu = embedded().unwrap().cpu;
        for target in [0.3, 0.6, 1.0] {
            for (busy_us, packets_in) in [(0.2e6, 0.0), (0.3e6, 1_000.0), (4e6, 40_000.0)] {
                let cores = cpu.cores(busy_us, packets_in, target);
                let used = cpu.cores_used(busy_us, packets_in, cores);
                assert!((used - cores * target).abs() < 1e-9, "{used} of {cores}");
            }
        }
    }
}
