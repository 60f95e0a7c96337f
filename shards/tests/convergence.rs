//! A document and its replicas over links that delay, cut, and repeat: all end with the same text.
//!
//! `CONVERGENCE_CASES=100000` in the environment makes more of it; `CONVERGENCE_SEED=n` runs one case alone.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use shardwire_client::collaboration::{MissedEdit, Outgoing, Replica};
use shardwire_client::text::{Content, Operation};
use shardwire_shards::collaboration::{
    Access, Ask, Author, Document, DocumentSettings, Edit, Edited, Entry, Joining, News, Output,
    Record, Refused, Reply, Snapshot,
};

type Member = u64;

/// From a client to the server.
#[derive(Clone)]
enum Up {
    Join(shardwire_client::collaboration::Joining),
    Edit(Outgoing),
    Cursor(u64, u32),
}

/// From the server to a client.
enum Down {
    Reply(Reply),
    News(News),
}

/// A link at work: what is on its way.
struct Link {
    member: Member,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
}

struct Client {
    author: Author,
    replica: Replica,
    /// What an editor would show that does what it is told.
    screen: Content,
    link: Option<Link>,
    writes: bool,
}

/// What has been stored, as far as the store has confirmed it.
struct Store {
    snapshot: Snapshot,
    edits: Vec<Entry>,
    /// Not confirmed yet.
    pending: VecDeque<Record>,
}

struct World {
    random: StdRng,
    document: Document<Member>,
    settings: DocumentSettings,
    store: Store,
    clients: Vec<Client>,
    /// Links the client has given up: what was sent on them may still arrive, until the server notices the end.
    old_links: Vec<(usize, Link)>,
    in_room: BTreeMap<Member, usize>,
    next_member: Member,
    inserts_only: bool,
    inserted: usize,
    /// The server came back without memory: what was there is gone.
    forgot: bool,
    /// The store has refused, and not taken since what stands.
    refusing: bool,
    refusals: usize,
    accepted: usize,
}

const CHARACTERS: [char; 8] = ['a', 'b', ' ', 'é', '\u{301}', '漢', '😭', '\u{10ffff}'];

impl World {
    fn new(seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let settings = DocumentSettings {
            stored: random.random_bool(0.5),
            ..DocumentSettings::default()
        };
        let document = Document::new(settings, random.random());
        let clients = (0..random.random_range(3..=8))
            .map(|index| Client {
                // Some are one user at two desks.
                author: Author {
                    user: format!("user{}", index / 2).into(),
                    replica: format!("replica{index}").into(),
                },
                replica: Replica::new(),
                screen: Content::default(),
                link: None,
                writes: index < 2 || random.random_bool(0.9),
            })
            .collect();
        World {
            store: Store {
                snapshot: document.snapshot(),
                edits: Vec::new(),
                pending: VecDeque::new(),
            },
            inserts_only: random.random_bool(0.25),
            random,
            document,
            settings,
            clients,
            old_links: Vec::new(),
            in_room: BTreeMap::new(),
            next_member: 0,
            inserted: 0,
            forgot: false,
            refusing: false,
            refusals: 0,
            accepted: 0,
        }
    }

    // ---- clients ----

    fn connect(&mut self, index: usize) {
        self.next_member += 1;
        let client = &mut self.clients[index];
        let join = Up::Join(client.replica.joining());
        let link = Link {
            member: self.next_member,
            up: VecDeque::from([join]),
            down: VecDeque::new(),
        };
        if let Some(old) = client.link.replace(link) {
            self.old_links.push((index, old));
        }
    }

    fn cut(&mut self, index: usize) {
        if let Some(mut link) = self.clients[index].link.take() {
            // The rest of what was sent never arrives.
            let arrives = self.random.random_range(0..=link.up.len());
            link.up.truncate(arrives);
            self.old_links.push((index, link));
        }
    }

