//! What goes: least recently used first, until enough room is there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::collect::item::{Class, CollectFilter, ItemKind, StoreItem};
use crate::collect::picture::{Picture, PlainKind};

/// A thing that may go by itself. What stands on nothing else any more follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Candidate {
    Record(usize),
    Evicted(usize),
    Layer(usize),
    Blob(usize),
    Document(usize),
    Plain(usize),
}

/// How far to go.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    /// Names of images that are nowhere else, explanations and what was set aside may go too.
    pub(crate) all: bool,
    pub(crate) filter: CollectFilter,
    /// What was used later than this stays.
    pub(crate) youngest_unix: i64,
    /// What was not used since then goes even if there is room.
    pub(crate) expired_unix: Option<i64>,
    /// Go on while the store takes up more than this.
    pub(crate) keep_bytes: u64,
}

/// The least recently used, then what stands highest: it can be made again from what is below it.
type Waiting = Reverse<(i64, Reverse<usize>, bool, Candidate)>;

/// Takes things out of a picture, one after the other.
#[derive(Debug)]
pub(crate) struct Planner<'a> {
    picture: &'a mut Picture,
    goal: &'a Goal,
    waiting: BinaryHeap<Waiting>,
    total: u64,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(picture: &'a mut Picture, goal: &'a Goal) -> Planner<'a> {
        let total = picture.total();
        let mut planner = Planner {
            picture,
            goal,
            waiting: BinaryHeap::new(),
            total,
        };
        planner.fill();
        planner
    }

    fn fill(&mut self) {
        for at in 0..self.picture.records.len() {
            let record = &self.picture.records[at];
            match record.row.evicted_unix {
                _ if record.held => {}
                None => self.push(record.used_unix, record.layers.len(), false, Candidate::Record(at)),
                Some(evicted) => self.push(evicted.min(self.picture.now), 0, false, Candidate::Evicted(at)),
            }
        }
        for at in 0..self.picture.documents.len() {
            self.push(self.picture.documents[at].used_unix, 0, false, Candidate::Document(at));
        }
        for at in 0..self.picture.layers.len() {
            self.push_layer(at, false);
        }
        for at in 0..self.picture.blobs.len() {
            self.push_blob(at, false);
        }
        for at in 0..self.picture.plain.len() {
            self.push(self.picture.plain[at].1.used_unix, 0, false, Candidate::Plain(at));
        }
    }

    /// `follows`: it stood under something that went, so no filter asks for it again.
    fn push(&mut self, used_unix: i64, height: usize, follows: bool, candidate: Candidate) {
        if follows || (self.is_eligible(candidate) && self.is_wanted(candidate)) {
            self.waiting
                .push(Reverse((used_unix, Reverse(height), follows, candidate)));
        }
    }

    fn is_wanted(&self, candidate: Candidate) -> bool {
        self.goal.filter == CollectFilter::default()
            || items_of(self.picture, candidate)
                .first()
                .is_some_and(|item| self.goal.filter.matches(class_of(self.picture, candidate), item))
    }

    fn is_eligible(&self, candidate: Candidate) -> bool {
        match candidate {
            Candidate::Document(at) => {
                let document = &self.picture.documents[at];
                document.unused_for.is_some() || (document.only_copy && self.goal.all)
            }
            Candidate::Evicted(_) => self.goal.all,
            Candidate::Plain(at) => match &self.picture.plain[at] {
                (PlainKind::Aside, _) => self.goal.all,
                (_, plain) => !plain.in_use,
            },
            Candidate::Record(_) | Candidate::Layer(_) | Candidate::Blob(_) => true,
        }
    }

    fn push_layer(&mut self, at: usize, follows: bool) {
        let layer = &self.picture.layers[at];
        if layer.uses == 0 && !layer.held {
            self.push(layer.used_unix, 0, follows, Candidate::Layer(at));
        }
    }

    fn push_blob(&mut self, at: usize, follows: bool) {
        let blob = &self.picture.blobs[at];
        if blob.uses == 0 && !blob.held && !blob.named {
            self.push(blob.used_unix, 0, follows, Candidate::Blob(at));
        }
    }

    /// The next thing that goes; None: enough is free, or nothing more may go.
    pub(crate) fn next(&mut self) -> Option<Candidate> {
        loop {
            let Reverse((used_unix, _, _, candidate)) = self.waiting.pop()?;
            if used_unix > self.goal.youngest_unix {
                return None;
            }
            let expired = self.goal.expired_unix.is_some_and(|time| used_unix <= time) || self.is_overdue(candidate);
            if self.total <= self.goal.keep_bytes && !expired {
                // Kinds that age faster than the rest may still wait further on.
                continue;
            }
            self.take(candidate);
            return Some(candidate);
        }
    }

    fn is_overdue(&self, candidate: Candidate) -> bool {
        let Candidate::Document(at) = candidate else {
            return false;
        };
        let document = &self.picture.documents[at];
        let limit = document.unused_for.unwrap_or(i64::MAX);
        self.picture.now.saturating_sub(document.used_unix) > limit
    }

    fn take(&mut self, candidate: Candidate) {
        let freed: u64 = self.items(candidate).iter().map(|item| item.bytes).sum();
        self.total = self.total.saturating_sub(freed);
        match candidate {
            Candidate::Record(at) => {
                let mut layers = self.picture.records[at].layers.clone();
                layers.sort_unstable();
                layers.dedup();
                for layer in layers {
                    let node = &mut self.picture.layers[layer];
                    node.uses = node.uses.saturating_sub(1);
                    self.push_layer(layer, true);
                }
            }
            Candidate::Layer(at) => self.release(self.picture.layers[at].blobs.clone()),
            Candidate::Document(at) => self.release(self.picture.documents[at].blobs.clone()),
            Candidate::Evicted(_) | Candidate::Blob(_) | Candidate::Plain(_) => {}
        }
    }

    fn release(&mut self, blobs: Vec<usize>) {
        for blob in blobs {
            let node = &mut self.picture.blobs[blob];
            node.uses = node.uses.saturating_sub(1);
            self.push_blob(blob, true);
        }
    }

    /// What the store takes up after everything that went so far, in bytes.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn picture(&self) -> &Picture {
        self.picture
    }

    /// Everything that goes with a candidate itself.
    pub(crate) fn items(&self, candidate: Candidate) -> Vec<StoreItem> {
        items_of(self.picture, candidate)
    }
}

