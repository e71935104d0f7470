//! Points in time: RFC 3339 and seconds since 1970.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use kiln_flags::duration::nanoseconds;

use crate::value::{Entries, Number, Value};

use super::{Function, FunctionError, Kind, function, parameter};

pub(super) const FUNCTIONS: &[Function] = &[
    function(
        "formatdate",
        &[parameter("format", Kind::String), parameter("time", Kind::String)],
        |call| {
            let time = Moment::parse(call.text(1)?).map_err(|error| FunctionError::at(1, error))?;
            format_date(call.text(0)?, &time, false).map_err(|error| FunctionError::at(0, error))
        },
    ),
    function(
        "formattimestamp",
        &[parameter("format", Kind::String), parameter("time", Kind::Any)],
        |call| {
            let time = match call.value(1)? {
                Value::Number(seconds) => Moment::at(seconds).map_err(|error| FunctionError::at(1, error))?,
                Value::String(text) => Moment::parse(text).map_err(|error| FunctionError::at(1, error))?,
                _ => return Err(FunctionError::at(1, "a string or a number is required")),
            };
            format_date(call.text(0)?, &time, true).map_err(|error| FunctionError::at(0, error))
        },
    ),
    function(
        "timeadd",
        &[
            parameter("timestamp", Kind::String),
            parameter("duration", Kind::String),
        ],
        |call| {
            let time = Moment::parse(call.text(0)?).map_err(|error| FunctionError::at(0, error))?;
            let duration = nanoseconds(call.text(1)?).ok_or_else(|| {
                FunctionError::at(
                    1,
                    format!("time: invalid duration {:?}", call.text(1).unwrap_or_default()),
                )
            })?;
            let moved = time
                .time
                .checked_add(SignedDuration::from_nanos(duration))
                .map_err(|_| FunctionError::from("the result is out of range"))?;
            Ok(Value::string(&Moment { time: moved, ..time }.rfc3339()))
        },
    ),
    function("timestamp", &[], |call| {
        let now = Moment::at(&Number::from(call.host.now)).map_err(FunctionError::from)?;
        Ok(Value::string(&now.rfc3339()))
    }),
    function(
        "unixtimestampparse",
        &[parameter("unix_timestamp", Kind::Any)],
        |call| {
            let Value::Number(seconds) = call.value(0)? else {
                return Err(FunctionError::at(0, "a number is required"));
            };
            let time = Moment::at(seconds).map_err(|error| FunctionError::at(0, error))?;
            Ok(Value::object(time.parts()))
        },
    ),
];

/// A point in time, as it is seen in a zone.
#[derive(Debug, Clone, Copy)]
struct Moment {
    time: Timestamp,
    offset: Offset,
}

impl Moment {
    fn at(seconds: &Number) -> Result<Moment, String> {
        let whole = seconds
            .to_i64()
            .ok_or("the timestamp is not a whole number of seconds")?;
        let time = Timestamp::from_second(whole).map_err(|_| "the timestamp is out of range")?;
        Ok(Moment {
            time,
            offset: Offset::UTC,
        })
    }

    /// RFC 3339, strictly: `2006-01-02T15:04:05Z`.
    fn parse(text: &str) -> Result<Moment, String> {
        let wrong = || format!("not a valid RFC3339 timestamp: {text:?}");
        let fits = |at: usize, wanted: &[u8]| text.as_bytes().get(at).is_some_and(|byte| wanted.contains(byte));
        let shaped = fits(4, b"-") && fits(7, b"-") && fits(10, b"T") && fits(13, b":") && fits(16, b":");
        if !shaped || !text.is_ascii() {
            return Err(wrong());
        }
        let zone_at = text[19.min(text.len())..].find(['Z', '+', '-']).ok_or_else(wrong)? + 19;
        let (clock, zone) = text.split_at(zone_at);
        let clock: DateTime = clock.parse().map_err(|_| wrong())?;
        let offset = if zone == "Z" {
            Offset::UTC
        } else {
            let (hours, minutes) = zone[1..].split_once(':').ok_or_else(wrong)?;
            let number = |text: &str| {
                if text.len() == 2 {
                    text.parse::<i32>().ok()
                } else {
                    None
                }
            };
            let (hours, minutes) = (number(hours).ok_or_else(wrong)?, number(minutes).ok_or_else(wrong)?);
            let seconds = hours * 3600 + minutes * 60;
            let seconds = if zone.starts_with('-') { -seconds } else { seconds };
            Offset::from_seconds(seconds).map_err(|_| wrong())?
        };
        let time = offset.to_timestamp(clock).map_err(|_| wrong())?;
        Ok(Moment { time, offset })
    }

    fn clock(&self) -> DateTime {
        self.offset.to_datetime(self.time)
    }

    fn zone(&self, colon: bool) -> String {
        let seconds = self.offset.seconds();
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.abs() / 60;
        let separator = if colon { ":" } else { "" };
        format!("{sign}{:02}{separator}{:02}", minutes / 60, minutes % 60)
    }

