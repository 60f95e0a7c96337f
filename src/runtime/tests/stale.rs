//! Dead ids reach nobody, and what a dead socket leaves behind reaches no caller.

use super::*;
use std::io::{Read, Write};

#[test]
fn a_stale_id_does_nothing_to_the_place_s_next_socket() {
    let (_old_client, old) = connection();
    let (mut client, server) = connection();
    let mut driver = driver();
    let stale = driver.adopt(old).unwrap();
    driver.close(stale);
    let id = driver.adopt(server).unwrap();
    assert_eq!(
        id.index(),
        stale.index(),
        "the place is reused, or the test proves nothing"
    );
    assert_ne!(id, stale);

    driver.start_receiving(stale);
    driver.stop_receiving(stale);
    driver.notify_writable(stale);
    driver.shutdown_write(stale);
    driver.close(stale);
    assert!(driver.release(stale).is_none());
    assert_eq!(
        driver.peer_address(stale).unwrap_err().kind(),
        std::io::ErrorKind::NotConnected
    );
    let refused = driver.send(stale, &[IoSlice::new(b"x")]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::NotConnected);
    let mut completions = Vec::new();
    driver
        .wait(Some(Duration::from_millis(20)), &mut completions)
        .unwrap();
    assert!(completions.is_empty(), "{completions:?}");

    send_all(&mut driver, id, b"alive");
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"alive");
}

#[test]
fn closing_with_data_on_the_way_reports_nothing_and_keeps_no_buffer() {
    // One buffer: if a dead socket's data kept it, nothing could be received afterwards.
    let mut driver = driver_with(1, 2048);
    let mut completions = Vec::new();
    for round in 0..50 {
        let (mut client, server) = connection();
        let id = driver.adopt(server).unwrap();
        driver.start_receiving(id);
        if round % 2 == 0 {
            // The request reaches the kernel before the data and the close; else all three meet in
            // one wait.
            driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
        }
        client.write_all(&[7; 10_000]).unwrap();
        driver.notify_writable(id);
        driver.close(id);
        driver
            .wait(Some(Duration::from_millis(1)), &mut completions)
            .unwrap();
        assert!(completions.is_empty(), "{completions:?}");
    }
    let (mut client, server) = connection();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    client.write_all(b"still works").unwrap();
    turn_until(
        &mut driver,
        &mut false,
        |driver, received, completion| match completion {
            Completion::Received {
                socket,
                buffer,
                len,
            } => {
                assert_eq!(
                    (socket, take(driver, buffer, len).as_slice()),
                    (id, b"still works".as_slice())
                );
                *received = true;
            }
            other => panic!("unexpected {other:?}"),
        },
        |received| *received,
    );
}

#[test]
fn a_close_reaches_the_peer_at_once_even_while_receiving() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    send_all(&mut driver, id, b"goodbye");
    driver.close(id);
    // No further wait: the end must not depend on one.
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"goodbye");
}

#[test]
fn unread_bytes_do_not_turn_a_close_into_a_reset() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    client.write_all(b"nobody reads this").unwrap();
    send_all(&mut driver, id, b"goodbye");
    driver.close(id);
    driver
        .wait(Some(Duration::from_millis(10)), &mut completions)
        .unwrap();
    assert!(completions.is_empty(), "{completions:?}");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("an orderly end");
    assert_eq!(rest, b"goodbye");
}

#[test]
fn a_released_socket_takes_its_pending_poll_with_it() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    // Full, so that the poll stays in the kernel.
    let mut sent = 0;
    while let Ok(count) = driver.send(id, &[IoSlice::new(&[0; 64 * 1024])]) {
        sent += count;
    }
    driver.notify_writable(id);
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    let socket = driver.release(id).unwrap();
    for _ in 0..3 {
        driver
            .wait(Some(Duration::from_millis(5)), &mut completions)
            .unwrap();
    }
    assert!(completions.is_empty(), "{completions:?}");
    drop(socket);
    let mut received = Vec::new();
    client
        .read_to_end(&mut received)
        .expect("nobody else holds the connection open");
    assert_eq!(received.len(), sent);
}

#[test]
#[should_panic(expected = "is not lent")]
fn recycling_twice_is_a_caller_s_error() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    client.write_all(b"x").unwrap();
    turn_until(
        &mut driver,
        &mut (),
        |driver, _, completion| {
            if let Completion::Received { buffer, .. } = completion {
                driver.recycle(buffer);
                driver.recycle(buffer);
            }
        },
        |_| false,
    );
}
