//! The report for people.

use std::fmt::Write;

use super::units::{bytes, count, significant, time};
use super::{Latency, Report};
use crate::scenarios::outcome::PresenceFigures;

/// Most kinds of errors that are listed.
const ERRORS_SHOWN: usize = 10;
/// Fewer connections than this cost too few clock ticks to tell the cost of one.
const OPENED_FOR_COST: u64 = 2_000;

/// The whole report, with a newline at the end.
pub fn write(report: &Report) -> String {
    let mut text = heading(report);
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<14}{value}");
    };
    line("connections", connections(report));
    if report.setting.awaits_messages || report.received > 0 {
        line(report.setting.unit, messages(report));
    }
    for (name, latency) in named_latencies(report) {
        line(&name, quantiles(latency));
    }
    if let Some(server) = &report.server {
        line("server", server_line(server, report.opened));
    }
    line("client", client(report));
    line("correctness", correctness(report));
    if !report.events.is_empty() {
        line("counted", events(report));
    }
    if let Some(figures) = &report.presence {
        line("presence", presence(figures));
    }
    let mut errors: Vec<(&String, &u64)> = report.errors.iter().collect();
    errors.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    for (kind, times) in errors.iter().take(ERRORS_SHOWN) {
        line("error", format!("{}x {kind}", count(**times)));
    }
    for said in &report.server_said {
        line("server said", said.clone());
    }
    for warning in &report.warnings {
        line("note", warning.clone());
    }
    let verdict = if report.passed {
        "passed".to_owned()
    } else {
        format!("FAILED: {}", report.faults.join("; "))
    };
    line("result", verdict);
    text
}

fn presence(figures: &PresenceFigures) -> String {
    format!(
        "{} of {} subscribers exact in the end ({} by name), {} there; at most {} to one in a second, {} in {} messages in all, {} of them in {:.1} s of going and coming again",
        count(figures.exact),
        count(figures.subscribers),
        count(figures.exact_by_name),
        count(figures.there),
        bytes(figures.most_bytes_in_a_second),
        bytes(figures.bytes),
        count(figures.messages),
        count(figures.told_while_flapping),
        figures.flapping_seconds
    )
}

fn heading(report: &Report) -> String {
    let setting = &report.setting;
    let mut what = match (setting.publishers, setting.subscribers, setting.channels) {
        (Some(publishers), Some(subscribers), Some(channels)) => format!(
            "{}, {}, {}",
            counted(publishers, "publisher"),
            counted(subscribers, "subscriber"),
            counted(channels, "channel")
        ),
        _ => counted(setting.connections, "connection"),
    };
    if let Some(size) = setting.payload_bytes {
        let _ = write!(what, ", {} B", count(size as u64));
    }
    match (setting.rate, setting.in_flight) {
        (Some(rate), _) => {
            let _ = write!(what, ", {} per second", significant_rate(rate));
        }
        (None, Some(in_flight)) => {
            let _ = write!(what, ", {in_flight} in flight");
        }
        (None, None) => {}
    }
    if setting.processes > 1 {
        let _ = write!(what, ", {} processes", setting.processes);
    }
    format!("{} {}: {what}\n", setting.scenario, setting.url)
}

fn counted(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number.into()))
}

fn significant_rate(rate: f64) -> String {
    if rate >= 100.0 {
        count(rate.round() as u64)
    } else {
        significant(rate)
    }
}

fn connections(report: &Report) -> String {
    let mut text = format!("{} opened", count(report.opened));
    if report.opening_seconds > 0.0 {
        let _ = write!(
            text,
            " in {} s ({} per second)",
            significant(report.opening_seconds),
            count(report.opened_per_second as u64)
        );
    }
    let _ = write!(
        text,
        ", {} failed, {} dropped",
        count(report.failed),
        count(report.dropped)
    );
    text
}

fn messages(report: &Report) -> String {
    format!(
        "{} per second ({} in {} s; {} sent)",
        count(report.messages_per_second.round() as u64),
        count(report.received),
        significant(report.measured_seconds),
        count(report.sent)
    )
}

fn named_latencies(report: &Report) -> Vec<(String, &Latency)> {
    let main = report
        .latency
        .iter()
        .map(|latency| ("latency".to_owned(), latency));
    let further = report
        .further
        .iter()
        .filter_map(|(name, latency)| {
            Some((
                name.split('_').next().unwrap_or(name),
                name,
                latency.as_ref()?,
            ))
        })
        .map(|(_, name, latency)| (short_name(name), latency));
    let lag = report
        .send_lag
        .iter()
        .map(|latency| ("send lag".to_owned(), latency));
    main.chain(further).chain(lag).collect()
}

fn short_name(name: &str) -> String {
    match name {
        "to_last_subscriber" => "to the last".to_owned(),
        "connect_and_upgrade" => "upgrade".to_owned(),
        other => other.replace('_', " "),
    }
}

fn quantiles(latency: &Latency) -> String {
    format!(
        "p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
        time(latency.p50_us),
        time(latency.p90_us),
        time(latency.p99_us),
        time(latency.p99_9_us),
        time(latency.max_us)
    )
}

fn server_line(server: &super::Server, opened: u64) -> String {
    let mut parts = Vec::new();
    if let (Some(seconds), Some(percent)) = (server.cpu_seconds, server.cpu_percent) {
        let waiting = server.waiting_percent.map_or(String::new(), waiting);
        let seconds = significant(seconds);
        parts.push(format!(
            "CPU {seconds} s ({percent:.0} % of a core{waiting})"
        ));
    }
    if let Some(cost) = server.cpu_seconds_per_million_messages {
        parts.push(format!("{} s per million", significant(cost)));
    }
    if opened >= OPENED_FOR_COST
        && let Some(cost) = server.opening_cpu_seconds_per_million_connections
    {
        parts.push(format!(
            "{} s per million connections opened",
            significant(cost)
        ));
    }
    if let (Some(before), Some(open)) = (server.rss_before_bytes, server.rss_open_bytes) {
        parts.push(format!("RSS {} -> {}", bytes(before), bytes(open)));
    }
    if let Some(each) = server.rss_per_connection_bytes {
        parts.push(format!("{each:.0} B per connection"));
    }
    if parts.is_empty() {
        "could not be read".to_owned()
    } else {
        parts.join(", ")
    }
}

fn client(report: &Report) -> String {
    let uses: Vec<String> = report
        .clients
        .iter()
        .map(|client| {
            let waiting = waiting(client.waiting_percent);
            format!("{:.0} %{waiting}", client.cpu_percent)
        })
        .collect();
    if uses.is_empty() {
        "not measured".to_owned()
    } else {
        format!("CPU of a core: {}", uses.join(", "))
    }
}

fn waiting(percent: f64) -> String {
    if percent >= 1.0 {
        format!(" and {percent:.0} % waiting for one")
    } else {
        String::new()
    }
}

fn events(report: &Report) -> String {
    let events: Vec<String> = report
        .events
        .iter()
        .map(|(name, times)| format!("{} {name}", count(*times)))
        .collect();
    events.join(", ")
}

fn correctness(report: &Report) -> String {
    let found = &report.correctness;
    let mut text = format!(
        "{} expected: {} lost, {} duplicated, {} out of order, {} corrupted",
        count(found.expected),
        count(found.lost),
        count(found.duplicated),
        count(found.out_of_order),
        count(found.corrupted)
    );
    if let (Some(compared), Some(differing)) =
        (found.subscribers_compared, found.subscribers_in_other_order)
    {
        let _ = write!(
            text,
            "; {} of {} compared subscribers saw another order",
            count(differing),
            count(compared)
        );
    }
    text
}
