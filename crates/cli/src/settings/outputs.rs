//! `--output`, `--push`, and what they say about the image.

use std::path::PathBuf;

use kiln_flags::annotation::Annotation;
use kiln_image::assemble::Family;
use kiln_image::pack::CompressionSetting;
use kiln_oci::{Compression, Reference};

use crate::args::BuildArgs;
use crate::build::Output;
use crate::build::request::{Annotations, Destination};
use crate::command_error::CommandError;

/// What the outputs come to.
pub struct Outputs {
    pub outputs: Vec<Output>,
    pub compression: CompressionSetting,
    pub family: Family,
    pub annotations: Annotations,
    /// `source-date-epoch`, if an output has it; empty is no time.
    pub epoch: Option<Option<i64>>,
}

/// Reads all outputs.
pub fn parse(args: &BuildArgs, tags: &[Reference]) -> Result<Outputs, CommandError> {
    let mut all = Outputs {
        outputs: Vec::new(),
        compression: CompressionSetting::default(),
        family: Family::Oci,
        annotations: Annotations::default(),
        epoch: None,
    };
    for text in args.output.iter().filter(|text| !text.is_empty()) {
        let output = one(text, tags, &mut all)?;
        all.outputs.push(output);
    }
    if args.push {
        let pushed = all.outputs.iter_mut().find_map(|output| match output {
            Output::Image { push, .. } => Some(push),
            _ => None,
        });
        match pushed {
            Some(push) => *push = true,
            None => all.outputs.push(Output::Image {
                names: tags.to_vec(),
                push: true,
            }),
        }
    }
    if all.outputs.is_empty() {
        all.outputs.push(Output::Image {
            names: tags.to_vec(),
            push: false,
        });
    }
    let nameless = all
        .outputs
        .iter()
        .any(|output| matches!(output, Output::Image { names, push: true } if names.is_empty()));
    if nameless {
        return Err(CommandError::user("a pushed image needs a name")
            .hint("give it one with `-t registry.example.com/app:1.0`"));
    }
    Ok(all)
}

/// The methods of compressing.
pub(super) const COMPRESSIONS: &str = "there are gzip, zstd and uncompressed";

/// A method of compressing by its name.
pub(super) fn compression(name: &str) -> Option<Compression> {
    match name {
        "gzip" => Some(Compression::Gzip),
        "zstd" => Some(Compression::Zstd),
        "uncompressed" => Some(Compression::Uncompressed),
        _ => None,
    }
}

/// What is wrong with the level of a setting, if something is.
pub(super) fn wrong_level(setting: CompressionSetting) -> Option<String> {
    let (level, levels) = (setting.level?, setting.levels()?);
    let text = format!(
        "`compression-level` is between {} and {}, not {level}",
        levels.start().max(&0),
        levels.end()
    );
    (!levels.contains(&level)).then_some(text)
}

/// Attributes of one `--output`.
#[derive(Default)]
struct Attributes {
    kind: String,
    dest: Option<String>,
    names: Vec<Reference>,
    push: bool,
    tar: Option<bool>,
    split: Option<bool>,
}

fn one(text: &str, tags: &[Reference], all: &mut Outputs) -> Result<Output, CommandError> {
    let read = kiln_flags::output::Output::parse(text).map_err(|error| {
        CommandError::user(format!("invalid --output `{text}`: {error}"))
            .hint("add `type=registry`, image, oci, docker, local, tar or cacheonly, or give a path alone")
    })?;
    let read = read.as_image();
    let mut attributes = Attributes {
        kind: read.kind,
        dest: read.destination,
        ..Attributes::default()
    };
    for (key, value) in &read.attributes {
        attribute(&mut attributes, all, text, key, value)?;
    }
    if let Some(wrong) = wrong_level(all.compression) {
        return Err(CommandError::user(format!("invalid --output `{text}`: {wrong}")));
    }
    output(attributes, text, tags)
}

fn attribute(
    attributes: &mut Attributes,
    all: &mut Outputs,
    text: &str,
    key: &str,
    value: &str,
) -> Result<(), CommandError> {
    let invalid = |what: &str| CommandError::user(format!("invalid --output `{text}`: {what}"));
    let flag = || {
        kiln_flags::fields::boolean(value).ok_or_else(|| invalid(&format!("`{key}` is true or false, not `{value}`")))
    };
    match key {
        "name" => {
            for name in value.split(',') {
                attributes.names.push(super::reference(name.trim())?);
            }
        }
        "push" => attributes.push = flag()?,
        "tar" => attributes.tar = Some(flag()?),
        "platform-split" => attributes.split = Some(flag()?),
        "oci-mediatypes" => all.family = if flag()? { Family::Oci } else { Family::Docker },
        "compression" => {
            all.compression.compression = compression(value)
                .ok_or_else(|| invalid(&format!("unknown compression `{value}`")).hint(COMPRESSIONS))?;
        }
        "compression-level" => {
            let level = value.parse().map_err(|_| invalid("`compression-level` is a number"))?;
            all.compression.level = Some(level);
        }
        "source-date-epoch" => {
            let time = Some(value).filter(|time| !time.is_empty()).map(str::parse).transpose();
            let invalid = |_| invalid("`source-date-epoch` is a number of seconds, or empty for no time");
            all.epoch = Some(time.map_err(invalid)?);
        }
        // Later times are clamped whenever a time is given.
        "rewrite-timestamp" => {
            flag()?;
        }
        key => {
            let annotation = Annotation::of_attribute(key, value).map_err(|error| invalid(&error.to_string()))?;
            let Some(annotation) = annotation else {
                return Err(invalid(&format!("unknown or unsupported attribute `{key}`")));
            };
            let added = all.annotations.add(annotation);
            added.map_err(|what| invalid(&format!("annotations of {what} are not supported yet")))?;
        }
    }
    Ok(())
}

fn output(attributes: Attributes, text: &str, tags: &[Reference]) -> Result<Output, CommandError> {
    let names = if attributes.names.is_empty() {
        tags.to_vec()
    } else {
        attributes.names
    };
    let destination = |default: Option<&str>| match attributes.dest.as_deref().or(default) {
        Some("-") => Ok(Destination::Stdout),
        Some(path) => Ok(Destination::Path(PathBuf::from(path))),
        None => Err(CommandError::user(format!("--output `{text}` needs a destination")).hint("add `dest=PATH`")),
    };
    match attributes.kind.as_str() {
        "image" => Ok(Output::Image {
            names,
            push: attributes.push,
        }),
        "oci" => Ok(Output::Oci {
            destination: destination(Some("-"))?,
            archive: attributes.tar.unwrap_or(true),
            names,
        }),
        "docker" => Ok(Output::Docker {
            destination: destination(Some("-"))?,
            names,
        }),
        "local" => {
            match destination(None)? {
                Destination::Path(directory) => Ok(Output::Local {
                    directory,
                    split: attributes.split,
                }),
                Destination::Stdout => Err(CommandError::user("type=local writes a directory, not standard output")
                    .hint("use `type=tar,dest=-`")),
            }
        }
        "tar" => Ok(Output::Tar {
            destination: destination(Some("-"))?,
            split: attributes.split,
        }),
        "cacheonly" => Ok(Output::CacheOnly),
        other => {
            let error = CommandError::user(format!("unknown output type `{other}`"));
            Err(error.hint("there are registry, image, oci, docker, local, tar and cacheonly"))
        }
    }
}