    fn edit(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.writes {
            return;
        }
        let length = client.screen.length();
        let position = self.random.random_range(0..=length);
        let characters = self.random.random_range(0..4);
        let text: String = (0..characters)
            .map(|_| CHARACTERS[self.random.random_range(0..CHARACTERS.len())])
            .collect();
        let mut deleted = 0;
        if !self.inserts_only {
            deleted = self.random.random_range(0..=(length - position).min(4));
        }
        self.inserted += characters;
        let operation = Operation::replacement(position, deleted, &text).unwrap();
        client.screen.apply(&operation).unwrap();
        client.replica.edit(&operation).unwrap();
        self.send(index);
    }

    fn send(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let sent = client.replica.poll_send();
        let (Some(link), Some(edit)) = (&mut client.link, sent) else {
            return;
        };
        link.up.push_back(Up::Edit(edit.clone()));
        if self.random.random_bool(0.1) {
            link.up.push_back(Up::Edit(edit));
        }
    }

    fn move_cursor(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let position = self.random.random_range(0..=client.screen.length());
        if let (Some(link), Some((version, position))) =
            (&mut client.link, client.replica.own_cursor(position))
        {
            link.up.push_back(Up::Cursor(version, position));
        }
    }

    fn hear(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(down) = client.link.as_mut().and_then(|link| link.down.pop_front()) else {
            return;
        };
        let replica = &mut client.replica;
        let change = match down {
            Down::Reply(Reply::State(state)) => {
                let caught_up =
                    replica.state(state.epoch, state.version, state.content, state.last_number);
                let caught_up = caught_up.unwrap();
                assert!(self.forgot || caught_up.in_doubt.is_none());
                Some(caught_up.change)
            }
            Down::Reply(Reply::Missed(missed)) => {
                let edits: Vec<MissedEdit> = (missed.edits.iter())
                    .map(|entry| MissedEdit {
                        version: entry.version,
                        own: (entry.author == client.author).then_some(entry.number),
                        operation: entry.operation.clone(),
                    })
                    .collect();
                Some(replica.missed(&edits).unwrap().change)
            }
            Down::Reply(Reply::Acknowledged { number, version }) => {
                replica.acknowledged(number, version).unwrap();
                None
            }
            Down::Reply(Reply::Unstored) => {
                let again = replica.again().map(Up::Edit);
                client.link.as_mut().unwrap().up.extend(again);
                None
            }
            Down::Reply(Reply::Displaced) => {
                // The join of a link it had given up came late. That link says no more: this one joins again.
                let join = Up::Join(replica.joining());
                client.link.as_mut().unwrap().up.push_back(join);
                None
            }
            Down::News(News::Edit(entry)) => {
                replica.remote(entry.version, &entry.operation).unwrap()
            }
            Down::News(News::Cursor { position, .. }) => {
                let _ = replica.place(position);
                None
            }
            Down::News(_) => None,
        };
        if let Some(change) = change {
            client.screen.apply(&change).unwrap();
        }
        assert_eq!(client.screen, *client.replica.content());
        self.send(index);
    }

    // ---- the server ----

    fn arrive(&mut self, index: usize, member: Member, up: Up) {
        let author = self.clients[index].author.clone();
        match up {
            Up::Join(join) => {
                let joining = Joining {
                    author,
                    access: if self.clients[index].writes {
                        Access::Write
                    } else {
                        Access::Read
                    },
                    has: join.has,
                    acknowledged: join.acknowledged,
                    ask: Ask::default(),
                };
                self.document.join(member, joining).unwrap();
                self.in_room.insert(member, index);
            }
            Up::Edit(edit) => {
                let edited = self.document.edit(
                    member,
                    Edit::numbered(edit.version, edit.number, edit.operation),
                );
                match edited {
                    Ok(Edited::Accepted) => self.accepted += 1,
                    Err(Refused::Unstored) => self.put(member, Down::Reply(Reply::Unstored)),
                    Ok(_) => {}
                    Err(refused) => assert!(
                        refused == Refused::NotJoined && !self.believes_to_be_in(index, member),
                        "{refused}"
                    ),
                }
            }
            Up::Cursor(version, position) => {
                let _ = self.document.move_cursor(member, version, position);
            }
        }
        self.carry_out();
    }

