//! Tests as data: steps that read as a story, and are printed as one when it ends badly.

mod perform;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use madang_core::{AudioView, AutoView, Source};

use crate::browser::BrowserConfig;
use crate::network::LinkConfig;
use crate::page::TileSize;
use crate::payload::{Codec, Mode};
use crate::timeline;
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
    /// The server mutes them, and their browser goes on sending.
    MuteAtServer(Name, Source),
    Unmute(Name, Source),
    /// Encodes the camera with another codec, and in these layers where it is one stream.
    Encode(Name, Codec, Option<Mode>),
    /// Starts to speak, at a level in dBov (0 is the loudest, -127 is silence).
    Talk(Name, i8),
    Hush(Name),
    /// The size of all tiles that have none of their own; `None` hides them.
    Tiles(Name, Option<TileSize>),
    /// The size of one tile.
    Tile {
        viewer: Name,
        publisher: Name,
        source: Source,
        size: TileSize,
    },
    /// Frames a second that are enough for all tiles.
    Frames(Name, Option<u32>),
    Audio(Name, AudioView),
    /// Tiles that the server fills.
    Auto(Name, AutoView),
    Uplink(Name, LinkConfig),
    Downlink(Name, LinkConfig),
    /// The NAT forgets the browser's mapping and gives it another port, and nobody is told.
    Rebind(Name),
    /// Loses the next packets of one layer on the way to the server, and their retransmissions.
    LoseUp {
        publisher: Name,
        source: Source,
        rid: Option<&'static str>,
        packets: usize,
        retransmissions: usize,
    },
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
        Self {
            title,
            steps: Vec::new(),
            configure: |_| {},
        }
    }

    /// Changes the server's configuration.
    pub fn configured(mut self, configure: fn(&mut WorldConfig)) -> Self {
        self.configure = configure;
        self
    }

    /// Adds a step, `at_ms` after the start.
    pub fn at(
        mut self,
        at_ms: u64,
        description: &'static str,
        actions: impl Into<Vec<Action>>,
    ) -> Self {
        let at = Duration::from_millis(at_ms);
        self.steps.push(Step {
            at,
            description,
            actions: actions.into(),
        });
        self
    }

    /// Runs the story once for each seed, or for those that [`SEEDS_VARIABLE`] names; `verdict` looks at the end of each run, and may let time go
    /// on. Any complaint of any receiver fails the run.
    pub fn run(&self, seeds: &[u64], verdict: impl Fn(&mut World)) {
        let searched = std::env::var(SEEDS_VARIABLE)
            .ok()
            .map(|range| seed_range(&range));
        for seed in searched.as_deref().unwrap_or(seeds) {
            self.play(*seed, &[], |world| {
                verdict(world);
                let complaints = world.complaints();
                let first: Vec<&String> = complaints.iter().take(10).collect();
                assert!(
                    complaints.is_empty(),
                    "{} complaints, first: {first:#?}",
                    complaints.len()
                );
            });
        }
    }

    /// Runs the story once. `verdict` looks at the end; a panic there, or on the way, prints the story. What happens
    /// to the people of `watched` is recorded.
    pub fn play(&self, seed: u64, watched: &[&'static str], verdict: impl FnOnce(&mut World)) {
        let mut config = WorldConfig::new(seed);
        config.workers = workers_of(seed);
        (self.configure)(&mut config);
        let mut run = Run {
            plan: self,
            done: 0,
            world: World::new(config),
        };
        match std::env::var_os(TRACE_VARIABLE) {
            Some(_) => run.world.watch_all(),
            None => run.world.watch(watched),
        }
        for step in &self.steps {
            run.world.run_until(step.at);
            run.done += 1;
            for action in &step.actions {
                perform::perform(&mut run.world, action);
            }
        }
        verdict(&mut run.world);
    }

    pub fn title(&self) -> &'static str {
        self.title
    }

    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// Replaces the committed seeds in a search for new ones: `100..200`.
pub const SEEDS_VARIABLE: &str = "MADANG_SIMULATION_SEEDS";

/// Where each run of a story leaves what everybody's connection carried and showed, a file of JSON lines for each of them.
pub const TRACE_VARIABLE: &str = "MADANG_SIMULATION_TRACE";

/// On how many workers a run is: with odd seeds all people are on one, with even ones they are spread over several.
const fn workers_of(seed: u64) -> usize {
    if seed.is_multiple_of(2) { 3 } else { 1 }
}

fn seed_range(text: &str) -> Vec<u64> {
    let range = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range
        .unwrap_or_else(|| {
            panic!("{SEEDS_VARIABLE} is '{text}', a range such as 100..200 is needed")
        })
        .collect()
}

/// One run of a plan. Prints the story where it ends in a panic, and leaves its traces in either case.
struct Run<'a> {
    plan: &'a Plan,
    done: usize,
    world: World,
}

impl Run<'_> {
    fn story(&self) -> String {
        let (title, seed, at) = (self.plan.title, self.world.seed(), self.world.now());
        let mut story = format!("\n{title} (seed {seed}), failed at {at:?}:\n");
        for (number, step) in self.plan.steps.iter().enumerate() {
            let mark = if number < self.done { "→" } else { " " };
            story.push_str(&format!(
                "  {mark} {:>7.3} s  {}\n",
                step.at.as_secs_f64(),
                step.description
            ));
        }
        // Test runners name a thread by its test.
        if let Some(test) = std::thread::current().name() {
            let variables = format!(
                "{SEEDS_VARIABLE}={seed}..{} {TRACE_VARIABLE}=$PWD/target/sim",
                seed + 1
            );
            story.push_str(&format!("again, with traces: {variables} cargo test --package madang-simulation --test it -- --exact {test}\n"));
        }
        story
    }

    fn leave_traces(&self, directory: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(directory)?;
        let title = self.plan.title.replace(|c: char| !c.is_alphanumeric(), "-");
        for seat in self.world.all_seats() {
            let name = format!("{title}-{}-{}.jsonl", self.world.seed(), seat.name);
            timeline::write(&self.world, &self.plan.steps, seat, &directory.join(name))?;
        }
        Ok(())
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut told = String::new();
        if std::thread::panicking() {
            told = self.story();
        }
        if let Some(directory) = std::env::var_os(TRACE_VARIABLE)
            && let Err(error) = self.leave_traces(Path::new(&directory))
        {
            told.push_str(&format!(
                "cannot write to {}: {error}\n",
                directory.display()
            ));
        }
        // Beside the panic's own message; if that fails there is nobody to tell.
        let _ = std::io::stderr().write_all(told.as_bytes());
    }
}
