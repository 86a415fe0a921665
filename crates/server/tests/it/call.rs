//! Several clients in one thread.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use madang_core::Source;
use madang_simulation::decoder::{Fault, Heard, Shown};
use madang_simulation::{BrowserConfig, source_number};
use serde_json::Value;

use crate::client::Client;

/// Longer than anything here takes; what waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks at the sockets.
const TURN: Duration = Duration::from_millis(1);

pub(crate) struct Call {
    pub(crate) start: Instant,
    pub(crate) http: SocketAddr,
    /// Where the clients' media sockets are.
    pub(crate) ip: IpAddr,
    /// What those are who come next.
    pub(crate) browser: BrowserConfig,
    /// Rests between two looks at the sockets; without, delays are exact and a core is busy.
    pub(crate) rest: bool,
    pub(crate) clients: Vec<Client>,
}

impl Call {
    pub(crate) fn new(http: SocketAddr) -> Self {
        Self {
            start: Instant::now(),
            http,
            ip: Ipv4Addr::LOCALHOST.into(),
            browser: BrowserConfig::default(),
            rest: true,
            clients: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A client with both sockets open that has sent nothing.
    pub(crate) fn add(&mut self) -> usize {
        let position = self.clients.len();
        let number = u32::try_from(position).unwrap();
        let client = Client::new(number, self.http, (self.browser, self.ip), self.start);
        self.clients.push(client);
        position
    }

    /// A client that is in the room and whose media is connected.
    pub(crate) fn join(&mut self, room: &str) -> usize {
        let client = self.add();
        let now = self.now();
        let id = self.clients[client].join(now, room, None);
        let joined = self.reply(client, id);
        assert_eq!(joined["t"], "joined", "{joined}");
        self.until("a client to connect", |call| {
            call.clients[client].browser.connected_at.is_some()
        });
        client
    }

    pub(crate) fn publish(&mut self, client: usize, source: Source) {
        let now = self.now();
        let id = self.clients[client].publish(now, source);
        let ok = self.reply(client, id);
        assert_eq!(ok["t"], "ok", "{ok}");
    }

    /// Starts to speak at a microphone that is published.
    pub(crate) fn talk(&mut self, client: usize) {
        self.clients[client].browser.talk(Some(-20));
    }

    pub(crate) fn reply(&mut self, client: usize, id: u64) -> Value {
        self.frame(client, "a reply", |frame| frame["re"] == id)
    }

    /// Waits for a frame and takes it.
    pub(crate) fn frame(
        &mut self,
        client: usize,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let mut found = None;
        self.until(what, |call| {
            found = call.clients[client].take(&wanted);
            found.is_some()
        });
        found.unwrap_or_default()
    }

    /// Lets the clients work until something is true.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            for client in &mut self.clients {
                client.pump(self.start);
            }
            if done(self) {
                return;
            }
            assert!(
                Instant::now() < end,
                "waited too long for {what}\n{}",
                self.state()
            );
            if self.rest {
                std::thread::sleep(TURN);
            }
        }
    }

    /// What each client has got, for whoever has to find out why that is too little.
    fn state(&self) -> String {
        let all = 0..self.clients.len();
        let of = |viewer| {
            let others = all.clone().filter(move |other| *other != viewer);
            let got = others.map(|other| {
                let frames = self.shown(viewer, other, Source::Camera).count();
                let sounds = self.heard(viewer, other).count();
                format!(" {other}: {frames} frames, {sounds} sounds;")
            });
            let inbox = &self.clients[viewer].inbox;
            let newest = &inbox[inbox.len().saturating_sub(3)..];
            let got: String = got.collect();
            format!("client {viewer} has of{got} the newest messages are {newest:?}\n")
        };
        all.clone().map(of).collect()
    }

    /// Waits until `viewer` has shown so many more frames of a source.
    pub(crate) fn watch(&mut self, viewer: usize, publisher: usize, source: Source, more: usize) {
        let wanted = self.shown(viewer, publisher, source).count() + more;
        self.until("video", |call| {
            call.shown(viewer, publisher, source).count() >= wanted
        });
    }

    /// Waits until `listener` has played so many more packets of a microphone.
    pub(crate) fn listen(&mut self, listener: usize, speaker: usize, more: usize) {
        let wanted = self.heard(listener, speaker).count() + more;
        self.until("audio", |call| {
            call.heard(listener, speaker).count() >= wanted
        });
    }

    /// Frames of a publisher's source that a viewer could decode.
    pub(crate) fn shown(
        &self,
        viewer: usize,
        publisher: usize,
        source: Source,
    ) -> impl Iterator<Item = &Shown> {
        let source = source_number(self.clients[publisher].number, source);
        let decoders = self.clients[viewer].browser.video.values();
        decoders
            .flat_map(|decoder| decoder.shown())
            .filter(move |frame| frame.tag.source == source)
    }

    /// Packets of a speaker's microphone that a listener could play.
    pub(crate) fn heard(&self, listener: usize, speaker: usize) -> impl Iterator<Item = &Heard> {
        let source = source_number(self.clients[speaker].number, Source::Microphone);
        let decoders = self.clients[listener].browser.audio.values();
        decoders
            .flat_map(|decoder| decoder.heard())
            .filter(move |packet| packet.tag.source == source)
    }

    /// What the receivers hold against their streams.
    ///
    /// Timestamps are judged in virtual time only: here a busy machine decides when a packet arrives.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for client in &self.clients {
            let (browser, number) = (&client.browser, client.number);
            let video = browser.video.values().flat_map(|slot| slot.complaints());
            let audio = browser.audio.values().flat_map(|slot| slot.complaints());
            let faults = video
                .chain(audio)
                .map(|complaint| &complaint.fault)
                .filter(|fault| !matches!(fault, Fault::Timestamp { .. }));
            lines.extend(faults.map(|fault| format!("client {number}: {fault:?}")));
            let (undeclared, without_mid) = (&browser.undeclared, &browser.without_mid);
            lines.extend(
                undeclared
                    .iter()
                    .map(|of| format!("client {number}: undeclared {of:?}")),
            );
            lines.extend(
                without_mid
                    .iter()
                    .map(|of| format!("client {number}: no MID {of}")),
            );
        }
        lines
    }
}
