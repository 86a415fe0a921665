//! What the driver needs to know, and what can be wrong with it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use madang_core::IdentityError;
use madang_core::limits::Limits;

use crate::limits::WORKERS_MAX;

/// How [`crate::Driver::start`] sets up.
#[derive(Debug, Clone)]
pub struct DriverConfig {
    /// Addresses to bind, all with the same port. Port 0 picks a free one. An IPv6 address never
    /// takes IPv4 traffic, so that both families need an entry, for example `0.0.0.0:8080` and `[::]:8080`.
    pub bind: Vec<SocketAddr>,
    /// Worker threads, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// The node, 0 where there is only one.
    pub node: u16,
    /// Differs at each start of the process.
    pub epoch: u16,
    /// Addresses that clients reach the server at, where NAT hides them from this machine. Empty:
    /// those of all interfaces, loopback included, without link-local ones.
    pub advertised: Vec<IpAddr>,
    /// Limits of each shard.
    pub limits: Limits,
    pub ice_lite: bool,
    /// Where a bandwidth estimate starts, in bit/s.
    pub initial_bitrate_bps: u64,
    /// Seed of the shards' own randomness; each worker derives its own from it.
    pub seed: u64,
    /// Kernel buffer to ask for on each socket, in bytes.
    pub receive_buffer_bytes: usize,
    /// Kernel buffer to ask for on each socket, in bytes.
    pub send_buffer_bytes: usize,
}

impl DriverConfig {
    /// What to ask the kernel for where nothing else is known: 8 MiB absorb 60 ms at 1 Gbit/s.
    pub const SOCKET_BUFFER_BYTES: usize = 8 * 1024 * 1024;

    /// Refuses what could not work, before any socket is opened.
    pub(crate) fn validate(&self) -> Result<(), DriverError> {
        if self.bind.is_empty() {
            return Err(DriverError::NoBind);
        }
        if self.workers == 0 || self.workers > WORKERS_MAX {
            return Err(DriverError::Workers {
                workers: self.workers,
            });
        }
        let ports: BTreeSet<u16> = self.bind.iter().map(SocketAddr::port).collect();
        if ports.len() > 1 {
            return Err(DriverError::Ports {
                ports: ports.into_iter().collect(),
            });
        }
        let ips = self
            .bind
            .iter()
            .map(SocketAddr::ip)
            .chain(self.advertised.iter().copied());
        for ip in ips {
            if ip.to_canonical() != ip {
                return Err(DriverError::Mapped {
                    ip,
                    instead: ip.to_canonical(),
                });
            }
        }
        Ok(())
    }
}

/// Why the driver cannot start.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("no UDP address to bind: give at least one, for example 0.0.0.0:8080")]
    NoBind,
    #[error("cannot run {workers} workers: 1 to {WORKERS_MAX} are allowed")]
    Workers { workers: usize },
    #[error("all UDP addresses must share one port, but the ports {ports:?} are given")]
    Ports { ports: Vec<u16> },
    #[error("{ip} is an IPv4 address written as IPv6: write {instead}")]
    Mapped { ip: IpAddr, instead: IpAddr },
    #[error("cannot bind UDP {address}: {source}{}", bind_hint(source))]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot set up the UDP socket at {address}: {source}")]
    Socket {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot list the network interfaces: {0}; a sandbox must allow AF_NETLINK sockets")]
    Interfaces(io::Error),
    #[error(
        "the advertised address {ip} has no socket of its family: bind {} too, or do not advertise it",
        if ip.is_ipv4() { "0.0.0.0" } else { "[::]" }
    )]
    NoSocketFor { ip: IpAddr },
    #[error(
        "no network interface has an address that clients could reach: set the advertised addresses explicitly"
    )]
    NoAddress,
    #[error("cannot make the DTLS certificate: {0}")]
    Identity(#[from] IdentityError),
    #[error("cannot start the thread of worker {worker}: {source}")]
    Thread { worker: usize, source: io::Error },
}

fn bind_hint(error: &io::Error) -> &'static str {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the enum is open; other kinds speak for themselves"
    )]
    match error.kind() {
        io::ErrorKind::AddrInUse => "; stop the process that uses the port or choose another port",
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address: bind one that exists, 0.0.0.0 or [::]"
        }
        io::ErrorKind::PermissionDenied => {
            "; choose a port above 1023 or grant the process CAP_NET_BIND_SERVICE"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(bind: &[&str]) -> DriverConfig {
        DriverConfig {
            bind: bind
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
            workers: 2,
            node: 0,
            epoch: 1,
            advertised: Vec::new(),
            limits: Limits::default(),
            ice_lite: false,
            initial_bitrate_bps: 1_000_000,
            seed: 1,
            receive_buffer_bytes: DriverConfig::SOCKET_BUFFER_BYTES,
            send_buffer_bytes: DriverConfig::SOCKET_BUFFER_BYTES,
        }
    }

    fn complaint(config: &DriverConfig) -> String {
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_wrong_value_is_named_together_with_what_is_allowed() {
        assert!(complaint(&config(&[])).contains("0.0.0.0:8080"));
        let ports = complaint(&config(&["0.0.0.0:8080", "[::]:9090"]));
        assert!(ports.contains("8080") && ports.contains("9090"), "{ports}");
        let mapped = complaint(&config(&["[::ffff:192.0.2.1]:8080"]));
        assert!(mapped.contains("write 192.0.2.1"), "{mapped}");
        let workers = complaint(&DriverConfig {
            workers: 257,
            ..config(&["0.0.0.0:8080"])
        });
        assert!(
            workers.contains("257") && workers.contains("1 to 256"),
            "{workers}"
        );
    }

    #[test]
    fn both_families_on_one_port_are_fine() {
        assert!(config(&["0.0.0.0:8080", "[::]:8080"]).validate().is_ok());
    }
}
