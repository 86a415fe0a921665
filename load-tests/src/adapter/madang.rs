//! Madang: the protocol `madang.v1`, one WebSocket and one peer for each participant.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Addresses, Http};
use super::websocket::{SocketKey, WebSockets};
use super::{Adapter, AdapterError, Media, PATIENCE, Seat};
use crate::media::negotiation::Wish;
use crate::media::peer::PeerKey;
use crate::media::publication::RIDS;
use crate::process::{ServerProcess, command};
use crate::scenario::Scenario;

/// How often the protocol wants a ping.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// The size of a tile, which lets the server choose the largest layer.
const TILE: (u32, u32) = (1_280, 720);
/// A load test is one address with thousands of participants.
const LIMITS: [&str; 8] = [
    "--rooms-max-participants=100000",
    "--limits-sessions-per-address=1000000",
    "--limits-websockets-per-address=1000000",
    "--limits-joins-per-second-per-address=100000",
    "--limits-joins-burst-per-address=1000000",
    "--limits-http-connections=1000000",
    "--limits-peers-per-worker=1000000",
    "--limits-slots-per-participant=256",
];
/// The same for requests of WHIP and WHEP.
const HTTP_LIMITS: [&str; 2] = [
    "--limits-requests-per-second-per-address=100000",
    "--limits-requests-burst-per-address=1000000",
];
/// Frames that a load test has no use for.
const IGNORED: [&str; 4] = [
    r#""t":"peers""#,
    r#""t":"slots""#,
    r#""t":"speakers""#,
    r#""t":"quality""#,
];

#[derive(Debug)]
pub(crate) struct Madang {
    server: Option<ServerProcess>,
    http: SocketAddr,
    sockets: WebSockets,
    /// By the number of the seat.
    sessions: Vec<Option<Session>>,
    /// By the key of the WebSocket: the number of the seat.
    seats: Vec<usize>,
    pings: VecDeque<(Instant, usize)>,
    ended: Vec<String>,
    next_id: u64,
}

#[derive(Debug)]
struct Session {
    socket: SocketKey,
    peer: Option<PeerKey>,
    /// Of itself, as the server calls it.
    you: String,
    watches: bool,
    video: Vec<String>,
    audio: Vec<String>,
    rev: u32,
}

