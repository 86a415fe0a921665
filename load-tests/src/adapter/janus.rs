//! Janus: the VideoRoom plugin over one WebSocket. A participant who publishes and watches has two peers, as the
//! plugin wants it; the server offers to viewers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::websocket::{SocketKey, WebSockets};
use super::{Adapter, AdapterError, Media, PATIENCE, Seat};
use crate::media::negotiation::Wish;
use crate::media::peer::PeerKey;
use crate::process::{ServerProcess, command};
use crate::scenario::Scenario;

const PROGRAM: &str = "/usr/bin/janus";
/// A session that says nothing for a minute is ended.
const KEEP_ALIVE: Duration = Duration::from_secs(25);
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Everything that is not used, so that it costs nothing.
const PLUGINS: &str = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,\
    libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,\
    libjanus_videocall.so,libjanus_voicemail.so";
const TRANSPORTS: &str =
    "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so";

#[derive(Debug)]
pub(crate) struct Janus {
    server: ServerProcess,
    /// Removed when the server has ended: fields are dropped in this order.
    _folder: TempDir,
    sockets: WebSockets,
    socket: SocketKey,
    session: u64,
    /// The handle that manages rooms.
    manager: u64,
    rooms: BTreeMap<usize, Room>,
    /// By the number of the seat.
    peers: BTreeMap<usize, Vec<(u64, PeerKey)>>,
    next_keep_alive: Instant,
    next_transaction: u64,
}

#[derive(Debug, Default)]
struct Room {
    /// The numbers of the seats that publish, and what Janus calls them.
    feeds: Vec<(usize, u64)>,
}

impl Janus {
    /// Starts a server that uses this address for media, with a configuration of its own.
    pub(crate) fn start(ip: Ipv4Addr, cpus: &[usize]) -> Result<Self, AdapterError> {
        if !Path::new(PROGRAM).is_file() {
            let why =
                format!("there is no {PROGRAM}; `apt-get install --no-install-recommends janus`");
            return Err(AdapterError::NotRun(why));
        }
        let folder = TempDir::new()?;
        let websocket = free_port()?;
        configure(folder.path(), ip, websocket)?;
        let mut command = command(PROGRAM);
        command
            .arg("--configs-folder")
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = ServerProcess::start(&mut command, cpus)?;
        wait_for(websocket)?;
        let mut sockets = WebSockets::new()?;
        let socket = sockets.open(websocket, "/", "janus-protocol")?;
        let mut janus = Self {
            server,
            _folder: folder,
            sockets,
            socket,
            session: 0,
            manager: 0,
            rooms: BTreeMap::new(),
            peers: BTreeMap::new(),
            next_keep_alive: Instant::now() + KEEP_ALIVE,
            next_transaction: 1,
        };
        janus.session = id_of(&janus.request(json!({"janus": "create"}))?);
        janus.manager = janus.attach()?;
        Ok(janus)
    }

    fn attach(&mut self) -> Result<u64, AdapterError> {
        let attach = json!({"janus": "attach", "plugin": "janus.plugin.videoroom"});
        Ok(id_of(&self.request(attach)?))
    }

    fn message(
        &mut self,
        handle: u64,
        body: Value,
        jsep: Option<Value>,
    ) -> Result<Value, AdapterError> {
        let mut frame = json!({"janus": "message", "handle_id": handle, "body": body});
        if let Some((fields, jsep)) = frame.as_object_mut().zip(jsep) {
            fields.insert("jsep".to_owned(), jsep);
        }
        self.request(frame)
    }

    /// Sends a request and waits for its final reply.
    fn request(&mut self, mut frame: Value) -> Result<Value, AdapterError> {
        let transaction = self.next_transaction.to_string();
        self.next_transaction += 1;
        if let Some(fields) = frame.as_object_mut() {
            fields.insert("transaction".to_owned(), transaction.as_str().into());
            if self.session != 0 {
                fields.insert("session_id".to_owned(), self.session.into());
            }
        }
        self.sockets.send(self.socket, frame.to_string())?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let mut reply = None;
            for (_, text) in self.sockets.receive(deadline)? {
                let frame: Value = serde_json::from_str(&text)
                    .map_err(|error| AdapterError::Refused(error.to_string()))?;
                reply = Some(frame)
                    .filter(|frame| is_reply(frame, &transaction))
                    .or(reply);
            }
            if let Some(reply) = reply {
                return accepted(reply);
            }
        }
        Err(AdapterError::Silent(PATIENCE))
    }

    fn make_room(&mut self, room: usize, scenario: &Scenario) -> Result<(), AdapterError> {
        if self.rooms.contains_key(&room) {
            return Ok(());
        }
        let body = room_request(room, scenario);
        self.message(self.manager, body, None)?;
        self.rooms.insert(room, Room::default());
        Ok(())
    }
}

