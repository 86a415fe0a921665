//! Measures a server over loopback UDP: `measure PROGRAM PUBLISHERS VIEWERS [SERVER_CPU CLIENT_CPU]`.
//!
//! Starts the server, lets `PUBLISHERS` participants with camera and microphone and `VIEWERS` without
//! into one room, and prints one line of JSON. Every participant sees and hears all publishers. Build
//! with `--release`; docs/performance.md has the commands and what the numbers mean.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program for the command line that ends at the first surprise"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use madang_core::Source;
use serde_json::{Value, json};

use call::Call;

#[path = "../tests/it/call.rs"]
#[expect(dead_code, reason = "the tests ask for more")]
mod call;
#[path = "../tests/it/client.rs"]
#[expect(dead_code, reason = "the tests ask for more")]
mod client;

/// Longer than the server waits between two keyframe requests: a viewer may need a new one.
const BETWEEN_JOINS: Duration = Duration::from_millis(1_200);
/// From the last join until the estimates of the bandwidth allow the layer that is wanted.
const WARM_UP: Duration = Duration::from_secs(8);
const MEASURED: Duration = Duration::from_secs(10);
/// The counters of the metrics are published once a second.
const METRICS_INTERVAL: Duration = Duration::from_millis(1_100);
/// Unit of the times in /proc/PID/stat: USER_HZ, 100 on every Linux architecture in use.
const TICK: Duration = Duration::from_millis(10);

struct Server {
    process: Child,
    http: SocketAddr,
}

/// The server's counters at one moment.
struct Sample {
    at: Duration,
    cpu: Duration,
    packets: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |position: usize| arguments[position].parse::<usize>().unwrap();
    let (publishers, viewers) = (number(2), number(3));
    let cpus = arguments.get(4).zip(arguments.get(5));
    if let Some((_, client_cpu)) = cpus {
        let own = std::process::id().to_string();
        let pinned = Command::new("taskset")
            .args(["-pc", client_cpu, &own])
            .stdout(Stdio::null())
            .status();
        assert!(pinned.unwrap().success(), "taskset cannot pin this process");
    }
    let server = Server::start(&arguments[1], cpus.map(|(server_cpu, _)| server_cpu));
    println!("{}", measure(&server, publishers, viewers));
}

fn measure(server: &Server, publishers: usize, viewers: usize) -> Value {
    let empty = server.resident_bytes();
    let mut call = Call::new(server.http);
    call.rest = false;
    let (mut connects, mut joins) = (Vec::new(), Vec::new());
    for position in 0..publishers + viewers {
        run(&mut call, BETWEEN_JOINS);
        let client = call.join("measure");
        let joined_after = call.clients[client].joined_after;
        let connected = call.clients[client].browser.connected_at.unwrap();
        connects.push(connected - joined_after);
        if position > 0 {
            call.watch(client, 0, Source::Camera, 1);
            let first = call.shown(client, 0, Source::Camera).next().unwrap().at;
            joins.push(first - joined_after);
        }
        if position < publishers {
            call.publish(client, Source::Camera);
            call.publish(client, Source::Microphone);
            call.talk(client);
        }
    }
    run(&mut call, WARM_UP);
    let before = server.sample(&mut call);
    run(&mut call, MEASURED);
    let after = server.sample(&mut call);

    let participants = publishers + viewers;
    let (audio, video) = delays(&call, publishers, &before, &after);
    let packets = after.packets - before.packets;
    let cpu = after.cpu - before.cpu;
    let seconds = (after.at - before.at).as_secs_f64();
    json!({
        "publishers": publishers,
        "viewers": viewers,
        "connect_ms": percentiles(connects),
        "join_ms": percentiles(joins),
        "packet_delay_ms": percentiles(audio),
        "frame_delay_ms": percentiles(video),
        "packets_out_per_second": packets as f64 / seconds,
        "server_cpu_percent": cpu.as_secs_f64() / seconds * 100.0,
        "cpu_us_per_packet_out": cpu.as_secs_f64() * 1e6 / packets as f64,
        "memory_kib_per_participant": server.resident_bytes().saturating_sub(empty) / 1_024 / participants as u64,
        "complaints": call.complaints().len(),
    })
}

fn run(call: &mut Call, duration: Duration) {
    let end = call.now() + duration;
    call.until("the end of the measurement", |call| call.now() >= end);
}

/// From capture to the arrival of a microphone's packet, and of a camera's whole frame.
fn delays(
    call: &Call,
    publishers: usize,
    before: &Sample,
    after: &Sample,
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut audio, mut video) = (Vec::new(), Vec::new());
    let measured = before.at..after.at;
    for publisher in 0..publishers {
        for viewer in 0..call.clients.len() {
            let heard = call.heard(viewer, publisher);
            let heard = heard.filter(|packet| measured.contains(&packet.at));
            audio.extend(heard.map(|packet| packet.at - packet.tag.captured));
            let shown = call.shown(viewer, publisher, Source::Camera);
            let shown = shown.filter(|frame| measured.contains(&frame.at));
            video.extend(shown.map(|frame| frame.at - frame.tag.captured));
        }
    }
    (audio, video)
}

fn percentiles(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |percent: usize| {
        let position = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(position).map(|time| time.as_secs_f64() * 1_000.0)
    };
    json!({"p50": at(50), "p99": at(99), "count": times.len()})
}

impl Server {
    fn start(program: &str, cpu: Option<&String>) -> Self {
        let mut command = match cpu {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpu, program]);
                command
            }
            None => Command::new(program),
        };
        let mut process = command
            .args([
                "--listen=127.0.0.1:0",
                "--media-port=0",
                "--media-bind=127.0.0.1",
            ])
            .args(["--media-workers=1", "--log-format=json"])
            .args([
                "--limits-joins-burst-per-address=1000",
                "--limits-sessions-per-address=1000",
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut lines = log
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let listening: Value = lines
            .find(|line: &Value| line["message"] == "listening")
            .unwrap();
        // The rest of the log is read and dropped, so that the pipe never fills.
        std::thread::spawn(move || lines.for_each(drop));
        let http = listening["http"].as_str().unwrap().parse().unwrap();
        Self { process, http }
    }

    /// Lets the call go on until the counters are of now.
    fn sample(&self, call: &mut Call) -> Sample {
        run(call, METRICS_INTERVAL);
        let packets = self.counter("madang_rtp_packets_out_total");
        let (at, cpu) = (call.now(), self.cpu());
        Sample { at, cpu, packets }
    }

    fn counter(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let values = response.lines().filter(|line| line.starts_with(name));
        values
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// User and system time of all threads so far.
    fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name in parentheses is field 2; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields = fields.split_whitespace().skip(11).take(2);
        fields
            .map(|ticks| TICK * ticks.parse::<u32>().unwrap())
            .sum()
    }

    fn resident_bytes(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().split_whitespace().next().unwrap();
        kib.parse::<u64>().unwrap() * 1_024
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.process.id())).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