impl Madang {
    /// Starts a server.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        workers: usize,
        cpus: &[usize],
    ) -> Result<Self, AdapterError> {
        let (server, http) = start_server(program, arguments, workers, cpus)?;
        let mut adapter = Self::at(http)?;
        adapter.server = Some(server);
        Ok(adapter)
    }

    /// A server that runs already.
    pub(crate) fn at(http: SocketAddr) -> Result<Self, AdapterError> {
        Ok(Self {
            server: None,
            http,
            sockets: WebSockets::new()?,
            sessions: Vec::new(),
            seats: Vec::new(),
            pings: VecDeque::new(),
            ended: Vec::new(),
            next_id: 1,
        })
    }

    /// Sends a request and serves everybody until its reply comes.
    fn request(&mut self, socket: SocketKey, mut frame: Value) -> Result<Value, AdapterError> {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(fields) = frame.as_object_mut() {
            fields.insert("id".to_owned(), id.into());
        }
        self.sockets.send(socket, frame.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut reply = None;
            for (key, text) in self.sockets.receive(deadline)? {
                let frame = self.handle_frame(key, &text)?;
                if let Some(frame) = frame
                    && key == socket
                    && frame.get("re").and_then(Value::as_u64) == Some(id)
                {
                    reply = Some(frame);
                }
            }
            match reply {
                Some(reply) if text_of(&reply, "t") == "err" => {
                    return Err(AdapterError::Refused(reply.to_string()));
                }
                Some(reply) => return Ok(reply),
                None => {}
            }
        }
        Err(AdapterError::Silent(PATIENCE))
    }

    /// Returns what is not handled here.
    fn handle_frame(&mut self, key: SocketKey, text: &str) -> Result<Option<Value>, AdapterError> {
        let head = text.get(..text.len().min(64)).unwrap_or_default();
        if IGNORED.iter().any(|ignored| head.contains(ignored)) {
            return Ok(None);
        }
        let frame: Value = serde_json::from_str(text)
            .map_err(|error| AdapterError::Refused(format!("{error} in {text}")))?;
        match text_of(&frame, "t") {
            "bye" => {
                self.ended.push(text.to_owned());
                self.forget(key);
                Ok(None)
            }
            "tracks" => {
                if let Some(seat) = self.seats.get(key).copied() {
                    self.update_tracks(seat, &frame);
                }
                Ok(None)
            }
            _ => Ok(Some(frame)),
        }
    }

    /// A session that the server has ended.
    fn forget(&mut self, key: SocketKey) {
        let seat = self.seats.get(key).copied();
        if let Some(session) = seat.and_then(|seat| self.sessions.get_mut(seat)) {
            *session = None;
        }
        self.sockets.close(key);
    }

    fn update_tracks(&mut self, seat: usize, frame: &Value) {
        let Some(Some(session)) = self.sessions.get_mut(seat) else {
            return;
        };
        let list = |name: &str| {
            frame
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        for gone in list("del").filter_map(Value::as_str) {
            session.video.retain(|track| track != gone);
            session.audio.retain(|track| track != gone);
        }
        session.add_tracks(list("add"));
        self.show(seat);
    }

    /// Asks for all tracks of the others.
    fn show(&mut self, seat: usize) {
        let session = self.sessions.get_mut(seat).and_then(Option::as_mut);
        let Some(session) = session.filter(|session| session.watches) else {
            return;
        };
        session.rev += 1;
        let view = view(session.rev, &session.video, &session.audio);
        let socket = session.socket;
        self.tell(socket, &view);
    }

    /// Sends what wants no reply. A WebSocket that takes nothing more is that of a session that has ended.
    fn tell(&mut self, socket: SocketKey, frame: &Value) {
        if let Err(error) = self.sockets.send(socket, frame.to_string()) {
            self.ended.push(error.to_string());
            self.forget(socket);
        }
    }

    fn publish(
        &mut self,
        socket: SocketKey,
        mids: [Option<String>; 2],
        scenario: &Scenario,
    ) -> Result<(), AdapterError> {
        let [microphone, camera] = mids;
        let mut tracks = Vec::new();
        if let Some(mid) = microphone {
            tracks.push(json!({"cid": "microphone", "mid": mid, "kind": "audio", "source": "microphone", "muted": false}));
        }
        if let Some(mid) = camera {
            let mut track = json!({"cid": "camera", "mid": mid, "kind": "video", "source": "camera", "muted": false,
                "w": 1_280, "h": 720});
            let layers = scenario.video_kbps.len();
            if let Some(fields) = track.as_object_mut().filter(|_| layers > 1) {
                let rids: Vec<_> = RIDS.into_iter().take(layers).collect();
                fields.insert("rids".to_owned(), json!(rids));
            }
            tracks.push(track);
        }
        self.request(socket, json!({"t": "publish", "tracks": tracks}))?;
        Ok(())
    }
}

/// Starts a server on free ports of the loopback address, and says where it takes HTTP.
fn start_server(
    program: &Path,
    arguments: &[String],
    workers: usize,
    cpus: &[usize],
) -> Result<(ServerProcess, SocketAddr), AdapterError> {
    if !program.is_file() {
        let why = format!(
            "there is no {}; `cargo build --release -p madang` makes it",
            program.display()
        );
        return Err(AdapterError::NotRun(why));
    }
    let mut command = command(program);
    command
        .args([
            "--listen=127.0.0.1:0",
            "--media-port=0",
            "--media-bind=127.0.0.1",
        ])
        .args(["--log-format=json", &format!("--media-workers={workers}")])
        .args(LIMITS)
        .args(arguments)
        .stderr(Stdio::piped());
    let mut server = ServerProcess::start(&mut command, cpus)?;
    let log = BufReader::new(
        server
            .child
            .stderr
            .take()
            .ok_or(AdapterError::Silent(PATIENCE))?,
    );
    let mut lines = log.lines().map_while(Result::ok);
    let listening = lines.find_map(|line| {
        let line: Value = serde_json::from_str(&line).ok()?;
        line.get("http")?.as_str()?.parse().ok()
    });
    let http = listening.ok_or_else(|| AdapterError::Refused("it ended at once".to_owned()))?;
    // The rest of the log is read and dropped, so that the pipe never fills.
    std::thread::spawn(move || lines.for_each(drop));
    Ok((server, http))
}

