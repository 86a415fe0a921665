//! Figures as text.

use std::fmt::Write;
use std::ops::RangeInclusive;

use madang_simulation::measure::{Measured, median};

use crate::batch::{Outcome, Run};

/// A column: its head, how to get its value, whether higher is worse, and how to write it.
struct Column {
    head: &'static str,
    value: fn(&Measured) -> Option<f64>,
    higher_is_worse: bool,
    write: fn(f64) -> String,
}

const COLUMNS: [Column; 14] = [
    column(
        "freezes/min",
        |m| Some(m.freezes_per_minute),
        |v| format!("{v:.1}"),
    ),
    column("frozen %", |m| Some(m.frozen), percent),
    column("paused %", |m| Some(m.paused), percent),
    column(
        "pauses/min",
        |m| Some(m.pauses_per_minute),
        |v| format!("{v:.1}"),
    ),
    column("torn", |m| Some(m.torn_frames), whole),
    column("concealed %", |m| Some(m.concealed), percent),
    column("first frame ms", |m| m.first_frame_ms, whole),
    column(
        "top layer s",
        |m| m.top_layer_ms,
        |v| format!("{:.1}", v / 1e3),
    ),
    Column {
        higher_is_worse: false,
        ..column("link use %", |m| m.link_use, percent)
    },
    column(
        "self-made loss %",
        |m| Some(m.self_made_loss),
        |v| format!("{:.2}", v * 100.0),
    ),
    column("estimate error %", |m| m.estimate_error, percent),
    column("keyframe requests", |m| Some(m.keyframe_requests), whole),
    column("lip skew ms", |m| m.skew_ms, whole),
    column("missed", |_| None, whole),
];

const fn column(
    head: &'static str,
    value: fn(&Measured) -> Option<f64>,
    write: fn(f64) -> String,
) -> Column {
    Column {
        head,
        value,
        higher_is_worse: true,
        write,
    }
}

fn percent(value: f64) -> String {
    format!("{:.1}", value * 100.0)
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

/// The figures of one run.
pub(crate) fn line(measured: &Measured) -> String {
    let figures = COLUMNS.iter().filter_map(|column| {
        let value = (column.value)(measured)?;
        Some(format!("{} {}", column.head, (column.write)(value)))
    });
    figures.collect::<Vec<_>>().join(", ")
}

/// Medians and worst of all seeds, a row for each plan and codec.
pub(crate) fn markdown(runs: &[Run], seeds: &RangeInclusive<u64>) -> String {
    let mut text = format!(
        "Seeds {} to {}; each cell is the median, and the worst.\n\n",
        seeds.start(),
        seeds.end()
    );
    let heads: Vec<&str> = COLUMNS.iter().map(|column| column.head).collect();
    let _ = writeln!(text, "| plan | codec | {} |", heads.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(heads.len()));
    for rows in runs.chunk_by(|a, b| (a.plan, a.encoding) == (b.plan, b.encoding)) {
        if let Some(first) = rows.first() {
            let cells = COLUMNS.iter().map(|column| cell(column, rows));
            let cells: Vec<String> = cells.collect();
            let _ = writeln!(
                text,
                "| {} | {} | {} |",
                first.plan,
                first.encoding.name(),
                cells.join(" | ")
            );
        }
    }
    text
}

fn cell(column: &Column, rows: &[Run]) -> String {
    if column.head == "missed" {
        let missed = rows
            .iter()
            .filter(|run| !run.outcome.missed().is_empty())
            .count();
        return format!("{missed} of {}", rows.len());
    }
    let all: Vec<Option<f64>> = rows.iter().map(|run| figure(column, run)).collect();
    let known: Vec<f64> = all.iter().filter_map(|value| *value).collect();
    let Some(middle) = median(known.clone()) else {
        return "–".to_owned();
    };
    let worst = if known.len() < all.len() {
        "never".to_owned()
    } else if column.higher_is_worse {
        (column.write)(known.iter().copied().fold(f64::MIN, f64::max))
    } else {
        (column.write)(known.iter().copied().fold(f64::MAX, f64::min))
    };
    format!("{}, {worst}", (column.write)(middle))
}

fn figure(column: &Column, run: &Run) -> Option<f64> {
    match &run.outcome {
        Outcome::Measured { measured, .. } => (column.value)(measured),
        Outcome::Failed(_) => None,
    }
}
