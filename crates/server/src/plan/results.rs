//! Result files of the load generator, and the scenarios that they are of.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::call::Call;
use super::fit::FitError;
use super::model::{Origin, Point};

/// The name of this server in result files.
const PEER: &str = "madang";
/// Where more is lost, the server or the generator could not keep up, and the costs are of something else.
const LOSS_MAX: f64 = 0.01;

#[derive(Debug, Deserialize)]
struct ResultFile {
    machine: Machine,
    date: String,
    command: String,
    settings: Settings,
    #[serde(default)]
    runs: Vec<Run>,
}

#[derive(Debug, Deserialize)]
struct Machine {
    processor: String,
    cores: u32,
    system: String,
}

#[derive(Debug, Deserialize)]
struct Settings {
    server_workers: u32,
}

#[derive(Debug, Deserialize)]
struct Run {
    scenario: String,
    peer: String,
    measured: Option<Measured>,
}

#[derive(Debug, Deserialize)]
struct Measured {
    seconds: f64,
    sent: f64,
    received: f64,
    loss: f64,
    server: Option<ServerUse>,
}

#[derive(Debug, Deserialize)]
struct ServerUse {
    cpu_percent: f64,
    memory_mib: f64,
}

/// A scenario file, as far as the costs depend on it.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Scenario {
    title: String,
    rooms: u32,
    publishers: u32,
    viewers: u32,
    publishers_watch: bool,
    video_kbps: Vec<u32>,
    audio: bool,
    audio_slots: u32,
    video_slots: u32,
    churn_per_second: u32,
    measure_joins: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            title: String::new(),
            rooms: 1,
            publishers: 0,
            viewers: 0,
            publishers_watch: true,
            video_kbps: Vec::new(),
            audio: false,
            audio_slots: 0,
            video_slots: 0,
            churn_per_second: 0,
            measure_joins: false,
        }
    }
}

/// One point for each scenario: the medians of its runs.
pub(super) fn read(path: &Path) -> Result<(Origin, Vec<Point>), FitError> {
    let file: ResultFile = parse(path, |text| serde_json::from_str(text))?;
    let mut names: Vec<&String> = Vec::new();
    for run in &file.runs {
        if run.peer == PEER && run.measured.is_some() && !names.contains(&&run.scenario) {
            names.push(&run.scenario);
        }
    }
    let scenarios = path.with_file_name("..").join("scenarios");
    let source = path.file_name().unwrap_or_default().to_string_lossy();
    let mut points = Vec::new();
    for name in names {
        let scenario: Scenario = parse(&scenarios.join(format!("{name}.toml")), |text| {
            toml::from_str(text)
        })?;
        let measured: Vec<&Measured> = file
            .runs
            .iter()
            .filter(|run| run.scenario == *name && run.peer == PEER)
            .filter_map(|run| run.measured.as_ref())
            .filter(|measured| measured.loss <= LOSS_MAX)
            .collect();
        let workers = file.settings.server_workers;
        points.extend(point(name, &scenario, &measured, workers, &source));
    }
    let origin = Origin {
        machine: format!(
            "{}, {} cores, {}",
            file.machine.processor, file.machine.cores, file.machine.system
        ),
        date: file.date,
        commands: vec![file.command],
    };
    Ok((origin, points))
}

fn parse<T: DeserializeOwned, E: std::fmt::Display>(
    path: &Path,
    parser: impl Fn(&str) -> Result<T, E>,
) -> Result<T, FitError> {
    let problem = |why: String| FitError::File {
        path: path.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    parser(&text).map_err(|error| problem(error.to_string()))
}

/// `None` where the scenario is not one that the model describes, or the server's time is not known.
fn point(
    name: &str,
    scenario: &Scenario,
    runs: &[&Measured],
    workers: u32,
    source: &str,
) -> Option<Point> {
    let server = |of: fn(&ServerUse) -> f64| {
        median(runs.iter().filter_map(|run| run.server.as_ref().map(of)))
    };
    let per_second =
        |of: fn(&Measured) -> f64| median(runs.iter().map(|run| of(run) / run.seconds));
    let watched = if scenario.viewers > 0 {
        scenario.publishers
    } else {
        scenario.publishers.saturating_sub(1)
    };
    let slots = |needed: bool, offered: u32| offered.max(if needed { watched } else { 0 });
    let call = Call {
        rooms: scenario.rooms,
        publishers: scenario.publishers,
        viewers: scenario.viewers,
        video_kbps: scenario.video_kbps.clone(),
        audio: scenario.audio,
        visible: scenario.publishers,
        audible: scenario.publishers,
        slots: slots(scenario.audio, scenario.audio_slots)
            + slots(!scenario.video_kbps.is_empty(), scenario.video_slots),
    };
    // Who comes and goes in a large room is announced to all of it: that is no sum of what one join costs.
    if !scenario.publishers_watch || scenario.churn_per_second > 0 {
        return None;
    }
    let mut point = Point {
        scenario: name.to_owned(),
        title: scenario.title.clone(),
        call,
        workers,
        joins_per_second: 0.0,
        packets_in: per_second(|run| run.sent)?,
        packets_out: per_second(|run| run.received)?,
        cpu_percent: server(|server| server.cpu_percent)?,
        memory_mib: server(|server| server.memory_mib),
        source: source.to_owned(),
    };
    if scenario.measure_joins {
        point.joins_per_second = point.call.peers() / median(runs.iter().map(|run| run.seconds))?;
        // In the mean of the span half of them are there; the memory is that of all.
        point.call.rooms = point.call.rooms.div_ceil(2);
        point.memory_mib = None;
    }
    Some(point)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_the_load_generator_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../load-tests/scenarios");
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let scenario: Scenario = parse(&path, |text| toml::from_str(text)).unwrap();
            assert!(scenario.publishers + scenario.viewers > 0, "{scenario:?}");
        }
    }
}
