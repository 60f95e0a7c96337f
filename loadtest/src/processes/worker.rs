//! What one process does: its share of the connections and the load.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::link::Link;
use super::served::Served;
use crate::args::{CommonArguments, ScenarioArguments};
use crate::client::{Client, ClientOptions, Ramp, Target, Trust};
use crate::measure::clock::SECOND;
use crate::scenarios::churn::{Churn, ChurnPlan};
use crate::scenarios::echo::{Echo, EchoPlan};
use crate::scenarios::fanout::{Fanout, FanoutPlan};
use crate::scenarios::idle::{Idle, IdlePlan};
use crate::scenarios::pace::{Load, share};
use crate::scenarios::presence::{Presence, PresencePlan};
use crate::scenarios::recover::{Recover, RecoverPlan};
use crate::scenarios::run::{Phases, Run};
use crate::scenarios::{Identity, Scenario, template};

/// Time to open everything, besides what a connect rate needs.
const PREPARE: u64 = 60 * SECOND;
/// How long the server may take to answer a close frame.
const CLOSE_TIMEOUT: u64 = 2 * SECOND;
/// Open files of a process besides its connections.
const OTHER_FILES: u64 = 16;
/// Default publishes per second.
const FANOUT_RATE: f64 = 100.0;
/// Default cycles at once.
const CHURN_IN_FLIGHT: u32 = 16;
/// A subscriber keeps a bit for each.
const MEMBERS_MAX: u64 = 1 << 20;
/// What the server may put around a message body.
const ENVELOPE: usize = 64 * 1024;

/// How load is offered: defaults included, for the whole run.
pub fn load(arguments: &ScenarioArguments) -> Option<Load> {
    let either = |rate: Option<f64>, in_flight: Option<u32>, default: Load| {
        rate.map(Load::Rate)
            .or(in_flight.map(Load::InFlight))
            .unwrap_or(default)
    };
    match arguments {
        ScenarioArguments::Echo(echo) => Some(either(echo.rate, echo.in_flight, Load::InFlight(1))),
        ScenarioArguments::Fanout(fanout) => Some(either(
            fanout.rate,
            fanout.in_flight,
            Load::Rate(FANOUT_RATE),
        )),
        ScenarioArguments::Idle(idle) => idle.probe_rate.map(Load::Rate),
        ScenarioArguments::Presence(presence) => Some(Load::Rate(presence.rate)),
        ScenarioArguments::Churn(churn) => Some(either(
            churn.rate,
            churn.in_flight,
            Load::InFlight(CHURN_IN_FLIGHT),
        )),
        ScenarioArguments::Recover(recover) => Some(Load::Rate(recover.rate)),
    }
}

/// Checks what can be checked before any process is started.
///
/// # Errors
/// With a text for the user.
pub fn check(arguments: &ScenarioArguments) -> Result<()> {
    let common = arguments.common();
    let target = Target::parse(&common.url)?;
    trust(common, &target)?;
    let starts_server =
        matches!(arguments, ScenarioArguments::Recover(recover) if recover.server.is_some());
    if target.address.port() == 0 && !starts_server {
        bail!("in the URL {:?}: 0 is not a port", common.url);
    }
    if let Some(other) = common
        .source_addresses
        .0
        .iter()
        .find(|address| address.is_ipv4() != target.address.is_ipv4())
    {
        bail!(
            "the source address {other} cannot reach {}: the families differ",
            target.address.ip()
        );
    }
    match arguments {
        ScenarioArguments::Fanout(fanout)
            if fanout.stopped > 0 && fanout.subscribed_match.is_empty() =>
        {
            bail!("--stopped needs confirmed subscriptions: --subscribed-match")
        }
        ScenarioArguments::Fanout(fanout) => {
            template::check_body(&fanout.publish_template).context("--publish-template")?
        }
        ScenarioArguments::Echo(echo) => {
            if let Some(text) = &echo.template {
                template::check_body(text).context("--template")?;
            }
        }
        ScenarioArguments::Presence(presence) => {
            if !common.url.contains("{n}") {
                bail!(
                    "--url needs {{n}}, so that each member is somebody else: ws://host:port/ws?user=m{{n}}"
                );
            }
            if presence.members > MEMBERS_MAX {
                bail!("at most {MEMBERS_MAX} --members");
            }
        }
        ScenarioArguments::Recover(_) if common.processes > 1 => {
            bail!(
                "recover runs in one process, which compares all that was acknowledged with all that arrived"
            )
        }
        ScenarioArguments::Recover(recover) if recover.server.is_some() && target.tls => {
            bail!("--server starts a server without TLS, and the URL says wss://")
        }
        ScenarioArguments::Idle(_)
        | ScenarioArguments::Churn(_)
        | ScenarioArguments::Recover(_) => {}
    }
    let processes = common.processes;
    let connections = (0..processes)
        .map(|index| connections(arguments, index, processes))
        .max();
    check_open_files(u64::from(connections.unwrap_or(0)), processes)
}

