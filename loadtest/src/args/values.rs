//! How single values are written on the command line. Errors are texts for the user.

use std::net::IpAddr;
use std::time::Duration;

use crate::client::parse_source_addresses;
use crate::correctness::stamp::STAMP_LEN;

/// Addresses as one argument.
#[derive(Debug, Clone, Default)]
pub struct SourceAddresses(pub Vec<IpAddr>);

/// Reads `--source-addresses`; empty text is no address.
pub fn source_addresses(text: &str) -> Result<SourceAddresses, String> {
    if text.is_empty() {
        return Ok(SourceAddresses::default());
    }
    parse_source_addresses(text)
        .map(SourceAddresses)
        .map_err(|error| format!("{error:#}"))
}

/// Reads `Name: value`.
pub fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    let name_is_token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
    if !name_is_token || value.contains(['\r', '\n']) {
        return Err("it is not one header line".to_owned());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

/// Longest duration of any phase: a day.
const MAX_DURATION: Duration = Duration::from_secs(24 * 3600);

/// Reads `10s`, `500ms`, `2m`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let plain_seconds = text
        .parse::<u32>()
        .ok()
        .map(|seconds| Duration::from_secs(seconds.into()));
    let duration = match plain_seconds {
        Some(duration) => duration,
        None => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; write 10s, 500ms or 2m"))?,
    };
    if duration > MAX_DURATION {
        return Err("more than a day".to_owned());
    }
    Ok(duration)
}

/// Reads a rate per second.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate = with_suffix(text)?;
    if rate > 0.0 && rate <= 1e8 {
        Ok(rate)
    } else {
        Err("it must be above 0 and at most 100M".to_owned())
    }
}

/// Reads how many.
pub fn number(text: &str) -> Result<u64, String> {
    let number = with_suffix(text)?;
    if (1.0..=4e9).contains(&number) {
        Ok(number as u64)
    } else {
        Err("it must be at least 1 and at most 4000M".to_owned())
    }
}

/// `50k` is 50,000, `1.5M` is 1,500,000.
fn with_suffix(text: &str) -> Result<f64, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => text
            .strip_suffix('M')
            .map_or((text, 1.0), |digits| (digits, 1e6)),
    };
    let value: f64 = digits
        .trim()
        .parse()
        .map_err(|_| "write a number like 500, 50k or 1.5M".to_owned())?;
    if value.is_finite() {
        Ok(value * factor)
    } else {
        Err("it must be finite".to_owned())
    }
}

/// Longest message body.
const MAX_SIZE: usize = 16 * 1024 * 1024;

/// Reads the length of a message body.
pub fn body_size(text: &str) -> Result<usize, String> {
    let (digits, factor) = if let Some(digits) = text.strip_suffix("KiB") {
        (digits, 1024)
    } else if let Some(digits) = text.strip_suffix("MiB") {
        (digits, 1024 * 1024)
    } else {
        (text.strip_suffix('B').unwrap_or(text), 1)
    };
    let size = digits
        .trim()
        .parse::<usize>()
        .ok()
        .and_then(|size| size.checked_mul(factor));
    match size {
        Some(size) if size < STAMP_LEN => Err(format!(
            "every message carries {STAMP_LEN} bytes by which it is recognised; it cannot be shorter"
        )),
        Some(size) if size <= MAX_SIZE => Ok(size),
        Some(_) => Err("it must be at most 16MiB".to_owned()),
        None => Err("write a size like 64 or 16KiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sizes_and_times_have_units() {
        assert_eq!(rate("50k"), Ok(50_000.0));
        assert_eq!(rate("1.5M"), Ok(1_500_000.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(
            rate("0").is_err() && rate("-1").is_err() && rate("inf").is_err() && rate("x").is_err()
        );
        assert_eq!(body_size("16KiB"), Ok(16_384));
        assert_eq!(body_size("64"), Ok(64));
        assert!(
            body_size("29")
                .expect_err("too short")
                .contains("cannot be shorter")
        );
        assert!(body_size("17MiB").is_err());
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("2days").is_err());
        assert!(number("0").is_err());
    }

    #[test]
    fn headers_are_one_line_each() {
        assert_eq!(header("A: b:c"), Ok(("A".to_owned(), "b:c".to_owned())));
        assert!(
            header("A b: c").is_err() && header("x").is_err() && header("A: b\r\nC: d").is_err()
        );
    }
}
