//! Nodes → instructions.

use kiln_flags::duration::nanoseconds;

use crate::ast::Node;
use crate::diagnostic::SyntaxError;
use crate::instruction::flags::{FlagKind, Flags};
use crate::instruction::mount::check_mount;
use crate::instruction::{CommandLine, From, HealthCheck, Instruction, KeyValue, Kind, Run, copy};
use crate::parser::{INSTRUCTIONS, parse};
use crate::suggestion::nearest;

/// The instruction of a node.
pub fn parse_instruction(node: &Node) -> Result<Instruction, SyntaxError> {
    let kind = kind(node).map_err(|error| error.at(node.lines))?;
    Ok(Instruction {
        kind,
        lines: node.lines,
        original: node.original.trim().to_owned(),
        keyword: node.keyword.clone(),
        comments: node.comments.clone(),
    })
}

/// The instruction that an image's ONBUILD trigger is.
pub fn parse_onbuild(text: &str) -> Result<Instruction, SyntaxError> {
    let (tree, _) = parse(text)?;
    match tree.nodes.as_slice() {
        [node] => {
            check_trigger(node)?;
            parse_instruction(node)
        }
        _ => Err(SyntaxError::new(format!(
            "an ONBUILD trigger is one instruction, not `{text}`"
        ))),
    }
}

fn kind(node: &Node) -> Result<Kind, SyntaxError> {
    let name = node.keyword.to_uppercase();
    let arguments = node.arguments.as_slice();
    let no_flags = || Flags::parse(&node.flags, &[]).map(drop);
    let exactly_one = || match arguments {
        [one] => Ok(one.clone()),
        _ => Err(SyntaxError::new(format!("{name} requires exactly one argument"))),
    };
    let at_least_one = || {
        if arguments.is_empty() {
            Err(SyntaxError::new(format!("{name} requires at least one argument")))
        } else {
            Ok(())
        }
    };
    match name.as_str() {
        "FROM" => from(node).map(Kind::From),
        "ARG" => {
            at_least_one()?;
            no_flags()?;
            args(arguments).map(Kind::Arg)
        }
        "ENV" | "LABEL" => {
            at_least_one()?;
            no_flags()?;
            let pairs = key_values(arguments, &name)?;
            Ok(if name == "ENV" {
                Kind::Env(pairs)
            } else {
                Kind::Label(pairs)
            })
        }
        "MAINTAINER" => {
            no_flags()?;
            exactly_one().map(Kind::Maintainer)
        }
        "RUN" => run(node).map(Kind::Run),
        "COPY" => copy::parse(node, false).map(Kind::Copy),
        "ADD" => copy::parse(node, true).map(Kind::Copy),
        "WORKDIR" => {
            let directory = exactly_one()?;
            no_flags()?;
            Ok(Kind::Workdir(directory))
        }
        "USER" => {
            let user = exactly_one()?;
            no_flags()?;
            Ok(Kind::User(user))
        }
        "CMD" => {
            no_flags()?;
            Ok(Kind::Cmd(command(node)))
        }
        "ENTRYPOINT" => {
            no_flags()?;
            Ok(Kind::Entrypoint(command(node)))
        }
        "EXPOSE" => {
            at_least_one()?;
            no_flags()?;
            Ok(Kind::Expose(arguments.to_vec()))
        }
        "VOLUME" => {
            at_least_one()?;
            no_flags()?;
            let volumes: Vec<String> = arguments.iter().map(|volume| volume.trim().to_owned()).collect();
            if volumes.iter().any(String::is_empty) {
                return Err(SyntaxError::new("VOLUME specified can not be an empty string"));
            }
            Ok(Kind::Volume(volumes))
        }
        "STOPSIGNAL" => {
            let signal = exactly_one()?;
            no_flags()?;
            Ok(Kind::StopSignal(signal))
        }
        "HEALTHCHECK" => health_check(node).map(Kind::HealthCheck),
        "SHELL" => {
            no_flags()?;
            match arguments {
                [] => Err(SyntaxError::new("SHELL requires at least one argument")),
                words if node.json => Ok(Kind::Shell(words.to_vec())),
                _ => Err(SyntaxError::new("SHELL requires the arguments to be in JSON form")),
            }
        }
        "ONBUILD" => on_build(node).map(Kind::OnBuild),
        _ => {
            let meant = nearest(&name, INSTRUCTIONS)
                .map(|known| format!(" (did you mean {known}?)"))
                .unwrap_or_default();
            let error = SyntaxError::new(format!("unknown instruction: {}{meant}", node.keyword));
            Err(error)
        }
    }
}

fn from(node: &Node) -> Result<From, SyntaxError> {
    let flags = Flags::parse(&node.flags, &[("platform", FlagKind::Text)])?;
    let (base, name) = match node.arguments.as_slice() {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some(name.to_lowercase())),
        _ => return Err(SyntaxError::new("FROM requires either one or three arguments")),
    };
    if let Some(name) = &name {
        let valid = name.starts_with(|first: char| first.is_ascii_lowercase())
            && name
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_.".contains(letter));
        if !valid {
            let message =
                format!("invalid name for build stage: {name:?}, name can't start with a number or contain symbols");
            return Err(SyntaxError::new(message));
        }
    }
    Ok(From {
        base: base.clone(),
        name,
        platform: flags.text("platform"),
    })
}

