//! Durations as people write them.

use std::time::Duration;

/// `24h`, `1h30m`, `90s`, `1.5h`, and what Go leaves out: `7d`, `2w`. A zero needs no unit.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
        let unit = rest[number..]
            .find(|character: char| character.is_ascii_digit())
            .map_or(rest.len(), |length| number + length);
        let amount: f64 = rest[..number].parse().ok()?;
        let seconds = match &rest[number..unit] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(amount * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("24h", 86_400),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("7d", 604_800),
            ("2w1d", 1_296_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
        for text in ["", "h", "12", "-1h", "1y", "1h 30m", "1e3s", "99999999999999999999w"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
