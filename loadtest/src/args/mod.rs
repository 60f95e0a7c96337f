//! The command line: what a user may ask for, checked before anything is opened.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod compare;
mod values;

pub use compare::CompareArguments;
use values::{SourceAddresses, body_size, duration, header, number, rate, source_addresses};

const EXAMPLES: &str = "\
Examples:
  loadtest echo   --url ws://127.0.0.1:8080/echo --connections 100 --rate 50k
  loadtest fanout --url ws://127.0.0.1:8080/ws --subscribers 1000 --rate 100 --duration 60s
  loadtest idle   --url ws://127.0.0.1:8080/ws --connections 15000 --pid 4711
  loadtest echo   --url wss://127.0.0.1:8443/echo --ca certificate.pem --compress --size 16KiB
  loadtest churn  --url ws://127.0.0.1:8080/echo --in-flight 32
  loadtest compare
  loadtest recover --url ws://127.0.0.1:0/ws --server target/release/shardwire --duration 5m
  loadtest presence --url 'ws://127.0.0.1:8080/ws?user=m{n}' --members 10k --subscribers 1000 --rate 500 --duration 60s --grace 30s

One process uses one core. Keep the client and the server on different cores (taskset -c 1 loadtest …), and
believe the report when it says that the client was the limit.

Exit code: 0 all is well; 1 something was lost, duplicated, reordered or went wrong, or nothing ran; 2 bad arguments.";

/// Puts load on any WebSocket server, and counts exactly what comes back.
#[derive(Debug, Clone, Parser)]
#[command(name = "loadtest", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub task: Task,
}

/// One run, or many.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    #[command(flatten)]
    Scenario(Box<ScenarioArguments>),
    /// Run this server and its peers in turn, and write tables and plots
    Compare(CompareArguments),
}

/// What is done.
#[derive(Debug, Clone, Subcommand)]
pub enum ScenarioArguments {
    /// Send messages that must come back unchanged on their own connection, in order
    Echo(EchoArguments),
    /// Publish into channels; every subscriber must get everything, once, in one order
    Fanout(FanoutArguments),
    /// Open many connections and hold them
    Idle(IdleArguments),
    /// Connect, upgrade, echo one message, close; again and again
    Churn(ChurnArguments),
    /// Cut subscribers of channels with history off again and again; each must get all that was acknowledged, once, in order
    Recover(RecoverArguments),
    /// Members come into a channel and leave it; who is told must know in the end who is there
    Presence(PresenceArguments),
}

/// What every scenario knows.
#[derive(Debug, Clone, Args)]
pub struct CommonArguments {
    /// Where to connect: ws://host:port/path, or wss:// with --ca
    #[arg(long)]
    pub url: String,

    /// For wss://: the certificates to trust, a PEM file
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Negotiate permessage-deflate on every connection, and compress what that makes shorter
    #[arg(long)]
    pub compress: bool,

    /// How long load is measured [default: 10s; 10m with --count]
    #[arg(long, value_parser = duration)]
    pub duration: Option<Duration>,

    /// How long load is offered before it is measured [default: 2s; 0s with --count]
    #[arg(long, value_parser = duration)]
    pub warmup: Option<Duration>,

    /// How long the last answers may take
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub grace: Duration,

    /// Process id of the server (several: repeat, or separate by commas): its CPU and memory are reported
    #[arg(long, value_delimiter = ',')]
    pub pid: Vec<u32>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,

    /// No line of progress
    #[arg(long, short)]
    pub quiet: bool,

    /// Client processes; each has one thread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub processes: u32,

    /// Local addresses to connect from, in turn: 127.0.0.2-127.0.0.9 or a list with commas
    #[arg(long, value_parser = source_addresses, default_value = "", hide_default_value = true)]
    pub source_addresses: SourceAddresses,

    /// A header of the upgrade request, such as 'Authorization: Bearer x' (may be repeated)
    #[arg(long = "header", value_parser = header)]
    pub headers: Vec<(String, String)>,

    /// The subprotocol to ask for
    #[arg(long)]
    pub subprotocol: Option<String>,

    /// Time for connecting and upgrade of one connection, and for the confirmation of a subscription
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub connect_timeout: Duration,

    /// Most connections being opened at the same time, per process
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub opening_at_once: u32,

    /// Most connections opened per second
    #[arg(long, value_parser = rate)]
    pub connect_rate: Option<f64>,

    /// Which of the processes this is (set by the program itself)
    #[arg(long, hide = true)]
    pub worker: Option<u32>,

    /// Number and base time of the run (set by the program itself)
    #[arg(long, hide = true, num_args = 2)]
    pub worker_run: Vec<u64>,
}

/// `echo`.
#[derive(Debug, Clone, Args)]
pub struct EchoArguments {
    #[command(flatten)]
    pub common: CommonArguments,

