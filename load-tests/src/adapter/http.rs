//! Servers that take an offer by one HTTP request and give the answer in its response: WHIP, WHEP and their relatives.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Adapter, AdapterError, Media, PATIENCE, Seat};
use crate::media::negotiation::Wish;
use crate::media::peer::PeerKey;
use crate::process::ServerProcess;
use crate::scenario::Scenario;

/// Where offers go. `{room}` and `{seat}` stand for the numbers of the room and of the participant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addresses {
    pub(crate) publish: String,
    pub(crate) watch: String,
}

#[derive(Debug)]
pub(crate) struct Http {
    server: Option<ServerProcess>,
    addresses: Addresses,
    agent: ureq::Agent,
    /// By the number of the seat: the session's address, where there is one, and its peer.
    peers: BTreeMap<usize, Vec<(Option<String>, PeerKey)>>,
    /// Why sessions could not be ended.
    ended: Vec<String>,
}

impl Http {
    pub(crate) fn new(server: Option<ServerProcess>, addresses: Addresses) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .build();
        Self {
            server,
            addresses,
            agent: config.into(),
            peers: BTreeMap::new(),
            ended: Vec::new(),
        }
    }

    fn offer(
        &mut self,
        address: &str,
        seat: Seat,
        wish: &Wish<'_>,
        expects: usize,
        media: &mut Media,
    ) -> Result<(), AdapterError> {
        let address = address_of(address, seat);
        let offered = media.factory.offer(wish)?;
        let requested = Instant::now();
        let refused = |error: ureq::Error| AdapterError::Refused(format!("{address}: {error}"));
        let mut response = self
            .agent
            .post(&address)
            .header("content-type", "application/sdp")
            .send(&offered.sdp)
            .map_err(refused)?;
        let location = response.headers().get("location");
        let location = location.and_then(|location| location.to_str().ok());
        let session = location.map(|location| resolve(&address, location));
        let answer = response.body_mut().read_to_string().map_err(refused)?;
        let peer = media.add(seat, offered.accept(&answer)?, requested, expects);
        self.peers
            .entry(seat.number)
            .or_default()
            .push((session, peer));
        Ok(())
    }
}

impl Adapter for Http {
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
            return Ok(());
        }
        let layers = scenario.layers();
        let wish = Wish::to_publish(seat.publisher, scenario.audio, &layers);
        let address = self.addresses.publish.clone();
        self.offer(&address, seat, &wish, 0, media)
    }

    /// A WHEP session carries one publisher: only scenarios with one are meaningful.
    fn watch(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError> {
        if seat.publisher.is_some() {
            return Ok(());
        }
        let wish = Wish {
            audio_slots: usize::from(scenario.audio),
            video_slots: usize::from(!scenario.video_kbps.is_empty()),
            ..Wish::default()
        };
        let address = self.addresses.watch.clone();
        self.offer(&address, seat, &wish, scenario.tracks(), media)
    }

    fn leave(&mut self, number: usize, media: &mut Media) -> Result<(), AdapterError> {
        for (session, peer) in self.peers.remove(&number).unwrap_or_default() {
            if let Some(Err(error)) = session.map(|session| self.agent.delete(&session).call()) {
                self.ended.push(format!("DELETE: {error}"));
            }
            media.close(peer);
        }
        Ok(())
    }

    fn end(&mut self, media: &mut Media) {
        while let Some((number, _)) = self.peers.first_key_value() {
            // It fails for nobody: what goes wrong is kept.
            let _ = self.leave(*number, media);
        }
    }

    fn ended(&self) -> &[String] {
        &self.ended
    }

    fn serve(&mut self, until: Instant) -> Result<(), AdapterError> {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        Ok(())
    }
}

fn address_of(template: &str, seat: Seat) -> String {
    template
        .replace("{room}", &seat.room.to_string())
        .replace("{seat}", &seat.number.to_string())
}

/// `location` as seen from the address that was asked.
fn resolve(address: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let host = address
        .split_once("://")
        .map_or(address, |(_, rest)| rest)
        .split('/')
        .next()
        .unwrap_or_default();
    format!("http://{host}/{}", location.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use super::super::testing::{factory, seat, serve_one};
    use super::*;
    use crate::media::publication::stream_id;

    #[test]
    fn addresses_name_room_and_seat() {
        let seat = Seat {
            room: 3,
            ..seat(12, None)
        };
        let address = address_of("http://127.0.0.1:1/whep/{room}?as={seat}", seat);
        assert_eq!(address, "http://127.0.0.1:1/whep/3?as=12");
    }

    #[test]
    fn a_publisher_is_heard_and_seen_by_who_answers_its_offer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let publish = format!("http://{}/whip", listener.local_addr().unwrap());
        let mut watching = Media::start(factory(), 1).unwrap();
        let mut publishing = Media::start(factory(), 1).unwrap();
        publishing.measure(0, u64::MAX);
        watching.measure(0, u64::MAX);
        let scenario: Scenario =
            toml::from_str("title = 'a'\npublishers = 1\nvideo_kbps = [1000]\naudio = true")
                .unwrap();
        let (seat, viewer) = (seat(0, Some(0)), seat(1, None));
        let addresses = Addresses {
            publish,
            watch: String::new(),
        };
        let mut http = Http::new(None, addresses);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                serve_one(&listener, |_, offer| {
                    let (answer, negotiated) = watching.factory.answer(offer).unwrap();
                    watching.add(viewer, negotiated, Instant::now(), 2);
                    (201, answer)
                });
            });
            http.join(seat, &scenario, &mut publishing).unwrap();
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        while watching.progress().1 < 1 {
            assert!(Instant::now() < deadline, "{:?}", watching.progress());
            http.serve(Instant::now() + Duration::from_millis(20))
                .unwrap();
        }
        let heard = &watching.report().unwrap()[0];
        let received = &heard.peers[0].received;
        let names: BTreeSet<_> = received.iter().map(|of| of.stream).collect();
        assert_eq!(names, [stream_id(0, 0), stream_id(0, 1)].into());
        assert!(heard.peers[0].connected.is_some());
        assert_eq!(heard.peers[0].missing, 0);
        let delay = heard.delays.percentiles().unwrap();
        assert!(delay.p50 > 0.0 && delay.max < 10_000.0, "{delay:?}");
        assert!(publishing.report().unwrap()[0].peers[0].sent > 0);
        let ended = std::thread::scope(|scope| {
            let ended = scope.spawn(|| {
                let mut asked = String::new();
                serve_one(&listener, |line, _| {
                    line.clone_into(&mut asked);
                    (404, String::new())
                });
                asked
            });
            http.end(&mut publishing);
            ended.join().unwrap()
        });
        assert_eq!(ended, "DELETE /s/1 HTTP/1.1");
        assert_eq!(publishing.open(), 0);
        assert_eq!(http.ended().len(), 1, "a refusal is told");
    }

    #[test]
    fn a_session_is_found_where_the_server_says() {
        let asked = "http://127.0.0.1:80/whip/3";
        assert_eq!(resolve(asked, "/s/1"), "http://127.0.0.1:80/s/1");
        assert_eq!(resolve(asked, "http://a/s"), "http://a/s");
    }
}
