//! `--ulimit`, and sizes such as that of `--shm-size`.

use crate::FlagError;

/// Bytes: a number with or without a unit of 1024.
pub fn size(text: &str) -> Result<u64, FlagError> {
    let invalid = || FlagError::Size(text.to_owned());
    let lower = text.trim().to_lowercase();
    let end = lower
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(lower.len());
    let scale: u64 = match lower[end..].trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(invalid()),
    };
    match lower[..end].split_once('.') {
        None => lower[..end]
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(scale)),
        Some(_) => {
            let number: f64 = lower[..end].parse().map_err(|_| invalid())?;
            let bytes = number * scale as f64;
            (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
        }
    }
    .ok_or_else(invalid)
}

/// One limit of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name, such as `nofile`.
    pub name: String,
    /// What holds at first; the greatest number is no limit.
    pub soft: u64,
    /// How far a process may raise it.
    pub hard: u64,
}

/// The limits of a Linux process.
const NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl Limit {
    /// Reads `NAME=SOFT[:HARD]`; -1 is no limit.
    pub fn parse(text: &str) -> Result<Limit, FlagError> {
        let invalid = || FlagError::Limit(text.to_owned());
        let (name, values) = text.split_once('=').ok_or_else(invalid)?;
        let number = |text: &str| match text {
            "-1" => Ok(u64::MAX),
            text => text.parse().map_err(|_| invalid()),
        };
        let (soft, hard) = match values.split_once(':') {
            Some((soft, hard)) => (number(soft)?, number(hard)?),
            None => (number(values)?, number(values)?),
        };
        if !NAMES.contains(&name) || soft > hard {
            return Err(invalid());
        }
        Ok(Limit {
            name: name.to_owned(),
            soft,
            hard,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(size("64m"), Ok(64 << 20));
        assert_eq!(size("1.5GiB"), Ok(3 << 29));
        assert_eq!(size("10"), Ok(10));
        for bad in ["", "m", "64x", "-1", "99999999999999999999t"] {
            assert_eq!(size(bad), Err(FlagError::Size(bad.into())), "{bad}");
        }
    }

    #[test]
    fn limits_are_soft_and_hard() {
        let read = |text: &str| Limit::parse(text).map(|limit| (limit.soft, limit.hard));
        assert_eq!(read("nofile=1:2"), Ok((1, 2)));
        assert_eq!(read("nofile=3"), Ok((3, 3)));
        assert_eq!(read("core=-1"), Ok((u64::MAX, u64::MAX)));
        for bad in ["nofile", "nofile=2:1", "files=1", "nofile=a"] {
            assert_eq!(read(bad), Err(FlagError::Limit(bad.into())), "{bad}");
        }
    }
}
