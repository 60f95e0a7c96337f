//! The calm: everything that is under way comes to its end, so that what must be true in the end can be asked for.

use shardwire_shards::bounds::LAST_WORDS_MS;

use super::World;
use crate::checks::{Checks, Seen};
use crate::clients::Stage;

/// Rounds after which a world that still moves is taken to never rest.
const ROUNDS_MAX: usize = 200_000;

/// Times that a client which was refused for want of room tries again before it is taken to be refused for ever.
const POSTPONED_ROUNDS_MAX: usize = 1_000;

impl World<'_> {
    /// The storm ends: whatever can go right does, until nothing moves any more. Then the checks are asked.
    pub(crate) fn rest(&mut self) {
        self.trace.line(self.ms, format_args!("calm"));
        self.calm = true;
        for host in &mut self.hosts {
            host.stalled = false;
        }
        let patience = if self.awaits_silent() || self.random.chance(10) {
            self.long()
        } else {
            self.short()
        };
        self.settle(patience);
        for _ in 0..POSTPONED_ROUNDS_MAX {
            if self.failure.is_some() || !self.say_what_was_postponed() {
                break;
            }
            self.settle(self.short());
        }
        if self.awaits_silent() {
            // What it had put off, it has said meanwhile, and was not silent.
            self.settle(self.long());
        }
        if self.failure.is_some() {
            return;
        }
        let untold = self
            .hosts
            .iter()
            .all(|host| host.shard.counters().publications_refused == 0);
        for number in self.settled..self.publications.len() {
            let publication = &self.publications[number];
            let surely = publication
                .publisher
                .map_or(untold, |publisher| self.lives(publisher));
            self.publications[number].taken = surely && !publication.refused;
        }
        self.resting = true;
        for user in 0..self.scenario.users.len() {
            self.ask_for_connections(user);
        }
        self.ask_for_documents();
        self.ask_for_inboxes();
        self.settle(0);
        self.judge(Checks::at_rest);
        self.flap();
        self.resting = false;
        self.settled = self.publications.len();
        self.wall_went_back = false;
        for (client, socket) in self.clients.iter_mut().zip(&mut self.sockets) {
            socket.was_blocked = false;
            client.told_to_go.clear();
        }
    }

    /// Whether there is a peer that answers nothing, which is found out by its silence alone.
    fn awaits_silent(&self) -> bool {
        let mut peers = self.clients.iter().zip(&self.sockets);
        peers.any(|(client, socket)| {
            (socket.lost || client.mute) && !socket.closed && !client.disconnected
        })
    }

    /// Somebody leaves the room of which it is told who is in it, and is back before the grace period is over: nobody is told.
    fn flap(&mut self) {
        if self.scenario.told_in.is_none() || self.scenario.settings.presence.grace_ms == 0 {
            return;
        }
        let flapping = self.living().find(|&at| {
            let client = &self.clients[at];
            client.user.is_some() && client.channels.contains(&0)
        });
        let Some(client) = flapping else { return };
        self.flapping = true;
        self.unsubscribe(client, 0);
        self.settle(0);
        self.subscribe(client, 0);
        self.settle(0);
        // It may have found the way full, and is not back then.
        self.flapping = self.clients[client].channels.contains(&0);
        self.settle(self.short());
        self.flapping = false;
    }

    /// One more connection at rest: its limits say whether it must be let in.
    pub(crate) fn probe(&mut self) {
        let user = self
            .random
            .chance(70)
            .then(|| self.random.below(self.scenario.users.len()));
        let address = self.random.below(self.scenario.addresses.len());
        let client = self.connect(user, address);
        self.settle(self.short());
        self.see(Seen::Probed { client });
    }

    pub(crate) fn storm_again(&mut self) {
        self.trace.line(self.ms, format_args!("storm"));
        self.calm = false;
    }

    /// Everybody leaves, each in its own way, and time enough goes by for every trace to go.
    pub(crate) fn farewell(&mut self) {
        self.trace.line(self.ms, format_args!("farewell"));
        for client in 0..self.clients.len() {
            if self.clients[client].stage == Stage::Speaking {
                if self.sockets[client].lost || self.random.chance(50) {
                    self.cut(client);
                    self.sockets[client].lost = false;
                } else {
                    self.close_politely(client);
                }
            }
        }
        // By a clock that was set back, inboxes would keep what they have for hours, and ask a disk that fails every second.
        self.wall_ms = self.wall_ms.saturating_add_unsigned(self.wall_stepped_ms);
        self.settle(self.long().max(LAST_WORDS_MS) + self.oblivion());
        self.judge(Checks::at_end);
    }

    /// Time enough for every close under way to end, and for those who watch to be told.
    fn short(&self) -> u64 {
        let presence = &self.scenario.settings.presence;
        let told = presence.grace_ms + 5 * presence.batch_interval_ms;
        self.scenario.settings.close_timeout_ms + told + 100
    }

    /// Time enough for every silent peer to be found out and closed.
    fn long(&self) -> u64 {
        let settings = &self.scenario.settings;
        settings.heartbeat_interval_ms + settings.heartbeat_timeout_ms + self.short() + 100
    }

    /// Time enough for every log and every inbox to become empty and be forgotten, every document to be unloaded, and every user to be
    /// forgotten that has said something of itself.
    fn oblivion(&self) -> u64 {
        let presence = &self.scenario.settings.presence;
        let silence = presence.heartbeat_timeout_ms + presence.status_expiration_ms;
        let channels = &self.scenario.settings.channels;
        let ages = channels.rules.iter().filter_map(|rule| rule.history);
        let oldest = ages.map(|history| history.max_age_ms).max().unwrap_or(0);
        let collaboration = self.scenario.settings.collaboration;
        let documents = collaboration.map_or(0, |documents| documents.unload_after_ms);
        // What is in an inbox has its time by the clock on the wall.
        let inboxes = self.scenario.settings.notifications;
        let inboxes = inboxes.map_or(0, |inboxes| inboxes.ttl_ms + self.wall_stepped_ms);
        (oldest + 2 * channels.forget_after_ms)
            .max(documents)
            .max(inboxes)
            + silence
            + 1_000
    }

    /// Lets everything happen that can, and then time pass to the next deadline, until `patience` milliseconds are over.
    fn settle(&mut self, patience: u64) {
        let until = self.ms + patience;
        for _ in 0..ROUNDS_MAX {
            if self.failure.is_some() {
                return;
            }
            if self.move_everything() {
                continue;
            }
            if let Some(shard) = self.hosts.iter().position(|host| host.is_forgotten()) {
                return self.see(Seen::Forgotten { shard });
            }
            let next = self.hosts.iter().filter_map(|host| host.deadline).min();
            match next {
                Some(next) if next <= until => self.ms = self.ms.max(next),
                _ if self.ms < until => self.ms = until,
                _ => return,
            }
        }
        self.see(Seen::NoRest);
    }

    /// One round of everything. False: nothing moved.
    fn move_everything(&mut self) -> bool {
        let mut moved = !self.calls.is_empty();
        moved |= self.settle_disk();
        while !self.calls.is_empty() {
            self.end_a_call();
        }
        for at in 0..self.hosts.len() {
            if self.hosts[at].would_run(self.ms) {
                self.turn(at);
                moved = true;
            }
        }
        for client in 0..self.sockets.len() {
            if self.sockets[client].can_arrive() {
                self.arrive(client);
                moved = true;
            }
            if self.sockets[client].can_be_read() && self.clients[client].stage != Stage::Gone {
                self.read(client);
                moved = true;
            }
        }
        moved
    }
}
