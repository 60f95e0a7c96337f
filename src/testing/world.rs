//! The loop around the shards, without a driver: what clients said goes in, what shards ask for is carried out, until nothing is left.

use std::net::IpAddr;
use std::time::Duration;

use shardwire_shards::vocabulary::{
    Command, Denied, Effect, Event, Input, Mode, Now, Opening, ShardId, SocketToken, Standing,
};

use super::client::Peer;
use super::clock::VirtualClock;
use super::disk::Disk;
use crate::engine::{EngineHandle, Item, Simulated};
use crate::handlers::{Caller, Finished};

/// Rounds over all shards after which a simulation is taken for one that never rests.
const ROUNDS_MAX: usize = 100_000;

/// All of a simulation.
pub(super) struct World {
    engine: Simulated,
    clock: VirtualClock,
    /// By the number of their sockets.
    peers: Vec<Peer>,
    finished: Vec<Finished>,
    /// One for each shard.
    disks: Vec<Disk>,
}

impl World {
    pub(super) fn new(engine: Simulated, clock: VirtualClock) -> Self {
        let disks = engine.shards.iter().map(|_| Disk::default()).collect();
        Self {
            engine,
            clock,
            peers: Vec::new(),
            finished: Vec::new(),
            disks,
        }
    }

    pub(super) fn handle(&self) -> EngineHandle {
        self.engine.handle.clone()
    }

    pub(super) fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    pub(super) fn peer(&mut self, number: usize) -> &mut Peer {
        &mut self.peers[number]
    }

    fn now(&self) -> Now {
        Now {
            ms: u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
            unix_ms: self.clock.unix_ms(),
        }
    }

    /// A client comes to its home, through the doors of all shards in turn.
    pub(super) fn connect(&mut self, address: IpAddr, standing: Standing) -> usize {
        let (now, number) = (self.now(), self.peers.len());
        let door = ShardId((number % self.engine.shards.len()) as u16);
        let user = match &standing {
            Standing::Unverified(user) => user.as_deref(),
            Standing::Verified(identity) => Some(&**identity.user()),
            Standing::Anonymous | Standing::Awaited => None,
        };
        let home = self.engine.placement.home(door, address, user).index();
        let shard = &mut self.engine.shards[home].shard;
        let room = shard.admit_another(now).is_ok() && shard.admit();
        assert!(room, "no room for another connection");
        self.peers.push(Peer::at(home));
        let opening = Opening {
            standing,
            ..Opening::new(SocketToken(number as u64), Mode::Json, address)
        };
        let shard = &mut self.engine.shards[home].shard;
        shard.handle(now, Input::Opened(opening));
        number
    }

    /// A client's socket ends without a word.
    pub(super) fn cut(&mut self, number: usize) {
        let now = self.now();
        let peer = &mut self.peers[number];
        let ended = std::mem::replace(&mut peer.ended, true);
        if let (false, Some(connection)) = (ended, peer.connection) {
            let shard = &mut self.engine.shards[peer.shard].shard;
            shard.handle(now, Input::Closed { connection });
        }
    }

    /// Lets time pass, from one thing that is due to the next.
    pub(super) fn advance(&mut self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let end = self.now().ms.saturating_add(by);
        loop {
            self.settle();
            let now = self.now();
            let shards = self.engine.shards.iter();
            let deadlines =
                shards.flat_map(|at| [at.shard.next_deadline(now), at.tasks.next_deadline()]);
            let next = deadlines.flatten().chain(self.clock.next_wake()).min();
            match next.filter(|next| *next <= end) {
                Some(next) => self.clock.set(next.max(now.ms)),
                None => break,
            }
        }
        self.clock.set(end);
        self.settle();
    }

