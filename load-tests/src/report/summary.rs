//! Medians over the rounds of one result file, and ratios.

use crate::result::{LinkUse, Measured, Outcome, ResultFile, Run, ServerUse};

/// Peers whose name begins so are ours, and no yardstick for ourselves.
const OWN: &str = "madang";
/// Which floor has the rhythm of which scenario.
const FLOORS: [(&str, &str); 7] = [
    ("broadcast-50", "1 → 50"),
    ("broadcast-200", "1 → 200"),
    ("broadcast-200-h264", "1 → 200"),
    ("whip-whep-200", "1 → 200"),
    ("room-5x5", "one room of 5 × 5"),
    ("rooms-4x5x5", "four rooms of 5 × 5"),
    ("audio-10x100", "audio, 10 → 100"),
];
/// The floor that a server cannot be below.
const FLOOR: &str = "seal and GSO";

/// All rows of a file, scenario by scenario in the order of their first run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) scenarios: Vec<ScenarioSummary>,
}

#[derive(Debug)]
pub(super) struct ScenarioSummary {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) rows: Vec<Row>,
    /// µs for each packet: sealing and sending in this scenario's rhythm.
    pub(super) floor_us: Option<f64>,
}

/// A scenario with a server, over all rounds.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) peer: String,
    pub(super) measured: Vec<Measured>,
    /// Why some rounds were not run.
    pub(super) not_run: Option<String>,
}

impl Summary {
    pub(super) fn of(file: &ResultFile) -> Self {
        let mut summary = Self::default();
        for run in &file.runs {
            summary.scenario(run, file).row(&run.peer).add(run);
        }
        summary
    }

    fn scenario(&mut self, run: &Run, file: &ResultFile) -> &mut ScenarioSummary {
        let known = self.scenarios.iter().position(|of| of.name == run.scenario);
        let position = known.unwrap_or(self.scenarios.len());
        if known.is_none() {
            self.scenarios.push(ScenarioSummary {
                name: run.scenario.clone(),
                title: run.title.clone(),
                rows: Vec::new(),
                floor_us: floor_us(&run.scenario, file),
            });
        }
        // The position is of an element that was found or has just been added.
        #[expect(clippy::indexing_slicing, reason = "see above")]
        &mut self.scenarios[position]
    }
}

impl ScenarioSummary {
    fn row(&mut self, peer: &str) -> &mut Row {
        let known = self.rows.iter().position(|of| of.peer == peer);
        let position = known.unwrap_or(self.rows.len());
        if known.is_none() {
            self.rows.push(Row {
                peer: peer.to_owned(),
                measured: Vec::new(),
                not_run: None,
            });
        }
        #[expect(clippy::indexing_slicing, reason = "found, or just added")]
        &mut self.rows[position]
    }

    /// The widths of the viewers' links in kbit/s, where they are narrow.
    pub(super) fn link_widths(&self) -> Vec<u32> {
        let measured = self.rows.iter().flat_map(|row| &row.measured);
        let mut widths: Vec<_> = measured
            .flat_map(|measured| &measured.links)
            .map(|link| link.kbps)
            .collect();
        widths.sort_unstable();
        widths.dedup();
        widths
    }

    /// Cost of a packet with the best server that is not ours.
    pub(super) fn best_other_us(&self) -> Option<f64> {
        let others = self.rows.iter().filter(|row| !row.peer.starts_with(OWN));
        others
            .filter_map(Row::packet_us)
            .min_by(|a, b| a.total_cmp(b))
    }
}

impl Row {
    fn add(&mut self, run: &Run) {
        match &run.outcome {
            Outcome::Measured(measured) => self.measured.push((**measured).clone()),
            Outcome::NotRun(why) => self.not_run = Some(why.clone()),
        }
    }

    /// The median of what `of` takes from each round.
    pub(super) fn median(&self, of: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        median(self.measured.iter().filter_map(of).collect())
    }

    pub(super) fn server(&self, of: impl Fn(&ServerUse) -> Option<f64>) -> Option<f64> {
        self.median(|measured| of(measured.server.as_ref()?))
    }

    /// The median of what `of` takes from each round, of viewers with such a link.
    pub(super) fn link(&self, kbps: u32, of: impl Fn(&LinkUse) -> Option<f64>) -> Option<f64> {
        self.median(|measured| {
            let link = measured.links.iter().find(|link| link.kbps == kbps)?;
            of(link)
        })
    }

