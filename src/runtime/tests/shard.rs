//! Shards as threads: started, named, pinned, joined, and loud when they break.

use super::*;
use crate::runtime::{Bell, RuntimeError, ShardLoop, ShardThread, cores, spawn_shard};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::mpsc;

/// Runs `turn` after each wait until it breaks.
struct Loop<F> {
    driver: ShardDriver,
    completions: Vec<Completion>,
    turn: F,
}

impl<F: FnMut(&mut ShardDriver, Completion) -> ControlFlow<()>> ShardLoop for Loop<F> {
    fn turn(&mut self) -> ControlFlow<()> {
        self.driver
            .wait(Some(crate::runtime::MAX_BLOCK), &mut self.completions)
            .unwrap();
        for completion in self.completions.drain(..) {
            (self.turn)(&mut self.driver, completion)?;
        }
        ControlFlow::Continue(())
    }
}

fn small() -> DriverOptions {
    DriverOptions {
        buffer_count: 4,
        buffer_size: 1024,
        ..DriverOptions::default()
    }
}

/// A shard that does `on_bell` when it is rung.
fn shard(index: usize, on_bell: fn() -> ControlFlow<()>) -> (ShardThread, Bell) {
    let (sender, bell) = mpsc::channel();
    let thread = spawn_shard(index, None, kind(), small(), move |driver| {
        sender.send(driver.bell()).unwrap();
        Loop {
            driver,
            completions: Vec::new(),
            turn: move |_: &mut ShardDriver, _| on_bell(),
        }
    })
    .unwrap();
    let bell = bell.recv_timeout(PATIENCE).unwrap();
    (thread, bell)
}

#[test]
fn a_shard_ends_when_its_loop_breaks() {
    let (thread, bell) = shard(3, || ControlFlow::Break(()));
    assert!(!thread.is_finished());
    assert_eq!(thread.shard(), 3);
    bell.ring();
    thread.join(Some(PATIENCE)).unwrap();
}

#[test]
fn more_shards_than_cores_run_side_by_side() {
    let shards: Vec<_> = (0..4)
        .map(|index| shard(index, || ControlFlow::Break(())))
        .collect();
    for (_, bell) in &shards {
        bell.ring();
    }
    for (thread, _) in shards {
        thread.join(Some(PATIENCE)).unwrap();
    }
}

#[test]
fn a_panic_in_the_loop_is_reported() {
    let (thread, bell) = shard(1, || panic!("the shard is on fire"));
    bell.ring();
    match thread.join(Some(PATIENCE)) {
        Err(RuntimeError::Panicked { shard: 1, message }) => {
            assert_eq!(message, "the shard is on fire")
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_panic_in_make_is_reported() {
    let thread = spawn_shard(
        2,
        None,
        kind(),
        small(),
        |_| -> Loop<fn(&mut ShardDriver, Completion) -> ControlFlow<()>> {
            panic!("cannot build number {}", 2)
        },
    );
    match thread.and_then(|thread| thread.join(Some(PATIENCE))) {
        Err(RuntimeError::Panicked { shard: 2, message }) => {
            assert_eq!(message, "cannot build number 2")
        }
        other => panic!("unexpected {other:?}"),
    }
}

#[test]
fn a_shard_that_does_not_end_is_left_behind_in_time() {
    let (thread, bell) = shard(0, || ControlFlow::Break(()));
    let start = Instant::now();
    let late = thread.join(Some(Duration::from_millis(50)));
    assert!(
        matches!(late, Err(RuntimeError::JoinTimeout { shard: 0, .. })),
        "{late:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(2));
    bell.ring();
}

#[test]
fn faulty_options_and_unknown_cores_are_refused() {
    let make = |driver| Loop {
        driver,
        completions: Vec::new(),
        turn: |_: &mut ShardDriver, _| ControlFlow::Break(()),
    };
    let options = DriverOptions {
        buffer_count: 3,
        ..small()
    };
    let refused = spawn_shard(0, None, kind(), options, make).unwrap_err();
    assert!(
        matches!(
            refused,
            RuntimeError::Option {
                option: "buffer_count",
                value: 3,
                ..
            }
        ),
        "{refused}"
    );
    let refused = spawn_shard(5, Some(4095), kind(), small(), make).unwrap_err();
    assert!(
        matches!(refused, RuntimeError::Executor { shard: 5, .. }),
        "{refused}"
    );
}

#[test]
fn a_pinned_shard_has_its_name_and_its_core() {
    let core = *cores::allowed_cores().unwrap().last().unwrap();
    let (sender, receiver) = mpsc::channel();
    let thread = spawn_shard(7, Some(core), kind(), small(), move |driver| {
        let name = std::thread::current().name().map(str::to_owned);
        sender
            .send((name, cores::allowed_cores().unwrap()))
            .unwrap();
        driver.bell().ring();
        Loop {
            driver,
            completions: Vec::new(),
            turn: |_: &mut ShardDriver, _| ControlFlow::Break(()),
        }
    })
    .unwrap();
    let (name, cores) = receiver.recv_timeout(PATIENCE).unwrap();
    assert_eq!(name.as_deref(), Some("shard-7"));
    assert_eq!(cores, [core]);
    thread.join(Some(PATIENCE)).unwrap();
}

/// Blocks in its own ring, and still glommio's other tasks of the same executor get their turn.
struct Patient {
    driver: ShardDriver,
    fired: Rc<Cell<bool>>,
    deadline: Instant,
}

impl ShardLoop for Patient {
    fn turn(&mut self) -> ControlFlow<()> {
        assert!(Instant::now() < self.deadline, "glommio never got a turn");
        self.driver
            .wait(Some(crate::runtime::MAX_BLOCK), &mut Vec::new())
            .unwrap();
        if self.fired.get() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[test]
fn glommio_tasks_of_the_shard_run_between_turns() {
    let thread = spawn_shard(0, None, DriverKind::Uring, small(), |driver| {
        let fired = Rc::new(Cell::new(false));
        let later = fired.clone();
        glommio::spawn_local(async move {
            glommio::timer::sleep(Duration::from_millis(20)).await;
            later.set(true);
        })
        .detach();
        Patient {
            driver,
            fired,
            deadline: Instant::now() + Duration::from_secs(5),
        }
    })
    .unwrap();
    thread.join(Some(PATIENCE)).unwrap();
}
