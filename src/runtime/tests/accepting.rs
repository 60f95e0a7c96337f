//! The listener: stopping frees the port, running out of descriptors does not spin.
#![allow(unsafe_code)]

use super::children::in_a_child;
use super::*;

#[test]
fn stopping_frees_the_port() {
    let (listener, address) = listener();
    let mut driver = driver();
    driver.listen(listener).unwrap();
    let mut completions = Vec::new();
    driver.wait(Some(Duration::ZERO), &mut completions).unwrap();
    driver.stop_accepting();
    driver.stop_accepting();
    driver.resume_accepting();
    assert!(
        TcpStream::connect(address).is_err(),
        "the listener stops at once"
    );
    driver
        .wait(Some(Duration::from_millis(100)), &mut completions)
        .unwrap();
    assert!(completions.is_empty(), "{completions:?}");
    // Would fail if any socket still held the port.
    let again = TcpListener::bind(address).unwrap();
    driver.listen(again).unwrap();
    TcpStream::connect(address).unwrap();
}

#[test]
fn a_driver_has_one_listener() {
    let mut driver = driver();
    driver.listen(listener().0).unwrap();
    assert_eq!(
        driver.listen(listener().0).unwrap_err().kind(),
        std::io::ErrorKind::AlreadyExists
    );
}

#[test]
fn dropping_a_driver_frees_the_port_and_ends_its_connections() {
    let (listener, address) = listener();
    let mut driver = driver();
    driver.listen(listener).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    turn_until(
        &mut driver,
        &mut false,
        |driver, accepted, completion| {
            let Completion::Accepted(socket) = completion else {
                panic!("unexpected {completion:?}")
            };
            let id = driver.adopt(socket).unwrap();
            driver.start_receiving(id);
            *accepted = true;
        },
        |accepted| *accepted,
    );
    drop(driver);
    assert_eq!(std::io::Read::read(&mut client, &mut [0; 1]).unwrap(), 0);
    drop(client);
    TcpListener::bind(address).unwrap();
}

#[test]
fn out_of_descriptors_accepting_waits_to_be_resumed() {
    if !in_a_child("runtime::tests::accepting::out_of_descriptors_accepting_waits_to_be_resumed") {
        return;
    }
    let (listener, address) = listener();
    let mut driver = driver();
    let client = TcpStream::connect(address).unwrap();
    // Below what is open already. Set before listening: the kernel notes the limit when it gets the
    // accept request.
    let limit = swap_soft_file_limit(4);
    driver.listen(listener).unwrap();
    turn_until(
        &mut driver,
        &mut None,
        |_, failed, completion| match completion {
            Completion::AcceptFailed(error) => *failed = error.raw_os_error(),
            other => panic!("unexpected {other:?}"),
        },
        |failed| *failed == Some(libc::EMFILE),
    );
    let mut completions = Vec::new();
    let start = Instant::now();
    driver
        .wait(Some(Duration::from_millis(100)), &mut completions)
        .unwrap();
    assert!(start.elapsed() >= Duration::from_millis(90), "it spins");
    assert!(completions.is_empty(), "{completions:?}");

    swap_soft_file_limit(limit);
    driver.resume_accepting();
    driver.resume_accepting();
    turn_until(
        &mut driver,
        &mut false,
        |_, accepted, completion| *accepted |= matches!(completion, Completion::Accepted(_)),
        |accepted| *accepted,
    );
    drop(client);
}

/// Returns what it was.
pub(super) fn swap_soft_file_limit(limit: u64) -> u64 {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get the address of one rlimit.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits), 0);
        let before = std::mem::replace(&mut limits.rlim_cur, limit);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
        before
    }
}
