//! What clients understand of the server's JSON.

use serde_json::Value;

/// A place in a log: epoch and offset.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Which life of the log.
    pub epoch: u64,
    /// Where in it.
    pub offset: u64,
}

/// One notification of an inbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its place in the run.
    pub number: usize,
    /// Its id.
    pub notice: String,
    /// The user has seen it.
    pub read: bool,
    /// It has come to a device.
    pub delivered: bool,
    /// A device has said so.
    pub acknowledged: bool,
}

/// One message of the server, as its client understands it. Channels are named as on the wire.
#[derive(Clone, PartialEq, Debug)]
pub enum Heard {
    /// You are subscribed.
    Subscribed {
        channel: String,
        place: Option<Place>,
        recovered: Option<bool>,
        id: Option<u64>,
    },
    /// You are no longer subscribed.
    Unsubscribed { channel: String, id: Option<u64> },
    /// Somebody published; `number` is the publication's place in the run.
    Broadcast {
        channel: String,
        number: usize,
        timestamp: u64,
        place: Option<Place>,
    },
    /// These offsets do not come.
    Gap {
        channel: String,
        from: u64,
        to: Place,
        evicted: bool,
    },
    /// So many publications without a place do not come.
    Missed { channel: String },
    /// Your publication is kept there.
    Published {
        channel: String,
        place: Place,
        id: Option<u64>,
    },
    /// What a log holds: where each publication is.
    History {
        channel: String,
        messages: Vec<(Place, usize)>,
        id: Option<u64>,
    },
    /// You are in this room, and so are these.
    RoomJoined {
        room: String,
        members: Vec<String>,
        id: Option<u64>,
    },
    /// You are in no room any more.
    RoomLeft { id: Option<u64> },
    /// Somebody came into the room.
    Came { user: String },
    /// Somebody went.
    Went { user: String },
    /// Somebody said something; `number` is its place in the run.
    Said { user: String, number: usize },
    /// Somebody types, or has stopped.
    Typing,
    /// Connections per shard.
    Counts { channel: String, counts: Vec<u64> },
    /// Who is in a channel; as an answer, if there is an id.
    PresenceState {
        channel: String,
        members: Option<Vec<String>>,
        count: u64,
        version: u64,
        id: Option<u64>,
    },
    /// Who has come, and who has gone.
    PresenceDiff {
        channel: String,
        changes: Option<[Vec<String>; 2]>,
        count: u64,
        version: u64,
    },
    /// What is known of so many users.
    PresenceUpdate { users: usize, id: Option<u64> },
    /// Somebody notifies us; `number` is its place in the run.
    Notified { number: usize, notice: String },
    /// What is in our inbox, or the newest of it.
    Inbox {
        listed: Vec<Listed>,
        unread: u64,
        total: u64,
        id: Option<u64>,
    },
    /// So many in our inbox are unread.
    Unread { count: u64 },
    /// It is noted what became of notifications, and so many are unread.
    Marked { unread: u64, id: Option<u64> },
    /// The JSON pong.
    Pong { id: Option<u64> },
    /// Our value came back.
    Echo { data: Value, id: Option<u64> },
    /// The application has done it.
    Worked { id: Option<u64> },
    /// Something could not be done.
    Error { code: u16, id: Option<u64> },
    /// Something about a document.
    Document(Value),
}

