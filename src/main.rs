//! The server program: arguments, configuration, engine, signals, exit code.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use clap::{Args, Parser, Subcommand};
use shardwire::config::{Environment, Layers, Loaded};
use shardwire::runtime::{allocator, preflight};
use shardwire::storage::StorageError;
use shardwire::{Engine, EngineError, EngineHandle, StartError, telemetry};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use telemetry::log::InstalledLog;

/// A sharded, thread-per-core WebSocket engine.
#[derive(Debug, Parser)]
#[command(
    name = "shardwire",
    version,
    after_help = "Every key of the configuration is explained in docs/reference/config.md."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    layers: LayerArguments,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or SIGINT (the default); SIGHUP reads the configuration again
    Serve,
    /// Read the configuration, tell everything that is wrong with it, and start nothing
    CheckConfig,
    /// Show the configuration
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// Print every key with the value that holds and where it comes from, secrets hidden
    Print,
}

/// Where the configuration comes from, beside the environment.
#[derive(Debug, Clone, Args)]
struct LayerArguments {
    /// Configuration file (TOML); without it no file is read
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, such as 0.0.0.0:8080; short for --set listen.address=ADDRESS
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Any key of the configuration, such as shards.count=2; goes before the environment and the file; may be repeated
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

/// How the program ends, in the numbers of `sysexits.h`, which service managers know.
mod exit {
    /// Everything went as it should; also `--help` and `--version`.
    pub const OK: u8 = 0;
    /// A second signal ended what the first had asked to end well.
    pub const CUT_SHORT: u8 = 1;
    /// The command line cannot be understood.
    pub const USAGE: u8 = 64;
    /// The engine cannot start here: a port is taken, a limit too low, io_uring denied.
    pub const UNAVAILABLE: u8 = 69;
    /// A shard broke while the engine ran. A restart helps.
    pub const BROKEN: u8 = 70;
    /// The system does not tell, or not do, what it must.
    pub const SYSTEM: u8 = 71;
    /// The configuration is at fault. A restart does not help.
    pub const CONFIG: u8 = 78;
}

/// Why the program cannot do what it was asked to.
struct Failure {
    code: u8,
    /// One or several lines for the operator, one thing each.
    messages: String,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version come this way too, and go to standard output. Where nobody reads, nothing is lost.
            let _ = answer.print();
            return ExitCode::from(if answer.use_stderr() {
                exit::USAGE
            } else {
                exit::OK
            });
        }
    };
    let outcome = match arguments.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(&arguments.layers),
        Command::CheckConfig => check_config(&arguments.layers),
        Command::Config {
            what: ConfigCommand::Print,
        } => print_config(&arguments.layers),
    };
    match outcome {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            for message in failure.messages.lines() {
                say(io::stderr(), &format!("error: {message}"));
            }
            ExitCode::from(failure.code)
        }
    }
}

/// `shardwire serve`: until a signal, or until the engine ends by itself.
fn serve(arguments: &LayerArguments) -> Result<(), Failure> {
    // Before any thread has a heap. Where it is refused, the server is slower and not wrong.
    allocator::keep_freed_memory();
    let loaded = load(arguments)?;
    let log = telemetry::log::install(&loaded.settings.log).map_err(|error| Failure {
        code: exit::CONFIG,
        messages: error.to_string(),
    })?;
    // Before the engine starts: a signal during the start is then kept, instead of killing half an engine.
    let secure = loaded.settings.listen.tls.is_some();
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| Failure {
        code: exit::SYSTEM,
        messages: format!("cannot wait for signals: {error}"),
    })?;
    let page = loaded.settings.page.enabled;
    let engine = Engine::builder(loaded.config)
        .start()
        .map_err(cannot_start)?;
    let address = engine.local_address();
    // On standard output, so that a script can wait for it and read the port; nothing else goes there.
    say(io::stdout(), &format!("shardwire listening on {address}"));
    if let Some(admin) = engine.admin_address() {
        say(io::stdout(), &format!("shardwire admin on {admin}"));
    }
    let (ws, http) = match secure {
        true => ("wss", "https"),
        false => ("ws", "http"),
    };
    tracing::info!("clients connect to {ws}://{address}/ws");
    if page {
        tracing::info!("see it work: open {http}://{address}/ in two tabs");
    }
    let (draining, reloading, arguments) = (engine.clone(), engine.clone(), arguments.clone());
    let reload = move || reload(&reloading, &log, &arguments);
    on_signals(signals, reload, move || draining.drain()).map_err(|error| Failure {
        code: exit::SYSTEM,
        messages: format!("cannot start a thread for signals: {error}"),
    })?;
    match engine.wait() {
        Ok(()) => Ok(()),
        // Clients that do not answer in time are theirs to mend; the server ended as it was told.
        Err(cut @ EngineError::Cut { .. }) => {
            tracing::warn!("{cut}");
            Ok(())
        }
        Err(error) => Err(Failure {
            code: exit::BROKEN,
            messages: error.to_string(),
        }),
    }
}

