//! HTTP: the routes for operators, and the loop that serves connections within their limits.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, sleep};
use tower_service::Service;

use crate::telemetry::metrics::Metrics;

/// What `accept` may fail with for long, such as having no file descriptors left, is tried again after this pause.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The health of the process, for whoever restarts it (`/livez`) and whoever sends clients to it (`/readyz`).
/// A node that only drains is alive and not ready.
pub(crate) fn health(
    alive: impl Fn() -> bool + Clone + Send + Sync + 'static,
    ready: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Router {
    let live = move || async move { verdict(alive(), "a media worker has ended or is stuck") };
    let ready = move || async move {
        verdict(
            ready(),
            "no new sessions are taken: the server is stopping, or a media worker has ended",
        )
    };
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
}

/// `GET /metrics`.
pub(crate) fn metrics(metrics: Metrics) -> Router {
    let text = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Router::new().route(
        "/metrics",
        get(move || async move { (text, metrics.render()) }),
    )
}

fn verdict(good: bool, reason: &str) -> impl IntoResponse + use<> {
    if good {
        (StatusCode::OK, Json(json!({"status": "ok"})))
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "unavailable", "reason": reason})),
        )
    }
}

/// How far the connections of a server may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerLimits {
    /// Connections at one time, WebSockets included. Further ones wait in the kernel's queue.
    pub(crate) connections: usize,
    /// How long the head of a request may take; also how long an idle connection is kept.
    pub(crate) header_timeout: Duration,
    /// How long a client may take nothing of what is written to it.
    pub(crate) write_timeout: Duration,
}

/// Serves HTTP/1.1 on one address.
#[derive(Debug)]
pub(crate) struct Server {
    listener: TcpListener,
    limits: ServerLimits,
    places: Arc<Semaphore>,
    /// Dropped to tell all connections to end after their current request.
    running: watch::Sender<()>,
}

impl Server {
    pub(crate) fn new(listener: TcpListener, limits: ServerLimits) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections));
        Self {
            listener,
            limits,
            places,
            running: watch::Sender::new(()),
        }
    }

    /// The bound address; it names the port where any was asked for.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts connections for as long as it is polled.
    pub(crate) async fn serve(&self, router: &Router) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    let connection = Connection::new(stream, place, self.limits.write_timeout);
                    self.spawn(connection, client, router.clone());
                }
                Err(error) if is_client_fault(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts nothing more, lets the requests end that are under way, and waits until
    /// all connections are closed, WebSockets too.
    pub(crate) async fn shutdown(self) {
        drop(self.listener);
        drop(self.running);
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        // An error would mean that the semaphore is closed, which nobody does.
        let _ = self.places.acquire_many(all).await;
    }

    fn spawn(&self, connection: Connection, client: SocketAddr, router: Router) {
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request: Request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(client));
            router.clone().call(request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .serve_connection(connection, service)
            .with_upgrades();
        let mut running = self.running.subscribe();
        tokio::spawn(async move {
            let mut served = pin!(served);
            let outcome = tokio::select! {
                outcome = &mut served => outcome,
                _ = running.changed() => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            // Clients that vanish in the middle of a request are their own affair.
            if let Err(error) = outcome {
                tracing::debug!(%client, %error, "HTTP connection ended");
            }
        });
    }
}

/// Failures of one connection that was given up before it was accepted.
fn is_client_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// A connection that keeps its place among the allowed ones until it is closed, be it as a WebSocket. A client that does
/// not read what it asked for is cut off, and does not keep its place for ever.
struct Connection {
    io: TokioIo<TcpStream>,
    write_timeout: Duration,
    /// Runs while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, write_timeout: Duration) -> Self {
        // Signalling is short messages that must not wait for each other. Where this fails, the connection is dead.
        let _ = stream.set_nodelay(true);
        Self {
            io: TokioIo::new(stream),
            write_timeout,
            stalled: None,
            _place: place,
        }
    }

    /// Passes on how an attempt to write has ended, unless attempts have come to nothing for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.in_time(cx, written)
    }
}
