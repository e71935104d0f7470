//! Corpora of cases that this project did not write, and the drivers that hold Kiln against them.
//!
//! A corpus is a folder of the conformance directory. Its driver reads the cases from the folder that it is given, so that
//! another directory of the same layout with other cases can be measured by the same code. A case is *held* when Kiln does
//! what the peer does, *failed* when it does something else (a feature that is still missing included), and *skipped* only
//! when the case cannot be driven or its behaviour is not wanted; a skipped case is never counted as held.

mod bake;
mod build_flags;
mod dockerfile_frontend;
mod dockerfile_integration;
mod dockerfile_syntax;
mod git_references;
mod known_failures;
mod metadata_action;
mod oci;
mod tables;

use std::path::Path;

pub use known_failures::KnownFailures;

/// How one corpus went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorpusResult {
    /// Name of the corpus: the name of its folder.
    pub corpus: String,
    /// How many cases hold.
    pub held: usize,
    /// The cases that do not.
    pub failed: Vec<Failure>,
    /// Cases that were not driven, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// One case that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Name of the case, unique within its corpus.
    pub case: String,
    /// What differs, in a line or a few.
    pub detail: String,
}

impl CorpusResult {
    /// An empty result for the corpus `name`.
    pub fn new(name: &str) -> Self {
        Self {
            corpus: name.to_owned(),
            ..Self::default()
        }
    }

    /// All cases of the corpus, the skipped ones included.
    pub fn total(&self) -> usize {
        self.held + self.failed.len() + self.skipped.len()
    }

    /// Counts a case that holds.
    pub fn hold(&mut self) {
        self.held += 1;
    }

    /// Records a case that does not hold.
    pub fn fail(&mut self, case: impl Into<String>, detail: impl Into<String>) {
        self.failed.push(Failure {
            case: case.into(),
            detail: detail.into(),
        });
    }

    /// Records a case that was not driven.
    pub fn skip(&mut self, case: impl Into<String>, reason: impl Into<String>) {
        self.skipped.push((case.into(), reason.into()));
    }

    /// Counts a case as held if `outcome` is `Ok`, else records the detail.
    pub fn record(&mut self, case: impl Into<String>, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.hold(),
            Err(detail) => self.fail(case, detail),
        }
    }
}

/// A corpus and its driver.
#[derive(Debug, Clone, Copy)]
pub struct Corpus {
    /// Name of the corpus: the name of its folder.
    pub name: &'static str,
    /// Drives every case in the folder.
    pub drive: fn(&Path) -> CorpusResult,
}

impl Corpus {
    const fn new(name: &'static str, drive: fn(&Path) -> CorpusResult) -> Self {
        Self { name, drive }
    }
}

/// Every corpus that the code can serve, in the order in which they are reported.
pub const CORPORA: &[Corpus] = &[
    Corpus::new("dockerfile-parser", dockerfile_syntax::dockerfile_parser),
    Corpus::new("dockerfile-shell", dockerfile_syntax::dockerfile_shell),
    Corpus::new("dockerignore", dockerfile_syntax::dockerignore),
    Corpus::new("dockerfile-instructions", dockerfile_syntax::dockerfile_instructions),
    Corpus::new("dockerfile-lint", dockerfile_frontend::dockerfile_lint),
    Corpus::new("dockerfile-golden", dockerfile_frontend::dockerfile_golden),
    Corpus::new("workdir-paths", build_flags::workdir_paths),
    Corpus::new("cli-flags", build_flags::cli_flags),
    Corpus::new("git-refs", git_references::drive),
    Corpus::new("image-reference", oci::image_reference),
    Corpus::new("platforms", oci::platforms),
    Corpus::new("digest", oci::digest),
    Corpus::new("oci-image-spec", oci::oci_image_spec),
    Corpus::new("metadata-action", metadata_action::drive),
    Corpus::new("realworld", realworld),
    Corpus::new("bake", bake::drive),
    Corpus::new("dockerfile-integration", dockerfile_integration::drive),
    Corpus::new("dockerfile-peer-golden", dockerfile_integration::drive_golden),
];

/// `realworld`: files of public projects, each read by its own driver.
fn realworld(dir: &Path) -> CorpusResult {
    let mut result = dockerfile_syntax::realworld(dir);
    bake::realworld(dir, &mut result);
    result
}

/// The corpus called `name`.
pub fn corpus(name: &str) -> Option<&'static Corpus> {
    CORPORA.iter().find(|corpus| corpus.name == name)
}
