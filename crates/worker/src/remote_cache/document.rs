//! What a cache says: pure data, merged without I/O.

use std::collections::{BTreeMap, HashMap};

use kiln_oci::{Descriptor, DiffId};
use kiln_store::CacheKey;
use serde::{Deserialize, Serialize};

/// Version of the document's form. Another one is read as an empty cache.
const VERSION: u32 = 1;

/// Records of one platform at most: the least recently used go first.
const MOST_RECORDS: usize = 2_000;

/// Seconds after which a record that no build used is left out.
const LONGEST_UNUSED: i64 = 30 * 24 * 3600;

/// The documents of a cache by platform (`linux/arm64`).
pub type CacheContents = BTreeMap<String, CacheDocument>;

/// Records of steps and the layers that they ended with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheDocument {
    /// See [`VERSION`].
    version: u32,
    /// Layers, each once. Records name them by position.
    pub layers: Vec<CachedLayer>,
    /// Records, sorted by key.
    pub records: Vec<CachedRecord>,
    /// Cache mounts, sorted by identity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<CachedMount>,
}

/// The files of a cache mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedMount {
    /// What identifies the mount.
    pub id: String,
    /// Its pieces, in order.
    pub chunks: Vec<Descriptor>,
    /// When a build last wrote it, in seconds since the Unix epoch.
    pub used: i64,
}

/// A layer of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedLayer {
    /// Digest of its uncompressed tar stream.
    pub diff_id: DiffId,
    /// Its blob in the cache. None: a layer of a base image, which is where that image is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Descriptor>,
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CachedRecord {
    /// The key of the step.
    pub key: CacheKey,
    /// Further keys that find it.
    #[serde(default)]
    pub aliases: Vec<CacheKey>,
    /// Positions of its layers, the lowest first.
    pub layers: Vec<usize>,
    /// The step as people know it.
    pub name: String,
    /// The platform that it ran for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// When it ran, in seconds since the Unix epoch.
    pub created: i64,
    /// When a build last used it, in seconds since the Unix epoch.
    pub used: i64,
    /// How long it ran, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
}

impl Default for CacheDocument {
    fn default() -> CacheDocument {
        CacheDocument {
            version: VERSION,
            layers: Vec::new(),
            records: Vec::new(),
            mounts: Vec::new(),
        }
    }
}

impl CacheDocument {
    /// Reads foreign bytes. A record that names a layer which is not there is left out; a newer form gives nothing.
    pub fn parse(bytes: &[u8]) -> Result<CacheDocument, serde_json::Error> {
        let mut document = CacheDocument::parse_unchecked(bytes)?;
        document.keep_whole_records();
        Ok(document)
    }

    /// The same for layers that are known from elsewhere: what the bytes say of layers is not believed.
    pub(super) fn parse_over(bytes: &[u8], layers: Vec<CachedLayer>) -> Result<CacheDocument, serde_json::Error> {
        let mut document = CacheDocument::parse_unchecked(bytes)?;
        document.layers = layers;
        document.keep_whole_records();
        Ok(document)
    }

    /// A document that came from elsewhere in one piece with others: as [`CacheDocument::parse`] gives it.
    pub(super) fn checked(mut self) -> CacheDocument {
        if self.version != VERSION {
            return CacheDocument::default();
        }
        self.keep_whole_records();
        self
    }

    fn keep_whole_records(&mut self) {
        let layers = self.layers.len();
        self.records
            .retain(|record| record.layers.iter().all(|&layer| layer < layers));
    }

    fn parse_unchecked(bytes: &[u8]) -> Result<CacheDocument, serde_json::Error> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        if serde_json::from_slice::<Head>(bytes)?.version != VERSION {
            return Ok(CacheDocument::default());
        }
        serde_json::from_slice(bytes)
    }

    /// Adds a record with its layers.
    pub fn add(&mut self, record: CachedRecord, layers: Vec<CachedLayer>) {
        let positions = layers.into_iter().map(|layer| self.position(layer)).collect();
        self.records.push(CachedRecord {
            layers: positions,
            ..record
        });
    }

    /// Adds the records of another document.
    pub fn extend(&mut self, other: CacheDocument) {
        for record in other.records {
            let layers = record
                .layers
                .iter()
                .filter_map(|&at| other.layers.get(at).cloned())
                .collect();
            self.add(record, layers);
        }
    }

    fn position(&mut self, layer: CachedLayer) -> usize {
        match self.layers.iter().position(|known| *known == layer) {
            Some(position) => position,
            None => {
                self.layers.push(layer);
                self.layers.len() - 1
            }
        }
    }

    /// The blobs that it names, each once.
    pub fn blobs(&self) -> Vec<&Descriptor> {
        let layers = self.layers.iter().filter_map(|layer| layer.blob.as_ref());
        let chunks = self.mounts.iter().flat_map(|mount| &mount.chunks);
        let mut blobs: Vec<&Descriptor> = layers.chain(chunks).collect();
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        blobs.dedup_by(|a, b| a.digest == b.digest);
        blobs
    }

    /// Whether everything that `other` knows is known here.
    pub fn contains(&self, other: &CacheDocument) -> bool {
        let known = |record: &CachedRecord| {
            let found = self.records.binary_search_by(|mine| mine.key.cmp(&record.key));
            found.is_ok_and(|at| self.records[at].used >= record.used)
        };
        let has_mount = |mount: &CachedMount| {
            self.mounts
                .iter()
                .any(|mine| mine.id == mount.id && mine.used >= mount.used)
        };
        other.records.iter().all(known) && other.mounts.iter().all(has_mount)
    }

    /// Both, as of `now`: of two records with one key the one that was used later, none that nobody used for long.
    pub fn merge(&self, other: &CacheDocument, now: i64) -> CacheDocument {
        let mut records: HashMap<CacheKey, (&CacheDocument, &CachedRecord)> = HashMap::new();
        for document in [self, other] {
            for record in &document.records {
                let older = records
                    .get(&record.key)
                    .is_none_or(|(_, known)| known.used <= record.used);
                if older && now.saturating_sub(record.used) <= LONGEST_UNUSED {
                    records.insert(record.key.clone(), (document, record));
                }
            }
        }
        let mut records: Vec<_> = records.into_values().collect();
        records.sort_by(|(_, a), (_, b)| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        records.truncate(MOST_RECORDS);
        records.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        let mut merged = CacheDocument {
            mounts: merged_mounts(&self.mounts, &other.mounts, now),
            ..CacheDocument::default()
        };
        let mut positions: HashMap<&CachedLayer, usize> = HashMap::new();
        for (document, record) in records {
            let layers = record.layers.iter().filter_map(|&at| document.layers.get(at));
            let placed = layers.map(|layer| {
                *positions.entry(layer).or_insert_with(|| {
                    merged.layers.push(layer.clone());
                    merged.layers.len() - 1
                })
            });
            let layers = placed.collect();
            merged.records.push(CachedRecord {
                layers,
                ..record.clone()
            });
        }
        merged
    }
}