/// Raises the open-file limit as far as it may be raised.
fn check_open_files(connections: u64, processes: u32) -> Result<()> {
    let needed = connections + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if needed <= hard {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        return setrlimit(Resource::Nofile, raised).context("cannot raise the open-file limit");
    }
    let per_process = hard.saturating_sub(OTHER_FILES).max(1);
    let enough = (connections * u64::from(processes)).div_ceil(per_process);
    bail!(
        "a process needs {needed} open files, but may have {hard}; raise the limit (as root: ulimit -Hn {needed}; ulimit -n {needed}) \
         or spread the connections: --processes {enough}"
    );
}

/// Connections of one process.
fn connections(arguments: &ScenarioArguments, index: u32, processes: u32) -> u32 {
    let part = |total: u32| share(u64::from(total), index, processes) as u32;
    match arguments {
        ScenarioArguments::Echo(echo) => part(echo.connections),
        ScenarioArguments::Fanout(fanout) => part(fanout.subscribers) + part(fanout.publishers),
        ScenarioArguments::Idle(idle) => part(idle.connections),
        ScenarioArguments::Presence(presence) => {
            part(presence.subscribers) + part(presence.members as u32)
        }
        ScenarioArguments::Churn(churn) => match load(arguments) {
            Some(Load::InFlight(slots)) => part(slots),
            _ => part(churn.connections),
        },
        ScenarioArguments::Recover(recover) => recover.subscribers + recover.publishers,
    }
}

