//! An image by what the user typed: a name, an archive, a layout.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_audit::{Base, Image, Layer, LayerFacts};
use kiln_oci::{Annotations, Descriptor, Digest, ImageConfig, ImageIndex, Manifest, Platform, Reference};
use kiln_registry::Client;
use kiln_store::Store;

use crate::audit::archive::Archive;
use crate::audit::blobs::{Blobs, Fetch};
use crate::command_error::{CommandError, ErrorKind};

/// Documents are not larger.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Indexes of indexes.
const MAX_DEPTH: usize = 4;

/// Where an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a registry, or in the store under its name.
    Name(Reference),
    /// In the directory of an OCI layout, under a name if one is given.
    Layout(PathBuf, Option<String>),
    /// In an archive.
    Archive(PathBuf, Option<String>),
}

/// One platform's image whose layers were not read yet.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What the index says that it is for.
    pub entry_platform: Option<Platform>,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers.
    pub layers: Vec<Descriptor>,
    /// Annotations of its manifest.
    pub annotations: Annotations,
    /// What it stands on, where that is known.
    pub bases: Vec<Base>,
}

impl Candidate {
    /// What it is for.
    pub fn platform(&self) -> Platform {
        self.entry_platform
            .clone()
            .unwrap_or_else(|| self.config.platform())
            .normalized()
    }

    /// The image with what was read of its layers.
    pub fn with_facts(self, facts: Vec<Arc<LayerFacts>>) -> Image {
        let layers = self.layers.iter().zip(facts);
        Image {
            layers: layers
                .map(|(layer, facts)| Layer {
                    digest: layer.digest.clone(),
                    facts,
                })
                .collect(),
            entry_platform: self.entry_platform,
            manifest: self.manifest,
            config: self.config,
            bases: self.bases,
        }
    }
}

/// The images behind what was typed, and where their blobs are.
pub struct Opened {
    /// All platforms.
    pub images: Vec<Candidate>,
    /// Where the layers are.
    pub blobs: Blobs,
}

impl Source {
    /// Reads what was typed: `oci:PATH[:NAME]`, `oci-layout://PATH`, `oci-archive:PATH`, `docker-archive:PATH`, the path of
    /// something that exists, else a name.
    pub fn parse(text: &str) -> Result<Source, CommandError> {
        for prefix in ["oci-layout://", "oci:", "oci-archive:", "docker-archive:"] {
            if let Some(rest) = text.strip_prefix(prefix) {
                return existing(rest).ok_or_else(|| {
                    CommandError::user(format!("there is no `{rest}`"))
                        .hint(format!("`{prefix}` is followed by a path"))
                });
            }
        }
        let looks_like_path = text.starts_with(['.', '/']) || text.ends_with(".tar");
        match existing(text) {
            // A directory that happens to have the name of an image is no layout.
            Some(Source::Layout(path, name)) if looks_like_path || path.join("index.json").exists() => {
                Ok(Source::Layout(path, name))
            }
            Some(source @ Source::Archive(..)) => Ok(source),
            None if looks_like_path => Err(CommandError::user(format!("there is no `{text}`")).hint(
                "name an archive, the directory of an OCI layout, or an image such as registry.example.com/app:1.0",
            )),
            _ => Ok(Source::Name(crate::settings::reference(text)?)),
        }
    }
}

/// A path, perhaps with a name behind it.
fn existing(text: &str) -> Option<Source> {
    let of = |path: &str, name: Option<&str>| {
        let path = PathBuf::from(path);
        let name = name.map(str::to_owned);
        if path.is_dir() {
            Some(Source::Layout(path, name))
        } else {
            path.is_file().then_some(Source::Archive(path, name))
        }
    };
    of(text, None).or_else(|| {
        let (path, name) = text.split_once(':')?;
        of(path, Some(name))
    })
}

