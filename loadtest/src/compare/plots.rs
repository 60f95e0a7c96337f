//! The numbers as plots: plain SVG, readable on light and dark pages.

use std::fmt::Write;

use super::cases::{Cost, Kind};
use super::results::{Found, Results, Row, Runs, Spread};
use crate::report::units::significant;

const WIDTH: f64 = 860.0;
const LABELS: f64 = 150.0;
const VALUES: f64 = 150.0;
const BAR: f64 = 16.0;
const GAP: f64 = 6.0;
const TITLE: f64 = 26.0;

/// What a peer is painted in.
const COLOURS: &[(&str, &str)] = &[
    ("shardwire", "#d1495b"),
    ("bun", "#30638e"),
    ("tokio-websockets", "#e09f3e"),
    ("fastwebsockets", "#6a994e"),
    ("axum", "#7b5ea7"),
    ("ws", "#3a7d7c"),
    ("nats", "#8d6a4f"),
    ("nchan", "#5f7a8a"),
    ("floor", "#9a9a9a"),
];

fn colour(name: &str) -> &'static str {
    COLOURS
        .iter()
        .find(|(of, _)| *of == name)
        .map_or("#888888", |(_, colour)| colour)
}

/// File names and contents.
pub fn all(results: &Results) -> Vec<(String, String)> {
    let of = |kinds: &[Kind]| -> Vec<&Found> {
        let cases = results.cases.iter();
        cases
            .filter(|found| kinds.contains(&found.case.kind))
            .collect()
    };
    let cost = |found: &Found, row: &Row| found.cost(row);
    let p99 = |_: &Found, row: &Row| row.spread(&["latency", "p99_us"], Runs::All);
    let memory =
        |_: &Found, row: &Row| row.spread(&["server", "rss_per_connection_bytes"], Runs::All);
    let mut plots = vec![
        (
            "cpu-echo.svg",
            bars(
                "CPU microseconds of the server per echo",
                &of(&[Kind::Echo]),
                cost,
            ),
        ),
        (
            "cpu-fanout.svg",
            bars(
                "CPU microseconds of the server per delivery",
                &of(&[Kind::Fanout, Kind::Pairs]),
                cost,
            ),
        ),
        (
            "cpu-connections.svg",
            bars(
                "CPU microseconds of the server per connection opened, or per cycle",
                &of(&[Kind::Idle, Kind::Churn]),
                cost,
            ),
        ),
        ("latency-p99.svg", {
            let mut paced = of(&[Kind::Echo, Kind::Fanout]);
            paced.retain(|found| found.case.arguments.contains(&"--rate"));
            bars(
                "p99 of latency at the same rate, in microseconds",
                &paced,
                p99,
            )
        }),
        ("memory.svg", {
            let mut idle = of(&[Kind::Idle]);
            idle.retain(|found| found.case.cost == Cost::Openings);
            bars(
                "memory of the server per held connection, in bytes",
                &idle,
                memory,
            )
        }),
    ];
    let paced = results
        .cases
        .iter()
        .find(|found| found.case.name == "echo-50k");
    plots.extend(paced.map(|found| ("latency.svg", percentiles(found))));
    plots
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), text))
        .collect()
}

/// Horizontal bars, a group per case; a thin line from the lowest to the highest run. A bar that is not ranked is hollow.
fn bars(title: &str, cases: &[&Found], value: impl Fn(&Found, &Row) -> Option<Spread>) -> String {
    let groups: Vec<(&Found, Vec<(&Row, Spread)>)> = cases
        .iter()
        .map(|found| {
            let rows = found.rows.iter();
            let mut bars: Vec<_> = rows
                .filter_map(|row| Some((row, value(found, row)?)))
                .collect();
            bars.sort_by(|one, other| one.1.median.total_cmp(&other.1.median));
            (*found, bars)
        })
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    if groups.is_empty() {
        return String::new();
    }
    let count: usize = groups.iter().map(|(_, bars)| bars.len()).sum();
    let height = TITLE + 14.0 + groups.len() as f64 * (TITLE + GAP) + count as f64 * (BAR + GAP);
    let mut svg = head(height, title);
    let room = WIDTH - LABELS - VALUES;
    let mut y = TITLE + 14.0;
    for (found, bars) in groups {
        let most = bars
            .iter()
            .map(|(_, spread)| spread.median)
            .fold(1e-9, f64::max);
        let scale = room / most;
        text(&mut svg, 8.0, y + 14.0, "start", "600", found.case.title);
        y += TITLE;
        for (row, spread) in bars {
            let name = row.peer.name;
            let width = (spread.median * scale).max(1.0);
            let paint = if row.is_ranked() {
                format!("fill=\"{}\"", colour(name))
            } else {
                format!(
                    "fill=\"none\" stroke=\"{}\" stroke-dasharray=\"3 2\"",
                    colour(name)
                )
            };
            text(&mut svg, LABELS - 8.0, y + 12.0, "end", "400", name);
            let _ = writeln!(
                svg,
                "<rect x=\"{LABELS:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR:.1}\" {paint}/>"
            );
            let (low, high) = (spread.lowest * scale, (spread.highest * scale).min(room));
            let _ = writeln!(
                svg,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"currentColor\"/>",
                LABELS + low.min(room),
                LABELS + high,
                middle = y + BAR / 2.0
            );
            text(
                &mut svg,
                LABELS + width.max(high) + 8.0,
                y + 12.0,
                "start",
                "400",
                &significant(spread.median),
            );
            y += BAR + GAP;
        }
        y += GAP;
    }
    svg.push_str("</svg>\n");
    svg
}

