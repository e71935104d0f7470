//! What a COPY takes of its source: what the pattern names, less what `--exclude` names.
//!
//! `--parents` is a filter too, as with the peers: what stands before the pivot `/./` (the root, if there is none) is
//! copied as a directory, and of its contents what the rest of the source matches, with the directories that lead there.

use kiln_dockerfile::ignore::PatternMatcher;
use kiln_dockerfile::path_pattern;
use kiln_graph::CopyAction;
use kiln_image::view::FollowLast;
use kiln_store::index::{Entry, EntryKind};

use crate::copy::CopyError;
use crate::destination::push_component;
use crate::glob;
use crate::source_tree::{Selected, SourceError, SourceTree, clean};

/// One entry below a directory that is copied.
#[derive(Debug, Clone)]
pub struct Taken<'a> {
    /// Its path relative to the directory.
    pub relative: Vec<u8>,
    /// What is there.
    pub entry: &'a Entry,
    /// Whether it is a directory that only leads to what is taken: an existing one stays as it is.
    pub on_the_way: bool,
}

/// What of a directory's contents is taken.
#[derive(Debug, Default)]
pub struct Filter {
    include: Option<Include>,
    exclude: Option<PatternMatcher>,
}

#[derive(Debug)]
struct Include {
    matcher: PatternMatcher,
    /// The components of the pattern before any `**`: elsewhere nothing can match.
    leading: Vec<String>,
}

/// What an action names in its source, in order. A plain path must exist; a pattern may match nothing.
pub fn selected(action: &CopyAction, source: &SourceTree) -> Result<Vec<Selected>, SourceError> {
    if !action.parents {
        return source.select(&action.source, action.wildcard);
    }
    let (root, pattern) = around_pivot(&action.source);
    if !glob::has_wildcard(&root) && !glob::has_wildcard(&pattern) {
        let mut path = root.clone().into_bytes();
        push_component(&mut path, pattern.as_bytes());
        let found = source.view.lookup(&path, FollowLast::Yes);
        let found = found.map_err(|source| SourceError::View {
            path: String::from_utf8_lossy(&path).into_owned(),
            source,
        })?;
        if found.is_none() {
            return Err(SourceError::NotFound {
                path: String::from_utf8_lossy(&path).into_owned(),
                origin: source.origin(),
            });
        }
    }
    source.select(&root, action.wildcard)
}

/// What stands before the first `/./` and what stands behind it, both cleaned.
fn around_pivot(source: &str) -> (String, String) {
    match source.split_once("/./") {
        Some((before, after)) => (clean(before), clean(after)),
        None => (String::new(), clean(source)),
    }
}

impl Filter {
    /// The filter of an action.
    pub fn new(action: &CopyAction) -> Result<Filter, CopyError> {
        let pattern = action
            .parents
            .then(|| around_pivot(&action.source).1)
            .filter(|pattern| !pattern.is_empty());
        let include = pattern
            .map(|pattern| {
                let matcher = PatternMatcher::new(&[&pattern]).map_err(CopyError::Include)?;
                let leading = pattern.split('/').take_while(|component| !component.contains("**"));
                Ok::<_, CopyError>(Include {
                    matcher,
                    leading: leading.map(str::to_owned).collect(),
                })
            })
            .transpose()?;
        let exclude = if action.exclude.is_empty() {
            None
        } else {
            Some(PatternMatcher::new(&action.exclude).map_err(CopyError::Exclude)?)
        };
        Ok(Filter { include, exclude })
    }

    /// What is taken of a directory's contents: parents first, in order.
    pub fn contents<'a>(&self, source: &'a SourceTree, directory: &[u8]) -> Result<Vec<Taken<'a>>, SourceError> {
        let mut taken: Vec<Taken<'a>> = Vec::new();
        // Directories that are not taken themselves, from the outermost to the innermost.
        let mut pending: Vec<(Vec<u8>, &Entry)> = Vec::new();
        source.walk(directory, |relative, entry| {
            pending.retain(|(above, _)| is_below(relative, above));
            let path = String::from_utf8_lossy(relative);
            let is_directory = matches!(entry.kind, EntryKind::Directory { .. });
            if self.takes(&path) {
                taken.extend(pending.drain(..).map(|(relative, entry)| Taken {
                    relative,
                    entry,
                    on_the_way: true,
                }));
                taken.push(Taken {
                    relative: relative.to_vec(),
                    entry,
                    on_the_way: self.include.is_some() && is_directory,
                });
                return true;
            }
            if is_directory {
                pending.push((relative.to_vec(), entry));
            }
            is_directory && self.may_take_below(&path)
        })?;
        Ok(taken)
    }

    fn takes(&self, path: &str) -> bool {
        let included = self
            .include
            .as_ref()
            .is_none_or(|include| include.matcher.matches_or_parent_matches(path));
        included
            && !self
                .exclude
                .as_ref()
                .is_some_and(|exclude| exclude.matches_or_parent_matches(path))
    }

    fn may_take_below(&self, directory: &str) -> bool {
        let excluded = self
            .exclude
            .as_ref()
            .is_some_and(|exclude| exclude.matches_or_parent_matches(directory) && !exclude.has_exceptions());
        !excluded
            && self
                .include
                .as_ref()
                .is_none_or(|include| include.may_match_below(directory))
    }
}

impl Include {
    fn may_match_below(&self, directory: &str) -> bool {
        self.matcher.matches_or_parent_matches(directory)
            || self
                .leading
                .iter()
                .zip(directory.split('/'))
                .all(|(pattern, name)| path_pattern::matches(pattern, name).unwrap_or(true))
    }
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}