/// Runs this process' part and gives the link back.
///
/// # Errors
/// Nothing could be connected, or the other processes are gone.
pub fn work<L: Link>(
    arguments: &ScenarioArguments,
    identity: Identity,
    link: L,
    interrupted: &AtomicBool,
) -> Result<L> {
    let common = arguments.common();
    let (index, processes) = (identity.index, identity.processes);
    let connections = connections(arguments, index, processes);
    // Every process has to raise its own limit.
    check_open_files(u64::from(connections), processes)?;
    let connect_rate = common.connect_rate.map(|rate| rate / f64::from(processes));
    let ramp = Ramp::new(connections, common.opening_at_once as usize, connect_rate);
    let ramp_time = connect_rate.map_or(0, |rate| {
        (f64::from(connections) / rate * SECOND as f64) as u64
    });
    let phases = Phases {
        prepare: PREPARE + ramp_time,
        warmup: arguments.warmup().as_nanos() as u64,
        duration: arguments.duration().as_nanos() as u64,
        grace: common.grace.as_nanos() as u64,
    };
    let load = load(arguments);
    let count = arguments
        .count()
        .map(|count| share(count, index, processes));
    match arguments {
        ScenarioArguments::Echo(echo) => {
            let plan = EchoPlan {
                connections,
                size: echo.size,
                text: echo.text || echo.template.is_some(),
                template: echo.template.clone(),
                load: match load {
                    Some(rate @ Load::Rate(_)) => rate.share(index, processes),
                    other => other.unwrap_or(Load::InFlight(1)),
                },
                count,
            };
            let client = client(common, echo.size)?;
            run(
                Echo::new(plan, identity, ramp)?,
                client,
                link,
                phases,
                interrupted,
            )
        }
        ScenarioArguments::Fanout(fanout) => {
            // Only processes with publishers offer load.
            let offering = processes.min(fanout.publishers);
            let load = load.unwrap_or(Load::Rate(FANOUT_RATE));
            let plan = FanoutPlan {
                publishers: fanout.publishers,
                subscribers: share(u64::from(fanout.subscribers), index, processes) as u32,
                channels: fanout.channels,
                stopped: share(u64::from(fanout.stopped), index, processes) as u32,
                size: fanout.size,
                channel_name: fanout.channel_name.clone(),
                subscribe_template: fanout.subscribe_template.clone(),
                publish_template: fanout.publish_template.clone(),
                subscribed_match: fanout.subscribed_match.clone(),
                error_match: fanout.error_match.clone(),
                subscribe_timeout: common.connect_timeout.as_nanos() as u64,
                load: load.share(index, offering),
                count: fanout.count.map(|count| share(count, index, offering)),
            };
            let client = client(common, fanout.size)?;
            run(
                Fanout::new(plan, identity, ramp)?,
                client,
                link,
                phases,
                interrupted,
            )
        }
        ScenarioArguments::Idle(_) => {
            let probe_rate = match load {
                Some(Load::Rate(rate)) => Some(rate / f64::from(processes)),
                _ => None,
            };
            let idle = Idle::new(
                IdlePlan {
                    connections,
                    probe_rate,
                },
                identity,
                ramp,
            );
            run(idle, client(common, 0)?, link, phases, interrupted)
        }
        ScenarioArguments::Presence(presence) => {
            let rate = presence.rate / f64::from(processes);
            let time = (phases.warmup + phases.duration) as f64 / SECOND as f64;
            let own = |total: u64| share(total, index, processes) as u32;
            let plan = PresencePlan {
                watchers: own(u64::from(presence.subscribers)),
                members: presence.members as u32,
                own_members: own(presence.members),
                own_stay: own(presence.stay.min(presence.members)),
                channel: presence.channel.clone(),
                rate,
                steps: (time * rate) as u64,
                away: (presence.away.as_secs_f64() * rate / 2.0) as u64,
                budget: presence.budget.map(|budget| budget as u64),
                silent_flaps: presence.silent_flaps,
                subscribe_timeout: common.connect_timeout.as_nanos() as u64,
            };
            // Members by their number in the run, subscribers by those behind.
            let numbers = (0..connections)
                .map(|tag| match tag.checked_sub(plan.watchers) {
                    Some(member) => member * processes + index,
                    None => plan.members + tag * processes + index,
                })
                .collect();
            let client = Client::new(ClientOptions {
                numbers,
                ..options(common, presence.budget.unwrap_or(ENVELOPE))?
            })
            .context("cannot prepare the client")?;
            let presence = Presence::new(plan, identity, ramp)?;
            run(presence, client, link, phases, interrupted)
        }
        ScenarioArguments::Churn(churn) => {
            let load = load
                .unwrap_or(Load::InFlight(CHURN_IN_FLIGHT))
                .share(index, processes);
            let plan = ChurnPlan {
                slots: connections,
                size: churn.size,
                text: churn.text,
                load,
                count,
            };
            run(
                Churn::new(plan, identity),
                client(common, churn.size)?,
                link,
                phases,
                interrupted,
            )
        }
        ScenarioArguments::Recover(recover) => {
            let mut common = common.clone();
            let server = match &recover.server {
                Some(program) => Some(serve(program, &mut common, &recover.channel_name)?),
                None => None,
            };
            let plan = RecoverPlan {
                subscribers: recover.subscribers,
                channels: recover.channels,
                publishers: recover.publishers,
                rate: recover.rate,
                size: recover.size,
                channel_name: recover.channel_name.clone(),
                cut_every: (!recover.cut_every.is_zero())
                    .then_some(recover.cut_every.as_nanos() as u64),
                kill_after: phases.warmup + phases.duration / 2,
                duration: phases.warmup + phases.duration,
            };
            let client = client(&common, recover.size)?;
            run(
                Recover::new(plan, identity, ramp, server)?,
                client,
                link,
                phases,
                interrupted,
            )
        }
    }
}

/// Starts the server that `recover` kills, and leads the connections to it.
fn serve(program: &Path, common: &mut CommonArguments, channel_name: &str) -> Result<Served> {
    let target = Target::parse(&common.url)?;
    let channels = template::channel_name(channel_name, "*");
    let served = Served::start(program, target.address, &channels).context("--server")?;
    common.url = format!("ws://{}{}", served.address(), target.path);
    Ok(served)
}

