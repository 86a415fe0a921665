//! mediasoup, which is a library: the Node.js program of [`FOLDER`] makes a server of it. A participant who publishes and
//! watches has two peers, as the library wants it; the server offers to viewers.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use super::{Adapter, AdapterError, Media, PATIENCE, Seat};
use crate::media::negotiation::Wish;
use crate::media::peer::PeerKey;
use crate::process::{ServerProcess, command};
use crate::scenario::Scenario;

/// Where the program and its npm packages are.
const FOLDER: &str = "load-tests/mediasoup";
/// The package asks this variable for the program of its media workers before it takes its own.
const WORKER_VARIABLE: &str = "MEDIASOUP_WORKER_BIN";

#[derive(Debug)]
pub(crate) struct Mediasoup {
    server: Option<ServerProcess>,
    address: String,
    agent: ureq::Agent,
    /// The numbers of the seats that publish, by that of the room.
    publishers: BTreeMap<usize, Vec<usize>>,
    /// By the number of the seat: what the server calls it, and its peers.
    peers: BTreeMap<usize, (String, Vec<PeerKey>)>,
}

impl Mediasoup {
    pub(crate) fn start(workers: usize, cpus: &[usize]) -> Result<Self, AdapterError> {
        let folder = Path::new(FOLDER);
        check(folder, env::var_os(WORKER_VARIABLE).map(PathBuf::from))?;
        let mut command = command("node");
        command
            .arg(folder.join("server.js"))
            .arg(workers.to_string())
            .stdout(Stdio::piped());
        // Its workers are its children: they are on the same cores, and their work is counted.
        let mut server = ServerProcess::start(&mut command, cpus)?;
        let output = server.child.stdout.take();
        let mut lines = BufReader::new(output.ok_or(AdapterError::Silent(PATIENCE))?).lines();
        let Some(Ok(address)) = lines.next() else {
            return Err(AdapterError::Refused("it ended at once".to_owned()));
        };
        Ok(Self::at(address, Some(server)))
    }

    fn at(address: String, server: Option<ServerProcess>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        Self {
            server,
            address,
            agent: config.into(),
            publishers: BTreeMap::new(),
            peers: BTreeMap::new(),
        }
    }

    /// Sends a step of a participant, and returns what the server says to it.
    fn step(&self, path: &str, sdp: &str) -> Result<String, AdapterError> {
        let address = format!("{}{path}", self.address);
        let refused = |error: ureq::Error| AdapterError::Refused(format!("{address}: {error}"));
        let mut response = self.agent.post(&address).send(sdp).map_err(refused)?;
        let text = response.body_mut().read_to_string().map_err(refused)?;
        if response.status().is_success() {
            Ok(text)
        } else {
            Err(AdapterError::Refused(text))
        }
    }

    fn keep(&mut self, seat: Seat, peer: PeerKey) {
        let entry = self.peers.entry(seat.number);
        let (_, peers) = entry.or_insert_with(|| (path_of(seat), Vec::new()));
        peers.push(peer);
    }
}

