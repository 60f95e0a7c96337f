//! Publishers that send again whatever they have no answer to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::wire::{write_end, write_publication};
use crate::client::{Client, ConnectionId, Outgoing};
use crate::correctness::stamp::{STAMP_LEN, Stamp, append_body};

/// Publications of one publisher that wait for an answer; further ones are withheld.
pub const MAX_PENDING: usize = 20_000;

/// A publication without an answer so far.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    pub channel: u32,
    /// Its number in its channel.
    pub number: u32,
    pub intended: u64,
    /// It was sent on some connection.
    pub sent: bool,
}

/// One publisher.
#[derive(Debug, Default)]
pub struct Publisher {
    pub connection: Option<ConnectionId>,
    /// By number in the run, which is also the order of publishing.
    pub pending: BTreeMap<u64, Pending>,
    /// Refused publications, and when they are tried again.
    refused: BinaryHeap<Reverse<(u64, u64)>>,
}

/// Builds publications, all of one length.
pub struct Writer {
    run: u32,
    base: u64,
    channels: Vec<String>,
    body: Vec<u8>,
    out: Vec<u8>,
}

impl Writer {
    pub fn new(run: u32, base: u64, channels: Vec<String>, size: usize) -> Self {
        let mut body = Vec::new();
        append_body(&mut body, size);
        Self {
            run,
            base,
            channels,
            body,
            out: Vec::new(),
        }
    }

    pub fn channel(&self, number: u32) -> &str {
        &self.channels[number as usize]
    }

    fn write(&mut self, source: u32, number: u64, pending: &Pending) -> &[u8] {
        let stamp = Stamp {
            run: self.run,
            source,
            channel: pending.channel,
            sequence: pending.number,
            time: pending.intended - self.base,
        };
        stamp.write(&mut self.body[..STAMP_LEN]);
        let channel = &self.channels[pending.channel as usize];
        write_publication(&mut self.out, channel, self.run, number);
        self.out.extend_from_slice(&self.body);
        write_end(&mut self.out);
        &self.out
    }
}

impl Publisher {
    /// Sends a publication, if there is a connection that takes it; else it is sent when there is one. False: not now.
    pub fn send(
        &mut self,
        source: u32,
        number: u64,
        writer: &mut Writer,
        client: &mut Client,
    ) -> bool {
        let (Some(id), Some(pending)) = (self.connection, self.pending.get_mut(&number)) else {
            return false;
        };
        client.send(id, |out| {
            pending.sent = true;
            out.text(writer.write(source, number, pending));
        })
    }

    /// A connection is open: everything without an answer goes over it, in order. Returns how many went before.
    pub fn opened(
        &mut self,
        source: u32,
        id: ConnectionId,
        writer: &mut Writer,
        out: &mut Outgoing<'_>,
    ) -> u64 {
        self.connection = Some(id);
        self.refused.clear();
        let mut again = 0;
        for (&number, pending) in &mut self.pending {
            again += u64::from(std::mem::replace(&mut pending.sent, true));
            out.text(writer.write(source, number, pending));
        }
        again
    }

    /// This publication is to be sent again at `at`.
    pub fn refused(&mut self, number: u64, at: u64) {
        self.refused.push(Reverse((at, number)));
    }

    /// When the next refused one is due.
    pub fn next(&self) -> u64 {
        self.refused.peek().map_or(u64::MAX, |next| next.0.0)
    }

    /// Sends refused ones that are due. Returns how many.
    pub fn send_refused(
        &mut self,
        now: u64,
        source: u32,
        writer: &mut Writer,
        client: &mut Client,
    ) -> u64 {
        let mut again = 0;
        while let Some(&Reverse((at, number))) = self.refused.peek() {
            if at > now {
                break;
            }
            self.refused.pop();
            again += u64::from(self.send(source, number, writer, client));
        }
        again
    }
}
