//! What was measured, as the files in `load-tests/results/` hold it.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::floors::Floor;
use crate::media::delay::Percentiles;

/// One call of the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ResultFile {
    pub(crate) machine: Machine,
    pub(crate) date: String,
    /// `git describe` of the working tree.
    pub(crate) revision: String,
    pub(crate) command: String,
    pub(crate) settings: Settings,
    #[serde(default)]
    pub(crate) runs: Vec<Run>,
    #[serde(default)]
    pub(crate) floors: Vec<Floor>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) system: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// None: not pinned.
    pub(crate) server_cpus: Vec<usize>,
    pub(crate) client_cpus: Vec<usize>,
    pub(crate) server_workers: usize,
    pub(crate) client_threads: usize,
    /// Whether receivers let the kernel hand them runs of datagrams.
    pub(crate) gro: bool,
}

/// A scenario with a server, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) title: String,
    pub(crate) peer: String,
    pub(crate) round: usize,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Measured(Box<Measured>),
    /// Why there is no measurement.
    NotRun(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) participants: usize,
    /// Connections for media; some servers need two for one participant.
    pub(crate) connections: usize,
    /// Connections that were broken, and those that did not get all that they were to receive.
    pub(crate) broken: usize,
    pub(crate) incomplete: usize,
    /// Viewers who were not let in, and sessions that the server ended by itself: what it said, each once.
    pub(crate) turned_away: usize,
    pub(crate) reasons: Vec<String>,
    pub(crate) seconds: f64,
    /// Packets sent by publishers; what viewers were to receive of them, where that is known; what they received.
    pub(crate) sent: u64,
    pub(crate) expected: Option<u64>,
    pub(crate) received: u64,
    /// Holes in the sequence numbers of received streams, since they began.
    pub(crate) missing: u64,
    /// Share of `expected` that never came, or of the sequence numbers where that is not known.
    pub(crate) loss: f64,
    pub(crate) delay_ms: Option<Percentiles>,
    pub(crate) connect_ms: Option<Percentiles>,
    pub(crate) first_media_ms: Option<Percentiles>,
    pub(crate) datagrams_received: u64,
    /// Viewers behind narrow links, one entry for each width.
    #[serde(default)]
    pub(crate) links: Vec<LinkUse>,
    pub(crate) server: Option<ServerUse>,
    pub(crate) client_cpu_percent: f64,
    /// What others did on the machine at the same time, in percent of one core.
    pub(crate) others_cpu_percent: f64,
}

/// What viewers behind links of one width received; rates are means over the viewers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkUse {
    pub(crate) kbps: u32,
    pub(crate) viewers: usize,
    /// What passed the link, with all headers.
    pub(crate) received_kbps: f64,
    /// Share of the datagrams that came to the link and found its queue full.
    pub(crate) dropped: f64,
    /// From the writing of a packet to the far end of the link.
    pub(crate) delay_ms: Option<Percentiles>,
    /// Payloads of video by layer, the smallest first; all publishers together.
    pub(crate) layer_kbps: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerUse {
    /// Of one core, all threads together.
    pub(crate) cpu_percent: f64,
    /// For each packet that viewers received.
    pub(crate) cpu_us_per_packet: Option<f64>,
    /// Share of its time in user mode.
    pub(crate) user_share: f64,
    pub(crate) memory_mib: f64,
    /// Growth since before the first participant.
    pub(crate) memory_kib_per_participant: f64,
    /// Of the whole span of the joins; only where nobody publishes.
    pub(crate) cpu_ms_per_join: Option<f64>,
    /// The busiest threads, in percent of one core.
    pub(crate) threads: Vec<ThreadUse>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ThreadUse {
    pub(crate) name: String,
    pub(crate) cpu_percent: f64,
}

impl ResultFile {
    pub(crate) fn new(settings: Settings) -> Self {
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        Self {
            machine: Machine::this(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            revision: revision(),
            command: format!("madang-load {}", arguments.join(" ")),
            settings,
            runs: Vec::new(),
            floors: Vec::new(),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n")
    }
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu_info = read("/proc/cpuinfo");
        let field = |text: &str, name: &str, separator: char| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(separator))
                .map(|(_, value)| value.trim().trim_matches('"').to_owned())
                .unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal", ':');
        let kib = memory.split(' ').next().and_then(|text| text.parse().ok());
        Self {
            processor: field(&cpu_info, "model name", ':'),
            cores: cpu_info
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            memory_gib: (kib.unwrap_or(0.0_f64) / 1_048_576.0).round(),
            kernel: kernel(&read("/proc/sys/kernel/osrelease")),
            system: field(&read("/etc/os-release"), "PRETTY_NAME", '='),
        }
    }
}

/// The version, without what a builder has appended.
fn kernel(release: &str) -> String {
    release
        .trim()
        .split('-')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn revision() -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_what_was_written() {
        let mut file = ResultFile::new(Settings {
            server_cpus: vec![0],
            client_cpus: vec![1],
            server_workers: 1,
            client_threads: 1,
            gro: true,
        });
        file.runs.push(Run {
            scenario: "a".to_owned(),
            title: "A".to_owned(),
            peer: "janus".to_owned(),
            round: 1,
            outcome: Outcome::NotRun("not installed".to_owned()),
        });
        let text = serde_json::to_string(&file).unwrap();
        assert!(text.contains(r#""not_run":"not installed""#), "{text}");
        assert_eq!(serde_json::from_str::<ResultFile>(&text).unwrap(), file);
    }

    #[test]
    fn a_kernel_has_its_version_only() {
        assert_eq!(kernel("6.1.0-18-amd64\n"), "6.1.0");
    }
}
