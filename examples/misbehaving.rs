//! What handlers that panic, never return or take ten seconds cost everybody else, as latency of their echoes.
//!
//! ```sh
//! cargo run --release --example misbehaving
//! ```
//!
//! One shard; eight clients on one thread ask for an echo in turn and note how long it takes, in phases: without others, with 200 clients that
//! have had their answers and 50 new ones a second that get one, and with as many whose handlers are stuck, and panic. What the last
//! two differ by is the handlers' doing; on a machine that does nothing else.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use shardwire::config::{Config, Limit, Listen};
use shardwire::{Context, Engine, HandlerError, Message};
use tungstenite::WebSocket;

const ROUNDS: usize = 3;
const STAYING_CLIENTS: usize = 200;
const COMING_PAUSE: Duration = Duration::from_millis(20);
const ECHO_PAUSE: Duration = Duration::from_micros(500);

type Client = WebSocket<TcpStream>;

/// What is there beside the clients that measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Others {
    None,
    Behaving,
    Misbehaving,
}

const OTHERS: [Others; 3] = [Others::None, Others::Behaving, Others::Misbehaving];

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args()
        .nth(1)
        .map_or(Ok(10), |text| text.parse())?;
    // The panics are planted, and counted by the engine; nobody wants to read them.
    std::panic::set_hook(Box::new(|_| {}));
    let mut config = Config {
        listen: Listen {
            address: "127.0.0.1:0".parse()?,
            ..Listen::default()
        },
        ..Config::default()
    };
    config.shards.count = Some(1);
    config.connections.max_connections_per_ip = Some(Limit::Unlimited);
    let engine = Engine::builder(config)
        .route("panic", async |_: Context, _: Message| panic!("planted"))
        .route("never", async |_: Context, _: Message| {
            std::future::pending().await
        })
        .route("slow", async |_: Context, _: Message| {
            let (sender, receiver) = oneshot::channel();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(10));
                let _ = sender.send(());
            });
            receiver.await.map_err(HandlerError::failed)
        })
        .start()?;
    let address = engine.local_address();
    let mut probes = (0..8)
        .map(|_| connect(address))
        .collect::<Result<Vec<_>, _>>()?;
    println!(
        "{:<12} {:>8} {:>9} {:>9} {:>9}",
        "others", "echoes", "p50 us", "p99 us", "max us"
    );
    for others in OTHERS.repeat(ROUNDS) {
        let over = Arc::new(AtomicBool::new(false));
        let disturber = (others != Others::None).then(|| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || disturb(address, others, &over))
        });
        let mut times = measure(&mut probes, Duration::from_secs(seconds))?;
        over.store(true, Ordering::Relaxed);
        if let Some(disturber) = disturber {
            disturber.join().ok().context("the disturber panicked")??;
        }
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
        let name = format!("{others:?}");
        println!(
            "{name:<12} {:>8} {:>9} {:>9} {:>9}",
            times.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    drop(probes);
    engine.drain_and_stop()?;
    Ok(())
}

fn connect(address: SocketAddr) -> anyhow::Result<Client> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let (client, _) = tungstenite::client(format!("ws://{address}/ws"), stream)?;
    Ok(client)
}

fn say(client: &mut Client, kind: &str) -> anyhow::Result<()> {
    client.send(tungstenite::Message::text(format!("{{\"type\":{kind:?}}}")))?;
    Ok(())
}

/// How long each echo took.
fn measure(probes: &mut [Client], duration: Duration) -> anyhow::Result<Vec<Duration>> {
    let (end, mut times) = (Instant::now() + duration, Vec::new());
    while Instant::now() < end {
        for probe in probes.iter_mut() {
            let begin = Instant::now();
            say(probe, "echo")?;
            probe.read()?;
            times.push(begin.elapsed());
            std::thread::sleep(ECHO_PAUSE);
        }
    }
    Ok(times)
}

/// Clients that stay, and a stream of others that come and go: their handlers are stuck and panic, or they behave.
fn disturb(address: SocketAddr, others: Others, over: &AtomicBool) -> anyhow::Result<()> {
    let misbehaving = others == Others::Misbehaving;
    let mut staying = Vec::with_capacity(STAYING_CLIENTS);
    for n in 0..STAYING_CLIENTS {
        let mut client = connect(address)?;
        match (misbehaving, n % 2 == 0) {
            (true, true) => say(&mut client, "never")?,
            (true, false) => say(&mut client, "slow")?,
            (false, _) => {
                say(&mut client, "echo")?;
                client.read()?;
            }
        }
        staying.push(client);
    }
    while !over.load(Ordering::Relaxed) {
        let mut client = connect(address)?;
        say(&mut client, if misbehaving { "panic" } else { "echo" })?;
        client.read()?;
        std::thread::sleep(COMING_PAUSE);
    }
    Ok(())
}
