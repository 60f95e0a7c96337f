//! A full socket says so, and says once when it has room.

use super::*;
use std::io::Read;

#[test]
fn a_full_socket_reports_room_once_after_the_peer_has_read() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    let piece = vec![3; 64 * 1024];
    let mut sent = 0;
    let full = loop {
        match driver.send(id, &[IoSlice::new(&piece)]) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
        assert!(sent < 1 << 30, "it never fills");
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);

    driver.notify_writable(id);
    driver.notify_writable(id);
    let mut completions = Vec::new();
    driver
        .wait(Some(Duration::from_millis(20)), &mut completions)
        .unwrap();
    assert!(
        completions.is_empty(),
        "there is no room yet: {completions:?}"
    );

    let mut received = vec![0; sent];
    client.read_exact(&mut received).unwrap();
    turn_until(
        &mut driver,
        &mut false,
        |_, writable, completion| {
            assert!(matches!(completion, Completion::Writable { socket } if socket == id));
            assert!(!*writable, "reported twice");
            *writable = true;
        },
        |writable| *writable,
    );
    driver
        .wait(Some(Duration::from_millis(10)), &mut completions)
        .unwrap();
    assert!(completions.is_empty(), "{completions:?}");
    send_all(&mut driver, id, b"room");
}

#[test]
fn many_slices_leave_in_one_call_and_no_more_than_the_system_takes() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    let slices: Vec<_> = (0..1500).map(|_| IoSlice::new(b"ab")).collect();
    assert_eq!(driver.send(id, &slices).unwrap(), 2 * 1024);
    assert_eq!(driver.send(id, &[]).unwrap(), 0);
    let mut received = vec![0; 2 * 1024];
    client.read_exact(&mut received).unwrap();
    assert!(received.chunks(2).all(|pair| pair == b"ab"));
}

#[test]
fn a_finished_peer_can_still_be_written_to() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    turn_until(
        &mut driver,
        &mut false,
        |_, ended, completion| {
            assert!(matches!(completion, Completion::Ended { error: None, .. }));
            *ended = true;
        },
        |ended| *ended,
    );
    send_all(&mut driver, id, b"last words");
    driver.shutdown_write(id);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"last words");
}

#[test]
fn a_reset_ends_with_its_error() {
    let (client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    send_all(&mut driver, id, b"unread");
    // Closing with unread bytes resets the connection.
    std::thread::sleep(Duration::from_millis(20));
    drop(client);
    turn_until(
        &mut driver,
        &mut None,
        |_, ended, completion| match completion {
            Completion::Ended { error, .. } => *ended = Some(error.map(|error| error.kind())),
            other => panic!("unexpected {other:?}"),
        },
        |ended| *ended == Some(Some(std::io::ErrorKind::ConnectionReset)),
    );
}
