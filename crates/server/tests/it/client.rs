//! A participant over real sockets: the protocol `madang.v1` on a WebSocket, media on a UDP socket.
//!
//! Encoders, decoders and the WebRTC stack are the simulation's [`Browser`]; time is the machine's.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use madang_core::Source;
use madang_simulation::{Browser, BrowserConfig};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

/// How often the protocol wants a ping.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Larger than any datagram of WebRTC.
const DATAGRAM_BYTES_MAX: usize = 2_048;

pub(crate) struct Client {
    pub(crate) number: u32,
    pub(crate) browser: Browser,
    udp: UdpSocket,
    socket: Option<WebSocket<TcpStream>>,
    /// Frames that came, in order, and have not been taken.
    pub(crate) inbox: Vec<Value>,
    /// Replies to what the client does by itself are not kept.
    next_id: u64,
    pub(crate) joined: Value,
    pub(crate) joined_after: Duration,
    /// The sequence number of the last event.
    pub(crate) last_s: u64,
    /// The close code, as soon as the server has closed.
    pub(crate) closed: Option<u16>,
    /// Remote video tracks: everyone is shown.
    tracks: BTreeMap<String, Value>,
    rev: u32,
    next_ping: Duration,
    /// Size of the tiles, in pixels.
    pub(crate) tile: (u32, u32),
}

impl Client {
    /// Opens both sockets; nothing is sent.
    pub(crate) fn new(
        number: u32,
        http: SocketAddr,
        browser: (BrowserConfig, IpAddr),
        start: Instant,
    ) -> Self {
        let mut client = Self::without_websocket(number, browser, start);
        client.socket = Some(open(http));
        client
    }

    /// One who gets its answers otherwise.
    pub(crate) fn without_websocket(
        number: u32,
        (config, ip): (BrowserConfig, IpAddr),
        start: Instant,
    ) -> Self {
        let udp = UdpSocket::bind((ip, 0)).unwrap();
        udp.set_nonblocking(true).unwrap();
        let address = udp.local_addr().unwrap();
        let now = start.elapsed();
        Self {
            number,
            browser: Browser::new(config, number, address, start, (now, u64::from(number))),
            udp,
            socket: None,
            inbox: Vec::new(),
            next_id: 1,
            joined: Value::Null,
            joined_after: now,
            last_s: 0,
            closed: None,
            tracks: BTreeMap::new(),
            rev: 0,
            next_ping: now + PING_INTERVAL,
            tile: (640, 360),
        }
    }

    /// The first frame of a new participant.
    pub(crate) fn join(&mut self, now: Duration, room: &str, token: Option<&str>) -> u64 {
        self.joined_after = now;
        let offer = self.browser.first_offer();
        let config = self.browser.config();
        let want = json!({"audio": config.audio_slots, "video": config.video_slots});
        let join = json!({"t": "join", "v": 1, "room": room, "token": token, "offer": offer, "want": want});
        self.request(join)
    }

    /// The WebSocket breaks without a word; the UDP socket stays.
    pub(crate) fn cut(&mut self) {
        self.socket = None;
    }

    /// Comes back on a new WebSocket.
    pub(crate) fn resume(&mut self, http: SocketAddr) -> u64 {
        self.socket = Some(open(http));
        let (session, secret) = (&self.joined["session"], &self.joined["secret"]);
        let resume = json!({"t": "resume", "v": 1, "session": session, "secret": secret, "last_s": self.last_s});
        self.request(resume)
    }

    /// Announces a source and starts to send it.
    pub(crate) fn publish(&mut self, now: Duration, source: Source) -> u64 {
        let (kind, name) = match source {
            Source::Microphone => ("audio", "microphone"),
            Source::Camera => ("video", "camera"),
            Source::Screen => ("video", "screen"),
            Source::ScreenAudio => ("audio", "screen_audio"),
        };
        let mid = self.browser.mid_of(source).unwrap().to_string();
        let mut track =
            json!({"cid": name, "mid": mid, "kind": kind, "source": name, "muted": false});
        if source == Source::Camera {
            track["rids"] = json!(["q", "h", "f"]);
            (track["w"], track["h"]) = (json!(1_280), json!(720));
        }
        self.browser.publish(now, source);
        self.request(json!({"t": "publish", "tracks": [track]}))
    }

