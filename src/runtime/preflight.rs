//! Checks before the first shard starts: each fault is one message for the operator, with the
//! command that mends it.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::net::SocketAddr;

use io_uring::{IoUring, opcode};

use super::driver::MAX_TABLE_SIZE;
use super::shard_driver::DriverKind;
use super::uring::MAX_BRANCHES;

/// What glommio demands as soft memlock limit before it builds an executor.
const MEMLOCK_BYTES: u64 = 512 * 1024;

/// Descriptors of the process apart from shards and connections: standard streams, log, admin port,
/// storage, and room for an operator's tools.
const FILES_OF_THE_PROCESS: u64 = 64;

/// Descriptors of one shard apart from its connections: glommio's rings, timers and notifiers, the
/// driver's ring (or epoll instance), bell and listener. Counted 7 on Linux 6.18; the rest is room.
const FILES_PER_SHARD: u64 = 16;

/// Descriptors of sockets that are being accepted, handed off or closed, where connections are direct
/// descriptors. With more of them the engine goes on after those are through.
const FILES_ON_THE_WAY: u64 = 32;

/// Why the engine cannot start here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreflightError {
    /// `kernel.io_uring_disabled` forbids io_uring (1: to the unprivileged, 2: to all).
    #[error(
        "io_uring is switched off on this machine (kernel.io_uring_disabled = {setting}). Allow it: sysctl -w kernel.io_uring_disabled=0"
    )]
    IoUringDisabled {
        /// The setting's value.
        setting: u8,
    },
    /// io_uring is refused although the kernel's setting allows it: a container's system call
    /// filter.
    #[error(
        "io_uring is denied to this process ({source}), probably by the container's seccomp profile. Allow io_uring_setup, \
         io_uring_enter and io_uring_register in the profile, or try: docker run --security-opt seccomp=unconfined"
    )]
    IoUringDenied {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel lacks what the driver needs (multishot receive).
    #[error(
        "Linux {release} is too old: shardwire needs 6.0 or later (6.1 for full speed). Upgrade the kernel; `uname -r` shows it"
    )]
    KernelTooOld {
        /// The running kernel.
        release: String,
    },
    /// A ring cannot be made for another reason.
    #[error("cannot create an io_uring: {source}. Check memory and limits: ulimit -a")]
    IoUringFailed {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The hard limit of locked memory is below what an executor needs.
    #[error(
        "the limit of locked memory is {limit} bytes, at least {needed} are needed. Raise it: ulimit -l {} (systemd: LimitMEMLOCK={needed})",
        needed / 1024
    )]
    MemlockTooLow {
        /// Hard limit, bytes.
        limit: u64,
        /// Bytes.
        needed: u64,
    },
    /// The hard limit of open files is below what the configured connections need.
    #[error(
        "{connections} connections on {shards} shards need {needed} open files, but the limit is {limit}. Raise it: ulimit -n {needed} \
         (systemd: LimitNOFILE={needed}), or lower max_connections to {possible}"
    )]
    OpenFilesTooLow {
        /// Connections asked for.
        connections: u64,
        /// Shards asked for.
        shards: u64,
        /// Descriptors they need.
        needed: u64,
        /// Hard limit.
        limit: u64,
        /// Connections the limit allows.
        possible: u64,
    },
    /// Even with direct descriptors: the limit bounds how many tables there are, and how large.
    #[error(
        "{connections} connections are more than direct descriptors can hold with a limit of {limit} open files on {shards} shards: \
         {possible}. Raise it: ulimit -n 20000 (systemd: LimitNOFILE=20000), or lower max_connections"
    )]
    TablesTooSmall {
        /// Connections asked for.
        connections: u64,
        /// Shards asked for.
        shards: u64,
        /// Hard limit.
        limit: u64,
        /// Connections the limit allows.
        possible: u64,
    },
    /// The kernel cannot give a direct descriptor back for a hand-off.
    #[error(
        "direct descriptors need Linux 6.8, this is {release}. Upgrade the kernel, or set shards.direct_descriptors = \"off\" and raise the limit \
         of open files (ulimit -n)"
    )]
    TooOldForDirect {
        /// The running kernel.
        release: String,
    },
    /// Direct descriptors are demanded, but io_uring is not there.
    #[error(
        "shards.direct_descriptors = \"on\" needs io_uring, and shards would run on epoll here. Mend what keeps io_uring away, or set it to \"auto\""
    )]
    DirectWithoutRing,
    /// Somebody listens there already.
    #[error(
        "{address} is taken by another process. Find it: ss -ltnp 'sport = :{}'",
        address.port()
    )]
    PortTaken {
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// Ports below 1,024 need a privilege.
    #[error(
        "listening on {address} needs a privilege. Grant it: setcap cap_net_bind_service=+ep $(command -v shardwire) \
         (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE), or choose a port above 1023"
    )]
    PortForbidden {
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// The address belongs to no interface.
    #[error("{address} is not an address of this machine. List those it has: ip -brief address")]
    AddressNotHere {
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// Listening failed for another reason.
    #[error("cannot listen on {address}: {source}")]
    ListenFailed {
        /// Where we wanted to listen.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A resource limit cannot be read or raised although it should.
    #[error("cannot {step}: {source}")]
    Limit {
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

/// What the engine is about to ask of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Shards, one executor each.
    pub shards: usize,
    /// Connections of the whole process; `None`: only what a single one needs is checked.
    pub max_connections: Option<usize>,
    /// Whether these may be direct descriptors.
    pub direct: Direct,
}

/// When connections are direct descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direct {
    /// Never.
    Never,
    /// Where there are too few files for them.
    WhereFilesAreFew,
    /// Always.
    Always,
}

/// What can run here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Which driver.
    pub driver: DriverKind,
    /// With which [`table_size`](super::DriverOptions::table_size).
    pub table_size: Option<u32>,
}

/// Runs every check and returns what can run here. Raises the soft limits of open files and locked
/// memory where the hard limits allow it.
///
/// With `wanted: None` it is io_uring where the machine allows it, else epoll, with a warning that
/// says why. That connections are direct descriptors is told, too.
///
/// # Errors
/// Every fault found.
pub fn check(needs: &Needs, wanted: Option<DriverKind>) -> Result<Plan, Vec<PreflightError>> {
    let mut faults = Vec::new();
    let driver = match wanted {
        Some(DriverKind::Epoll) => DriverKind::Epoll,
        Some(DriverKind::Uring) => {
            faults.extend(ring_faults());
            DriverKind::Uring
        }
        None => choose(ring_faults()),
    };
    let table_size = match (needs.direct, driver, check_open_files(needs)) {
        (Direct::Always, DriverKind::Uring, _) => check_tables(needs).map(Some),
        (Direct::Always, DriverKind::Epoll, _) => Err(PreflightError::DirectWithoutRing),
        (Direct::WhereFilesAreFew, DriverKind::Uring, Err(too_low)) => {
            tracing::info!("direct descriptors are used, because {too_low}");
            check_tables(needs).map(Some)
        }
        (_, _, files) => files.map(|()| None),
    };
    match table_size {
        Ok(table_size) if faults.is_empty() => Ok(Plan { driver, table_size }),
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault);
            Err(faults)
        }
    }
}

