//! The page of the book.

use std::fmt::Write;

use super::Named;
use super::summary::{Row, ScenarioSummary};
use crate::floors::Floor;
use crate::media::delay::Percentiles;
use crate::result::{LinkUse, Measured, Settings};

const HEAD: &str = "# Performance

<!-- Generated from load-tests/results/ by `madang-load report`. -->

What a packet costs a server, and how long it takes, beside other servers and beside what the machine asks for at the least.
The [load generator](../load-tests/README.md) repeats every number.
";

const METHOD: &str = "
## Method

Publishers and viewers are real WebRTC peers (ICE, DTLS, SRTP, congestion feedback) on one thread of the load generator, each with a UDP socket of its
own; encoders are synthetic: VP8, or H.264 where that is said, at 30 frames a second with keyframes on request, Opus with 50 packets a second. All traffic is on one machine. A
server is started afresh for each run, the servers take turns, and each number is the median of the rounds.

| number | meaning |
|---|---|
| µs per packet | time of all the server's threads on a core (`/proc/PID/task/*/schedstat`), divided by the packets that viewers received: receiving, encryption, the kernel's part and signalling included. In parentheses: the least and the most of the rounds |
| × floor | that, divided by the cost of sealing and sending alone in the same rhythm, measured in the same call of the program. A server that lets packets of several publishers wait for each other sends more of them in one call, and can be below 1 |
| × best other | that, divided by the best server that is not Madang |
| delay | from the writing of a packet by the publisher to its arrival at the viewer's socket, by the kernel's clock: the viewer's own work is not in it |
| loss | packets that never came, after repair; the worst round. Where people join meanwhile, it has what a newcomer is not sent any more because a fresh keyframe has come. A server that loses packets is overloaded, and what it costs is no longer comparable |
| link | what a viewer's narrow link carries, and what came of it: received with all headers, the share that its queue of 300 ms had no room for, payloads of video by layer (the smallest first), delay to its far end; means of the viewers |
| CPU per join | time of all the server's threads from the first join to the last, divided by the joins: TCP, WebSocket, SDP, ICE and DTLS; where nothing else was to do meanwhile |
| KiB per participant | what the server's memory has grown by since it started, divided by those who are there |
| connected, media | from the request to join to ICE and DTLS being connected, and to the first packet of media |
| others | what else ran on the machine meanwhile, in percent of one core: where that is much, delays are not to be trusted |

Loopback has no loss and no delay of its own; sending there includes the receiving side of the kernel, and its checksums and segmentation cost less
than those of a network card.
";

pub(super) fn page(files: &[Named]) -> String {
    let mut out = HEAD.to_owned();
    ratios(&mut out, files);
    out.push_str(METHOD);
    for named in files {
        let machine = &named.file.machine;
        let _ = write!(
            out,
            "\n## {} ({})\n\n{}, {} cores, {} GiB, Linux {}, {}; revision `{}`; {}.\n\n```sh\n{}\n```\n",
            named.name,
            named.file.date.split('T').next().unwrap_or_default(),
            machine.processor,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            machine.system,
            named.file.revision,
            placement(&named.file.settings),
            named.file.command,
        );
        for scenario in &named.summary.scenarios {
            table(&mut out, scenario);
        }
        floors(&mut out, &named.file.floors);
    }
    out
}

/// First what matters most: how far from the floor, and how far from the others.
fn ratios(out: &mut String, files: &[Named]) {
    out.push_str("\n## Ratios\n\n| scenario | server | µs per packet | × floor | × best other | loss | from |\n|---|---|---|---|---|---|---|\n");
    for named in files {
        for scenario in &named.summary.scenarios {
            for row in &scenario.rows {
                let Some(us) = row.packet_us() else {
                    continue;
                };
                let times = |of: Option<f64>| of.map_or_else(none, |of| format!("{:.2}", us / of));
                let _ = writeln!(
                    out,
                    "| {} | {} | {us:.1} | {} | {} | {:.2} % | {} |",
                    scenario.title,
                    row.peer,
                    times(scenario.floor_us),
                    times(scenario.best_other_us()),
                    row.loss().unwrap_or_default() * 100.0,
                    named.name,
                );
            }
        }
    }
}

fn placement(settings: &Settings) -> String {
    let cores = |cpus: &[usize]| match cpus {
        [] => "any core".to_owned(),
        [one] => format!("core {one}"),
        many => {
            let all: Vec<_> = many.iter().map(usize::to_string).collect();
            format!("cores {}", all.join(", "))
        }
    };
    format!(
        "server on {} with workers = {}, generator on {} with {} {}, {}",
        cores(&settings.server_cpus),
        settings.server_workers,
        cores(&settings.client_cpus),
        settings.client_threads,
        if settings.client_threads == 1 {
            "thread"
        } else {
            "threads"
        },
        if settings.gro {
            "receivers with GRO"
        } else {
            "receivers without GRO"
        },
    )
}

fn table(out: &mut String, scenario: &ScenarioSummary) {
    let _ = write!(
        out,
        "\n### {}\n\n`{}`\n\n| server | µs per packet | CPU | packets/s | delay p50 / p90 / p99 / max | loss | connected p50 / p99 | \
         media p50 / p99 | CPU per join | KiB per participant | generator | others |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        scenario.title, scenario.name
    );
    for row in &scenario.rows {
        let _ = writeln!(out, "| {} |", cells(row).join(" | "));
    }
    links(out, scenario);
    let reasons = scenario
        .rows
        .iter()
        .filter_map(|row| Some((row, row.not_run.as_ref()?)));
    for (row, why) in reasons {
        let _ = write!(out, "\n{} was not run: {why}\n", row.peer);
    }
}

