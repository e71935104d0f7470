//! What the audit finds.

use std::fmt;

use kiln_oci::{Digest, Platform};
use serde::Serialize;

/// What is wrong. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// Machine code that the platform's processor or kernel does not run.
    WrongArchitecture,
    /// A Python wheel or extension module of another platform or C library.
    WrongWheel,
    /// A native part of another language's package: Node.js, Ruby, Java, Go.
    WrongAddon,
    /// A program whose loader the image lacks.
    MissingLoader,
    /// A library that no search path leads to.
    MissingLibrary,
    /// Versions of symbols that the image's library does not define.
    LibcTooOld,
    /// A script whose interpreter the image lacks.
    MissingInterpreter,
    /// ENTRYPOINT, CMD or HEALTHCHECK that cannot be started.
    Entrypoint,
    /// Index, manifests and configurations contradict each other.
    ManifestLies,
    /// A base image that is pinned to one platform.
    SinglePlatformBase,
}

impl Code {
    /// All codes, in their order.
    pub const ALL: [Code; 10] = [
        Code::WrongArchitecture,
        Code::WrongWheel,
        Code::WrongAddon,
        Code::MissingLoader,
        Code::MissingLibrary,
        Code::LibcTooOld,
        Code::MissingInterpreter,
        Code::Entrypoint,
        Code::ManifestLies,
        Code::SinglePlatformBase,
    ];

    /// `A01` to `A10`.
    pub fn id(self) -> &'static str {
        match self {
            Code::WrongArchitecture => "A01",
            Code::WrongWheel => "A02",
            Code::WrongAddon => "A03",
            Code::MissingLoader => "A04",
            Code::MissingLibrary => "A05",
            Code::LibcTooOld => "A06",
            Code::MissingInterpreter => "A07",
            Code::Entrypoint => "A08",
            Code::ManifestLies => "A09",
            Code::SinglePlatformBase => "A10",
        }
    }

    /// The name beside the number.
    pub fn name(self) -> &'static str {
        match self {
            Code::WrongArchitecture => "wrong-architecture",
            Code::WrongWheel => "wrong-wheel",
            Code::WrongAddon => "wrong-addon",
            Code::MissingLoader => "missing-loader",
            Code::MissingLibrary => "missing-library",
            Code::LibcTooOld => "libc-too-old",
            Code::MissingInterpreter => "missing-interpreter",
            Code::Entrypoint => "entrypoint",
            Code::ManifestLies => "manifest-lies",
            Code::SinglePlatformBase => "single-platform-base",
        }
    }

    /// One sentence about what it means.
    pub fn description(self) -> &'static str {
        match self {
            Code::WrongArchitecture => "machine code that cannot run on the platform",
            Code::WrongWheel => "a Python wheel or extension module of another platform or C library",
            Code::WrongAddon => "a native add-on of a Node.js, Ruby, Java or Go package for another platform",
            Code::MissingLoader => "a program whose loader the image does not have",
            Code::MissingLibrary => "a library that the loader will not find",
            Code::LibcTooOld => "a library of the image does not define the versions that a program needs",
            Code::MissingInterpreter => "a script whose interpreter the image does not have",
            Code::Entrypoint => "ENTRYPOINT, CMD or HEALTHCHECK cannot be started",
            Code::ManifestLies => "index, manifests and configurations contradict each other",
            Code::SinglePlatformBase => "a base image is pinned to one platform",
        }
    }

    /// The code of a number or a name.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL
            .into_iter()
            .find(|code| code.id().eq_ignore_ascii_case(text) || code.name() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id(), self.name())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, and legitimate.
    Note,
    /// Wrong, but nothing that is known to be used reaches it.
    Warning,
    /// Reached from the entrypoint, from PATH, from installed packages or from library search paths.
    Error,
}

impl Severity {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// The layer that a file is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayerPlace {
    /// From 1, the lowest first.
    pub number: usize,
    /// Digest of its blob.
    pub digest: Digest,
    /// The instruction that made it, from the image's history.
    pub instruction: Option<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// The image's platform.
    pub platform: Platform,
    /// Absolute path of the file; None: it is about the image's documents.
    pub path: Option<String>,
    /// Where the file is.
    pub layer: Option<LayerPlace>,
    /// Why it is wrong.
    pub reason: String,
    /// What to do.
    pub repair: String,
    /// Files that this finding stands for.
    pub files: usize,
}
