//! Private keys: OpenSSH's own form (`openssh-key-v1`), PKCS#8 and PKCS#1 (RFC 5958, RFC 8017), without a passphrase.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::rsa::{self, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
};

use super::wire::{Reader, Writer, without_zeros};

/// Why a file is not a key that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is something else.
    #[error("it is no private key")]
    NotAKey,
    /// It wants a passphrase.
    #[error("the key is protected by a passphrase")]
    Encrypted,
    /// A kind of key that cannot sign here.
    #[error("keys of the kind `{0}` are not supported")]
    Unsupported(String),
    /// It is damaged.
    #[error("the key is damaged")]
    Damaged,
}

/// A private key that signs.
pub struct Key {
    pair: Pair,
    /// The public key as the protocol has it (RFC 4253, section 6.6).
    pub(super) public: Vec<u8>,
    pub(super) comment: String,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    Rsa(rsa::KeyPair),
    Ecdsa(Curve, EcdsaKeyPair),
}

/// A curve of NIST (RFC 5656, section 10.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    fn named(name: &[u8]) -> Result<Curve, KeyError> {
        match name {
            b"nistp256" => Ok(Curve::P256),
            b"nistp384" => Ok(Curve::P384),
            other => Err(KeyError::Unsupported(format!(
                "ecdsa-sha2-{}",
                String::from_utf8_lossy(other)
            ))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Curve::P256 => "nistp256",
            Curve::P384 => "nistp384",
        }
    }

    fn algorithm(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    /// Bytes of a private number.
    fn size(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("comment", &self.comment)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Reads a key file. `name` is what the agent calls a key that has no comment of its own.
    pub fn parse(file: &[u8], name: &str) -> Result<Key, KeyError> {
        let text = std::str::from_utf8(file).map_err(|_| KeyError::NotAKey)?;
        let (label, headers, bytes) = armoured(text).ok_or(KeyError::NotAKey)?;
        if headers.contains("ENCRYPTED") {
            return Err(KeyError::Encrypted);
        }
        let (pair, comment) = match label {
            "OPENSSH PRIVATE KEY" => openssh(&bytes)?,
            "RSA PRIVATE KEY" => (
                Pair::Rsa(rsa::KeyPair::from_der(&bytes).map_err(|_| KeyError::Damaged)?),
                String::new(),
            ),
            "PRIVATE KEY" => (pkcs8(&bytes)?, String::new()),
            "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Encrypted),
            other if other.ends_with("PRIVATE KEY") => {
                return Err(KeyError::Unsupported(other.trim_end_matches(" PRIVATE KEY").to_owned()));
            }
            _ => return Err(KeyError::NotAKey),
        };
        Ok(Key {
            public: public_of(&pair),
            pair,
            comment: if comment.is_empty() { name.to_owned() } else { comment },
        })
    }

    /// The signature of some bytes, with the name of its algorithm (RFC 4253, section 6.6; RFC 8332 for RSA). None:
    /// the flags ask for what is not offered, as SHA-1 is not.
    pub(super) fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        const RSA_SHA2_256: u32 = 2;
        const RSA_SHA2_512: u32 = 4;
        let random = SystemRandom::new();
        let (algorithm, signature) = match &self.pair {
            Pair::Ed25519(pair) => ("ssh-ed25519".to_owned(), pair.sign(data).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let (name, padding) = if flags & RSA_SHA2_512 != 0 {
                    ("rsa-sha2-512", &RSA_PKCS1_SHA512)
                } else if flags & RSA_SHA2_256 != 0 {
                    ("rsa-sha2-256", &RSA_PKCS1_SHA256)
                } else {
                    return None;
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, data, &mut signature).ok()?;
                (name.to_owned(), signature)
            }
            Pair::Ecdsa(curve, pair) => {
                let signature = pair.sign(&random, data).ok()?;
                let (r, s) = signature.as_ref().split_at(curve.size());
                let signature = Writer::default().integer(r).integer(s).0;
                (format!("ecdsa-sha2-{}", curve.name()), signature)
            }
        };
        Some(Writer::default().string(algorithm.as_bytes()).string(&signature).0)
    }
}

/// Label, header lines and bytes of a PEM file (RFC 7468).
fn armoured(text: &str) -> Option<(&str, String, Vec<u8>)> {
    let (_, text) = text.split_once("-----BEGIN ")?;
    let (label, text) = text.split_once("-----")?;
    let (body, _) = text.split_once("-----END ")?;
    let (headers, lines): (Vec<&str>, Vec<&str>) = body.lines().map(str::trim).partition(|line| line.contains(':'));
    let bytes = STANDARD.decode(lines.concat()).ok()?;
    Some((label, headers.join("\n"), bytes))
}

fn pkcs8(bytes: &[u8]) -> Result<Pair, KeyError> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Ok(Pair::Ed25519(pair));
    }
    if let Ok(pair) = rsa::KeyPair::from_pkcs8(bytes) {
        return Ok(Pair::Rsa(pair));
    }
    let random = SystemRandom::new();
    let ecdsa = |curve: Curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm(), bytes, &random).ok()?;
        Some(Pair::Ecdsa(curve, pair))
    };
    ecdsa(Curve::P256)
        .or_else(|| ecdsa(Curve::P384))
        .ok_or(KeyError::Damaged)
}

