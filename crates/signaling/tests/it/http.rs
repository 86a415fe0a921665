//! HTTP requests as their bytes, so that nothing of a response is hidden.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything may take that should come at once.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter();
        let found = found.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    /// The body of an error, which says what is wrong.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{self:?}");
        problem
    }
}

/// Sends a request on a connection of its own. `head` is the request's first line without the version, and its further
/// headers, one a line.
pub(crate) async fn request(server: SocketAddr, head: &str, body: &str) -> Response {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
    let headers: String = headers
        .lines()
        .map(|line| format!("{}\r\n", line.trim()))
        .collect();
    let length = body.len();
    let text = format!(
        "{first} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    // A server that refuses what is too large does not read it to the end.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut response = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut response));
    let _ = read.await.unwrap();
    let response = String::from_utf8(response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Response {
        status: status.parse().unwrap(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// A response that is read while it goes on.
pub(crate) struct Stream {
    stream: TcpStream,
    read: String,
}

impl Stream {
    pub(crate) async fn get(server: SocketAddr, path: &str) -> Self {
        let text = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n");
        Self::send(server, &text).await
    }

    /// Sends these bytes as they are, which need not be a whole request.
    pub(crate) async fn send(server: SocketAddr, text: &str) -> Self {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let read = String::new();
        Self { stream, read }
    }

    /// Sends more.
    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// The rest of the line that is being read.
    pub(crate) async fn line(&mut self) -> String {
        loop {
            if let Some((line, after)) = self.read.split_once('\n') {
                let line = line.to_owned();
                self.read = after.to_owned();
                return line;
            }
            assert!(
                self.read_more().await,
                "the stream has ended: {}",
                self.read
            );
        }
    }

    /// Reads until this text has come; what came before it is gone. False where the stream ended first.
    pub(crate) async fn until(&mut self, wanted: &str) -> bool {
        loop {
            if let Some((_, rest)) = self.read.split_once(wanted) {
                self.read = rest.to_owned();
                return true;
            }
            if !self.read_more().await {
                return false;
            }
        }
    }

    /// False where the stream has ended.
    async fn read_more(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut bytes));
        let count = read.await.unwrap().unwrap();
        let bytes = bytes.iter().take(count).copied().collect();
        self.read.push_str(&String::from_utf8(bytes).unwrap());
        count > 0
    }
}
