//! What the library says when something goes wrong.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fjall::{Error, LsmError};

pub(super) fn as_io(error: &Error) -> Option<&io::Error> {
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => Some(error),
        _ => None,
    }
}

pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Calls the library, and takes a panic of it for an error: on a damaged file some of its assertions do not hold.
pub(super) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        format!(
            "the database library gave up: {}",
            message.unwrap_or("without a word")
        )
    })
}
