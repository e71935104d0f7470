//! What `kiln prune` was asked for.

use std::time::Duration;

use kiln_store::{CollectFilter, CollectOptions, Limits, Size};

use crate::args::PruneArgs;
use crate::command_error::CommandError;

/// Filters as `docker buildx prune` has them.
#[derive(Debug, Clone, Default)]
pub struct Filters {
    /// What was used within this time stays.
    pub until: Option<Duration>,
    /// The others.
    pub filter: CollectFilter,
}

/// Reads `--filter`.
pub fn filters(texts: &[String]) -> Result<Filters, CommandError> {
    let mut filters = Filters::default();
    for text in texts {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text.as_str(), None),
        };
        let flag = |wanted: bool| match value {
            None | Some("true" | "1") => Ok(Some(wanted)),
            Some("false" | "0") => Ok(Some(!wanted)),
            Some(_) => Err(CommandError::user(format!("`{text}` is neither true nor false"))),
        };
        let given = || {
            value
                .filter(|value| !value.is_empty())
                .ok_or_else(|| CommandError::user(format!("filter `{name}` needs a value: {name}=VALUE")))
        };
        match name {
            "until" | "unused-for" => {
                let value = given()?;
                let parsed = kiln_flags::duration::with_days(value);
                filters.until = Some(parsed.ok_or_else(|| {
                    CommandError::user(format!("`{value}` is no duration")).hint("write 24h, 90m or 7d")
                })?);
            }
            "type" => {
                let value = given()?;
                let classes = value.parse().map_err(|error| {
                    CommandError::from_error(crate::command_error::ErrorKind::User, &error).hint(
                        "types are record, layer, blob, image, document, mount, repository, context, aside, and docker buildx's \
regular, exec.cachemount, source.local, source.git.checkout, internal",
                    )
                })?;
                filters.filter.classes.push(classes);
            }
            "id" => filters.filter.ids.push(given()?.trim_start_matches('~').to_owned()),
            "description" => filters.filter.description = Some(given()?.trim_start_matches('~').to_owned()),
            "shared" => filters.filter.shared = flag(true)?,
            "private" => filters.filter.shared = flag(false)?,
            "mutable" => filters.filter.mutable = flag(true)?,
            "immutable" => filters.filter.mutable = flag(false)?,
            "inuse" => filters.filter.in_use = flag(true)?,
            _ => {
                return Err(CommandError::user(format!("unknown filter `{name}`")).hint(
                    "filters are until=, type=, id=, description=, shared, private, mutable, immutable and inuse",
                ));
            }
        }
    }
    Ok(filters)
}

/// What may go, on a disk of so many bytes.
pub fn options(args: &PruneArgs, disk: u64) -> Result<CollectOptions, CommandError> {
    let Filters { until, filter } = filters(&args.filter)?;
    let bytes = |size: Option<Size>| size.map(|size| size.on(disk));
    Ok(CollectOptions {
        all: args.all,
        filter,
        keep_duration: until.unwrap_or_default(),
        expire: None,
        limits: Limits {
            reserved: bytes(args.reserved_space),
            max_used: bytes(args.max_used_space),
            min_free: bytes(args.min_free_space),
        },
        dry_run: args.dry_run,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Filters, String> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        filters(&texts).map_err(|error| error.to_string())
    }

    #[test]
    fn filters_are_read() {
        let filters = read(&["until=24h", "type=regular", "id=sha256:ab", "private", "inuse=false"]).expect("valid");
        assert_eq!(filters.until, Some(Duration::from_secs(86_400)));
        assert_eq!(filters.filter.ids, ["sha256:ab"]);
        assert_eq!(
            (filters.filter.shared, filters.filter.in_use),
            (Some(false), Some(false))
        );
        for (text, expected) in [
            ("until=yesterday", "`yesterday` is no duration"),
            ("until", "needs a value"),
            ("type=nothing", "unknown type `nothing`"),
            ("parents=x", "unknown filter `parents`"),
            ("shared=maybe", "neither true nor false"),
        ] {
            let error = read(&[text]).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
