//! Many WebSockets, served by one thread.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, Message, WebSocket, client};

use super::AdapterError;

const EVENTS_MAX: usize = 1_024;
/// A server that doesn't let a connection in for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The name of a WebSocket.
pub(crate) type SocketKey = usize;

pub(crate) struct WebSockets {
    poll: Poll,
    events: Events,
    sockets: Vec<Option<WebSocket<TcpStream>>>,
    /// Those that have more to write than the kernel took.
    unsent: Vec<SocketKey>,
}

impl std::fmt::Debug for WebSockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSockets").finish_non_exhaustive()
    }
}

impl WebSockets {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            sockets: Vec::new(),
            unsent: Vec::new(),
        })
    }

    pub(crate) fn open(
        &mut self,
        server: SocketAddr,
        path: &str,
        protocol: &'static str,
    ) -> Result<SocketKey, AdapterError> {
        let stream = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{server}{path}").into_client_request()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
        let (socket, _) =
            client(request, stream).map_err(|error| AdapterError::Refused(error.to_string()))?;
        let key = self.sockets.len();
        socket.get_ref().set_nonblocking(true)?;
        self.poll.registry().register(
            &mut SourceFd(&socket.get_ref().as_raw_fd()),
            Token(key),
            Interest::READABLE,
        )?;
        self.sockets.push(Some(socket));
        Ok(key)
    }

    pub(crate) fn send(&mut self, key: SocketKey, text: String) -> Result<(), AdapterError> {
        let Some(Some(socket)) = self.sockets.get_mut(key) else {
            return Err(AdapterError::Refused("the WebSocket is closed".to_owned()));
        };
        match socket.send(Message::text(text)) {
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                self.unsent.push(key);
                Ok(())
            }
            other => Ok(other?),
        }
    }

    pub(crate) fn close(&mut self, key: SocketKey) {
        if let Some(Some(mut socket)) = self.sockets.get_mut(key).map(Option::take) {
            // The kernel takes it off the poll when the socket is closed.
            let _ = socket.close(None);
            let _ = socket.flush();
        }
    }

    /// Waits until something comes, at most until then, and returns the texts that came.
    pub(crate) fn receive(
        &mut self,
        until: Instant,
    ) -> Result<Vec<(SocketKey, String)>, AdapterError> {
        for key in std::mem::take(&mut self.unsent) {
            if let Some(Some(socket)) = self.sockets.get_mut(key)
                && let Err(Error::Io(error)) = socket.flush()
                && error.kind() == ErrorKind::WouldBlock
            {
                self.unsent.push(key);
            }
        }
        let wait = until.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let ready: Vec<_> = self.events.iter().map(|event| event.token().0).collect();
        let mut texts = Vec::new();
        for key in ready {
            self.read(key, &mut texts);
        }
        Ok(texts)
    }

    fn read(&mut self, key: SocketKey, texts: &mut Vec<(SocketKey, String)>) {
        let Some(slot) = self.sockets.get_mut(key) else {
            return;
        };
        while let Some(socket) = slot {
            match socket.read() {
                Ok(Message::Text(text)) => texts.push((key, text.to_string())),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => *slot = None,
            }
        }
    }
}
