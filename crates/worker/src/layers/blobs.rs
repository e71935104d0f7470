//! Layers as blobs: which of those that are there is taken, and how one is packed.

use kiln_image::pack::{CompressionSetting, Earlier, Packing};
use kiln_image::plan::LayerPlan;
use kiln_oci::{Compression, Descriptor, DiffId, Digest};
use kiln_store::index::LayerIndex;
use kiln_store::{LayerBlob, LayerId, LayerRecord};

use super::{Layers, PackedLayer, Remote, blocking, lock};
use crate::WorkerError;
use crate::place::Place;

/// How layers are compressed that are in a cache and in no image, unless somebody says otherwise. Only Kiln reads them, at
/// whose own speed zstd packs and unpacks thrice as fast as gzip, and to less.
const CACHE_COMPRESSION: Compression = Compression::Zstd;

/// How the layers of a cache are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCompression {
    /// For layers that are not packed yet. None: those of images as the images', others by zstd.
    pub setting: Option<CompressionSetting>,
    /// Whether layers that are packed already are packed again, where they are not compressed like this.
    pub force: bool,
}

impl Layers {
    /// The compressed layer: as it was pulled, or packed now from its tree. Asked for twice, it is made once.
    pub async fn blob(&self, id: &LayerId, diff_id: Option<&DiffId>) -> Result<PackedLayer, WorkerError> {
        self.blob_by(id, diff_id, self.inner.compression).await
    }

    /// What a manifest says of a layer. The blob itself may still be only in the registry that the image came from, or in a
    /// cache that has it compressed as it is asked for.
    pub async fn described(&self, id: &LayerId, diff_id: Option<&DiffId>) -> Result<PackedLayer, WorkerError> {
        let remote = lock(&self.inner.remotes).get(id).cloned();
        match remote {
            Some(remote) if remote.cached && !is_by(&remote.descriptor, self.inner.compression.compression) => {
                self.recompressed(id, &remote).await
            }
            Some(remote) => Ok(PackedLayer {
                diff_id: remote.diff_id,
                descriptor: remote.descriptor,
            }),
            None => self.blob(id, diff_id).await,
        }
    }

    /// What a cache says of a layer. `in_image`: an image of the build has it.
    pub async fn cached(
        &self,
        id: &LayerId,
        in_image: bool,
        compression: CacheCompression,
    ) -> Result<PackedLayer, WorkerError> {
        let remote = lock(&self.inner.remotes).get(id).cloned();
        if let Some(remote) = remote {
            return Ok(PackedLayer {
                diff_id: remote.diff_id,
                descriptor: remote.descriptor,
            });
        }
        let setting = match compression.setting {
            Some(setting) => setting,
            None if in_image => self.inner.compression,
            None => self.inner.compression.by(CACHE_COMPRESSION),
        };
        if !compression.force {
            // The blob of an image is there already; a cache that has the same one takes nothing to write.
            for known in [self.inner.compression, setting] {
                let cell = lock(&self.inner.blobs).get(&(id.clone(), known)).cloned();
                if let Some(packed) = cell.and_then(|cell| cell.get().cloned()) {
                    return Ok(packed);
                }
            }
            if !self.must_be_clamped(id)?
                && let Some(record) = self.record(id).await?
                && let Some(packed) = self.stored_blob(&record, None)?
            {
                return Ok(packed);
            }
        }
        self.blob_by(id, None, setting).await
    }

    /// Whether a blob of the layer is in the store that is compressed as images of the build are.
    pub fn has_blob(&self, id: &LayerId) -> Result<bool, WorkerError> {
        let record = self.inner.store.layer(id)?;
        Ok(record
            .map(|record| self.stored_blob(&record, Some(self.inner.compression.compression)))
            .transpose()?
            .flatten()
            .is_some())
    }

    /// Notes where the step stands that made a layer: if it is packed, what did not change since the step gave another one is
    /// copied from that one's blob.
    pub fn made_at(&self, id: &LayerId, place: Place) {
        lock(&self.inner.places).entry(id.clone()).or_insert(place);
    }

    /// Packs the plan of a layer that has no tree.
    pub fn pack_plan(&self, id: &LayerId, plan: &LayerPlan) -> Result<PackedLayer, WorkerError> {
        let packing = Packing {
            plan,
            setting: self.inner.compression,
            epoch: None,
            file_digests: true,
            earlier: &self.earlier(id, id, self.inner.compression)?,
        };
        let layer = self.pack(id, packing, None)?;
        layer.ok_or_else(|| WorkerError::LayerGone(id.clone()))
    }

