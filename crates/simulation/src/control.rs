//! A control plane as small as can be: it hands out ids, carries messages between pages and the
//! shard with a delay, and keeps the list of tracks.

use std::collections::VecDeque;
use std::time::Duration;

use madang_core::sdp::{Offer, RemoteCandidate};
use madang_core::{
    Answer, Command, Event, Explanation, Join, MediaKind, PeerId, RoomId, Source, TrackId,
    TrackSpec, View,
};

use crate::page::TrackInfo;
use crate::world::{Delivery, World};

/// What a page sends.
#[derive(Debug)]
pub(crate) enum Request {
    Join { sdp: String },
    Offer { generation: u32, sdp: String },
    Candidate(String),
    Publish(Source),
    Unpublish(Source),
    Mute(Source, bool),
    View(View),
    Leave,
}

/// What a page is told.
#[derive(Debug)]
pub(crate) enum Told {
    Tracks(Vec<TrackInfo>),
    Event(Box<Event>),
}

/// The signalling connection of one page.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    /// The connection is lost: both sides keep what they would say.
    down: bool,
    requests: VecDeque<Request>,
    told: VecDeque<Told>,
    /// Sources that wait for the answer to the join.
    publish_when_joined: Vec<Source>,
    generation: u32,
}

/// The room and its tracks.
#[derive(Debug, Default)]
pub(crate) struct Control {
    tracks: Vec<TrackInfo>,
    next_track: u64,
}

const ROOM: RoomId = RoomId(1);

/// Ids of peers are the numbers of the seats, moved so that they are not positions by accident.
pub(crate) fn peer_of(seat: usize) -> PeerId {
    PeerId(1_000 + seat as u64)
}

fn seat_of(peer: PeerId) -> usize {
    usize::try_from(peer.0 - 1_000).unwrap_or(usize::MAX)
}

/// What a page does.
impl World {
    pub(crate) fn page_joins(&mut self, seat: usize) {
        let sdp = self.seat_mut(seat).browser.first_offer();
        self.request(seat, Request::Join { sdp });
        let line = self.seat_mut(seat).browser.candidate();
        self.request(seat, Request::Candidate(line));
    }

    pub(crate) fn page_publishes(&mut self, seat: usize, source: Source) {
        let now = self.now();
        let seat_state = self.seat_mut(seat);
        if seat_state.page.joined_at.is_none() {
            seat_state.connection.publish_when_joined.push(source);
            return;
        }
        seat_state.browser.publish(now, source);
        self.request(seat, Request::Publish(source));
    }

    pub(crate) fn page_unpublishes(&mut self, seat: usize, source: Source) {
        self.seat_mut(seat).browser.mute(source, true);
        self.request(seat, Request::Unpublish(source));
    }

    pub(crate) fn page_mutes(&mut self, seat: usize, source: Source, muted: bool) {
        self.seat_mut(seat).browser.mute(source, muted);
        self.request(seat, Request::Mute(source, muted));
    }

    pub(crate) fn mute_at_server(&mut self, seat: usize, source: Source) {
        self.request(seat, Request::Mute(source, true));
    }

    pub(crate) fn page_views(&mut self, seat: usize) {
        let view = self.seat_mut(seat).page.next_view(seat);
        self.request(seat, Request::View(view));
    }

    pub(crate) fn page_restarts_ice(&mut self, seat: usize) {
        let sdp = self.seat_mut(seat).browser.restart_offer();
        self.offer(seat, sdp);
    }

    pub(crate) fn page_adds_slots(&mut self, seat: usize, count: usize) {
        let sdp = self.seat_mut(seat).browser.more_slots_offer(count);
        self.offer(seat, sdp);
    }

    fn offer(&mut self, seat: usize, sdp: String) {
        let connection = &mut self.seat_mut(seat).connection;
        connection.generation += 1;
        let generation = connection.generation;
        self.request(seat, Request::Offer { generation, sdp });
    }

    /// Cuts or restores the page's signalling connection. Nothing that is said meanwhile is lost.
    pub(crate) fn set_signalling(&mut self, seat: usize, up: bool) {
        let connection = &mut self.seat_mut(seat).connection;
        connection.down = !up;
        if up {
            let requests = std::mem::take(&mut connection.requests);
            let told = std::mem::take(&mut connection.told);
            requests
                .into_iter()
                .for_each(|request| self.request(seat, request));
            told.into_iter().for_each(|told| self.tell(seat, told));
        }
    }

    pub(crate) fn request(&mut self, seat: usize, request: Request) {
        let delay = self.signalling_delay();
        let connection = &mut self.seat_mut(seat).connection;
        if connection.down {
            connection.requests.push_back(request);
        } else {
            self.deliver_after(delay, Delivery::Request { seat, request });
        }
    }

