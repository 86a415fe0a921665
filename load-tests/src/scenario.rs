//! What is played, as a TOML file says it.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::media::encoder::{LayerSpec, VideoCodec};
use crate::media::publication::RIDS;

/// A scenario file. Numbers of participants are for each room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// The name of the file, without its ending.
    #[serde(skip)]
    pub(crate) name: String,
    pub(crate) title: String,
    #[serde(default = "one")]
    pub(crate) rooms: usize,
    /// Participants that publish; they receive each other, too, unless `publishers_watch` is false.
    pub(crate) publishers: usize,
    /// Participants that receive and publish nothing.
    #[serde(default)]
    pub(crate) viewers: usize,
    #[serde(default = "yes")]
    pub(crate) publishers_watch: bool,
    /// Bitrates of the camera's layers in kbit/s, the smallest first; none: no camera.
    #[serde(default)]
    pub(crate) video_kbps: Vec<u32>,
    /// Of the camera: "vp8" or "h264".
    #[serde(default)]
    pub(crate) codec: VideoCodec,
    #[serde(default = "thirty")]
    pub(crate) fps: u32,
    /// What the links of viewers carry from the server, in kbit/s; the viewers of a room have them in turn, so that with two
    /// numbers each is the link of every second viewer. None: links carry all.
    #[serde(default)]
    pub(crate) viewer_kbps: Vec<u32>,
    /// Everybody who publishes has a microphone, and speaks.
    #[serde(default)]
    pub(crate) audio: bool,
    /// Slots that receivers offer, where that is more than they need: a browser's page offers 3 and 9.
    #[serde(default)]
    pub(crate) audio_slots: usize,
    #[serde(default)]
    pub(crate) video_slots: usize,
    /// Peers have a data channel, as the browsers' page does.
    #[serde(default)]
    pub(crate) data_channel: bool,
    /// How fast participants come, all rooms together.
    #[serde(default = "fifty")]
    pub(crate) joins_per_second: u32,
    /// So many viewers leave, and others come, each second of the measurement.
    #[serde(default)]
    pub(crate) churn_per_second: u32,
    /// The span of the joins is what is measured, not what follows.
    #[serde(default)]
    pub(crate) measure_joins: bool,
    #[serde(default = "five")]
    pub(crate) warm_up_s: u64,
    #[serde(default = "ten")]
    pub(crate) measure_s: u64,
    /// Rooms of other kinds that are there at the same time. How fast people come, what changes meanwhile and how long it is
    /// measured is said once, above.
    #[serde(default)]
    pub(crate) beside: Vec<Self>,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

fn thirty() -> u32 {
    30
}

fn fifty() -> u32 {
    50
}

fn five() -> u64 {
    5
}

