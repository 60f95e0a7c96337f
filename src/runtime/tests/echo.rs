//! Bytes in, bytes out: the plain path, without glommio.

use super::*;
use std::io::{Read, Write};
use std::thread;

/// Accepts, echoes and closes until `closed` sockets have ended.
fn echo_until_closed(driver: &mut impl Driver, closed: usize) {
    turn_until(
        driver,
        &mut 0,
        |driver, ended, completion| match completion {
            Completion::Accepted(socket) => {
                let id = driver.adopt(socket).unwrap();
                assert!(driver.peer_address(id).unwrap().ip().is_loopback());
                driver.start_receiving(id);
            }
            Completion::Received {
                socket,
                buffer,
                len,
            } => {
                let bytes = take(driver, buffer, len);
                send_all(driver, socket, &bytes);
            }
            Completion::Ended { socket, error } => {
                assert!(error.is_none(), "{error:?}");
                driver.close(socket);
                *ended += 1;
            }
            other => panic!("unexpected {other:?}"),
        },
        |ended| *ended == closed,
    );
}

#[test]
fn every_client_gets_its_own_bytes_back() {
    echo_clients(driver(), 8);
}

pub(super) fn echo_clients(mut driver: impl Driver, count: u8) {
    let (listener, address) = listener();
    driver.listen(listener).unwrap();
    let clients: Vec<_> = (0..count)
        .map(|client| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                for round in 0..50usize {
                    // Lengths below, at and above the size of one receive buffer.
                    let message =
                        vec![client.wrapping_mul(31).wrapping_add(round as u8); 1 + round * 100];
                    stream.write_all(&message).unwrap();
                    let mut answer = vec![0; message.len()];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, message);
                }
            })
        })
        .collect();
    echo_until_closed(&mut driver, count.into());
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_socket_in_non_blocking_mode_is_received_from_as_well() {
    let (mut client, server) = connection();
    let server = TcpStream::from(server);
    server.set_nonblocking(true).unwrap();
    let mut driver = driver();
    let id = driver.adopt(server.into()).unwrap();
    driver.start_receiving(id);
    driver
        .wait(Some(Duration::from_millis(10)), &mut Vec::new())
        .unwrap();
    client.write_all(b"hello").unwrap();
    turn_until(
        &mut driver,
        &mut Vec::new(),
        |driver, seen, completion| match completion {
            Completion::Received { buffer, len, .. } => seen.extend(take(driver, buffer, len)),
            other => panic!("unexpected {other:?}"),
        },
        |seen: &Vec<u8>| seen == b"hello",
    );
}