/// The same server by WHIP and WHEP: a program to start, or one that runs already. Rooms are open, as it is without keys.
pub(crate) fn by_http(
    program: &Path,
    arguments: &[String],
    workers: usize,
    cpus: &[usize],
    address: Option<SocketAddr>,
) -> Result<Http, AdapterError> {
    let (server, http) = match address {
        Some(address) => (None, address),
        None => {
            let limits = HTTP_LIMITS.into_iter().map(str::to_owned);
            let arguments: Vec<_> = limits.chain(arguments.iter().cloned()).collect();
            let (server, http) = start_server(program, &arguments, workers, cpus)?;
            (Some(server), http)
        }
    };
    Ok(Http::new(server, http_addresses(http)))
}

/// Publishers of a room have names of their own; viewers are nobody.
fn http_addresses(http: SocketAddr) -> Addresses {
    Addresses {
        publish: format!("http://{http}/whip/load-{{room}}?participant=publisher-{{seat}}"),
        watch: format!("http://{http}/whep/load-{{room}}"),
    }
}

impl Session {
    fn add_tracks<'a>(&mut self, tracks: impl Iterator<Item = &'a Value>) {
        for track in tracks.filter(|track| text_of(track, "peer") != self.you) {
            let list = match text_of(track, "kind") {
                "audio" => &mut self.audio,
                _ => &mut self.video,
            };
            let id = text_of(track, "id").to_owned();
            if !list.contains(&id) {
                list.push(id);
            }
        }
    }
}

fn view(rev: u32, video: &[String], audio: &[String]) -> Value {
    let (w, h) = TILE;
    let tile = |track: &String| json!({"track": track, "w": w, "h": h});
    let tiles: Vec<_> = video.iter().map(tile).collect();
    json!({"t": "view", "rev": rev, "video": tiles, "audio": {"mode": "list", "tracks": audio}})
}

fn text_of<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

