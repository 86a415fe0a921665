//! Starting, watching and stopping the workers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use madang_core::{Address, Command, Engines, Event, Identity, ShardConfig, Wallclock};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};

use crate::address::{AddressMap, interface_addresses};
use crate::events::EventQueue;
use crate::handover::{self, Handover};
use crate::limits::{COMMANDS_MAX, EVENTS_MAX, STUCK_AFTER};
use crate::pulse::Heartbeat;
use crate::relay::{self, Relay};
use crate::socket::{self, Socket};
use crate::stats::WorkerStats;
use crate::worker::{Ends, Worker};
use crate::{DriverConfig, DriverError};

/// The running workers. Dropping it stops them too, without waiting for them.
#[derive(Debug)]
pub struct Driver {
    addresses: Arc<AddressMap>,
    bound: Vec<SocketAddr>,
    workers: Vec<Handle>,
    wallclock: Wallclock,
}

/// The control plane's ends of the queues.
#[derive(Debug)]
pub struct Control {
    /// Commands for each worker, by its number. A full queue pushes back. What is accepted before
    /// [`Driver::shutdown`] is carried out.
    pub commands: Vec<mpsc::Sender<Command>>,
    /// Makes the engines of those who join, for all workers.
    pub engines: Engines,
    /// Events of all workers; those of one peer are in order.
    pub events: mpsc::Receiver<Event>,
}

#[derive(Debug)]
struct Handle {
    thread: JoinHandle<()>,
    reports: watch::Receiver<WorkerStats>,
    heartbeat: Arc<Heartbeat>,
    /// Stops the worker, also by being dropped.
    stop: oneshot::Sender<()>,
}

impl Driver {
    /// Opens the sockets and starts the workers. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Where the configuration cannot work, a port is in use, an address is missing or the system refuses
    /// a socket or thread. The message says what to do about it; nothing is left running.
    pub fn start(config: DriverConfig) -> Result<(Self, Control), DriverError> {
        config.validate()?;
        let interfaces = interface_addresses()?;
        let groups = socket::open(&config, &interfaces)?;
        let bound: Vec<SocketAddr> = groups
            .iter()
            .filter_map(|group| group.first()?.local_addr().ok())
            .collect();
        let addresses = Arc::new(AddressMap::resolve(
            &bound,
            &config.advertised,
            &interfaces,
        )?);

        let identity = Identity::generate()?;
        let (events_in, events) = mpsc::channel(EVENTS_MAX);
        let (inlets, outlets): (Vec<_>, Vec<_>) =
            (0..config.workers).map(|_| handover::queue()).unzip();
        let (relay_inlets, relay_outlets): (Vec<_>, Vec<_>) =
            (0..config.workers).map(|_| relay::queues()).unzip();
        let mut groups: Vec<_> = groups.into_iter().map(Vec::into_iter).collect();
        let mut driver = Self {
            addresses,
            bound,
            workers: Vec::new(),
            wallclock: Wallclock {
                at: Instant::now(),
                time: SystemTime::now(),
            },
        };
        let mut commands = Vec::new();
        for ((number, handed_over), relayed) in (0..=u8::MAX).zip(outlets).zip(relay_outlets) {
            let (reports_in, reports) = watch::channel(WorkerStats {
                worker: number,
                ..WorkerStats::default()
            });
            let (commands_in, commands_out) = mpsc::channel(COMMANDS_MAX);
            let (stop, stopped) = oneshot::channel();
            let heartbeat = Arc::new(Heartbeat::new(Instant::now()));
            let sockets = groups.iter_mut().filter_map(Iterator::next).collect();
            let ends = Ends {
                addresses: Arc::clone(&driver.addresses),
                sockets: Vec::new(),
                commands: commands_out,
                events: EventQueue::new(events_in.clone()),
                handover: Handover::new(number, &inlets),
                handed_over,
                relay: Relay::new(number, &relay_inlets),
                relayed,
                reports: reports_in,
                heartbeat: Arc::clone(&heartbeat),
                stop: stopped,
            };
            let shard = driver.shard_config(&config, number, identity.clone());
            let thread = spawn(shard, config.workers, sockets, ends)?;
            driver.workers.push(Handle {
                thread,
                reports,
                heartbeat,
                stop,
            });
            commands.push(commands_in);
        }
        tracing::info!(bound = ?driver.bound, workers = config.workers, addresses = ?driver.addresses(), "UDP is up");
        let control = Control {
            commands,
            engines: Engines::new(&driver.shard_config(&config, 0, identity)),
            events,
        };
        Ok((driver, control))
    }

