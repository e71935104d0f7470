//! Where results go. Blobs first, then manifests, then the index, and only then tags.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_graph::{Event, Outcome};
use kiln_image::assemble::{PlatformImage, assemble_index, index_type};
use kiln_image::export::{self, FileSource, ImageSet};
use kiln_oci::{Descriptor, Digest, Document, ImageIndex, Reference};
use kiln_registry::BlobSource;
use kiln_worker::{Layers, WorkerError};

use crate::build::request::{Destination, Output};
use crate::build::{BuildError, BuildRequest, BuiltImage, Machine};

/// What a build came to.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// What the image's names point at; None if no image was wanted.
    pub published: Option<Published>,
}

/// The image as a whole.
#[derive(Debug, Clone)]
pub struct Published {
    /// Of the index, or of the only manifest.
    pub descriptor: Descriptor,
    /// Of the configuration, if there is one platform.
    pub config: Option<Digest>,
    /// Its names.
    pub names: Vec<Reference>,
}

/// Numbers of tasks that are told of, apart from those of resolving.
static TASKS: AtomicU64 = AtomicU64::new(1 << 32);

pub(super) async fn publish(
    request: &BuildRequest,
    machine: &Machine,
    layers: &Layers,
    built: &[BuiltImage],
) -> Result<BuildResult, BuildError> {
    let images: Vec<PlatformImage> = built.iter().filter_map(|built| built.image.clone()).collect();
    let index = match images.len() {
        0 => None,
        1 if !request.is_for_several() => None,
        _ => Some(assemble_index(
            &images,
            request.family,
            request.annotations.index.clone(),
        )?),
    };
    for output in &request.outputs {
        if machine.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        write(request, machine, layers, built, &images, index.as_ref(), output).await?;
    }
    let descriptor = match (&index, images.as_slice()) {
        (Some(index), _) => Some(index.descriptor(index_type(request.family))),
        (None, [image]) => Some(image.descriptor.clone()),
        (None, _) => None,
    };
    let published = descriptor.map(|descriptor| Published {
        descriptor,
        config: match images.as_slice() {
            [image] => Some(image.config.digest().clone()),
            _ => None,
        },
        names: request.tags.clone(),
    });
    Ok(BuildResult { published })
}

async fn write(
    request: &BuildRequest,
    machine: &Machine,
    layers: &Layers,
    built: &[BuiltImage],
    images: &[PlatformImage],
    index: Option<&Document<ImageIndex>>,
    output: &Output,
) -> Result<(), BuildError> {
    match output {
        Output::CacheOnly => Ok(()),
        Output::Image { names, push } => {
            keep(machine, images, index, names)?;
            if !push {
                return Ok(());
            }
            if names.is_empty() {
                return Err(BuildError::Nameless);
            }
            for name in names {
                task(
                    machine,
                    format!("push {name}"),
                    push_image(machine, layers, name, images, index),
                )
                .await?;
                remember_pushed(machine, name, images, index)?;
            }
            Ok(())
        }
        Output::Oci {
            destination,
            archive,
            names,
        } => {
            fetch_all(layers, built, images).await?;
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let set = ImageSet {
                images,
                index,
                names: &names,
            };
            match (destination, archive) {
                (Destination::Path(path), false) => Ok(export::oci_directory(&set, &machine.store, path)?),
                (destination, _) => to_file(destination, |out| export::oci_archive(&set, &machine.store, out)),
            }
        }
        Output::Docker { destination, names } => {
            fetch_all(layers, built, images).await?;
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let set = ImageSet {
                images,
                index: None,
                names: &names,
            };
            to_file(destination, |out| export::docker_archive(&set, &machine.store, out))
        }
        Output::Local { directory, split } => {
            let split = split.unwrap_or(request.is_for_several());
            for image in built {
                let source = files(layers, image).await?;
                let target = if split {
                    directory.join(platform_directory(image))
                } else {
                    directory.clone()
                };
                export::root_directory(&source, &target, false)?;
            }
            Ok(())
        }
        Output::Tar { destination, split } => {
            let split = split.unwrap_or(request.is_for_several());
            let mut sources = Vec::new();
            for image in built {
                let prefix = if split {
                    platform_directory(image)
                } else {
                    String::new()
                };
                sources.push((prefix, files(layers, image).await?));
            }
            to_file(destination, |out| {
                sources
                    .iter()
                    .try_for_each(|(prefix, source)| export::root_tar(source, prefix, out))?;
                export::end_tar(out)
            })
        }
    }
}

