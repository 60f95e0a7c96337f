//! The server program: arguments, configuration, exit code.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use shardwire::config::{Environment, Layers, Loaded};

/// A sharded, thread-per-core WebSocket engine.
#[derive(Debug, Parser)]
#[command(
    name = "shardwire",
    version,
    after_help = "Every key of the configuration is explained in docs/reference/config.md."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    layers: LayerArguments,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Read the configuration, tell everything that is wrong with it, and start nothing
    CheckConfig,
}

/// Where the configuration comes from, beside the environment.
#[derive(Debug, Args)]
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
    /// The command line cannot be understood.
    pub const USAGE: u8 = 64;
    /// The system does not tell what it must.
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
    let outcome = match arguments.command {
        Command::CheckConfig => check_config(&arguments.layers),
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

/// `shardwire check-config`
fn check_config(arguments: &LayerArguments) -> Result<(), Failure> {
    let loaded = load(arguments)?;
    say(io::stdout(), "configuration is valid");
    for note in &loaded.settings.notes {
        say(io::stdout(), &format!("note: {note}"));
    }
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

/// What this machine gives. Of the open-file limit it is the hard one that counts: the engine raises the soft one to it.
fn environment() -> Result<Environment, Failure> {
    const LIMITS: &str = "/proc/self/limits";
    let failure = |reason: &str| Failure {
        code: exit::SYSTEM,
        messages: format!(
            "cannot learn the open-file limit from {LIMITS}: {reason}; is /proc mounted? mount -t proc proc /proc"
        ),
    };
    let limits = std::fs::read_to_string(LIMITS).map_err(|error| failure(&error.to_string()))?;
    let limit = hard_open_file_limit(&limits)
        .ok_or_else(|| failure("it has no line \"Max open files\""))?;
    Ok(Environment::detect(limit))
}

/// From `Max open files            1024                 20000                files`.
fn hard_open_file_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().nth(1)? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
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
    fn the_hard_limit_is_read_from_its_line() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             1                    2                    processes \n\
                      Max open files            1024                 20000                files     \n";
        assert_eq!(hard_open_file_limit(limits), Some(20_000));
        assert_eq!(
            hard_open_file_limit("Max open files  1024  unlimited  files"),
            Some(u64::MAX)
        );
        assert_eq!(hard_open_file_limit("Max open files"), None);
        assert_eq!(hard_open_file_limit(""), None);
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
