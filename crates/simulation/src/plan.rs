//! Tests as data: steps that read as a story, and are printed as one when it ends badly.

use std::io::Write;
use std::time::Duration;

use madang_core::{AudioView, Source};

use crate::browser::{BrowserConfig, layer_of};
use crate::control::Request;
use crate::network::{LinkConfig, ScriptedDrop};
use crate::page::{TileSize, source_name};
use crate::world::{World, WorldConfig};

type Name = &'static str;

/// A test: what happens, and when.
#[derive(Debug, Clone)]
pub struct Plan {
    title: &'static str,
    steps: Vec<Step>,
    configure: fn(&mut WorldConfig),
}

/// One line of the story.
#[derive(Debug, Clone)]
pub struct Step {
    /// When it happens, counted from the start.
    pub at: Duration,
    pub description: &'static str,
    pub actions: Vec<Action>,
}

/// What can happen.
#[derive(Debug, Clone)]
pub enum Action {
    /// Opens the page and joins, with microphone and camera.
    Join(Name),
    /// Joins with a browser of a particular kind, publishing nothing.
    JoinWith(Name, BrowserConfig),
    Leave(Name),
    /// The browser is gone without a word.
    Vanish(Name),
    Publish(Name, Source),
    Unpublish(Name, Source),
    Mute(Name, Source),
    Unmute(Name, Source),
    /// Starts to speak, at a level in dBov (0 is the loudest, -127 is silence).
    Talk(Name, i8),
    Hush(Name),
    /// The size of all tiles that have none of their own; `None` hides them.
    Tiles(Name, Option<TileSize>),
    /// The size of one tile.
    Tile { viewer: Name, publisher: Name, source: Source, size: TileSize },
    Audio(Name, AudioView),
    Uplink(Name, LinkConfig),
    Downlink(Name, LinkConfig),
    /// Loses the next packets of one layer on the way to the server, and their retransmissions.
    LoseUp { publisher: Name, source: Source, rid: Option<&'static str>, packets: usize, retransmissions: usize },
    SignallingLost(Name),
    SignallingBack(Name),
    RestartIce(Name),
    MoreSlots(Name, usize),
    Data(Name, &'static str),
    Expect(Expectation),
}

/// What is to be true at a step, looking back over [`EXPECTATION_WINDOW`].
#[derive(Debug, Clone)]
pub enum Expectation {
    /// At least 20 frames a second of this source.
    Sees(Name, Name, Source),
    /// Frames of this source, and of this layer alone.
    SeesLayer(Name, Name, &'static str),
    SeesNot(Name, Name, Source),
    Hears(Name, Name),
    HearsNot(Name, Name),
    Connected(Name),
    Gone(Name),
}

/// How far expectations look back.
pub const EXPECTATION_WINDOW: Duration = Duration::from_secs(1);

impl Plan {
    pub fn new(title: &'static str) -> Self {
        Self { title, steps: Vec::new(), configure: |_| {} }
    }

    /// Changes the server's configuration.
    pub fn configured(mut self, configure: fn(&mut WorldConfig)) -> Self {
        self.configure = configure;
        self
    }

    /// Adds a step, `at_ms` after the start.
    pub fn at(mut self, at_ms: u64, description: &'static str, actions: impl Into<Vec<Action>>) -> Self {
        let at = Duration::from_millis(at_ms);
        self.steps.push(Step { at, description, actions: actions.into() });
        self
    }

    /// Runs the story once for each seed; `verdict` looks at the end of each run, and may let time go
    /// on. Any complaint of any receiver fails the run.
    pub fn run(&self, seeds: &[u64], verdict: impl Fn(&mut World)) {
        for seed in seeds {
            let mut config = WorldConfig::new(*seed);
            (self.configure)(&mut config);
            let mut told = Told { plan: self, seed: *seed, done: 0, now: Duration::ZERO };
            let mut world = World::new(config);
            for step in &self.steps {
                world.run_until(step.at);
                told.done += 1;
                told.now = step.at;
                for action in &step.actions {
                    perform(&mut world, action);
                }
            }
            verdict(&mut world);
            let complaints = world.complaints();
            let first: Vec<&String> = complaints.iter().take(10).collect();
            assert!(complaints.is_empty(), "{} complaints, first: {first:#?}", complaints.len());
        }
    }
}

/// Prints the story when the run ends in a panic.
struct Told<'a> {
    plan: &'a Plan,
    seed: u64,
    done: usize,
    now: Duration,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut story = format!("\n{} (seed {}), failed at or after {:?}:\n", self.plan.title, self.seed, self.now);
        for (number, step) in self.plan.steps.iter().enumerate() {
            let mark = if number < self.done { "→" } else { " " };
            story.push_str(&format!("  {mark} {:>7.3} s  {}\n", step.at.as_secs_f64(), step.description));
        }
        // Beside the panic's own message; if that fails there is nobody to tell.
        let _ = std::io::stderr().write_all(story.as_bytes());
    }
}

fn perform(world: &mut World, action: &Action) {
    let seat = |world: &World, name: &str| world.find(name).unwrap_or_else(|| panic!("nobody is called {name}"));
    match action {
        Action::Join(name) => {
            let seat = world.add(name, BrowserConfig::default());
            world.page_joins(seat);
            world.page_publishes(seat, Source::Microphone);
            world.page_publishes(seat, Source::Camera);
        }
        Action::JoinWith(name, config) => {
            let seat = world.add(name, *config);
            world.page_joins(seat);
        }
        Action::Leave(name) => {
            let seat = seat(world, name);
            let now = world.now();
            world.request(seat, Request::Leave);
            world.seat_mut(seat).browser.close(now);
        }
        Action::Vanish(name) => {
            world.seat_named(name).up.set_config(LinkConfig::outage());
            world.seat_named(name).down.set_config(LinkConfig::outage());
            let seat = seat(world, name);
            world.set_signalling(seat, false);
        }
        Action::Publish(name, source) => world.page_publishes(seat(world, name), *source),
        Action::Unpublish(name, source) => world.page_unpublishes(seat(world, name), *source),
        Action::Mute(name, source) => world.page_mutes(seat(world, name), *source, true),
        Action::Unmute(name, source) => world.page_mutes(seat(world, name), *source, false),
        Action::Talk(name, level) => world.seat_named(name).browser.talk(Some(*level)),
        Action::Hush(name) => world.seat_named(name).browser.talk(None),
        Action::Uplink(name, config) => world.seat_named(name).up.set_config(config.clone()),
        Action::Downlink(name, config) => world.seat_named(name).down.set_config(config.clone()),
        Action::SignallingLost(name) => world.set_signalling(seat(world, name), false),
        Action::SignallingBack(name) => world.set_signalling(seat(world, name), true),
        Action::RestartIce(name) => world.page_restarts_ice(seat(world, name)),
        Action::MoreSlots(name, count) => world.page_adds_slots(seat(world, name), *count),
        Action::Data(name, text) => {
            let now = world.now();
            let sent = world.seat_named(name).browser.send_data(now, text.as_bytes());
            assert!(sent, "the data channel of {name} is not open");
        }
        Action::Tiles(..) | Action::Tile { .. } | Action::Audio(..) => change_view(world, action),
        Action::LoseUp { publisher, source, rid, packets, retransmissions } => {
            let seat = world.seat_named(publisher);
            let (ssrc, rtx) = seat.browser.sent_ssrcs(*source, *rid).expect("the source is sent");
            seat.up.drop_next(ScriptedDrop { ssrc, count: *packets });
            if let Some(ssrc) = rtx {
                seat.up.drop_next(ScriptedDrop { ssrc, count: *retransmissions });
            }
        }
        Action::Expect(expectation) => expect(world, expectation),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the caller passes the actions that change a view")]
fn change_view(world: &mut World, action: &Action) {
    let viewer = match action {
        Action::Tiles(name, size) => {
            let page = &mut world.seat_named(name).page;
            page.default_tile = *size;
            page.tiles.clear();
            *name
        }
        Action::Tile { viewer, publisher, source, size } => {
            let owner = world.find(publisher).unwrap_or_else(|| panic!("nobody is called {publisher}"));
            world.seat_named(viewer).page.tiles.insert((owner, source_name(*source)), *size);
            *viewer
        }
        Action::Audio(name, view) => {
            world.seat_named(name).page.audio_view = view.clone();
            *name
        }
        _ => return,
    };
    let seat = world.find(viewer).unwrap_or_else(|| panic!("nobody is called {viewer}"));
    // A page that has not joined yet sends its view when it has.
    if world.seat(viewer).page.joined_at.is_some() {
        world.page_views(seat);
    }
}

fn expect(world: &mut World, expectation: &Expectation) {
    let from = world.now().saturating_sub(EXPECTATION_WINDOW);
    match expectation {
        Expectation::Sees(viewer, publisher, source) => {
            let frames = world.frames(viewer, publisher, *source, from).len();
            let slot = world.slot_of(viewer, publisher, *source);
            assert!(frames >= 20, "{viewer} got {frames} frames of {publisher} in the last second; {slot:?}");
        }
        Expectation::SeesLayer(viewer, publisher, rid) => {
            let layer = layer_of(Some((*rid).into()));
            let frames = world.frames(viewer, publisher, Source::Camera, from);
            let slot = world.slot_of(viewer, publisher, Source::Camera);
            let right = frames.iter().filter(|frame| frame.tag.layer == layer).count();
            let all = frames.len();
            let count = format!("{right} of {all} frames of the last second are of layer {rid}");
            assert!(right >= 20 && right == all, "{viewer} looking at {publisher}: {count}; {slot:?}");
        }
        Expectation::SeesNot(viewer, publisher, source) => {
            let frames = world.frames(viewer, publisher, *source, from).len();
            assert_eq!(frames, 0, "{viewer} still sees {publisher}");
        }
        Expectation::Hears(listener, speaker) => {
            let packets = world.sounds(listener, speaker, Source::Microphone, from).len();
            assert!(packets >= 40, "{listener} heard {packets} packets of {speaker} in the last second");
        }
        Expectation::HearsNot(listener, speaker) => {
            let packets = world.sounds(listener, speaker, Source::Microphone, from).len();
            assert_eq!(packets, 0, "{listener} still hears {speaker}");
        }
        Expectation::Connected(name) => {
            let seat = world.seat(name);
            let refused = &seat.page.refusals;
            assert!(seat.browser.connected_at.is_some(), "{name} is not connected; refusals: {refused:?}");
        }
        Expectation::Gone(name) => {
            let page = &world.seat(name).page;
            assert!(page.closed.is_some(), "{name} is still there");
        }
    }
}
