//! `madang plan`: what calls need of machines, from what was measured.

mod call;
mod capacity;
mod fit;
mod model;
mod print;
mod results;

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum, value_parser};

use call::Call;
use capacity::Instance;
pub(crate) use fit::fitted;

/// What `madang plan` is asked.
#[derive(Debug, Args)]
pub(crate) struct Question {
    /// Participants in each room
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=100_000))]
    participants: u32,
    /// Participants in each room that send camera and microphone; the others watch [default: all]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(0..=100_000))]
    publishers: Option<u32>,
    /// Rooms at the same time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=1_000_000))]
    rooms: u32,
    /// What every visible tile is received in; cameras send this and the smaller layers
    #[arg(long, value_enum, default_value_t = Video::P360)]
    video: Video,
    /// Tiles that each participant sees, where so many others have a camera
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = value_parser!(u32).range(0..=49))]
    visible: u32,
    /// Loudest microphones that each participant hears; 0: nobody has a microphone
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(0..=15))]
    audio: u32,
    /// Participants that come each second, all rooms together
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(0..=100_000))]
    joins_per_second: u32,
    /// Share of the cores that may be used; what is left is for bursts
    #[arg(long, value_name = "PERCENT", default_value = "60%", value_parser = percent)]
    core_target: f64,
    /// Cores of one server
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_024))]
    cores_per_instance: u32,
    /// Bandwidth of one server in each direction, as much of it as may be used: 800mbit, 10gbit
    #[arg(long, value_name = "RATE", default_value = "10gbit", value_parser = bits)]
    bandwidth_per_instance: f64,
    /// Print the constants, and the model beside every measurement
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "json")]
    explain: bool,
    /// Print JSON; rates are for each second
    #[arg(long, action = ArgAction::SetTrue)]
    json: bool,
}

/// The layers that the page's cameras send, in kbit/s: `CAMERA_LAYERS` in `crates/web/client/encodings.js`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Video {
    /// No cameras
    None,
    /// 167 kbit/s
    #[value(name = "180p")]
    P180,
    /// 571 kbit/s
    #[value(name = "360p")]
    P360,
    /// 2,000 kbit/s
    #[value(name = "720p")]
    P720,
    /// 3,674 kbit/s
    #[value(name = "1080p")]
    P1080,
}

impl Video {
    /// The smallest first, down from what is received.
    fn layers_kbps(self) -> &'static [u32] {
        match self {
            Self::None => &[],
            Self::P180 => &[167],
            Self::P360 => &[167, 571],
            Self::P720 => &[167, 571, 2_000],
            Self::P1080 => &[306, 1_050, 3_674],
        }
    }
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(
        "--publishers {publishers}: there are {participants} participants in a room, so at most as many publish"
    )]
    Publishers { publishers: u32, participants: u32 },
    #[error("the committed costs cannot be read: {0}")]
    Costs(#[from] toml::de::Error),
    #[error("the plan cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Result files of the load generator.
#[derive(Debug, Args)]
pub(crate) struct Results {
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// The answer, as it is printed.
///
/// # Errors
/// Where what is asked contradicts itself.
pub(crate) fn answer(question: &Question) -> Result<String, PlanError> {
    let call = question.call()?;
    let model = model::embedded()?;
    let instance = Instance {
        cores: f64::from(question.cores_per_instance),
        core_target: question.core_target,
        bits: question.bandwidth_per_instance,
    };
    let plan = capacity::plan(
        &model,
        &call,
        f64::from(question.joins_per_second),
        instance,
    );
    if question.json {
        return Ok(print::json(&model, &call, instance, &plan)?);
    }
    let mut text = print::table(&model, &call, instance, &plan);
    if question.explain {
        text += &print::explanation(&model);
    }
    Ok(text)
}

impl Question {
    fn call(&self) -> Result<Call, PlanError> {
        let publishers = self.publishers.unwrap_or(self.participants);
        let viewers = self
            .participants
            .checked_sub(publishers)
            .ok_or(PlanError::Publishers {
                publishers,
                participants: self.participants,
            })?;
        let others = self.participants.saturating_sub(1);
        let video_kbps = self.video.layers_kbps().to_vec();
        let tiles = if video_kbps.is_empty() {
            0
        } else {
            self.visible
        };
        Ok(Call {
            rooms: self.rooms,
            publishers,
            viewers,
            video_kbps,
            audio: self.audio > 0,
            visible: tiles.min(others).min(publishers),
            audible: self.audio.min(others).min(publishers),
            // The page offers these at once, and more where more is visible.
            slots: tiles.max(PAGE_SLOTS.0) + self.audio.max(PAGE_SLOTS.1),
        })
    }
}

/// For video and audio: `FIRST_SLOTS` in `crates/web/client/protocol.js`.
const PAGE_SLOTS: (u32, u32) = (9, 3);

fn percent(text: &str) -> Result<f64, &'static str> {
    let number: Option<u8> = text.strip_suffix('%').unwrap_or(text).parse().ok();
    number
        .filter(|percent| (1..=100).contains(percent))
        .map(|percent| f64::from(percent) / 100.0)
        .ok_or("expected a percentage from 1 to 100, such as 60%")
}

fn bits(text: &str) -> Result<f64, &'static str> {
    let units = [("gbit", 1e9), ("mbit", 1e6)];
    units
        .into_iter()
        .find_map(|(unit, bits)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * bits))
        .filter(|bits| (1e6..=1e13).contains(bits))
        .ok_or("expected a rate from 1mbit to 10000gbit, such as 10gbit")
}

#[cfg(test)]
mod tests;
