//! Times as text, by the tokens of moment.js in its English form.
//!
//! The tokens are those of <https://momentjs.com/docs/#/displaying/format/>: `YYYY`, `MM`, `DD`, `HH`, `mm`, `ss`, `SSS`,
//! `Z`, `X`, `Do`, `ddd`, `W`, `L`, … Text in `[square brackets]` stands for itself.

use jiff::Zoned;
use jiff::civil::{Date, Weekday};

/// What an empty format means in Coordinated Universal Time, and elsewhere.
const USUAL: [&str; 2] = ["YYYY-MM-DDTHH:mm:ss[Z]", "YYYY-MM-DDTHH:mm:ssZ"];

/// The tokens that stand for several others.
const LONG: [(&str, &str); 10] = [
    ("LTS", "h:mm:ss A"),
    ("LT", "h:mm A"),
    ("LLLL", "dddd, MMMM D, YYYY h:mm A"),
    ("LLL", "MMMM D, YYYY h:mm A"),
    ("LL", "MMMM D, YYYY"),
    ("L", "MM/DD/YYYY"),
    ("llll", "ddd, MMM D, YYYY h:mm A"),
    ("lll", "MMM D, YYYY h:mm A"),
    ("ll", "MMM D, YYYY"),
    ("l", "M/D/YYYY"),
];

/// Tokens in the order in which they are tried: one that begins like another and is longer comes first, except where
/// moment.js takes the shorter one.
const TOKENS: [&str; 86] = [
    "eHHmm",
    "Hmmss",
    "hmmss",
    "Hmm",
    "hmm",
    "Mo",
    "MMMM",
    "MMM",
    "MM",
    "M",
    "Do",
    "DDDo",
    "DDDD",
    "DDD",
    "DD",
    "D",
    "dddd",
    "ddd",
    "dd",
    "do",
    "d",
    "wo",
    "w|",
    "ww",
    "w",
    "Wo",
    "W|",
    "WW",
    "W",
    "Qo",
    "Q",
    "NNNNN",
    "NNNN",
    "NNN",
    "NN",
    "N",
    "YYYYYY",
    "YYYYY",
    "YYYY",
    "YY",
    "Y",
    "yyyy",
    "yyy",
    "yy",
    "yo",
    "y",
    "ggggg",
    "gggg",
    "gg",
    "GGGGG",
    "GGGG",
    "GG",
    "e",
    "E",
    "a",
    "A",
    "hh",
    "h",
    "HH",
    "H",
    "kk",
    "k",
    "mm",
    "m",
    "ss",
    "s",
    "SSSSSSSSS",
    "SSSSSSSS",
    "SSSSSSS",
    "SSSSSS",
    "SSSSS",
    "SSSS",
    "SSS",
    "SS",
    "S",
    "x",
    "X",
    "zz",
    "z",
    "ZZ",
    "Z",
    "\\e",
    "g",
    "G",
    "o",
    "\n",
];

/// Writes a time; an empty format is the one of ISO 8601.
pub(crate) fn format(time: &Zoned, format: &str) -> String {
    let format = if format.is_empty() {
        USUAL[usize::from(time.offset().seconds() != 0)]
    } else {
        format
    };
    let mut written = String::new();
    write_tokens(time, &expand(format), &mut written);
    written
}