impl Adapter for Madang {
    fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(ServerProcess::pid)
    }

    fn join(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError> {
        let watched = scenario.watched_by(seat.publisher.is_some());
        let publishes = seat.publisher.is_some();
        let layers = if publishes {
            scenario.layers()
        } else {
            Vec::new()
        };
        let video = usize::from(!scenario.video_kbps.is_empty());
        let wish = Wish {
            publisher: seat.publisher,
            microphone: publishes && scenario.audio,
            camera: &layers,
            audio_slots: (watched * usize::from(scenario.audio)).max(scenario.audio_slots),
            video_slots: (watched * video).max(scenario.video_slots),
            channel: scenario.data_channel,
            silent: scenario.publishers == 0,
        };
        let offered = media.factory.offer(&wish)?;
        let socket = self.sockets.open(self.http, "/v1/rtc", "madang.v1")?;
        self.seats.resize(socket + 1, usize::MAX);
        if let Some(of) = self.seats.get_mut(socket) {
            *of = seat.number;
        }
        let requested = Instant::now();
        let joined = self.request(
            socket,
            json!({"t": "join", "v": 1, "room": format!("load-{}", seat.room), "offer": offered.sdp,
                "want": {"audio": wish.audio_slots, "video": wish.video_slots}}),
        )?;
        let mids = [offered.microphone, offered.camera].map(|mid| mid.map(|mid| mid.to_string()));
        let candidate = json!({"t": "candidate", "gen": 0, "candidate": offered.candidate});
        let negotiated = offered.accept(text_of(&joined, "answer"))?;
        let peer = media.add(seat, negotiated, requested, watched * scenario.tracks());
        self.tell(socket, &candidate);
        if self.sessions.len() <= seat.number {
            self.sessions.resize_with(seat.number + 1, || None);
        }
        let mut session = Session {
            socket,
            peer: Some(peer),
            you: joined
                .get("you")
                .map_or("", |you| text_of(you, "id"))
                .to_owned(),
            watches: watched > 0,
            video: Vec::new(),
            audio: Vec::new(),
            rev: 0,
        };
        let tracks = joined.get("tracks").and_then(Value::as_array);
        session.add_tracks(tracks.into_iter().flatten());
        if let Some(of) = self.sessions.get_mut(seat.number) {
            *of = Some(session);
        }
        self.pings
            .push_back((requested + PING_INTERVAL, seat.number));
        if mids.iter().any(Option::is_some) {
            self.publish(socket, mids, scenario)?;
        }
        self.show(seat.number);
        Ok(())
    }

    fn watch(&mut self, _: Seat, _: &Scenario, _: &mut Media) -> Result<(), AdapterError> {
        Ok(()) // what a participant is shown follows the tracks of the room
    }

    fn leave(&mut self, number: usize, media: &mut Media) -> Result<(), AdapterError> {
        if let Some(session) = self.sessions.get_mut(number).and_then(Option::take) {
            self.tell(session.socket, &json!({"t": "leave"}));
            self.sockets.close(session.socket);
            if let Some(peer) = session.peer {
                media.close(peer);
            }
        }
        Ok(())
    }

    fn ended(&self) -> &[String] {
        &self.ended
    }

    fn serve(&mut self, until: Instant) -> Result<(), AdapterError> {
        loop {
            let now = Instant::now();
            while let Some((_, number)) = self.pings.pop_front_if(|(due, _)| *due <= now) {
                if let Some(Some(session)) = self.sessions.get(number) {
                    let socket = session.socket;
                    self.tell(socket, &json!({"t": "ping"}));
                    self.pings.push_back((now + PING_INTERVAL, number));
                }
            }
            if now >= until {
                return Ok(());
            }
            let next = self.pings.front().map_or(until, |(due, _)| until.min(*due));
            for (key, text) in self.sockets.receive(next)? {
                self.handle_frame(key, &text)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            socket: 0,
            peer: None,
            you: "p1".to_owned(),
            watches: true,
            video: Vec::new(),
            audio: Vec::new(),
            rev: 0,
        }
    }

    #[test]
    fn tracks_of_others_are_wanted_once_each() {
        let mut session = session();
        let tracks = [
            json!({"id": "t1", "peer": "p1", "kind": "video"}),
            json!({"id": "t2", "peer": "p2", "kind": "video"}),
            json!({"id": "t2", "peer": "p2", "kind": "video"}),
            json!({"id": "t3", "peer": "p2", "kind": "audio"}),
        ];
        session.add_tracks(tracks.iter());
        assert_eq!(
            (session.video, session.audio),
            (vec!["t2".to_owned()], vec!["t3".to_owned()])
        );
    }

    #[test]
    fn publishers_have_names_and_viewers_none() {
        let addresses = http_addresses(SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(
            addresses.publish,
            "http://127.0.0.1:80/whip/load-{room}?participant=publisher-{seat}"
        );
        assert_eq!(addresses.watch, "http://127.0.0.1:80/whep/load-{room}");
    }

    #[test]
    fn a_view_shows_every_track() {
        let view = view(3, &["t2".to_owned()], &["t3".to_owned()]);
        assert_eq!(
            view,
            json!({"t": "view", "rev": 3, "video": [{"track": "t2", "w": 1280, "h": 720}],
                "audio": {"mode": "list", "tracks": ["t3"]}})
        );
    }
}
