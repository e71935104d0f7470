//! `--attest`, `--sbom` and `--provenance`: statements about an image.

use std::collections::BTreeMap;

use crate::FlagError;
use crate::fields::{boolean, boolean_field, split};

/// One kind of statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attestation {
    /// `sbom` or `provenance`.
    pub kind: String,
    /// Whether it is not wanted.
    pub disabled: bool,
    /// Everything else.
    pub attributes: BTreeMap<String, String>,
}

impl Attestation {
    /// Reads one value of `--attest`.
    pub fn parse(text: &str) -> Result<Attestation, FlagError> {
        let mut attestation = Attestation::default();
        for field in split(text)? {
            let (key, value) = field.pair().ok_or_else(|| FlagError::Field(field.text.clone()))?;
            match key.as_str() {
                "type" => value.clone_into(&mut attestation.kind),
                "disabled" => attestation.disabled = boolean_field(&field, value)?,
                _ => {
                    attestation.attributes.insert(key, value.to_owned());
                }
            }
        }
        if attestation.kind.is_empty() {
            return Err(FlagError::AttestationType);
        }
        Ok(attestation)
    }
}

/// Reads every value of `--attest`; each kind stands once.
pub fn attestations(written: &[String]) -> Result<Vec<Attestation>, FlagError> {
    let mut all: Vec<Attestation> = Vec::new();
    for text in written {
        let attestation = Attestation::parse(text)?;
        if all.iter().any(|known| known.kind == attestation.kind) {
            return Err(FlagError::Duplicate(attestation.kind));
        }
        all.push(attestation);
    }
    Ok(all)
}

/// A value of `--sbom` or `--provenance` as one of `--attest`; empty stays empty.
pub fn canonical(kind: &str, text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    match boolean(text) {
        Some(wanted) => format!("type={kind},disabled={}", !wanted),
        None => format!("type={kind},{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_attestations() {
        assert_eq!(canonical("sbom", "true"), "type=sbom,disabled=false");
        assert_eq!(canonical("provenance", "mode=max"), "type=provenance,mode=max");
        assert_eq!(canonical("sbom", ""), "");
        let twice = ["type=sbom".to_owned(), "type=sbom,a=b".to_owned()];
        assert_eq!(attestations(&twice), Err(FlagError::Duplicate("sbom".into())));
        assert_eq!(Attestation::parse("a=b"), Err(FlagError::AttestationType));
        assert!(Attestation::parse("type=sbom,disabled=1").expect("valid").disabled);
    }
}
