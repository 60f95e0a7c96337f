//! Sockets that are silent for long are waited for in another way, and nobody notices.

use super::pause::{byte_at, check_stream};
use super::*;
use std::io::Write;
use std::thread;

#[test]
fn a_stream_with_long_and_short_pauses_stays_whole() {
    let mut driver = driver_of(DriverOptions {
        buffer_count: 4,
        buffer_size: 256,
        quiet_after: Some(Duration::from_millis(20)),
        table_size: table_size(),
        ..DriverOptions::default()
    });
    const PIECES: usize = 60;
    const PIECE: usize = 3_000;
    let (mut client, server) = connection();
    let id = driver.adopt(server).unwrap();
    driver.start_receiving(id);
    let talker = thread::spawn(move || {
        let stream: Vec<u8> = (0..PIECES * PIECE).map(byte_at).collect();
        for (number, piece) in stream.chunks(PIECE).enumerate() {
            client.write_all(piece).unwrap();
            // Long enough to be quiet, about as long, and hardly any.
            thread::sleep(Duration::from_millis([40, 15, 0, 1][number % 4]));
        }
    });
    turn_until(
        &mut driver,
        &mut (0, false),
        |driver, (position, ended), completion| match completion {
            Completion::Received { buffer, len, .. } => {
                check_stream(position, &take(driver, buffer, len));
                // Now and then it is stopped and started, however it is waited for.
                if (*position / 256).is_multiple_of(5) {
                    driver.stop_receiving(id);
                    driver.start_receiving(id);
                }
            }
            Completion::Stopped { .. } => {}
            Completion::Ended { error, .. } => {
                assert!(error.is_none(), "{error:?}");
                *ended = true;
            }
            other => panic!("unexpected {other:?}"),
        },
        |(position, ended)| *ended && *position == PIECES * PIECE,
    );
    talker.join().unwrap();
}

#[test]
fn what_is_quiet_is_stopped_released_and_closed_like_everybody() {
    let mut driver = driver_of(DriverOptions {
        quiet_after: Some(Duration::ZERO),
        table_size: table_size(),
        ..DriverOptions::default()
    });
    let (mut client, server) = connection();
    let id = driver.adopt(server).unwrap();
    let mut completions = Vec::new();
    for _ in 0..3 {
        driver.start_receiving(id);
        driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
        driver.stop_receiving(id);
        turn_until(
            &mut driver,
            &mut false,
            |_, stopped, completion| match completion {
                Completion::Stopped { .. } => *stopped = true,
                other => panic!("unexpected {other:?}"),
            },
            |stopped| *stopped,
        );
    }
    let socket = driver.release(id).expect("stopped");
    let id = driver.adopt(socket).unwrap();
    driver.start_receiving(id);
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    driver.close(id);
    assert_eq!(std::io::Read::read(&mut client, &mut [0]).unwrap(), 0);
    driver
        .wait(Some(Duration::from_millis(10)), &mut completions)
        .unwrap();
    assert!(completions.is_empty(), "{completions:?}");
}
