//! A parsed document together with the exact bytes that it came from.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Descriptor, Digest, MediaType};

/// A document and its bytes. What came from elsewhere is never re-serialised: its digest belongs to its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<T> {
    bytes: Vec<u8>,
    digest: Digest,
    value: T,
}

impl<T: DeserializeOwned> Document<T> {
    /// Parses bytes that came from elsewhere.
    pub fn parse(bytes: Vec<u8>) -> Result<Document<T>, serde_json::Error> {
        let value = serde_json::from_slice(&bytes)?;
        let digest = Digest::sha256(&bytes);
        Ok(Document { bytes, digest, value })
    }
}

impl<T: Serialize> Document<T> {
    /// Serialises a value made here: compact JSON, fields in the order of the type.
    pub fn new(value: T) -> Result<Document<T>, serde_json::Error> {
        let bytes = serde_json::to_vec(&value)?;
        let digest = Digest::sha256(&bytes);
        Ok(Document { bytes, digest, value })
    }
}

impl<T> Document<T> {
    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The parsed form.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The descriptor of the bytes.
    pub fn descriptor(&self, media_type: MediaType) -> Descriptor {
        Descriptor::new(media_type, self.digest.clone(), self.bytes.len() as u64)
    }
}
