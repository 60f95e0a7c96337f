//! Writing to many sockets at once.
#![allow(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

use super::*;

/// More than a submission queue and a batch hold, some of them full, some gone: everybody gets what is its own, and who could not is told
/// so, in its place. What arrives meanwhile is not lost.
#[test]
fn everybody_gets_its_own_and_is_told_how_it_went() {
    tell_everybody(table_size());
}

/// The same over six rings, in one of which only one of them is.
#[test]
fn everybody_gets_its_own_by_whichever_ring() {
    tell_everybody(Some(7));
}

fn tell_everybody(table_size: Option<u32>) {
    const SOCKETS: usize = 36;
    let mut driver = driver_of(DriverOptions {
        submission_entries: 8,
        completion_entries: 64,
        table_size,
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
        let sends: Vec<Outgoing<'_>> = peers
            .iter()
            .zip(&words)
            .map(|((_, socket), word)| Outgoing {
                socket: *socket,
                bytes: word.as_bytes(),
                last: false,
            })
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
    let expected = SOCKETS - SOCKETS.div_ceil(10);
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

/// The last bytes and the end of the stream come in one packet, alone as well as with others.
#[test]
fn the_end_comes_in_the_packet_of_the_last_bytes() {
    const BYE: &[u8] = b"bye";
    let mut driver = driver_of(DriverOptions {
        table_size: table_size(),
        ..DriverOptions::default()
    });
    let mut packets = |count: usize, last: bool| {
        let mut peers: Vec<(TcpStream, SocketId)> = (0..count)
            .map(|_| {
                let (client, server) = connection();
                (client, driver.adopt(server).unwrap())
            })
            .collect();
        let before: Vec<u32> = peers.iter().map(|(it, _)| packets_in(it)).collect();
        let sends: Vec<Outgoing<'_>> = peers
            .iter()
            .map(|(_, socket)| Outgoing {
                socket: *socket,
                bytes: BYE,
                last,
            })
            .collect();
        let mut outcomes = Vec::new();
        driver.send_each(&sends, &mut outcomes);
        for ((_, socket), outcome) in peers.iter().zip(outcomes) {
            assert_eq!(outcome.unwrap(), BYE.len());
            driver.shutdown_write(*socket);
        }
        let came = peers.iter_mut().zip(before).map(|((client, _), before)| {
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, BYE);
            packets_in(client) - before
        });
        came.sum::<u32>()
    };
    for count in [1, 5] {
        assert_eq!(packets(count, false), 2 * count as u32);
        // The kernel keeps the bytes back for at least a fifth of a second, in which this thread may not have its turn.
        let once = (0..10).any(|_| packets(count, true) == count as u32);
        assert!(once, "{count} at once");
    }
}

/// How many packets a socket has received.
fn packets_in(socket: &TcpStream) -> u32 {
    /// Where `tcpi_segs_in` lies in the `tcp_info` of `linux/tcp.h`.
    const SEGS_IN: usize = 140;
    let mut info = [0_u8; 256];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: `len` is the room in `info`; both live until the call returns, which writes no more than that.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    assert_eq!(got, 0, "{}", std::io::Error::last_os_error());
    assert!(len as usize >= SEGS_IN + 4, "an old kernel: {len}");
    u32::from_ne_bytes(info[SEGS_IN..SEGS_IN + 4].try_into().unwrap())
}
