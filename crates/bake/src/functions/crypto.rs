//! Digests, identifiers and passwords.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use num_bigint::BigUint;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use crate::value::Value;

use super::encoding::without_line_breaks;
use super::{Call, Function, FunctionError, Kind, Outcome, function, parameter, variadic};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("bcrypt", &STR, parameter("cost", Kind::Number), bcrypt_hash),
    function("md5", &STR, |call| Ok(hexadecimal(&Md5::digest(call.text(0)?)))),
    function("sha1", &STR, |call| Ok(hexadecimal(&Sha1::digest(call.text(0)?)))),
    function("sha256", &STR, |call| Ok(hexadecimal(&Sha256::digest(call.text(0)?)))),
    function("sha512", &STR, |call| Ok(hexadecimal(&Sha512::digest(call.text(0)?)))),
    function(
        "rsadecrypt",
        &[
            parameter("ciphertext", Kind::String),
            parameter("privatekey", Kind::String),
        ],
        decrypt,
    ),
    function("uuidv4", &[], |call| {
        let mut bytes = [0; 16];
        (call.host.random)(&mut bytes);
        Ok(uuid(bytes, 4))
    }),
    function(
        "uuidv5",
        &[parameter("namespace", Kind::String), parameter("name", Kind::String)],
        named_uuid,
    ),
];

const STR: [super::Parameter; 1] = [parameter("str", Kind::String)];

/// Each further step takes twice as long; this one takes about a second.
const HIGHEST_COST: i64 = 14;

fn hexadecimal(bytes: &[u8]) -> Value {
    Value::string(&hex::encode(bytes))
}

fn bcrypt_hash(call: &Call<'_>) -> Outcome {
    let cost = match call.arguments.len() {
        1 => 10,
        // Less than the least means the usual.
        2 => match call.integer(1)? {
            ..4 => 10,
            cost => cost,
        },
        _ => return Err("bcrypt() takes no more than two arguments".into()),
    };
    if cost > HIGHEST_COST {
        return Err(FunctionError::at(
            1,
            format!("a cost above {HIGHEST_COST} takes too long"),
        ));
    }
    let password = call.text(0)?;
    if password.len() > 72 {
        return Err(FunctionError::at(0, "the text is longer than 72 bytes"));
    }
    let mut salt = [0; 16];
    (call.host.random)(&mut salt);
    let parts =
        bcrypt::hash_with_salt(password, cost as u32, salt).map_err(|error| FunctionError::from(error.to_string()))?;
    Ok(Value::string(&parts.format_for_version(bcrypt::Version::TwoA)))
}

fn uuid(mut bytes: [u8; 16], version: u8) -> Value {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    Value::string(&format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    ))
}

fn named_uuid(call: &Call<'_>) -> Outcome {
    // The namespaces of RFC 4122, appendix C, differ in one byte.
    let well_known = |byte: u8| {
        let mut namespace = *b"\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8";
        namespace[3] = byte;
        namespace
    };
    let namespace = match call.text(0)? {
        "dns" => well_known(0x10),
        "url" => well_known(0x11),
        "oid" => well_known(0x12),
        "x500" => well_known(0x14),
        text => parsed_uuid(text).ok_or_else(|| {
            let message = "uuidv5() doesn't support this namespace: there are dns, url, oid, x500 and UUIDs";
            FunctionError::at(0, message)
        })?,
    };
    let digest = Sha1::new()
        .chain_update(namespace)
        .chain_update(call.text(1)?)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Ok(uuid(bytes, 5))
}

/// `6ba7b810-9dad-11d1-80b4-00c04fd430c8`, also as a URN, in braces or without hyphens.
fn parsed_uuid(text: &str) -> Option<[u8; 16]> {
    let braces = |text: &'_ str| text.strip_prefix('{')?.strip_suffix('}').map(str::to_owned);
    let plain = match text.get(..9) {
        Some(scheme) if scheme.eq_ignore_ascii_case("urn:uuid:") => text[9..].to_owned(),
        _ => braces(text).unwrap_or_else(|| text.to_owned()),
    };
    let hyphens: Vec<usize> = plain.match_indices('-').map(|(at, _)| at).collect();
    if !hyphens.is_empty() && hyphens != [8, 13, 18, 23] {
        return None;
    }
    hex::decode(plain.replace('-', "")).ok()?.try_into().ok()
}

/// RSA with the padding of PKCS #1, version 1.5 (RFC 8017, section 7.2.2).
fn decrypt(call: &Call<'_>) -> Outcome {
    let ciphertext = STANDARD
        .decode(without_line_breaks(call.text(0)?))
        .map_err(|_| FunctionError::at(0, "the ciphertext is not valid base64"))?;
    let (modulus, exponent) = private_key(call.text(1)?)
        .ok_or_else(|| FunctionError::at(1, "the private key is not an RSA key in PEM form"))?;
    let length = modulus.bits().div_ceil(8) as usize;
    let failed = || FunctionError::from("failed to decrypt");
    if length > 1024 || ciphertext.len() > length {
        return Err(failed());
    }
    let number = BigUint::from_bytes_be(&ciphertext);
    if number >= modulus {
        return Err(failed());
    }
    let digits = number.modpow(&exponent, &modulus).to_bytes_be();
    let mut block = vec![0; length.saturating_sub(digits.len())];
    block.extend(digits);
    let message = match block.as_slice() {
        [0, 2, padded @ ..] => {
            let end = padded.iter().position(|byte| *byte == 0).filter(|end| *end >= 8);
            end.map(|end| &padded[end + 1..]).ok_or_else(failed)?
        }
        _ => return Err(failed()),
    };
    let text = std::str::from_utf8(message).map_err(|_| FunctionError::from("the message is not valid UTF-8"))?;
    Ok(Value::string(text))
}

/// Modulus and private exponent of a key in PEM form (PKCS #1, or PKCS #8 around it).
fn private_key(pem: &str) -> Option<(BigUint, BigUint)> {
    let body: String = pem
        .lines()
        .map(str::trim)
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    let bytes = STANDARD.decode(body).ok()?;
    let sequence = element(&bytes, 0x30)?.0;
    let (_, rest) = element(sequence, 0x02)?;
    // PKCS #8 has an algorithm where PKCS #1 has the modulus.
    if let Some((_, rest)) = element(rest, 0x30) {
        return integers(element(element(rest, 0x04)?.0, 0x30)?.0);
    }
    integers(sequence)
}

fn integers(sequence: &[u8]) -> Option<(BigUint, BigUint)> {
    let (_version, rest) = element(sequence, 0x02)?;
    let (modulus, rest) = element(rest, 0x02)?;
    let (_public, rest) = element(rest, 0x02)?;
    let (private, _) = element(rest, 0x02)?;
    let modulus = BigUint::from_bytes_be(modulus);
    (modulus.bits() > 0).then(|| (modulus, BigUint::from_bytes_be(private)))
}

/// The content of a DER element with this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = rest.split_first()?;
    let (length, rest) = if *length < 0x80 {
        (usize::from(*length), rest)
    } else {
        let count = usize::from(length & 0x7f);
        let digits = rest.get(..count).filter(|digits| digits.len() <= 4)?;
        let length = digits
            .iter()
            .fold(0usize, |length, digit| (length << 8) | usize::from(*digit));
        (length, &rest[count..])
    };
    Some((rest.get(..length)?, &rest[length..]))
}
