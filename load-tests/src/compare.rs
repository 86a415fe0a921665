//! Scenarios with one server or several, alternating, in rounds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::adapter::http::{Addresses, Http};
use crate::adapter::janus::Janus;
use crate::adapter::madang::{self, Madang};
use crate::adapter::mediasoup::Mediasoup;
use crate::adapter::{Adapter, AdapterError, Media};
use crate::media::dtls::Identity;
use crate::media::negotiation::Factory;
use crate::print;
use crate::process::{ServerProcess, command};
use crate::result::{Measured, Outcome, ResultFile, Run, Settings};
use crate::run::run;
use crate::scenario::Scenario;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// This repository's server.
    Madang,
    /// The same by HTTP: publishers by WHIP, viewers by WHEP.
    MadangWhip,
    /// Janus with its VideoRoom.
    Janus,
    /// mediasoup, with the program in load-tests/mediasoup.
    Mediasoup,
    /// A server that takes offers by HTTP.
    Http,
}

/// How to reach the servers.
#[derive(Debug)]
pub(crate) struct Servers {
    /// The program of Madang.
    pub(crate) madang: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// A Madang that runs already.
    pub(crate) address: Option<SocketAddr>,
    /// How the server that takes offers by HTTP is started, and where the offers go.
    pub(crate) http_command: Option<String>,
    pub(crate) http_name: String,
    pub(crate) http_addresses: Addresses,
}

#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) rounds: usize,
    pub(crate) servers: Servers,
    /// What others may do on the machine meanwhile, in percent of one core: else a run is repeated.
    pub(crate) others_max_percent: f64,
}

/// How often a run is repeated because of what else ran on the machine.
const REPEATS_MAX: usize = 4;
/// How long a server takes to listen, where it does not say so.
const START: Duration = Duration::from_secs(2);

impl Comparison {
    /// Runs everything and adds it to the file, which is saved after each run. What fails is told as such and does
    /// not end the rest.
    pub(crate) fn run(
        &self,
        file: &mut ResultFile,
        save: impl Fn(&ResultFile) -> std::io::Result<()>,
    ) -> Result<(), AdapterError> {
        let identity = Identity::generate()
            .ok_or_else(|| AdapterError::NotRun("no certificate could be made".to_owned()))?;
        for round in 1..=self.rounds {
            for scenario in &self.scenarios {
                for peer in &self.peers {
                    let outcome = self.play_undisturbed(*peer, scenario, &file.settings, &identity);
                    let run = Run {
                        scenario: scenario.name.clone(),
                        title: scenario.title.clone(),
                        peer: self.name(*peer).to_owned(),
                        round,
                        outcome,
                    };
                    print::run(&run);
                    file.runs.push(run);
                    save(file)?;
                }
            }
        }
        Ok(())
    }

    /// The least disturbed of some runs.
    fn play_undisturbed(
        &self,
        peer: Peer,
        scenario: &Scenario,
        settings: &Settings,
        identity: &Identity,
    ) -> Outcome {
        let play = || self.play(peer, scenario, settings, identity);
        let mut best = match play() {
            Ok(measured) => measured,
            Err(error) => return Outcome::NotRun(error.to_string()),
        };
        for _ in 0..REPEATS_MAX {
            if best.others_cpu_percent <= self.others_max_percent {
                break;
            }
            best = play()
                .ok()
                .filter(|again| again.others_cpu_percent < best.others_cpu_percent)
                .unwrap_or(best);
        }
        Outcome::Measured(Box::new(best))
    }

    fn play(
        &self,
        peer: Peer,
        scenario: &Scenario,
        settings: &Settings,
        identity: &Identity,
    ) -> Result<Measured, AdapterError> {
        let ip = match peer {
            Peer::Janus => outer_address()?,
            Peer::Madang | Peer::MadangWhip | Peer::Mediasoup | Peer::Http => Ipv4Addr::LOCALHOST,
        };
        let factory = Factory {
            identity: identity.clone(),
            ip: IpAddr::V4(ip),
            gro: settings.gro,
            codec: scenario.codec,
        };
        let mut adapter = self.start(peer, ip, settings)?;
        let mut media = Media::start(factory, settings.client_threads)?;
        run(adapter.as_mut(), &mut media, scenario, self.name(peer))
    }

    fn start(
        &self,
        peer: Peer,
        ip: Ipv4Addr,
        settings: &Settings,
    ) -> Result<Box<dyn Adapter>, AdapterError> {
        let (workers, cpus) = (settings.server_workers, &settings.server_cpus);
        let servers = &self.servers;
        Ok(match (peer, servers.address) {
            (Peer::Madang, Some(address)) => Box::new(Madang::at(address)?),
            (Peer::Madang, None) => Box::new(Madang::start(
                &servers.madang,
                &servers.arguments,
                workers,
                cpus,
            )?),
            (Peer::MadangWhip, address) => Box::new(madang::by_http(
                &servers.madang,
                &servers.arguments,
                workers,
                cpus,
                address,
            )?),
            (Peer::Janus, _) => Box::new(Janus::start(ip, cpus)?),
            (Peer::Mediasoup, _) => Box::new(Mediasoup::start(workers, cpus)?),
            (Peer::Http, _) => Box::new(servers.start_http(cpus)?),
        })
    }

    fn name(&self, peer: Peer) -> &str {
        match peer {
            Peer::Madang => "madang",
            Peer::MadangWhip => "madang-whip",
            Peer::Janus => "janus",
            Peer::Mediasoup => "mediasoup",
            Peer::Http => &self.servers.http_name,
        }
    }
}

impl Servers {
    fn start_http(&self, cpus: &[usize]) -> Result<Http, AdapterError> {
        if self.http_addresses.publish.is_empty() {
            return Err(AdapterError::NotRun(
                "no --http-publish was given".to_owned(),
            ));
        }
        let start = |line: &String| {
            let mut words = line.split_whitespace();
            let mut command = command(words.next().unwrap_or_default());
            command
                .args(words)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let server = ServerProcess::start(&mut command, cpus)
                .map_err(|error| AdapterError::NotRun(format!("{line}: {error}")));
            std::thread::sleep(START);
            server
        };
        let server = self.http_command.as_ref().map(start).transpose()?;
        Ok(Http::new(server, self.http_addresses.clone()))
    }
}

/// An address of this machine that is not the loopback one, which Janus does not use. Packets to it stay
/// on the machine all the same.
fn outer_address() -> Result<Ipv4Addr, AdapterError> {
    let interfaces = getifaddrs().map_err(std::io::Error::from)?;
    interfaces
        .filter(|interface| {
            let flags = interface.flags;
            flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .find_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()))
        .ok_or_else(|| {
            AdapterError::NotRun("this machine has no address but the loopback one".to_owned())
        })
}
