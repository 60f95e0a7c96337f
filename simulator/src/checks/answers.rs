//! Every request is answered once, rightly, with its own id; what is echoed comes back in order.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use shardwire_protocol::codes::ErrorCode;

use super::{Check, Seen, Verdict, demand, entry};
use crate::World;
use crate::clients::Request;

/// What may be said of a publication that is to be stored.
const STORAGE: [u16; 2] = [
    ErrorCode::StorageFull as u16,
    ErrorCode::StorageFailed as u16,
];

#[derive(Debug, Default)]
struct Expected {
    by_id: BTreeMap<u64, Request>,
    /// Errors for what could not be read, in order.
    anonymous: VecDeque<u16>,
    pongs: VecDeque<Vec<u8>>,
    raw: VecDeque<(bool, Vec<u8>)>,
}

/// What each client still waits for.
#[derive(Debug, Default)]
pub struct Answers {
    expected: Vec<Expected>,
}

impl Answers {
    fn take(&mut self, client: usize, id: Option<u64>) -> Result<Request, String> {
        let asked = id.and_then(|id| entry(&mut self.expected, client).by_id.remove(&id));
        asked.ok_or_else(|| {
            format!("client {client} got an answer with the id {id:?}, which it did not wait for")
        })
    }
}

impl Check for Answers {
    fn name(&self) -> &'static str {
        "one answer to each request"
    }

    fn see(&mut self, seen: &Seen<'_>, world: &World<'_>) -> Verdict {
        match *seen {
            Seen::Asked {
                client,
                id: Some(id),
                request,
            } => {
                entry(&mut self.expected, client)
                    .by_id
                    .insert(id, request.clone());
            }
            Seen::Asked {
                client,
                id: None,
                request: Request::Fault(code),
            } => {
                entry(&mut self.expected, client)
                    .anonymous
                    .push_back(*code as u16);
            }
            Seen::PingSaid { client, payload } => {
                entry(&mut self.expected, client)
                    .pongs
                    .push_back(payload.to_vec());
            }
            Seen::RawSaid {
                client,
                text,
                bytes,
            } => {
                entry(&mut self.expected, client)
                    .raw
                    .push_back((text, bytes.to_vec()));
            }
            Seen::Subscribed {
                client,
                channel,
                id,
                ..
            } => {
                let asked = self.take(client, id)?;
                let right = match asked {
                    Request::Subscribe(to) | Request::Return(to, _) => to == channel,
                    _ => false,
                };
                demand!(
                    right,
                    "client {client} was told subscribed to {channel} when it asked {asked:?}"
                );
            }
            Seen::Unsubscribed {
                client,
                channel,
                id,
            } => {
                let asked = self.take(client, id)?;
                demand!(
                    asked == Request::Unsubscribe(channel),
                    "client {client} was told unsubscribed from {channel} when it asked {asked:?}"
                );
            }
            Seen::Published {
                client,
                channel,
                id,
                ..
            } => {
                let asked = self.take(client, id)?;
                let right = match asked {
                    Request::Publish(number) => world.publications[number].channel == channel,
                    _ => false,
                };
                demand!(
                    right,
                    "client {client} was told that it published to {channel} when it asked {asked:?}"
                );
            }
            Seen::History {
                client,
                channel,
                id,
                ..
            } => {
                let asked = self.take(client, id)?;
                demand!(
                    asked == Request::History(channel),
                    "client {client} was told the history of {channel} when it asked {asked:?}"
                );
            }
            Seen::RoomJoined {
                client, room, id, ..
            } => {
                let asked = self.take(client, id)?;
                demand!(
                    asked == Request::JoinRoom(room),
                    "client {client} was told that it is in room {room} when it asked {asked:?}"
                );
            }
            Seen::RoomLeft { client, id } => {
                let asked = self.take(client, id)?;
                demand!(
                    asked == Request::LeaveRoom,
                    "client {client} was told that it has left when it asked {asked:?}"
                );
            }
            Seen::PresenceState {
                client,
                id: Some(id),
                ..
            } => {
                let asked = self.take(client, Some(id))?;
                demand!(
                    asked == Request::Members,
                    "client {client} was told who is in a channel when it asked {asked:?}"
                );
            }
            Seen::PresenceUpdate { client, users, id } => {
                let asked = self.take(client, id)?;
                let right = match asked {
                    Request::SetPresence => users == 1,
                    Request::GetPresence(wanted) => users == wanted,
                    _ => false,
                };
                demand!(
                    right,
                    "client {client} was told of {users} users when it asked {asked:?}"
                );
            }
            Seen::Inbox { client, id, .. } => {
                let asked = self.take(client, id)?;
                demand!(
                    asked == Request::Inbox,
                    "client {client} was told what is in its inbox when it asked {asked:?}"
                );
            }
            Seen::Marked { client, id } => {
                let asked = self.take(client, id)?;
                demand!(
                    matches!(asked, Request::MarkRead(_) | Request::Acknowledge(_)),
                    "client {client} was told that its marks are made when it asked {asked:?}"
                );
            }
            Seen::JsonPong { client, id } => {
                let asked = self.take(client, id)?;
                demand!(
                    asked == Request::Ping,
                    "client {client} got a pong when it asked {asked:?}"
                );
            }
            Seen::Worked { client, id } => {
                let asked = self.take(client, id)?;
                demand!(
                    asked == Request::Work,
                    "client {client} was told that work was done when it asked {asked:?}"
                );
            }
            Seen::Echo { client, data, id } => {
                let asked = self.take(client, id)?;
                let same = matches!(&asked, Request::Echo(sent)
                    if serde_json::from_str::<Value>(sent).is_ok_and(|sent| sent == *data));
                demand!(
                    same,
                    "client {client} got {data} back when it asked {asked:?}"
                );
            }
            Seen::Error {
                client,
                code,
                id: None,
            } => {
                let expected = entry(&mut self.expected, client).anonymous.pop_front();
                demand!(
                    expected == Some(code),
                    "client {client} got error {code} without an id, instead of {expected:?}"
                );
            }
            Seen::Error { client, code, id } => {
                let asked = self.take(client, id)?;
                let right = match asked {
                    Request::Fault(expected) => expected as u16 == code,
                    Request::Publish(number) => {
                        let stored = world.scenario.durable
                            && world
                                .scenario
                                .has_history(world.publications[number].channel);
                        code == ErrorCode::Overloaded as u16 || (stored && STORAGE.contains(&code))
                    }
                    Request::History(_) => code == ErrorCode::Overloaded as u16,
                    Request::JoinRoom(_) => [
                        ErrorCode::Overloaded,
                        ErrorCode::RateLimitExceeded,
                        ErrorCode::TooManyChannels,
                        ErrorCode::TooManyMembers,
                    ]
                    .into_iter()
                    .any(|expected| expected as u16 == code),
                    Request::LeaveRoom => code == ErrorCode::NotJoined as u16,
                    Request::Say(_) | Request::Type => {
                        code == ErrorCode::NotJoined as u16 || code == ErrorCode::Overloaded as u16
                    }
                    Request::Inbox | Request::MarkRead(_) | Request::Acknowledge(_) => {
                        code == ErrorCode::Overloaded as u16
                            || (code == ErrorCode::NotPermitted as u16
                                && world.clients[client].user.is_none())
                    }
                    Request::SetPresence => {
                        code == ErrorCode::Overloaded as u16
                            || (code == ErrorCode::NotPermitted as u16
                                && world.clients[client].user.is_none())
                    }
                    Request::GetPresence(_) => code == ErrorCode::Overloaded as u16,
                    Request::Members => {
                        code == ErrorCode::Overloaded as u16
                            || (code == ErrorCode::NoPresence as u16
                                && world.scenario.told_in.is_none())
                    }
                    Request::Subscribe(channel) | Request::Return(channel, _) => {
                        code == ErrorCode::Overloaded as u16
                            || code == ErrorCode::TooManyChannels as u16
                            || (code == ErrorCode::ReservedChannel as u16
                                && channel == world.scenario.shard_counts()
                                && !world.scenario.settings.publish_shard_counts)
                    }
                    _ => false,
                };
                demand!(
                    right,
                    "client {client} got error {code} when it asked {asked:?}"
                );
            }
            Seen::CameBack {
                client,
                text,
                bytes,
            } => {
                let expected = entry(&mut self.expected, client).raw.pop_front();
                let same = expected
                    .as_ref()
                    .is_some_and(|(kind, sent)| *kind == text && sent == bytes);
                demand!(
                    same,
                    "client {client} got {} bytes echoed instead of {expected:?}",
                    bytes.len()
                );
            }
            Seen::Pong { client, payload } => {
                let expected = entry(&mut self.expected, client).pongs.pop_front();
                demand!(
                    expected.as_deref() == Some(payload),
                    "client {client} got a pong of {payload:?} instead of {expected:?}"
                );
            }
            Seen::Gone { client } => *entry(&mut self.expected, client) = Expected::default(),
            Seen::Nonsense { client, what } => {
                return Err(format!("client {client} does not understand: {what}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        for (client, expected) in self.expected.iter_mut().enumerate() {
            // A publication that was taken is not answered, unless it is kept.
            expected.by_id.retain(|_, request| match request {
                Request::Publish(number) => {
                    let publication = &world.publications[*number];
                    world.scenario.has_history(publication.channel) && !publication.volatile
                }
                Request::Say(_) | Request::Type => false,
                _ => true,
            });
            if !world.lives(client) {
                continue;
            }
            demand!(
                expected.by_id.is_empty(),
                "client {client} was never answered: {:?}",
                expected.by_id
            );
            demand!(
                expected.anonymous.is_empty()
                    && expected.pongs.is_empty()
                    && expected.raw.is_empty(),
                "client {client} still waits for {:?} and {} pongs and {} echoes",
                expected.anonymous,
                expected.pongs.len(),
                expected.raw.len()
            );
        }
        Ok(())
    }
}