/// `linux_arm_v7`, as the peers call it.
fn platform_directory(image: &BuiltImage) -> String {
    image.platform.to_string().replace('/', "_")
}

/// Writes to a file that appears only when it is whole, or to standard output.
fn to_file(
    destination: &Destination,
    write: impl FnOnce(&mut dyn Write) -> Result<(), export::ExportError>,
) -> Result<(), BuildError> {
    match destination {
        Destination::Stdout => Ok(write(&mut BufWriter::new(std::io::stdout().lock()))?),
        Destination::Path(path) => {
            let failed = |source| BuildError::Write {
                path: path.clone(),
                source,
            };
            let directory = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(Path::new("."));
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let partial = directory.join(format!(".{name}.{}", std::process::id()));
            let file = File::create(&partial).map_err(failed)?;
            let mut out = BufWriter::new(file);
            if let Err(error) = write(&mut out) {
                drop(out);
                // What is left of a failed export is of no use.
                let _ = std::fs::remove_file(&partial);
                return Err(error.into());
            }
            out.flush().map_err(failed)?;
            std::fs::rename(&partial, path).map_err(failed)
        }
    }
}

async fn files(layers: &Layers, image: &BuiltImage) -> Result<FileSource, BuildError> {
    let worker = |source| BuildError::Worker(Box::new(source));
    layers.trees(&image.root).await.map_err(worker)?;
    let view = layers.view(&image.root).await.map_err(worker)?;
    let mut trees = Vec::with_capacity(image.root.len());
    for layer in image.root.iter() {
        trees.push(layers.open_tree(layer).await.map_err(worker)?);
    }
    Ok(FileSource { view, trees })
}

/// Archives hold every layer, so those that are still only in a registry are fetched.
async fn fetch_all(layers: &Layers, built: &[BuiltImage], images: &[PlatformImage]) -> Result<(), BuildError> {
    for (image, built) in images.iter().zip(built) {
        let diff_ids = &image.config.value().rootfs.diff_ids;
        let blobs = built
            .root
            .iter()
            .zip(diff_ids)
            .map(|(layer, diff_id)| layers.blob(layer, Some(diff_id)));
        futures::future::try_join_all(blobs)
            .await
            .map_err(|source| BuildError::Worker(Box::new(source)))?;
    }
    Ok(())
}

/// Keeps the documents in the store and lets the names point at them.
fn keep(
    machine: &Machine,
    images: &[PlatformImage],
    index: Option<&Document<ImageIndex>>,
    names: &[Reference],
) -> Result<(), BuildError> {
    for image in images {
        machine.store.put_blob(image.config.bytes())?;
        machine.store.put_blob(image.manifest.bytes())?;
    }
    let top = match (index, images) {
        (Some(index), _) => {
            machine.store.put_blob(index.bytes())?;
            index.descriptor(
                index
                    .value()
                    .media_type
                    .clone()
                    .unwrap_or(kiln_oci::MediaType::OCI_INDEX),
            )
        }
        (None, [image, ..]) => image.descriptor.clone(),
        (None, []) => return Ok(()),
    };
    for name in names {
        machine
            .store
            .put_document("image", &name.to_string(), &serde_json::to_vec(&top)?)?;
    }
    Ok(())
}