fn class_of(picture: &Picture, candidate: Candidate) -> Class {
    match candidate {
        Candidate::Record(_) => Class::Record,
        Candidate::Evicted(_) => Class::Evicted,
        Candidate::Layer(_) => Class::Layer,
        Candidate::Blob(_) => Class::Blob,
        Candidate::Document(at) => match picture.documents[at].row.kind.ageing {
            crate::document_kind::Ageing::Name => Class::Image,
            _ => Class::Document,
        },
        Candidate::Plain(at) => match picture.plain[at].0 {
            PlainKind::Mount => Class::CacheMount,
            PlainKind::Repository => Class::Repository,
            PlainKind::Context => Class::Context,
            PlainKind::Aside => Class::Aside,
        },
    }
}

/// The items that a candidate consists of.
pub(crate) fn items_of(picture: &Picture, candidate: Candidate) -> Vec<StoreItem> {
    match candidate {
        Candidate::Record(at) | Candidate::Evicted(at) => vec![record_item(picture, at)],
        Candidate::Layer(at) => layer_items(picture, at),
        Candidate::Blob(at) => vec![blob_item(picture, at)],
        Candidate::Document(at) => {
            let document = &picture.documents[at];
            vec![StoreItem {
                kind: ItemKind::Document,
                id: document.row.name.clone(),
                description: document.row.kind_name.clone(),
                bytes: document.row.bytes,
                used_unix: document.used_unix,
                ..StoreItem::default()
            }]
        }
        Candidate::Plain(at) => {
            let (kind, plain) = &picture.plain[at];
            let kind = match kind {
                PlainKind::Mount => ItemKind::CacheMount,
                PlainKind::Repository => ItemKind::Repository,
                PlainKind::Context => ItemKind::Context,
                PlainKind::Aside => ItemKind::Aside,
            };
            vec![plain_item(kind, plain)]
        }
    }
}

pub(crate) fn plain_item(kind: ItemKind, plain: &crate::collect::files::Plain) -> StoreItem {
    let name = plain
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    StoreItem {
        kind,
        description: if plain.title == name {
            String::new()
        } else {
            plain.title.clone()
        },
        id: name,
        bytes: plain.bytes,
        used_unix: plain.used_unix,
        in_use: plain.in_use,
        ..StoreItem::default()
    }
}

fn record_item(picture: &Picture, at: usize) -> StoreItem {
    let record = &picture.records[at];
    StoreItem {
        kind: ItemKind::Record,
        id: record.row.key.to_string(),
        description: record.row.name.clone(),
        platform: record.row.platform.clone(),
        bytes: record.row.bytes,
        created_unix: Some(record.row.created_unix),
        used_unix: record.used_unix,
        shared: record.layers.last().is_some_and(|top| picture.layers[*top].uses > 1),
        in_use: record.held,
        ..StoreItem::default()
    }
}

fn layer_items(picture: &Picture, at: usize) -> Vec<StoreItem> {
    let layer = &picture.layers[at];
    let form = |kind, bytes: Option<u64>| {
        Some(StoreItem {
            kind,
            id: layer.id.to_string(),
            bytes: bytes?,
            created_unix: Some(layer.created_unix),
            used_unix: layer.used_unix,
            shared: layer.uses > 1,
            in_use: layer.held,
            ..StoreItem::default()
        })
    };
    let forms = [form(ItemKind::Tree, layer.tree), form(ItemKind::Index, layer.index)];
    forms.into_iter().flatten().collect()
}

fn blob_item(picture: &Picture, at: usize) -> StoreItem {
    let blob = &picture.blobs[at];
    StoreItem {
        kind: ItemKind::Blob,
        id: blob.digest.to_string(),
        bytes: blob.bytes,
        used_unix: blob.used_unix,
        shared: blob.uses > 1 || blob.linked,
        in_use: blob.held,
        named: blob.named,
        ..StoreItem::default()
    }
}