    async fn blob_by(
        &self,
        id: &LayerId,
        diff_id: Option<&DiffId>,
        setting: CompressionSetting,
    ) -> Result<PackedLayer, WorkerError> {
        let cell = lock(&self.inner.blobs)
            .entry((id.clone(), setting))
            .or_default()
            .clone();
        cell.get_or_try_init(|| self.make_blob(id, diff_id, setting))
            .await
            .cloned()
    }

    /// A layer of a cache, compressed as it is asked for: whether a step was found in a cache must not be seen in the image.
    async fn recompressed(&self, id: &LayerId, remote: &Remote) -> Result<PackedLayer, WorkerError> {
        let setting = self.inner.compression;
        let as_it_is = || PackedLayer {
            diff_id: remote.diff_id.clone(),
            descriptor: remote.descriptor.clone(),
        };
        if let Some(record) = self.record(id).await?
            && let Some(packed) = self.stored_blob(&record, Some(setting.compression))?
        {
            return Ok(packed);
        }
        let cell = lock(&self.inner.blobs)
            .entry((id.clone(), setting))
            .or_default()
            .clone();
        let make = || async {
            self.tree(id).await?;
            let (layers, id, diff_id) = (self.clone(), id.clone(), remote.diff_id.clone());
            let packed = blocking(move || layers.pack_tree_as(&id, &id, setting, Some(&diff_id))).await?;
            // Somebody else's layer may be written in a way that is not this program's; then it stays as it is.
            Ok::<_, WorkerError>(packed.unwrap_or_else(as_it_is))
        };
        cell.get_or_try_init(make).await.cloned()
    }

    async fn make_blob(
        &self,
        id: &LayerId,
        diff_id: Option<&DiffId>,
        setting: CompressionSetting,
    ) -> Result<PackedLayer, WorkerError> {
        if diff_id.is_none()
            && let Some(epoch) = self.inner.epoch
            && self.is_later(id, epoch)?
        {
            return self.clamped_blob(id, epoch, setting).await;
        }
        let remote = lock(&self.inner.remotes).get(id).cloned();
        // A layer that an image brings stays as it is.
        let brought = remote.as_ref().is_some_and(|remote| !remote.cached);
        if let Some(record) = self.record(id).await?
            && let Some(packed) = self.stored_blob(&record, (!brought).then_some(setting.compression))?
        {
            return Ok(packed);
        }
        if let (Some(remote), Some(diff_id)) = (&remote, diff_id) {
            self.fetch(remote).await?;
            let packed = PackedLayer {
                diff_id: diff_id.clone(),
                descriptor: remote.descriptor.clone(),
            };
            self.keep_blob(id, &packed, None)?;
            return Ok(packed);
        }
        // Where there is no tree, one is made of a blob that is compressed in another way.
        self.tree(id).await?;
        let (layers, id) = (self.clone(), id.clone());
        blocking(move || layers.pack_tree(&id, &id, setting)).await
    }

    fn must_be_clamped(&self, id: &LayerId) -> Result<bool, WorkerError> {
        match self.inner.epoch {
            Some(epoch) => self.is_later(id, epoch),
            None => Ok(false),
        }
    }

    /// Whether a layer of a step has files that are later than the build's time. Layers of others stay as they are.
    fn is_later(&self, id: &LayerId, epoch: i64) -> Result<bool, WorkerError> {
        let store = &self.inner.store;
        if lock(&self.inner.remotes).contains_key(id) || store.tree(id)?.is_none() {
            return Ok(false);
        }
        let index = store.layer_index(id)?;
        Ok(index.is_some_and(|index| index.entries.iter().any(|entry| entry.mtime.seconds > epoch)))
    }

    /// The blob of a layer with its later times set to `epoch`. It is another layer than the one that keeps its times,
    /// so that each is there under its own name.
    async fn clamped_blob(
        &self,
        id: &LayerId,
        epoch: i64,
        setting: CompressionSetting,
    ) -> Result<PackedLayer, WorkerError> {
        let clamped = clamped(id, epoch);
        if let Some(record) = self.record(&clamped).await?
            && let Some(packed) = self.stored_blob(&record, Some(setting.compression))?
        {
            return Ok(packed);
        }
        let (layers, id) = (self.clone(), id.clone());
        blocking(move || layers.pack_tree(&id, &clamped, setting)).await
    }

    /// A blob of a layer that is in the store; by one method, if one is named.
    pub(super) fn stored_blob(
        &self,
        record: &LayerRecord,
        method: Option<Compression>,
    ) -> Result<Option<PackedLayer>, WorkerError> {
        let Some(diff_id) = &record.diff_id else {
            return Ok(None);
        };
        let right = |blob: &&LayerBlob| method.is_none_or(|method| is_by(&blob.descriptor, method));
        for blob in record.blobs.iter().filter(right) {
            if self.inner.store.blob_exists(&blob.descriptor.digest)? {
                return Ok(Some(PackedLayer {
                    diff_id: diff_id.clone(),
                    descriptor: blob.descriptor.clone(),
                }));
            }
        }
        Ok(None)
    }

