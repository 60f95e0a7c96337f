//! Coming back, under tokio's paused clock: the delays, a storm, and cancellation.
#![allow(clippy::unwrap_used)]

mod support;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use shardwire_client::{GaveUp, ReconnectOptions, Reconnector};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Memory, Peer, options, refused};
use tokio::time::{self, Instant};

const URL: &str = "ws://server/";

fn seeded(seed: u64) -> ReconnectOptions {
    ReconnectOptions {
        seed: Some(seed),
        ..ReconnectOptions::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_10000_clients_spreads_over_the_window() {
    let down_until = Instant::now() + Duration::from_secs(60);
    let times = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let kept = times.clone();
    let server = Memory::gated(
        move |_| {
            let now = Instant::now();
            let mut times = kept.lock().unwrap();
            if now < down_until {
                times.0.push(now);
                return Err(refused());
            }
            times.1.push(now);
            // Enough for this test: it is counted, not upgraded.
            Err(refused())
        },
        |_, _| async {},
    );
    // All of them lose their connections at the same moment; the server is away for a minute.
    let clients: Vec<_> = (0..10_000)
        .map(|seed| {
            let options = options(server.clone());
            tokio::spawn(async move {
                let mut server = Reconnector::new(URL, options, seeded(seed)).unwrap();
                let _ = time::timeout(Duration::from_secs(120), server.next()).await;
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    let times = times.lock().unwrap();
    // By the time it is back, every window is at its ceiling of 30 s: the attempts of the next 30 s are spread evenly.
    let mut per_second = [0u32; 30];
    for at in &times.1 {
        let second = (*at - down_until).as_secs() as usize;
        if second < 30 {
            per_second[second] += 1;
        }
    }
    let all: u32 = per_second.iter().sum();
    let (least, most) = (
        per_second.iter().min().unwrap(),
        per_second.iter().max().unwrap(),
    );
    println!(
        "{all} attempts in 30 s after the restart; per second {least} to {most}: {per_second:?}"
    );
    assert!(all >= 10_000, "everyone tried within the window: {all}");
    let mean = all / 30;
    assert!(*most < mean * 2 && *least > mean / 2, "{per_second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_at_once_is_not_hammered() {
    let count = Arc::new(Mutex::new(0));
    let kept = count.clone();
    let server = Memory::serve(move |_, stream| {
        *kept.lock().unwrap() += 1;
        async move {
            let mut peer = Peer::accept(stream).await;
            // "Come back at once", again and again.
            peer.close(4200, "").await.unwrap();
            peer.hear().await;
        }
    });
    let mut server = Reconnector::new(URL, options(server), seeded(1)).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(600) {
        let mut connection = server.next().await.unwrap();
        while connection.receive().await.is_ok() {}
        server.lost(&connection.ending().unwrap()).unwrap();
    }
    // At the ceiling, one attempt in 15 s on average.
    let attempts = *count.lock().unwrap();
    assert!((25..70).contains(&attempts), "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn a_good_connection_makes_the_failures_before_it_forgotten() {
    let server = Memory::serve(|_, stream| async move {
        let mut peer = Peer::accept(stream).await;
        time::sleep(Duration::from_secs(11)).await;
        peer.close(1012, "").await.unwrap();
        peer.hear().await;
    });
    let mut server = Reconnector::new(URL, options(server), seeded(1)).unwrap();
    for _ in 0..100 {
        let mut connection = server.next().await.unwrap();
        while connection.receive().await.is_ok() {}
        let delay = server.lost(&connection.ending().unwrap()).unwrap();
        assert!(delay <= Duration::from_secs(1));
        assert_eq!(server.failures(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_waited_also_across_cancellation() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let kept = times.clone();
    let server = Memory::serve(move |_, stream| {
        let number = {
            let mut times = kept.lock().unwrap();
            times.push(Instant::now());
            times.len()
        };
        async move {
            match number {
                1 => Peer::refuse(stream, "HTTP/1.1 503 X\r\nRetry-After: 30\r\n\r\n").await,
                _ => Peer::accept(stream).await.echo().await,
            }
        }
    });
    let mut server = Reconnector::new(URL, options(server), seeded(1)).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    // Cancelled at a thousand moments of the way.
    let connection = loop {
        let patience = Duration::from_millis(random.random_range(0..100));
        if let Ok(result) = time::timeout(patience, server.next()).await {
            break result.unwrap();
        }
    };
    let times = times.lock().unwrap().clone();
    let waited = times[1] - times[0];
    assert!(
        waited >= Duration::from_secs(30) && waited < Duration::from_millis(31_200),
        "{waited:?}"
    );
    assert_eq!(connection.close(1000, "").await.code, 1000);
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_when_it_should() {
    let server = Memory::serve(|_, stream| Peer::refuse(stream, "HTTP/1.1 404 X\r\n\r\n"));
    let mut reconnector = Reconnector::new(URL, options(server), seeded(1)).unwrap();
    assert_eq!(reconnector.next().await.unwrap_err(), GaveUp::Refused);
    assert!(
        reconnector
            .last_error()
            .unwrap()
            .to_string()
            .contains("404")
    );
    let server = Memory::gated(|_| Err(refused()), |_, _| async {});
    let wished = ReconnectOptions {
        attempts: Some(4),
        ..seeded(1)
    };
    let mut reconnector = Reconnector::new(URL, options(server), wished).unwrap();
    let begin = Instant::now();
    assert_eq!(reconnector.next().await.unwrap_err(), GaveUp::Attempts(4));
    assert!(begin.elapsed() <= Duration::from_secs(1 + 2 + 4 + 8));
}
