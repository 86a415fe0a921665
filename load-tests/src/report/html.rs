//! The page with plots: no script, nothing from elsewhere.

use std::fmt::Write;

use super::Named;
use super::summary::{Row, ScenarioSummary};
use super::svg::{Bar, bars, escape};

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Madang: measurements</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 820px; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; background: #fff }
h1, h2, h3 { line-height: 1.25 } h2 { margin-top: 2.5rem; border-top: 1px solid #d0d7de; padding-top: 1rem } h3 { margin-bottom: .2rem }
p.about { color: #57606a; margin: 0 0 .6rem } code { background: #f3f4f6; padding: .1em .3em }
svg { max-width: 100%; height: auto; font: 13px system-ui, sans-serif } svg text { fill: #1b1f24 } svg .label { text-anchor: end }
.own { fill: #0b6e4f } .other { fill: #a9b4bf } .mark { stroke: #b3261e; stroke-width: 1.5; stroke-dasharray: 4 3 } svg .marked { fill: #b3261e }
</style>
<h1>Madang: measurements</h1>
<p>Ours are green. The <a href="../../docs/performance.md">page of the book</a> has the method and all numbers.</p>
"#;

pub(super) fn page(files: &[Named]) -> String {
    let mut out = HEAD.to_owned();
    for named in files {
        let machine = &named.file.machine;
        let _ = write!(
            out,
            "<h2>{}</h2>\n<p class=\"about\">{}; {}, {} cores, Linux {}; revision {}<br><code>{}</code></p>\n",
            escape(&named.name),
            escape(&named.file.date),
            escape(&machine.processor),
            machine.cores,
            escape(&machine.kernel),
            escape(&named.file.revision),
            escape(&named.file.command),
        );
        for scenario in &named.summary.scenarios {
            scenario_plots(&mut out, scenario);
        }
        floor_plots(&mut out, named);
    }
    out.push_str("</html>\n");
    out
}

fn scenario_plots(out: &mut String, scenario: &ScenarioSummary) {
    let plots: [(&str, &str, Option<f64>, Value); 5] = [
        (
            "server CPU per packet",
            "µs",
            scenario.floor_us,
            Row::packet_us,
        ),
        ("delay, 99th percentile", "ms", None, |row| {
            row.median(|measured| Some(measured.delay_ms?.p99))
        }),
        ("connected after, 99th percentile", "ms", None, |row| {
            row.median(|measured| Some(measured.connect_ms?.p99))
        }),
        ("server memory per participant", "KiB", None, |row| {
            row.server(|server| Some(server.memory_kib_per_participant))
        }),
        ("server CPU per join", "ms", None, |row| {
            row.server(|server| server.cpu_ms_per_join)
        }),
    ];
    let _ = writeln!(out, "<h3>{}</h3>", escape(&scenario.title));
    for (title, unit, mark, value) in plots {
        let all: Vec<_> = scenario
            .rows
            .iter()
            .filter_map(|row| Some(bar(row, value(row)?, unit)))
            .collect();
        if !all.is_empty() {
            let mark = mark.map(|at| (at, "seal and send"));
            let _ = writeln!(
                out,
                "<p class=\"about\">{title}, {unit}</p>\n{}",
                bars(&all, mark)
            );
        }
    }
    for kbps in scenario.link_widths() {
        let received = |row: &Row| row.link(kbps, |link| Some(link.received_kbps));
        let all = scenario.rows.iter().filter_map(|row| {
            let mut bar = bar(row, received(row)?, "kbit/s");
            bar.text = format!("{:.0} kbit/s, layers {}", bar.value, row.layers(kbps));
            Some(bar)
        });
        let all: Vec<_> = all.collect();
        let _ = writeln!(
            out,
            "<p class=\"about\">received by a viewer behind a link of {kbps} kbit/s</p>\n{}",
            bars(&all, Some((kbps.into(), "link")))
        );
    }
    for row in &scenario.rows {
        if let Some(why) = &row.not_run {
            let _ = writeln!(
                out,
                "<p>{} was not run: {}</p>",
                escape(&row.peer),
                escape(why)
            );
        }
    }
}

const LOSS_SHOWN: f64 = 0.01;

type Value = fn(&Row) -> Option<f64>;

fn bar(row: &Row, value: f64, unit: &str) -> Bar {
    Bar {
        label: row.peer.clone(),
        value,
        text: format!("{value:.1} {unit}{}", overloaded(row)),
        own: row.peer.starts_with("madang"),
    }
}

/// Numbers of a server that loses packets are not to be compared; with narrow links, it is the links that lose them.
fn overloaded(row: &Row) -> String {
    let narrow = row
        .measured
        .iter()
        .any(|measured| !measured.links.is_empty());
    let loss = row.loss().filter(|loss| *loss > LOSS_SHOWN && !narrow);
    loss.map_or_else(String::new, |loss| format!(" ({:.0} % lost)", loss * 100.0))
}

fn floor_plots(out: &mut String, named: &Named) {
    let mut patterns: Vec<&str> = Vec::new();
    for floor in &named.file.floors {
        if patterns.last() != Some(&floor.pattern.as_str()) {
            patterns.push(&floor.pattern);
        }
    }
    for pattern in patterns {
        let of = named
            .file
            .floors
            .iter()
            .filter(|floor| floor.pattern == pattern);
        let all: Vec<_> = of
            .map(|floor| Bar {
                label: floor.what.clone(),
                value: floor.ns_per_packet,
                text: format!("{:.0} ns", floor.ns_per_packet),
                own: false,
            })
            .collect();
        let _ = writeln!(
            out,
            "<h3>Floors: {}</h3>\n<p class=\"about\">one thread's time for each packet, ns</p>\n{}",
            escape(pattern),
            bars(&all, None)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::{Summary, tests::file};
    use super::*;

    #[test]
    fn a_page_has_a_plot_for_what_was_measured_and_no_markup_from_results() {
        let file = file();
        let named = Named {
            name: "a.json".to_owned(),
            summary: Summary::of(&file),
            file,
        };
        let page = page(&[named]);
        assert_eq!(page.matches("<svg").count(), 3, "packet, memory, floors");
        assert!(page.contains("mediasoup was not run: not &lt;installed&gt;"));
        assert!(!page.contains("<script"));
    }
}
