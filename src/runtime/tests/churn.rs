//! Connections that come and go leave nothing behind.

use super::children::in_a_child;
use super::*;
use crate::runtime::uring::{TaskWork, Uring};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::thread;

pub(super) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn two_thousand_connections_leave_no_descriptor() {
    if !in_a_child("runtime::tests::churn::two_thousand_connections_leave_no_descriptor") {
        return;
    }
    const CONNECTIONS: usize = 2_000;
    let before_all = open_files();
    let (listener, address) = listener();
    let mut driver = driver();
    driver.listen(listener).unwrap();
    let before = open_files();
    let clients = thread::spawn(move || {
        for number in 0..CONNECTIONS {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.write_all(b"hello").unwrap();
            // One half leaves first, the other is left.
            if number % 2 == 0 {
                let mut all = Vec::new();
                let _ = client.read_to_end(&mut all);
                assert_eq!(all, b"hello");
            }
        }
    });
    turn_until(
        &mut driver,
        &mut HashSet::new(),
        |driver, closed, completion| match completion {
            Completion::Accepted(socket) => {
                let id = driver.adopt(socket).unwrap();
                driver.start_receiving(id);
                driver.notify_writable(id);
            }
            Completion::Received {
                socket,
                buffer,
                len,
            } => {
                let bytes = take(driver, buffer, len);
                // The peer may be gone.
                let _ = driver.send(socket, &[IoSlice::new(&bytes)]);
                driver.close(socket);
                assert!(closed.insert(socket));
            }
            // Both may have been reported together with the bytes that made us close.
            Completion::Writable { .. } => {}
            Completion::Ended { socket, .. } => {
                assert!(closed.contains(&socket), "every client says hello")
            }
            other => panic!("unexpected {other:?}"),
        },
        |closed| closed.len() == CONNECTIONS,
    );
    clients.join().unwrap();
    let mut completions = Vec::new();
    for _ in 0..20 {
        driver
            .wait(Some(Duration::from_millis(1)), &mut completions)
            .unwrap();
    }
    assert!(completions.is_empty(), "{completions:?}");
    assert_eq!(open_files(), before);
    drop(driver);
    assert_eq!(open_files(), before_all);
}

#[test]
fn a_dropped_driver_leaves_no_descriptor() {
    if !in_a_child("runtime::tests::churn::a_dropped_driver_leaves_no_descriptor") {
        return;
    }
    let before = open_files();
    let rings = TaskWork::BEST_FIRST.map(|kind| {
        move || {
            ShardDriver::Uring(Uring::with_first_of(&[kind], &DriverOptions::default()).unwrap())
        }
    });
    let epoll = || ShardDriver::new(DriverKind::Epoll, &DriverOptions::default()).unwrap();
    let makers = rings.iter().map(|ring| ring as &dyn Fn() -> ShardDriver);
    for (number, make) in makers
        .chain([&epoll as &dyn Fn() -> ShardDriver])
        .enumerate()
    {
        let (listener, address) = listener();
        let mut driver = make();
        driver.listen(listener).unwrap();
        driver.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap();
        let first: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        turn_until(
            &mut driver,
            &mut 0,
            |driver, accepted, completion| {
                if let Completion::Accepted(socket) = completion {
                    let id = driver.adopt(socket).unwrap();
                    driver.start_receiving(id);
                    *accepted += 1;
                }
            },
            |accepted| *accepted == 100,
        );
        // These are accepted by the kernel, or still waiting: nobody has asked the driver yet.
        let second: Vec<_> = (0..100)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        drop(driver);
        drop((first, second));
        assert_eq!(open_files(), before, "driver {number}");
    }
}
