//! `--cache-to` and `--cache-from`: where caches go and come from.

use std::collections::BTreeMap;

use crate::FlagError;
use crate::fields::split;

/// One cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cache {
    /// `registry`, `local`, `inline`, `gha`…
    pub kind: String,
    /// Everything else, keys in lower case.
    pub attributes: BTreeMap<String, String>,
}

impl Cache {
    /// Reads one value with fields.
    pub fn parse(text: &str) -> Result<Cache, FlagError> {
        let mut cache = Cache::default();
        for field in split(text)? {
            let (key, value) = field.pair().ok_or_else(|| FlagError::Field(field.text.clone()))?;
            if key == "type" {
                value.clone_into(&mut cache.kind);
            } else {
                cache.attributes.insert(key, value.to_owned());
            }
        }
        if cache.kind.is_empty() {
            return Err(FlagError::CacheType(text.to_owned()));
        }
        Ok(cache)
    }

    fn in_registry(reference: &str) -> Cache {
        Cache {
            kind: "registry".to_owned(),
            attributes: BTreeMap::from([("ref".to_owned(), reference.to_owned())]),
        }
    }

    /// What is written where nothing is said: the layers of the result alone.
    #[must_use]
    pub fn to_write(mut self) -> Cache {
        self.attributes
            .entry("mode".to_owned())
            .or_insert_with(|| "min".to_owned());
        self
    }
}

/// Reads every value: fields, or names of images in registries with commas between them. Empty ones are left out.
pub fn caches(written: &[String]) -> Result<Vec<Cache>, FlagError> {
    let mut caches = Vec::new();
    for text in written.iter().filter(|text| !text.is_empty()) {
        if text.contains('=') {
            caches.push(Cache::parse(text)?);
        } else {
            caches.extend(split(text)?.iter().map(|field| Cache::in_registry(&field.text)));
        }
    }
    Ok(caches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_in_a_registry() {
        let found = caches(&["a:1,b".into(), "type=local,src=p".into(), String::new()]).expect("valid");
        let kinds: Vec<_> = found.iter().map(|cache| cache.kind.as_str()).collect();
        assert_eq!(kinds, ["registry", "registry", "local"]);
        assert_eq!(found[1].attributes["ref"], "b");
        assert_eq!(found[0].clone().to_write().attributes["mode"], "min");
        assert_eq!(caches(&["ref=a".into()]), Err(FlagError::CacheType("ref=a".into())));
    }
}
