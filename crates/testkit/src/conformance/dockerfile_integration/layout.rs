//! Reading the images of an OCI layout in the form of the golden files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One image of a layout.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) platform: Value,
    pub(super) config: Value,
    /// Lowest first, by path; the path of a directory has no slash at its end.
    pub(super) layers: Vec<BTreeMap<String, Value>>,
}

/// Every image of a layout, in the order of its index.
pub(super) fn images(layout: &Path) -> Result<Vec<Image>, String> {
    let top = json_at(&layout.join("index.json"))?;
    let mut images = Vec::new();
    for descriptor in top["manifests"].as_array().into_iter().flatten() {
        let document = blob(layout, descriptor)?;
        if document["manifests"].is_array() {
            for descriptor in document["manifests"].as_array().into_iter().flatten() {
                images.push(image(layout, &blob(layout, descriptor)?)?);
            }
        } else {
            images.push(image(layout, &document)?);
        }
    }
    Ok(images)
}

fn image(layout: &Path, manifest: &Value) -> Result<Image, String> {
    let config = blob(layout, &manifest["config"])?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    Ok(Image {
        platform: json!({"os": config["os"], "architecture": config["architecture"], "variant": config["variant"]}),
        layers: layers
            .map(|descriptor| entries(&blob_path(layout, descriptor)?))
            .collect::<Result<_, _>>()?,
        config,
    })
}

fn blob_path(layout: &Path, descriptor: &Value) -> Result<std::path::PathBuf, String> {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    let hex = digest
        .strip_prefix("sha256:")
        .ok_or_else(|| format!("`{digest}` is no digest"))?;
    Ok(layout.join("blobs/sha256").join(hex))
}

fn blob(layout: &Path, descriptor: &Value) -> Result<Value, String> {
    json_at(&blob_path(layout, descriptor)?)
}

fn json_at(path: &Path) -> Result<Value, String> {
    let in_words = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| in_words(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| in_words(&error))
}

fn entries(layer: &Path) -> Result<BTreeMap<String, Value>, String> {
    read_entries(layer).map_err(|error| format!("{}: {error}", layer.display()))
}

fn read_entries(layer: &Path) -> io::Result<BTreeMap<String, Value>> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(layer)?));
    let mut found = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.display().to_string();
        let path = path.trim_start_matches("./").trim_end_matches('/').to_owned();
        if path.is_empty() {
            continue;
        }
        let header = entry.header();
        let mut shown = json!({
            "path": path,
            "mode": format!("{:04o}", header.mode()? & 0o7777),
            "uid": header.uid()?,
            "gid": header.gid()?,
        });
        let kind = match header.entry_type() {
            tar::EntryType::Directory => "dir",
            tar::EntryType::Symlink => "symlink",
            tar::EntryType::Link => "hardlink",
            tar::EntryType::Char => "char",
            tar::EntryType::Block => "block",
            tar::EntryType::Fifo => "fifo",
            _ => "file",
        };
        shown["type"] = json!(kind);
        if let Some(link) = entry.link_name()? {
            shown["link"] = json!(link.display().to_string());
        }
        if kind == "file" {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            shown["size"] = json!(content.len());
            shown["sha256"] = json!(hex::encode(Sha256::digest(&content)));
        }
        found.insert(path, shown);
    }
    Ok(found)
}
