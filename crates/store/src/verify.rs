//! Checking a store: everything that can be checked is read and compared with what it should be.

use std::io;
use std::path::PathBuf;

use kiln_oci::{Algorithm, Digest};

use crate::StoreError;
use crate::blob::{blob_of_name, hash_file};
use crate::index::{IndexError, LayerIndex};
use crate::layer::LayerId;
use crate::store::Store;
pub use crate::tree_check::TreeFinding;
use crate::tree_check::{Depth, compare_tree};

/// What a check found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// How many blobs were read.
    pub blobs: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many layer indexes were read.
    pub indexes: u64,
    /// How many trees were compared with their indexes.
    pub trees: u64,
    /// How many layers are known.
    pub layers: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A blob's content has another digest than its name says.
    #[error("blob `{digest}` is damaged: its content has digest `{actual}` and {size} bytes")]
    BlobDamaged {
        /// The blob.
        digest: Digest,
        /// The digest of its content.
        actual: Digest,
        /// The size of its content in bytes.
        size: u64,
    },
    /// The list of a blob's members cannot be used.
    #[error("the list of members of blob `{digest}` is damaged")]
    Members {
        /// The blob.
        digest: Digest,
    },
    /// A file cannot be read.
    #[error("failed to read `{path}`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that no store puts there.
    #[error("`{path}` does not belong here")]
    Stray {
        /// The file.
        path: PathBuf,
    },
    /// A layer index breaks the rules of its format.
    #[error("the index of layer `{layer}` is damaged")]
    Index {
        /// The layer.
        layer: LayerId,
        /// Which rule.
        #[source]
        source: IndexError,
    },
    /// The database breaks its own rules.
    #[error("the database is damaged: {finding}")]
    Database {
        /// What SQLite says.
        finding: String,
    },
    /// A layer's tree is not what its index says.
    #[error("the tree of layer `{layer}` is damaged at `{path}`: {finding}")]
    Tree {
        /// The layer.
        layer: LayerId,
        /// Where in the tree.
        path: String,
        /// What is wrong there.
        finding: TreeFinding,
    },
    /// A name of an image names nothing that is here.
    #[error("the image `{name}` is lost: its manifest `{digest}` is not here")]
    NameLost {
        /// The name.
        name: String,
        /// The manifest or image index.
        digest: Digest,
    },
    /// A known layer is neither here in any form nor in a registry.
    #[error("layer `{layer}` is lost: it has neither tree nor blob")]
    LayerLost {
        /// The layer.
        layer: LayerId,
    },
    /// A layer's blob has another size than its descriptor says.
    #[error("blob `{digest}` of layer `{layer}` has {actual} bytes, its descriptor says {expected}")]
    BlobSize {
        /// The layer.
        layer: LayerId,
        /// The blob.
        digest: Digest,
        /// The size in the descriptor.
        expected: u64,
        /// The size of the file.
        actual: u64,
    },
    /// A row that cannot be read.
    #[error("failed to read layer `{layer}`")]
    LayerUnreadable {
        /// The layer.
        layer: LayerId,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Store {
    /// Reads every blob, every layer index and the database, and reports what is wrong. Changes nothing. What other
    /// processes add or remove meanwhile is no problem.
    ///
    /// An error only where the check itself could not go on, such as a database that is no database.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512] {
            self.verify_blobs(algorithm, &mut report)?;
        }
        self.verify_members(&mut report)?;
        self.verify_indexes(&mut report)?;
        self.verify_trees(&mut report)?;
        self.verify_names(&mut report)?;
        match self.verify_database(&mut report) {
            Err(StoreError::DatabaseDamaged { source, .. }) => {
                let finding = source.to_string();
                report.problems.push(Problem::Database { finding });
            }
            other => other?,
        }
        Ok(report)
    }

    fn verify_database(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let findings = self.database()?.integrity()?;
        if !findings.is_empty() {
            let problems = findings.into_iter().map(|finding| Problem::Database { finding });
            report.problems.extend(problems);
            // What rows say is not worth much then.
            return Ok(());
        }
        self.verify_images(report)?;
        self.verify_layers(report)
    }

    /// What stands in the state directory and in the directory of trees.
    fn verify_names(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        for name in sorted_names(self.root())? {
            if !crate::layout::Layout::is_own_name(&name) {
                let path = self.root().join(name);
                report.problems.push(Problem::Stray { path });
            }
        }
        for name in sorted_names(&self.layout().trees())? {
            if name.to_str().is_none_or(|name| name.parse::<LayerId>().is_err()) {
                let path = self.layout().trees().join(name);
                report.problems.push(Problem::Stray { path });
            }
        }
        Ok(())
    }

    /// Trees whose indexes are sound; the others are told of with their indexes.
    fn verify_trees(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        for name in sorted_names(&self.layout().trees())? {
            let Some(layer) = name.to_str().and_then(|name| name.parse::<LayerId>().ok()) else {
                continue;
            };
            let Ok(bytes) = std::fs::read(self.layout().index(&layer)) else {
                continue;
            };
            let Ok(index) = LayerIndex::decode(&bytes) else {
                continue;
            };
            report.trees += 1;
            let root = self.layout().tree(&layer).join(crate::layout::ROOT);
            if let Some((path, finding)) = compare_tree(&root, &index, Depth::Contents) {
                // Gone in between is no problem.
                if root.exists() {
                    report.problems.push(Problem::Tree { layer, path, finding });
                }
            }
        }
        Ok(())
    }

    fn verify_images(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        for name in self.list_documents("image", "")? {
            let Some(body) = self.get_document("image", &name)? else {
                continue;
            };
            if let Some(digest) = crate::document_kind::digests_in(&body).into_iter().next()
                && !self.blob_exists(&digest)?
            {
                report.problems.push(Problem::NameLost { name, digest });
            }
        }
        Ok(())
    }

    fn verify_blobs(&self, algorithm: Algorithm, report: &mut VerifyReport) -> Result<(), StoreError> {
        let directory = self.layout().blobs(algorithm);
        for entry in sorted_names(&directory)? {
            let path = directory.join(&entry);
            let Some(digest) = blob_of_name(algorithm, &entry) else {
                report.problems.push(Problem::Stray { path });
                continue;
            };
            let read = std::fs::File::open(&path).and_then(|mut file| {
                let size = file.metadata()?.len();
                Ok((hash_file(&mut file, algorithm)?, size))
            });
            match read {
                Ok((actual, size)) => {
                    report.blobs += 1;
                    report.bytes += size;
                    if actual != digest {
                        report.problems.push(Problem::BlobDamaged { digest, actual, size });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => report.problems.push(Problem::Unreadable { path, source }),
            }
        }
        Ok(())
    }

    fn verify_members(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let directory = self.layout().members();
        if !directory.exists() {
            return Ok(());
        }
        for name in sorted_names(&directory)? {
            let Some(digest) = blob_of_name(Algorithm::Sha256, &name) else {
                let path = directory.join(name);
                report.problems.push(Problem::Stray { path });
                continue;
            };
            if self.members_are_sound(&digest)? == Some(false) {
                report.problems.push(Problem::Members { digest });
            }
        }
        Ok(())
    }

    fn verify_indexes(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let directory = self.layout().indexes();
        for name in sorted_names(&directory)? {
            let path = directory.join(&name);
            let Some(layer) = name.to_str().and_then(|name| name.parse::<LayerId>().ok()) else {
                report.problems.push(Problem::Stray { path });
                continue;
            };
            match std::fs::read(&path) {
                Ok(bytes) => {
                    report.indexes += 1;
                    if let Err(source) = LayerIndex::decode(&bytes) {
                        report.problems.push(Problem::Index { layer, source });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => report.problems.push(Problem::Unreadable { path, source }),
            }
        }
        Ok(())
    }

    fn verify_layers(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        for layer in self.layers()? {
            let record = match self.layer(&layer) {
                Ok(Some(record)) => record,
                Ok(None) => continue,
                Err(source) => {
                    report.problems.push(Problem::LayerUnreadable { layer, source });
                    continue;
                }
            };
            report.layers += 1;
            let mut here = record.has_tree || record.remote;
            for blob in &record.blobs {
                let (digest, expected) = (blob.descriptor.digest.clone(), blob.descriptor.size);
                match self.blob_size(&digest)? {
                    None => {}
                    Some(actual) if actual == expected => here = true,
                    Some(actual) => report.problems.push(Problem::BlobSize {
                        layer: layer.clone(),
                        digest,
                        expected,
                        actual,
                    }),
                }
            }
            if !here {
                report.problems.push(Problem::LayerLost { layer });
            }
        }
        Ok(())
    }
}

fn sorted_names(directory: &std::path::Path) -> Result<Vec<std::ffi::OsString>, StoreError> {
    let error = |error: io::Error| StoreError::io("list", directory, error);
    let entries = std::fs::read_dir(directory).map_err(error)?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()
        .map_err(error)?;
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::LayerIndex;
    use crate::testing::temporary_store;
    use kiln_oci::{Descriptor, DiffId, MediaType};

    fn problems(store: &Store) -> Vec<String> {
        store
            .verify()
            .expect("verify")
            .problems
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn replace(path: &std::path::Path, bytes: &[u8]) {
        std::fs::remove_file(path).expect("remove");
        std::fs::write(path, bytes).expect("write");
    }

    #[test]
    fn a_sound_store_is_counted() {
        let (_directory, store) = temporary_store();
        let digest = store.put_blob(b"content").expect("put");
        let layer = LayerId::random();
        let descriptor = Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, 7);
        store
            .add_layer_blob(&layer, &DiffId(Digest::sha256("d")), descriptor)
            .expect("add");
        store.put_layer_index(&layer, &LayerIndex::default()).expect("put");
        let report = store.verify().expect("verify");
        assert!(report.is_sound(), "{:?}", report.problems);
        assert_eq!(
            (report.blobs, report.bytes, report.indexes, report.layers),
            (1, 7, 1, 1)
        );
    }

    #[test]
    fn every_kind_of_damage_is_named() {
        let (_directory, store) = temporary_store();
        let digest = store.put_blob(b"content").expect("put");
        replace(&store.layout().blob(&digest), b"CONTENT");
        let actual = Digest::sha256("CONTENT");
        assert_eq!(
            problems(&store),
            [format!(
                "blob `{digest}` is damaged: its content has digest `{actual}` and 7 bytes"
            )]
        );
        store.delete_blob(&digest).expect("delete");

        let stray = store.layout().blobs(Algorithm::Sha256).join("notes");
        std::fs::write(&stray, "x").expect("write");
        assert_eq!(
            problems(&store),
            [format!("`{}` does not belong here", stray.display())]
        );
        std::fs::remove_file(&stray).expect("remove");

        let layer: LayerId = "built-0".parse().expect("a layer id");
        store.put_layer_index(&layer, &LayerIndex::default()).expect("put");
        std::fs::write(store.layout().index(&layer), "KLIX").expect("write");
        assert_eq!(problems(&store), ["the index of layer `built-0` is damaged"]);
        store.delete_layer(&layer).expect("delete");

        let descriptor = Descriptor::new(MediaType::OCI_LAYER_GZIP, digest.clone(), 8);
        store
            .add_layer_blob(&layer, &DiffId(Digest::sha256("d")), descriptor)
            .expect("add");
        assert_eq!(
            problems(&store),
            ["layer `built-0` is lost: it has neither tree nor blob"]
        );
        store.put_blob(b"content").expect("put");
        let size = format!("blob `{digest}` of layer `built-0` has 7 bytes, its descriptor says 8");
        assert_eq!(
            problems(&store),
            [size, "layer `built-0` is lost: it has neither tree nor blob".into()]
        );
    }
}