    /// In whole seconds.
    fn rfc3339(&self) -> String {
        let clock = self.clock();
        let zone = if self.offset.is_zero() {
            "Z".to_owned()
        } else {
            self.zone(true)
        };
        let (date, time) = (clock.date(), clock.time());
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{zone}",
            date.year(),
            date.month(),
            date.day(),
            time.hour(),
            time.minute(),
            time.second()
        )
    }

    fn parts(&self) -> Entries {
        let clock = self.clock();
        let date = clock.date();
        let week = date.iso_week_date();
        let number = |value: i64| Value::integer(value);
        [
            ("year", number(date.year().into())),
            ("year_day", number(date.day_of_year().into())),
            ("day", number(date.day().into())),
            ("month", number(date.month().into())),
            ("month_name", Value::string(month_name(date))),
            ("weekday", number(weekday(date) as i64)),
            ("weekday_name", Value::string(WEEKDAYS[weekday(date)])),
            ("hour", number(clock.hour().into())),
            ("minute", number(clock.minute().into())),
            ("second", number(clock.second().into())),
            ("rfc3339", Value::string(&self.rfc3339())),
            ("iso_year", number(week.year().into())),
            ("iso_week", number(week.week().into())),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

fn month_name(date: Date) -> &'static str {
    MONTHS[(date.month().clamp(1, 12) - 1) as usize]
}

fn weekday(date: Date) -> usize {
    match date.weekday() {
        Weekday::Sunday => 0,
        Weekday::Monday => 1,
        Weekday::Tuesday => 2,
        Weekday::Wednesday => 3,
        Weekday::Thursday => 4,
        Weekday::Friday => 5,
        Weekday::Saturday => 6,
    }
}

/// Writes a time by a pattern of repeated letters; text in single quotes stands for itself.
fn format_date(pattern: &str, moment: &Moment, seconds_since_1970: bool) -> Result<Value, String> {
    let clock = moment.clock();
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(letter) = rest.chars().next() {
        if letter == '\'' {
            rest = quoted(&rest[1..], &mut text)?;
            continue;
        }
        if !letter.is_ascii_alphabetic() {
            text.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let length = rest.len() - rest.trim_start_matches(letter).len();
        let (verb, behind) = rest.split_at(length);
        rest = behind;
        let date = clock.date();
        let twelve = |hour: i8| if hour % 12 == 0 { 12 } else { hour % 12 };
        let half = if clock.hour() < 12 { "am" } else { "pm" };
        text.push_str(&match verb {
            "YYYY" => format!("{:04}", date.year()),
            "YY" => format!("{:02}", date.year().rem_euclid(100)),
            "MMMM" => month_name(date).to_owned(),
            "MMM" => month_name(date)[..3].to_owned(),
            "MM" => format!("{:02}", date.month()),
            "M" => date.month().to_string(),
            "DD" => format!("{:02}", date.day()),
            "D" => date.day().to_string(),
            "EEEE" => WEEKDAYS[weekday(date)].to_owned(),
            "EEE" => WEEKDAYS[weekday(date)][..3].to_owned(),
            "hh" => format!("{:02}", clock.hour()),
            "h" => clock.hour().to_string(),
            "HH" => format!("{:02}", twelve(clock.hour())),
            "H" => twelve(clock.hour()).to_string(),
            "AA" => half.to_uppercase(),
            "aa" => half.to_owned(),
            "mm" => format!("{:02}", clock.minute()),
            "m" => clock.minute().to_string(),
            "ss" => format!("{:02}", clock.second()),
            "s" => clock.second().to_string(),
            "ZZZZZ" => moment.zone(true),
            "ZZZZ" => moment.zone(false),
            "ZZZ" if moment.offset.is_zero() => "UTC".to_owned(),
            "ZZZ" => moment.zone(false),
            "Z" if moment.offset.is_zero() => "Z".to_owned(),
            "Z" => moment.zone(true),
            "X" if seconds_since_1970 => moment.time.as_second().to_string(),
            other => return Err(unknown_verb(other)),
        });
    }
    Ok(Value::string(&text))
}

/// Text in quotes, in which a doubled quote is one. Gives what follows it.
fn quoted<'a>(mut rest: &'a str, text: &mut String) -> Result<&'a str, String> {
    let before = text.len();
    loop {
        let end = rest.find('\'').ok_or("unterminated literal '")?;
        text.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(behind) => {
                text.push('\'');
                rest = behind;
            }
            None => break,
        }
    }
    // Two quotes with nothing between them are a quote.
    if text.len() == before {
        text.push('\'');
    }
    Ok(rest)
}

fn unknown_verb(verb: &str) -> String {
    let known = match verb.as_bytes().first() {
        Some(b'Y') => "year must either be \"YYYY\" or \"YY\"",
        Some(b'M') => "month must be \"M\", \"MM\", \"MMM\", or \"MMMM\"",
        Some(b'D') => "day of month must either be \"D\" or \"DD\"",
        Some(b'E') => "day of week must either be \"EEE\" or \"EEEE\"",
        Some(b'h') => "24-hour must either be \"h\" or \"hh\"",
        Some(b'H') => "12-hour must either be \"H\" or \"HH\"",
        Some(b'A' | b'a') => "must be \"AA\" or \"aa\"",
        Some(b'm') => "minute must either be \"m\" or \"mm\"",
        Some(b's') => "second must either be \"s\" or \"ss\"",
        Some(b'Z') => "timezone must be Z, ZZZ, ZZZZ or ZZZZZ",
        _ => "there is no such verb; put literal text in single quotes",
    };
    format!("invalid date format verb {verb:?}: {known}")
}
