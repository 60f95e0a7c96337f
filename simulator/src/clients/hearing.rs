//! What clients understand of the server's JSON.

use serde_json::Value;

/// One message of the server, as its client understands it. Channels are named as on the wire.
#[derive(Clone, PartialEq, Debug)]
pub enum Heard {
    /// You are subscribed.
    Subscribed { channel: String, id: Option<u64> },
    /// You are no longer subscribed.
    Unsubscribed { channel: String, id: Option<u64> },
    /// Somebody published; `number` is the publication's place in the run.
    Broadcast {
        channel: String,
        number: usize,
        timestamp: u64,
    },
    /// Connections per shard.
    Counts { channel: String, counts: Vec<u64> },
    /// The JSON pong.
    Pong { id: Option<u64> },
    /// Our value came back.
    Echo { data: Value, id: Option<u64> },
    /// The application has done it.
    Worked { id: Option<u64> },
    /// Something could not be done.
    Error { code: u16, id: Option<u64> },
}

/// Reads one text message of the server.
///
/// # Errors
/// What is wrong with it: the server speaks a fixed protocol, so anything else is a fault.
pub fn understand(text: &str) -> Result<Heard, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON ({error}): {text}"))?;
    let strange = || format!("a message nobody defined: {text}");
    let id = value["id"].as_u64();
    let channel = || {
        value["channel"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(strange)
    };
    Ok(match value["type"].as_str().ok_or_else(strange)? {
        "subscribed" => Heard::Subscribed {
            channel: channel()?,
            id,
        },
        "unsubscribed" => Heard::Unsubscribed {
            channel: channel()?,
            id,
        },
        "broadcast" => {
            let message = &value["message"];
            if let Some(counts) = message["shards"].as_array() {
                let counts = counts.iter().filter_map(Value::as_u64).collect();
                Heard::Counts {
                    channel: channel()?,
                    counts,
                }
            } else {
                Heard::Broadcast {
                    channel: channel()?,
                    number: message["n"].as_u64().ok_or_else(strange)? as usize,
                    timestamp: value["timestamp"].as_u64().ok_or_else(strange)?,
                }
            }
        }
        "pong" => Heard::Pong { id },
        "worked" => Heard::Worked { id },
        "echo" => Heard::Echo {
            data: value["data"].clone(),
            id,
        },
        "error" => Heard::Error {
            code: value["code"]
                .as_u64()
                .and_then(|code| u16::try_from(code).ok())
                .ok_or_else(strange)?,
            id,
        },
        _ => return Err(strange()),
    })
}
