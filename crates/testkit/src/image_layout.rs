//! Images made by hand, as an OCI image layout on disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::TestkitError;
use crate::http::{Request, exchange};
use crate::package_layer::PackageLayer;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const UNCOMPRESSED_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The files of a layer, sorted by path.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: BTreeMap<String, (u32, Node)>,
}

#[derive(Debug, Clone)]
enum Node {
    Directory,
    /// Shared, so that trees can be copied freely.
    File(Arc<[u8]>),
    Symlink(String),
}

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory; `path` is relative to the root.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32) -> Self {
        self.entries.insert(path.to_owned(), (mode, Node::Directory));
        self
    }

    /// Adds a regular file.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.entries
            .insert(path.to_owned(), (mode, Node::File(content.into().into())));
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        self.entries
            .insert(path.to_owned(), (0o777, Node::Symlink(target.to_owned())));
        self
    }

    /// Adds everything of a directory on disk below `at`, with modes and symbolic links; owners become root.
    pub fn with_directory(mut self, at: &str, directory: &Path) -> Result<Self, TestkitError> {
        use std::os::unix::fs::PermissionsExt;
        let entries = fs::read_dir(directory).map_err(TestkitError::file("read", directory))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let target = if at.is_empty() { name } else { format!("{at}/{name}") };
            let metadata = fs::symlink_metadata(&path).map_err(TestkitError::file("read", &path))?;
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_symlink() {
                let link = fs::read_link(&path).map_err(TestkitError::file("read", &path))?;
                self = self.symlink(&target, &link.to_string_lossy());
            } else if metadata.is_dir() {
                self = self.directory(&target, mode).with_directory(&target, &path)?;
            } else if metadata.is_file() {
                let content = fs::read(&path).map_err(TestkitError::file("read", &path))?;
                self = self.file(&target, mode, content);
            }
        }
        Ok(self)
    }

    /// Without everything at and below a path.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let below = format!("{path}/");
        self.entries
            .retain(|entry, _| entry != path && !entry.starts_with(&below));
        self
    }

    /// The tree as an uncompressed tar archive with owner root and the Unix epoch as time.
    pub fn tar(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, (mode, node)) in &self.entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            match node {
                Node::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
                }
                Node::File(content) => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_size(content.len() as u64);
                    archive.append_data(&mut header, path, &content[..])?;
                }
                Node::Symlink(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    archive.append_link(&mut header, path, target)?;
                }
            }
        }
        archive.into_inner()
    }
}

/// A layer in an image layout, uncompressed: its digest is its diff ID.
#[derive(Debug, Clone)]
pub struct Layer {
    descriptor: Value,
}

/// An OCI image layout that images are added to.
#[derive(Debug, Clone)]
pub struct ImageLayout {
    directory: PathBuf,
}

