//! What a definition comes to: targets and groups.

mod decode;
mod entry;
mod merge;
mod print;
mod target;

pub(crate) use decode::texts;
pub use decode::{TARGET_ATTRIBUTES, decode_attribute, target_value};
pub use entry::{
    Attest, CacheEntry, Export, Policy, Resources, Secret, Ssh, canonical_attest, parse_cache_entries, parse_entries,
};
pub(crate) use merge::deduplicated;
pub use print::{Printed, printed};
pub use target::{Config, Group, Target};
