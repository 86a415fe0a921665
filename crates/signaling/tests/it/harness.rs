//! A server with a fake media engine, and clients of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use futures_util::{SinkExt, StreamExt};
use madang_core::sdp::SdpError;
use madang_core::{
    Answer, CloseReason, Command, Engines, Event, Identity, MediaKind, PeerId, ShardConfig,
    SlotName, View, Wallclock,
};
use madang_signaling::{Auth, Hub, HubConfig, Key, Keys, router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

/// The shortest offer that the parser takes.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\n\
    a=ice-pwd:0123456789abcdef01234567\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\n";

/// How long anything may take that should come at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the fake engine does with the next offers.
#[derive(Debug, Clone, Default)]
pub(crate) enum Engine {
    #[default]
    Accepts,
    /// With this SDP, and the same slots.
    Answers(&'static str),
    Refuses(SdpError),
    Hangs,
}

pub(crate) struct Server {
    pub(crate) hub: Arc<Hub>,
    pub(crate) address: SocketAddr,
    pub(crate) engine: Arc<Mutex<Engine>>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Each with the number of its worker.
    commands: mpsc::UnboundedReceiver<(usize, Command)>,
}

/// Keys, and no limits that a quick test would meet.
pub(crate) fn config() -> HubConfig {
    let keys = vec![Key::new("k", KEY).unwrap()];
    let mut config = HubConfig::new(Auth::Keys(Keys {
        keys,
        audience: None,
        issuer: None,
    }));
    config.limits.frames_per_second = 1_000_000;
    config.limits.frames_burst = 1_000_000;
    config
}

/// Of a node that nobody can reach.
fn engines() -> Engines {
    Engines::new(&ShardConfig {
        worker: 0,
        workers: 1,
        node: 0,
        epoch: 1,
        identity: Identity::generate().unwrap(),
        addresses: Vec::new(),
        ice_lite: false,
        wallclock: Wallclock {
            at: Instant::now(),
            time: SystemTime::now(),
        },
        initial_bitrate_bps: 1_000_000,
        limits: madang_core::limits::Limits::default(),
        seed: 1,
    })
}

impl Server {
    pub(crate) async fn start(config: HubConfig) -> Self {
        Self::start_with(config, 1).await
    }

    pub(crate) async fn start_with(config: HubConfig, workers: usize) -> Self {
        let (queues, workers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(2)).unzip();
        let (events, event_queue) = mpsc::channel(2);
        let hub = Hub::new(config, engines(), queues, event_queue);
        tokio::spawn(Arc::clone(&hub).run());

        let engine = Arc::new(Mutex::new(Engine::default()));
        let (record, commands) = mpsc::unbounded_channel();
        for (number, mut worker) in workers.into_iter().enumerate() {
            let (answers, behaviour) = (events.clone(), Arc::clone(&engine));
            let record = record.clone();
            tokio::spawn(async move {
                while let Some(command) = worker.recv().await {
                    let event = answer(&command, &behaviour.lock());
                    record.send((number, command)).ok();
                    if let Some(event) = event {
                        answers.send(event).await.unwrap();
                    }
                }
            });
        }

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(Arc::clone(&hub)).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            hub,
            address,
            engine,
            events,
            commands,
        }
    }

    /// Opens a WebSocket that has not joined.
    pub(crate) async fn connect(&self) -> Client {
        self.try_connect(self.request()).await.unwrap()
    }

    pub(crate) fn request(&self) -> Request {
        let mut request = format!("ws://{}/v1/rtc", self.address)
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "madang.v1".parse().unwrap());
        request
    }

    /// The HTTP status where the server refuses.
    pub(crate) async fn try_connect(&self, request: Request) -> Result<Client, u16> {
        let socket = TcpSocket::new_v4().unwrap();
        // What is not read stays with the server.
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Client {
                socket,
                inbox: VecDeque::new(),
                next_id: 1,
                joined: Value::Null,
            }),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Somebody with the usual grants in room `r`.
    pub(crate) async fn join(&self, identity: &str) -> Client {
        self.join_with(identity, json!({})).await
    }

    pub(crate) async fn join_with(&self, identity: &str, grants: Value) -> Client {
        let mut client = self.connect().await;
        let joined = client.request(join(&token(identity, grants))).await;
        assert_eq!(joined["t"], "joined", "{joined}");
        client.joined = joined;
        client
    }

    /// The next view that reaches the media engine.
    pub(crate) async fn view(&mut self) -> View {
        let view = |command| {
            if let Command::View { view, .. } = command {
                Some(view)
            } else {
                None
            }
        };
        self.command(view).await
    }

    /// The next command that `pick` takes; those before it are skipped.
    pub(crate) async fn command<T>(&mut self, pick: impl Fn(Command) -> Option<T>) -> T {
        self.command_on(|_, command| pick(command)).await
    }

    /// As [`Server::command`], with the number of the worker that has got it.
    pub(crate) async fn command_on<T>(&mut self, pick: impl Fn(usize, Command) -> Option<T>) -> T {
        let next = async {
            loop {
                let (worker, command) = self.commands.recv().await.unwrap();
                if let Some(found) = pick(worker, command) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap()
    }

    pub(crate) async fn left(&mut self, client: &Client) {
        let peer = client.peer();
        self.command(|command| {
            matches!(command, Command::Leave { peer: left } if left == peer).then_some(())
        })
        .await;
    }

    pub(crate) async fn emit(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }
}

fn answer(command: &Command, engine: &Engine) -> Option<Event> {
    let answered = |peer, generation| {
        let sdp = if let Engine::Answers(sdp) = engine {
            (*sdp).to_owned()
        } else {
            format!("answer {generation}")
        };
        let result = match engine {
            Engine::Accepts | Engine::Answers(_) => Ok(Answer {
                sdp: sdp.into(),
                slots: vec![
                    SlotName {
                        mid: "1".into(),
                        kind: MediaKind::Audio,
                    },
                    SlotName {
                        mid: "2".into(),
                        kind: MediaKind::Video,
                    },
                ],
                codecs: vec!["OPUS".into(), "VP8".into()],
            }),
            Engine::Refuses(error) => Err(error.clone()),
            Engine::Hangs => return None,
        };
        Some(Event::Answered {
            peer,
            generation,
            result,
        })
    };
    if let Command::Join(join) = command {
        answered(join.peer, 0)
    } else if let Command::Offer {
        peer, generation, ..
    } = command
    {
        answered(*peer, *generation)
    } else if let Command::Invite { peer, .. } = command {
        answered(*peer, 0)
    } else if let Command::Accept {
        peer, generation, ..
    } = command
    {
        answered(*peer, *generation)
    } else if let Command::Leave { peer } = command {
        Some(Event::Closed {
            peer: *peer,
            reason: CloseReason::Left,
        })
    } else {
        None
    }
}

pub(crate) fn token(identity: &str, grants: Value) -> String {
    let mut grants = grants;
    let object = grants.as_object_mut().unwrap();
    object.entry("join").or_insert(json!(true));
    object.entry("room").or_insert(json!("r"));
    let exp = jsonwebtoken::get_current_timestamp() + 60;
    sign(&json!({"sub": identity, "exp": exp, "madang": grants}))
}

pub(crate) fn sign(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

pub(crate) fn join(token: &str) -> Value {
    json!({"t": "join", "v": 1, "token": token, "offer": OFFER, "want": {"audio": 1, "video": 1}})
}

pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    inbox: VecDeque<Value>,
    next_id: u64,
    /// The answer to the join.
    pub(crate) joined: Value,
}

impl Client {
    pub(crate) fn peer(&self) -> PeerId {
        PeerId(self.id().trim_start_matches('p').parse().unwrap())
    }

    pub(crate) fn id(&self) -> &str {
        self.joined["you"]["id"].as_str().unwrap()
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends what makes the server hang up, perhaps before it has been sent.
    pub(crate) async fn send_to_the_end(&mut self, frame: Value) {
        self.socket
            .send(Message::text(frame.to_string()))
            .await
            .ok();
    }

    /// Sends a request and returns its reply; what comes before it is kept for [`Client::next`].
    pub(crate) async fn request(&mut self, mut frame: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        frame["id"] = json!(id);
        self.send(frame).await;
        self.find(|frame| frame["re"] == id).await
    }

    pub(crate) async fn ok(&mut self, frame: Value) -> Value {
        let reply = self.request(frame).await;
        assert_eq!(reply["t"], "ok", "{reply}");
        reply
    }

    /// The code of the error that answers a request.
    pub(crate) async fn refused(&mut self, frame: Value) -> String {
        let reply = self.request(frame).await;
        assert_eq!(reply["t"], "err", "{reply}");
        assert!(!reply["msg"].as_str().unwrap().is_empty());
        reply["code"].as_str().unwrap().to_owned()
    }

    /// The next frame of this type; others are kept.
    pub(crate) async fn next(&mut self, t: &str) -> Value {
        self.find(|frame| frame["t"] == t).await
    }

    async fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(i) = self.inbox.iter().position(&wanted) {
            return self.inbox.remove(i).unwrap();
        }
        loop {
            let frame = self
                .receive()
                .await
                .unwrap_or_else(|code| panic!("closed with {code:?}"));
            if wanted(&frame) {
                return frame;
            }
            self.inbox.push_back(frame);
        }
    }

    /// The next frame, or the code with which the server has closed.
    async fn receive(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .unwrap();
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                None | Some(Err(_)) => return Err(None),
                Some(Ok(
                    Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_),
                )) => {}
            }
        }
    }

    /// Reads until the server closes.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.receive().await {
                Ok(frame) => self.inbox.push_back(frame),
                Err(code) => return code,
            }
        }
    }

    /// Everything that has come up to now. A `ping` goes around to be sure.
    pub(crate) async fn all(&mut self) -> Vec<Value> {
        static MARK: AtomicU64 = AtomicU64::new(1);
        let n = MARK.fetch_add(1, Ordering::Relaxed);
        self.send(json!({"t": "ping", "n": n})).await;
        let pong = self
            .find(|frame| frame["t"] == "pong" && frame["n"] == n)
            .await;
        assert_eq!(pong["n"], n);
        self.inbox.drain(..).collect()
    }

    /// The WebSocket breaks, without a word.
    pub(crate) fn cut(self) -> Value {
        self.joined
    }
}