impl ImageLayout {
    /// Creates an empty layout in `directory`.
    pub fn create(directory: &Path) -> Result<Self, TestkitError> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(TestkitError::file("create", &blobs))?;
        let layout = Self {
            directory: directory.to_owned(),
        };
        layout.write("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        layout.write(
            "index.json",
            &serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []})).unwrap_or_default(),
        )?;
        Ok(layout)
    }

    /// A layout that exists.
    pub fn open(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// The layout's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds one platform's image of a single layer and gives its descriptor. `platform` is `os/arch[/variant]`; `config`
    /// is the object that becomes the image configuration's `config` field.
    pub fn add_image(&self, platform: &str, tree: &Tree, config: Value) -> Result<Value, TestkitError> {
        self.add_layered_image(platform, std::iter::once(tree.clone()), config)
    }

    /// As [`ImageLayout::add_image`], of several layers, the lowest first. One layer is in memory at a time.
    pub fn add_layered_image(
        &self,
        platform: &str,
        trees: impl IntoIterator<Item = Tree>,
        config: Value,
    ) -> Result<Value, TestkitError> {
        let pack = |tree: Tree| {
            let tar = tree
                .tar()
                .map_err(TestkitError::file("archive a tree for", &self.directory))?;
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            let compressed = encoder
                .write_all(&tar)
                .and_then(|()| encoder.finish())
                .map_err(TestkitError::file("compress a layer for", &self.directory))?;
            Ok((self.add_blob(LAYER, &compressed)?, digest(&tar)))
        };
        let layers = trees.into_iter().map(pack).collect::<Result<Vec<_>, TestkitError>>()?;
        self.add_manifest(platform, &layers, config)
    }

    /// As [`ImageLayout::add_image`], of layers that are made already. Their files are linked, not copied.
    pub(crate) fn add_image_of_layers(
        &self,
        platform: &str,
        layers: &[&PackageLayer],
        config: Value,
    ) -> Result<Value, TestkitError> {
        let link = |layer: &&PackageLayer| {
            let blob = self.directory.join("blobs/sha256").join(&layer.digest);
            if !blob.exists() {
                fs::hard_link(&layer.path, &blob).map_err(TestkitError::file("link", &blob))?;
            }
            let digest = format!("sha256:{}", layer.digest);
            let descriptor = json!({"mediaType": UNCOMPRESSED_LAYER, "digest": digest, "size": layer.size});
            Ok((descriptor, layer.digest.clone()))
        };
        let layers = layers.iter().map(link).collect::<Result<Vec<_>, TestkitError>>()?;
        self.add_manifest(platform, &layers, config)
    }

    /// Adds configuration and manifest over layers: each with its descriptor and the digest of its uncompressed form.
    fn add_manifest(&self, platform: &str, layers: &[(Value, String)], config: Value) -> Result<Value, TestkitError> {
        let platform = platform_object(platform);
        let history = json!({"created": "1970-01-01T00:00:00Z", "created_by": "kiln test base image"});
        let mut document = json!({
            "created": "1970-01-01T00:00:00Z",
            "config": config,
            "rootfs": {
                "type": "layers",
                "diff_ids": layers.iter().map(|(_, digest)| format!("sha256:{digest}")).collect::<Vec<_>>(),
            },
            "history": vec![history; layers.len()],
        });
        if let (Some(document), Some(platform)) = (document.as_object_mut(), platform.as_object()) {
            document.extend(platform.clone());
        }
        let config = self.add_blob(CONFIG, document.to_string().as_bytes())?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers.iter().map(|(layer, _)| layer).collect::<Vec<_>>()});
        let mut descriptor = self.add_blob(MANIFEST, manifest.to_string().as_bytes())?;
        descriptor["platform"] = platform;
        Ok(descriptor)
    }

    /// Adds an uncompressed layer, for [`ImageLayout::add_layers`].
    pub fn add_layer(&self, tree: &Tree) -> Result<Layer, TestkitError> {
        let tar = tree
            .tar()
            .map_err(TestkitError::file("archive a tree for", &self.directory))?;
        let descriptor = self.add_blob(PLAIN_LAYER, &tar)?;
        Ok(Layer { descriptor })
    }

    /// Adds one platform's image of several layers, each with the instruction that its history names, and gives its
    /// descriptor.
    pub fn add_layers(&self, platform: &str, layers: &[(&str, &Layer)], config: Value) -> Result<Value, TestkitError> {
        let descriptors: Vec<&Value> = layers.iter().map(|(_, layer)| &layer.descriptor).collect();
        let diff_ids: Vec<&Value> = descriptors.iter().map(|descriptor| &descriptor["digest"]).collect();
        let history: Vec<Value> = layers.iter().map(|(line, _)| json!({"created_by": line})).collect();
        let platform = platform_object(platform);
        let rootfs = json!({"type": "layers", "diff_ids": diff_ids});
        let mut document = json!({"config": config, "rootfs": rootfs, "history": history});
        if let (Some(document), Some(platform)) = (document.as_object_mut(), platform.as_object()) {
            document.extend(platform.clone());
        }
        let config = self.add_blob(CONFIG, document.to_string().as_bytes())?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors});
        let mut descriptor = self.add_blob(MANIFEST, manifest.to_string().as_bytes())?;
        descriptor["platform"] = platform;
        Ok(descriptor)
    }

    /// Adds an image index over `manifests` and names it `reference` (`repository:tag`) in the layout.
    pub fn add_index(&self, references: &[&str], manifests: &[Value]) -> Result<Value, TestkitError> {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let descriptor = self.add_blob(INDEX, index.to_string().as_bytes())?;
        let mut document = self.index()?;
        if let Some(manifests) = document["manifests"].as_array_mut() {
            for reference in references {
                let mut named = descriptor.clone();
                named["annotations"] = json!({"org.opencontainers.image.ref.name": reference});
                manifests.push(named);
            }
        }
        self.write("index.json", document.to_string().as_bytes())?;
        Ok(descriptor)
    }

    /// The descriptor under `reference` (`repository:tag`).
    pub fn find(&self, reference: &str) -> Option<Value> {
        let index = self.index().ok()?;
        let manifests = index["manifests"].as_array()?;
        manifests
            .iter()
            .find(|one| one["annotations"]["org.opencontainers.image.ref.name"] == reference)
            .cloned()
    }

    /// The names in the layout.
    pub fn references(&self) -> Result<Vec<String>, TestkitError> {
        let index = self.index()?;
        let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
        Ok(manifests
            .iter()
            .filter_map(|one| {
                one["annotations"]["org.opencontainers.image.ref.name"]
                    .as_str()
                    .map(str::to_owned)
            })
            .collect())
    }

    /// The bytes of a blob; `None` when it is not there or `digest` is malformed.
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        let hex = digest.strip_prefix("sha256:")?;
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        fs::read(self.directory.join("blobs/sha256").join(hex)).ok()
    }

    /// Pushes what stands under `reference`, with everything it refers to, to a registry that speaks plain HTTP at
    /// `address`. Missing platforms of an index are not an error of this function but of the layout.
    pub fn push(&self, reference: &str, address: &str) -> Result<(), TestkitError> {
        let descriptor = self.find(reference).ok_or_else(|| TestkitError::Missing {
            what: format!("`{reference}` in {}", self.directory.display()),
            remedy: "add it to the layout first".to_owned(),
        })?;
        let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
        self.push_manifest(&descriptor, repository, tag, address)
    }

    fn push_manifest(&self, descriptor: &Value, repository: &str, tag: &str, to: &str) -> Result<(), TestkitError> {
        let digest = descriptor["digest"].as_str().unwrap_or_default();
        let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
        let bytes = self.required_blob(digest)?;
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        for child in document["manifests"].as_array().into_iter().flatten() {
            let digest = child["digest"].as_str().unwrap_or_default();
            self.push_manifest(child, repository, digest, to)?;
        }
        let layers = document["layers"].as_array().into_iter().flatten();
        for blob in document.get("config").into_iter().chain(layers) {
            self.push_blob(blob["digest"].as_str().unwrap_or_default(), repository, to)?;
        }
        let request = Request::new("PUT", &format!("/v2/{repository}/manifests/{tag}"))
            .with_header("Content-Type", media_type)
            .with_body(bytes);
        expect_status(to, &request, 201).map(drop)
    }

    fn push_blob(&self, digest: &str, repository: &str, to: &str) -> Result<(), TestkitError> {
        let bytes = self.required_blob(digest)?;
        let opened = expect_status(
            to,
            &Request::new("POST", &format!("/v2/{repository}/blobs/uploads/")),
            202,
        )?;
        let location = opened.header("Location").unwrap_or_default();
        // The location may be absolute, and may carry a query already.
        let target = location
            .split_once("://")
            .map_or(location, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
        let joint = if target.contains('?') { '&' } else { '?' };
        let request = Request::new("PUT", &format!("{target}{joint}digest={digest}"))
            .with_header("Content-Type", "application/octet-stream")
            .with_body(bytes);
        expect_status(to, &request, 201).map(drop)
    }

    fn required_blob(&self, digest: &str) -> Result<Vec<u8>, TestkitError> {
        self.blob(digest).ok_or_else(|| TestkitError::Missing {
            what: format!("blob {digest} in {}", self.directory.display()),
            remedy: "remove the directory so that it is made again".to_owned(),
        })
    }

    fn add_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Value, TestkitError> {
        let digest = digest(bytes);
        self.write(&format!("blobs/sha256/{digest}"), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    }

    fn index(&self) -> Result<Value, TestkitError> {
        let path = self.directory.join("index.json");
        let bytes = fs::read(&path).map_err(TestkitError::file("read", &path))?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TestkitError> {
        let path = self.directory.join(name);
        fs::write(&path, bytes).map_err(TestkitError::file("write", &path))
    }
}

/// `linux/arm/v7` as the object that descriptors and configurations carry.
fn platform_object(platform: &str) -> Value {
    let mut parts = platform.split('/');
    let mut object = json!({
        "os": parts.next().unwrap_or_default(),
        "architecture": parts.next().unwrap_or_default(),
    });
    if let Some(variant) = parts.next() {
        object["variant"] = json!(variant);
    }
    object
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn expect_status(address: &str, request: &Request, status: u16) -> Result<crate::Response, TestkitError> {
    let response = exchange(address, request).map_err(|source| TestkitError::Network {
        action: "push an image",
        address: address.to_owned(),
        source,
    })?;
    if response.status == status {
        return Ok(response);
    }
    Err(TestkitError::Answer {
        address: address.to_owned(),
        request: format!("{} {}", request.method, request.target),
        status: response.status,
        body: String::from_utf8_lossy(&response.body[..response.body.len().min(300)]).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tree_gives_the_same_image() -> Result<(), Box<dyn std::error::Error>> {
        let tree = Tree::new()
            .directory("etc", 0o755)
            .file("etc/name", 0o644, "kiln")
            .symlink("name", "etc/name");
        let mut digests = Vec::new();
        for _ in 0..2 {
            let directory = tempfile::tempdir()?;
            let layout = ImageLayout::create(directory.path())?;
            let image = layout.add_image("linux/arm/v7", &tree, json!({}))?;
            assert_eq!(
                image["platform"],
                json!({"os": "linux", "architecture": "arm", "variant": "v7"})
            );
            let index = layout.add_index(&["library/a:1", "library/a:latest"], &[image])?;
            assert_eq!(
                layout.find("library/a:1").map(|found| found["digest"].clone()),
                Some(index["digest"].clone())
            );
            assert_eq!(layout.references()?, ["library/a:1", "library/a:latest"]);
            digests.push(index["digest"].clone());
        }
        assert_eq!(digests[0], digests[1]);
        Ok(())
    }
}
