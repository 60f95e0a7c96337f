//! An echo client for Autobahn's fuzzing server: it asks how many cases there are, plays each, and asks for the reports.
//!
//! `conformance URL AGENT [contexts]`: `contexts` offers compression that refers back to earlier messages. Started by the suite in
//! `tests/conformance`, which also judges.

use std::process::ExitCode;
use std::time::Duration;

use shardwire_client::{Compression, ConnectOptions, Message, WebSocket, connect};
use tokio::time;

/// Longer than any case gives itself (480 s): who hangs is ended, and the case is not among the results.
const CASE_TIMEOUT: Duration = Duration::from_secs(600);

/// Autobahn's largest message has 16 MiB.
const MAX_MESSAGE_SIZE: usize = 16 << 20;

fn options(contexts: bool) -> ConnectOptions {
    ConnectOptions {
        max_message_size: MAX_MESSAGE_SIZE,
        compression: Some(Compression {
            // Everything is compressed that becomes shorter by it.
            threshold: 0,
            takeover: contexts,
            ..Compression::default()
        }),
        close_timeout: Duration::from_secs(2),
        ..ConnectOptions::default()
    }
}

async fn echo(mut socket: WebSocket) {
    while let Ok(message) = socket.receive().await {
        if message.is_data() && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn run(url: &str, agent: &str, contexts: bool) -> Result<(), String> {
    let open = async |path: String| {
        connect(&format!("{url}{path}"), &options(contexts))
            .await
            .map_err(|error| format!("{path}: {error}"))
    };
    let mut socket = open("/getCaseCount".to_owned()).await?;
    let count: u32 = match socket.receive().await {
        Ok(Message::Text(count)) => count
            .parse()
            .map_err(|error| format!("not a count: {count}: {error}"))?,
        other => return Err(format!("no count of cases: {other:?}")),
    };
    // How the connection ends is of no interest: the count is here.
    let _ = socket.close(1000, "").await;
    for case in 1..=count {
        let socket = open(format!("/runCase?case={case}&agent={agent}")).await?;
        if time::timeout(CASE_TIMEOUT, echo(socket)).await.is_err() {
            eprintln!("case {case} of {count} hangs");
        }
    }
    let mut socket = open(format!("/updateReports?agent={agent}")).await?;
    while socket.receive().await.is_ok() {}
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [url, agent] => run(url, agent, false).await,
        [url, agent, contexts] if contexts == "contexts" => run(url, agent, true).await,
        _ => Err("usage: conformance URL AGENT [contexts]".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
