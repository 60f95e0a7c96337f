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

/// 10,000 clients lose their connections at the same moment, and the server is away for so long: when each is back, counted from
/// the moment the server is.
async fn storm(away: Duration) -> Vec<Duration> {
    const CLIENTS: u64 = 10_000;
    let cut = Arc::new(tokio::sync::Notify::new());
    let up = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let server = {
        let (cut, up) = (cut.clone(), up.clone());
        Memory::gated(
            move |_| match up.load(std::sync::atomic::Ordering::Relaxed) {
                true => Ok(Duration::ZERO),
                false => Err(refused()),
            },
            move |_, stream| {
                let cut = cut.clone();
                async move {
                    let _kept = Peer::accept(stream).await;
                    cut.notified().await;
                }
            },
        )
    };
    let (opened, mut all_open) = tokio::sync::mpsc::channel(CLIENTS as usize);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let mut options = options(server.clone());
            options.ping_interval = None;
            let opened = opened.clone();
            tokio::spawn(async move {
                let mut server = Reconnector::new(URL, options, seeded(seed)).unwrap();
                let mut first = server.next().await.unwrap();
                // Long enough to have proved good.
                time::sleep(Duration::from_secs(20)).await;
                opened.send(()).await.unwrap();
                assert!(first.receive().await.is_err());
                server.lost(&first.ending().unwrap()).unwrap();
                let second = server.next().await.unwrap();
                let at = Instant::now();
                second.abort();
                at
            })
        })
        .collect();
    for _ in 0..CLIENTS {
        all_open.recv().await.unwrap();
    }
    time::sleep(Duration::from_secs(1)).await;
    up.store(false, std::sync::atomic::Ordering::Relaxed);
    cut.notify_waiters();
    time::sleep(away).await;
    up.store(true, std::sync::atomic::Ordering::Relaxed);
    let back = Instant::now();
    let mut times = Vec::new();
    for client in clients {
        times.push(client.await.unwrap() - back);
    }
    times
}

fn histogram(times: &[Duration], width: Duration, buckets: usize) -> Vec<usize> {
    let mut counts = vec![0; buckets];
    for time in times {
        // Panics on one that is later than all buckets.
        counts[(time.as_nanos() / width.as_nanos()) as usize] += 1;
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_10000_clients_after_a_short_restart_spreads_over_the_first_window() {
    let times = storm(Duration::from_millis(1)).await;
    // Evenly over one second; who came in the one millisecond has a second window of two.
    let per_tenth = histogram(&times, Duration::from_millis(100), 30);
    println!("per tenth of a second: {per_tenth:?}");
    assert!(
        per_tenth[..10]
            .iter()
            .all(|count| (850..1150).contains(count)),
        "{per_tenth:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_10000_clients_after_a_long_restart_spreads_over_the_largest_window() {
    let times = storm(Duration::from_secs(120)).await;
    // By the time it is back every window is at its ceiling of 30 s. Who is in the middle of a uniform delay has the less left
    // the longer it waited: twice the mean at first, falling to nothing at the end of the window.
    let per_second = histogram(&times, Duration::from_secs(1), 30);
    println!("per second: {per_second:?}");
    for (second, count) in per_second.iter().enumerate() {
        let expected = 10_000.0 / 30.0 * 2.0 * (1.0 - (second as f64 + 0.5) / 30.0);
        // Five standard deviations of a count, and what the windows before still owe.
        let margin = 5.0 * expected.sqrt() + 20.0;
        assert!(
            (*count as f64 - expected).abs() < margin,
            "second {second}: {count}, expected {expected:.0} in {per_second:?}"
        );
    }
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