    /// Sends a frame that wants a reply, and returns its `id`.
    pub(crate) fn request(&mut self, mut frame: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        frame["id"] = json!(id);
        self.send(&frame);
        id
    }

    fn send(&mut self, frame: &Value) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        match socket.send(Message::text(frame.to_string())) {
            Ok(()) => {}
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => assert!(self.closed.is_some(), "client {}: {error}", self.number),
        }
    }

    /// Takes the first frame that `wanted` likes.
    pub(crate) fn take(&mut self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let position = self.inbox.iter().position(wanted)?;
        Some(self.inbox.remove(position))
    }

    /// Does what is due: reads both sockets, encodes, sends.
    pub(crate) fn pump(&mut self, start: Instant) {
        self.read_frames(start.elapsed());
        let mut datagram = [0; DATAGRAM_BYTES_MAX];
        while let Ok((length, from)) = self.udp.recv_from(&mut datagram) {
            self.browser
                .handle_datagram(start.elapsed(), from, &datagram[..length]);
        }
        let now = start.elapsed();
        self.browser.tick(now);
        for (destination, datagram) in self.browser.take_outgoing() {
            // A candidate of the other address family cannot be tried from this socket.
            if destination.is_ipv4() == self.browser.address().is_ipv4() {
                self.udp.send_to(&datagram, destination).unwrap();
            }
        }
        if now >= self.next_ping {
            self.next_ping = now + PING_INTERVAL;
            self.send(&json!({"t": "ping"}));
        }
    }

    /// Sends what somebody else might have written from this address.
    pub(crate) fn send_raw(&self, destination: SocketAddr, datagram: &[u8]) {
        self.udp.send_to(datagram, destination).unwrap();
    }

    fn read_frames(&mut self, now: Duration) {
        while let Some(socket) = &mut self.socket {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    self.handle_frame(now, &frame);
                    self.inbox.push(frame);
                }
                Ok(Message::Close(frame)) => {
                    self.closed = frame.map(|frame| frame.code.into());
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.socket = None,
            }
        }
    }

    /// What a page does by itself with what it is told.
    fn handle_frame(&mut self, now: Duration, frame: &Value) {
        self.last_s = frame["s"].as_u64().unwrap_or(self.last_s);
        match frame["t"].as_str().unwrap() {
            "joined" => {
                self.joined = frame.clone();
                let line = self.browser.candidate();
                self.browser
                    .accept_answer(now, frame["answer"].as_str().unwrap());
                self.send(&json!({"t": "candidate", "gen": 0, "candidate": line}));
                self.show(frame["tracks"].as_array());
            }
            "tracks" => {
                for id in frame["del"].as_array().into_iter().flatten() {
                    self.tracks.remove(id.as_str().unwrap());
                }
                self.show(frame["add"].as_array());
            }
            _ => {}
        }
    }

    fn show(&mut self, tracks: Option<&Vec<Value>>) {
        for track in tracks.into_iter().flatten() {
            if track["kind"] == "video" && track["peer"] != self.joined["you"]["id"] {
                let id = track["id"].as_str().unwrap().to_owned();
                self.tracks.insert(id, track.clone());
            }
        }
        self.rev += 1;
        let (w, h) = self.tile;
        let tiles: Vec<_> = self
            .tracks
            .keys()
            .map(|track| json!({"track": track, "w": w, "h": h}))
            .collect();
        let audio = json!({"mode": "loudest"});
        self.send(&json!({"t": "view", "rev": self.rev, "video": tiles, "audio": audio}));
    }
}

fn open(http: SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(http).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = format!("ws://{http}/v1/rtc").into_client_request().unwrap();
    let protocol = "madang.v1".parse().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol);
    let (socket, _) = client(request, stream).unwrap();
    socket.get_ref().set_nonblocking(true).unwrap();
    socket
}