/// Opens images. Names are looked up in the store first, unless `pull` says otherwise.
pub fn open(
    source: &Source,
    store: &Store,
    client: &Client,
    runtime: &tokio::runtime::Runtime,
    pull: bool,
) -> Result<Opened, CommandError> {
    match source {
        Source::Name(reference) => by_name(reference, store, client, runtime, pull),
        Source::Layout(path, name) => {
            let read = |descriptor: &Descriptor| {
                let file = path
                    .join("blobs")
                    .join(descriptor.digest.algorithm().name())
                    .join(descriptor.digest.hex());
                limited(&file)
            };
            let index = limited(&path.join("index.json"))?;
            Ok(Opened {
                images: in_layout(&index, name.as_deref(), &read)?,
                blobs: Blobs::Layout(path.clone()),
            })
        }
        Source::Archive(path, name) => {
            let failed = |error: crate::audit::archive::ArchiveError| {
                CommandError::from_error(ErrorKind::User, &error)
                    .hint("an archive is what `kiln build -o type=oci`, `docker save` or `skopeo copy` wrote")
            };
            let mut archive = Archive::open(path, store).map_err(failed)?;
            let images = if archive.is_layout() {
                let read = |descriptor: &Descriptor| {
                    let name = format!(
                        "blobs/{}/{}",
                        descriptor.digest.algorithm().name(),
                        descriptor.digest.hex()
                    );
                    archive.document(&name).map_err(failed)
                };
                let index = archive.document("index.json").map_err(failed)?;
                in_layout(&index, name.as_deref(), &read)?
            } else {
                let images = archive.docker_images().map_err(failed)?;
                let wanted = |names: &[String]| name.as_ref().is_none_or(|name| names.contains(name));
                images
                    .into_iter()
                    .filter(|image| wanted(&image.names))
                    .map(|image| Candidate {
                        entry_platform: None,
                        manifest: image.id,
                        config: image.config,
                        layers: image.layers,
                        annotations: Annotations::new(),
                        bases: Vec::new(),
                    })
                    .collect()
            };
            Ok(Opened {
                images,
                blobs: Blobs::Archive(Arc::new(archive)),
            })
        }
    }
}

fn by_name(
    reference: &Reference,
    store: &Store,
    client: &Client,
    runtime: &tokio::runtime::Runtime,
    pull: bool,
) -> Result<Opened, CommandError> {
    let unavailable = |error: kiln_registry::RegistryError| {
        CommandError::from_error(ErrorKind::Environment, &error)
            .hint("check the name, the tag, and `docker login` for a private image")
    };
    let stored = |error: kiln_store::StoreError| CommandError::from_error(ErrorKind::Environment, &error);
    let built = store.get_document("image", &reference.to_string()).map_err(stored)?;
    let built: Option<Descriptor> = built.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let built = built.filter(|top| !pull && store.blob_exists(&top.digest).unwrap_or(false));
    let (top, bytes) = match built {
        Some(top) => {
            let bytes = store.read_blob(&top.digest, MAX_DOCUMENT).map_err(stored)?;
            (top, bytes.unwrap_or_default())
        }
        None => {
            let found = runtime.block_on(client.resolve(reference)).map_err(unavailable)?;
            store.put_blob(&found.bytes).map_err(stored)?;
            let top = Descriptor::new(found.media_type, found.digest, found.bytes.len() as u64);
            (top, found.bytes)
        }
    };
    let read = |descriptor: &Descriptor| {
        if let Some(bytes) = store.read_blob(&descriptor.digest, MAX_DOCUMENT).map_err(stored)? {
            return Ok(bytes);
        }
        if descriptor.media_type.is_manifest() || descriptor.media_type.is_index() {
            let found = runtime.block_on(client.fetch_manifest(reference, &descriptor.digest));
            return found.map(|found| found.bytes).map_err(unavailable);
        }
        runtime
            .block_on(client.fetch_blob(reference, descriptor, store, &|_| {}))
            .map_err(unavailable)?;
        let bytes = store.read_blob(&descriptor.digest, MAX_DOCUMENT).map_err(stored)?;
        bytes.ok_or_else(|| {
            CommandError::new(
                ErrorKind::Environment,
                format!("{} is gone from the store", descriptor.digest),
            )
        })
    };
    let mut images = Vec::new();
    collect(&top, &bytes, None, 0, &read, &mut images)?;
    let handle = runtime.handle().clone();
    let (client, store, reference) = (client.clone(), store.clone(), reference.clone());
    let fetch: Fetch = Arc::new(move |descriptor: &Descriptor| {
        let fetched = handle.block_on(client.fetch_blob(&reference, descriptor, &store, &|_| {}));
        fetched.map_err(Into::into)
    });
    Ok(Opened {
        images,
        blobs: Blobs::Store(fetch),
    })
}

type ReadDocument<'a> = &'a dyn Fn(&Descriptor) -> Result<Vec<u8>, CommandError>;

