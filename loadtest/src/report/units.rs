//! How numbers are written for people.

/// `1234567` as `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Microseconds with three significant digits and a fitting unit.
pub fn time(microseconds: f64) -> String {
    let (value, unit) = match microseconds {
        us if us < 1_000.0 => (us, "us"),
        us if us < 1_000_000.0 => (us / 1_000.0, "ms"),
        us => (us / 1_000_000.0, "s"),
    };
    format!("{} {unit}", significant(value))
}

/// Bytes with a fitting binary unit.
pub fn bytes(value: u64) -> String {
    let value = value as f64;
    match value {
        small if small < 1024.0 => format!("{small} B"),
        medium if medium < 1024.0 * 1024.0 => format!("{} KiB", significant(medium / 1024.0)),
        large if large < 1024.0 * 1024.0 * 1024.0 => {
            format!("{} MiB", significant(large / (1024.0 * 1024.0)))
        }
        huge => format!("{} GiB", significant(huge / (1024.0 * 1024.0 * 1024.0))),
    }
}

/// Three significant digits.
pub fn significant(value: f64) -> String {
    match value.abs() {
        small if small < 9.995 => format!("{value:.2}"),
        medium if medium < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(time(3.456), "3.46 us");
        assert_eq!(time(12_345.0), "12.3 ms");
        assert_eq!(time(2_500_000.0), "2.50 s");
        assert_eq!(bytes(12), "12 B");
        assert_eq!(bytes(3 * 1024 * 1024 / 2), "1.50 MiB");
        assert_eq!(significant(123.4), "123");
    }
}
