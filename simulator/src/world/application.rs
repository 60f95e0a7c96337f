//! The application: handlers that take their time and then do a little.

use shardwire_shards::vocabulary::{CallTarget, Command, ConnectionId, Input, Now, Returned};

use super::{Completion, World};
use crate::checks::Seen;

/// A handler that runs.
#[derive(Debug)]
pub struct Call {
    /// For whom.
    pub client: usize,
    shard: usize,
    connection: ConnectionId,
    target: CallTarget,
    message: Box<str>,
}

impl World<'_> {
    /// A shard wants a handler to be run.
    pub(super) fn call(
        &mut self,
        shard: usize,
        connection: ConnectionId,
        target: CallTarget,
        message: Box<str>,
    ) {
        let client = self.client_of[&connection];
        self.trace.line(
            self.ms,
            format_args!("shard {shard}: {target:?} for client {client}: {message:.80}"),
        );
        self.see(Seen::Called {
            client,
            message: &message,
        });
        self.calls.push(Call {
            client,
            shard,
            connection,
            target,
            message,
        });
    }

    /// One of the handlers that run comes to its end; its shard will hear of it.
    pub(super) fn end_a_call(&mut self) {
        if !self.calls.is_empty() {
            let at = self.random.below(self.calls.len());
            let call = self.calls.swap_remove(at);
            let completions = &mut self.hosts[call.shard].completions;
            completions.push_back(Completion::Handled(call));
        }
    }

    /// What the handler asked for, and that it has ended. It may have outlived its connection.
    pub(super) fn handled(&mut self, at: usize, now: Now, call: Call) {
        let (connection, client) = (call.connection, call.client);
        self.trace.line(
            self.ms,
            format_args!("shard {at}: the handler for client {client} has ended"),
        );
        let command = match call.target {
            CallTarget::Connect => None,
            CallTarget::Route(_) => Some(Command::SendText {
                connection,
                text: worked(&call.message).into(),
                answer: None,
            }),
            // Middleware that lets everything pass.
            CallTarget::Other => Some(Command::RouteBuiltIn {
                connection,
                message: call.message,
            }),
        };
        let shard = &mut self.hosts[at].shard;
        if let Some(command) = command {
            shard.handle(now, Input::Command(command));
        }
        let outcome = Returned::Done;
        shard.handle(
            now,
            Input::Returned {
                connection,
                outcome,
            },
        );
        self.see(Seen::Returned { client });
    }
}

fn worked(message: &str) -> String {
    let id = serde_json::from_str::<serde_json::Value>(message)
        .map_or(serde_json::Value::Null, |mut value| value["id"].take());
    format!("{{\"type\":\"worked\",\"id\":{id}}}")
}