fn args(words: &[String]) -> Result<Vec<(String, Option<String>)>, SyntaxError> {
    let arg = |word: &String| {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        if name.is_empty() {
            return Err(SyntaxError::new("ARG names can not be blank"));
        }
        Ok((name.to_owned(), value))
    };
    words.iter().map(arg).collect()
}

fn key_values(words: &[String], name: &str) -> Result<Vec<KeyValue>, SyntaxError> {
    let pair = |words: &[String]| match words {
        [key, ..] if key.is_empty() => Err(SyntaxError::new(format!("{name} names can not be blank"))),
        [key, value, separator] => Ok(KeyValue {
            key: key.clone(),
            value: value.clone(),
            legacy: separator.is_empty(),
        }),
        _ => Err(SyntaxError::new(format!("Bad input to {name}, too many arguments"))),
    };
    words.chunks(3).map(pair).collect()
}

fn command(node: &Node) -> CommandLine {
    CommandLine {
        words: node.arguments.clone(),
        shell: !node.json,
    }
}

fn run(node: &Node) -> Result<Run, SyntaxError> {
    use FlagKind::{Repeated, Text};
    let known = [
        ("mount", Repeated),
        ("network", Text),
        ("security", Text),
        ("device", Repeated),
    ];
    let flags = Flags::parse(&node.flags, &known)?;
    if let Some(network) = flags.text("network")
        && !["default", "none", "host"].contains(&network.as_str())
    {
        return Err(SyntaxError::new(format!("invalid network mode: {network:?}")));
    }
    if let Some(security) = flags.text("security")
        && !["sandbox", "insecure"].contains(&security.as_str())
    {
        return Err(SyntaxError::new(format!("security {security:?} is not valid")));
    }
    let mut heredocs = if node.json { Vec::new() } else { node.heredocs.clone() };
    for heredoc in heredocs.iter_mut().filter(|heredoc| heredoc.chomp) {
        heredoc.content = copy::without_tabs(&heredoc.content);
    }
    let mounts = flags.list("mount");
    mounts.iter().try_for_each(|text| check_mount(text))?;
    Ok(Run {
        command: command(node),
        heredocs,
        mounts,
        network: flags.text("network"),
        security: flags.text("security"),
        devices: flags.list("device"),
    })
}

fn health_check(node: &Node) -> Result<HealthCheck, SyntaxError> {
    use FlagKind::Text;
    let known = [
        ("interval", Text),
        ("timeout", Text),
        ("start-period", Text),
        ("start-interval", Text),
        ("retries", Text),
    ];
    let Some((kind, words)) = node.arguments.split_first() else {
        return Err(SyntaxError::new("HEALTHCHECK requires at least one argument"));
    };
    let flags = Flags::parse(&node.flags, &known)?;
    match kind.to_uppercase().as_str() {
        "NONE" if words.is_empty() => return Ok(HealthCheck::default()),
        "NONE" => return Err(SyntaxError::new("HEALTHCHECK NONE takes no arguments")),
        "CMD" if words.is_empty() => return Err(SyntaxError::new("Missing command after HEALTHCHECK CMD")),
        "CMD" => {}
        _ => {
            return Err(SyntaxError::new(format!(
                "Unknown type {kind:?} in HEALTHCHECK (try CMD)"
            )));
        }
    }
    let time = |name: &str| -> Result<i64, SyntaxError> {
        let Some(text) = flags.text(name).filter(|text| !text.is_empty()) else {
            return Ok(0);
        };
        let value = nanoseconds(&text).ok_or_else(|| SyntaxError::new(format!("time: invalid duration {text:?}")))?;
        if value != 0 && value < 1_000_000 {
            return Err(SyntaxError::new(format!("Interval {name:?} cannot be less than 1ms")));
        }
        Ok(value)
    };
    let retries = match flags.text("retries") {
        None => 0,
        Some(text) => {
            let retries: i64 = text
                .parse()
                .map_err(|_| SyntaxError::new(format!("invalid value for --retries: {text:?}")))?;
            if retries < 0 {
                return Err(SyntaxError::new(format!("--retries cannot be negative ({retries})")));
            }
            retries
        }
    };
    Ok(HealthCheck {
        command: Some(CommandLine {
            words: words.to_vec(),
            shell: !node.json,
        }),
        interval: time("interval")?,
        timeout: time("timeout")?,
        start_period: time("start-period")?,
        start_interval: time("start-interval")?,
        retries,
    })
}

fn on_build(node: &Node) -> Result<String, SyntaxError> {
    Flags::parse(&node.flags, &[])?;
    let Some(child) = &node.child else {
        return Err(SyntaxError::new("ONBUILD requires at least one argument"));
    };
    check_trigger(child)?;
    kind(child)?;
    let rest = node.original.trim_start();
    let text = rest[node.keyword.len().min(rest.len())..].trim().to_owned();
    let bodies: String = node
        .heredocs
        .iter()
        .map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name))
        .collect();
    Ok(text + &bodies)
}

fn check_trigger(node: &Node) -> Result<(), SyntaxError> {
    match node.keyword.to_uppercase().as_str() {
        "ONBUILD" => Err(SyntaxError::new("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
        name @ ("MAINTAINER" | "FROM") => Err(SyntaxError::new(format!("{name} isn't allowed as an ONBUILD trigger"))),
        _ => Ok(()),
    }
}
