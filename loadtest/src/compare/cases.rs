//! What is compared. A case is one run of the load test, with the same load for everybody.

use anyhow::{Result, bail};

/// What a case has to be spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Messages that come back.
    Echo,
    /// Subscribers of a channel.
    Fanout,
    /// Many channels, each with a publisher and a subscriber.
    Pairs,
    /// Connections that do nothing.
    Idle,
    /// Connections that come and go.
    Churn,
}

/// The number that a case is ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Server CPU seconds per million messages.
    Messages,
    /// Server CPU seconds per million connections opened, while they are opened.
    Openings,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    /// The load test's scenario.
    pub scenario: &'static str,
    pub kind: Kind,
    pub cost: Cost,
    pub arguments: &'static [&'static str],
    /// Over TLS.
    pub secure: bool,
}

const fn case(
    name: &'static str,
    title: &'static str,
    scenario: &'static str,
    kind: Kind,
    arguments: &'static [&'static str],
) -> Case {
    Case {
        name,
        title,
        scenario,
        kind,
        cost: Cost::Messages,
        arguments,
        secure: false,
    }
}

/// All cases, in the order in which they are run.
pub const CASES: &[Case] = &[
    case(
        "echo-64-100",
        "echo, 64 B, 100 connections, 40,000 per second",
        "echo",
        Kind::Echo,
        &["--connections", "100", "--rate", "40k"],
    ),
    case(
        "echo-64-1000",
        "echo, 64 B, 1,000 connections, 40,000 per second",
        "echo",
        Kind::Echo,
        &["--connections", "1000", "--rate", "40k"],
    ),
    case(
        "echo-64-10000",
        "echo, 64 B, 10,000 connections, 40,000 per second",
        "echo",
        Kind::Echo,
        &["--connections", "10000", "--rate", "40k"],
    ),
    case(
        "echo-50k",
        "echo, 64 B, 1,000 connections, 50,000 per second",
        "echo",
        Kind::Echo,
        &["--connections", "1000", "--rate", "50k"],
    ),
    case(
        "echo-64-100-flat",
        "echo, 64 B, 100 connections, flat out",
        "echo",
        Kind::Echo,
        &["--connections", "100"],
    ),
    case(
        "echo-64-1000-flat",
        "echo, 64 B, 1,000 connections, flat out",
        "echo",
        Kind::Echo,
        &["--connections", "1000"],
    ),
    case(
        "echo-64-10000-flat",
        "echo, 64 B, 10,000 connections, flat out",
        "echo",
        Kind::Echo,
        &["--connections", "10000"],
    ),
    case(
        "echo-16k-64",
        "echo, 16 KiB, 64 connections, flat out",
        "echo",
        Kind::Echo,
        &["--connections", "64", "--size", "16KiB"],
    ),
    case(
        "fanout-1000-flat",
        "fan-out to 1,000, 64 B, 16 in flight",
        "fanout",
        Kind::Fanout,
        &["--subscribers", "1000", "--in-flight", "16"],
    ),
    case(
        "fanout-10000-flat",
        "fan-out to 10,000, 64 B, 16 in flight",
        "fanout",
        Kind::Fanout,
        &["--subscribers", "10000", "--in-flight", "16"],
    ),
    case(
        "fanout-1000-paced",
        "fan-out to 1,000, 64 B, 100 per second",
        "fanout",
        Kind::Fanout,
        &["--subscribers", "1000", "--rate", "100"],
    ),
    case(
        "json-pairs",
        "JSON: 100 publishers, 100 channels of one subscriber, 100 in flight",
        "fanout",
        Kind::Pairs,
        &[
            "--subscribers",
            "100",
            "--publishers",
            "100",
            "--channels",
            "100",
            "--in-flight",
            "100",
        ],
    ),
    Case {
        cost: Cost::Openings,
        ..case(
            "idle-19000",
            "19,000 connections opened and held",
            "idle",
            Kind::Idle,
            &["--connections", "19000"],
        )
    },
    case(
        "churn",
        "connect, upgrade, echo, close; 16 at once",
        "churn",
        Kind::Churn,
        &["--in-flight", "16"],
    ),
    case(
        "churn-paced",
        "connect, upgrade, echo, close; 8,000 per second",
        "churn",
        Kind::Churn,
        &["--connections", "64", "--rate", "8k"],
    ),
    Case {
        secure: true,
        ..case(
            "echo-wss-64-100",
            "echo over TLS, 64 B, 100 connections, flat out",
            "echo",
            Kind::Echo,
            &["--connections", "100"],
        )
    },
    Case {
        secure: true,
        ..case(
            "echo-wss-16k-100",
            "echo over TLS, 16 KiB, 100 connections, flat out",
            "echo",
            Kind::Echo,
            &["--connections", "100", "--size", "16KiB"],
        )
    },
];

/// The cases with these names; without names, all that are not over TLS.
///
/// # Errors
/// An unknown name.
pub fn named(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(CASES.iter().filter(|case| !case.secure).collect());
    }
    let find = |name: &String| match CASES.iter().find(|case| case.name == name) {
        Some(case) => Ok(case),
        None => bail!("there is no case {name:?}; --list names them all"),
    };
    names.iter().map(find).collect()
}
