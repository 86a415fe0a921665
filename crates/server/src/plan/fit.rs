//! The constants of the model from the load generator's result files.
//!
//! The squares of the relative errors are least, with constants above 0. As there are hardly more
//! measurements than constants, each is held near its last value with a weak spring: what no measurement speaks of stays.

use std::path::PathBuf;

use super::call::Call;
use super::model::{Cpu, Memory, Model, Origin, Point};
use super::results::read;

/// An error of 100 % in a constant counts as one of 10 % in a measurement.
const SPRING: f64 = 0.01;
/// A constant that became 0 would stay so in all later fits, which look for multiples of it.
const FACTOR_MIN: f64 = 0.01;
/// Far more than the few constants need to settle.
const ROUNDS: usize = 20_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum FitError {
    #[error("{path}: {why}")]
    File { path: PathBuf, why: String },
    #[error("there is no measurement of this server in the files")]
    Nothing,
    #[error("the results are of different machines, {0} and {1}: constants are of one")]
    Machines(String, String),
    #[error("the committed costs cannot be read: {0}")]
    Costs(#[from] toml::de::Error),
}

/// The file of costs that follows from these results.
///
/// # Errors
/// Where a file cannot be read, or holds nothing of this server.
pub(crate) fn fitted(paths: &[PathBuf]) -> Result<String, FitError> {
    let mut model = super::model::embedded()?;
    model.measured.clear();
    let mut origin: Option<Origin> = None;
    for path in paths {
        let (of_file, points) = read(path)?;
        model.measured.extend(points);
        origin = Some(match origin {
            None => of_file,
            Some(so_far) => joined(so_far, of_file)?,
        });
    }
    model.origin = origin
        .filter(|_| !model.measured.is_empty())
        .ok_or(FitError::Nothing)?;
    fit(&mut model);
    Ok(written(&model))
}

fn joined(mut one: Origin, other: Origin) -> Result<Origin, FitError> {
    if one.machine != other.machine {
        return Err(FitError::Machines(one.machine, other.machine));
    }
    one.date = one.date.max(other.date);
    one.commands.extend(other.commands);
    Ok(one)
}

fn fit(model: &mut Model) {
    let cpu = model
        .measured
        .iter()
        .map(|point| (point.work(), point.cpu_percent * 1e4))
        .collect::<Vec<_>>();
    model.cpu = Cpu::from_constants(least_squares(model.cpu.constants(), &cpu));
    let memory = model
        .measured
        .iter()
        .filter_map(|point| Some((point.kept(), point.memory_mib? * 1_024.0)))
        .collect::<Vec<_>>();
    model.memory = Memory::from_constants(least_squares(model.memory.constants(), &memory));
}

/// Coordinate descent. Each constant is looked for as a multiple of its last value.
fn least_squares<const N: usize>(last: [f64; N], rows: &[([f64; N], f64)]) -> [f64; N] {
    let rows: Vec<[f64; N]> = rows
        .iter()
        .map(|(times, measured)| {
            let mut row = *times;
            for (share, constant) in row.iter_mut().zip(last) {
                *share *= constant / measured;
            }
            row
        })
        .collect();
    let mut factors = [1.0; N];
    for step in 0..ROUNDS * N {
        let at = step % N;
        let (mut upper, mut lower) = (SPRING, SPRING);
        for row in &rows {
            let said: f64 = row.iter().zip(&factors).map(|(a, b)| a * b).sum();
            let (Some(share), Some(factor)) = (row.get(at), factors.get(at)) else {
                continue;
            };
            upper += share * (1.0 - said + share * factor);
            lower += share * share;
        }
        if let Some(factor) = factors.get_mut(at) {
            *factor = (upper / lower).max(FACTOR_MIN);
        }
    }
    let mut constants = last;
    for (constant, factor) in constants.iter_mut().zip(factors) {
        *constant *= factor;
    }
    constants
}

fn written(model: &Model) -> String {
    let Model {
        origin,
        cpu,
        memory,
        measured,
    } = model;
    let mut text = format!(
        "# Written by `madang fit-costs` from the result files of the load generator: docs/operations.md says how.\n\n\
         [origin]\nmachine = {:?}\ndate = {:?}\ncommands = {:?}\n\n\
         [cpu]\nidle_worker_us = {:.0}\nwake_us = {:.1}\npeer_us = {:.1}\nreceiver_us = {:.1}\nburst_us = {:.3}\n\
         packet_out_us = {:.3}\npacket_in_us = {:.3}\njoin_us = {:.0}\n\n\
         [memory]\nprocess_kib = {:.0}\npeer_kib = {:.1}\nslot_kib = {:.2}\nstored_kib = {:.3}\n",
        origin.machine,
        origin.date,
        origin.commands,
        cpu.idle_worker_us,
        cpu.wake_us,
        cpu.peer_us,
        cpu.receiver_us,
        cpu.burst_us,
        cpu.packet_out_us,
        cpu.packet_in_us,
        cpu.join_us,
        memory.process_kib,
        memory.peer_kib,
        memory.slot_kib,
        memory.stored_kib,
    );
    for point in measured {
        text += &written_point(point);
    }
    text
}

fn written_point(point: &Point) -> String {
    let Call {
        rooms,
        publishers,
        viewers,
        video_kbps,
        audio,
        visible,
        audible,
        slots,
    } = &point.call;
    let memory = point
        .memory_mib
        .map_or_else(String::new, |mib| format!("memory_mib = {mib:.1}\n"));
    format!(
        "\n[[measured]]\nscenario = {:?}\ntitle = {:?}\nsource = {:?}\nworkers = {}\n\
         joins_per_second = {:.1}\npackets_in = {:.0}\npackets_out = {:.0}\ncpu_percent = {:.2}\n{memory}\
         call = {{ rooms = {rooms}, publishers = {publishers}, viewers = {viewers}, video_kbps = {video_kbps:?}, \
         audio = {audio}, visible = {visible}, audible = {audible}, slots = {slots} }}\n",
        point.scenario,
        point.title,
        point.source,
        point.workers,
        point.joins_per_second,
        point.packets_in,
        point.packets_out,
        point.cpu_percent,
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::model::ERROR_MAX;
    use super::*;

    /// A folder as `load-tests` is one, with a result of two scenarios.
    fn results() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            path
        };
        write(
            "scenarios/pair.toml",
            "title = '1 → 2'\npublishers = 1\nviewers = 2\nvideo_kbps = [1000]\nfps = 30",
        );
        write(
            "scenarios/silent.toml",
            "title = 'silent'\npublishers = 0\nviewers = 5\nrooms = 10\naudio_slots = 3\nmeasure_joins = true",
        );
        let run = |scenario: &str, peer: &str, cpu: f64| {
            format!(
                r#"{{"scenario": "{scenario}", "title": "", "peer": "{peer}", "round": 1, "measured": {{"seconds": 10.0,
                "sent": 1240, "received": 2480, "loss": 0.0, "server": {{"cpu_percent": {cpu}, "memory_mib": 15.0}}}}}}"#
            )
        };
        let runs = [
            run("pair", "madang", 2.0),
            run("pair", "madang", 9.0),
            run("pair", "madang", 3.0),
            run("pair", "janus", 50.0),
            run("silent", "madang", 4.0),
            r#"{"scenario": "pair", "peer": "madang", "not_run": "why"}"#.to_owned(),
        ];
        let file = format!(
            r#"{{"machine": {{"processor": "A", "cores": 2, "system": "B"}}, "date": "today", "command": "run \"x\"",
            "settings": {{"server_workers": 1}}, "runs": [{}]}}"#,
            runs.join(",")
        );
        let path = write("results/today.json", &file);
        (folder, path)
    }

    #[test]
    fn what_is_written_can_be_read_and_holds_the_medians_of_this_server() {
        let (_folder, path) = results();
        let model: Model = toml::from_str(&fitted(&[path]).unwrap()).unwrap();
        assert_eq!(model.origin.machine, "A, 2 cores, B");
        assert_eq!(model.origin.commands, ["run \"x\""]);
        let [pair, silent] = &model.measured[..] else {
            panic!("{:?}", model.measured);
        };
        assert!((pair.cpu_percent - 3.0).abs() < 1e-9);
        assert_eq!((pair.title.as_str(), pair.call.slots), ("1 → 2", 1));
        assert!((pair.packets_out - 248.0).abs() < 1e-9);
        assert_eq!((silent.call.rooms, silent.call.slots), (5, 3));
        assert!((silent.joins_per_second - 5.0).abs() < 1e-9);
        assert_eq!(silent.memory_mib, None);
    }

    #[test]
    fn every_committed_result_of_the_same_machine_is_within_the_model_s_error() {
        let model = super::super::model::embedded().unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../load-tests/results");
        // The folder is not in git before the first result is.
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            let (origin, points) = read(&path).unwrap();
            for point in points {
                let error = model.cpu_error(&point);
                assert!(
                    origin.machine != model.origin.machine || error.abs() < ERROR_MAX,
                    "{}: {}: {error:+.2}: `madang fit-costs` makes new constants, docs/operations.md says how",
                    path.display(),
                    point.scenario
                );
            }
        }
    }

    #[test]
    fn results_of_two_machines_are_not_mixed() {
        let (_folder, path) = results();
        let text = std::fs::read_to_string(&path).unwrap();
        let other = path.with_file_name("other.json");
        std::fs::write(&other, text.replace("\"A\"", "\"Z\"")).unwrap();
        let error = fitted(&[path, other]).unwrap_err().to_string();
        assert!(error.contains("A, 2 cores, B and Z, 2 cores, B"), "{error}");
    }

    #[test]
    fn constants_that_made_the_measurements_are_found_again() {
        let truth = [2.0, 30.0, 500.0];
        let rows: Vec<_> = [
            [1.0, 0.0, 0.0],
            [10.0, 1.0, 0.0],
            [5.0, 5.0, 1.0],
            [9.0, 0.0, 2.0],
        ]
        .into_iter()
        .map(|times| {
            let measured = times
                .iter()
                .zip(truth)
                .map(|(a, b): (&f64, f64)| a * b)
                .sum();
            (times, measured)
        })
        .collect();
        let found = least_squares([1.8, 33.0, 450.0], &rows);
        for (found, truth) in found.iter().zip(truth) {
            assert!(
                (found / truth - 1.0_f64).abs() < 0.02,
                "{found} for {truth}"
            );
        }
    }

    #[test]
    fn what_no_measurement_speaks_of_stays_and_nothing_falls_to_zero() {
        let rows = [([1.0, 0.0], 0.000_1), ([2.0, 0.0], 0.000_1)];
        let [some, other] = least_squares([1.0, 7.0], &rows);
        assert!(some > 0.0 && some < 0.02, "{some}");
        assert!((other - 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = fitted(&["gone.json".into()]).unwrap_err().to_string();
        assert!(error.starts_with("gone.json: "), "{error}");
    }
}
