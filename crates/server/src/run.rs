//! The life of a server: start, run, stop.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use madang_driver::{Driver, DriverError};
use madang_signaling::Hub;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};
use tracing::field::display;

use crate::config::Settings;
use crate::http::{self, Server};
use crate::telemetry::metrics::Metrics;
use crate::{telemetry, wiring};

/// How often metrics, health and the loads by which people are placed are brought up to date.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// File descriptors beside those of HTTP connections: sockets of the workers, log, files.
const OTHER_FILE_DESCRIPTORS: u64 = 1_024;

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot listen on {address}: {source}; {key} must be a free address of this machine")]
    Listen {
        key: &'static str,
        address: SocketAddr,
        source: io::Error,
    },
    #[error(
        "the media port does not start: {0} (media.port, media.bind and media.advertise set the addresses)"
    )]
    Driver(#[from] DriverError),
    #[error("the system refuses what the server needs: {0}")]
    System(#[from] io::Error),
    #[error("metrics cannot be recorded: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("log lines cannot be written: {0}")]
    Log(#[from] tracing_subscriber::util::TryInitError),
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// Where it cannot start; nothing is left running then.
pub(crate) fn run(settings: &Settings, strangers: &[String]) -> Result<ExitCode, StartError> {
    telemetry::log::install(settings)?;
    for stranger in strangers {
        tracing::warn!(
            "the environment variable {stranger} is no setting: see docs/configuration.md"
        );
    }
    raise_file_limit(settings);
    let metrics = Metrics::install()?;
    let runtime = Runtime::new()?;
    let code = runtime.block_on(serve(settings, metrics));
    // What still runs after an ordered stop is not worth waiting for.
    runtime.shutdown_background();
    code
}

async fn serve(settings: &Settings, metrics: Metrics) -> Result<ExitCode, StartError> {
    // Before anything else, so that no signal finds nobody listening.
    let mut stop = Stop {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let server = listen(settings, "listen", settings.listen).await?;
    let operators = match settings.metrics.listen {
        Some(address) => Some(listen(settings, "metrics.listen", address).await?),
        None => None,
    };
    let (driver, control) = Driver::start(wiring::driver(settings))?;
    let hub = Hub::new(
        wiring::hub(settings),
        control.engines,
        control.commands,
        control.events,
    );
    announce(settings, &server, operators.as_ref(), &driver)?;

    let alive = Arc::new(AtomicBool::new(true));
    let mut router = router(&hub, &alive);
    let mut operators_router = Router::new();
    match &operators {
        Some(_) => operators_router = http::metrics(metrics.clone()).merge(health(&hub, &alive)),
        None => router = router.merge(http::metrics(metrics.clone())),
    }
    let told = tokio::select! {
        // The first look at the workers comes before the first request that could ask for it.
        biased;
        told = stop.told() => Some(told),
        () = watch(&driver, &hub, &alive, &metrics) => None,
        () = server.serve(&router) => None,
        () = serve_if_any(operators.as_ref(), &operators_router) => None,
        // The hub's own task: a panic there must not unwind through this one.
        _ = tokio::spawn(Arc::clone(&hub).run()) => None,
    };
    let Some(signal) = told else {
        tracing::error!("the control plane has ended by itself: this is a fault of the server");
        return Ok(ExitCode::FAILURE);
    };
    tracing::info!(signal, grace = %settings.shutdown.grace, "stopping");
    tokio::select! {
        () = wind_down(&hub, server, driver, *settings.shutdown.grace) => {
            tracing::info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        signal = stop.told() => {
            tracing::warn!(signal, "stopped at once by a second signal");
            Ok(ExitCode::FAILURE)
        }
        () = serve_if_any(operators.as_ref(), &operators_router) => Ok(ExitCode::FAILURE),
    }
}

fn router(hub: &Arc<Hub>, alive: &Arc<AtomicBool>) -> Router {
    madang_signaling::router(Arc::clone(hub))
        .merge(madang_web::router())
        .merge(health(hub, alive))
}

/// Clients cannot take all connections of the address for operators: where there is one, probes go there.
fn health(hub: &Arc<Hub>, alive: &Arc<AtomicBool>) -> Router {
    let (alive, ready) = (Arc::clone(alive), Arc::clone(hub));
    http::health(move || alive.load(Ordering::Relaxed), move || ready.ready())
}

/// Copies what the workers say about themselves to where others look.
async fn watch(driver: &Driver, hub: &Hub, alive: &AtomicBool, metrics: &Metrics) {
    loop {
        let alive_now = driver.alive();
        if alive.swap(alive_now, Ordering::Relaxed) && !alive_now {
            tracing::error!("a media worker has ended or is stuck: /livez fails from now on");
        }
        let stats = driver.stats();
        hub.measured(stats.iter().map(|worker| worker.busy));
        telemetry::metrics::record(&stats);
        metrics.upkeep();
        sleep(WATCH_INTERVAL).await;
    }
}

async fn serve_if_any(server: Option<&Server>, router: &Router) {
    match server {
        Some(server) => server.serve(router).await,
        None => std::future::pending().await,
    }
}

/// Sends everybody away, waits until they are gone, but not longer than `grace`, and stops the workers.
async fn wind_down(hub: &Hub, server: Server, driver: Driver, grace: Duration) {
    let farewell = async {
        hub.drain().await;
        server.shutdown().await;
    };
    if timeout(grace, farewell).await.is_err() {
        tracing::warn!("clients were still connected when the grace period ended");
    }
    if let Err(error) = tokio::task::spawn_blocking(|| driver.shutdown()).await {
        tracing::error!(%error, "the media workers did not stop in order");
    }
}

async fn listen(
    settings: &Settings,
    key: &'static str,
    address: SocketAddr,
) -> Result<Server, StartError> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen {
            key,
            address,
            source,
        })?;
    Ok(Server::new(listener, wiring::server_limits(settings)))
}

/// The signals that stop the server.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    async fn told(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Says where the server is: to programs as a log line, to a person at a terminal in words.
fn announce(
    settings: &Settings,
    server: &Server,
    operators: Option<&Server>,
    driver: &Driver,
) -> io::Result<()> {
    let (http, udp, development) = (server.address()?, driver.port(), settings.is_development());
    let metrics = operators.map(Server::address).transpose()?.map(display);
    tracing::info!(%http, udp, metrics, development, workers = settings.media.workers, "listening");
    let mut terminal = io::stdout();
    if terminal.is_terminal() {
        let local = http.ip().is_loopback() || http.ip().is_unspecified();
        let host = if local {
            format!("localhost:{}", http.port())
        } else {
            http.to_string()
        };
        let mode = if development {
            "development mode: no tokens needed"
        } else {
            "tokens needed"
        };
        writeln!(
            terminal,
            "Madang is ready: http://{host} ({mode}; media on UDP port {udp})"
        )?;
    }
    Ok(())
}

/// Raises the soft limit on open files to the hard one: systems start processes with 1,024 for historic reasons.
fn raise_file_limit(settings: &Settings) {
    let needed = settings.limits.http_connections as u64 + OTHER_FILE_DESCRIPTORS;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(allowed) if allowed < needed => {
            tracing::warn!(
                allowed,
                needed,
                "few open files are allowed: raise the limit or lower limits.http_connections"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit on open files"),
    }
}
