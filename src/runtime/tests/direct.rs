//! Direct descriptors: sockets that are no files of the process, over as many rings as it takes.

use super::accepting::swap_soft_file_limit;
use super::children::in_a_child;
use super::churn::open_files;
use super::*;
use std::io::{Read, Write};

/// A driver whose tables have this many slots.
fn tables_of(slots: u32) -> ShardDriver {
    let options = DriverOptions {
        buffer_count: 16,
        buffer_size: 2048,
        table_size: Some(slots),
        quiet_after: quiet_after(),
        ..DriverOptions::default()
    };
    ShardDriver::new(DriverKind::Uring, &options).unwrap()
}

/// A connection the driver receives from.
fn received_from(driver: &mut ShardDriver) -> (TcpStream, SocketId) {
    let (client, server) = connection();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    (client, id)
}

/// What the driver receives next; nothing else may happen.
fn next_received(driver: &mut ShardDriver) -> (SocketId, Vec<u8>) {
    let mut received = None;
    turn_until(
        driver,
        &mut received,
        |driver, received, completion| match completion {
            Completion::Received {
                socket,
                buffer,
                len,
            } => *received = Some((socket, take(driver, buffer, len))),
            other => panic!("unexpected {other:?}"),
        },
        Option::is_some,
    );
    received.unwrap()
}

#[test]
fn sockets_in_tables_are_no_files_of_the_process() {
    if !in_a_child("runtime::tests::direct::sockets_in_tables_are_no_files_of_the_process") {
        return;
    }
    const SOCKETS: usize = 40;
    let mut driver = tables_of(8);
    let before = open_files();
    let sockets: Vec<_> = (0..SOCKETS).map(|_| received_from(&mut driver)).collect();
    // The clients' ends, four more rings, and the eventfd they share.
    assert_eq!(open_files() - before, SOCKETS + 4 + 1);
    for (number, (mut client, id)) in sockets.into_iter().enumerate() {
        let address = driver.peer_address(id).unwrap();
        assert_eq!(address, client.local_addr().unwrap());
        let number = [number as u8];
        client.write_all(&number).unwrap();
        assert_eq!(next_received(&mut driver), (id, number.to_vec()));
        let slices = [IoSlice::new(b"to "), IoSlice::new(&number)];
        assert_eq!(driver.send(id, &slices).unwrap(), 4);
        driver.close(id);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [b't', b'o', b' ', number[0]]);
    }
    drop(driver);
    assert_eq!(open_files(), before - 2, "ring and bell are gone, too");
}

#[test]
fn every_ring_wakes_the_driver_and_none_keeps_it_awake() {
    let mut driver = tables_of(1);
    let mut sockets: Vec<_> = (0..4).map(|_| received_from(&mut driver)).collect();
    let mut completions = Vec::new();
    for round in 0..8 {
        let (client, id) = &mut sockets[round % 4];
        let mut sender = client.try_clone().unwrap();
        let talker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            sender.write_all(b"wake up").unwrap();
        });
        let start = Instant::now();
        while completions.is_empty() && start.elapsed() < PATIENCE {
            driver.wait(Some(PATIENCE), &mut completions).unwrap();
        }
        talker.join().unwrap();
        let [
            Completion::Received {
                socket,
                buffer,
                len: 7,
            },
        ] = completions[..]
        else {
            panic!("unexpected {completions:?}");
        };
        assert_eq!(socket, *id);
        assert!(start.elapsed() < PATIENCE / 2, "nobody woke it");
        driver.recycle(buffer);
        // An answer completes a request in the same ring, which must not end the next sleep.
        send_all(&mut driver, *id, b"awake");
        client.read_exact(&mut [0; 5]).unwrap();
        completions.clear();
        let start = Instant::now();
        driver
            .wait(Some(Duration::from_millis(50)), &mut completions)
            .unwrap();
        assert!(completions.is_empty(), "{completions:?}");
        assert!(start.elapsed() >= Duration::from_millis(50), "it spins");
    }
}

#[test]
fn more_sockets_than_all_tables_hold_are_refused_and_places_come_back() {
    let options = DriverOptions {
        buffer_count: 1,
        buffer_size: 64,
        submission_entries: 4,
        completion_entries: 8,
        table_size: Some(1),
        quiet_after: quiet_after(),
    };
    let mut driver = ShardDriver::new(DriverKind::Uring, &options).unwrap();
    let all: Vec<_> = (0..256).map(|_| received_from(&mut driver)).collect();
    let refused = driver.adopt(connection().1).unwrap_err();
    assert!(refused.to_string().contains("no place"), "{refused}");
    let (client, id) = &all[200];
    driver.close(*id);
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    assert_eq!((&*client).read(&mut [0]).unwrap(), 0);
    let (mut client, id) = received_from(&mut driver);
    client.write_all(b"here").unwrap();
    assert_eq!(next_received(&mut driver), (id, b"here".to_vec()));
}

#[test]
fn descriptors_that_run_out_while_many_connect_are_no_failure() {
    if !in_a_child(
        "runtime::tests::direct::descriptors_that_run_out_while_many_connect_are_no_failure",
    ) {
        return;
    }
    const CLIENTS: usize = 60;
    let (listener, address) = listener();
    let mut driver = tables_of(64);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    // The next descriptors have the numbers behind the clients'.
    let few = open_files() as u64 + 4;
    swap_soft_file_limit(few);
    driver.listen(listener).unwrap();
    turn_until(
        &mut driver,
        &mut 0,
        |driver, accepted, completion| {
            let Completion::Accepted(socket) = completion else {
                panic!("unexpected {completion:?}")
            };
            let id = driver.adopt(socket).unwrap();
            driver.start_receiving(id);
            *accepted += 1;
        },
        |accepted| *accepted == CLIENTS,
    );
    drop(clients);
}

#[test]
fn without_a_descriptor_to_borrow_a_release_is_refused_and_a_close_still_reaches_the_peer() {
    if !in_a_child(
        "runtime::tests::direct::without_a_descriptor_to_borrow_a_release_is_refused_and_a_close_still_reaches_the_peer",
    ) {
        return;
    }
    let mut driver = tables_of(8);
    let (mut client, id) = received_from(&mut driver);
    let (mut other, closed) = received_from(&mut driver);
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    driver.stop_receiving(id);
    turn_until(
        &mut driver,
        &mut false,
        |_, stopped, completion| *stopped |= matches!(completion, Completion::Stopped { .. }),
        |stopped| *stopped,
    );

    let limit = swap_soft_file_limit(0);
    assert!(driver.release(id).is_none());
    assert!(driver.peer_address(id).is_err());
    send_all(&mut driver, closed, b"goodbye");
    driver.close(closed);
    // A worker of the kernel ends the connection, and the receive with it.
    driver
        .wait(Some(Duration::from_millis(10)), &mut completions)
        .unwrap();
    let mut rest = Vec::new();
    other.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"goodbye");

    swap_soft_file_limit(limit);
    send_all(&mut driver, id, b"still here");
    drop(driver.release(id).expect("a descriptor is to be had again"));
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"goodbyestill here");
}