    /// What came of each layer behind such a link.
    pub(super) fn layers(&self, kbps: u32) -> String {
        let layer = |number: usize| self.link(kbps, |link| link.layer_kbps.get(number).copied());
        let layers: Vec<_> = (0..).map_while(layer).collect();
        let layers: Vec<_> = layers.iter().map(|kbps| format!("{kbps:.0}")).collect();
        layers.join(" + ")
    }

    /// µs of the server's time for each packet that was received.
    pub(super) fn packet_us(&self) -> Option<f64> {
        self.server(|server| server.cpu_us_per_packet)
    }

    /// The least and the most of the rounds.
    pub(super) fn packet_us_range(&self) -> Option<(f64, f64)> {
        let rounds = self.measured.iter();
        let mut all: Vec<_> = rounds
            .filter_map(|measured| measured.server.as_ref()?.cpu_us_per_packet)
            .collect();
        all.sort_by(f64::total_cmp);
        Some((*all.first()?, *all.last()?))
    }

    /// The worst of the rounds.
    pub(super) fn loss(&self) -> Option<f64> {
        let all = self.measured.iter().map(|measured| measured.loss);
        all.max_by(|a, b| a.total_cmp(b))
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values
        .get(middle - 1)
        .map(|lower| f64::midpoint(*lower, upper))
}

fn floor_us(scenario: &str, file: &ResultFile) -> Option<f64> {
    let (_, pattern) = FLOORS.iter().find(|(name, _)| *name == scenario)?;
    let mut floors = file.floors.iter();
    floors
        .find(|floor| floor.pattern == *pattern && floor.what == FLOOR)
        .map(|floor| floor.ns_per_packet / 1_000.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::floors::Floor;
    use crate::result::Settings;

    /// A file of two rounds with one server that ran and one that did not.
    pub(in crate::report) fn file() -> ResultFile {
        let mut file = ResultFile::new(Settings {
            server_cpus: vec![0],
            client_cpus: vec![1],
            server_workers: 1,
            client_threads: 1,
            gro: true,
        });
        let run = |peer: &str, round, outcome| Run {
            scenario: "broadcast-50".to_owned(),
            title: "1 → 50 viewers".to_owned(),
            peer: peer.to_owned(),
            round,
            outcome,
        };
        for (round, us) in [(1, 6.0), (2, 8.0)] {
            file.runs.push(run("madang", round, measured(us)));
            file.runs.push(run("janus", round, measured(us * 5.0)));
            let why = "not <installed>".to_owned();
            file.runs
                .push(run("mediasoup", round, Outcome::NotRun(why)));
        }
        file.floors.push(Floor {
            pattern: "1 → 50".to_owned(),
            what: FLOOR.to_owned(),
            ns_per_packet: 3_500.0,
            packets: 1,
        });
        file
    }

    fn measured(us: f64) -> Outcome {
        let server = ServerUse {
            cpu_percent: 50.0,
            cpu_us_per_packet: Some(us),
            user_share: 0.5,
            memory_mib: 20.0,
            memory_kib_per_participant: 300.0,
            cpu_ms_per_join: None,
            threads: Vec::new(),
        };
        Outcome::Measured(Box::new(Measured {
            participants: 51,
            connections: 51,
            broken: 0,
            incomplete: 0,
            turned_away: 0,
            reasons: Vec::new(),
            seconds: 10.0,
            sent: 1_000,
            expected: Some(50_000),
            received: 50_000,
            missing: 0,
            loss: 0.0,
            delay_ms: None,
            connect_ms: None,
            first_media_ms: None,
            datagrams_received: 60_000,
            links: Vec::new(),
            server: Some(server),
            client_cpu_percent: 40.0,
            others_cpu_percent: 1.0,
        }))
    }

    #[test]
    fn rounds_become_medians_in_one_row_for_each_server() {
        let summary = Summary::of(&file());
        let scenario = &summary.scenarios[0];
        let names: Vec<_> = scenario.rows.iter().map(|row| row.peer.as_str()).collect();
        assert_eq!(names, ["madang", "janus", "mediasoup"]);
        assert_eq!(scenario.rows[0].packet_us(), Some(7.0));
        assert_eq!(scenario.rows[0].packet_us_range(), Some((6.0, 8.0)));
        assert_eq!(scenario.best_other_us(), Some(35.0));
        assert_eq!(scenario.floor_us, Some(3.5));
        assert_eq!(scenario.rows[2].packet_us(), None);
        assert!(scenario.rows[2].not_run.is_some());
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
