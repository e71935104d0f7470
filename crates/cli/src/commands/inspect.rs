//! `kiln inspect`.

use kiln_oci::{Descriptor, ImageIndex, Manifest, Reference};

use crate::args::InspectArgs;
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::{machine, output, settings};

/// Shows what an image consists of, in the fields of the peer's `imagetools inspect`.
pub fn run(args: &InspectArgs, environment: &Environment) -> Result<i32, CommandError> {
    let reference = settings::reference(&args.reference)?;
    let client = machine::client(environment)?;
    let runtime = machine::runtime()?;
    let resolved = runtime.block_on(client.resolve(&reference)).map_err(|error| {
        CommandError::from_error(ErrorKind::Environment, &error)
            .hint("check the name, the tag, and `docker login` for a private image")
    })?;
    if args.raw {
        output::raw(&resolved.bytes).map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
        return Ok(0);
    }
    let broken = |error: serde_json::Error| CommandError::from_error(ErrorKind::Environment, &error);
    output::line(&format!("Name:      {reference}"));
    output::line(&format!("MediaType: {}", resolved.media_type));
    output::line(&format!("Digest:    {}", resolved.digest));
    if resolved.media_type.is_index() {
        let index: ImageIndex = serde_json::from_slice(&resolved.bytes).map_err(broken)?;
        output::line("\nManifests:");
        index.manifests.iter().for_each(|entry| show(entry, &reference));
    } else if resolved.media_type.is_manifest() {
        let manifest: Manifest = serde_json::from_slice(&resolved.bytes).map_err(broken)?;
        output::line(&format!("Config:    {}", manifest.config.digest));
        output::line("\nLayers:");
        for layer in &manifest.layers {
            output::line(&format!(
                "  {}  {} bytes  {}",
                layer.digest, layer.size, layer.media_type
            ));
        }
    }
    Ok(0)
}

fn show(entry: &Descriptor, reference: &Reference) {
    let name = reference.without_tag_and_digest().with_digest(entry.digest.clone());
    output::line(&format!("  Name:        {name}"));
    output::line(&format!("  MediaType:   {}", entry.media_type));
    if let Some(platform) = &entry.platform {
        output::line(&format!("  Platform:    {platform}"));
    }
    if !entry.annotations.is_empty() {
        output::line("  Annotations:");
        for (name, value) in &entry.annotations {
            output::line(&format!("    {name}: {value}"));
        }
    }
    output::line("");
}
