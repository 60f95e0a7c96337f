//! More data than buffers, more completions than places for them: it takes longer, and nothing is
//! lost.

use super::*;
use std::collections::HashMap;
use std::io::Write;

/// Sends `each` bytes on every one of `connections` and reads them all; buffers are recycled only
/// after the whole batch.
pub(super) fn drain(driver: &mut impl Driver, connections: u32, each: usize) {
    let mut clients = Vec::new();
    let mut missing = HashMap::new();
    for _ in 0..connections {
        let (mut client, server) = connection();
        client.write_all(&vec![5; each]).unwrap();
        let id = driver.adopt(server).unwrap();
        driver.start_receiving(id);
        missing.insert(id, each);
        clients.push(client);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut completions = Vec::new();
    while !missing.is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} sockets still wait for data",
            missing.len()
        );
        driver
            .wait(Some(Duration::from_secs(1)), &mut completions)
            .unwrap();
        let mut lent = Vec::new();
        for completion in completions.drain(..) {
            match completion {
                Completion::Received {
                    socket,
                    buffer,
                    len,
                } => {
                    assert!(driver.buffer(buffer, len).iter().all(|byte| *byte == 5));
                    lent.push(buffer);
                    let rest = missing.get_mut(&socket).expect("more than was sent");
                    *rest -= len;
                    if *rest == 0 {
                        missing.remove(&socket);
                    }
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        for buffer in lent {
            driver.recycle(buffer);
        }
    }
}

#[test]
fn two_buffers_serve_fifty_sockets() {
    drain(&mut driver_with(2, 64), 50, 3_000);
}

#[test]
fn one_buffer_serves_many_sockets() {
    drain(&mut driver_with(1, 256), 30, 1_000);
}

#[test]
fn a_tiny_ring_loses_no_completion() {
    let mut driver = driver_of(DriverOptions {
        buffer_size: 64,
        buffer_count: 256,
        submission_entries: 2,
        completion_entries: 4,
        table_size: table_size(),
        quiet_after: quiet_after(),
    });
    drain(&mut driver, 100, 2_000);
}

#[test]
fn without_any_buffer_a_wait_still_sleeps_and_a_stop_is_answered() {
    let mut driver = driver_with(1, 64);
    let (mut client, server) = connection();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    client.write_all(&[1; 200]).unwrap();
    let mut held = None;
    let mut completions = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while held.is_none() {
        assert!(Instant::now() < deadline);
        driver
            .wait(Some(Duration::from_millis(10)), &mut completions)
            .unwrap();
        for completion in completions.drain(..) {
            if let Completion::Received { buffer, .. } = completion {
                assert!(held.replace(buffer).is_none(), "there is only one buffer");
            }
        }
    }
    // Let the shortage become known, then see that it does not keep the driver busy.
    driver
        .wait(Some(Duration::from_millis(10)), &mut completions)
        .unwrap();
    let start = Instant::now();
    driver
        .wait(Some(Duration::from_millis(100)), &mut completions)
        .unwrap();
    assert!(
        start.elapsed() >= Duration::from_millis(90),
        "woke after {:?}",
        start.elapsed()
    );
    assert!(completions.is_empty(), "{completions:?}");

    driver.stop_receiving(id);
    driver.wait(None, &mut completions).unwrap();
    assert!(
        matches!(completions[..], [Completion::Stopped { .. }]),
        "{completions:?}"
    );
    driver.recycle(held.unwrap());
    let socket = TcpStream::from(driver.release(id).unwrap());
    let mut rest = [0; 136];
    std::io::Read::read_exact(&mut &socket, &mut rest).unwrap();
    assert_eq!(
        rest, [1; 136],
        "the bytes that were not delivered are still in the socket"
    );
}

#[test]
fn silent_sockets_do_not_keep_a_buffer_from_a_talking_one() {
    let mut driver = driver_with(1, 64);
    let (mut first, server) = connection();
    let talking = driver.adopt(server).unwrap();
    driver.start_receiving(talking);
    first.write_all(b"first").unwrap();
    let mut held = None;
    turn_until(
        &mut driver,
        &mut held,
        |_, held, completion| {
            if let Completion::Received { buffer, .. } = completion {
                *held = Some(buffer);
            }
        },
        Option::is_some,
    );
    // The only buffer is lent: the kernel turns these away although they have nothing to say yet.
    let mut silent = Vec::new();
    for _ in 0..10 {
        let (client, server) = connection();
        let id = driver.adopt(server).unwrap();
        driver.start_receiving(id);
        silent.push((client, id));
    }
    let mut completions = Vec::new();
    driver
        .wait(Some(Duration::from_millis(10)), &mut completions)
        .unwrap();
    assert!(completions.is_empty(), "{completions:?}");

    driver.recycle(held.unwrap());
    let (client, last) = silent.last_mut().unwrap();
    client.write_all(b"last").unwrap();
    let start = Instant::now();
    while completions.is_empty() && start.elapsed() < PATIENCE {
        driver.wait(Some(PATIENCE), &mut completions).unwrap();
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "it waited behind the silent ones"
    );
    assert!(
        matches!(completions[..], [Completion::Received { socket, len: 4, .. }] if socket == *last),
        "{completions:?}"
    );
}
