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
    let mut fields = args.call.split(',');
    let named = fields.next().unwrap_or_default();
    let method = match named.to_lowercase().as_str() {
        "" | "build" => Method::Build,
        "check" | "lint" => Method::Check,
        "outline" => Method::Outline,
        "targets" => Method::Targets,
        _ => {
            return Err(CommandError::user(format!("unknown --call `{named}`"))
                .hint("there are build, check, outline and targets"));
        }
    };
    if args.check && !matches!(method, Method::Build | Method::Check) {
        return Err(CommandError::user(format!(
            "--check and --call={named} contradict each other"
        )));
    }
    let mut call = Call {
        method: if args.check { Method::Check } else { method },
        json: false,
        ignore_status: false,
    };
    for field in fields {
        match field.split_once('=') {
            Some(("format", "json")) => call.json = true,
            Some(("format", "text" | "")) => call.json = false,
            Some(("ignorestatus", "true" | "1")) | None if field.starts_with("ignorestatus") => {
                call.ignore_status = true;
            }
            _ => {
                return Err(CommandError::user(format!("unknown attribute `{field}` of --call"))
                    .hint("there are format=json and ignorestatus=true"));
            }
        }
    }
    Ok(call)
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
