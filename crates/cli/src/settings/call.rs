//! `--call` and `--check`: what is done with a Dockerfile.

use crate::args::BuildArgs;
use crate::command_error::CommandError;

/// What is done with a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It is built.
    Build,
    /// It is checked.
    Check,
    /// What a build takes is listed.
    Outline,
    /// What can be built is listed.
    Targets,
    /// What a build would run is listed: `kiln plan`.
    Plan,
}

/// A method and how its answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What is done.
    pub method: Method,
    /// Whether the answer is JSON.
    pub json: bool,
    /// Whether findings of a check leave the exit code 0.
    pub ignore_status: bool,
}

/// Reads `--call` and `--check`.
pub fn call(args: &BuildArgs) -> Result<Call, CommandError> {
    let read = kiln_flags::call::Call::parse(&args.call).map_err(|error| {
        CommandError::user(format!("invalid --call `{}`: {error}", args.call))
            .hint("write a method, and perhaps format=json and ignorestatus=true behind it")
    })?;
    let read = read.unwrap_or_default();
    let method = match read.name.to_lowercase().as_str() {
        "" => Method::Build,
        "check" | "lint" => Method::Check,
        "outline" => Method::Outline,
        "targets" => Method::Targets,
        named => {
            return Err(CommandError::user(format!("unknown --call `{named}`"))
                .hint("there are build, check, outline and targets"));
        }
    };
    if args.check && !matches!(method, Method::Build | Method::Check) {
        return Err(CommandError::user(format!(
            "--check and --call={} contradict each other",
            read.name
        )));
    }
    let json = match read.format.as_str() {
        "json" => true,
        "" | "text" => false,
        other => {
            return Err(
                CommandError::user(format!("unknown format `{other}` of --call")).hint("there are text and json")
            );
        }
    };
    Ok(Call {
        method: if args.check { Method::Check } else { method },
        json,
        ignore_status: read.ignore_status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BuildArgs,
    }

    fn read(words: &[&str]) -> Result<Call, CommandError> {
        let words = std::iter::once(&"build").chain(words);
        call(&Line::try_parse_from(words).expect("known flags").args)
    }

    #[test]
    fn methods_are_named_with_their_format() {
        let check = read(&["--call=check,format=json"]).expect("known");
        assert_eq!((check.method, check.json), (Method::Check, true));
        assert_eq!(read(&["--check"]).expect("known").method, Method::Check);
        assert_eq!(read(&[]).expect("known").method, Method::Build);
        assert!(read(&["--call=check,ignorestatus=true"]).expect("known").ignore_status);
        for bad in [
            &["--call=nonsense"][..],
            &["--call=check,x=y"],
            &["--check", "--call=targets"],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
