//! `--build-arg` and `--label`: names with values.

use std::collections::BTreeMap;

use crate::FlagError;

/// Reads every value: `NAME=VALUE`, or `NAME` for the value that `found` has of it. A name without one changes nothing.
pub fn pairs(
    written: &[String],
    found: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, FlagError> {
    let mut all = BTreeMap::new();
    for text in written {
        match text.split_once('=') {
            Some(("", _)) => return Err(FlagError::Name(text.clone())),
            Some((name, value)) => {
                all.insert(name.to_owned(), value.to_owned());
            }
            None => {
                if let Some(value) = found(text) {
                    all.insert(text.clone(), value);
                }
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_takes_the_environments_value() {
        let found = |name: &str| (name == "A").then(|| "of the environment".to_owned());
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            pairs(&words, &found)
        };
        assert_eq!(read(&["A"]).expect("valid")["A"], "of the environment");
        assert_eq!(read(&["A="]).expect("valid")["A"], "");
        assert_eq!(read(&["B=1", "B"]).expect("valid")["B"], "1");
        assert!(read(&["=1"]).is_err());
    }
}
