//! Content digests: `algorithm:hex`, as the OCI image specification's "Digests" section defines them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// The hash algorithms that the OCI image specification registers (plus SHA-384, which go-digest accepts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `sha256`, the algorithm of nearly every digest.
    Sha256,
    /// `sha384`.
    Sha384,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha384 => "sha384",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// Length of the hexadecimal part, in characters.
    pub fn hex_length(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha384 => 96,
            Algorithm::Sha512 => 128,
        }
    }
}

/// Why a text is not a digest. The messages of the peers' library, so that users recognise them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// No `algorithm:hex` form.
    #[error("invalid checksum digest format")]
    Format,
    /// An algorithm that is not registered.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// The hexadecimal part has the wrong length.
    #[error("invalid checksum digest length")]
    Length,
}

/// A content digest. Its text is always lower-case hexadecimal of the algorithm's full length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Value);

/// The hash as bytes, in place for the algorithm of nearly every digest: an index holds one for each file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Sha256([u8; 32]),
    Sha384(Box<[u8; 48]>),
    Sha512(Box<[u8; 64]>),
}

/// Room for the hexadecimal form of the longest hash.
const LONGEST_HEX: usize = 128;

impl Digest {
    /// The SHA-256 digest of `bytes`.
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes.as_ref());
        hasher.finish()
    }

    /// Wraps the raw output of SHA-256.
    pub fn from_sha256(hash: [u8; 32]) -> Digest {
        Digest(Value::Sha256(hash))
    }

    /// Wraps the raw output of an algorithm. None, if it has not that algorithm's length.
    pub fn from_raw(algorithm: Algorithm, hash: &[u8]) -> Option<Digest> {
        Some(Digest(match algorithm {
            Algorithm::Sha256 => Value::Sha256(hash.try_into().ok()?),
            Algorithm::Sha384 => Value::Sha384(Box::new(hash.try_into().ok()?)),
            Algorithm::Sha512 => Value::Sha512(Box::new(hash.try_into().ok()?)),
        }))
    }

    /// The algorithm before the colon.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Value::Sha256(_) => Algorithm::Sha256,
            Value::Sha384(_) => Algorithm::Sha384,
            Value::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The hash itself.
    pub fn raw(&self) -> &[u8] {
        match &self.0 {
            Value::Sha256(hash) => hash.as_slice(),
            Value::Sha384(hash) => hash.as_slice(),
            Value::Sha512(hash) => hash.as_slice(),
        }
    }

    /// The hexadecimal part after the colon.
    pub fn hex(&self) -> String {
        hex::encode(self.raw())
    }

    /// The first twelve hexadecimal characters: what people are shown.
    pub fn short(&self) -> String {
        hex::encode(&self.raw()[..6])
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Digest, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Format)?;
        let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !name.split(['+', '.', '_', '-']).all(word) || hex.is_empty() {
            return Err(DigestError::Format);
        }
        if !hex.bytes().all(|b| b.is_ascii_alphanumeric() || b"=_-".contains(&b)) {
            return Err(DigestError::Format);
        }
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            _ => return Err(DigestError::Algorithm),
        };
        if hex.len() != algorithm.hex_length() {
            return Err(DigestError::Length);
        }
        if !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError::Format);
        }
        let hash = hex::decode(hex).map_err(|_| DigestError::Format)?;
        Digest::from_raw(algorithm, &hash).ok_or(DigestError::Length)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.algorithm().name())?;
        f.write_str(":")?;
        let mut room = [0; LONGEST_HEX];
        let room = &mut room[..self.algorithm().hex_length()];
        hex::encode_to_slice(self.raw(), room).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(room).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a [`Digest`] from a stream of bytes.
#[derive(Debug, Clone)]
pub struct Hasher(State);

#[derive(Debug, Clone)]
enum State {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    /// An empty hasher of `algorithm`.
    pub fn new(algorithm: Algorithm) -> Hasher {
        Hasher(match algorithm {
            Algorithm::Sha256 => State::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => State::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => State::Sha512(sha2::Sha512::new()),
        })
    }

    /// Adds `bytes` to the stream.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(hash) => hash.update(bytes),
            State::Sha384(hash) => hash.update(bytes),
            State::Sha512(hash) => hash.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha256(hash) => Value::Sha256(hash.finalize().into()),
            State::Sha384(hash) => Value::Sha384(Box::new(hash.finalize().into())),
            State::Sha512(hash) => Value::Sha512(Box::new(hash.finalize().into())),
        })
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.update(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Defines a newtype over [`Digest`] for one kind of identity.
#[macro_export]
macro_rules! digest_newtype {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $crate::Digest);

        impl $name {
            /// The digest inside.
            pub fn digest(&self) -> &$crate::Digest {
                &self.0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::DigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

digest_newtype! {
    /// Digest of a layer's uncompressed tar stream (`rootfs.diff_ids` of an image configuration).
    DiffId
}

digest_newtype! {
    /// Identity of a stack of layers (OCI image specification, "Layer ChainID").
    ChainId
}

impl ChainId {
    /// The chain of `layers`, lowest first. None for an empty stack.
    pub fn of<'a>(layers: impl IntoIterator<Item = &'a DiffId>) -> Option<ChainId> {
        layers.into_iter().fold(None, |below: Option<ChainId>, layer| {
            Some(ChainId(match below {
                None => layer.0.clone(),
                Some(below) => Digest::sha256(format!("{below} {layer}")),
            }))
        })
    }
}
