//! Inboxes: what ten thousand users with a hundred notifications each take of memory and disk, how long the restart takes, and what sending to
//! users who are connected costs. Prints its figures; run it with `cargo bench --bench notifications`. As a test it runs a small part of that once.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use shardwire::config::{ByteSize, Config, Persistence};
use shardwire::{Engine, EngineHandle, Notification, PendingNotification};

/// Notifications on their way at once: less than an inbox of a shard takes.
const AT_ONCE: usize = 1_000;

/// How much of it.
#[derive(Clone, Copy)]
struct Load {
    users: usize,
    each: usize,
    online: usize,
    sends: usize,
}

fn main() -> Result<()> {
    let asked = |name: &str| std::env::args().any(|argument| argument == name);
    if asked("--list") {
        // Runners that list tests find one.
        if !asked("--ignored") {
            println!("inboxes: test");
        }
        return Ok(());
    }
    let all = asked("--bench");
    let load = match all {
        true => Load {
            users: 10_000,
            each: 100,
            online: 1_000,
            sends: 200_000,
        },
        false => Load {
            users: 20,
            each: 3,
            online: 2,
            sends: 10,
        },
    };
    match std::env::var(PART).as_deref() {
        Ok("memory") => inboxes(load, None),
        Ok("disk") => inboxes(load, Some(tempfile::tempdir()?.path())),
        Ok(_) => sending(load),
        Err(_) => parts(),
    }
}

/// Which part this process does; none: each in turn, in a process of its own, so that none finds memory that another one has freed.
const PART: &str = "NOTIFICATIONS_BENCH_PART";

fn parts() -> Result<()> {
    for part in ["memory", "disk", "sending"] {
        let status = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .env(PART, part)
            .status()?;
        ensure!(status.success(), "{part}: {status}");
    }
    Ok(())
}

fn config(disk: Option<&Path>) -> Result<Config> {
    let mut config = Config::default();
    config.listen.address = "127.0.0.1:0".parse()?;
    config.shards.count = Some(2);
    config.shards.pin = Some(false);
    config.notifications.enabled = Some(true);
    config.notifications.memory = ByteSize::mib(1_024);
    config.connections.max_connections_per_ip = None;
    if let Some(directory) = disk {
        config.notifications.persistence = Persistence::Disk;
        config.storage.directory = Some(directory.join("store"));
        config.storage.keep_free = ByteSize::bytes(0);
    }
    Ok(config)
}

fn notification() -> Notification {
    Notification {
        body: Some("It left the house this morning and arrives on Friday.".into()),
        kind: Some("order".into()),
        data: json!({ "order": 4711, "url": "https://example.org/orders/4711" }),
        ..Notification::new("Your parcel is on its way")
    }
}

/// Sends to these users in turn, `count` in all, with many on their way at once; waits for all.
fn send(engine: &EngineHandle, users: &[String], count: usize) -> Result<()> {
    let notification = notification();
    let mut waiting: Vec<PendingNotification> = Vec::with_capacity(AT_ONCE);
    for number in 0..count {
        waiting.push(engine.send_notification(&users[number % users.len()], &notification)?);
        if waiting.len() == AT_ONCE || number + 1 == count {
            for sent in waiting.drain(..) {
                sent.wait()?;
            }
        }
    }
    Ok(())
}

/// Memory and disk of many inboxes, and how long it takes to have them back.
fn inboxes(load: Load, disk: Option<&Path>) -> Result<()> {
    let users: Vec<String> = (0..load.users).map(|n| format!("user-{n}")).collect();
    let engine = Engine::builder(config(disk)?).start()?;
    let before = resident()?;
    let begun = Instant::now();
    send(&engine, &users, load.users * load.each)?;
    let seconds = begun.elapsed().as_secs_f64();
    let resident = resident()?.saturating_sub(before);
    let kept = engine.notifications(&users[0], Default::default())?.wait();
    ensure!(
        kept.total == load.each && kept.unread == load.each,
        "{kept:?}"
    );
    println!(
        "{} users with {} notifications each, {}: {} MiB of memory, {} MiB on disk, put in {seconds:.1} s",
        load.users,
        load.each,
        if disk.is_some() {
            "on disk"
        } else {
            "in memory"
        },
        resident >> 20,
        disk.map_or(0, size_of) >> 20,
    );
    engine.drain_and_stop()?;
    if disk.is_some() {
        let begun = Instant::now();
        let engine = Engine::builder(config(disk)?).start()?;
        let seconds = begun.elapsed().as_secs_f64();
        let back = engine.pending_notifications(&users[load.users - 1])?.wait();
        ensure!(back.notifications.len() == load.each, "{back:?}");
        println!(
            "  back after a restart in {seconds:.1} s, {} MiB on disk",
            disk.map_or(0, size_of) >> 20
        );
        engine.drain_and_stop()?;
    }
    Ok(())
}

/// CPU of the shards for notifications to users who are connected, with what their sockets cost.
fn sending(load: Load) -> Result<()> {
    let engine = Engine::builder(config(None)?).start()?;
    let users: Vec<String> = (0..load.online).map(|n| format!("user-{n}")).collect();
    let mut sockets = Vec::new();
    for user in &users {
        let stream = TcpStream::connect(engine.local_address())?;
        let url = format!("ws://server/ws?user={user}");
        let (socket, _) = tungstenite::client(url, stream).context("an upgrade")?;
        socket.get_ref().set_nonblocking(true)?;
        sockets.push(socket);
    }
    let over = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut bytes = 0_u64;
            let mut buffer = vec![0; 64 << 10];
            while !over.load(Ordering::Relaxed) {
                for socket in &mut sockets {
                    while let Ok(read @ 1..) = socket.get_mut().read(&mut buffer) {
                        bytes += read as u64;
                    }
                }
            }
            bytes
        }
    });
    let before = shard_seconds()?;
    let begun = Instant::now();
    send(&engine, &users, load.sends)?;
    let pending = || -> Result<usize> {
        let pending = engine
            .pending_notifications(&users[users.len() - 1])?
            .wait();
        Ok(pending.notifications.len())
    };
    while pending()? > 0 {
        std::thread::yield_now();
    }
    let (cpu, seconds) = (shard_seconds()? - before, begun.elapsed().as_secs_f64());
    over.store(true, Ordering::Relaxed);
    let bytes = reader
        .join()
        .map_err(|_| anyhow::anyhow!("the reader broke"))?;
    println!(
        "{} notifications to {} connected users: {:.1} s of CPU of the shards per million, {seconds:.1} s in all, {} MiB received",
        load.sends,
        load.online,
        cpu * 1e6 / load.sends as f64,
        bytes >> 20,
    );
    engine.drain_and_stop()?;
    Ok(())
}

/// Bytes of memory of this process.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line
        .context("VmRSS")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?;
    Ok(kib << 10)
}

/// Bytes of all files of a directory.
fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => size_of(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Seconds of CPU of all threads that shards run on, kernel included.
fn shard_seconds() -> Result<f64> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc/self/task")? {
        let path = entry?.path();
        let name = fs::read_to_string(path.join("comm"))?;
        if name.starts_with("shard-") {
            let stat = fs::read_to_string(path.join("stat"))?;
            let fields = stat.rsplit_once(") ").context("stat")?.1;
            let mut fields = fields.split(' ').skip(11);
            for _ in 0..2 {
                ticks += fields.next().context("stat")?.parse::<u64>()?;
            }
        }
    }
    // USER_HZ is 100 wherever Linux runs.
    Ok(ticks as f64 / 100.0)
}