/// Latency over percentiles, on a logarithmic scale, one line per peer.
fn percentiles(found: &Found) -> String {
    const POINTS: &[(&str, &str)] = &[
        ("p50", "p50_us"),
        ("p90", "p90_us"),
        ("p99", "p99_us"),
        ("p99.9", "p99.9_us"),
    ];
    let lines: Vec<(&Row, Vec<f64>)> = found
        .rows
        .iter()
        .filter_map(|row| {
            let points = POINTS.iter();
            let points =
                points.map(|(_, field)| Some(row.spread(&["latency", field], Runs::All)?.median));
            Some((row, points.collect::<Option<Vec<f64>>>()?))
        })
        .collect();
    let values = || lines.iter().flat_map(|(_, points)| points.iter().copied());
    let lowest = values()
        .fold(f64::INFINITY, f64::min)
        .max(1.0)
        .log10()
        .floor();
    let highest = values()
        .fold(1.0, f64::max)
        .log10()
        .ceil()
        .max(lowest + 1.0);
    if lines.is_empty() {
        return String::new();
    }
    let (top, bottom, left, right) = (TITLE + 20.0, 330.0, 80.0, WIDTH - 190.0);
    let mut svg = head(370.0, &format!("latency: {}", found.case.title));
    let y_of =
        |us: f64| bottom - (us.max(1.0).log10() - lowest) / (highest - lowest) * (bottom - top);
    let x_of = |at: usize| left + at as f64 / (POINTS.len() - 1) as f64 * (right - left);
    let mut decade = lowest;
    while decade <= highest {
        let us = 10_f64.powf(decade);
        let y = y_of(us);
        let _ = writeln!(
            svg,
            "<line x1=\"{left:.1}\" x2=\"{right:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"currentColor\" opacity=\"0.2\"/>"
        );
        let label = if us >= 1_000.0 {
            format!("{} ms", us / 1_000.0)
        } else {
            format!("{us} us")
        };
        text(&mut svg, left - 8.0, y + 4.0, "end", "400", &label);
        decade += 1.0;
    }
    for (at, (name, _)) in POINTS.iter().enumerate() {
        text(&mut svg, x_of(at), bottom + 20.0, "middle", "400", name);
    }
    let mut names: Vec<(f64, &str)> = Vec::new();
    for (row, points) in &lines {
        let places: Vec<String> = points
            .iter()
            .enumerate()
            .map(|(at, us)| format!("{:.1},{:.1}", x_of(at), y_of(*us)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
            places.join(" "),
            colour(row.peer.name)
        );
        names.extend(points.last().map(|us| (y_of(*us), row.peer.name)));
    }
    // Names that would lie over each other are moved down.
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = 0.0_f64;
    for (y, name) in names {
        let y = y.max(free);
        free = y + 15.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\">{name}</text>",
            right + 10.0,
            y + 4.0,
            colour(name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(height: f64, title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" color=\"#222222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, 8.0, 20.0, "start", "700", title);
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, weight: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\" fill=\"currentColor\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{found, report};
    use super::*;

    #[test]
    fn every_run_is_in_the_plots() {
        let found = found(&[
            ("shardwire", &[report(4.0, false, &[])]),
            ("bun", &[report(5.0, true, &[])]),
        ]);
        let plot = bars("title", &[&found], |found, row| found.cost(row));
        assert_eq!(plot.matches("<rect").count(), 1 + 2, "{plot}");
        assert_eq!(
            plot.matches("stroke-dasharray").count(),
            1,
            "Bun is not ranked: {plot}"
        );
        let lines = percentiles(&found);
        assert_eq!(lines.matches("<polyline").count(), 2, "{lines}");
        for text in [plot, lines] {
            assert!(
                text.starts_with("<svg") && text.ends_with("</svg>\n") && !text.contains("NaN")
            );
        }
    }
}
