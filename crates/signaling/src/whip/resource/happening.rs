//! What happens to a viewer's stream, as its event streams tell it.

use std::collections::HashMap;
use std::sync::Arc;

use madang_core::{LayerAvailable, TrackId};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use crate::limits::{EVENT_STREAMS_MAX, EVENTS_WAITING_MAX};
use crate::protocol::{AudioSlot, ServerMessage, VideoSlot, Why};
use crate::session::Live;

/// The types of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::whip) enum Kind {
    Active,
    Inactive,
    Layers,
    Reconnect,
    ViewerCount,
}

impl Kind {
    pub(in crate::whip) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::Reconnect => "reconnect",
            Self::ViewerCount => "viewercount",
        }
    }
}

/// An event: its type and its data as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::whip) struct Happening {
    pub(in crate::whip) kind: Kind,
    pub(in crate::whip) data: String,
}

/// The event streams of a viewer.
#[derive(Debug)]
pub(in crate::whip) struct Happenings {
    news: broadcast::Sender<Happening>,
    state: Mutex<State>,
    /// By their unguessable names: browsers send no headers with such requests.
    streams: Mutex<HashMap<String, Stream>>,
}

#[derive(Debug)]
struct Stream {
    kinds: Vec<Kind>,
    /// Each new listener is told here, which ends the older one: a name is good for one connection at a time. Dropped to end
    /// the stream.
    listeners: watch::Sender<()>,
}

/// A stream to be served: what to begin with, and where the rest comes from.
#[derive(Debug)]
pub(in crate::whip) struct Listening {
    pub(in crate::whip) kinds: Vec<Kind>,
    pub(in crate::whip) first: Vec<Happening>,
    pub(in crate::whip) news: broadcast::Receiver<Happening>,
    /// Changes, or closes, where this listener is to end.
    pub(in crate::whip) turn: watch::Receiver<()>,
}

/// What the viewer was last told.
#[derive(Debug, Default)]
struct State {
    active: bool,
    video: Vec<VideoSlot>,
    audio: Vec<AudioSlot>,
    layers: HashMap<TrackId, Arc<[LayerAvailable]>>,
    shown: Value,
    viewers: Option<usize>,
    /// The viewer is to go elsewhere.
    leaving: bool,
}

impl Default for Happenings {
    fn default() -> Self {
        Self {
            news: broadcast::Sender::new(EVENTS_WAITING_MAX),
            state: Mutex::default(),
            streams: Mutex::default(),
        }
    }
}

impl Happenings {
    /// Takes in what the session is told.
    pub(super) fn take(&self, message: &ServerMessage) {
        if let ServerMessage::Slots { video, audio, .. } = message {
            let mut state = self.state.lock();
            if let Some(video) = video {
                state.video.clone_from(video);
            }
            if let Some(audio) = audio {
                state.audio.clone_from(audio);
            }
            self.tell(state.activity());
            self.tell(state.layers());
        } else if let ServerMessage::Tracks { del, .. } = message {
            let mut state = self.state.lock();
            for track in del {
                state.layers.remove(&track.0);
            }
        }
    }

    pub(super) fn take_live(&self, live: Live) {
        let mut state = self.state.lock();
        match live {
            Live::Layers(track, layers) => {
                state.layers.insert(track, layers);
                self.tell(state.layers());
            }
            Live::Viewers(count) => {
                let before = state.viewers.replace(count);
                self.tell((before != Some(count)).then(|| viewers(count)));
            }
            Live::Reconnect => {
                state.leaving = true;
                self.tell(Some(leaving()));
            }
        }
    }

    fn tell(&self, news: Option<Happening>) {
        if let Some(news) = news {
            // Nobody may be listening.
            let _ = self.news.send(news);
        }
    }

    /// Makes a stream of these events, and returns its name; `None` over the limit.
    pub(in crate::whip) fn open(&self, kinds: Vec<Kind>) -> Option<String> {
        let mut streams = self.streams.lock();
        if streams.len() >= EVENT_STREAMS_MAX {
            return None;
        }
        let name = format!("{:032x}", rand::random::<u128>());
        let stream = Stream {
            kinds,
            listeners: watch::Sender::new(()),
        };
        streams.insert(name.clone(), stream);
        Some(name)
    }

    /// Ends a stream; whether there was one.
    pub(in crate::whip) fn close(&self, name: &str) -> bool {
        self.streams.lock().remove(name).is_some()
    }

    /// Whether there is such a stream.
    pub(in crate::whip) fn has(&self, name: &str) -> bool {
        self.streams.lock().contains_key(name)
    }

    /// Puts what holds now in the place of all that a listener has not taken.
    pub(in crate::whip) fn catch_up(&self, listening: &mut Listening) {
        let state = self.state.lock();
        listening.news = self.news.subscribe();
        listening.first = state.now();
        if !state.active {
            listening.first.push(activity(false));
        }
        if state.leaving {
            listening.first.push(leaving());
        }
    }

