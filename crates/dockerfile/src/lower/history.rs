//! The lines of an image's history, as the peers write them.

use kiln_oci::{History, ImageConfig};

/// Marks lines that a builder of this language wrote.
const SUFFIX: &str = " # buildkit";

/// Adds a line. `layer`: the instruction makes one.
pub(super) fn add(config: &mut ImageConfig, text: String, layer: bool, time: i64) {
    config.history.push(History {
        created: Some(timestamp(time)),
        created_by: Some(text),
        author: config.author.clone().filter(|author| !author.is_empty()),
        comment: Some("kiln".into()),
        empty_layer: !layer,
    });
}

/// Adds a line of an instruction that writes files.
pub(super) fn add_layer(config: &mut ImageConfig, text: String, time: i64) {
    add(config, text + SUFFIX, true, time);
}

/// Go's `%q` of a list of strings.
pub(super) fn quoted_list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// Go's `%q`.
fn quoted(word: &str) -> String {
    let mut shown = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' => shown.push_str("\\\""),
            '\\' => shown.push_str("\\\\"),
            '\u{7}' => shown.push_str("\\a"),
            '\u{8}' => shown.push_str("\\b"),
            '\u{b}' => shown.push_str("\\v"),
            '\u{c}' => shown.push_str("\\f"),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            letter if letter.is_ascii_control() => shown.push_str(&format!("\\x{:02x}", u32::from(letter))),
            // What Rust escapes cannot be printed: Go agrees, in another form.
            letter if letter != '\'' && letter.escape_debug().len() > 1 => {
                let number = u32::from(letter);
                shown.push_str(&if number > 0xffff {
                    format!("\\U{number:08x}")
                } else {
                    format!("\\u{number:04x}")
                });
            }
            letter => shown.push(letter),
        }
    }
    shown.push('"');
    shown
}

/// Go's `time.Duration`.
pub(super) fn duration(nanoseconds: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let value = nanoseconds.unsigned_abs();
    let shown = match value {
        0 => "0s".to_owned(),
        1..1_000 => format!("{value}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(value, 1_000)),
        1_000_000..SECOND => format!("{}ms", decimal(value, 1_000_000)),
        _ => {
            let (minutes, rest) = (value / (60 * SECOND), value % (60 * SECOND));
            let seconds = decimal(rest, SECOND);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{shown}")
}

/// A fraction in as many digits as it takes.
fn decimal(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// RFC 3339 in UTC, whole seconds.
pub fn timestamp(time: i64) -> String {
    let (days, second) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(1_673_364_896), "2023-01-10T15:34:56Z");
        assert_eq!(timestamp(1_709_208_000), "2024-02-29T12:00:00Z");
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration(0), "0s");
        assert_eq!(duration(5_000_000_000), "5s");
        assert_eq!(duration(90_000_000_000), "1m30s");
        assert_eq!(duration(500_000_000), "500ms");
        assert_eq!(duration(3_600_000_000_000), "1h0m0s");
        assert_eq!(duration(1_500_000_000), "1.5s");
        assert_eq!(duration(1_000_000), "1ms");
        assert_eq!(duration(1_500), "1.5µs");
        assert_eq!(duration(7), "7ns");
        assert_eq!(duration(61_001_000_000), "1m1.001s");
    }

    #[test]
    fn words_are_quoted_as_go_does() {
        assert_eq!(quoted_list(&["a'b".into(), "c\"d\\".into()]), r#"["a'b" "c\"d\\"]"#);
        assert_eq!(quoted("\u{7}\t\u{1b}[0m\u{200b}é"), r#""\a\t\x1b[0m\u200bé""#);
    }
}