    /// Packs the tree of one layer to a blob that belongs to another.
    fn pack_tree(
        &self,
        id: &LayerId,
        packed: &LayerId,
        setting: CompressionSetting,
    ) -> Result<PackedLayer, WorkerError> {
        let layer = self.pack_tree_as(id, packed, setting, None)?;
        layer.ok_or_else(|| WorkerError::LayerGone(id.clone()))
    }

    /// The same; None: it has another diff id than the one that is expected.
    fn pack_tree_as(
        &self,
        id: &LayerId,
        packed: &LayerId,
        setting: CompressionSetting,
        expected: Option<&DiffId>,
    ) -> Result<Option<PackedLayer>, WorkerError> {
        let tree = self
            .inner
            .store
            .tree(id)?
            .ok_or_else(|| WorkerError::LayerGone(id.clone()))?;
        // The index says more than the tree: devices that could not be made, and the times that are published.
        let plan = match self.inner.store.layer_index(id)? {
            Some(index) => kiln_image::plan::plan_of_tree(&tree, &index)?,
            None => kiln_image::plan::plan_from_tree(&tree)?,
        };
        let packing = Packing {
            plan: &plan,
            setting,
            // Who expects a layer has it with its times as they are.
            epoch: self.inner.epoch.filter(|_| expected.is_none()),
            // The layer has an index, or its tree has the files to look at.
            file_digests: false,
            earlier: &self.earlier(id, packed, setting)?,
        };
        self.pack(packed, packing, expected)
    }

    /// Packs to a blob that belongs to a layer.
    fn pack(
        &self,
        id: &LayerId,
        packing: Packing<'_>,
        expected: Option<&DiffId>,
    ) -> Result<Option<PackedLayer>, WorkerError> {
        let _pass = self.inner.packers.enter();
        let out = self.inner.store.new_blob()?;
        let packed = kiln_image::pack::pack_layer(packing, out)?;
        tracing::debug!(%id, size = packed.size, copied = packed.copied, "packed a layer");
        if expected.is_some_and(|expected| *expected != packed.diff_id) {
            return Ok(None);
        }
        let descriptor = Descriptor::new(packed.media_type, packed.digest, packed.size);
        let layer = PackedLayer {
            diff_id: packed.diff_id,
            descriptor,
        };
        self.keep_blob(id, &layer, Some(packed.index))?;
        Ok(Some(layer))
    }

    /// What need not be compressed again of a layer, which is packed for `packed`.
    fn earlier(&self, id: &LayerId, packed: &LayerId, setting: CompressionSetting) -> Result<Earlier, WorkerError> {
        let Some(place) = lock(&self.inner.places).get(id).cloned() else {
            return Ok(Earlier::default());
        };
        let store = &self.inner.store;
        let mut blobs = Vec::new();
        for earlier in place.earlier_layers(store)? {
            let earlier = match self.inner.epoch {
                Some(epoch) if id != packed => clamped(&earlier, epoch),
                _ => earlier,
            };
            if earlier != *packed
                && let Some(record) = store.layer(&earlier)?
            {
                blobs.extend(record.blobs.into_iter().map(|blob| blob.descriptor.digest));
            }
        }
        Ok(Earlier::open(store, &blobs, setting)?)
    }

    pub(super) fn keep_blob(
        &self,
        id: &LayerId,
        packed: &PackedLayer,
        index: Option<LayerIndex>,
    ) -> Result<(), WorkerError> {
        let store = &self.inner.store;
        let mut record = store.layer(id)?.unwrap_or_else(|| LayerRecord::new(id.clone()));
        record.diff_id = Some(packed.diff_id.clone());
        if !record
            .blobs
            .iter()
            .any(|blob| blob.descriptor.digest == packed.descriptor.digest)
        {
            record.blobs.push(LayerBlob {
                descriptor: packed.descriptor.clone(),
            });
        }
        if let Some(index) = index
            && store.layer_index(id)?.is_none()
        {
            store.put_layer_index(id, &index)?;
        }
        store.put_layer(&record)?;
        Ok(())
    }
}

fn is_by(blob: &Descriptor, method: Compression) -> bool {
    blob.media_type.layer_compression() == Some(method)
}

/// The layer that another one is with its later times set to `epoch`.
fn clamped(id: &LayerId, epoch: i64) -> LayerId {
    LayerId::of_recipe(&Digest::sha256(format!("layer {id} until {epoch}")))
}
