//! A driver, and browsers that talk to it in one thread.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use madang_core::demux::Ufrag;
use madang_core::limits::Limits;
use madang_core::sdp::{Offer, RemoteCandidate};
use madang_core::{AutoView, MediaKind, View};
use madang_core::{Command, Event, Join, PeerId, RoomId, Source, TrackId, TrackSpec};
use madang_driver::{Control, Driver, DriverConfig};
use madang_simulation::{Browser, BrowserConfig};

/// Longer than anything here takes; what waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Larger than any datagram of WebRTC.
const DATAGRAM_BYTES_MAX: usize = 2_048;
const ROOM: RoomId = RoomId(1);

pub(crate) struct Party {
    start: Instant,
    pub(crate) driver: Driver,
    control: Control,
    pub(crate) clients: Vec<Client>,
    /// Messages of data channels, by client.
    pub(crate) data: Vec<(usize, Vec<u8>)>,
}

pub(crate) struct Client {
    pub(crate) browser: Browser,
    udp: UdpSocket,
    worker: usize,
    /// The username fragment of the server's side.
    pub(crate) ufrag: String,
    pub(crate) connected: bool,
    /// Follows each datagram of the client, from its address.
    pub(crate) forgery: Option<Vec<u8>>,
}

impl Party {
    pub(crate) fn new(workers: usize) -> Self {
        let (driver, control) = Driver::start(DriverConfig {
            bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            workers,
            node: 0,
            epoch: 7,
            advertised: Vec::new(),
            limits: Limits::default(),
            ice_lite: false,
            initial_bitrate_bps: 10_000_000,
            seed: 1,
            receive_buffer_bytes: DriverConfig::SOCKET_BUFFER_BYTES,
            send_buffer_bytes: DriverConfig::SOCKET_BUFFER_BYTES,
        })
        .unwrap();
        Self {
            start: Instant::now(),
            driver,
            control,
            clients: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Somebody who joins the room on this worker, at this loopback address.
    pub(crate) fn join(&mut self, worker: usize, ip: [u8; 4]) -> usize {
        let udp = UdpSocket::bind(SocketAddr::from((ip, 0))).unwrap();
        udp.set_nonblocking(true).unwrap();
        let (number, now) = (self.clients.len(), self.start.elapsed());
        let seed = (now, number as u64);
        let mut browser = Browser::new(
            BrowserConfig::default(),
            u32::try_from(number).unwrap(),
            udp.local_addr().unwrap(),
            self.start,
            seed,
        );
        let offer = Offer::parse(&browser.first_offer()).unwrap();
        self.clients.push(Client {
            browser,
            udp,
            worker,
            ufrag: String::new(),
            connected: false,
            forgery: None,
        });
        let engine = self.control.engines.accept(Instant::now(), offer).unwrap();
        let join = Join {
            peer: peer(number),
            room: ROOM,
            engine,
            subscribe: true,
        };
        self.command(number, Command::Join(Box::new(join)));
        self.until("an answer", |party| !party.clients[number].ufrag.is_empty());
        number
    }

    pub(crate) fn command(&self, client: usize, command: Command) {
        let worker = self.clients[client].worker;
        self.control.commands[worker]
            .blocking_send(command)
            .unwrap();
    }

    /// Announces a source and starts to send it.
    pub(crate) fn publish(&mut self, client: usize, source: Source) {
        let now = self.start.elapsed();
        let browser = &mut self.clients[client].browser;
        let mid = browser.mid_of(source).unwrap();
        browser.publish(now, source);
        browser.talk(Some(-20));
        let audio = matches!(source, Source::Microphone | Source::ScreenAudio);
        let track = TrackSpec {
            id: TrackId(peer(client).0 * 10 + u64::from(audio)),
            mid,
            kind: if audio {
                MediaKind::Audio
            } else {
                MediaKind::Video
            },
            source,
            muted: false,
            width: Some(1_280),
            height: Some(720),
            max_bps: Vec::new(),
            encrypted: false,
        };
        self.command(
            client,
            Command::Publish {
                peer: peer(client),
                track,
            },
        );
    }

    /// Wants to see everybody.
    pub(crate) fn look(&self, client: usize) {
        let auto = AutoView {
            max: 9,
            width: 640,
            height: 360,
            pin: None,
        };
        let view = View {
            rev: 1,
            auto: Some(auto),
            ..View::default()
        };
        self.command(
            client,
            Command::View {
                peer: peer(client),
                view,
            },
        );
    }

    pub(crate) fn send_data(&mut self, client: usize, data: &[u8]) -> bool {
        let now = self.start.elapsed();
        self.clients[client].browser.send_data(now, data)
    }

    /// Lets everybody work until something is true.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            while let Ok(event) = self.control.events.try_recv() {
                self.on_event(event);
            }
            for client in &mut self.clients {
                client.pump(self.start);
            }
            if done(self) {
                return;
            }
            assert!(Instant::now() < end, "waited too long for {what}");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn on_event(&mut self, event: Event) {
        if let Event::Answered { peer, result, .. } = event {
            let number = client(peer);
            let sdp = result.unwrap().sdp.to_string();
            let now = self.start.elapsed();
            let joining = &mut self.clients[number];
            joining.ufrag = ufrag_in(&sdp);
            let line = joining.browser.candidate();
            joining.browser.accept_answer(now, &sdp);
            let candidate = RemoteCandidate::parse(&line).unwrap().unwrap();
            self.command(number, Command::Candidate { peer, candidate });
        } else if let Event::Connected { peer } = event {
            self.clients[client(peer)].connected = true;
        } else if let Event::Data { peer, payload } = event {
            self.data.push((client(peer), payload.to_vec()));
        } else if let Event::Closed { peer, reason } = event {
            panic!("{peer} is closed: {reason:?}");
        }
    }
}

impl Client {
    fn pump(&mut self, start: Instant) {
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        while let Ok((length, from)) = self.udp.recv_from(&mut datagram) {
            self.browser
                .handle_datagram(start.elapsed(), from, &datagram[..length]);
        }
        self.browser.tick(start.elapsed());
        for (destination, datagram) in self.browser.take_outgoing() {
            self.udp.send_to(&datagram, destination).unwrap();
            if let Some(forgery) = &self.forgery {
                self.udp.send_to(forgery, destination).unwrap();
            }
        }
    }
}

fn peer(client: usize) -> PeerId {
    PeerId(client as u64 + 1)
}

fn client(peer: PeerId) -> usize {
    usize::try_from(peer.0).unwrap() - 1
}

fn ufrag_in(sdp: &str) -> String {
    let line = sdp
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    let ufrag = line.unwrap().to_owned();
    assert!(Ufrag::decode(ufrag.as_bytes()).is_some(), "{ufrag}");
    ufrag
}

/// A binding request (RFC 8489) of somebody who knows the fragment and not the password.
pub(crate) fn forged_request(ufrag: &str) -> Vec<u8> {
    let username = format!("{ufrag}:forged");
    let mut attributes = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        attributes.extend_from_slice(&kind.to_be_bytes());
        attributes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        attributes.extend_from_slice(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    attribute(0x0006, username.as_bytes());
    attribute(0x0024, &[0x6e, 0, 0x1e, 0xff]);
    attribute(0x802a, &[1; 8]);
    attribute(0x0008, &[0xab; 20]);
    let length = u16::try_from(attributes.len()).unwrap();
    let mut request = vec![0, 1];
    request.extend_from_slice(&length.to_be_bytes());
    request.extend_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    request.extend_from_slice(&[9; 12]);
    request.extend_from_slice(&attributes);
    request
}