    /// The UDP port of all sockets.
    pub fn port(&self) -> u16 {
        self.bound.first().map_or(0, SocketAddr::port)
    }

    /// The addresses that are bound, wildcards as such.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// The addresses that candidates carry, as they were when the driver started.
    pub fn addresses(&self) -> &[Address] {
        self.addresses.as_slice()
    }

    /// What each worker has counted, not more than about a second old.
    pub fn stats(&self) -> Vec<WorkerStats> {
        self.workers
            .iter()
            .map(|worker| worker.reports.borrow().clone())
            .collect()
    }

    /// Whether all workers turn: `false` when one has ended or is stuck for 5 seconds.
    pub fn alive(&self) -> bool {
        let now = Instant::now();
        self.workers
            .iter()
            .all(|worker| !worker.thread.is_finished() && worker.heartbeat.age(now) < STUCK_AFTER)
    }

    /// Lets all workers carry out the commands that wait, send what is left, and end. Gives their
    /// last statistics. Blocks until the threads have ended, normally some milliseconds; events that
    /// nobody has taken by then may be lost.
    pub fn shutdown(self) -> Vec<WorkerStats> {
        let (threads, reports): (Vec<_>, Vec<_>) = self
            .workers
            .into_iter()
            .map(|worker| {
                // Fails where the worker has ended already.
                let _ = worker.stop.send(());
                (worker.thread, worker.reports)
            })
            .unzip();
        for thread in threads {
            let name = thread.thread().name().map(str::to_owned);
            if thread.join().is_err() {
                tracing::error!(thread = name, "worker had panicked");
            }
        }
        reports
            .iter()
            .map(|reports| reports.borrow().clone())
            .collect()
    }

    fn shard_config(&self, config: &DriverConfig, worker: u8, identity: Identity) -> ShardConfig {
        ShardConfig {
            worker,
            workers: config.workers,
            node: config.node,
            epoch: config.epoch,
            identity,
            addresses: self.addresses().to_vec(),
            ice_lite: config.ice_lite,
            wallclock: self.wallclock,
            initial_bitrate_bps: config.initial_bitrate_bps,
            limits: config.limits.clone(),
            seed: config.seed.wrapping_add(u64::from(worker)),
        }
    }
}

