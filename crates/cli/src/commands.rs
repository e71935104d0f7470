//! The commands, each in a file.

pub mod bake;
pub mod build;
pub mod call;
pub mod doctor;
pub mod du;
pub mod fsck;
pub mod inspect;
pub mod lint;
pub mod meta;
pub mod prune;
pub mod registry;
pub mod run;
