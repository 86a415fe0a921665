//! A running server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than anything here takes; what waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Madang {
    process: Child,
    log: Box<dyn BufRead + Send>,
    pub(crate) http: SocketAddr,
    pub(crate) udp: u16,
    /// Of the metrics, where they have an address of their own.
    pub(crate) metrics: Option<SocketAddr>,
}

/// The binary with nothing of this machine's configuration.
pub(crate) fn madang(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_madang"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MADANG_"))
    {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    madang(arguments).output().unwrap()
}

impl Madang {
    /// Starts a server on free ports of the loopback address.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    /// Starts a server on this address.
    pub(crate) fn start_at(listen: &str, arguments: &[&str]) -> Self {
        let mut process = madang(&[
            &format!("--listen={listen}"),
            "--media-port=0",
            "--media-bind=127.0.0.1",
            "--log-format=json",
        ])
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let log = Box::new(BufReader::new(process.stderr.take().unwrap()));
        let mut server = Self {
            process,
            log,
            http: SocketAddr::from(([0; 4], 0)),
            udp: 0,
            metrics: None,
        };
        let listening = server.wait_for_line("listening");
        server.http = listening["http"].as_str().unwrap().parse().unwrap();
        server.metrics = listening["metrics"]
            .as_str()
            .map(|text| text.parse().unwrap());
        server.udp = listening["udp"].as_u64().unwrap().try_into().unwrap();
        server
    }

    /// Reads the log up to a message.
    pub(crate) fn wait_for_line(&mut self, message: &str) -> serde_json::Value {
        let mut before = String::new();
        loop {
            let mut text = String::new();
            self.log.read_line(&mut text).unwrap();
            assert!(
                !text.is_empty(),
                "the server ended before it logged '{message}':\n{before}"
            );
            let line: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            if line["message"] == message {
                return line;
            }
            before.push_str(&text);
        }
    }

    /// What is logged from now on, up to the end of the process.
    pub(crate) fn rest_of_log(&mut self) -> JoinHandle<String> {
        let mut log = std::mem::replace(&mut self.log, Box::new(std::io::empty()));
        // A process that waits for its log to be read would never end.
        std::thread::spawn(move || {
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            text
        })
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = self.connect();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.http
        )
        .unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        let response = String::from_utf8_lossy(&response);
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// A metric of each worker, by its number.
    pub(crate) fn metric(&self, name: &str) -> Vec<u64> {
        let (_, metrics) = self.get("/metrics");
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        let mut values: Vec<(&str, u64)> = lines
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(labels, value)| (labels, value.parse().unwrap()))
            .collect();
        values.sort_unstable();
        values.into_iter().map(|(_, value)| value).collect()
    }

    /// The sum of a metric over all workers.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.metric(name).into_iter().sum()
    }

    /// A WebSocket that stays open until it is dropped.
    pub(crate) fn open_websocket(&self) -> TcpStream {
        let (stream, status) = self.ask_for_websocket("");
        assert_eq!(status, "101");
        stream
    }

    /// Asks for one with these further headers: the connection, and the status of the answer.
    pub(crate) fn ask_for_websocket(&self, headers: &str) -> (TcpStream, String) {
        let mut stream = self.connect();
        write!(
            stream,
            "GET /v1/rtc HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: madang.v1\r\n{headers}\r\n",
            self.http
        )
        .unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        let status = String::from_utf8_lossy(&head[9..]).into_owned();
        (stream, status)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        // A process that waits for its log to be read would never end.
        std::io::copy(&mut self.log, &mut std::io::sink()).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Madang {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
