//! Start, run and stop.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use crate::process::{Madang, run};

#[test]
fn the_page_and_the_health_are_served() {
    let server = Madang::start(&[]);
    let (status, page) = server.get("/");
    assert_eq!(status, 200);
    assert!(page.to_lowercase().contains("<!doctype html>"), "{page}");
    assert_eq!(server.get("/livez"), (200, r#"{"status":"ok"}"#.to_owned()));
    assert_eq!(
        server.get("/readyz"),
        (200, r#"{"status":"ok"}"#.to_owned())
    );
    assert_eq!(server.get("/no/such/page").0, 404);
    assert_ne!(server.udp, 0);
}

#[test]
fn metrics_describe_workers_and_process() {
    let server = Madang::start(&["--media-workers=2"]);
    let (status, metrics) = server.get("/metrics");
    assert_eq!(status, 200);
    for wanted in [
        "# HELP madang_rtp_packets_in_total ",
        "# TYPE madang_rtp_packets_in_total counter",
        "# TYPE madang_peers gauge",
        "madang_peers{worker=\"0\"} 0",
        "madang_peers{worker=\"1\"} 0",
        "process_open_fds ",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
    ] {
        assert!(
            metrics.contains(wanted),
            "{wanted} is missing in\n{metrics}"
        );
    }
}

#[test]
fn a_page_of_elsewhere_gets_no_websocket_and_metrics_tell_of_it() {
    let server = Madang::start(&[]);
    let (_, status) = server.ask_for_websocket("origin: https://elsewhere.example\r\n");
    assert_eq!(status, "403");
    assert_eq!(
        server.metric("madang_errors_total{code=\"forbidden\"}"),
        [1]
    );
}

#[test]
fn metrics_can_have_an_address_of_their_own() {
    let mut server = Madang::start(&["--metrics-listen=127.0.0.1:0"]);
    assert_eq!(server.get("/metrics").0, 404);
    server.http = server.metrics.unwrap();
    assert_eq!(server.get("/metrics").0, 200);
    assert_eq!(server.get("/livez").0, 200);
    assert_eq!(server.get("/readyz").0, 200);
    assert_eq!(server.get("/").0, 404);
}

#[test]
fn both_signals_stop_the_server_at_once_where_nobody_is_connected() {
    for signal in ["TERM", "INT"] {
        let mut server = Madang::start(&[]);
        assert_eq!(server.get("/livez").0, 200);
        let begin = Instant::now();
        server.signal(signal);
        let status = server.wait();
        assert!(status.success(), "{signal}: {status}");
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{signal}: {:?}",
            begin.elapsed()
        );
    }
}

#[test]
fn a_server_that_stops_is_alive_and_not_ready() {
    let mut server = Madang::start(&["--metrics-listen=127.0.0.1:0", "--shutdown-grace=1h"]);
    let _websocket = server.open_websocket();
    server.signal("TERM");
    server.wait_for_line("stopping");
    server.http = server.metrics.unwrap();
    assert_eq!(server.get("/livez").0, 200);
    assert_eq!(server.get("/readyz").0, 503);
}

#[test]
fn a_stop_waits_for_clients_until_the_grace_ends() {
    let mut server = Madang::start(&["--shutdown-grace=300ms"]);
    let websocket = server.open_websocket();
    let begin = Instant::now();
    server.signal("TERM");
    server.wait_for_line("clients were still connected when the grace period ended");
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(server.wait().success());
    drop(websocket);
}

#[test]
fn a_second_signal_stops_at_once() {
    let mut server = Madang::start(&["--shutdown-grace=1h", "--limits-first-frame-timeout=1h"]);
    let _websocket = server.open_websocket();
    server.signal("TERM");
    server.wait_for_line("stopping");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(1));
}

#[test]
fn a_stop_lets_a_request_under_way_end() {
    let mut server = Madang::start(&["--shutdown-grace=1h"]);
    let mut idle = server.connect();
    write!(idle, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut response = [0; 15];
    idle.read_exact(&mut response).unwrap();
    assert_eq!(&response, b"HTTP/1.1 200 OK");
    server.signal("TERM");
    assert!(
        server.wait().success(),
        "an idle connection holds nobody up"
    );
}

#[test]
fn a_request_head_that_never_ends_is_cut_off() {
    let server = Madang::start(&["--limits-http-header-timeout=100ms"]);
    let mut slow = server.connect();
    write!(slow, "GET / HTTP/1.1\r\nx-slow: ").unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
}

#[test]
fn connections_beyond_the_limit_wait_for_a_place() {
    let server = Madang::start(&["--limits-http-connections=1"]);
    let websocket = server.open_websocket();
    let mut waiting = server.connect();
    write!(
        waiting,
        "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    waiting
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(
        waiting.read(&mut [0]).is_err(),
        "served although the only place is taken"
    );
    drop(websocket);
    waiting
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut response = String::new();
    waiting.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
}

#[test]
fn a_port_in_use_is_told_with_the_key_that_sets_it() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let tcp = run(&[&format!("--listen={taken}"), "--media-port=0"]);
    let error = String::from_utf8(tcp.stderr).unwrap();
    assert_eq!(tcp.status.code(), Some(1));
    assert!(
        error.contains(&format!("error: cannot listen on {taken}"))
            && error.contains("listen must be"),
        "{error}"
    );

    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let udp = run(&[
        "--listen=127.0.0.1:0",
        "--media-bind=127.0.0.1",
        &format!("--media-port={port}"),
    ]);
    let error = String::from_utf8(udp.stderr).unwrap();
    assert_eq!(udp.status.code(), Some(1));
    assert!(
        error.contains(&port.to_string()) && error.contains("media.port"),
        "{error}"
    );
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = Madang::start(&["--limits-write-timeout=200ms"]);
    let mut stream = server.connect();
    // Far more than the buffers of both sides hold.
    const REQUESTS: usize = 4_000;
    let request = format!(
        "GET /app/icons.svg HTTP/1.1\r\nhost: {}\r\n\r\n",
        server.http
    );
    // The server reads no further where it cannot write.
    let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
    let _ = stream.write_all(request.repeat(REQUESTS).as_bytes());
    std::thread::sleep(Duration::from_secs(1));
    let mut received = Vec::new();
    // It may end by a reset.
    let _ = stream.read_to_end(&mut received);
    let one = "HTTP/1.1 200 OK";
    let answered = String::from_utf8_lossy(&received).matches(one).count();
    assert!(
        (1..REQUESTS).contains(&answered),
        "{answered} were answered"
    );
}
