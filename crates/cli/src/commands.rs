//! The commands, each in a file.

pub mod build;
pub mod doctor;
pub mod inspect;
pub mod registry;
pub mod run;
