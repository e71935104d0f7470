//! `--build-context`: further source trees by name.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use kiln_dockerfile::plan::{BuildContext, NamedContext};

use super::{context, reference};
use crate::command_error::CommandError;

/// Reads all of them. The directories go to `directories`, by the contexts' names.
pub fn parse(
    written: &[String],
    directories: &mut HashMap<String, PathBuf>,
) -> Result<BTreeMap<String, NamedContext>, CommandError> {
    let mut contexts = BTreeMap::new();
    for text in written {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .ok_or_else(|| {
                CommandError::user(format!("invalid --build-context `{text}`"))
                    .hint("write NAME=PATH, NAME=docker-image://REF, NAME=oci-layout://PATH or NAME=URL")
            })?;
        let name = name.to_lowercase();
        let context = one(&name, value, directories)?;
        contexts.insert(name, context);
    }
    Ok(contexts)
}

fn one(name: &str, value: &str, directories: &mut HashMap<String, PathBuf>) -> Result<NamedContext, CommandError> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(match image {
            "scratch" => NamedContext::Scratch,
            image => NamedContext::Image(reference(image)?),
        });
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return layout_image(layout);
    }
    let path = PathBuf::from(value);
    if path.is_dir() {
        let ignore = context::ignore_file(&path, None)?;
        directories.insert(name.to_owned(), path);
        return Ok(NamedContext::Local { ignore });
    }
    match context::remote_context(value)? {
        Some(BuildContext::Git(git)) => Ok(NamedContext::Git(git)),
        Some(BuildContext::Http {
            source,
            directory: Some(directory),
            ..
        }) => Ok(NamedContext::Archive {
            url: source.url,
            directory,
        }),
        Some(BuildContext::Http { source, .. }) => Ok(NamedContext::Http(source.url)),
        Some(BuildContext::Local) | None => Err(CommandError::user(format!(
            "the directory `{value}` of --build-context {name} does not exist"
        ))
        .hint("a context is a directory, docker-image://REF, oci-layout://PATH, a git repository or a URL")),
    }
}

/// `PATH[:TAG][@DIGEST]`.
fn layout_image(written: &str) -> Result<NamedContext, CommandError> {
    let (place, digest) = match written.rsplit_once('@') {
        Some((place, digest)) if digest.contains(':') && !Path::new(written).exists() => (place, Some(digest)),
        _ => (written, None),
    };
    let (path, tag) = match place.rsplit_once(':') {
        Some((path, tag)) if !path.is_empty() && !tag.contains('/') && !Path::new(place).exists() => (path, Some(tag)),
        _ => (place, None),
    };
    let mut name = "layout".to_owned();
    for (mark, part) in [(':', tag), ('@', digest)] {
        if let Some(part) = part {
            name.push(mark);
            name.push_str(part);
        }
    }
    Ok(NamedContext::Layout {
        path: PathBuf::from(path),
        reference: reference(&name)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_in_layouts_have_tags_and_digests() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        for (written, path, name) in [
            ("dir", "dir", "layout:latest".to_owned()),
            ("/a/dir:v1", "/a/dir", "layout:v1".to_owned()),
            (&format!("dir@{digest}"), "dir", format!("layout@{digest}")),
            (&format!("dir:v1@{digest}"), "dir", format!("layout:v1@{digest}")),
        ] {
            let NamedContext::Layout { path: found, reference } = layout_image(written).expect("valid") else {
                panic!("a layout");
            };
            assert_eq!(found, Path::new(path), "{written}");
            assert!(reference.to_string().ends_with(&name), "{written}: {reference}");
        }
    }

    #[test]
    fn urls_and_repositories_are_named_contexts() {
        let mut directories = HashMap::new();
        let mut parsed = |value: &str| one("n", value, &mut directories);
        assert!(matches!(parsed("https://h/x.git"), Ok(NamedContext::Git(_))));
        assert!(matches!(parsed("git@h:x"), Ok(NamedContext::Git(_))));
        assert!(matches!(parsed("https://h/x.tar"), Ok(NamedContext::Http(_))));
        assert!(matches!(parsed("https://h/x.tar#:d"), Ok(NamedContext::Archive { .. })));
        assert!(matches!(parsed("docker-image://scratch"), Ok(NamedContext::Scratch)));
        assert!(parsed("no/such/directory").is_err());
    }
}
