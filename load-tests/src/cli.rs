//! The command line.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::adapter::http::Addresses;
use crate::compare::{Comparison, Peer, Servers};
use crate::process::pin;
use crate::result::{ResultFile, Settings};
use crate::scenario::Scenario;
use crate::{floors, print, report};

/// Calls of thousands of participants, against Madang and other servers.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays scenarios, with one server or with several in turn.
    #[command(visible_alias = "compare")]
    Run(Box<RunArguments>),
    /// Measures what the machine asks for a packet at the least.
    Floors(FloorArguments),
    /// Writes the published pages from result files.
    Report(ReportArguments),
}

#[derive(Debug, Args)]
struct RunArguments {
    /// Scenario files, or their names in the folder of scenarios.
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// Servers to run them with, in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "madang")]
    peer: Vec<Peer>,
    /// How often everything is run; a report takes medians.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Measure the floors, too, before the first round.
    #[arg(long)]
    floors: bool,
    /// The program of Madang.
    #[arg(long, default_value = "target/release/madang")]
    server: PathBuf,
    /// A further argument for Madang, such as --server-arg=--log-level=warn.
    #[arg(long)]
    server_arg: Vec<String>,
    /// Address of a Madang that runs already; its use of the machine is not measured.
    #[arg(long)]
    address: Option<SocketAddr>,
    /// Command that starts a server which takes offers by HTTP; none: it runs already.
    #[arg(long)]
    http_command: Option<String>,
    /// The name of that server in the results.
    #[arg(long, default_value = "http")]
    http_name: String,
    /// Where it takes the offers of publishers, such as http://127.0.0.1:9000/whip/{room}.
    #[arg(long, default_value = "")]
    http_publish: String,
    /// Where it takes the offers of viewers.
    #[arg(long, default_value = "")]
    http_watch: String,
    /// The folder of scenarios.
    #[arg(long, default_value = "load-tests/scenarios")]
    folder: PathBuf,
    /// Seconds to measure, instead of the scenario's.
    #[arg(long)]
    measure_s: Option<u64>,
    /// Repeat a run (a few times) during which others used more of the machine than this, in percent of one core.
    #[arg(long, default_value_t = f64::INFINITY)]
    others_max: f64,
    #[command(flatten)]
    machine: MachineArguments,
}

#[derive(Debug, Args)]
struct FloorArguments {
    /// Seconds for each rhythm and kind of sending.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    #[command(flatten)]
    machine: MachineArguments,
}

#[derive(Debug, Args)]
struct ReportArguments {
    /// The folder of result files.
    #[arg(default_value = "load-tests/results")]
    folder: PathBuf,
    /// The page of the book.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The page with plots.
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct MachineArguments {
    /// Cores of the server; none: not pinned.
    #[arg(long, value_delimiter = ',')]
    server_cpu: Vec<usize>,
    /// Cores of this program.
    #[arg(long, value_delimiter = ',')]
    client_cpu: Vec<usize>,
    /// Media workers of the server.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Threads of this program that serve peers.
    #[arg(long, default_value_t = 1)]
    client_threads: usize,
    /// Let the kernel hand out datagrams one by one, as it does to browsers.
    #[arg(long)]
    no_gro: bool,
    /// Write everything to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Run(arguments) => play(*arguments),
        Command::Floors(arguments) => measure_floors(&arguments),
        Command::Report(ReportArguments { folder, out, html }) => {
            Ok(report::write(&folder, out.as_deref(), html.as_deref())?)
        }
    }
}

fn play(arguments: RunArguments) -> Result<()> {
    let mut file = ResultFile::new(arguments.machine.settings());
    let mut scenarios = Vec::new();
    for name in &arguments.scenarios {
        let mut scenario = Scenario::read(&path_of(name, &arguments.folder))?;
        scenario.measure_s = arguments.measure_s.unwrap_or(scenario.measure_s);
        scenarios.push(scenario);
    }
    arguments.machine.prepare()?;
    if arguments.floors {
        let settings = &file.settings;
        file.floors = floors::measure(&settings.server_cpus, &settings.client_cpus, 2)?;
        print::floors(&file.floors);
    }
    let comparison = Comparison {
        scenarios,
        peers: arguments.peer,
        rounds: arguments.rounds,
        others_max_percent: arguments.others_max,
        servers: Servers {
            madang: arguments.server,
            arguments: arguments.server_arg,
            address: arguments.address,
            http_command: arguments.http_command,
            http_name: arguments.http_name,
            http_addresses: Addresses {
                publish: arguments.http_publish,
                watch: arguments.http_watch,
            },
        },
    };
    comparison.run(&mut file, |file| arguments.machine.write(file))?;
    Ok(())
}

fn measure_floors(arguments: &FloorArguments) -> Result<()> {
    let mut file = ResultFile::new(arguments.machine.settings());
    arguments.machine.prepare()?;
    let settings = &file.settings;
    file.floors = floors::measure(
        &settings.server_cpus,
        &settings.client_cpus,
        arguments.seconds,
    )?;
    print::floors(&file.floors);
    Ok(arguments.machine.write(&file)?)
}

/// A file, or the name of one in the folder.
fn path_of(name: &str, folder: &Path) -> PathBuf {
    if name.ends_with(".toml") {
        return name.into();
    }
    folder.join(format!("{name}.toml"))
}

impl MachineArguments {
    fn settings(&self) -> Settings {
        Settings {
            server_cpus: self.server_cpu.clone(),
            client_cpus: self.client_cpu.clone(),
            server_workers: self.workers,
            client_threads: self.client_threads,
            gro: !self.no_gro,
        }
    }

    /// Takes its cores, and as many files as the system lets it open: each peer has a socket or two.
    fn prepare(&self) -> Result<()> {
        rlimit::increase_nofile_limit(rlimit::INFINITY)?;
        if !self.client_cpu.is_empty() {
            pin(&self.client_cpu)?;
        }
        Ok(())
    }

    fn write(&self, file: &ResultFile) -> std::io::Result<()> {
        self.json.as_ref().map_or(Ok(()), |path| file.write(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_scenario_is_a_name_or_a_file() {
        let folder = Path::new("scenarios");
        assert_eq!(path_of("a", folder), Path::new("scenarios/a.toml"));
        assert_eq!(path_of("x/a.toml", folder), Path::new("x/a.toml"));
    }
}