/// What keeps shards on io_uring from starting.
fn ring_faults() -> Vec<PreflightError> {
    [check_io_uring(), check_memlock()]
        .into_iter()
        .filter_map(Result::err)
        .collect()
}

fn choose(ring_faults: Vec<PreflightError>) -> DriverKind {
    if ring_faults.is_empty() {
        return DriverKind::Uring;
    }
    for fault in ring_faults {
        tracing::warn!("shards run on epoll, because {fault}");
    }
    DriverKind::Epoll
}

/// Tries a small ring with the flags whose kernel (6.0) also knows multishot receive.
///
/// # Errors
/// Which kind of refusal it was.
pub fn check_io_uring() -> Result<(), PreflightError> {
    let built = on_a_thread_of_its_own(|| {
        let ring: IoUring = IoUring::builder().setup_single_issuer().build(8)?;
        drop(ring);
        Ok(())
    });
    built.map_err(|source| explain_refusal(source, disabled_setting(), kernel_release))
}

/// The kernel takes a ring down later, by interrupting the thread that made it, and an embedding
/// program's thread would see a system call fail with EINTR out of nowhere.
fn on_a_thread_of_its_own<T: Send + 'static>(
    probe: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    std::thread::spawn(probe)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
}

fn explain_refusal(
    source: io::Error,
    setting: Option<u8>,
    release: impl Fn() -> String,
) -> PreflightError {
    match (source.raw_os_error(), setting) {
        (Some(libc::EPERM), Some(setting @ 1..)) => PreflightError::IoUringDisabled { setting },
        (Some(libc::EINVAL), _) => PreflightError::KernelTooOld { release: release() },
        // A kernel that has the setting has io_uring: then it is a filter that pretends otherwise.
        (Some(libc::ENOSYS), None) => PreflightError::KernelTooOld { release: release() },
        (Some(libc::EPERM | libc::EACCES | libc::ENOSYS), _) => {
            PreflightError::IoUringDenied { source }
        }
        _ => PreflightError::IoUringFailed { source },
    }
}

/// Since Linux 6.6.
fn disabled_setting() -> Option<u8> {
    fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()?
        .trim()
        .parse()
        .ok()
}

fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "(unknown)".into(), |release| release.trim().into())
}

/// Sees to a soft memlock limit that glommio accepts.
///
/// # Errors
/// The hard limit is too low.
pub fn check_memlock() -> Result<(), PreflightError> {
    let limit =
        raise(libc::RLIMIT_MEMLOCK, MEMLOCK_BYTES).map_err(|source| PreflightError::Limit {
            step: "read or raise the limit of locked memory",
            source,
        })?;
    if limit < MEMLOCK_BYTES {
        return Err(PreflightError::MemlockTooLow {
            limit,
            needed: MEMLOCK_BYTES,
        });
    }
    Ok(())
}

/// Sees to enough descriptors for the connections asked for.
///
/// # Errors
/// The hard limit is too low.
pub fn check_open_files(needs: &Needs) -> Result<(), PreflightError> {
    let connections = needs.max_connections.unwrap_or(1) as u64;
    let shards = needs.shards as u64;
    let needed = connections.saturating_add(reserved_files(shards));
    let limit = raise(libc::RLIMIT_NOFILE, needed).map_err(|source| PreflightError::Limit {
        step: "read or raise the limit of open files",
        source,
    })?;
    if limit < needed {
        return Err(PreflightError::OpenFilesTooLow {
            connections,
            shards,
            needed,
            limit,
            possible: limit.saturating_sub(reserved_files(shards)),
        });
    }
    Ok(())
}

/// The size of a table of direct descriptors, where enough of them can be had for the connections
/// asked for.
///
/// # Errors
/// The hard limit of open files is too low even so, or the kernel too old.
pub fn check_tables(needs: &Needs) -> Result<u32, PreflightError> {
    check_direct()?;
    let limit = open_file_limit()?;
    let connections = needs.max_connections.unwrap_or(1) as u64;
    let shards = needs.shards as u64;
    let (table_size, possible) = tables(limit, shards);
    if possible < connections {
        return Err(PreflightError::TablesTooSmall {
            connections,
            shards,
            limit,
            possible,
        });
    }
    tracing::info!(
        table_size,
        connections,
        "connections are direct descriptors: `ss -p` and /proc/PID/fd do not show them, and max_connections alone bounds them"
    );
    Ok(table_size)
}

/// How large a table can be, and how many connections all tables hold. Every ring costs a descriptor;
/// all connections may meet on one shard, and each of the others has begun with a ring of its own.
fn tables(limit: u64, shards: u64) -> (u32, u64) {
    let table_size = u32::try_from(limit).map_or(MAX_TABLE_SIZE, |limit| limit.min(MAX_TABLE_SIZE));
    let kept_back = reserved_files(shards).saturating_add(shards + FILES_ON_THE_WAY);
    let rings = limit.saturating_sub(kept_back).min(MAX_BRANCHES.into());
    (table_size, rings * u64::from(table_size))
}

/// Asks the kernel whether a direct descriptor can become a descriptor of the process again.
fn check_direct() -> Result<(), PreflightError> {
    let known = on_a_thread_of_its_own(|| {
        let ring: IoUring = IoUring::new(8)?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        Ok(probe.is_supported(opcode::FixedFdInstall::CODE))
    });
    match known {
        Ok(true) => Ok(()),
        Ok(false) => Err(PreflightError::TooOldForDirect {
            release: kernel_release(),
        }),
        Err(source) => Err(PreflightError::IoUringFailed { source }),
    }
}

/// The limit of open files, after raising the soft limit to the hard one.
///
/// # Errors
/// The limit cannot be read or raised.
pub fn open_file_limit() -> Result<u64, PreflightError> {
    raise(libc::RLIMIT_NOFILE, u64::MAX).map_err(|source| PreflightError::Limit {
        step: "read or raise the limit of open files",
        source,
    })
}

/// Words a failure of [`listen_group`](super::listener::listen_group) for the operator.
#[must_use]
pub fn listen_error(address: SocketAddr, source: io::Error) -> PreflightError {
    match source.kind() {
        io::ErrorKind::AddrInUse => PreflightError::PortTaken { address },
        io::ErrorKind::PermissionDenied => PreflightError::PortForbidden { address },
        io::ErrorKind::AddrNotAvailable => PreflightError::AddressNotHere { address },
        _ => PreflightError::ListenFailed { address, source },
    }
}

fn reserved_files(shards: u64) -> u64 {
    FILES_OF_THE_PROCESS.saturating_add(shards.saturating_mul(FILES_PER_SHARD))
}