/// OpenSSH's form: one key and its comment.
fn openssh(bytes: &[u8]) -> Result<(Pair, String), KeyError> {
    let mut outer = Reader(bytes.strip_prefix(b"openssh-key-v1\0").ok_or(KeyError::NotAKey)?);
    let cipher = outer.string().ok_or(KeyError::Damaged)?;
    if cipher != b"none" {
        return Err(KeyError::Encrypted);
    }
    let private = (|| {
        let (_kdf, _options, keys, _public) = (outer.string()?, outer.string()?, outer.number()?, outer.string()?);
        let private = outer.string()?;
        (keys == 1).then_some(private)
    })();
    let mut reader = Reader(private.ok_or(KeyError::Damaged)?);
    let kind = (|| {
        let (one, other) = (reader.number()?, reader.number()?);
        let kind = reader.string()?;
        (one == other).then_some(kind)
    })();
    let pair = match kind.ok_or(KeyError::Damaged)? {
        b"ssh-ed25519" => ed25519(&mut reader).ok_or(KeyError::Damaged)?,
        b"ssh-rsa" => rsa_of(&mut reader).ok_or(KeyError::Damaged)?,
        kind if kind.starts_with(b"ecdsa-sha2-") => ecdsa_of(&mut reader)?,
        kind => return Err(KeyError::Unsupported(String::from_utf8_lossy(kind).into_owned())),
    };
    let comment = reader.string().ok_or(KeyError::Damaged)?;
    Ok((pair, String::from_utf8_lossy(comment).into_owned()))
}

fn ed25519(reader: &mut Reader<'_>) -> Option<Pair> {
    let public = reader.string()?;
    let seed = reader.string()?.get(..32)?;
    Ed25519KeyPair::from_seed_and_public_key(seed, public)
        .ok()
        .map(Pair::Ed25519)
}

fn rsa_of(reader: &mut Reader<'_>) -> Option<Pair> {
    let (n, e, d) = (reader.integer()?, reader.integer()?, reader.integer()?);
    let (q_inverse, p, q) = (reader.integer()?, reader.integer()?, reader.integer()?);
    let components = rsa::KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: &remainder(d, &minus_one(p)?),
        dQ: &remainder(d, &minus_one(q)?),
        qInv: q_inverse,
    };
    rsa::KeyPair::from_components(&components).ok().map(Pair::Rsa)
}

fn ecdsa_of(reader: &mut Reader<'_>) -> Result<Pair, KeyError> {
    let curve = Curve::named(reader.string().ok_or(KeyError::Damaged)?)?;
    let pair = (|| {
        let (public, private) = (reader.string()?, reader.integer()?);
        let padding = curve.size().checked_sub(private.len())?;
        let private = [vec![0; padding], private.to_vec()].concat();
        let random = SystemRandom::new();
        EcdsaKeyPair::from_private_key_and_public_key(curve.algorithm(), &private, public, &random).ok()
    })();
    pair.map(|pair| Pair::Ecdsa(curve, pair)).ok_or(KeyError::Damaged)
}

fn public_of(pair: &Pair) -> Vec<u8> {
    let writer = Writer::default();
    let writer = match pair {
        Pair::Ed25519(pair) => writer.string(b"ssh-ed25519").string(pair.public_key().as_ref()),
        Pair::Rsa(pair) => {
            let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
            writer.string(b"ssh-rsa").integer(&public.e).integer(&public.n)
        }
        Pair::Ecdsa(curve, pair) => writer
            .string(format!("ecdsa-sha2-{}", curve.name()).as_bytes())
            .string(curve.name().as_bytes())
            .string(pair.public_key().as_ref()),
    };
    writer.0
}

/// A prime less one: the last bit goes. None: the number is even, and no prime.
fn minus_one(number: &[u8]) -> Option<Vec<u8>> {
    let mut digits = number.to_vec();
    let last = digits.last_mut().filter(|last| **last & 1 == 1)?;
    *last -= 1;
    Some(digits)
}

/// The remainder of a division of big-endian numbers, bit by bit: done twice for a key, when it is read.
fn remainder(number: &[u8], divisor: &[u8]) -> Vec<u8> {
    // One byte more than the divisor, for the bit that is shifted in.
    let mut rest = vec![0_u8; divisor.len() + 1];
    let divisor = [&[0], divisor].concat();
    for bit in number
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1))
    {
        let mut carry = bit;
        for byte in rest.iter_mut().rev() {
            (carry, *byte) = (*byte >> 7, *byte << 1 | carry);
        }
        if rest >= divisor {
            let mut borrow = false;
            for (byte, taken) in rest.iter_mut().zip(&divisor).rev() {
                let (less, first) = byte.overflowing_sub(*taken);
                let (less, second) = less.overflowing_sub(u8::from(borrow));
                (*byte, borrow) = (less, first || second);
            }
        }
    }
    without_zeros(&rest).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_of_long_numbers() {
        assert_eq!(remainder(&[0x01, 0x00], &[0x07]), [4]);
        let expected = (0x12_3456_u32 % 0x1235).to_be_bytes();
        assert_eq!(remainder(&[0x12, 0x34, 0x56], &[0x12, 0x35]), without_zeros(&expected));
        assert_eq!(remainder(&[5], &[9, 9]), [5]);
        assert!(remainder(&[0x0a], &[0x05]).is_empty());
    }

    #[test]
    fn what_is_no_key_is_told() {
        let refused = |text: &str| Key::parse(text.as_bytes(), "x").expect_err("no key");
        assert_eq!(refused("ssh-ed25519 AAAA me"), KeyError::NotAKey);
        assert_eq!(
            refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"),
            KeyError::NotAKey
        );
        assert_eq!(
            refused("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nAAAA\n-----END RSA PRIVATE KEY-----"),
            KeyError::Encrypted
        );
        assert_eq!(
            refused("-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----"),
            KeyError::Unsupported("DSA".into())
        );
        assert_eq!(
            refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
            KeyError::Damaged
        );
        let cut = STANDARD.encode(b"openssh-key-v1\0\0\0\0\x04none\0\0");
        let cut = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{cut}\n-----END OPENSSH PRIVATE KEY-----");
        assert_eq!(refused(&cut), KeyError::Damaged);
    }
}
