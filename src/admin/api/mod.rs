//! The HTTP API, one file per thing it is about. `docs/guides/operations.md` shows all of it.

pub(super) mod channels;
pub(super) mod connections;
pub(super) mod control;
pub(super) mod documents;
pub(super) mod notifications;
pub(super) mod presence;
pub(super) mod publish;
pub(super) mod shards;
pub(super) mod users;

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use shardwire_protocol::codes::close;
use shardwire_protocol::envelope;
use shardwire_shards::search::NameFilter;
use shardwire_shards::vocabulary::{ConnectionId, NoConnectionId};
use tokio::time::timeout;

use super::ANSWER_LIMIT;
use super::problem::Problem;
use crate::Pending;

/// At most so many rows in one answer.
const ROWS_MAX: usize = 1_000;
const ROWS_DEFAULT: usize = 100;

/// A body as JSON. No content type is asked for: whoever has the key means what it sends.
fn read<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!("the body is not what it should be: {error}"))
    })
}

/// A message may be as deep as one of a client. (How long it may be, the engine says itself.)
fn check_depth(message: &RawValue) -> Result<(), Problem> {
    // One level is left for the envelope it goes out in.
    if envelope::is_deeper_than(message.get(), envelope::MAX_DEPTH - 1) {
        return Err(Problem::bad_request(format!(
            "the message is nested more than {} deep",
            envelope::MAX_DEPTH - 1
        )));
    }
    Ok(())
}

/// Ids in a body.
fn ids(texts: &[String]) -> Result<Vec<ConnectionId>, NoConnectionId> {
    texts.iter().map(|text| text.parse()).collect()
}

/// The outcome of a command; an engine that gives none has too much to do.
async fn outcome<T: Default + Send + 'static>(pending: Pending<T>) -> Result<T, Problem> {
    timeout(ANSWER_LIMIT, pending)
        .await
        .map_err(|_| Problem::too_slow())
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(ROWS_DEFAULT);
    if (1..=ROWS_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::bad_request(format!(
            "limit must be a whole number from 1 to {ROWS_MAX}"
        )))
    }
}

/// Which names are listed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::admin) struct Names {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

impl Names {
    fn filter(self) -> Result<NameFilter, Problem> {
        Ok(NameFilter {
            prefix: self.prefix,
            after: self.after,
            limit: limit(self.limit)?,
        })
    }
}

/// A message to somebody.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sending<'b> {
    #[serde(borrow)]
    message: &'b RawValue,
    #[serde(default)]
    except: Vec<String>,
}

/// Why somebody is closed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Closing {
    code: u16,
    reason: String,
    except: Vec<String>,
}

impl Default for Closing {
    fn default() -> Self {
        Self {
            code: close::REFUSED,
            reason: "kicked".to_owned(),
            except: Vec::new(),
        }
    }
}

impl Closing {
    /// An empty body means the defaults.
    fn read(body: &Bytes) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        read(body)
    }
}

/// Which shards have not answered; what is listed then is not all there is.
fn unanswered<T>(answers: &[Option<T>]) -> Vec<usize> {
    let silent = |(shard, answer): (usize, &Option<T>)| answer.is_none().then_some(shard);
    answers.iter().enumerate().filter_map(silent).collect()
}
