//! Writing to many sockets at once.

use std::io::{ErrorKind, Read, Write};

use super::*;

/// More than a submission queue and a batch hold, some of them full, some gone: everybody gets what is its own, and who could not is told
/// so, in its place. What arrives meanwhile is not lost.
#[test]
fn everybody_gets_its_own_and_is_told_how_it_went() {
    const SOCKETS: usize = 40;
    let mut driver = driver_of(DriverOptions {
        submission_entries: 8,
        completion_entries: 64,
        table_size: table_size(),
        ..DriverOptions::default()
    });
    let mut peers = Vec::new();
    for _ in 0..SOCKETS {
        let (client, server) = connection();
        // Small, so that they are full soon and stay so.
        let small = 4 << 10;
        let (near, far) = (
            socket2::SockRef::from(&server),
            socket2::SockRef::from(&client),
        );
        near.set_send_buffer_size(small).unwrap();
        far.set_recv_buffer_size(small).unwrap();
        let socket = driver.adopt(server).unwrap();
        driver.start_receiving(socket);
        peers.push((client, socket));
    }
    // Every tenth has no room any more, every tenth is closed.
    let filling = vec![b'x'; 1 << 20];
    for at in (0..SOCKETS).step_by(10) {
        // What the kernel moves to the other end makes room again for a while.
        let mut refused = 0;
        while refused < 20 {
            match driver.send(peers[at].1, &[IoSlice::new(&filling)]) {
                Ok(_) => refused = 0,
                Err(_) => refused += 1,
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        driver.close(peers[at + 1].1);
    }
    for (client, _) in &mut peers {
        // Those that were closed do not take it, or not always.
        let _ = client.write_all(b"meanwhile");
    }
    let words: Vec<String> = (0..SOCKETS).map(|at| format!("word {at}")).collect();
    let mut outcomes = Vec::new();
    let mut full = 0;
    for _ in 0..3 {
        let sends: Vec<(SocketId, &[u8])> = peers
            .iter()
            .zip(&words)
            .map(|((_, socket), word)| (*socket, word.as_bytes()))
            .collect();
        driver.send_each(&sends, &mut outcomes);
        assert_eq!(outcomes.len(), SOCKETS);
        for (at, outcome) in outcomes.iter().enumerate() {
            match (at % 10, outcome) {
                (0, Err(error)) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    full += 1;
                }
                // The kernel has found room after all.
                (0, Ok(sent)) => assert_eq!(*sent, words[at].len()),
                (1, Err(error)) => assert_eq!(error.kind(), ErrorKind::NotConnected),
                (2.., Ok(sent)) => assert_eq!(*sent, words[at].len()),
                other => panic!("{at}: {other:?}"),
            }
        }
        // And without those that are gone, as a shard would.
        let present: Vec<_> = sends
            .iter()
            .enumerate()
            .filter(|(at, _)| at % 10 > 1)
            .map(|(_, send)| *send)
            .collect();
        driver.send_each(&present, &mut outcomes);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    assert!(full > 0, "no socket was full");
    for (at, (client, _)) in peers.iter_mut().enumerate().filter(|(at, _)| at % 10 > 1) {
        let mut heard = vec![0; words[at].len() * 6];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(heard, words[at].repeat(6).as_bytes());
    }
    let expected = SOCKETS - SOCKETS / 10;
    turn_until(
        &mut driver,
        &mut 0,
        |driver, heard, completion| {
            if let Completion::Received { buffer, len, .. } = completion {
                assert_eq!(take(driver, buffer, len), b"meanwhile");
                *heard += 1;
            }
        },
        |heard| *heard == expected,
    );
    driver.send_each(&[], &mut outcomes);
    assert!(outcomes.is_empty());
}
