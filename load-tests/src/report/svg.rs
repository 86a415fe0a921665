//! Bar charts as inline SVG.

use std::fmt::Write;

/// One bar, with a text behind it.
#[derive(Debug, Clone)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) text: String,
    /// Ours are darker.
    pub(super) own: bool,
}

const ROW: f64 = 26.0;
const BAR: f64 = 18.0;
const LABELS: f64 = 130.0;
const WIDTH: f64 = 760.0;
/// Room behind the longest bar for its text.
const TEXTS: f64 = 150.0;

/// Horizontal bars from 0, and a dashed line where there is a mark.
pub(super) fn bars(bars: &[Bar], mark: Option<(f64, &str)>) -> String {
    let values = bars.iter().map(|bar| bar.value);
    let most = values.chain(mark.map(|(at, _)| at)).fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - LABELS - TEXTS) / most
    } else {
        0.0
    };
    let top = if mark.is_some() { ROW } else { 0.0 };
    let height = top + ROW * bars.len() as f64;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" width=\"{WIDTH}\" height=\"{height}\">\n"
    );
    for (number, bar) in bars.iter().enumerate() {
        let y = top + ROW * number as f64 + (ROW - BAR) / 2.0;
        let middle = y + BAR * 0.72;
        let width = bar.value * scale;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{middle:.1}\" class=\"label\">{}</text>\
             <rect x=\"{LABELS}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" class=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{middle:.1}\">{}</text>",
            LABELS - 8.0,
            escape(&bar.label),
            if bar.own { "own" } else { "other" },
            LABELS + width + 6.0,
            escape(&bar.text),
        );
    }
    if let Some((at, name)) = mark {
        let x = LABELS + at * scale;
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{height}\" class=\"mark\"/>\
             <text x=\"{:.1}\" y=\"14\" class=\"marked\">{}</text>",
            ROW - 6.0,
            x - 4.0,
            escape(name),
        );
    }
    out.push_str("</svg>\n");
    out
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_text_is_escaped() {
        let bar = |value: f64| Bar {
            label: "a<b".to_owned(),
            value,
            text: format!("{value}"),
            own: value < 2.0,
        };
        let svg = bars(&[bar(1.0), bar(4.0)], Some((2.0, "floor")));
        assert!(svg.contains("width=\"120.0\""), "{svg}");
        assert!(svg.contains("width=\"480.0\""), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(svg.contains("class=\"mark\""));
    }

    #[test]
    fn nothing_but_zeros_is_a_picture_too() {
        let bar = Bar {
            label: String::new(),
            value: 0.0,
            text: String::new(),
            own: true,
        };
        assert!(bars(&[bar], None).contains("width=\"0.0\""));
    }
}