/// An image that a registry has too is no longer kept for its name's sake alone.
fn remember_pushed(
    machine: &Machine,
    name: &Reference,
    images: &[PlatformImage],
    index: Option<&Document<ImageIndex>>,
) -> Result<(), BuildError> {
    let digest = match (index, images) {
        (Some(index), _) => index.digest(),
        (None, [image, ..]) => image.manifest.digest(),
        (None, []) => return Ok(()),
    };
    let body = digest.to_string();
    Ok(machine
        .store
        .put_document("pushed", &name.to_string(), body.as_bytes())?)
}

async fn push_image(
    machine: &Machine,
    layers: &Layers,
    name: &Reference,
    images: &[PlatformImage],
    index: Option<&Document<ImageIndex>>,
) -> Result<(), BuildError> {
    let failed = |source| BuildError::Push {
        name: name.clone(),
        source,
    };
    let mut blobs: Vec<&Descriptor> = images
        .iter()
        .flat_map(|image| image.manifest.value().layers.iter())
        .collect();
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    blobs.dedup_by(|a, b| a.digest == b.digest);
    let sent = blobs.into_iter().map(|blob| push_layer(machine, layers, name, blob));
    let configs = images.iter().map(|image| push_config(machine, name, image));
    futures::future::try_join(
        futures::future::try_join_all(sent),
        futures::future::try_join_all(configs),
    )
    .await?;
    let tag = name.tag().unwrap_or("latest");
    let manifests = images.iter().map(|image| {
        let digest = image.manifest.digest().to_string();
        let part = if index.is_some() { digest } else { tag.to_owned() };
        async move {
            machine
                .client
                .push_manifest(
                    name,
                    &part,
                    image.manifest.bytes().to_vec(),
                    &image.descriptor.media_type,
                )
                .await
        }
    });
    futures::future::try_join_all(manifests).await.map_err(failed)?;
    if let Some(index) = index {
        let media_type = index
            .value()
            .media_type
            .clone()
            .unwrap_or(kiln_oci::MediaType::OCI_INDEX);
        machine
            .client
            .push_manifest(name, tag, index.bytes().to_vec(), &media_type)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

async fn push_layer(machine: &Machine, layers: &Layers, name: &Reference, blob: &Descriptor) -> Result<(), BuildError> {
    let pushed = kiln_worker::transfer::push_layer(layers, &machine.client, name, blob).await;
    pushed.map_err(|source| match source {
        WorkerError::Registry(source) => BuildError::Push {
            name: name.clone(),
            source,
        },
        other => BuildError::Worker(Box::new(other)),
    })
}

async fn push_config(machine: &Machine, name: &Reference, image: &PlatformImage) -> Result<(), BuildError> {
    let descriptor = &image.manifest.value().config;
    let source = BlobSource::Bytes(image.config.bytes().to_vec());
    let pushed = machine
        .client
        .push_blob(name, descriptor, source, None, Arc::new(|_| {}))
        .await;
    pushed.map_err(|source| BuildError::Push {
        name: name.clone(),
        source,
    })
}

/// Tells of the beginning and the end of something.
pub(super) async fn task(
    machine: &Machine,
    name: String,
    work: impl Future<Output = Result<(), BuildError>>,
) -> Result<(), BuildError> {
    let id = TASKS.fetch_add(1, Ordering::Relaxed);
    let started = std::time::Instant::now();
    machine.events.send(Event::TaskStarted {
        id,
        name,
        platform: None,
    });
    let result = tokio::select! {
        result = work => result,
        () = machine.cancel.cancelled() => Err(BuildError::Cancelled),
    };
    let outcome = match &result {
        Ok(()) => Outcome::Done,
        Err(BuildError::Cancelled) => Outcome::Cancelled,
        Err(error) => Outcome::Failed(error.to_string()),
    };
    machine.events.send(Event::TaskFinished {
        id,
        outcome,
        duration: started.elapsed(),
    });
    result
}