fn run<S: Scenario, L: Link>(
    scenario: S,
    client: Client,
    link: L,
    phases: Phases,
    interrupted: &AtomicBool,
) -> Result<L> {
    Run::new(scenario, client, link, phases, interrupted).run()
}

/// Whom to trust, if the URL wants TLS.
fn trust(common: &CommonArguments, target: &Target) -> Result<Option<Trust>> {
    match (target.tls, &common.ca) {
        (false, None) => Ok(None),
        (true, Some(authorities)) => Trust::new(authorities, &target.name)
            .context("--ca")
            .map(Some),
        (true, None) => bail!("wss:// needs --ca: the certificates to trust, a PEM file"),
        (false, Some(_)) => bail!("--ca is for wss://, and the URL says ws://"),
    }
}

fn client(common: &CommonArguments, body: usize) -> Result<Client> {
    Client::new(options(common, body)?).context("cannot prepare the client")
}

fn options(common: &CommonArguments, body: usize) -> Result<ClientOptions> {
    let mut headers = common.headers.clone();
    if let Some(subprotocol) = &common.subprotocol {
        headers.push(("Sec-WebSocket-Protocol".to_owned(), subprotocol.clone()));
    }
    let target = Target::parse(&common.url)?;
    Ok(ClientOptions {
        trust: trust(common, &target)?,
        target,
        compress: common.compress,
        source_addresses: common.source_addresses.0.clone(),
        headers,
        connect_timeout: common.connect_timeout.as_nanos() as u64,
        close_timeout: CLOSE_TIMEOUT,
        // Several messages may come in one.
        max_message_size: (body + ENVELOPE) * 16,
        numbers: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::{Arguments, Task};
    use clap::Parser;

    fn arguments(line: &str) -> ScenarioArguments {
        match Arguments::try_parse_from(line.split(' ')).unwrap().task {
            Task::Scenario(scenario) => *scenario,
            Task::Compare(_) => panic!("no scenario: {line}"),
        }
    }

    #[test]
    fn too_many_connections_for_the_open_file_limit_name_the_way_out() {
        let hard = getrlimit(Resource::Nofile).maximum;
        let Some(hard) = hard.filter(|hard| *hard < 1 << 30) else {
            return;
        };
        let error = check_open_files(hard, 1).unwrap_err().to_string();
        assert!(
            error.contains("--processes 2") && error.contains("ulimit -n"),
            "{error}"
        );
        check_open_files(hard - OTHER_FILES, 1).unwrap();
    }

    #[test]
    fn connections_are_shared_out() {
        let fanout = arguments("loadtest fanout --url ws://x --subscribers 10 --publishers 2");
        let parts: Vec<u32> = (0..3).map(|index| connections(&fanout, index, 3)).collect();
        assert_eq!(parts, [5, 4, 3]);
        let churn = arguments("loadtest churn --url ws://x --in-flight 5");
        assert_eq!(
            (connections(&churn, 0, 2), connections(&churn, 1, 2)),
            (3, 2)
        );
    }

    #[test]
    fn bad_combinations_are_refused_before_anything_starts() {
        let message = |line: &str| format!("{:#}", check(&arguments(line)).unwrap_err());
        assert!(message("loadtest echo --url wss://127.0.0.1/").contains("needs --ca"));
        assert!(message("loadtest echo --url ws://127.0.0.1:0/").contains("0 is not a port"));
        check(&arguments(
            "loadtest recover --url ws://127.0.0.1:0/ --server shardwire",
        ))
        .unwrap();
        assert!(
            message("loadtest recover --url ws://127.0.0.1:1/ --processes 2")
                .contains("one process")
        );
        assert!(message("loadtest echo --url ws://127.0.0.1/ --ca x.pem").contains("is for wss"));
        assert!(
            message("loadtest fanout --url ws://127.0.0.1:1 --publish-template x")
                .contains("--publish-template")
        );
        assert!(
            message("loadtest echo --url ws://127.0.0.1:1 --template x").contains("--template")
        );
        assert!(
            message("loadtest echo --url ws://127.0.0.1:1 --source-addresses ::1")
                .contains("families differ")
        );
    }
}