/// Of two with one identity the one that was written later, none that nobody wrote for long.
fn merged_mounts(one: &[CachedMount], other: &[CachedMount], now: i64) -> Vec<CachedMount> {
    let mut mounts: BTreeMap<&str, &CachedMount> = BTreeMap::new();
    let young = |mount: &&CachedMount| now.saturating_sub(mount.used) <= LONGEST_UNUSED;
    for mount in one.iter().chain(other).filter(young) {
        let known = mounts.entry(&mount.id).or_insert(mount);
        if known.used <= mount.used {
            *known = mount;
        }
    }
    mounts.into_values().cloned().collect()
}

impl std::hash::Hash for CachedLayer {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.diff_id.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_oci::{Digest, MediaType};

    fn layer(text: &str) -> CachedLayer {
        CachedLayer {
            diff_id: DiffId(Digest::sha256(text)),
            blob: Some(Descriptor::of(MediaType::OCI_LAYER_ZSTD, text.as_bytes())),
        }
    }

    fn record(key: &str, used: i64) -> CachedRecord {
        CachedRecord {
            key: CacheKey(Digest::sha256(key)),
            aliases: Vec::new(),
            layers: Vec::new(),
            name: key.to_owned(),
            platform: None,
            created: used,
            used,
            duration_ms: 1,
        }
    }

    fn document(records: &[(&str, i64, &[&str])]) -> CacheDocument {
        let mut document = CacheDocument::default();
        for (key, used, layers) in records {
            document.add(record(key, *used), layers.iter().map(|text| layer(text)).collect());
        }
        document.merge(&CacheDocument::default(), 0)
    }

    fn names(document: &CacheDocument) -> Vec<&str> {
        let mut names: Vec<&str> = document.records.iter().map(|record| record.name.as_str()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn both_writers_keep_their_records() {
        let one = document(&[("a", 10, &["base", "one"]), ("both", 10, &["old"])]);
        let two = document(&[("b", 11, &["base", "two"]), ("both", 12, &["new"])]);
        let merged = one.merge(&two, 20);
        assert_eq!(names(&merged), ["a", "b", "both"]);
        assert!(merged.contains(&one) && merged.contains(&two));
        assert!(!one.contains(&two));
        let newest = merged
            .records
            .iter()
            .find(|record| record.name == "both")
            .expect("kept");
        assert_eq!(merged.layers[newest.layers[0]], layer("new"));
        assert_eq!(merged.layers.iter().filter(|kept| **kept == layer("base")).count(), 1);
        assert!(!merged.layers.contains(&layer("old")), "what nobody names is gone");
        assert_eq!(two.merge(&one, 20), merged, "whoever comes first");
    }

    #[test]
    fn what_nobody_uses_goes() {
        let old = document(&[("old", 0, &["x"]), ("young", LONGEST_UNUSED, &["y"])]);
        let merged = old.merge(&CacheDocument::default(), LONGEST_UNUSED + 1);
        assert_eq!(names(&merged), ["young"]);
        let mut many = CacheDocument::default();
        for number in 0..MOST_RECORDS + 10 {
            many.add(record(&number.to_string(), number as i64), vec![layer("x")]);
        }
        let merged = many.merge(&CacheDocument::default(), 0);
        assert_eq!(merged.records.len(), MOST_RECORDS);
        assert!(!names(&merged).contains(&"9"));
    }

    #[test]
    fn foreign_documents_are_read_with_care() {
        let good = document(&[("a", 1, &["x"])]);
        let bytes = serde_json::to_vec(&good).expect("serialisable");
        assert_eq!(CacheDocument::parse(&bytes).expect("well-formed"), good);
        assert!(
            CacheDocument::parse(b"{\"version\":7}")
                .expect("newer")
                .records
                .is_empty()
        );
        let text = String::from_utf8(bytes)
            .expect("JSON")
            .replace("\"layers\":[0]", "\"layers\":[9]");
        assert!(CacheDocument::parse(text.as_bytes()).expect("read").records.is_empty());
        for bad in [
            "",
            "{}",
            "[]",
            "{\"version\":1}",
            "{\"version\":1,\"layers\":[],\"records\":[{}]}",
        ] {
            assert!(CacheDocument::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
