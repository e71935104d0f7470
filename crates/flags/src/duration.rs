//! Spans of time in Go's spelling: `1h30m`, `-1.5s`, `500ms`; and with days and weeks, which Go leaves out.

use std::time::Duration;

/// Nanoseconds of each of Go's units.
const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const DAY: i128 = 24 * 3_600_000_000_000;

/// Nanoseconds of a duration; None if it is none, or longer than 292 years. A zero alone needs no unit.
pub fn nanoseconds(text: &str) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let total = sum(rest, |unit| {
        UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale)
    })?;
    i64::try_from(if negative { -total } else { total }).ok()
}

/// As people write it: also `7d` and `2w`, and never negative.
pub fn with_days(text: &str) -> Option<Duration> {
    let scale = |unit: &str| match unit {
        "d" => Some(DAY),
        "w" => Some(7 * DAY),
        unit => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale),
    };
    let total = u128::try_from(sum(text.trim(), scale)?).ok()?;
    let seconds = u64::try_from(total / 1_000_000_000).ok()?;
    Some(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// Numbers with units, added up.
fn sum(text: &str, scale: impl Fn(&str) -> Option<i128>) -> Option<i128> {
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let of_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let mut rest = text;
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|letter| !of_number(letter))?);
        let (unit, behind) = behind.split_at(behind.find(of_number).unwrap_or(behind.len()));
        let scale = scale(unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            total += whole.parse::<i128>().ok()? * scale;
        }
        // Digits behind the twelfth are less than a nanosecond of any unit.
        let fraction = &fraction[..fraction.len().min(12)];
        if !fraction.is_empty() {
            total += fraction.parse::<i128>().ok()? * scale / 10i128.pow(fraction.len() as u32);
        }
        rest = behind;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_nanoseconds() {
        for (text, expected) in [
            ("0", Some(0)),
            ("5s", Some(5_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            (".5s", Some(500_000_000)),
            ("500ms", Some(500_000_000)),
            ("-2s", Some(-2_000_000_000)),
            ("+1µs", Some(1_000)),
            ("3000000h", None),
            ("99999999999999999999h", None),
            ("5", None),
            ("", None),
            ("s", None),
            ("5x", None),
            ("1d", None),
            ("1.2.3s", None),
            (".s", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn people_count_in_days_and_weeks_too() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("24h", 86_400),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("7d", 604_800),
            ("2w1d", 1_296_000),
        ] {
            assert_eq!(with_days(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(with_days("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "h", "12", "-1h", "1y", "1h 30m", "1e3s", "99999999999999999999w"] {
            assert_eq!(with_days(text), None, "{text}");
        }
    }
}