/// Reads one text message of the server.
///
/// # Errors
/// What is wrong with it: the server speaks a fixed protocol, so anything else is a fault.
pub fn understand(text: &str) -> Result<Heard, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("not JSON ({error}): {text}"))?;
    let strange = || format!("a message nobody defined: {text}");
    // What is asked about documents has a text as its id.
    let said = value["type"] == "message" || value["type"] == "notification";
    if value["documentId"].is_string() || (value["id"].is_string() && !said) {
        return Ok(Heard::Document(value));
    }
    let id = value["id"].as_u64();
    let channel = || {
        value["channel"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(strange)
    };
    let user = || {
        let user = value["userId"].as_str();
        user.map(str::to_owned).ok_or_else(strange)
    };
    Ok(match value["type"].as_str().ok_or_else(strange)? {
        "subscribed" => Heard::Subscribed {
            channel: channel()?,
            place: place(&value),
            recovered: value["recovered"].as_bool(),
            id,
        },
        "gap" if value["missed"].is_u64() => Heard::Missed {
            channel: channel()?,
        },
        "gap" => Heard::Gap {
            channel: channel()?,
            from: value["from"].as_u64().ok_or_else(strange)?,
            to: Place {
                epoch: epoch(&value).ok_or_else(strange)?,
                offset: value["to"].as_u64().ok_or_else(strange)?,
            },
            evicted: value["reason"] == "evicted",
        },
        "published" => Heard::Published {
            channel: channel()?,
            place: place(&value).ok_or_else(strange)?,
            id,
        },
        "history" => {
            let messages = value["messages"].as_array().ok_or_else(strange)?;
            let number = |it: &Value| Some((place(it)?, it["message"]["n"].as_u64()? as usize));
            Heard::History {
                channel: channel()?,
                messages: messages
                    .iter()
                    .map(number)
                    .collect::<Option<_>>()
                    .ok_or_else(strange)?,
                id,
            }
        }
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
                    place: place(&value),
                }
            }
        }
        "room:joined" => {
            let members = value["members"].as_array().into_iter().flatten();
            let name = |it: &Value| it["userId"].as_str().map(str::to_owned);
            Heard::RoomJoined {
                room: value["roomId"].as_str().ok_or_else(strange)?.to_owned(),
                members: members
                    .map(name)
                    .collect::<Option<_>>()
                    .ok_or_else(strange)?,
                id,
            }
        }
        "room:left" => Heard::RoomLeft { id },
        "user-joined" => Heard::Came { user: user()? },
        "user-left" => Heard::Went { user: user()? },
        "message" => Heard::Said {
            user: user()?,
            number: value["content"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(strange)?,
        },
        "typing-start" | "typing-stop" => Heard::Typing,
        "presence-state" => Heard::PresenceState {
            channel: channel()?,
            members: names(&value["members"]),
            count: value["count"].as_u64().ok_or_else(strange)?,
            version: value["version"].as_u64().ok_or_else(strange)?,
            id,
        },
        "presence-diff" => {
            let (joins, leaves) = (names(&value["joins"]), names(&value["leaves"]));
            Heard::PresenceDiff {
                channel: channel()?,
                changes: match (joins, leaves) {
                    (Some(joins), Some(leaves)) => Some([joins, leaves]),
                    (None, None) => None,
                    _ => return Err(strange()),
                },
                count: value["count"].as_u64().ok_or_else(strange)?,
                version: value["version"].as_u64().ok_or_else(strange)?,
            }
        }
        "presence-update" => Heard::PresenceUpdate {
            users: value["presence"].as_object().ok_or_else(strange)?.len(),
            id,
        },
        "notification" => Heard::Notified {
            number: number_of(&value).ok_or_else(strange)?,
            notice: value["id"].as_str().ok_or_else(strange)?.to_owned(),
        },
        "notifications" => {
            let listed = value["notifications"].as_array().ok_or_else(strange)?;
            Heard::Inbox {
                listed: listed
                    .iter()
                    .map(listed_notice)
                    .collect::<Option<_>>()
                    .ok_or_else(strange)?,
                unread: value["unread"].as_u64().ok_or_else(strange)?,
                total: value["total"].as_u64().ok_or_else(strange)?,
                id,
            }
        }
        "unread-count" => Heard::Unread {
            count: value["unread"].as_u64().ok_or_else(strange)?,
        },
        "marked-read" | "acknowledged" => Heard::Marked {
            unread: value["unread"].as_u64().ok_or_else(strange)?,
            id,
        },
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

/// The place in the run of a notification: it says nothing else.
fn number_of(value: &Value) -> Option<usize> {
    value["title"].as_str()?.parse().ok()
}

fn listed_notice(value: &Value) -> Option<Listed> {
    Some(Listed {
        number: number_of(value)?,
        notice: value["id"].as_str()?.to_owned(),
        read: value["read"].as_bool()?,
        delivered: value["delivered"].as_bool()?,
        acknowledged: value["acknowledged"].as_bool()?,
    })
}

fn names(value: &Value) -> Option<Vec<String>> {
    let names = value.as_array()?.iter();
    names.map(|it| Some(it.as_str()?.to_owned())).collect()
}

fn place(value: &Value) -> Option<Place> {
    let (epoch, offset) = (epoch(value)?, value["offset"].as_u64()?);
    Some(Place { epoch, offset })
}

fn epoch(value: &Value) -> Option<u64> {
    u64::from_str_radix(value["epoch"].as_str()?, 16).ok()
}