impl Adapter for Mediasoup {
    fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(ServerProcess::pid)
    }

    fn join(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError> {
        if seat.publisher.is_none() {
            return Ok(()); // a viewer enters by watching
        }
        let layers = scenario.layers();
        let wish = Wish::to_publish(seat.publisher, scenario.audio, &layers);
        let offered = media.factory.offer(&wish)?;
        let requested = Instant::now();
        let answer = self.step(&format!("{}/publish", path_of(seat)), &offered.sdp)?;
        let peer = media.add(seat, offered.accept(&answer)?, requested, 0);
        self.keep(seat, peer);
        self.publishers
            .entry(seat.room)
            .or_default()
            .push(seat.number);
        Ok(())
    }

    fn watch(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError> {
        let publishers = self.publishers.get(&seat.room).into_iter().flatten();
        let others = publishers.filter(|number| **number != seat.number).count();
        if others == 0 {
            return Ok(());
        }
        let requested = Instant::now();
        let offer = self.step(&format!("{}/watch", path_of(seat)), "")?;
        let (answer, negotiated) = media.factory.answer(&offer)?;
        let peer = media.add(seat, negotiated, requested, others * scenario.tracks());
        self.keep(seat, peer);
        self.step(&format!("{}/start", path_of(seat)), &answer)?;
        Ok(())
    }

    fn leave(&mut self, number: usize, media: &mut Media) -> Result<(), AdapterError> {
        if let Some((path, peers)) = self.peers.remove(&number) {
            peers.into_iter().for_each(|peer| media.close(peer));
            self.step(&format!("{path}/leave"), "")?;
        }
        Ok(())
    }

    fn serve(&mut self, until: Instant) -> Result<(), AdapterError> {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        Ok(())
    }
}

fn path_of(seat: Seat) -> String {
    format!("/{}/{}", seat.room, seat.number)
}

/// Whether all is there that the program needs; `named` is the worker that the environment names.
fn check(folder: &Path, named: Option<PathBuf>) -> Result<(), AdapterError> {
    let package = folder.join("node_modules/mediasoup");
    if !package.is_dir() {
        let why = format!(
            "there is no {}; `npm ci` in {} makes it",
            package.display(),
            folder.display()
        );
        return Err(AdapterError::NotRun(why));
    }
    let worker = named.unwrap_or_else(|| package.join("worker/out/Release/mediasoup-worker"));
    if !worker.is_file() {
        let why = format!(
            "there is no {}, which npm's installation downloads or builds; {WORKER_VARIABLE} may name another",
            worker.display()
        );
        return Err(AdapterError::NotRun(why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use tempfile::TempDir;

    use super::super::testing::{factory, seat, serve_one};
    use super::*;

    fn reason(folder: &Path, named: Option<PathBuf>) -> String {
        match check(folder, named) {
            Err(AdapterError::NotRun(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = TempDir::new().unwrap();
        let at = folder.path();
        assert!(reason(at, None).contains("npm ci"));
        let release = at.join("node_modules/mediasoup/worker/out/Release");
        fs::create_dir_all(&release).unwrap();
        assert!(reason(at, None).contains("out/Release/mediasoup-worker"));
        let own = release.join("mediasoup-worker");
        fs::write(&own, "").unwrap();
        assert!(check(at, None).is_ok(), "the package's own");
        let absent = at.join("elsewhere");
        assert!(reason(at, Some(absent)).contains("elsewhere"));
        assert!(check(at, Some(own)).is_ok(), "the named one");
    }

    /// A server in which one publisher is, and offers itself what a viewer gets.
    #[test]
    fn a_viewer_answers_the_offer_of_the_server() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut mediasoup = Mediasoup::at(address, None);
        let mut clients = Media::start(factory(), 1).unwrap();
        let mut servers = Media::start(factory(), 1).unwrap();
        let scenario: Scenario =
            toml::from_str("title = 'a'\npublishers = 1\nviewers = 1\nvideo_kbps = [1000]")
                .unwrap();
        let layers = scenario.layers();
        let (publisher, viewer) = (seat(0, Some(0)), seat(1, None));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                serve_one(&listener, |line, offer| {
                    assert_eq!(line, "POST /0/0/publish HTTP/1.1");
                    let (answer, negotiated) = servers.factory.answer(offer).unwrap();
                    servers.add(publisher, negotiated, Instant::now(), 1);
                    (200, answer)
                });
                let wish = Wish {
                    publisher: Some(0),
                    camera: &layers,
                    ..Wish::default()
                };
                let offered = servers.factory.offer(&wish).unwrap();
                serve_one(&listener, |line, _| {
                    assert_eq!(line, "POST /0/1/watch HTTP/1.1");
                    (200, offered.sdp.clone())
                });
                serve_one(&listener, |line, answer| {
                    assert_eq!(line, "POST /0/1/start HTTP/1.1");
                    let negotiated = offered.accept(answer).unwrap();
                    servers.add(viewer, negotiated, Instant::now(), 0);
                    (200, String::new())
                });
            });
            mediasoup.join(publisher, &scenario, &mut clients).unwrap();
            mediasoup.watch(publisher, &scenario, &mut clients).unwrap();
            mediasoup.join(viewer, &scenario, &mut clients).unwrap();
            mediasoup.watch(viewer, &scenario, &mut clients).unwrap();
        });
        let complete = |media: &Media| media.progress().1;
        let deadline = Instant::now() + Duration::from_secs(20);
        while complete(&clients) < 2 || complete(&servers) < 2 {
            assert!(Instant::now() < deadline, "{:?}", clients.progress());
            mediasoup
                .serve(Instant::now() + Duration::from_millis(20))
                .unwrap();
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                serve_one(&listener, |line, _| {
                    assert_eq!(line, "POST /0/1/leave HTTP/1.1");
                    (500, "nobody is there".to_owned())
                });
            });
            let refused = mediasoup.leave(1, &mut clients).unwrap_err();
            assert!(refused.to_string().contains("nobody is there"));
        });
        assert_eq!(clients.open(), 1, "the publisher has stayed");
    }
}