/// Replaces the tokens that stand for several others.
fn expand(format: &str) -> String {
    let mut expanded = String::new();
    let mut rest = format;
    while let Some(letter) = rest.chars().next() {
        if let Some(quoted) = bracketed(rest) {
            expanded.push_str(quoted);
            rest = &rest[quoted.len()..];
        } else if let Some((token, long)) = LONG.iter().find(|(token, _)| rest.starts_with(token)) {
            expanded.push_str(long);
            rest = &rest[token.len()..];
        } else if let Some((token, _)) = rest
            .strip_prefix('\\')
            .and_then(|escaped| LONG.iter().find(|(token, _)| escaped.starts_with(token)))
        {
            expanded.push_str(&rest[..token.len() + 1]);
            rest = &rest[token.len() + 1..];
        } else {
            expanded.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    expanded
}

/// The part in square brackets that the text begins with: up to the last closing bracket before the next opening one.
fn bracketed(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('[')?;
    let until = inside.find('[').unwrap_or(inside.len());
    let end = inside[..until].rfind(']')?;
    Some(&text[..end + 2])
}

fn write_tokens(time: &Zoned, format: &str, into: &mut String) {
    let mut rest = format;
    while let Some(letter) = rest.chars().next() {
        if let Some(quoted) = bracketed(rest) {
            into.push_str(&quoted[1..quoted.len() - 1]);
            rest = &rest[quoted.len()..];
            continue;
        }
        if let Some(token) = TOKENS.iter().find(|token| rest.starts_with(*token)) {
            match token_text(time, token) {
                Some(text) => into.push_str(&text),
                None => into.push_str(token.trim_matches(['\\', '\n'])),
            }
            rest = &rest[token.len()..];
            continue;
        }
        rest = &rest[letter.len_utf8()..];
        if letter != '\\' {
            into.push(letter);
            continue;
        }
        // A backslash takes the meaning of the token behind it away.
        let token = TOKENS.iter().find(|token| rest.starts_with(*token));
        let length = token
            .map(|token| token.len())
            .or_else(|| rest.chars().next().map(char::len_utf8));
        let (escaped, behind) = rest.split_at(length.unwrap_or(0));
        into.push_str(escaped.trim_matches(['\\', '\n']));
        rest = behind;
    }
}

fn token_text(time: &Zoned, token: &str) -> Option<String> {
    let date = time.date();
    let (year, hour) = (i64::from(time.year()), i64::from(time.hour()));
    let (minute, second) = (i64::from(time.minute()), i64::from(time.second()));
    let millisecond = i64::from(time.millisecond());
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let month = i64::from(time.month());
    let weekday = i64::from(date.weekday().to_sunday_zero_offset());
    let day_of_year = i64::from(date.day_of_year());
    let era_year = if year > 0 { year } else { 1 - year };
    Some(match token {
        "Y" if year > 9999 => format!("+{year}"),
        "Y" | "YYYY" => padded(year, 4),
        "YYYYYY" => format!("{}{}", if year < 0 { "" } else { "+" }, padded(year, 6)),
        "YYYYY" => padded(year, 5),
        "YY" => padded(year % 100, 2),
        "y" | "yy" | "yyy" | "yyyy" => padded(era_year, token.len()),
        "yo" => ordinal(era_year),
        "N" | "NN" | "NNN" | "NNNNN" => if year > 0 { "AD" } else { "BC" }.to_owned(),
        "NNNN" => if year > 0 { "Anno Domini" } else { "Before Christ" }.to_owned(),
        "Q" => ((month - 1) / 3 + 1).to_string(),
        "Qo" => ordinal((month - 1) / 3 + 1),
        "M" => month.to_string(),
        "Mo" => ordinal(month),
        "MM" => padded(month, 2),
        "MMM" => month_name(month)[..3].to_owned(),
        "MMMM" => month_name(month).to_owned(),
        "D" => time.day().to_string(),
        "Do" => ordinal(i64::from(time.day())),
        "DD" => padded(i64::from(time.day()), 2),
        "DDD" => day_of_year.to_string(),
        "DDDo" => ordinal(day_of_year),
        "DDDD" => padded(day_of_year, 3),
        "d" | "e" => weekday.to_string(),
        "do" => ordinal(weekday),
        "dd" => weekday_name(date.weekday())[..2].to_owned(),
        "ddd" => weekday_name(date.weekday())[..3].to_owned(),
        "dddd" => weekday_name(date.weekday()).to_owned(),
        "E" => date.weekday().to_monday_one_offset().to_string(),
        "eHHmm" => format!("{weekday}{}{}", padded(hour, 2), padded(minute, 2)),
        "w" => week(date).1.to_string(),
        "wo" => ordinal(week(date).1),
        "ww" => padded(week(date).1, 2),
        "gg" => padded(week(date).0 % 100, 2),
        "gggg" | "ggggg" => padded(week(date).0, token.len()),
        "W" => date.iso_week_date().week().to_string(),
        "Wo" => ordinal(i64::from(date.iso_week_date().week())),
        "WW" => padded(i64::from(date.iso_week_date().week()), 2),
        "GG" => padded(i64::from(date.iso_week_date().year()) % 100, 2),
        "GGGG" | "GGGGG" => padded(i64::from(date.iso_week_date().year()), token.len()),
        "H" => hour.to_string(),
        "HH" => padded(hour, 2),
        "h" => twelve.to_string(),
        "hh" => padded(twelve, 2),
        "k" => (if hour == 0 { 24 } else { hour }).to_string(),
        "kk" => padded(if hour == 0 { 24 } else { hour }, 2),
        "Hmm" => format!("{hour}{}", padded(minute, 2)),
        "Hmmss" => format!("{hour}{}{}", padded(minute, 2), padded(second, 2)),
        "hmm" => format!("{twelve}{}", padded(minute, 2)),
        "hmmss" => format!("{twelve}{}{}", padded(minute, 2), padded(second, 2)),
        "a" => if hour < 12 { "am" } else { "pm" }.to_owned(),
        "A" => if hour < 12 { "AM" } else { "PM" }.to_owned(),
        "m" => minute.to_string(),
        "mm" => padded(minute, 2),
        "s" => second.to_string(),
        "ss" => padded(second, 2),
        "S" => (millisecond / 100).to_string(),
        "SS" => padded(millisecond / 10, 2),
        _ if token.starts_with("SSS") => format!("{}{}", padded(millisecond, 3), "0".repeat(token.len() - 3)),
        "X" => time.timestamp().as_second().to_string(),
        "x" => time.timestamp().as_millisecond().to_string(),
        "z" | "zz" => {
            let zone = time.time_zone();
            zone.to_offset_info(time.timestamp()).abbreviation().to_owned()
        }
        "Z" => offset(time, ":"),
        "ZZ" => offset(time, ""),
        _ => return None,
    })
}

/// A number with leading zeros; its sign comes before them.
fn padded(number: i64, width: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{:0width$}", number.unsigned_abs())
}

fn ordinal(number: i64) -> String {
    let ending = match (number % 100 / 10, number % 10) {
        (1, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

fn offset(time: &Zoned, between: &str) -> String {
    let minutes = i64::from(time.offset().seconds()) / 60;
    let sign = if minutes < 0 { "-" } else { "+" };
    let minutes = minutes.abs();
    format!("{sign}{}{between}{}", padded(minutes / 60, 2), padded(minutes % 60, 2))
}

fn month_name(month: i64) -> &'static str {
    match month {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    }
}

fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Sunday => "Sunday",
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
    }
}

/// Year and week as they are counted in the United States: weeks begin on Sunday, and 1 January is in the first one.
fn week(date: Date) -> (i64, i64) {
    let year = i64::from(date.year());
    let day = i64::from(date.day_of_year()) - 1;
    let weekday = i64::from(date.weekday().to_sunday_zero_offset());
    let days = i64::from(date.days_in_year());
    // The Saturday of this week, counted from 1 January.
    let saturday = day + 6 - weekday;
    if saturday >= days {
        return (year + 1, 1);
    }
    (year, saturday / 7 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str, zone: &str, written: &str) -> String {
        let time: jiff::Timestamp = time.parse().expect("a time");
        let zone = jiff::tz::TimeZone::get(zone).expect("a zone");
        format(&time.to_zoned(zone), written)
    }

    #[test]
    fn tokens_are_those_of_the_peer() {
        let time = "2020-01-10T00:30:00.123Z";
        for (written, expected) in [
            ("YYYYMMDD-HHmmss", "20200110-003000"),
            ("eHHmm|e HHmm|Hmmss", "50030|5 0030|03000"),
            ("w|wo|ww", "w|2nd|02"),
            ("W Wo gg gggg GG GGGG GGGGG", "2 2nd 20 2020 20 2020 02020"),
            (
                "N NN NNNN NNNNN y yy yyyy yo",
                "AD AD Anno Domini AD 2020 2020 2020 2020th",
            ),
            ("Y YY YYYYY YYYYYY", "2020 20 02020 +002020"),
            ("S SS SSS SSSS SSSSS", "1 12 123 1230 12300"),
            ("x X z zz Z ZZ", "1578616200123 1578616200 UTC UTC +00:00 +0000"),
            ("Q Qo DDDo DDDD DDD Do", "1 1st 10th 010 10 10th"),
            ("dd ddd dddd d do E", "Fr Fri Friday 5 5th 5"),
            ("LT LTS L LL", "12:30 AM 12:30:00 AM 01/10/2020 January 10, 2020"),
            ("LLLL", "Friday, January 10, 2020 12:30 AM"),
            ("l ll lll", "1/10/2020 Jan 10, 2020 Jan 10, 2020 12:30 AM"),
            ("[a]b] \\YYYY \\LT [YYYY] []", "a]b YYYY LT YYYY "),
            ("k kk a A h hh", "24 24 am AM 12 12"),
            ("YYY-ü", "202020-ü"),
            ("YYYY-MM-DDTHH:mm:ss.SSS[Z]", "2020-01-10T00:30:00.123Z"),
        ] {
            assert_eq!(at(time, "UTC", written), expected, "{written}");
        }
    }

    #[test]
    fn zones_shift_the_time() {
        let time = "2020-01-10T00:30:00Z";
        assert_eq!(
            at(time, "Asia/Tokyo", "YYYYMMDD-HHmmss Z z"),
            "20200110-093000 +09:00 JST"
        );
        assert_eq!(at(time, "America/New_York", "YYYY-MM-DD ZZ z"), "2020-01-09 -0500 EST");
        assert_eq!(at(time, "Europe/London", ""), "2020-01-10T00:30:00Z");
        assert_eq!(at(time, "Asia/Kolkata", ""), "2020-01-10T06:00:00+05:30");
    }

    #[test]
    fn weeks_turn_with_the_year() {
        for (date, expected) in [
            ("2019-12-28T00:00:00Z", "2019-52 2019-52"),
            ("2019-12-29T00:00:00Z", "2020-1 2019-52"),
            ("2021-01-01T00:00:00Z", "2021-1 2020-53"),
            ("2021-01-03T00:00:00Z", "2021-2 2020-53"),
        ] {
            assert_eq!(at(date, "UTC", "gggg-w GGGG-W"), expected, "{date}");
        }
    }
}