/// What viewers behind narrow links received, where the scenario has some.
fn links(out: &mut String, scenario: &ScenarioSummary) {
    let widths = scenario.link_widths();
    if widths.is_empty() {
        return;
    }
    out.push_str(
        "\n| server | link, kbit/s | viewers | received, kbit/s | dropped | layers, kbit/s | delay behind it p50 / p99 |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for kbps in widths {
        for row in &scenario.rows {
            let number = |of: fn(&LinkUse) -> f64, digits: usize| {
                let median = row.link(kbps, |link| Some(of(link)));
                median.map_or_else(none, |value| format!("{value:.digits$}"))
            };
            if row.link(kbps, |_| Some(0.0)).is_none() {
                continue;
            }
            let delay = |which: Quantile| {
                let median = row.link(kbps, |link| link.delay_ms.as_ref().map(which));
                median.map_or_else(none, |ms| format!("{ms:.1}"))
            };
            let _ = writeln!(
                out,
                "| {} | {kbps} | {} | {} | {} % | {} | {} / {} ms |",
                row.peer,
                number(|link| link.viewers as f64, 0),
                number(|link| link.received_kbps, 0),
                number(|link| link.dropped * 100.0, 2),
                row.layers(kbps),
                delay(|times| times.p50),
                delay(|times| times.p99),
            );
        }
    }
}

type Quantile = fn(&Percentiles) -> f64;

/// What stands where there is no number.
fn none() -> String {
    "–".to_owned()
}

fn cells(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize, unit: &str| {
        value.map_or_else(none, |value| format!("{value:.digits$}{unit}"))
    };
    let packet = match (row.packet_us(), row.packet_us_range()) {
        (Some(us), Some((least, most))) if row.measured.len() > 1 => {
            format!("{us:.1} ({least:.1}–{most:.1})")
        }
        (us, _) => number(us, 1, ""),
    };
    let times = |of: fn(&Measured) -> Option<Percentiles>, which: &[Quantile]| {
        let all: Vec<_> = which
            .iter()
            .filter_map(|which| row.median(|measured| of(measured).as_ref().map(which)))
            .map(|ms| format!("{ms:.1}"))
            .collect();
        if all.is_empty() {
            none()
        } else {
            format!("{} ms", all.join(" / "))
        }
    };
    let p50: Quantile = |times| times.p50;
    let p90: Quantile = |times| times.p90;
    let p99: Quantile = |times| times.p99;
    let max: Quantile = |times| times.max;
    let per_second = |measured: &Measured| Some(measured.received as f64 / measured.seconds);
    vec![
        row.peer.clone(),
        packet,
        number(row.server(|server| Some(server.cpu_percent)), 0, " %"),
        number(row.median(per_second), 0, ""),
        times(|measured| measured.delay_ms, &[p50, p90, p99, max]),
        number(row.loss().map(|loss| loss * 100.0), 2, " %"),
        times(|measured| measured.connect_ms, &[p50, p99]),
        times(|measured| measured.first_media_ms, &[p50, p99]),
        number(row.server(|server| server.cpu_ms_per_join), 1, " ms"),
        number(
            row.server(|server| Some(server.memory_kib_per_participant)),
            0,
            "",
        ),
        number(
            row.median(|measured| Some(measured.client_cpu_percent)),
            0,
            " %",
        ),
        number(
            row.median(|measured| Some(measured.others_cpu_percent)),
            0,
            " %",
        ),
    ]
}

fn floors(out: &mut String, floors: &[Floor]) {
    if floors.is_empty() {
        return;
    }
    out.push_str("\n### Floors\n\nTime of one thread for each packet; sending includes the kernel's receiving side.\n\n| rhythm | what | ns per packet |\n|---|---|---|\n");
    for floor in floors {
        let rhythm = if floor.pattern == "loop" {
            "in a loop, 1,200 bytes"
        } else {
            &floor.pattern
        };
        let _ = writeln!(
            out,
            "| {rhythm} | {} | {:.0} |",
            floor.what, floor.ns_per_packet
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::{Summary, tests::file};
    use super::*;
    use crate::result::Outcome;

    #[test]
    fn narrow_links_have_a_table_of_their_own() {
        let mut file = file();
        let none = Summary::of(&file);
        for run in &mut file.runs {
            if let Outcome::Measured(measured) = &mut run.outcome {
                measured.links.push(LinkUse {
                    kbps: 300,
                    viewers: 10,
                    received_kbps: 240.0,
                    dropped: 0.01,
                    delay_ms: None,
                    layer_kbps: vec![150.0, 0.0],
                });
            }
        }
        let summary = Summary::of(&file);
        let (mut with, mut without) = (String::new(), String::new());
        links(&mut with, &summary.scenarios[0]);
        links(&mut without, &none.scenarios[0]);
        assert!(
            with.contains("| madang | 300 | 10 | 240 | 1.00 % | 150 + 0 | – / – ms |"),
            "{with}"
        );
        assert!(!with.contains("mediasoup"), "{with}");
        assert_eq!(without, "");
    }

    #[test]
    fn ratios_come_first_and_what_was_not_run_is_said() {
        let file = file();
        let named = Named {
            name: "a.json".to_owned(),
            summary: Summary::of(&file),
            file,
        };
        let page = page(&[named]);
        assert!(
            page.contains("| 1 → 50 viewers | madang | 7.0 | 2.00 | 0.20 | 0.00 % | a.json |"),
            "{page}"
        );
        assert!(
            page.contains("| madang | 7.0 (6.0–8.0) | 50 % | 5000 |"),
            "{page}"
        );
        assert!(page.contains("mediasoup was not run: not <installed>"));
        assert!(page.find("## Ratios") < page.find("## Method"));
        assert!(page.contains("server on core 0 with workers = 1"));
    }
}
