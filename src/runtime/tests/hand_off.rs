//! A socket moves between two drivers on two threads while its peer keeps sending: no byte is lost,
//! doubled or out of order.

use super::pause::{check_stream, pour};
use super::*;
use crate::runtime::Bell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

const STREAMS: usize = 4;
const TOTAL: usize = 1 << 20;

/// What travels: the socket and how far its stream was read.
struct Parcel {
    socket: OwnedFd,
    position: usize,
    moves: usize,
}

struct Side {
    inbox: mpsc::Receiver<Parcel>,
    outbox: mpsc::Sender<Parcel>,
    other: Bell,
    done: Arc<AtomicUsize>,
    moves: Arc<AtomicUsize>,
}

/// Reads a little from every stream it is given, then hands the stream over.
fn run(mut driver: impl Driver, side: &Side) {
    let deadline = Instant::now() + PATIENCE;
    let mut streams: HashMap<SocketId, (usize, usize)> = HashMap::new();
    let mut completions = Vec::new();
    while side.done.load(Ordering::Acquire) < STREAMS {
        assert!(
            Instant::now() < deadline,
            "not finished within {PATIENCE:?}"
        );
        while let Ok(parcel) = side.inbox.try_recv() {
            let id = driver.adopt(parcel.socket).unwrap();
            streams.insert(id, (parcel.position, parcel.moves));
            driver.start_receiving(id);
        }
        driver
            .wait(Some(Duration::from_millis(10)), &mut completions)
            .unwrap();
        for completion in completions.drain(..) {
            match completion {
                Completion::Received {
                    socket,
                    buffer,
                    len,
                } => {
                    let stream = streams.get_mut(&socket).expect("a stream we own");
                    check_stream(&mut stream.0, &take(&mut driver, buffer, len));
                    driver.stop_receiving(socket);
                }
                Completion::Stopped { socket } => {
                    let (position, moves) = streams.remove(&socket).expect("a stream we own");
                    let descriptor = driver.release(socket).expect("stopped");
                    side.outbox
                        .send(Parcel {
                            socket: descriptor,
                            position,
                            moves: moves + 1,
                        })
                        .unwrap();
                    side.other.ring();
                }
                Completion::Ended { socket, error } => {
                    assert!(error.is_none(), "{error:?}");
                    let (position, moves) = streams.remove(&socket).expect("a stream we own");
                    assert_eq!(position, TOTAL);
                    driver.close(socket);
                    side.moves.fetch_add(moves, Ordering::Relaxed);
                    side.done.fetch_add(1, Ordering::Release);
                    side.other.ring();
                }
                Completion::Bell => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

#[test]
fn streams_tossed_between_two_drivers_stay_whole() {
    let done = Arc::new(AtomicUsize::new(0));
    let moves = Arc::new(AtomicUsize::new(0));
    let (to_first, first_inbox) = mpsc::channel();
    let (to_second, second_inbox) = mpsc::channel();
    let (bell_sender, bell_receiver) = mpsc::channel();
    let (own_bell_sender, own_bell_receiver) = mpsc::channel::<Bell>();

    let senders: Vec<_> = (0..STREAMS)
        .map(|_| {
            let (client, server) = connection();
            to_first
                .send(Parcel {
                    socket: server,
                    position: 0,
                    moves: 0,
                })
                .unwrap();
            thread::spawn(move || pour(client, TOTAL))
        })
        .collect();

    let second = {
        let (done, moves, outbox) = (done.clone(), moves.clone(), to_first.clone());
        thread::spawn(move || {
            let driver = driver_with(16, 256);
            bell_sender.send(driver.bell()).unwrap();
            let other = own_bell_receiver.recv().unwrap();
            run(
                driver,
                &Side {
                    inbox: second_inbox,
                    outbox,
                    other,
                    done,
                    moves,
                },
            );
        })
    };
    let driver = driver_with(16, 256);
    own_bell_sender.send(driver.bell()).unwrap();
    let other = bell_receiver.recv().unwrap();
    run(
        driver,
        &Side {
            inbox: first_inbox,
            outbox: to_second,
            other,
            done,
            moves: moves.clone(),
        },
    );

    second.join().unwrap();
    for sender in senders {
        sender.join().unwrap();
    }
    let moves = moves.load(Ordering::Relaxed);
    println!("{moves} hand-offs");
    assert!(
        moves > 500,
        "only {moves} hand-offs: the test proved little"
    );
}
