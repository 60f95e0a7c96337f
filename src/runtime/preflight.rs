//! Checks before the first shard starts: each fault is one message for the operator, with the
//! command that mends it.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::net::SocketAddr;

use io_uring::IoUring;

use super::shard_driver::DriverKind;

/// What glommio demands as soft memlock limit before it builds an executor.
const MEMLOCK_BYTES: u64 = 512 * 1024;

/// Descriptors of the process apart from shards and connections: standard streams, log, admin port,
/// storage, and room for an operator's tools.
const FILES_OF_THE_PROCESS: u64 = 64;

/// Descriptors of one shard apart from its connections: glommio's rings, timers and notifiers, the
/// driver's ring (or epoll instance), bell and listener. Counted 7 on Linux 6.18; the rest is room.
const FILES_PER_SHARD: u64 = 16;

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
}

/// Runs every check and returns the driver that can run here. Raises the soft limits of open files
/// and locked memory where the hard limits allow it.
///
/// With `wanted: None` it is io_uring where the machine allows it, else epoll, with a warning that
/// says why.
///
/// # Errors
/// Every fault found.
pub fn check(needs: &Needs, wanted: Option<DriverKind>) -> Result<DriverKind, Vec<PreflightError>> {
    let mut faults = Vec::new();
    let kind = match wanted {
        Some(DriverKind::Epoll) => DriverKind::Epoll,
        Some(DriverKind::Uring) => {
            faults.extend(ring_faults());
            DriverKind::Uring
        }
        None => choose(ring_faults()),
    };
    faults.extend(check_open_files(needs).err());
    if faults.is_empty() {
        Ok(kind)
    } else {
        Err(faults)
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
    // On a thread of its own: the kernel takes a ring down later, by interrupting the thread that
    // made it, and an embedding program's thread would see a system call fail with EINTR out of
    // nowhere.
    let probe = || -> io::Result<()> {
        let ring: IoUring = IoUring::builder().setup_single_issuer().build(8)?;
        drop(ring);
        Ok(())
    };
    let built = std::thread::spawn(probe)
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probe panicked")));
    built.map_err(|source| explain_refusal(source, disabled_setting(), kernel_release))
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
        };
        for wanted in [DriverKind::Uring, DriverKind::Epoll] {
            assert_eq!(check(&needs, Some(wanted)).unwrap(), wanted);
        }
        assert_eq!(check(&needs, None).unwrap(), DriverKind::Uring);
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
                max_connections: Some(fits)
            })
            .is_ok()
        );
        let fault = check_open_files(&Needs {
            shards: 2,
            max_connections: Some(fits + 1),
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
