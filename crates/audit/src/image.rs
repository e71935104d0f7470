//! What is audited: the images behind one name, each with the facts of its layers.

use std::sync::Arc;

use kiln_oci::{Digest, ImageConfig, Platform};

use crate::facts::LayerFacts;

/// One platform's image.
#[derive(Debug, Clone)]
pub struct Image {
    /// What the index says that it is for; None: there is no index.
    pub entry_platform: Option<Platform>,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// The base images that are known to be under it.
    pub bases: Vec<Base>,
}

/// A layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Digest of its blob.
    pub digest: Digest,
    /// What was read of it.
    pub facts: Arc<LayerFacts>,
}

/// A base image as the build or the image's annotations name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its name, with the digest that it is pinned to.
    pub reference: String,
    /// The instruction that names it, if it is known.
    pub instruction: Option<String>,
    /// Whether the digest is that of a single manifest and not of an index.
    pub is_single: bool,
    /// What that manifest's configuration says that it is for.
    pub platform: Platform,
}

impl Image {
    /// What the image is for, normalised: the index decides, else the configuration.
    pub fn platform(&self) -> Platform {
        let declared = self.entry_platform.clone().filter(|platform| !platform.os.is_empty());
        declared.unwrap_or_else(|| self.config.platform()).normalized()
    }

    /// The instruction of each layer, the lowest first. None for all if history and layers do not fit.
    pub(crate) fn instructions(&self) -> Vec<Option<String>> {
        let made: Vec<Option<String>> = self
            .config
            .history
            .iter()
            .filter(|line| !line.empty_layer)
            .map(|line| line.created_by.as_deref().map(instruction))
            .collect();
        if made.len() == self.layers.len() {
            made
        } else {
            vec![None; self.layers.len()]
        }
    }
}

/// An instruction as its author wrote it: without what builders put around it.
fn instruction(created_by: &str) -> String {
    let text = created_by.trim();
    let text = text.strip_suffix("# buildkit").unwrap_or(text).trim_end();
    let (word, shell) = match text.strip_prefix("/bin/sh -c ") {
        Some(rest) => match rest.trim_start().strip_prefix("#(nop) ") {
            Some(instruction) => ("", instruction.trim_start()),
            None => ("RUN ", rest),
        },
        None => ("", text),
    };
    // `RUN |1 NAME=value /bin/sh -c command` and `RUN /bin/sh -c command` were `RUN command`.
    let plain = match shell
        .strip_prefix("RUN ")
        .and_then(|rest| rest.split_once("/bin/sh -c "))
    {
        Some((before, command)) if before.is_empty() || before.starts_with('|') => format!("RUN {command}"),
        _ => shell.to_owned(),
    };
    let one_line = format!("{word}{plain}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let mut shown: String = one_line.chars().take(300).collect();
    if shown.len() < one_line.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_read_as_they_were_written() {
        let table = [
            ("/bin/sh -c #(nop) COPY file:1 in /app ", "COPY file:1 in /app"),
            ("/bin/sh -c apt-get update", "RUN apt-get update"),
            ("RUN /bin/sh -c make # buildkit", "RUN make"),
            ("RUN |1 V=1 /bin/sh -c make  all # buildkit", "RUN make all"),
            ("COPY . /app # buildkit", "COPY . /app"),
            ("RUN [\"/bin/true\"]", "RUN [\"/bin/true\"]"),
        ];
        for (created_by, expected) in table {
            assert_eq!(instruction(created_by), expected);
        }
    }
}
