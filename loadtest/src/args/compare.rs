//! `compare`: what a user may ask for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::duration;

/// `compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArguments {
    /// Who is measured in every round
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "shardwire,bun,tokio-websockets"
    )]
    pub peers: Vec<String>,

    /// Who else is measured, in the first of the rounds only; empty: nobody
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "floor,fastwebsockets,axum,ws,nats,nchan"
    )]
    pub also: Vec<String>,

    /// What is measured; all that need no certificate, unless told otherwise
    #[arg(long, value_delimiter = ',')]
    pub cases: Vec<String>,

    /// Rounds; in each, everybody has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,

    /// Rounds of those who are measured as well
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub also_rounds: u32,

    /// How long load is measured in a run
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub duration: Duration,

    /// How long load is offered before it is measured
    #[arg(long, default_value = "500ms", value_parser = duration)]
    pub warmup: Duration,

    /// The core of the servers
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,

    /// The core of the client
    #[arg(long, default_value_t = 1)]
    pub client_core: usize,

    /// Scheduling priority of servers and client, from -20 (first) to 19; below 0 needs root
    #[arg(long, default_value_t = 0, allow_hyphen_values = true, value_parser = clap::value_parser!(i32).range(-20..=19))]
    pub nice: i32,

    /// The repository, where the peers and the server are
    #[arg(long, default_value = ".")]
    pub root: PathBuf,

    /// Where the tables, the plots and every run's report are put
    #[arg(long, default_value = "target/compare")]
    pub output: PathBuf,

    /// Only list who and what can be compared
    #[arg(long)]
    pub list: bool,
}