fn ten() -> u64 {
    10
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error("{path}: {source}")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Parse {
        path: String,
        source: Box<toml::de::Error>,
    },
    #[error("{path}: {why}")]
    Senseless { path: String, why: &'static str },
}

impl Scenario {
    pub(crate) fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Read {
            path: name.clone(),
            source,
        })?;
        let mut scenario = Self::parse(&text, &name)?;
        scenario.name = path
            .file_stem()
            .map_or(name, |stem| stem.to_string_lossy().into_owned());
        Ok(scenario)
    }

    fn parse(text: &str, path: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|source| ScenarioError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        match scenario.senseless() {
            None => Ok(scenario),
            Some(why) => Err(ScenarioError::Senseless {
                path: path.to_owned(),
                why,
            }),
        }
    }

    fn senseless(&self) -> Option<&'static str> {
        let senseless = [
            (self.rooms == 0, "rooms must be at least 1"),
            (self.fps == 0, "fps must be at least 1"),
            (
                self.joins_per_second == 0,
                "joins_per_second must be at least 1",
            ),
            (self.measure_s == 0, "measure_s must be at least 1"),
            (
                self.publishers + self.viewers == 0,
                "there must be publishers or viewers",
            ),
            (
                self.video_kbps.len() > RIDS.len(),
                "video_kbps has at most 3 layers",
            ),
            (
                self.video_kbps.contains(&0),
                "a layer of video_kbps must be at least 1",
            ),
            (
                self.churn_per_second > 0 && self.viewers == 0,
                "churn needs viewers",
            ),
            (
                self.viewer_kbps.contains(&0),
                "a link of viewer_kbps must be at least 1",
            ),
            (
                !self.viewer_kbps.is_empty() && self.viewers == 0,
                "viewer_kbps needs viewers",
            ),
            (
                !self.viewer_kbps.is_empty() && self.churn_per_second > 0,
                "viewer_kbps and churn_per_second exclude each other: rates are of viewers who stay",
            ),
        ];
        let first = senseless.into_iter().find(|(wrong, _)| *wrong);
        let of_others = || {
            self.beside
                .iter()
                .find_map(|kind| self.senseless_beside(kind))
        };
        first.map(|(_, why)| why).or_else(of_others)
    }

    fn senseless_beside(&self, kind: &Self) -> Option<&'static str> {
        if !kind.beside.is_empty() {
            return Some("rooms that are beside others have none beside them");
        }
        if kind.churn_per_second > 0 || !kind.viewer_kbps.is_empty() || kind.measure_joins {
            return Some(
                "churn_per_second, viewer_kbps and measure_joins are not for rooms beside",
            );
        }
        let said_once = (kind.joins_per_second, kind.warm_up_s, kind.measure_s);
        if said_once != (fifty(), five(), ten()) {
            return Some(
                "joins_per_second, warm_up_s and measure_s are said once, not for rooms beside",
            );
        }
        if kind.codec != self.codec {
            return Some("all cameras of a scenario have one codec");
        }
        kind.senseless()
    }

    /// The camera's layers; the size of the largest is 1280×720, each below has half of it.
    pub(crate) fn layers(&self) -> Vec<LayerSpec> {
        let count = self.video_kbps.len();
        let layer = |(position, kbps): (usize, &u32)| LayerSpec {
            codec: self.codec,
            kbps: *kbps,
            width: 1_280 >> (count - 1 - position),
            height: 720 >> (count - 1 - position),
            fps: self.fps,
        };
        self.video_kbps.iter().enumerate().map(layer).collect()
    }

    /// What the link of a room's viewer carries; viewers count from 0.
    pub(crate) fn link_kbps(&self, viewer: usize) -> Option<u32> {
        let position = viewer.checked_rem(self.viewer_kbps.len())?;
        self.viewer_kbps.get(position).copied()
    }

    /// All kinds of rooms, each with the number of its first room.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (usize, &Self)> {
        let kinds = std::iter::once(self).chain(&self.beside);
        kinds.scan(0, |next, kind| {
            let first = *next;
            *next += kind.rooms;
            Some((first, kind))
        })
    }

    pub(crate) fn participants(&self) -> usize {
        let of_kind = |(_, kind): (usize, &Self)| kind.rooms * (kind.publishers + kind.viewers);
        self.kinds().map(of_kind).sum()
    }

    /// Publishers whom a participant receives.
    pub(crate) fn watched_by(&self, publishes: bool) -> usize {
        match (publishes, self.publishers_watch) {
            (false, _) => self.publishers,
            (true, true) => self.publishers.saturating_sub(1),
            (true, false) => 0,
        }
    }

    /// Tracks of each publisher: camera and microphone.
    pub(crate) fn tracks(&self) -> usize {
        usize::from(self.audio) + usize::from(!self.video_kbps.is_empty())
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs(self.warm_up_s)
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs(self.measure_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Scenario, ScenarioError> {
        Scenario::parse(text, "x.toml")
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let scenario =
            parse("title = 'a'\npublishers = 5\naudio = true\nvideo_kbps = [1000]").unwrap();
        assert_eq!((scenario.rooms, scenario.viewers, scenario.fps), (1, 0, 30));
        assert_eq!(scenario.measured(), Duration::from_secs(10));
        assert_eq!(scenario.codec, VideoCodec::Vp8);
        assert_eq!(scenario.watched_by(true), 4);
        assert_eq!(scenario.watched_by(false), 5);
        assert_eq!(scenario.tracks(), 2);
    }

    #[test]
    fn layers_halve_in_size() {
        let scenario = parse("title = 'a'\npublishers = 1\nvideo_kbps = [150, 500, 1000]").unwrap();
        let sizes: Vec<_> = scenario
            .layers()
            .iter()
            .map(|layer| (layer.kbps, layer.width, layer.height))
            .collect();
        assert_eq!(
            sizes,
            [(150, 320, 180), (500, 640, 360), (1_000, 1_280, 720)]
        );
    }

    #[test]
    fn rooms_beside_come_after_those_of_the_scenario() {
        let beside = |what: &str| {
            let own = "title = 'a'\nrooms = 2\npublishers = 1\nviewers = 4";
            let other = "[[beside]]\ntitle = 'b'\nrooms = 3\npublishers = 2";
            parse(&format!("{own}\n{other}\n{what}"))
        };
        let scenario = beside("").unwrap();
        let kinds: Vec<_> = scenario
            .kinds()
            .map(|(first, kind)| (first, kind.title.as_str()))
            .collect();
        assert_eq!(kinds, [(0, "a"), (2, "b")]);
        assert_eq!(scenario.participants(), 2 * 5 + 3 * 2);

        let refused = |what| beside(what).unwrap_err().to_string();
        assert!(refused("viewers = 1\nchurn_per_second = 1").contains("not for rooms beside"));
        assert!(refused("measure_s = 4").contains("are said once"));
        assert!(refused("codec = 'h264'").contains("one codec"));
        assert!(refused("fps = 0").contains("fps must be at least 1"));
    }

    #[test]
    fn viewers_have_the_links_in_turn() {
        let links = |text: &str| {
            let scenario = parse(&format!("title = 'a'\npublishers = 1\nviewers = 3\n{text}"));
            let scenario = scenario.unwrap();
            (0..3).map(|viewer| scenario.link_kbps(viewer)).collect()
        };
        let all: Vec<_> = links("viewer_kbps = [300, 1000]");
        assert_eq!(all, [Some(300), Some(1_000), Some(300)]);
        let none: Vec<_> = links("");
        assert_eq!(none, [None; 3]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (text, part) in [
            ("title = 'a'\npublishers = 1\nrooms = 0", "rooms"),
            ("title = 'a'\npublishers = 0", "publishers or viewers"),
            (
                "title = 'a'\npublishers = 1\nvideo_kbps = [1, 2, 3, 4]",
                "3 layers",
            ),
            ("title = 'a'\npublishers = 1\nchurn_per_second = 1", "churn"),
            ("title = 'a'\npublishers = 1\nviewer_kbps = [9]", "viewers"),
            (
                "title = 'a'\npublishers = 1\nviewers = 1\nviewer_kbps = [0]",
                "viewer_kbps",
            ),
            (
                "title = 'a'\npublishers = 1\nviewers = 1\nviewer_kbps = [9]\nchurn_per_second = 1",
                "exclude",
            ),
            ("title = 'a'\npublishers = 1\nvewers = 1", "vewers"),
            ("title = 'a'\npublishers = 1\ncodec = 'h263'", "h263"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(error.starts_with("x.toml"), "{error}");
        }
    }

    #[test]
    fn every_scenario_of_the_repository_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let scenario = Scenario::read(&entry.unwrap().path()).unwrap();
            assert!(scenario.measure_s <= 30, "{} takes too long", scenario.name);
            count += 1;
        }
        assert!(count > 5);
    }
}