fn cannot_start(error: StartError) -> Failure {
    let code = match error {
        StartError::Config(_) | StartError::Authentication(_) => exit::CONFIG,
        // Another server, which may end and leave the directory to this one.
        StartError::Storage(StorageError::Busy { .. }) => exit::UNAVAILABLE,
        StartError::Storage(_) => exit::CONFIG,
        _ => exit::UNAVAILABLE,
    };
    Failure {
        code,
        messages: error.to_string(),
    }
}

/// SIGHUP: reads the configuration again and takes over what can change. One with faults changes nothing. The certificate is read
/// again in any case.
fn reload(engine: &EngineHandle, log: &InstalledLog, arguments: &LayerArguments) {
    // Whatever comes of it, the engine has logged it.
    drop(engine.reload_certificate());
    let outcome = load(arguments).and_then(|loaded| {
        let reloaded = engine.reload(&loaded.config).map_err(cannot_start)?;
        log.set_level(&reloaded.settings.log)
            .map_err(|error| Failure {
                code: exit::CONFIG,
                messages: error.to_string(),
            })?;
        Ok(reloaded)
    });
    match outcome {
        Ok(reloaded) => {
            for key in &reloaded.needs_restart {
                tracing::warn!(
                    key,
                    "the new value needs a restart; the old one stays in force"
                );
            }
            let applied = reloaded.applied.join(", ");
            tracing::info!(applied, "configuration read again");
        }
        Err(failure) => {
            for fault in failure.messages.lines() {
                tracing::error!(fault, "the new configuration has a fault");
            }
            tracing::error!("the old configuration stays in force");
        }
    }
}

/// Calls `reload` at every SIGHUP and `drain` at the first signal to end; a second one ends the process at once, for the operator who
/// will not wait. Two threads, because draining blocks while the second signal must be heard; both now, because under pressure there
/// may be none to be had.
fn on_signals(
    mut signals: Signals,
    reload: impl Fn() + Send + 'static,
    drain: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let (order, ordered) = mpsc::channel();
    thread::Builder::new()
        .name("drain".to_owned())
        .spawn(move || {
            if ordered.recv().is_ok() {
                drain();
            }
        })?;
    let listen = move || {
        let mut told_to_end = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                if !told_to_end {
                    reload();
                }
            } else if told_to_end {
                tracing::warn!("ended by a second signal before everything was drained");
                std::process::exit(exit::CUT_SHORT.into());
            } else {
                told_to_end = true;
                tracing::info!("a second signal ends at once");
                let _ = order.send(());
            }
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(listen)?;
    Ok(())
}

/// `shardwire check-config`
fn check_config(arguments: &LayerArguments) -> Result<(), Failure> {
    let loaded = load(arguments)?;
    say(io::stdout(), "configuration is valid");
    for note in &loaded.settings.notes {
        say(io::stdout(), &format!("note: {note}"));
    }
    Ok(())
}

/// `shardwire config print`
fn print_config(arguments: &LayerArguments) -> Result<(), Failure> {
    let loaded = load(arguments)?;
    say(io::stdout(), loaded.effective().trim_end());
    Ok(())
}

/// The configuration from the file, the environment and the command line.
fn load(arguments: &LayerArguments) -> Result<Loaded, Failure> {
    let environment = environment()?;
    let mut layers = Layers::new().variables(std::env::vars_os());
    if let Some(path) = &arguments.config {
        layers = layers.file(path);
    }
    for (key, value) in &arguments.set {
        layers = layers.option("--set", key, value);
    }
    if let Some(address) = &arguments.listen {
        layers = layers.option("--listen", "listen.address", address);
    }
    layers.load(&environment).map_err(|faults| Failure {
        code: exit::CONFIG,
        messages: faults.to_string(),
    })
}

/// What this machine gives; the soft limit of open files is raised to the hard one on the way, as the engine does.
fn environment() -> Result<Environment, Failure> {
    preflight::open_file_limit()
        .map(Environment::detect)
        .map_err(|error| Failure {
            code: exit::SYSTEM,
            messages: error.to_string(),
        })
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err(format!(
            "a key and its value are needed, such as {text}=VALUE"
        )),
    }
}

/// A line for the operator. One that cannot be written is dropped: a closed pipe is no reason to fail.
fn say(mut to: impl Write, line: &str) {
    let _ = writeln!(to, "{line}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_value_may_contain_the_sign_that_parts_it_from_its_key() {
        assert_eq!(
            key_and_value("a.b = c=d").unwrap(),
            ("a.b".to_owned(), "c=d".to_owned())
        );
        assert!(key_and_value("a.b").unwrap_err().contains("a.b=VALUE"));
    }
}
