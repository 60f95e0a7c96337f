//! The log of the server binary: on standard error, as text or JSON.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{LogFormat, LogSettings};

/// The variable that goes before `log.level`.
const VARIABLE: &str = "RUST_LOG";

/// Why there is no log. The operator mends the variable; an embedding program leaves its own subscriber alone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `RUST_LOG` is no filter.
    #[error(
        "environment variable {VARIABLE} = {text:?}: {reason}; a filter is such as \"info\" or \"info,shardwire::listen=debug\""
    )]
    Filter {
        /// What the variable says.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The process has a log already.
    #[error("this process already has a log: {VARIABLE} and [log] have no effect")]
    Installed,
}

/// The log of this process, to change what it tells.
pub struct InstalledLog {
    set: Box<dyn Fn(EnvFilter) -> bool + Send + Sync>,
}

impl std::fmt::Debug for InstalledLog {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("InstalledLog")
    }
}

impl InstalledLog {
    /// From now on `settings.level` holds, unless `RUST_LOG` goes before it. The format stays.
    ///
    /// # Errors
    /// [`LogError::Filter`]; the old level stays then.
    pub fn set_level(&self, settings: &LogSettings) -> Result<(), LogError> {
        let filter = filter(settings, std::env::var(VARIABLE).ok().as_deref())?;
        if (self.set)(filter) {
            Ok(())
        } else {
            Err(LogError::Installed)
        }
    }
}

/// Makes the events of the whole process go to standard error, as `settings` say; `RUST_LOG` goes before `log.level`, and unlike it can
/// choose by module. For a program's start, once.
pub fn install(settings: &LogSettings) -> Result<InstalledLog, LogError> {
    let filter = filter(settings, std::env::var(VARIABLE).ok().as_deref())?;
    // See https://no-color.org: any text switches colours off.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    let colours = io::stderr().is_terminal() && !plain;
    let (subscriber, log) = subscriber(settings.format, filter, colours, io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Installed)?;
    Ok(log)
}

fn filter(settings: &LogSettings, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    let text = variable.map(str::trim).filter(|text| !text.is_empty());
    let level = settings.level.to_string();
    EnvFilter::try_new(text.unwrap_or(&level)).map_err(|error| LogError::Filter {
        text: text.unwrap_or(&level).to_owned(),
        reason: error.to_string(),
    })
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colours: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, InstalledLog)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours)
        // A log that cannot be written would be complained about on standard error, which panics when that is closed.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => {
            let lines = lines.with_filter_reloading();
            let log = installed(lines.reload_handle());
            (Box::new(lines.finish()), log)
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_filter_reloading();
            let log = installed(lines.reload_handle());
            (Box::new(lines.finish()), log)
        }
    }
}

fn installed<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> InstalledLog {
    InstalledLog {
        set: Box::new(move |filter| handle.reload(filter).is_ok()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::LogLevel;

    /// Everything that is written, kept.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log says of one event of each level.
    fn told(settings: &LogSettings, variable: Option<&str>) -> Vec<String> {
        let page = Page::default();
        let writer = page.clone();
        let filter = filter(settings, variable).unwrap();
        let (subscriber, _) = subscriber(settings.format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(shard = 1, "first");
            tracing::info!(shard = 2, "second");
            tracing::debug!(shard = 3, "third");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_level_chooses_and_the_variable_goes_before_it() {
        let settings = |level| LogSettings {
            level,
            format: LogFormat::Text,
        };
        for (level, lines) in [
            (LogLevel::Off, 0),
            (LogLevel::Error, 1),
            (LogLevel::Info, 2),
            (LogLevel::Debug, 3),
        ] {
            assert_eq!(told(&settings(level), None).len(), lines, "{level}");
        }
        assert_eq!(told(&settings(LogLevel::Off), Some("debug")).len(), 3);
        assert_eq!(
            told(&settings(LogLevel::Debug), Some("shardwire=error")).len(),
            1
        );
        assert_eq!(told(&settings(LogLevel::Info), Some(" ")).len(), 2);
        assert!(told(&settings(LogLevel::Info), None)[1].contains("second shard=2"));
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let page = Page::default();
        let writer = page.clone();
        let settings = |level| LogSettings {
            level,
            format: LogFormat::Json,
        };
        let quiet = filter(&settings(LogLevel::Error), None).unwrap();
        let (subscriber, log) = subscriber(LogFormat::Json, quiet, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("not told");
            assert!((log.set)(filter(&settings(LogLevel::Info), None).unwrap()));
            tracing::info!("told");
        });
        let bytes = page.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            !text.contains("not told") && text.contains("told"),
            "{text}"
        );
    }

    #[test]
    fn a_line_of_json_is_one_object_with_the_fields_at_the_top() {
        let lines = told(
            &LogSettings {
                level: LogLevel::Info,
                format: LogFormat::Json,
            },
            None,
        );
        let object: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(
            (&object["message"], &object["shard"], &object["level"]),
            (&"second".into(), &2.into(), &"INFO".into())
        );
    }

    #[test]
    fn a_wrong_filter_is_refused_with_an_example() {
        let settings = LogSettings {
            level: LogLevel::Info,
            format: LogFormat::Text,
        };
        let error = filter(&settings, Some("info,shardwire=loud"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("RUST_LOG = \"info,shardwire=loud\"") && error.contains("such as"),
            "{error}"
        );
    }
}