    /// Listens to a stream, in the place of whoever does.
    pub(in crate::whip) fn listen(&self, name: &str) -> Option<Listening> {
        let (kinds, turn) = {
            let streams = self.streams.lock();
            let stream = streams.get(name)?;
            stream.listeners.send_replace(());
            (stream.kinds.clone(), stream.listeners.subscribe())
        };
        let state = self.state.lock();
        Some(Listening {
            kinds,
            first: state.now(),
            news: self.news.subscribe(),
            turn,
        })
    }
}

impl State {
    /// Whether there is anything to see or hear, where that has changed.
    fn activity(&mut self) -> Option<Happening> {
        let pictures = self
            .video
            .iter()
            .any(|slot| slot.track.is_some() && matches!(slot.why, Why::Live | Why::NoBandwidth));
        let active = pictures || self.audio.iter().any(|slot| slot.track.is_some());
        let before = std::mem::replace(&mut self.active, active);
        (before != active).then(|| activity(active))
    }

    /// The layers of what the slots show, where they have changed.
    fn layers(&mut self) -> Option<Happening> {
        let mut shown = serde_json::Map::new();
        for slot in &self.video {
            let layers = slot.track.and_then(|track| self.layers.get(&track.0));
            if let Some(layers) = layers {
                shown.insert(slot.mid.clone(), layers_json(layers));
            }
        }
        let shown = Value::Object(shown);
        if shown == self.shown || (self.shown.is_null() && shown == json!({})) {
            return None;
        }
        self.shown = shown;
        Some(layers(&self.shown))
    }

    /// All that holds now. That nothing is there is no news at the start.
    fn now(&self) -> Vec<Happening> {
        let active = self.active.then(|| activity(true));
        let layers = (!self.shown.is_null()).then(|| layers(&self.shown));
        let viewers = self.viewers.map(viewers);
        active.into_iter().chain(layers).chain(viewers).collect()
    }
}

fn activity(active: bool) -> Happening {
    Happening {
        kind: if active { Kind::Active } else { Kind::Inactive },
        data: "{}".into(),
    }
}

fn leaving() -> Happening {
    Happening {
        kind: Kind::Reconnect,
        data: "{}".into(),
    }
}

fn layers(shown: &Value) -> Happening {
    Happening {
        kind: Kind::Layers,
        data: shown.to_string(),
    }
}

fn viewers(count: usize) -> Happening {
    Happening {
        kind: Kind::ViewerCount,
        data: json!({ "viewercount": count }).to_string(),
    }
}

/// A layer as players are told of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LayerNews {
    #[serde(skip_serializing_if = "Option::is_none")]
    rid: Option<String>,
    spatial_layer_id: usize,
    bitrate: u64,
    width: u32,
    height: u32,
}

fn layers_json(layers: &[LayerAvailable]) -> Value {
    let news = |(rank, layer): (usize, &LayerAvailable)| LayerNews {
        rid: layer.rid.map(|rid| rid.to_string()),
        spatial_layer_id: rank,
        bitrate: layer.bps,
        width: layer.width,
        height: layer.height,
    };
    let layers: Vec<_> = layers.iter().enumerate().map(news).collect();
    json!(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn showing(track: Option<TrackId>) -> ServerMessage {
        let slot = VideoSlot {
            mid: "1".into(),
            track: track.map(Into::into),
            paused: track.is_none(),
            why: if track.is_some() {
                Why::Live
            } else {
                Why::PublisherGone
            },
            layer: None,
        };
        ServerMessage::Slots {
            rev: 1,
            video: Some(vec![slot]),
            audio: None,
        }
    }

    fn told(listening: &mut Listening) -> Vec<&'static str> {
        let mut told: Vec<_> = std::mem::take(&mut listening.first);
        told.extend(std::iter::from_fn(|| listening.news.try_recv().ok()));
        told.iter().map(|news| news.kind.as_str()).collect()
    }

    #[test]
    fn who_is_behind_is_told_what_holds_now() {
        let happenings = Happenings::default();
        let name = happenings.open(vec![Kind::Active, Kind::Inactive]).unwrap();
        let mut listening = happenings.listen(&name).unwrap();
        for _ in 0..EVENTS_WAITING_MAX {
            happenings.take(&showing(Some(TrackId(1))));
            happenings.take(&showing(None));
        }
        happenings.take_live(Live::Viewers(3));
        let lagged = listening.news.try_recv().unwrap_err();
        assert!(matches!(lagged, broadcast::error::TryRecvError::Lagged(_)));
        happenings.catch_up(&mut listening);
        assert_eq!(told(&mut listening), ["viewercount", "inactive"]);
        happenings.take(&showing(Some(TrackId(1))));
        happenings.take_live(Live::Viewers(3));
        assert_eq!(told(&mut listening), ["active"]);
        happenings.take_live(Live::Reconnect);
        happenings.catch_up(&mut listening);
        assert_eq!(told(&mut listening), ["active", "viewercount", "reconnect"]);
    }
}