/// The soft limit of `resource`, after raising it to the hard limit if it was below `wanted`.
fn raise(resource: libc::__rlimit_resource_t, wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the system writes one rlimit to the address of one.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } == -1 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < wanted && limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the system reads one rlimit from the address of one.
        if unsafe { libc::setrlimit(resource, &raw const limit) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(error: i32, setting: Option<u8>) -> String {
        explain_refusal(io::Error::from_raw_os_error(error), setting, || {
            "5.10.0".into()
        })
        .to_string()
    }

    #[test]
    fn this_machine_passes_with_every_driver() {
        let needs = Needs {
            shards: 2,
            max_connections: Some(1000),
            direct: Direct::WhereFilesAreFew,
        };
        for driver in [DriverKind::Uring, DriverKind::Epoll] {
            let plan = check(&needs, Some(driver)).unwrap();
            let table_size = None;
            assert_eq!(plan, Plan { driver, table_size });
        }
        assert_eq!(check(&needs, None).unwrap().driver, DriverKind::Uring);
    }

    #[test]
    fn direct_descriptors_are_used_when_demanded_or_when_files_are_few() {
        let limit = open_file_limit().unwrap();
        let needs = |max_connections, direct| Needs {
            shards: 2,
            max_connections: Some(max_connections),
            direct,
        };
        let table_size = Some(u32::try_from(limit.min(MAX_TABLE_SIZE.into())).unwrap());
        let more = limit as usize;
        for asked in [
            needs(1000, Direct::Always),
            needs(more, Direct::WhereFilesAreFew),
        ] {
            assert_eq!(check(&asked, None).unwrap().table_size, table_size);
        }
        let refused = |needs, driver| check(&needs, driver).unwrap_err()[0].to_string();
        let never = refused(needs(more, Direct::Never), None);
        assert!(never.contains("ulimit -n"), "{never}");
        let by_epoll = Some(DriverKind::Epoll);
        let few = refused(needs(more, Direct::WhereFilesAreFew), by_epoll);
        assert!(few.contains("ulimit -n"), "{few}");
        let always = refused(needs(1000, Direct::Always), by_epoll);
        assert!(always.contains("needs io_uring"), "{always}");
        let (_, possible) = tables(limit, 2);
        let too_many = refused(needs(possible as usize + 1, Direct::WhereFilesAreFew), None);
        assert!(
            too_many.contains(&format!("on 2 shards: {possible}.")),
            "{too_many}"
        );
    }

    #[test]
    fn the_limit_of_files_bounds_tables_and_their_number() {
        // 64 + 2 * 16 kept back, a ring each for 2 shards, 32 on the way.
        assert_eq!(tables(256, 2), (256, (256 - 130) * 256));
        assert_eq!(tables(20_000, 2), (20_000, 256 * 20_000));
        assert_eq!(tables(1 << 20, 2), (65_536, 256 * 65_536));
        assert_eq!(tables(130, 2), (130, 0));
    }

    #[test]
    fn what_forbids_the_ring_leaves_epoll() {
        assert_eq!(choose(Vec::new()), DriverKind::Uring);
        let fault = PreflightError::IoUringDisabled { setting: 2 };
        assert_eq!(choose(vec![fault]), DriverKind::Epoll);
    }

    #[test]
    fn every_refusal_names_its_remedy() {
        assert!(refused(libc::EPERM, Some(2)).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(refused(libc::EPERM, Some(0)).contains("seccomp"));
        assert!(refused(libc::ENOSYS, Some(0)).contains("seccomp"));
        assert!(refused(libc::ENOSYS, None).contains("5.10.0 is too old"));
        assert!(refused(libc::EINVAL, None).contains("5.10.0 is too old"));
        assert!(refused(libc::ENOMEM, Some(0)).contains("ulimit -a"));
    }

    #[test]
    fn too_many_connections_are_refused_with_the_number_that_fits() {
        let fits = (open_file_limit().unwrap() - reserved_files(2)) as usize;
        assert!(
            check_open_files(&Needs {
                shards: 2,
                max_connections: Some(fits),
                direct: Direct::Never,
            })
            .is_ok()
        );
        let fault = check_open_files(&Needs {
            shards: 2,
            max_connections: Some(fits + 1),
            direct: Direct::Never,
        })
        .unwrap_err()
        .to_string();
        assert!(
            fault.contains(&format!("lower max_connections to {fits}")),
            "{fault}"
        );
        assert!(fault.contains("ulimit -n"), "{fault}");
    }

    #[test]
    fn listening_failures_are_worded() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let words = |error| listen_error(address, io::Error::from_raw_os_error(error)).to_string();
        assert!(words(libc::EADDRINUSE).contains("ss -ltnp 'sport = :80'"));
        assert!(words(libc::EACCES).contains("setcap"));
        assert!(words(libc::EADDRNOTAVAIL).contains("ip -brief address"));
    }
}
