//! Wildcards of COPY and ADD sources: Go's `filepath.Match` over whole relative paths.

use kiln_dockerfile::path_pattern;

/// Splits a cleaned path before the first component with a wildcard. None: there is no wildcard.
pub fn split(path: &str) -> Option<(&str, &str)> {
    let mut start = 0;
    for component in path.split('/') {
        if has_wildcard(component) {
            return Some((path[..start].trim_end_matches('/'), &path[start..]));
        }
        start += component.len() + 1;
    }
    None
}

/// Whether a path or a component of one is a pattern.
pub fn has_wildcard(component: &str) -> bool {
    let mut bytes = component.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Whether a relative path matches. A `*` never matches a slash, so the numbers of components are equal.
pub fn matches(pattern: &str, path: &[u8]) -> bool {
    let path = String::from_utf8_lossy(path);
    pattern.split('/').count() == path.split('/').count()
        && pattern
            .split('/')
            .zip(path.split('/'))
            .all(|(pattern, name)| matches_component(pattern, name))
}

/// Whether something below a directory may match: its components match the pattern's first ones.
pub fn may_match_below(pattern: &str, directory: &[u8]) -> bool {
    let directory = String::from_utf8_lossy(directory);
    pattern.split('/').count() > directory.split('/').count()
        && pattern
            .split('/')
            .zip(directory.split('/'))
            .all(|(pattern, name)| matches_component(pattern, name))
}

/// A bad pattern matches nothing.
fn matches_component(pattern: &str, name: &str) -> bool {
    path_pattern::matches(pattern, name).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_go_does() {
        let table = [
            ("*.go", "a.go", true),
            ("*.go", "a.rs", false),
            ("*.go", "d/a.go", false),
            ("sub/*", "sub/x", true),
            ("sub/*/y", "sub/x/y", true),
            ("f?o", "foo", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "zx", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[", "[", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(matches(pattern, path.as_bytes()), expected, "{pattern} against {path}");
        }
    }

    #[test]
    fn a_path_splits_before_its_first_wildcard() {
        assert_eq!(split("a/b"), None);
        assert_eq!(split("a/b*/c"), Some(("a", "b*/c")));
        assert_eq!(split("*"), Some(("", "*")));
        assert_eq!(split(r"a\*/b"), None);
    }

    #[test]
    fn only_directories_that_lead_to_a_match_are_entered() {
        assert!(may_match_below("sub/*/x", b"sub"));
        assert!(may_match_below("sub/*/x", b"sub/any"));
        assert!(!may_match_below("sub/*/x", b"other"));
        assert!(!may_match_below("sub/*", b"sub/any"));
    }
}