    /// Whether this is the client's present link, and nothing is on its way that says otherwise.
    fn believes_to_be_in(&self, index: usize, member: Member) -> bool {
        let link = self.clients[index].link.as_ref();
        link.is_some_and(|link| {
            let displaced = |down: &Down| matches!(down, Down::Reply(Reply::Displaced));
            let again = |up: &Up| matches!(up, Up::Join(_));
            link.member == member && !link.down.iter().any(displaced) && !link.up.iter().any(again)
        })
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.document.poll_output() {
            match output {
                Output::Store(record) => self.store.pending.push_back(record),
                Output::Settled { .. } => unreachable!("nobody edits from outside"),
                Output::Reply { to, reply, .. } => {
                    if reply == Reply::Displaced {
                        self.in_room.remove(&to);
                    }
                    self.put(to, Down::Reply(reply));
                }
                Output::Publish { except, news } => {
                    if let News::Edit(entry) = &news {
                        assert!(!self.settings.stored || entry.version <= self.store.version());
                    }
                    let members: Vec<Member> = self.in_room.keys().copied().collect();
                    for member in members {
                        if Some(member) != except {
                            self.put(member, Down::News(news.clone()));
                        }
                    }
                }
            }
        }
    }

    fn put(&mut self, member: Member, down: Down) {
        let links = self
            .clients
            .iter_mut()
            .filter_map(|client| client.link.as_mut());
        if let Some(link) = links.into_iter().find(|link| link.member == member) {
            link.down.push_back(down);
        }
    }

    fn old_link_goes_on(&mut self) {
        if self.old_links.is_empty() {
            return;
        }
        let which = self.random.random_range(0..self.old_links.len());
        let (index, link) = &mut self.old_links[which];
        let (index, member) = (*index, link.member);
        match link.up.pop_front() {
            Some(up) => self.arrive(index, member, up),
            None => {
                self.old_links.swap_remove(which);
                self.document.leave(member);
                self.in_room.remove(&member);
                self.carry_out();
            }
        }
    }

    /// The disk is full, and what waits for it is lost.
    fn store_refuses(&mut self) {
        if !self.store.pending.is_empty() {
            self.store.pending.clear();
            self.refusing = true;
            self.document.roll_back();
            self.carry_out();
        }
    }

    fn confirm_stored(&mut self) {
        if std::mem::take(&mut self.refusing) {
            self.store.keep(Record::Snapshot(self.document.snapshot()));
            self.document.recovered();
            self.refusals += 1;
        }
        if let Some(record) = self.store.pending.pop_front() {
            self.store.keep(record);
            self.document.stored(self.store.version());
            self.carry_out();
        }
    }

    /// The server ends and comes back with what was stored, if it stores; everybody is cut off.
    fn restart(&mut self) {
        for index in 0..self.clients.len() {
            self.cut(index);
        }
        self.old_links.clear();
        self.in_room.clear();
        self.refusing = false;
        if self.settings.stored {
            self.store.pending.clear();
            if self.random.random_bool(0.3) {
                // Compacted: nothing but a snapshot, so that nobody can be told what it missed.
                let whole = self.load().snapshot();
                self.store.keep(Record::Snapshot(whole));
            }
            self.document = self.load();
        } else {
            self.document = Document::new(self.settings, self.random.random());
            self.forgot = true;
        }
    }

    fn load(&self) -> Document<Member> {
        let Store {
            snapshot, edits, ..
        } = &self.store;
        Document::restore(self.settings, snapshot.clone(), edits.clone()).unwrap()
    }

    // ---- a case ----

