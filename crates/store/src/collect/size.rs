//! Sizes as people write them.

use std::fmt;
use std::str::FromStr;

/// An amount of disk: bytes, or a share of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of the disk.
    Percent(u8),
}

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid size `{0}`")]
pub struct SizeError(String);

impl Size {
    /// In bytes, on a disk of this many.
    pub fn on(self, disk: u64) -> u64 {
        match self {
            Size::Bytes(bytes) => bytes,
            Size::Percent(percent) => disk / 100 * u64::from(percent),
        }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    /// A number, maybe with a fraction, and a unit: `B`, `kB`, `MB`, `GB`, `TB` (powers of 1000, the `B` may be left
    /// out), `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024), or `%`. The case of the letters does not matter.
    fn from_str(text: &str) -> Result<Size, SizeError> {
        let error = || SizeError(text.to_owned());
        let trimmed = text.trim();
        let end = trimmed
            .find(|character: char| !(character.is_ascii_digit() || character == '.'))
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim().to_ascii_lowercase();
        if unit == "%" {
            let percent: u8 = number.parse().map_err(|_| error())?;
            return if percent <= 100 {
                Ok(Size::Percent(percent))
            } else {
                Err(error())
            };
        }
        let factor: u64 = match unit.as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1000,
            "m" | "mb" => 1000 * 1000,
            "g" | "gb" => 1000 * 1000 * 1000,
            "t" | "tb" => 1000 * 1000 * 1000 * 1000,
            "ki" | "kib" => 1 << 10,
            "mi" | "mib" => 1 << 20,
            "gi" | "gib" => 1 << 30,
            "ti" | "tib" => 1 << 40,
            _ => return Err(error()),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| error())?;
        let mut bytes = u128::from(whole) * u128::from(factor);
        let mut part = u128::from(factor);
        for digit in fraction.bytes().take(18) {
            // Only digits come before the unit; a second point is none.
            let digit = char::from(digit).to_digit(10).ok_or_else(error)?;
            part *= 10;
            bytes += u128::from(digit) * u128::from(factor) * u128::from(factor) / part;
        }
        u64::try_from(bytes).map(Size::Bytes).map_err(|_| error())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Bytes(bytes) => f.write_str(&human_size(*bytes)),
            Size::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

/// Bytes as people read them, with powers of 1000: `1.23 GB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut divisor = 1000u64;
    let mut unit = 0;
    while bytes / divisor >= 1000 && unit + 1 < UNITS.len() {
        divisor = divisor.saturating_mul(1000);
        unit += 1;
    }
    let hundredths = u128::from(bytes) * 100 / u128::from(divisor);
    match hundredths {
        0..1000 => format!("{}.{:02} {}", hundredths / 100, hundredths % 100, UNITS[unit]),
        1000..10_000 => format!("{}.{} {}", hundredths / 100, hundredths % 100 / 10, UNITS[unit]),
        _ => format!("{} {}", hundredths / 100, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("1kB", 1000),
            ("1.5 GB", 1_500_000_000),
            ("10g", 10_000_000_000),
            ("2KiB", 2048),
            ("0.5MiB", 512 << 10),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size::Bytes(bytes)), "{text}");
        }
        assert_eq!("20%".parse(), Ok(Size::Percent(20)));
        for text in [
            "",
            "GB",
            "-1",
            "101%",
            "1.5%",
            "1 XB",
            "1.2.3",
            "99999999999 TB",
            "0x10",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert_eq!(Size::Percent(10).on(5000), 500);
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        let shown = [0, 999, 1000, 1234, 12_345, 123_456, 999_999, 41_000_000_000, u64::MAX].map(human_size);
        let expected = [
            "0 B", "999 B", "1.00 kB", "1.23 kB", "12.3 kB", "123 kB", "999 kB", "41.0 GB", "18446 PB",
        ];
        assert_eq!(shown, expected);
    }
}
