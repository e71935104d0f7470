//! Content descriptors (OCI image specification, "OCI Content Descriptors").

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Digest, MediaType, Platform};

/// Annotations, in the order in which they are written: sorted by key.
pub type Annotations = BTreeMap<String, String>;

/// Names content by its media type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Type of the content.
    pub media_type: MediaType,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Where the content may be downloaded from besides the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Arbitrary metadata.
    #[serde(default, skip_serializing_if = "Annotations::is_empty")]
    pub annotations: Annotations,
    /// The content itself, base64, if embedded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "base64_text")]
    pub data: Option<String>,
    /// What the content runs on, for entries of an image index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Type of an artifact, for entries that point at one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: Annotations::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// The descriptor of `content`.
    pub fn of(media_type: MediaType, content: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(content), content.len() as u64)
    }

    /// The same descriptor with a platform.
    pub fn with_platform(mut self, platform: Platform) -> Descriptor {
        self.platform = Some(platform);
        self
    }
}

/// Reads text that must be padded base64 of the standard alphabet (RFC 4648, section 4).
fn base64_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let valid = text.as_deref().is_none_or(|text| {
        let data = text.trim_end_matches('=');
        let letters = data
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
        letters && text.len().is_multiple_of(4) && text.len() - data.len() <= 2
    });
    if valid {
        Ok(text)
    } else {
        Err(serde::de::Error::custom("`data` is not base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_descriptors_are_checked() {
        let digest = Digest::sha256(b"x");
        let read = |media_type: &str, data: &str| {
            let text = format!(r#"{{"mediaType": "{media_type}", "size": 1, "digest": "{digest}", "data": "{data}"}}"#);
            serde_json::from_str::<Descriptor>(&text)
        };
        assert!(read("text/plain", "eA==").is_ok());
        assert!(read("application/vnd.oci.image.layer.v1.tar+gzip", "").is_ok());
        for (media_type, data) in [
            ("text/plain", "eA"),
            ("text/plain", "e==="),
            ("text", ""),
            ("/plain", ""),
            ("a/.b", ""),
        ] {
            assert!(read(media_type, data).is_err(), "{media_type} {data}");
        }
    }
}