    fn step(&mut self) {
        let index = self.random.random_range(0..self.clients.len());
        match self.random.random_range(0..100) {
            0..25 => self.edit(index),
            25..50 => self.arrive_next(index),
            50..78 => self.hear(index),
            78..80 => self.cut(index),
            80..85 if self.clients[index].link.is_none() => self.connect(index),
            80..81 => self.connect(index),
            81..85 => self.move_cursor(index),
            85..90 => self.old_link_goes_on(),
            90..92 => {
                self.document.flush_cursors();
                self.carry_out();
            }
            92..93 if self.random.random_bool(0.2) => self.restart(),
            93..94 => self.store_refuses(),
            _ => self.confirm_stored(),
        }
    }

    fn arrive_next(&mut self, index: usize) {
        let Some(link) = &mut self.clients[index].link else {
            return;
        };
        let member = link.member;
        if let Some(up) = link.up.pop_front() {
            self.arrive(index, member, up);
        }
    }

    /// Nobody edits, no link is cut any more: everything arrives.
    fn come_to_rest(&mut self) {
        for round in 0..100_000 {
            while !self.old_links.is_empty() {
                self.old_link_goes_on();
            }
            let mut busy = !self.store.pending.is_empty() || self.refusing;
            self.confirm_stored();
            for index in 0..self.clients.len() {
                match &self.clients[index].link {
                    None => self.connect(index),
                    Some(link) if link.up.is_empty() && link.down.is_empty() => continue,
                    Some(_) => {
                        self.arrive_next(index);
                        self.hear(index);
                    }
                }
                busy = true;
            }
            if !busy {
                assert!(round > 0);
                return;
            }
        }
        panic!("it never comes to rest");
    }

    fn check(&self) {
        let text = self.document.content();
        for client in &self.clients {
            assert_eq!(client.replica.content(), text);
            assert_eq!(client.screen, *text);
            assert_eq!(client.replica.version(), self.document.version());
            assert!(client.replica.is_settled());
        }
        assert_eq!(self.in_room.len(), self.clients.len());
        assert_eq!(self.document.member_count(), self.clients.len());
        if self.inserts_only && !self.forgot {
            // Nothing was lost and nothing carried out twice.
            assert_eq!(text.length() as usize, self.inserted);
        }
        if self.settings.stored {
            assert_eq!(self.load().content(), text);
            let carried_out = |entry: &Entry| (entry.author.replica.clone(), entry.number);
            let once: BTreeSet<_> = self.store.edits.iter().map(carried_out).collect();
            assert_eq!(once.len(), self.store.edits.len());
        }
    }
}

impl Store {
    fn keep(&mut self, record: Record) {
        match record {
            Record::Edit(entry) => self.edits.push((*entry).clone()),
            Record::Snapshot(snapshot) => {
                self.edits.clear();
                self.snapshot = snapshot;
            }
        }
    }

    fn version(&self) -> u64 {
        self.edits
            .last()
            .map_or(self.snapshot.version, |entry| entry.version)
    }
}

fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for index in 0..world.clients.len() {
        world.connect(index);
    }
    for _ in 0..world.random.random_range(50..400) {
        world.step();
    }
    world.come_to_rest();
    world.check();
    world
}

#[test]
fn all_replicas_end_with_the_same_text() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|value| value.parse::<u64>().unwrap())
    };
    let seeds = match number("CONVERGENCE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CONVERGENCE_CASES").unwrap_or(1000),
    };
    let (mut cases, mut accepted, mut stored, mut forgot, mut refusals) = (0, 0, 0, 0, 0);
    for seed in seeds {
        let case = std::panic::catch_unwind(|| run(seed));
        let world = case.unwrap_or_else(|_| panic!("see above: CONVERGENCE_SEED={seed}"));
        cases += 1;
        accepted += world.accepted;
        stored += usize::from(world.settings.stored);
        forgot += usize::from(world.forgot);
        refusals += world.refusals;
    }
    println!(
        "{cases} cases, {accepted} edits; {stored} with a store that refused {refusals} times, {forgot} that lost their memory"
    );
}