impl Adapter for Janus {
    fn pid(&self) -> Option<u32> {
        Some(self.server.pid())
    }

    fn join(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError> {
        self.make_room(seat.room, scenario)?;
        if seat.publisher.is_none() {
            return Ok(()); // a viewer enters by watching
        }
        let layers = scenario.layers();
        let wish = Wish::to_publish(seat.publisher, scenario.audio, &layers);
        let offered = media.factory.offer(&wish)?;
        let requested = Instant::now();
        let handle = self.attach()?;
        let offer = json!({"type": "offer", "sdp": offered.sdp});
        let body = json!({"request": "joinandconfigure", "ptype": "publisher", "room": room_number(seat.room)});
        let joined = self.message(handle, body, Some(offer))?;
        let negotiated = offered.accept(&sdp_of(&joined)?)?;
        let peer = media.add(seat, negotiated, requested, 0);
        let feed = plugin_data(&joined).and_then(|data| data.get("id")?.as_u64());
        if let (Some(room), Some(feed)) = (self.rooms.get_mut(&seat.room), feed) {
            room.feeds.push((seat.number, feed));
        }
        self.peers
            .entry(seat.number)
            .or_default()
            .push((handle, peer));
        Ok(())
    }

    fn watch(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError> {
        let feeds = self.rooms.get(&seat.room).map(|room| &room.feeds);
        let others = feeds
            .into_iter()
            .flatten()
            .filter(|(number, _)| *number != seat.number);
        let streams: Vec<_> = others.map(|(_, feed)| json!({"feed": feed})).collect();
        if streams.is_empty() {
            return Ok(());
        }
        let requested = Instant::now();
        let expects = streams.len() * scenario.tracks();
        let handle = self.attach()?;
        let room = room_number(seat.room);
        let body =
            json!({"request": "join", "ptype": "subscriber", "room": room, "streams": streams});
        let attached = self.message(handle, body, None)?;
        let (answer, negotiated) = media.factory.answer(&sdp_of(&attached)?)?;
        let peer = media.add(seat, negotiated, requested, expects);
        let jsep = json!({"type": "answer", "sdp": answer});
        self.message(handle, json!({"request": "start"}), Some(jsep))?;
        self.peers
            .entry(seat.number)
            .or_default()
            .push((handle, peer));
        Ok(())
    }

    fn leave(&mut self, number: usize, media: &mut Media) -> Result<(), AdapterError> {
        for (handle, peer) in self.peers.remove(&number).unwrap_or_default() {
            self.request(json!({"janus": "detach", "handle_id": handle}))?;
            media.close(peer);
        }
        Ok(())
    }

    fn serve(&mut self, until: Instant) -> Result<(), AdapterError> {
        loop {
            let now = Instant::now();
            if now >= self.next_keep_alive {
                self.next_keep_alive = now + KEEP_ALIVE;
                let keep_alive = json!({"janus": "keepalive", "session_id": self.session, "transaction": "alive"});
                self.sockets.send(self.socket, keep_alive.to_string())?;
            }
            if now >= until {
                return Ok(());
            }
            self.sockets.receive(until.min(self.next_keep_alive))?;
        }
    }
}

/// Requests with a room or SDP are acknowledged first and answered later, under the same transaction.
fn is_reply(frame: &Value, transaction: &str) -> bool {
    let is = |field: &str, value: &str| frame.get(field).and_then(Value::as_str) == Some(value);
    is("transaction", transaction) && !is("janus", "ack")
}

fn accepted(reply: Value) -> Result<Value, AdapterError> {
    let refused = reply
        .get("error")
        .or_else(|| plugin_data(&reply)?.get("error"));
    match refused {
        Some(_) => Err(AdapterError::Refused(reply.to_string())),
        None => Ok(reply),
    }
}

fn plugin_data(reply: &Value) -> Option<&Value> {
    reply.get("plugindata")?.get("data")
}

fn id_of(reply: &Value) -> u64 {
    let id = reply.get("data").and_then(|data| data.get("id")?.as_u64());
    id.unwrap_or_default()
}

fn sdp_of(reply: &Value) -> Result<String, AdapterError> {
    let sdp = reply.get("jsep").and_then(|jsep| jsep.get("sdp")?.as_str());
    sdp.map(str::to_owned)
        .ok_or_else(|| AdapterError::Refused(format!("no SDP in {reply}")))
}

/// Janus numbers rooms from 1.
fn room_number(room: usize) -> usize {
    room + 1
}

fn room_request(room: usize, scenario: &Scenario) -> Value {
    let publishers = scenario.publishers.max(1);
    json!({"request": "create", "room": room_number(room), "publishers": publishers, "bitrate": 0,
        "audiocodec": "opus", "videocodec": scenario.codec.name(), "audiolevel_ext": true, "permanent": false})
}

fn configure(folder: &Path, ip: Ipv4Addr, websocket: SocketAddr) -> io::Result<()> {
    let (address, port) = (websocket.ip(), websocket.port());
    let janus = format!(
        "general: {{ debug_level = 2; session_timeout = 60 }}\nnat: {{ ice_enforce_list = \"{ip}\" }}\n\
         plugins: {{ disable = \"{PLUGINS}\" }}\ntransports: {{ disable = \"{TRANSPORTS}\" }}\n"
    );
    let transport = format!(
        "general: {{ json = \"compact\"; ws = true; ws_port = {port}; ws_ip = \"{address}\"; wss = false }}\n"
    );
    fs::write(folder.join("janus.jcfg"), janus)?;
    fs::write(folder.join("janus.transport.websockets.jcfg"), transport)?;
    fs::write(folder.join("janus.plugin.videoroom.jcfg"), "general: { }\n")
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Until the server lets connections in.
fn wait_for(address: SocketAddr) -> Result<(), AdapterError> {
    let deadline = Instant::now() + START_TIMEOUT;
    while TcpStream::connect(address).is_err() {
        if Instant::now() >= deadline {
            return Err(AdapterError::Silent(START_TIMEOUT));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_is_no_reply_yet() {
        let ack = json!({"janus": "ack", "transaction": "7"});
        let event =
            json!({"janus": "event", "transaction": "7", "plugindata": {"data": {"id": 5}}});
        assert!(!is_reply(&ack, "7"));
        assert!(is_reply(&event, "7"));
        assert!(!is_reply(&event, "8"), "of another request");
    }

    #[test]
    fn errors_of_the_server_and_of_the_plugin_are_refusals() {
        let server = json!({"janus": "error", "error": {"code": 458, "reason": "no such session"}});
        let plugin = json!({"janus": "event", "plugindata": {"data": {"error_code": 426, "error": "no such room"}}});
        for reply in [server, plugin] {
            assert!(matches!(accepted(reply), Err(AdapterError::Refused(_))));
        }
        assert!(accepted(json!({"janus": "success", "data": {"id": 3}})).is_ok());
    }

    #[test]
    fn a_room_has_a_number_the_codec_and_no_limit_of_the_bitrate() {
        let scenario = toml::from_str("title = 'a'\npublishers = 5\ncodec = 'h264'").unwrap();
        let request = room_request(0, &scenario);
        assert_eq!(request["videocodec"], "h264");
        assert_eq!(request["room"], 1);
        assert_eq!(request["publishers"], 5);
        assert_eq!(request["bitrate"], 0);
    }

    #[test]
    fn the_configuration_stands_in_a_folder_of_its_own() {
        let folder = TempDir::new().unwrap();
        let websocket = SocketAddr::from(([127, 0, 0, 1], 8188));
        configure(folder.path(), Ipv4Addr::new(192, 0, 2, 7), websocket).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(read("janus.jcfg").contains(r#"ice_enforce_list = "192.0.2.7""#));
        assert!(read("janus.transport.websockets.jcfg").contains("ws_port = 8188"));
        assert!(folder.path().join("janus.plugin.videoroom.jcfg").is_file());
    }
}