/// Starts a worker's thread. Sockets enter its runtime here, so that what fails is an error of the start.
fn spawn(
    shard: ShardConfig,
    workers: usize,
    sockets: Vec<std::net::UdpSocket>,
    mut ends: Ends,
) -> Result<JoinHandle<()>, DriverError> {
    let worker = usize::from(shard.worker);
    let failed = |source| DriverError::Thread { worker, source };
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(failed)?;
    let entered = runtime.enter();
    for socket in sockets {
        ends.sockets.push(Socket::new(socket).map_err(failed)?);
    }
    drop(entered);
    thread::Builder::new()
        .name(format!("madang-worker-{worker}"))
        .spawn(move || runtime.block_on(async { Worker::new(shard, workers, ends).run().await }))
        .map_err(failed)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use madang_core::demux::Ufrag;
    use madang_core::limits::Limits;

    use super::*;
    use crate::router::tests::{stun_request, stun_response};
    use crate::stats::IoStats;

    const EPOCH: u16 = 7;
    const RTP: &[u8] = &[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];

    pub(crate) fn config() -> DriverConfig {
        DriverConfig {
            bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            workers: 2,
            node: 0,
            epoch: EPOCH,
            advertised: Vec::new(),
            limits: Limits::default(),
            ice_lite: false,
            initial_bitrate_bps: 1_000_000,
            seed: 60,
            receive_buffer_bytes: 1024 * 1024,
            send_buffer_bytes: 1024 * 1024,
        }
    }

    fn request(worker: u8) -> Vec<u8> {
        stun_request(Ufrag {
            node: 0,
            epoch: EPOCH,
            worker,
            number: 1,
        })
    }

    /// Enough that the kernel's hash gives some to each worker (it fails to once in 2^63 runs).
    fn clients() -> Vec<UdpSocket> {
        (0..64)
            .map(|_| UdpSocket::bind("127.0.0.1:0").unwrap())
            .collect()
    }

    fn send_from_all(clients: &[UdpSocket], driver: &Driver, datagram: &[u8]) {
        for client in clients {
            client
                .send_to(datagram, ("127.0.0.1", driver.port()))
                .unwrap();
        }
    }

    /// Waits for reports of the workers until they say what is expected.
    async fn reported(driver: &mut Driver, expected: impl Fn(&[IoStats]) -> bool) -> Vec<IoStats> {
        loop {
            let stats: Vec<IoStats> = driver.stats().into_iter().map(|stats| stats.io).collect();
            if expected(&stats) {
                return stats;
            }
            let last = driver.workers.last_mut().unwrap();
            tokio::time::timeout(Duration::from_secs(10), last.reports.changed())
                .await
                .unwrap()
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_request_reaches_the_worker_it_names_whichever_socket_got_it() {
        let (mut driver, _control) = Driver::start(config()).unwrap();
        let clients = clients();
        send_from_all(&clients, &driver, &request(1));
        send_from_all(&clients, &driver, RTP);
        let sent = clients.len() as u64;
        let stats = reported(&mut driver, |stats| {
            let [zero, one] = stats else {
                panic!("two workers")
            };
            zero.datagrams_received + one.datagrams_received == 2 * sent
                && 2 * one.datagrams_taken_over == zero.datagrams_received
        })
        .await;
        let [_, one] = &stats[..] else {
            panic!("two workers")
        };
        assert!(
            one.datagrams_received > 0 && one.datagrams_taken_over > 0,
            "the kernel uses both sockets"
        );
        assert_eq!(
            one.datagrams_handed_over, 0,
            "a request that nobody answers takes no media with it"
        );
        let last = driver.shutdown();
        assert_eq!(last[0].io.datagrams_handed_over, one.datagrams_taken_over);
    }

    #[tokio::test]
    async fn responses_of_strangers_are_offered_and_stale_requests_are_dropped() {
        let (mut driver, _control) = Driver::start(config()).unwrap();
        let clients = clients();
        send_from_all(&clients, &driver, &stun_response());
        send_from_all(&clients, &driver, &request(2));
        send_from_all(&clients, &driver, b"GET / HTTP/1.1");
        let sent = clients.len() as u64;
        let sum = |stats: &[IoStats], one: fn(&IoStats) -> u64| stats.iter().map(one).sum::<u64>();
        let stats = reported(&mut driver, |stats| {
            sum(stats, |io| io.datagrams_received) == 3 * sent
                && sum(stats, |io| io.datagrams_taken_over) == sent
        })
        .await;
        assert_eq!(sum(&stats, |io| io.responses_offered), sent);
        assert_eq!(sum(&stats, |io| io.datagrams_dropped_stale), sent);
        assert_eq!(sum(&stats, |io| io.datagrams_dropped_unclassified), sent);
    }

    #[test]
    fn all_addresses_and_workers_share_one_port_that_nobody_else_gets() {
        let wildcards = vec![
            SocketAddr::from(([0; 4], 0)),
            SocketAddr::from(([0; 16], 0)),
        ];
        let (driver, control) = Driver::start(DriverConfig {
            bind: wildcards,
            ..config()
        })
        .unwrap();
        assert!(driver.port() > 0);
        assert_eq!(driver.bound().len(), 2);
        assert!(
            driver
                .bound()
                .iter()
                .all(|address| address.port() == driver.port())
        );
        assert!(
            driver
                .addresses()
                .iter()
                .all(|address| address.local.port() == driver.port())
        );
        assert!(
            driver
                .addresses()
                .iter()
                .any(|address| address.local.ip().is_loopback())
        );
        assert_eq!(control.commands.len(), 2);
        let taken = DriverConfig {
            bind: driver.bound().to_vec(),
            ..config()
        };
        let error = Driver::start(taken).unwrap_err().to_string();
        assert!(error.contains(&driver.bound()[0].to_string()), "{error}");
    }

    #[test]
    fn it_stops_at_once_and_frees_the_port() {
        let (driver, control) = Driver::start(config()).unwrap();
        assert!(driver.alive());
        let bound = driver.bound().to_vec();
        let asked = Instant::now();
        assert_eq!(driver.shutdown().len(), 2);
        assert!(asked.elapsed() < Duration::from_secs(1));
        assert!(control.commands.iter().all(mpsc::Sender::is_closed));
        Driver::start(DriverConfig {
            bind: bound,
            ..config()
        })
        .unwrap();
    }

    #[test]
    fn a_worker_that_has_ended_is_not_alive() {
        let (mut driver, _control) = Driver::start(config()).unwrap();
        let (stop, _) = oneshot::channel();
        drop(std::mem::replace(&mut driver.workers[1].stop, stop));
        while driver.alive() {
            thread::yield_now();
        }
        assert_eq!(driver.shutdown().len(), 2);
    }
}