/// The images that an `index.json` names: of several names, the wanted one.
fn in_layout(index: &[u8], name: Option<&str>, read: ReadDocument<'_>) -> Result<Vec<Candidate>, CommandError> {
    let index: ImageIndex = serde_json::from_slice(index).map_err(|error| broken("index.json", &error))?;
    let name_of = |entry: &Descriptor| {
        let annotations = &entry.annotations;
        let full = annotations.get("io.containerd.image.name");
        full.or_else(|| annotations.get("org.opencontainers.image.ref.name"))
            .cloned()
    };
    let is_wanted = |entry: &&Descriptor| {
        name.is_none_or(|name| {
            name_of(entry).is_some_and(|found| found == name || found.ends_with(&format!(":{name}")))
        })
    };
    let mut entries: Vec<&Descriptor> = index.manifests.iter().filter(is_wanted).collect();
    let every_name: Vec<String> = index.manifests.iter().filter_map(name_of).collect();
    // Several names of one image are one image.
    let mut seen: Vec<(&Digest, Option<&Platform>)> = Vec::new();
    entries.retain(|entry| {
        let key = (&entry.digest, entry.platform.as_ref());
        let new = !seen.contains(&key);
        if new {
            seen.push(key);
        }
        new
    });
    let tops = entries.iter().filter(|entry| entry.media_type.is_index()).count();
    let mut distinct: Vec<String> = entries.iter().filter_map(|entry| name_of(entry)).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if entries.is_empty()
        || (tops > 0 && entries.len() > 1)
        || (name.is_none() && distinct.len() > 1 && distinct.len() == entries.len())
    {
        let error = match name {
            Some(name) if entries.is_empty() => CommandError::user(format!("the layout has no image `{name}`")),
            _ if entries.is_empty() => return Err(CommandError::user("the layout has no images")),
            _ => CommandError::user("the layout has several images"),
        };
        return Err(error.hint(format!(
            "name one behind the path, `PATH:NAME`; there are {}",
            every_name.join(", ")
        )));
    }
    let mut images = Vec::new();
    for entry in entries {
        collect(entry, &read(entry)?, entry.platform.clone(), 0, read, &mut images)?;
    }
    Ok(images)
}

/// Follows indexes down to images.
fn collect(
    descriptor: &Descriptor,
    bytes: &[u8],
    platform: Option<Platform>,
    depth: usize,
    read: ReadDocument<'_>,
    images: &mut Vec<Candidate>,
) -> Result<(), CommandError> {
    if descriptor.media_type.is_index() {
        let index: ImageIndex = serde_json::from_slice(bytes).map_err(|error| broken("the index", &error))?;
        if depth >= MAX_DEPTH {
            return Err(CommandError::user(
                "the index names indexes that name indexes without end",
            ));
        }
        for entry in index.manifests.iter().filter(|entry| is_image(entry)) {
            collect(entry, &read(entry)?, entry.platform.clone(), depth + 1, read, images)?;
        }
        return Ok(());
    }
    if !descriptor.media_type.is_manifest() {
        return Ok(());
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| broken("a manifest", &error))?;
    if !manifest.config.media_type.is_config() {
        return Ok(());
    }
    let config: ImageConfig =
        serde_json::from_slice(&read(&manifest.config)?).map_err(|error| broken("a configuration", &error))?;
    images.push(Candidate {
        entry_platform: platform,
        manifest: descriptor.digest.clone(),
        config,
        layers: manifest.layers,
        annotations: manifest.annotations,
        bases: Vec::new(),
    });
    Ok(())
}

/// Attestations stand beside images in an index, for a platform that there is not.
fn is_image(entry: &Descriptor) -> bool {
    let unknown = entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !unknown && entry.artifact_type.is_none() && !entry.annotations.contains_key("vnd.docker.reference.type")
}

fn broken(what: &str, error: &serde_json::Error) -> CommandError {
    let mut command = CommandError::from_error(ErrorKind::User, error);
    command.messages.insert(0, format!("{what} of the image is broken"));
    command
}

fn limited(path: &Path) -> Result<Vec<u8>, CommandError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MAX_DOCUMENT).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => {
            let mut command = CommandError::from_error(ErrorKind::User, &error);
            command
                .messages
                .insert(0, format!("failed to read `{}`", path.display()));
            Err(command.hint("an OCI layout has `index.json`, and a blob for every digest in it"))
        }
    }
}