    /// Connections
    #[arg(long, short, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Length of a message, in bytes (64, 16KiB); at least 30
    #[arg(long, default_value = "64", value_parser = body_size)]
    pub size: usize,

    /// Messages per second over all connections, whatever comes back; latency counts from the intended time
    #[arg(long, value_parser = rate, conflicts_with = "in_flight")]
    pub rate: Option<f64>,

    /// Messages in flight per connection; the next is sent when one comes back [default: 1, without --rate]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: Option<u32>,

    /// Stop after so many measured messages
    #[arg(long, value_parser = number)]
    pub count: Option<u64>,

    /// Send text frames instead of binary ones
    #[arg(long)]
    pub text: bool,

    /// Text around the message, for servers that echo within an answer: '{"type":"echo","data":{message}}'
    #[arg(long)]
    pub template: Option<String>,
}

/// `fanout`.
#[derive(Debug, Clone, Args)]
pub struct FanoutArguments {
    #[command(flatten)]
    pub common: CommonArguments,

    /// Subscribers; spread evenly over the channels
    #[arg(long, short, alias = "connections", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,

    /// Publishers; each publishes into all channels in turn
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: u32,

    /// Channels
    #[arg(long, short, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,

    /// Subscribers that stop reading once they are subscribed; what the others get is measured
    #[arg(long, default_value_t = 0)]
    pub stopped: u32,

    /// Length of the text in {message}, in bytes (64, 16KiB); at least 30
    #[arg(long, default_value = "64", value_parser = body_size)]
    pub size: usize,

    /// Publishes per second of all publishers together [default: 100, without --in-flight]
    #[arg(long, value_parser = rate, conflicts_with = "in_flight")]
    pub rate: Option<f64>,

    /// Publishes in flight in the whole run; the next is sent when one has reached all subscribers
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: Option<u32>,

    /// Stop after so many measured publishes
    #[arg(long, value_parser = number)]
    pub count: Option<u64>,

    /// Name of a channel; `n` in braces is its number
    #[arg(long, default_value = "loadtest-{n}")]
    pub channel_name: String,

    /// What a subscriber sends; {channel} is the name of its channel; empty: nothing, who connects is subscribed
    #[arg(long, default_value = r#"{"type":"subscribe","channel":"{channel}"}"#)]
    pub subscribe_template: String,

    /// What a publisher sends; {message} is the message as a JSON string, {text} the same without quotes
    #[arg(
        long,
        default_value = r#"{"type":"publish","channel":"{channel}","message":{message}}"#
    )]
    pub publish_template: String,

    /// An answer holding this confirms a subscription; empty: wait half a second instead
    #[arg(long, default_value = "subscribed")]
    pub subscribed_match: String,

    /// An answer holding this is an error of the server; empty: none is
    #[arg(long, default_value = r#""type":"error""#)]
    pub error_match: String,
}

/// `idle`.
#[derive(Debug, Clone, Args)]
pub struct IdleArguments {
    #[command(flatten)]
    pub common: CommonArguments,

    /// Connections
    #[arg(long, short, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Pings per second over all connections, whose pongs are timed
    #[arg(long = "probe-rate", alias = "rate", value_parser = rate)]
    pub probe_rate: Option<f64>,
}

/// `churn`.
#[derive(Debug, Clone, Args)]
pub struct ChurnArguments {
    #[command(flatten)]
    pub common: CommonArguments,

    /// Most cycles under way at once, with --rate
    #[arg(long, short, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,

    /// Cycles per second; latency counts from the intended time
    #[arg(long, value_parser = rate, conflicts_with = "in_flight")]
    pub rate: Option<f64>,

    /// Cycles under way at once; the next begins when one ends [default: 16, without --rate]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: Option<u32>,

    /// Length of the one message, in bytes; at least 30
    #[arg(long, default_value = "64", value_parser = body_size)]
    pub size: usize,

    /// Send text frames instead of binary ones
    #[arg(long)]
    pub text: bool,

    /// Stop after so many measured cycles
    #[arg(long, value_parser = number)]
    pub count: Option<u64>,
}

/// `recover`.
#[derive(Debug, Clone, Args)]
pub struct RecoverArguments {
    #[command(flatten)]
    pub common: CommonArguments,

    /// A shardwire program: it is started at the address of --url (port 0: a free one) with histories on a disk, killed (SIGKILL) when half of
    /// the time is over, and started again [default: a server that runs already, and is not killed]
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,

    /// Subscribers; spread evenly over the channels
    #[arg(long, short, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,

    /// Publishers; each publishes into channels of its own
    #[arg(long, short, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub publishers: u32,

    /// Channels
    #[arg(long, short, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub channels: u32,

    /// Length of a message's body, in bytes (64, 16KiB); at least 30
    #[arg(long, default_value = "64", value_parser = body_size)]
    pub size: usize,

