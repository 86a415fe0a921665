//! Servers under test, behind one trait.

pub(crate) mod http;
pub(crate) mod janus;
pub(crate) mod madang;
pub(crate) mod mediasoup;
#[cfg(test)]
mod testing;
pub(crate) mod websocket;

use std::io;
use std::time::{Duration, Instant};

use crate::media::engine::{Engine, EngineReport};
use crate::media::link::Link;
use crate::media::negotiation::{Factory, Negotiated, NegotiationError};
use crate::media::peer::{NewPeer, PeerKey};
use crate::scenario::Scenario;

#[derive(Debug, thiserror::Error)]
pub(crate) enum AdapterError {
    /// The server is not on this machine: nothing was measured, and the report says so.
    #[error("{0}")]
    NotRun(String),
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    #[error("signalling: {0}")]
    Io(#[from] io::Error),
    #[error("signalling: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error("the server says: {0}")]
    Refused(String),
    #[error("the server did not answer in {0:?}")]
    Silent(Duration),
}

impl From<tungstenite::Error> for AdapterError {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(Box::new(error))
    }
}

/// How long an answer may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// One participant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    /// Counts all participants of the run.
    pub(crate) number: usize,
    pub(crate) room: usize,
    /// The number under which the participant's streams are known.
    pub(crate) publisher: Option<u32>,
    /// What the participant's link carries from the server, where that is narrow.
    pub(crate) link_kbps: Option<u32>,
}

/// A server, and the signalling of all participants with it.
pub(crate) trait Adapter {
    /// The server's process, where its use of the machine can be measured.
    fn pid(&self) -> Option<u32>;

    /// Enters a room, and publishes where the seat does.
    fn join(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError>;

    /// Receives all that is published in the room. Called when all publishers have joined.
    fn watch(
        &mut self,
        seat: Seat,
        scenario: &Scenario,
        media: &mut Media,
    ) -> Result<(), AdapterError>;

    /// Leaves; the number is the seat's.
    fn leave(&mut self, number: usize, media: &mut Media) -> Result<(), AdapterError>;

    /// Takes leave of everybody, where a server would else keep sessions of clients that are gone.
    fn end(&mut self, _: &mut Media) {}

    /// What the server has said when it ended sessions by itself, or refused to.
    fn ended(&self) -> &[String] {
        &[]
    }

    /// Does what signalling asks for until then.
    fn serve(&mut self, until: Instant) -> Result<(), AdapterError>;
}

/// The media threads, and how peers for them are made.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) factory: Factory,
    engines: Vec<Engine>,
    added: usize,
    /// Peers that were added and have not been closed.
    open: usize,
}

impl Media {
    pub(crate) fn start(factory: Factory, threads: usize) -> io::Result<Self> {
        let engines: io::Result<Vec<_>> = (0..threads.max(1)).map(|_| Engine::start()).collect();
        Ok(Self {
            factory,
            engines: engines?,
            open: 0,
            added: 0,
        })
    }

    pub(crate) fn add(
        &mut self,
        seat: Seat,
        negotiated: Negotiated,
        requested: Instant,
        expects: usize,
    ) -> PeerKey {
        let key = self.added;
        self.added += 1;
        self.open += 1;
        if let Some((engine, local)) = self.engine(key) {
            engine.add(NewPeer {
                key: local,
                negotiated,
                requested,
                expects,
                link: seat.link_kbps.map(Link::new),
            });
        }
        key
    }

    pub(crate) fn close(&mut self, key: PeerKey) {
        self.open -= 1;
        if let Some((engine, local)) = self.engine(key) {
            engine.close(local);
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Connected peers; those that receive all that they expect; those whose connection broke.
    pub(crate) fn progress(&self) -> (usize, usize, usize) {
        use std::sync::atomic::Ordering::Relaxed;
        let all = self.engines.iter().map(Engine::progress);
        all.fold((0, 0, 0), |(connected, complete, lost), progress| {
            (
                connected + progress.connected.load(Relaxed),
                complete + progress.complete.load(Relaxed),
                lost + progress.lost.load(Relaxed),
            )
        })
    }

    pub(crate) fn measure(&self, from_ns: u64, to_ns: u64) {
        for engine in &self.engines {
            engine.measure(from_ns, to_ns);
        }
    }

    /// What all threads know, with the keys that [`Media::add`] gave. `None` where one has died.
    pub(crate) fn report(&self) -> Option<Vec<EngineReport>> {
        let count = self.engines.len();
        let whole = |(position, engine): (usize, &Engine)| {
            let mut report = engine.report()?;
            for peer in &mut report.peers {
                peer.key = peer.key * count + position;
            }
            Some(report)
        };
        self.engines.iter().enumerate().map(whole).collect()
    }

    /// The thread of a peer, and the peer's key there.
    fn engine(&self, key: PeerKey) -> Option<(&Engine, PeerKey)> {
        let count = self.engines.len();
        Some((self.engines.get(key % count)?, key / count))
    }
}
