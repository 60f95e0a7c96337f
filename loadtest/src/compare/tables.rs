//! The numbers as Markdown.

use std::fmt::Write;

use super::cases::Cost;
use super::peers::Peer;
use super::results::{Found, Results, Row, Runs, Spread};
use crate::report::units::{count, significant};

/// Everything: who, on what, a summary, and every case with its columns.
pub fn all(results: &Results) -> String {
    let mut text = format!(
        "# Side by side\n\n{}. {}. Median [lowest..highest].\n\n",
        results.machine, results.how
    );
    text.push_str("| peer | what | version |\n| --- | --- | --- |\n");
    for peer in results.peers() {
        let version = results.versions.get(peer.name).map_or("", String::as_str);
        let _ = writeln!(text, "| {} | {} | {version} |", peer.name, peer.title);
    }
    let _ = write!(text, "\n## Summary\n\n{}\n", summary(results));
    for found in &results.cases {
        let _ = write!(text, "\n## {}\n\n{}", found.case.title, case(found));
    }
    text
}

/// One row per case, one column per peer: CPU, and for the ranked ones their relation to the first peer.
pub fn summary(results: &Results) -> String {
    let peers = results.peers();
    let mut text = "CPU seconds of the server per million messages, deliveries, cycles or (held connections) connections opened. *Slanted*: not \
                    ranked, because the client was the limit or something went wrong.\n\n| case |"
        .to_owned();
    for peer in &peers {
        let _ = write!(text, " {} |", peer.name);
    }
    let _ = write!(text, "\n| --- |{}\n", " --- |".repeat(peers.len()));
    for found in &results.cases {
        let _ = write!(text, "| {} |", found.case.title);
        for peer in &peers {
            let _ = write!(text, " {} |", summary_cell(found, peer));
        }
        text.push('\n');
    }
    text
}

fn summary_cell(found: &Found, peer: &Peer) -> String {
    let Some(row) = found.row(peer.name) else {
        return String::new();
    };
    if !row.is_ranked() {
        return match found.cost(row) {
            Some(cost) => format!("*{}*", significant(cost.median)),
            None => "-".to_owned(),
        };
    }
    let ranking = found.ranking();
    match ranking
        .iter()
        .position(|(ranked, _)| ranked.peer.name == peer.name)
    {
        Some(0) => format!("**{}**", significant(ranking[0].1.median)),
        Some(place) => significant(ranking[place].1.median),
        None => "-".to_owned(),
    }
}

/// All columns of one case; the ranked ones first, the cheapest on top.
pub fn case(found: &Found) -> String {
    let cost = match found.case.cost {
        Cost::Messages => "CPU s per million",
        Cost::Openings => "CPU s per million opened",
    };
    let mut columns: Vec<(&str, f64, &[&str])> = vec![
        ("p50 ms", 1e-3, &["latency", "p50_us"]),
        ("p99 ms", 1e-3, &["latency", "p99_us"]),
        (
            "to the last, p99 ms",
            1e-3,
            &["to_last_subscriber", "p99_us"],
        ),
        ("per second", 1.0, &["messages_per_second"]),
        ("server CPU %", 1.0, &["server", "cpu_percent"]),
        ("waiting for a core %", 1.0, &["server", "waiting_percent"]),
        (
            "bytes per connection",
            1.0,
            &["server", "rss_per_connection_bytes"],
        ),
    ];
    if found.case.cost == Cost::Messages {
        columns.retain(|(name, ..)| *name != "bytes per connection");
    } else {
        columns.retain(|(name, ..)| *name == "bytes per connection");
    }
    columns.retain(|(_, _, path)| {
        found
            .rows
            .iter()
            .any(|row| row.spread(path, Runs::All).is_some())
    });
    let ranking = found.ranking();
    let ours = ranking
        .iter()
        .find(|(row, _)| row.peer.name == "shardwire")
        .map(|(_, cost)| cost.median);
    let mut text = format!("| server | place | {cost} | × shardwire |");
    for (name, ..) in &columns {
        let _ = write!(text, " {name} |");
    }
    let _ = writeln!(
        text,
        " runs | client | faults |\n|{}",
        " --- |".repeat(columns.len() + 7)
    );
    let unranked = found.rows.iter().filter(|row| !row.is_ranked());
    let rows = ranking
        .iter()
        .enumerate()
        .map(|(place, (row, cost))| (*row, Some((place + 1, *cost))))
        .chain(unranked.map(|row| (row, None)));
    for (row, ranked) in rows {
        let (place, cost, ratio) = match ranked {
            Some((place, cost)) => {
                let ratio =
                    ours.map_or("-".to_owned(), |ours| format!("{:.2}", cost.median / ours));
                (place.to_string(), Some(cost), ratio)
            }
            None => ("-".to_owned(), found.cost(row), "-".to_owned()),
        };
        let _ = write!(
            text,
            "| {} | {place} | {} | {ratio} |",
            row.peer.name,
            cell(cost, 1.0)
        );
        for (_, factor, path) in &columns {
            let _ = write!(text, " {} |", cell(row.spread(path, Runs::All), *factor));
        }
        let _ = writeln!(text, " {} | {} | {} |", runs(row), client(row), faults(row));
    }
    text
}