    fn tell(&mut self, seat: usize, told: Told) {
        let delay = self.signalling_delay();
        let connection = &mut self.seat_mut(seat).connection;
        if connection.down {
            connection.told.push_back(told);
        } else {
            self.deliver_after(delay, Delivery::Told { seat, told });
        }
    }
}

/// What the control plane does.
impl World {
    pub(crate) fn handle_request(&mut self, seat: usize, request: Request) {
        let peer = peer_of(seat);
        match request {
            Request::Join { sdp } => {
                let engine = self.make_engine(seat, parse_offer(&sdp));
                let engine = engine.unwrap_or_else(|error| panic!("{error}\n{sdp}"));
                self.command(
                    seat,
                    Command::Join(Box::new(Join {
                        peer,
                        room: ROOM,
                        engine,
                        subscribe: true,
                    })),
                );
            }
            Request::Offer { generation, sdp } => {
                let offer = Box::new(parse_offer(&sdp));
                self.command(
                    seat,
                    Command::Offer {
                        peer,
                        generation,
                        offer,
                    },
                );
            }
            Request::Candidate(line) => {
                let candidate =
                    RemoteCandidate::parse(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if let Some(candidate) = candidate {
                    self.command(seat, Command::Candidate { peer, candidate });
                }
            }
            Request::Publish(source) => self.add_track(seat, source),
            Request::Unpublish(source) => {
                if let Some(track) = self.take_track(seat, source) {
                    self.command(seat, Command::Unpublish { peer, track });
                }
            }
            Request::Mute(source, muted) => self.mute_track(seat, source, muted),
            Request::View(view) => self.command(seat, Command::View { peer, view }),
            Request::Leave => self.command(seat, Command::Leave { peer }),
        }
    }

    /// What the server says about how a person's media does. Lets the time pass that asking takes.
    pub fn explain(&mut self, name: &str) -> Explanation {
        let seat = self.position(name);
        let peer = peer_of(seat);
        self.command(seat, Command::Explain { peer, request: 0 });
        self.run_until(self.now() + 2 * SIGNALLING_DELAY);
        let explanation = self.seat_mut(seat).page.explanation.take();
        *explanation.expect("the peer is there")
    }

    /// Carries an event of the shard to the page that it is for.
    pub(crate) fn handle_shard_event(&mut self, event: Event) {
        let seats: Vec<usize> = match &event {
            Event::Answered { peer, .. }
            | Event::Connected { peer }
            | Event::Disconnected { peer }
            | Event::Closed { peer, .. }
            | Event::Slots { peer, .. }
            | Event::Layers { peer, .. }
            | Event::NeedSlots { peer, .. }
            | Event::Quality { peer, .. }
            | Event::Explained { peer, .. }
            | Event::Data { peer, .. } => vec![seat_of(*peer)],
            Event::Available { .. } | Event::Format { .. } | Event::Troubles { .. } => Vec::new(),
            Event::Speakers {
                worker, speakers, ..
            } => {
                let here: Vec<usize> = self.seats_of(*worker).collect();
                for seat in here {
                    self.seat_mut(seat).page.speakers.clone_from(speakers);
                }
                Vec::new()
            }
        };
        if let Event::Closed { peer, .. } = &event {
            let seat = seat_of(*peer);
            self.control_mut()
                .tracks
                .retain(|track| track.owner != seat);
            self.tell_tracks();
        }
        if let Event::Data { peer, payload } = &event {
            for seat in (0..self.seats()).filter(|seat| peer_of(*seat) != *peer) {
                let data = Command::Data {
                    peers: vec![peer_of(seat)],
                    payload: payload.clone(),
                };
                self.command(seat, data);
            }
        }
        if let [seat] = *seats {
            let joined = matches!(
                &event,
                Event::Answered {
                    generation: 0,
                    result: Ok(_),
                    ..
                }
            );
            self.tell(seat, Told::Event(Box::new(event)));
            if joined {
                let tracks = self.control_mut().tracks.clone();
                self.tell(seat, Told::Tracks(tracks));
            }
        }
    }

    fn add_track(&mut self, seat: usize, source: Source) {
        let control = self.control_mut();
        control.next_track += 1;
        let id = TrackId(control.next_track);
        control.tracks.push(TrackInfo {
            id,
            owner: seat,
            source,
            muted: false,
        });
        let mid = self
            .seat_mut(seat)
            .browser
            .mid_of(source)
            .expect("the first offer has all sources");
        let (kind, width, height) = match source {
            Source::Camera => (MediaKind::Video, Some(1_280), Some(720)),
            Source::Screen => (MediaKind::Video, Some(1_920), Some(1_080)),
            Source::Microphone | Source::ScreenAudio => (MediaKind::Audio, None, None),
        };
        let track = TrackSpec {
            id,
            mid,
            kind,
            source,
            muted: false,
            width,
            height,
            max_bps: Vec::new(),
            encrypted: self.seat_mut(seat).browser.config().opaque,
        };
        self.command(
            seat,
            Command::Publish {
                peer: peer_of(seat),
                track,
            },
        );
        self.tell_tracks();
    }

    fn take_track(&mut self, seat: usize, source: Source) -> Option<TrackId> {
        let track = self.track(seat, source)?;
        self.control_mut()
            .tracks
            .retain(|other| other.id != track.id);
        self.tell_tracks();
        Some(track.id)
    }

    fn mute_track(&mut self, seat: usize, source: Source, muted: bool) {
        let Some(TrackInfo { id, .. }) = self.track(seat, source) else {
            return;
        };
        for track in &mut self.control_mut().tracks {
            track.muted = if track.id == id { muted } else { track.muted };
        }
        self.command(
            seat,
            Command::Mute {
                peer: peer_of(seat),
                track: id,
                muted,
            },
        );
        self.tell_tracks();
    }

    /// The track that a seat publishes from this source.
    pub fn track(&mut self, seat: usize, source: Source) -> Option<TrackInfo> {
        let mut tracks = self.control_mut().tracks.iter();
        tracks
            .find(|track| track.owner == seat && track.source == source)
            .copied()
    }

    fn tell_tracks(&mut self) {
        let tracks = self.control_mut().tracks.clone();
        for seat in 0..self.seats() {
            if self.seat_mut(seat).page.closed.is_none() {
                self.tell(seat, Told::Tracks(tracks.clone()));
            }
        }
    }
}

/// What a page does when it is told something.
impl World {
    pub(crate) fn handle_told(&mut self, seat: usize, told: Told) {
        match told {
            Told::Tracks(tracks) => {
                self.seat_mut(seat).page.tracks = tracks;
                if self.seat_mut(seat).page.joined_at.is_some() {
                    self.page_views(seat);
                }
            }
            Told::Event(event) => {
                let Event::Answered {
                    generation, result, ..
                } = *event
                else {
                    return self.update_page(seat, *event);
                };
                match result {
                    Ok(answer) => self.apply_answer(seat, generation, answer),
                    Err(error) => self.seat_mut(seat).page.refusals.push(error.to_string()),
                }
            }
        }
    }

