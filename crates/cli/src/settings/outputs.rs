//! `--output`, `--push`, and what they say about the image.

use std::path::PathBuf;

use kiln_image::assemble::Family;
use kiln_image::pack::CompressionSetting;
use kiln_oci::{Compression, Reference};

use crate::args::BuildArgs;
use crate::build::Output;
use crate::build::request::{Annotations, Destination};
use crate::command_error::CommandError;
use crate::fields;

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
    for text in &args.output {
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
    let plain = !text.contains('=');
    let mut attributes = Attributes::default();
    if plain {
        attributes.kind = if text == "-" { "tar".into() } else { "local".into() };
        attributes.dest = Some(text.to_owned());
    } else {
        for (key, value) in fields::parse(text).map_err(CommandError::user)? {
            attribute(&mut attributes, all, text, &key, value)?;
        }
    }
    output(attributes, text, tags)
}

fn attribute(
    attributes: &mut Attributes,
    all: &mut Outputs,
    text: &str,
    key: &str,
    value: Option<String>,
) -> Result<(), CommandError> {
    let invalid = |what: &str| CommandError::user(format!("invalid --output `{text}`: {what}"));
    let flag = || match value.as_deref() {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(invalid(&format!("`{key}` is true or false, not `{other}`"))),
    };
    let required = || value.clone().ok_or_else(|| invalid(&format!("`{key}` needs a value")));
    match key {
        "type" => attributes.kind = required()?,
        "dest" | "destination" => attributes.dest = Some(required()?),
        "name" => {
            for name in required()?.split(',') {
                attributes.names.push(super::reference(name.trim())?);
            }
        }
        "push" => attributes.push = flag()?,
        "tar" => attributes.tar = Some(flag()?),
        "platform-split" => attributes.split = Some(flag()?),
        "oci-mediatypes" => all.family = if flag()? { Family::Oci } else { Family::Docker },
        "compression" => {
            all.compression.compression = match required()?.as_str() {
                "gzip" => Compression::Gzip,
                "zstd" => Compression::Zstd,
                "uncompressed" => Compression::Uncompressed,
                other => {
                    return Err(invalid(&format!("unknown compression `{other}`"))
                        .hint("there are gzip, zstd and uncompressed"));
                }
            };
        }
        "compression-level" => {
            let level = required()?
                .parse()
                .map_err(|_| invalid("`compression-level` is a number"))?;
            all.compression.level = Some(level);
        }
        "source-date-epoch" => {
            let time = value
                .as_deref()
                .filter(|time| !time.is_empty())
                .map(str::parse)
                .transpose();
            let invalid = |_| invalid("`source-date-epoch` is a number of seconds, or empty for no time");
            all.epoch = Some(time.map_err(invalid)?);
        }
        // Later times are clamped whenever a time is given.
        "rewrite-timestamp" => {
            flag()?;
        }
        key => {
            if let Some(name) = key.strip_prefix("annotation.") {
                all.annotations.manifest.insert(name.to_owned(), required()?);
            } else if let Some(name) = key.strip_prefix("annotation-index.") {
                all.annotations.index.insert(name.to_owned(), required()?);
            } else if let Some(name) = key.strip_prefix("annotation-manifest-descriptor.") {
                all.annotations.manifest_descriptor.insert(name.to_owned(), required()?);
            } else {
                return Err(invalid(&format!("unknown or unsupported attribute `{key}`")));
            }
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
        "registry" => Ok(Output::Image { names, push: true }),
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
        }),
        "cacheonly" => Ok(Output::CacheOnly),
        "" => Err(CommandError::user(format!("--output `{text}` has no type"))
            .hint("add `type=registry`, image, oci, docker, local, tar or cacheonly")),
        other => {
            let error = CommandError::user(format!("unknown output type `{other}`"));
            Err(error.hint("there are registry, image, oci, docker, local, tar and cacheonly"))
        }
    }
}