/// How many there were, of how many.
fn runs(row: &Row) -> String {
    let mut text = row.reports.len().to_string();
    if !row.missing.is_empty() {
        let _ = write!(text, " of {}", row.reports.len() + row.missing.len());
    }
    if row.repeated > 0 {
        let _ = write!(text, ", {} repeated", row.repeated);
    }
    text
}

fn client(row: &Row) -> String {
    match row.limited() {
        0 => "free".to_owned(),
        limited => format!("the limit in {limited}"),
    }
}

fn faults(row: &Row) -> String {
    let faults = row.faults();
    if faults.is_empty() {
        return "none".to_owned();
    }
    faults.join("; ")
}

/// `median [lowest..highest]`.
fn cell(spread: Option<Spread>, factor: f64) -> String {
    let number = |value: f64| match value * factor {
        large if large.abs() >= 999.5 => count(large.abs().round() as u64),
        value => significant(value),
    };
    spread.map_or("-".to_owned(), |spread| {
        format!(
            "{} [{}..{}]",
            number(spread.median),
            number(spread.lowest),
            number(spread.highest)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::results::Turn;
    use super::super::results::tests::{found, report};
    use super::*;

    #[test]
    fn a_missing_run_is_told_and_leaves_its_peer_without_a_place() {
        let mut found = found(&[
            ("shardwire", &[report(4.0, false, &[])]),
            ("bun", &[report(5.0, false, &[])]),
        ]);
        let peer = |name: &str| super::super::peers::named(&[name.to_owned()]).expect("known")[0];
        found.add(
            peer("shardwire"),
            Turn::Missing("it does not listen".into()),
        );
        found.add(peer("bun"), Turn::Repeated(report(5.0, false, &[])));
        found.add(peer("ws"), Turn::Missing("it ended".into()));
        let text = case(&found);
        let row = |name: &str| {
            let mut lines = text.lines().filter(|line| line.contains(name));
            lines.next_back().expect("everybody has a row").to_owned()
        };
        let ours = row("| shardwire | - |");
        assert!(
            ours.contains(" 1 of 2 ") && ours.contains("incomplete"),
            "{text}"
        );
        assert!(ours.contains("it does not listen"), "{text}");
        assert!(row("| bun | 1 |").contains(" 2, 1 repeated "), "{text}");
        assert!(row("| ws | - | - |").contains(" 0 of 1 "), "{text}");
        assert_eq!(summary_cell(&found, peer("shardwire")), "*4.00*");
        assert_eq!(summary_cell(&found, peer("ws")), "-");
    }

    #[test]
    fn who_is_not_ranked_has_no_place() {
        let found = found(&[
            ("shardwire", &[report(4.0, false, &[])]),
            ("bun", &[report(5.0, false, &[])]),
            ("ws", &[report(1.0, true, &[])]),
        ]);
        let text = case(&found);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[2].starts_with("| shardwire | 1 | 4.00 [4.00..4.00] | 1.00 |"),
            "{text}"
        );
        assert!(
            lines[3].starts_with("| bun | 2 | 5.00 [5.00..5.00] | 1.25 |"),
            "{text}"
        );
        assert!(
            lines[4].starts_with("| ws | - | 1.00 [1.00..1.00] | - |"),
            "{text}"
        );
        assert!(lines[4].contains("the limit in 1"), "{text}");
        let cell = |name: &str| {
            let peer = super::super::peers::PEERS
                .iter()
                .find(|peer| peer.name == name);
            summary_cell(&found, peer.expect("it is there"))
        };
        assert_eq!(
            (cell("shardwire"), cell("bun"), cell("ws")),
            ("**4.00**".into(), "5.00".into(), "*1.00*".into())
        );
        assert_eq!(cell("nats"), "");
    }
}
