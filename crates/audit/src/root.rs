//! The layers of one image seen as one root: whiteouts honoured, links resolved, nothing unpacked.

use std::collections::BTreeMap;

use crate::facts::{EntryKind, FileFacts, LayerFacts};

/// More links than this are a loop, as for the kernel.
const MAX_LINKS: usize = 40;

/// Bytes of paths of directories that no layer has an entry for. Deep paths would otherwise cost their square.
const MAX_IMPLIED: usize = 128 << 20;

/// What stands at a path.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// What it is.
    pub kind: NodeKind<'a>,
    /// Permission bits.
    pub mode: u32,
    /// The layer that put it there, from 0.
    pub layer: usize,
}

/// What a node is.
#[derive(Debug, Clone, Copy)]
pub enum NodeKind<'a> {
    /// A directory.
    Directory,
    /// A regular file.
    File(&'a FileFacts),
    /// A symbolic link and its target.
    Symlink(&'a str),
    /// A device or a pipe.
    Special,
}

impl<'a> Node<'a> {
    /// Facts of a regular file.
    pub fn file(&self) -> Option<&'a FileFacts> {
        match self.kind {
            NodeKind::File(facts) => Some(facts),
            _ => None,
        }
    }

    /// Whether somebody may execute it.
    pub fn is_executable(&self) -> bool {
        matches!(self.kind, NodeKind::File(_)) && self.mode & 0o111 != 0
    }
}

/// A root. Paths are relative to it, without slashes at the ends.
#[derive(Debug, Default)]
pub struct Root<'a> {
    nodes: BTreeMap<String, Node<'a>>,
    /// Bytes of the paths of implied directories.
    implied: usize,
}

impl<'a> Root<'a> {
    /// Stacks layers, the lowest first.
    pub fn of(layers: impl IntoIterator<Item = &'a LayerFacts>) -> Root<'a> {
        let mut root = Root::default();
        for (number, layer) in layers.into_iter().enumerate() {
            root.apply(number, layer);
        }
        root
    }

    fn apply(&mut self, number: usize, layer: &'a LayerFacts) {
        // Whiteouts are about lower layers, wherever in the archive they stand.
        for entry in &layer.entries {
            match entry.kind {
                EntryKind::Whiteout => {
                    let path = self.real_place(&entry.path);
                    self.remove(&path);
                }
                EntryKind::Opaque => {
                    let path = self.real_place(&entry.path);
                    self.remove_below(&path);
                }
                _ => {}
            }
        }
        for entry in &layer.entries {
            let mut mode = entry.mode;
            let kind = match &entry.kind {
                EntryKind::Whiteout | EntryKind::Opaque => continue,
                EntryKind::Directory => NodeKind::Directory,
                EntryKind::File(facts) => NodeKind::File(facts),
                EntryKind::Symlink(target) => NodeKind::Symlink(target),
                EntryKind::Special => NodeKind::Special,
                EntryKind::Hardlink(target) => {
                    let target = self.real_place(target);
                    let Some(node) = self.nodes.get(&target) else { continue };
                    mode = node.mode;
                    node.kind
                }
            };
            let path = self.real_place(&entry.path);
            self.put(
                path,
                Node {
                    kind,
                    mode,
                    layer: number,
                },
            );
        }
    }

    fn put(&mut self, path: String, node: Node<'a>) {
        if path.is_empty() {
            return;
        }
        let layer = node.layer;
        let is_directory = matches!(node.kind, NodeKind::Directory);
        let was_directory = matches!(self.nodes.get(&path), Some(old) if matches!(old.kind, NodeKind::Directory));
        if was_directory && !is_directory {
            self.remove_below(&path);
        }
        // Archives need not have an entry for every directory.
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            if self.nodes.contains_key(above) || self.implied > MAX_IMPLIED {
                break;
            }
            self.implied += above.len();
            let implied = Node {
                kind: NodeKind::Directory,
                mode: 0o755,
                layer,
            };
            self.nodes.insert(above.to_owned(), implied);
            parent = above;
        }
        self.nodes.insert(path, node);
    }

    /// A path whose directories are resolved and whose last part is not.
    fn real_place(&self, path: &str) -> String {
        let Some((directory, name)) = path.rsplit_once('/') else {
            return path.to_owned();
        };
        // Most directories are where they say.
        if matches!(self.nodes.get(directory), Some(node) if matches!(node.kind, NodeKind::Directory)) {
            return path.to_owned();
        }
        match self.follow(directory, true) {
            Some(real) if real.is_empty() => name.to_owned(),
            Some(real) => format!("{real}/{name}"),
            None => path.to_owned(),
        }
    }

    fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        let below: Vec<String> = self.below(path).map(|(path, _)| path.to_owned()).collect();
        for path in below {
            self.nodes.remove(&path);
        }
    }

    /// Everything below a directory, at any depth, in the order of paths.
    pub fn below(&self, directory: &str) -> impl Iterator<Item = (&str, &Node<'a>)> {
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, node)| (path.as_str(), node))
    }

    /// What stands in a directory itself.
    pub fn children(&self, directory: &str) -> impl Iterator<Item = (&str, &Node<'a>)> {
        let skip = if directory.is_empty() { 0 } else { directory.len() + 1 };
        self.below(directory)
            .filter(move |(path, _)| !path[skip..].contains('/'))
    }

    /// Everything, in the order of paths.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Node<'a>)> {
        self.below("")
    }

    /// What stands at a path itself, links not followed.
    pub fn node(&self, path: &str) -> Option<&Node<'a>> {
        self.nodes.get(path)
    }

    /// The real path that `path` leads to, links followed inside the root, and what is there.
    pub fn resolve(&self, path: &str) -> Option<(String, &Node<'a>)> {
        let real = self.follow(path, false)?;
        let node = self.nodes.get(&real)?;
        Some((real, node))
    }

    /// Follows links. `may_be_missing`: what does not exist is taken as written, for what is yet to be put there.
    fn follow(&self, path: &str, may_be_missing: bool) -> Option<String> {
        let mut pending: Vec<&str> = path.rsplit('/').collect();
        let mut real = String::new();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            match part {
                "" | "." => continue,
                ".." => {
                    real.truncate(real.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let length = real.len();
            if length > 0 {
                real.push('/');
            }
            real.push_str(part);
            match self.nodes.get(&real) {
                Some(node) => {
                    if let NodeKind::Symlink(target) = node.kind {
                        links += 1;
                        if links > MAX_LINKS || pending.len() > 4096 {
                            return None;
                        }
                        real.truncate(if target.starts_with('/') { 0 } else { length });
                        pending.extend(target.rsplit('/'));
                    }
                }
                None if may_be_missing => {}
                None => return None,
            }
        }
        Some(real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Entry;

    fn layer(entries: &[(&str, &str)]) -> LayerFacts {
        let entries = entries.iter().map(|(path, kind)| Entry {
            path: (*path).to_owned(),
            mode: 0o755,
            kind: match *kind {
                "dir" => EntryKind::Directory,
                "file" => EntryKind::File(FileFacts::Plain),
                "gone" => EntryKind::Whiteout,
                "opaque" => EntryKind::Opaque,
                link => match link.strip_prefix("= ") {
                    Some(target) => EntryKind::Hardlink(target.to_owned()),
                    None => EntryKind::Symlink(link.trim_start_matches("-> ").to_owned()),
                },
            },
        });
        LayerFacts {
            entries: entries.collect(),
            size: 0,
        }
    }

    fn at(root: &Root<'_>, path: &str) -> Option<(String, usize)> {
        root.resolve(path).map(|(path, node)| (path, node.layer))
    }

    #[test]
    fn upper_layers_hide_lower_ones() {
        let layers = [
            layer(&[("a/x", "file"), ("b/y", "file"), ("c", "file"), ("d/z", "file")]),
            layer(&[
                ("a/x", "gone"),
                ("b/new", "file"),
                ("b", "opaque"),
                ("c/in", "file"),
                ("d", "file"),
            ]),
        ];
        let root = Root::of(&layers);
        assert_eq!(at(&root, "a/x"), None);
        assert_eq!(at(&root, "b/y"), None);
        assert_eq!(at(&root, "b/new"), Some(("b/new".into(), 1)));
        assert_eq!(at(&root, "c/in"), Some(("c/in".into(), 1)));
        assert_eq!(at(&root, "d/z"), None);
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let layers = [
            layer(&[
                ("usr/lib/libz.so.1.2", "file"),
                ("usr/lib/libz.so.1", "-> libz.so.1.2"),
                ("lib", "-> usr/lib"),
                ("loop", "-> loop"),
                ("up", "-> ../../usr/lib"),
            ]),
            layer(&[("lib/new.so", "file"), ("usr/bin/tool", "= lib/new.so")]),
        ];
        let root = Root::of(&layers);
        assert_eq!(at(&root, "/lib/libz.so.1"), Some(("usr/lib/libz.so.1.2".into(), 0)));
        assert_eq!(at(&root, "usr/lib/new.so"), Some(("usr/lib/new.so".into(), 1)));
        assert_eq!(at(&root, "up/../lib/new.so"), Some(("usr/lib/new.so".into(), 1)));
        assert_eq!(at(&root, "usr/bin/tool"), Some(("usr/bin/tool".into(), 1)));
        assert_eq!(at(&root, "loop"), None);
        assert_eq!(root.children("usr").count(), 2);
    }
}
