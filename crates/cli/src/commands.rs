//! The commands, each in a file.

pub mod audit;
pub mod bake;
pub mod build;
pub mod call;
pub mod doctor;
pub mod du;
pub mod fsck;
pub mod history;
pub mod inspect;
pub mod lint;
pub mod meta;
pub mod plan;
pub mod prune;
pub mod registry;
pub mod report;
pub mod run;
pub mod why;