    /// Turns of all shards, until none has anything to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut worked = false;
            for at in 0..self.engine.shards.len() {
                worked |= self.turn(at);
            }
            if !worked {
                return;
            }
        }
        panic!("the simulation does not come to rest: does a handler wake itself without end?");
    }

    /// One turn of one shard. False: there was nothing to do.
    fn turn(&mut self, at: usize) -> bool {
        let now = self.now();
        let mut worked = self.carry_out(at, now);
        worked |= self.read(at, now);
        let shard = &mut self.engine.shards[at].shard;
        if shard.has_mail() {
            shard.handle(now, Input::Mail);
            worked = true;
        }
        while let Ok(item) = self.engine.shards[at].inbox.try_recv() {
            self.take(at, now, item);
            worked = true;
        }
        let shard = &mut self.engine.shards[at].shard;
        if shard.next_deadline(now).is_some_and(|due| due <= now.ms) {
            shard.handle(now, Input::Deadline);
            worked = true;
        }
        worked |= self.carry_out(at, now);
        worked | self.run_handlers(at, now)
    }

    /// Hands in what clients have said.
    fn read(&mut self, at: usize, now: Now) -> bool {
        let mut worked = false;
        for number in 0..self.peers.len() {
            let peer = &mut self.peers[number];
            let here = peer.shard == at && peer.receiving && !peer.ended;
            if let (true, false, Some(connection)) = (here, peer.said.is_empty(), peer.connection) {
                let mut bytes = std::mem::take(&mut peer.said);
                let bytes = &mut bytes;
                let shard = &mut self.engine.shards[at].shard;
                shard.handle(now, Input::Bytes { connection, bytes });
                self.carry_out(at, now);
                worked = true;
            }
        }
        worked
    }

    fn take(&mut self, at: usize, now: Now, item: Item) {
        let here = &mut self.engine.shards[at];
        match item {
            Item::Command(command) => here.shard.handle(now, Input::Command(command)),
            Item::Ask {
                id,
                command,
                waiting,
            } => {
                here.questions.note(id, waiting);
                here.shard.handle(now, Input::Command(command));
            }
            Item::Search(mut errand) => while errand.step(now, &here.shard) {},
            Item::Ping(answer) => drop(answer.send(())),
            Item::Drain { window_ms, .. } => {
                here.shard
                    .handle(now, Input::Command(Command::Drain { window_ms }));
            }
            // Nobody measures a simulation, no socket moves in it, and nobody verifies.
            Item::Report(_) | Item::Socket(_) | Item::Verdict(..) | Item::Certificate(_) => {}
        }
    }

    /// As the loop of a real shard does it, without its limit: here nobody else waits.
    fn run_handlers(&mut self, at: usize, now: Now) -> bool {
        let mut worked = false;
        let mut finished = std::mem::take(&mut self.finished);
        let here = &mut self.engine.shards[at];
        if here.tasks.is_ready() || here.tasks.next_deadline().is_some_and(|due| due <= now.ms) {
            here.tasks.poll(now.ms, &mut finished);
            while let Some(command) = here.tasks.take_asked() {
                here.shard.handle(now, Input::Command(command));
            }
            for Finished {
                connection,
                outcome,
            } in finished.drain(..)
            {
                let returned = Input::Returned {
                    connection,
                    outcome,
                };
                here.shard.handle(now, returned);
            }
            self.carry_out(at, now);
            worked = true;
        }
        self.finished = finished;
        worked
    }

    fn carry_out(&mut self, at: usize, now: Now) -> bool {
        let mut worked = false;
        while let Some(effect) = self.engine.shards[at].shard.poll_effect() {
            worked = true;
            self.do_one(at, now, effect);
        }
        worked
    }

    fn do_one(&mut self, at: usize, now: Now, effect: Effect) {
        let here = &mut self.engine.shards[at];
        let peers = &mut self.peers;
        match effect {
            Effect::Opened { connection, socket } => {
                peers[index(socket)].connection = Some(connection);
            }
            Effect::Receive { socket, on } => peers[index(socket)].receiving = on,
            Effect::Flush { connection, socket } => {
                let mut bytes: Vec<u8> =
                    here.shard.pending(connection).flatten().copied().collect();
                peers[index(socket)].hear(&mut bytes);
                here.shard.sent(now, connection, bytes.len(), false);
            }
            Effect::Close { socket } => peers[index(socket)].ended = true,
            Effect::Verify { connection, .. } => {
                let verdict = Err(Denied::Unavailable);
                here.shard.handle(
                    now,
                    Input::Verdict {
                        connection,
                        verdict,
                    },
                );
            }
            Effect::HandOff { opening, .. } => {
                here.shard.abandon(&opening);
                peers[index(opening.socket)].ended = true;
            }
            // Every shard is looked at in every round.
            Effect::Ring(_) => {}
            Effect::Store(request) => {
                if let Some(answer) = self.disks[at].carry_out(*request) {
                    here.shard.handle(now, answer);
                }
            }
            Effect::Answer { id, answer } => here.questions.answer(id, answer),
            Effect::Call {
                connection,
                target,
                user,
                identity,
                address,
                message,
            } => {
                let caller = Caller {
                    connection,
                    user,
                    identity,
                    address,
                    close_reason: None,
                };
                here.tasks.call(caller, target, message);
            }
            Effect::Event(Event::Connected { .. }) => {}
            Effect::Event(Event::Disconnected {
                connection,
                cause,
                reason,
                user,
                identity,
                address,
            }) => {
                let caller = Caller {
                    connection,
                    user,
                    identity,
                    address,
                    close_reason: reason,
                };
                here.tasks.closed(caller, cause);
            }
            Effect::Event(Event::Unreached { user, notice }) => {
                here.tasks.unreached(&user, *notice);
            }
        }
    }
}

fn index(socket: SocketToken) -> usize {
    usize::try_from(socket.0).expect("sockets are numbered by the world")
}
