//! Stopping and starting a receive loses no byte and gives one answer each time.

use super::*;
use std::io::Write;
use std::thread;

/// The stream's byte at `position`: any loss, repetition or swap shows.
pub(super) fn byte_at(position: usize) -> u8 {
    (position.wrapping_mul(0x9E37_79B1) >> 13) as u8
}

pub(super) fn check_stream(position: &mut usize, bytes: &[u8]) {
    for byte in bytes {
        assert_eq!(*byte, byte_at(*position), "at byte {position}");
        *position += 1;
    }
}

/// Sends `total` bytes of the stream in pieces of changing length, then closes.
pub(super) fn pour(mut stream: TcpStream, total: usize) {
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut position = 0;
    let mut piece = Vec::new();
    while position < total {
        let len = (1 + position % 4093).min(total - position);
        piece.clear();
        piece.extend((position..position + len).map(byte_at));
        stream.write_all(&piece).unwrap();
        position += len;
    }
}

#[derive(Default)]
struct Progress {
    position: usize,
    stopping: bool,
    stopped: usize,
    ended: bool,
}

#[test]
fn a_receive_paused_again_and_again_loses_nothing() {
    pause_and_resume(driver(), 4 << 20);
}

pub(super) fn pause_and_resume(mut driver: impl Driver, total: usize) {
    let (client, server) = connection();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    let sender = thread::spawn(move || pour(client, total));
    let mut progress = Progress::default();
    turn_until(
        &mut driver,
        &mut progress,
        |driver, progress, completion| match completion {
            Completion::Received { buffer, len, .. } => {
                check_stream(&mut progress.position, &take(driver, buffer, len));
                if !progress.stopping {
                    progress.stopping = true;
                    driver.stop_receiving(id);
                    match progress.stopped % 3 {
                        // Two requests, one answer.
                        0 => driver.stop_receiving(id),
                        // Goes on after the answer without being told again.
                        1 => driver.start_receiving(id),
                        _ => {}
                    }
                }
            }
            Completion::Stopped { socket } => {
                assert_eq!(socket, id);
                assert!(progress.stopping, "an answer that nobody asked for");
                if progress.stopped % 3 != 1 {
                    driver.start_receiving(id);
                }
                progress.stopping = false;
                progress.stopped += 1;
            }
            Completion::Ended { error, .. } => {
                assert!(error.is_none(), "{error:?}");
                progress.ended = true;
            }
            other => panic!("unexpected {other:?}"),
        },
        |progress| progress.ended,
    );
    sender.join().unwrap();
    assert_eq!(progress.position, total);
    assert!(
        progress.stopped > 20,
        "only {} pauses: the test proved little",
        progress.stopped
    );
    driver.close(id);
}

#[test]
fn nothing_is_delivered_while_stopped_and_nothing_is_lost() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    assert!(driver.release(id).is_none(), "it is receiving");
    driver.stop_receiving(id);
    assert!(driver.release(id).is_none(), "the answer is not here yet");
    turn_until(
        &mut driver,
        &mut false,
        |_, stopped, completion| {
            assert!(matches!(completion, Completion::Stopped { socket } if socket == id));
            *stopped = true;
        },
        |stopped| *stopped,
    );

    client.write_all(b"later").unwrap();
    for _ in 0..5 {
        driver
            .wait(Some(Duration::from_millis(10)), &mut completions)
            .unwrap();
    }
    assert!(completions.is_empty(), "{completions:?}");

    driver.start_receiving(id);
    turn_until(
        &mut driver,
        &mut Vec::new(),
        |driver, seen: &mut Vec<u8>, completion| match completion {
            Completion::Received { buffer, len, .. } => seen.extend(take(driver, buffer, len)),
            other => panic!("unexpected {other:?}"),
        },
        |seen| seen == b"later",
    );
}

#[test]
fn stopping_what_never_started_is_answered_once() {
    let (_client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.stop_receiving(id);
    driver.stop_receiving(id);
    assert!(driver.release(id).is_none(), "the answer is still due");
    let mut completions = Vec::new();
    // Does not block although no limit is given: the answer needs nothing from the kernel.
    driver.wait(None, &mut completions).unwrap();
    assert!(
        matches!(completions[..], [Completion::Stopped { socket }] if socket == id),
        "{completions:?}"
    );
    completions.clear();
    driver
        .wait(Some(Duration::from_millis(10)), &mut completions)
        .unwrap();
    assert!(completions.is_empty(), "{completions:?}");
    assert!(driver.release(id).is_some());
}

#[test]
fn a_stream_that_ended_gets_no_stopped() {
    let (client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    drop(client);
    let mut completions = Vec::new();
    turn_until(
        &mut driver,
        &mut false,
        |_, ended, completion| {
            assert!(matches!(completion, Completion::Ended { error: None, .. }));
            *ended = true;
        },
        |ended| *ended,
    );
    driver.stop_receiving(id);
    driver.start_receiving(id);
    for _ in 0..3 {
        driver
            .wait(Some(Duration::from_millis(5)), &mut completions)
            .unwrap();
    }
    assert!(completions.is_empty(), "{completions:?}");
    assert!(
        driver.release(id).is_some(),
        "an ended socket can be released"
    );
}

#[test]
fn a_start_before_the_answer_is_remembered_and_can_be_taken_back() {
    let (mut client, server) = connection();
    let mut driver = driver();
    let id = driver.adopt(server).unwrap();
    let mut completions = Vec::new();
    for armed in [false, true] {
        if armed {
            driver.start_receiving(id);
            driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
        }
        // Taken back: as if it had only been stopped.
        driver.stop_receiving(id);
        driver.start_receiving(id);
        driver.stop_receiving(id);
        turn_until(
            &mut driver,
            &mut false,
            |_, stopped, completion| {
                assert!(matches!(completion, Completion::Stopped { .. }));
                *stopped = true;
            },
            |stopped| *stopped,
        );
        client.write_all(b"!").unwrap();
        driver
            .wait(Some(Duration::from_millis(20)), &mut completions)
            .unwrap();
        assert!(completions.is_empty(), "{completions:?}");

        // Remembered: the answer first, then the bytes.
        driver.stop_receiving(id);
        driver.start_receiving(id);
        let mut seen = Vec::new();
        turn_until(
            &mut driver,
            &mut seen,
            |driver, seen: &mut Vec<usize>, completion| match completion {
                Completion::Stopped { .. } => seen.push(0),
                Completion::Received { buffer, len, .. } => {
                    seen.push(take(driver, buffer, len).len());
                }
                other => panic!("unexpected {other:?}"),
            },
            |seen| seen.len() == 2,
        );
        assert_eq!(seen, [0, 1]);
        driver.stop_receiving(id);
        turn_until(
            &mut driver,
            &mut false,
            |_, stopped, _| *stopped = true,
            |stopped| *stopped,
        );
    }
    assert!(driver.release(id).is_some());
}
