//! What the program says on the terminal.

use std::fmt::Display;
use std::io::Write;

use crate::floors::Floor;
use crate::media::delay::Percentiles;
use crate::result::{LinkUse, Measured, Outcome, Run};

pub(crate) fn line(text: impl Display) {
    // A reader that has gone away is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{text}");
}

pub(crate) fn error(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "madang-load: {text}");
}

pub(crate) fn run(run: &Run) {
    let head = format!("{} · {} · round {}", run.scenario, run.peer, run.round);
    match &run.outcome {
        Outcome::NotRun(why) => line(format!("{head}: not run: {why}")),
        Outcome::Measured(measured) => {
            line(format!("{head}\n{}", measured_lines(measured)));
        }
    }
}

fn measured_lines(measured: &Measured) -> String {
    let mut lines = Vec::new();
    if let Some(server) = &measured.server {
        let packet = server.cpu_us_per_packet;
        lines.push(format!(
            "  server   {} {:.1} % of a core ({:.0} % in user mode), {:.0} MiB, {:.0} KiB per participant{}",
            packet.map_or(String::new(), |us| format!("{us:.2} µs per packet,")),
            server.cpu_percent,
            server.user_share * 100.0,
            server.memory_mib,
            server.memory_kib_per_participant,
            server
                .cpu_ms_per_join
                .map_or(String::new(), |ms| format!(", {ms:.2} ms per join"))
        ));
        let threads = server
            .threads
            .iter()
            .map(|thread| format!("{} {:.1} %", thread.name, thread.cpu_percent));
        lines.push(format!(
            "  threads  {}",
            threads.collect::<Vec<_>>().join(", ")
        ));
    }
    lines.push(format!(
        "  packets  {:.0} received per second, sent {}, received {}, expected {}, loss {:.3} %, holes {}",
        measured.received as f64 / measured.seconds,
        measured.sent,
        measured.received,
        measured
            .expected
            .map_or_else(|| "unknown".to_owned(), |expected| expected.to_string()),
        measured.loss * 100.0,
        measured.missing
    ));
    for (name, times) in [
        ("delay", measured.delay_ms),
        ("connect", measured.connect_ms),
        ("media", measured.first_media_ms),
    ] {
        if let Some(times) = times {
            lines.push(format!("  {name:<8} {}", percentiles(&times)));
        }
    }
    lines.extend(measured.links.iter().map(link));
    lines.push(format!(
        "  others   client {:.0} % of a core, machine otherwise {:.0} %, connections {}, broken {}, incomplete {}",
        measured.client_cpu_percent,
        measured.others_cpu_percent,
        measured.connections,
        measured.broken,
        measured.incomplete
    ));
    if measured.turned_away > 0 {
        lines.push(format!(
            "  turned away {}: {}",
            measured.turned_away,
            measured.reasons.join("; ")
        ));
    }
    lines.join("\n")
}

fn link(link: &LinkUse) -> String {
    let layers = link.layer_kbps.iter().map(|kbps| format!("{kbps:.0}"));
    format!(
        "  link     {} kbit/s × {} viewers: {:.0} kbit/s received, {:.2} % dropped, layers {} kbit/s{}",
        link.kbps,
        link.viewers,
        link.received_kbps,
        link.dropped * 100.0,
        layers.collect::<Vec<_>>().join(" + "),
        link.delay_ms.map_or_else(String::new, |times| format!(
            ", behind it {}",
            percentiles(&times)
        )),
    )
}

fn percentiles(times: &Percentiles) -> String {
    format!(
        "p50 {:.2} ms, p90 {:.2}, p99 {:.2}, max {:.2}",
        times.p50, times.p90, times.p99, times.max
    )
}

pub(crate) fn floors(floors: &[Floor]) {
    for floor in floors {
        line(format!(
            "{:<22} {:<24} {:>8.0} ns per packet",
            floor.pattern, floor.what, floor.ns_per_packet
        ));
    }
}