    /// Acknowledged publishes per second of all publishers together
    #[arg(long, value_parser = rate, default_value = "2000")]
    pub rate: f64,

    /// Mean time between two cuts of one connection, at random; 0s: none is cut
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub cut_every: Duration,

    /// Name of a channel, which must have history; `n` in braces is its number
    #[arg(long, default_value = "recover-{n}")]
    pub channel_name: String,
}

/// `presence`.
#[derive(Debug, Clone, Args)]
pub struct PresenceArguments {
    #[command(flatten)]
    pub common: CommonArguments,

    /// Members, each with a connection of its own; `n` in braces in the URL is its number, so that each is somebody else
    #[arg(long, short, default_value = "1000", value_parser = number)]
    pub members: u64,

    /// Subscribers that are told who is there
    #[arg(long, short, alias = "connections", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub subscribers: u32,

    /// The channel; one of the server's presence.channels
    #[arg(long, default_value = "room:loadtest")]
    pub channel: String,

    /// Joins and leaves per second: first all come, then they go and come again, at last most of them go
    #[arg(long, default_value = "500", value_parser = rate)]
    pub rate: f64,

    /// Members that stay in the end
    #[arg(long, default_value = "100", value_parser = number)]
    pub stay: u64,

    /// How long a member is away that goes and comes again
    #[arg(long, default_value = "3s", value_parser = duration)]
    pub away: Duration,

    /// Most bytes that one subscriber may be told in a second (32KiB); more counts as an error
    #[arg(long, value_parser = body_size)]
    pub budget: Option<usize>,

    /// --away is shorter than the server's grace period: whatever is told while members only go and come again counts as an error
    #[arg(long)]
    pub silent_flaps: bool,
}

impl ScenarioArguments {
    /// What all scenarios have.
    pub fn common(&self) -> &CommonArguments {
        match self {
            ScenarioArguments::Echo(echo) => &echo.common,
            ScenarioArguments::Fanout(fanout) => &fanout.common,
            ScenarioArguments::Idle(idle) => &idle.common,
            ScenarioArguments::Churn(churn) => &churn.common,
            ScenarioArguments::Recover(recover) => &recover.common,
            ScenarioArguments::Presence(presence) => &presence.common,
        }
    }

    /// Most messages, if bounded.
    pub fn count(&self) -> Option<u64> {
        match self {
            ScenarioArguments::Echo(echo) => echo.count,
            ScenarioArguments::Fanout(fanout) => fanout.count,
            ScenarioArguments::Idle(_)
            | ScenarioArguments::Recover(_)
            | ScenarioArguments::Presence(_) => None,
            ScenarioArguments::Churn(churn) => churn.count,
        }
    }

    /// How long load is measured.
    pub fn duration(&self) -> Duration {
        let default = if self.count().is_some() {
            Duration::from_secs(600)
        } else {
            Duration::from_secs(10)
        };
        self.common().duration.unwrap_or(default)
    }

    /// How long load is offered before.
    pub fn warmup(&self) -> Duration {
        let default = if self.count().is_some() {
            Duration::ZERO
        } else {
            Duration::from_secs(2)
        };
        self.common().warmup.unwrap_or(default)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<ScenarioArguments, clap::Error> {
        match Arguments::try_parse_from(line.split(' '))?.task {
            Task::Scenario(scenario) => Ok(*scenario),
            Task::Compare(_) => panic!("no scenario: {line}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// clap takes `{n}` for a line break.
    #[test]
    fn the_help_says_what_n_stands_for() {
        for (scenario, words) in [
            ("fanout", "channel; `n` in braces is its number"),
            ("recover", "history; `n` in braces is its number"),
            ("presence", "own; `n` in braces in the URL is its number"),
        ] {
            let mut command = Arguments::command();
            let command = command.find_subcommand_mut(scenario).unwrap();
            let help = command.render_long_help().to_string();
            assert!(help.contains(words), "{help}");
        }
    }

    #[test]
    fn defaults_are_enough_for_a_first_run() {
        for scenario in ["echo", "fanout", "idle", "churn", "recover", "presence"] {
            let arguments = parse(&format!("loadtest {scenario} --url ws://127.0.0.1:1/")).unwrap();
            assert_eq!(arguments.duration(), Duration::from_secs(10));
            assert_eq!(arguments.warmup(), Duration::from_secs(2));
        }
        let counted = parse("loadtest echo --url ws://x --count 1k").unwrap();
        assert_eq!(
            (counted.count(), counted.warmup()),
            (Some(1_000), Duration::ZERO)
        );
    }

    #[test]
    fn rate_and_in_flight_exclude_each_other() {
        assert!(parse("loadtest echo --url ws://x --rate 1 --in-flight 1").is_err());
    }
}
