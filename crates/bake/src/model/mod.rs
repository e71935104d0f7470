//! What a definition comes to: targets and groups.

mod decode;
mod entry;
mod merge;
mod print;
mod target;

pub use decode::{TARGET_ATTRIBUTES, decode_attribute, target_value};
pub use entry::{
    Attest, CacheEntry, Export, Policy, Resources, Secret, Ssh, canonical_attest, parse_boolean, parse_cache_entries,
    parse_entries,
};
pub use print::{Printed, printed};
pub(crate) use decode::texts;
pub(crate) use merge::deduplicated;
pub use target::{Config, Group, Target};
