//! Every registry holds what is there, and nothing else; in the end, nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use shardwire_shards::Residue;

use super::{Check, Verdict, demand, presence};
use crate::World;
use crate::scenario::room_name;

/// Keeps nothing: at rest, what the shards hold is worked out anew from who lives and is subscribed to what.
#[derive(Debug, Default)]
pub struct Registries;

impl Check for Registries {
    fn name(&self) -> &'static str {
        "registries hold what is there"
    }

    fn at_rest(&mut self, world: &World<'_>) -> Verdict {
        for (shard, expected) in expected(world).into_iter().enumerate() {
            let held = world.hosts[shard].shard.residue();
            // What logs and inboxes hold, and of whom something is known, nobody knows from outside; in the end they must be gone.
            let expected = Residue {
                presence_records: held.presence_records,
                inboxes: held.inboxes,
                inbox_bytes: held.inbox_bytes,
                logs: held.logs,
                log_bytes: held.log_bytes,
                ..expected
            };
            demand!(
                held == expected,
                "shard {shard} holds {held:?}, there is {expected:?}"
            );
        }
        Ok(())
    }

    fn at_end(&mut self, world: &World<'_>) -> Verdict {
        for (shard, host) in world.hosts.iter().enumerate() {
            let held = host.shard.residue();
            demand!(
                held == Residue::default(),
                "everybody has gone, shard {shard} holds {held:?}"
            );
            demand!(
                host.deadline.is_none(),
                "everybody has gone, shard {shard} waits for {:?} ms at {} ms",
                host.deadline,
                world.ms
            );
        }
        Ok(())
    }
}

fn expected(world: &World<'_>) -> Vec<Residue> {
    let placement = &world.scenario.placement;
    let mut expected = vec![Residue::default(); world.hosts.len()];
    let mut audiences: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut rooms: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut users: BTreeSet<usize> = BTreeSet::new();
    let mut addresses: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for client in world.living() {
        let (who, Some(shard)) = (&world.clients[client], world.shard_of(client)) else {
            continue;
        };
        expected[shard].connections += 1;
        if let Some(room) = who.room {
            expected[shard].seats += 1;
            rooms.insert((room, shard));
        }
        audiences.extend(who.channels.iter().map(|&channel| (channel, shard)));
        users.extend(who.user);
        if world.scenario.settings.max_connections_per_ip.is_some() {
            let line = line(who.address);
            addresses.insert(line, placement.home_of_address(line).index());
        }
    }
    let (mut at_work, mut members) = (BTreeSet::new(), BTreeSet::new());
    let mut documents = BTreeSet::new();
    for copy in super::documents::at_work(world) {
        let Some((holder, shard)) = copy.holder.and_then(|it| Some((it, world.shard_of(it)?)))
        else {
            continue;
        };
        let channel = world.scenario.document_channel(copy.document);
        let home = placement.home_of_channel(&channel).index();
        if documents.insert((copy.document, shard)) {
            expected[shard].local_channels += 1;
        }
        if members.insert((copy.document, holder)) {
            expected[home].document_members += 1;
        }
        if at_work.insert(holder) {
            expected[shard].document_members += 1;
        }
    }
    for document in documents
        .iter()
        .map(|&(document, _)| document)
        .collect::<BTreeSet<_>>()
    {
        let channel = world.scenario.document_channel(document);
        expected[placement.home_of_channel(&channel).index()].homed_channels += 1;
    }
    for &(_, shard) in &audiences {
        expected[shard].local_channels += 1;
    }
    for channel in audiences
        .iter()
        .map(|&(channel, _)| channel)
        .collect::<BTreeSet<_>>()
    {
        let home = placement.home_of_channel(&world.scenario.channels[channel]);
        expected[home.index()].homed_channels += 1;
    }
    for &(_, shard) in &rooms {
        expected[shard].local_channels += 1;
    }
    for room in rooms.iter().map(|&(room, _)| room).collect::<BTreeSet<_>>() {
        let home = placement.home_of_channel(&format!("room:{}", room_name(room)));
        expected[home.index()].homed_channels += 1;
        expected[home.index()].rooms += 1;
    }
    room_members(world, &mut expected);
    for user in users {
        expected[placement.home_of_user(&world.scenario.users[user]).index()].counted_users += 1;
    }
    for home in addresses.into_values() {
        expected[home].counted_addresses += 1;
    }
    expected
}

/// Who is in the rooms, those of chat among them, at the homes of the channels in which that is told.
fn room_members(world: &World<'_>, expected: &mut [Residue]) {
    let Some(told_in) = world.scenario.told_in else {
        return;
    };
    let mut count = |channel: &str, members: usize, watched: bool| {
        let placement = &world.scenario.placement;
        let home = placement.home_of_channel(&format!("$presence:{channel}"));
        let expected = &mut expected[home.index()];
        expected.presence_members += members;
        expected.presence_channels += usize::from(members > 0 || watched);
    };
    for (room, name) in world.scenario.channels[..told_in].iter().enumerate() {
        let listened = |client: usize| world.clients[client].channels.contains(&told_in);
        let watched = room == 0 && world.living().any(listened);
        count(name, presence::members(world, room).len(), watched);
    }
    for room in 0..world.scenario.rooms {
        let inside = |&client: &usize| world.clients[client].room == Some(room);
        let users: BTreeSet<usize> = world
            .living()
            .filter(inside)
            .filter_map(|client| world.clients[client].user)
            .collect();
        count(&format!("room:{}", room_name(room)), users.len(), false);
    }
}

/// What an address counts as: IPv4 itself, IPv6 its /64.
pub(super) fn line(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
    }
}
