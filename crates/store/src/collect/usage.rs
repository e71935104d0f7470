//! How much of what there is.

use crate::StoreError;
use crate::collect::files::GivenUp;
use crate::collect::item::{Class, CollectFilter, ItemKind, StoreItem};
use crate::collect::picture::{Named, picture};
use crate::collect::plan::{Candidate, items_of, plain_item};
use crate::collect::reclaimable;
use crate::collect::rows::read_rows;
use crate::database::unix_now;
use crate::store::Store;

/// What a store takes up.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Everything, the largest of each kind first, with whether it could be collected now.
    pub items: Vec<(StoreItem, bool)>,
    /// What the database takes up besides documents and records, in bytes. Counted among the records.
    pub database: u64,
    /// How many bytes an ordinary user can still write to the disk.
    pub free: u64,
    /// How many bytes the disk has.
    pub disk: u64,
}

/// What one kind of things takes up, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindUsage {
    /// How many things.
    pub count: u64,
    /// All of them.
    pub bytes: u64,
    /// Those that more than one thing stands on.
    pub shared: u64,
    /// Those that could be collected now.
    pub reclaimable: u64,
}

impl Usage {
    /// What one kind takes up.
    pub fn of(&self, kind: ItemKind) -> KindUsage {
        let mut usage = KindUsage::default();
        if kind == ItemKind::Record {
            usage.bytes = self.database;
        }
        for (item, reclaimable) in self.items.iter().filter(|(item, _)| item.kind == kind) {
            usage.count += 1;
            usage.bytes += item.bytes;
            usage.shared += if item.shared { item.bytes } else { 0 };
            usage.reclaimable += if *reclaimable { item.bytes } else { 0 };
        }
        usage
    }

    /// Leaves out what a filter leaves out, and what `keep` does not want. The database counts no longer then.
    pub fn retain(&mut self, keep: impl Fn(&StoreItem) -> bool, filter: &CollectFilter) {
        let class = |kind: ItemKind| match kind {
            ItemKind::Blob => Some(Class::Blob),
            ItemKind::Tree | ItemKind::Index => Some(Class::Layer),
            ItemKind::Record => Some(Class::Record),
            ItemKind::Document => Some(Class::Document),
            ItemKind::CacheMount => Some(Class::CacheMount),
            ItemKind::Repository => Some(Class::Repository),
            ItemKind::Context => Some(Class::Context),
            ItemKind::Aside => Some(Class::Aside),
            ItemKind::Session => None,
        };
        self.database = 0;
        self.items
            .retain(|(item, _)| keep(item) && class(item.kind).is_some_and(|class| filter.matches(class, item)));
    }

    /// What everything takes up.
    pub fn total(&self) -> KindUsage {
        let mut total = KindUsage::default();
        for kind in ItemKind::ALL {
            let usage = self.of(kind);
            total.count += usage.count;
            total.bytes += usage.bytes;
            total.shared += usage.shared;
            total.reclaimable += usage.reclaimable;
        }
        total
    }
}

impl Store {
    /// Counts everything.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let store = self.unheld();
        let files = match store.files(&|| false)? {
            Ok(files) => files,
            Err(GivenUp) => return Ok(Usage::default()),
        };
        let rows = store.database()?.read("read the tables", read_rows)?;
        let held = store.held()?;
        let mut picture = picture(&store, &files, rows, &held, &mut Named::default(), unix_now())?;
        let count = |length: usize, make: fn(usize) -> Candidate| (0..length).map(make);
        let candidates: Vec<Candidate> = count(picture.records.len(), Candidate::Record)
            .chain(count(picture.layers.len(), Candidate::Layer))
            .chain(count(picture.blobs.len(), Candidate::Blob))
            .chain(count(picture.documents.len(), Candidate::Document))
            .chain(count(picture.plain.len(), Candidate::Plain))
            .collect();
        let mut items: Vec<(Candidate, StoreItem)> = candidates
            .into_iter()
            .flat_map(|candidate| {
                items_of(&picture, candidate)
                    .into_iter()
                    .map(move |item| (candidate, item))
            })
            .collect();
        let records: u64 = picture.records.iter().map(|record| record.row.bytes).sum();
        let database = picture.database.saturating_sub(records);
        let sessions: Vec<StoreItem> = picture
            .sessions
            .iter()
            .map(|session| plain_item(ItemKind::Session, session))
            .collect();
        let reclaimable = reclaimable(&mut picture);
        items.sort_by(|(_, a), (_, b)| (a.kind, b.bytes, &a.id).cmp(&(b.kind, a.bytes, &b.id)));
        let (free, disk) = store.disk()?;
        Ok(Usage {
            items: items
                .into_iter()
                .map(|(candidate, item)| (item, reclaimable.contains(&candidate)))
                .chain(sessions.into_iter().map(|item| (item, false)))
                .collect(),
            database,
            free,
            disk,
        })
    }
}