    fn apply_answer(&mut self, seat: usize, generation: u32, answer: Answer) {
        let now = self.now();
        let state = self.seat_mut(seat);
        state.browser.accept_answer(now, &answer.sdp.to_string());
        state.page.slots = answer.slots;
        if generation == 0 {
            state.page.joined_at = Some(now);
            let sources = std::mem::take(&mut state.connection.publish_when_joined);
            sources
                .into_iter()
                .for_each(|source| self.page_publishes(seat, source));
        }
        self.page_views(seat);
    }

    fn update_page(&mut self, seat: usize, event: Event) {
        let now = self.now();
        let page = &mut self.seat_mut(seat).page;
        match event {
            Event::Slots { slots, .. } => {
                if let Some(video) = slots.video {
                    page.video.clone_from(&video);
                    page.video_history.push((now, video));
                }
                if let Some(audio) = slots.audio {
                    page.audio = audio;
                }
            }
            Event::Layers { track, layers, .. } => {
                let told = page.tracks.iter().find(|known| known.id == track);
                let source = told.map(|known| known.source);
                page.layers.insert(track, layers.clone());
                if let Some(source) = source {
                    let now = self.now();
                    self.seat_mut(seat)
                        .browser
                        .want_layers(now, source, &layers);
                }
            }
            Event::NeedSlots { audio, video, .. } => page.slots_needed = Some((audio, video)),
            Event::Quality { quality, .. } => page.quality = Some(quality),
            Event::Explained { explanation, .. } => page.explanation = explanation,
            Event::Disconnected { .. } => page.disconnected += 1,
            Event::Closed { reason, .. } => page.closed = Some(reason),
            Event::Answered { .. }
            | Event::Connected { .. }
            | Event::Speakers { .. }
            | Event::Available { .. }
            | Event::Format { .. }
            | Event::Troubles { .. }
            | Event::Data { .. } => {}
        }
    }
}

fn parse_offer(sdp: &str) -> Offer {
    Offer::parse(sdp).unwrap_or_else(|error| panic!("{error}\n{sdp}"))
}

/// How long a message takes between a page and the control plane.
pub(crate) const SIGNALLING_DELAY: Duration = Duration::from_millis(20);
