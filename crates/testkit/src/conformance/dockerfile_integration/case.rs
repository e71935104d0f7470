//! The form of a case file.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One case.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    /// What the recording of the case lacks.
    #[serde(default)]
    pub(super) incomplete_reasons: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// One step of a case.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Step {
    Build(Box<Build>),
    Assert(Box<Assertion>),
    HttpServer {
        id: String,
        routes: BTreeMap<String, Route>,
    },
    PruneCache {},
}

/// A build.
#[derive(Debug, Deserialize)]
pub(super) struct Build {
    pub(super) id: u64,
    pub(super) mounts: BTreeMap<String, Mount>,
    pub(super) opts: BTreeMap<String, String>,
    pub(super) outputs: Vec<Output>,
    pub(super) expect: Expectation,
    #[serde(default)]
    pub(super) session: Vec<String>,
    #[serde(default)]
    pub(super) entitlements: Vec<String>,
    #[serde(default)]
    pub(super) cache_exports: Vec<CacheExport>,
    #[serde(default)]
    pub(super) cache_imports: Vec<CacheExport>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Expectation {
    Success,
    Error,
}

/// A directory that the build is given under a name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mount {
    #[serde(default)]
    pub(super) same_as: Option<String>,
    #[serde(default)]
    pub(super) files: Vec<File>,
}

/// A file of a mount. Fields that this code does not know would change what is tested, so they are an error.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: FileKind,
    /// Permission bits in octal.
    pub(super) mode: String,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) base64: Option<String>,
    #[serde(default)]
    pub(super) target: Option<String>,
    #[serde(default)]
    pub(super) uid: Option<u32>,
    #[serde(default)]
    pub(super) gid: Option<u32>,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub(super) mtime: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FileKind {
    File,
    Dir,
    Symlink,
    Socket,
    Fifo,
}

/// Where a build writes to.
#[derive(Debug, Deserialize)]
pub(super) struct Output {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) attrs: BTreeMap<String, String>,
}

/// Where a build's cache goes to or comes from.
#[derive(Debug, Deserialize)]
pub(super) struct CacheExport {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) attrs: BTreeMap<String, String>,
}

/// One answer of a case's HTTP server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Route {
    pub(super) content: Content,
    #[serde(default)]
    pub(super) etag: Option<String>,
    #[serde(default)]
    pub(super) lastmodified: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Content {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) base64: Option<String>,
}

/// What must be true at a point of a case.
#[derive(Debug, Deserialize)]
pub(super) struct Assertion {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) build: Option<u64>,
    #[serde(default)]
    pub(super) output: Option<String>,
    #[serde(default)]
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) abs: Option<String>,
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) base64: Option<String>,
    #[serde(default)]
    pub(super) regex: Option<String>,
    #[serde(default)]
    pub(super) value: Option<serde_json::Value>,
    #[serde(default)]
    pub(super) trim: bool,
    #[serde(default)]
    pub(super) nofollow: bool,
    #[serde(default)]
    pub(super) a: Option<Place>,
    #[serde(default)]
    pub(super) b: Option<Place>,
}

/// A file of an output.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    pub(super) output: String,
    pub(super) path: String,
}

/// A session that gives secrets.
pub(super) const SECRETS: &str = "*secretsprovider.secretProvider";

/// The value of every secret of the peers' tests.
pub(super) const SECRET: &str = "pw";
/// How the recording says that it lacks the content of the case's own server.
pub(super) const OWN_SERVER: &str = "ad-hoc http/git server";

/// What the recording of a case can lack so that nothing in it can be driven, each with the reason that is reported. A case
/// whose later assertions alone are missing is driven as far as it goes.
const NOT_RECORDED: &[(&str, &str)] = &[
    (OWN_SERVER, "the content of the case's own git server was not recorded"),
    (
        "asserts on path outside outputs",
        "the case asserts about files of the machine that it was recorded on",
    ),
    (
        "ad-hoc TCP listener",
        "the case needs a listener on a port that was free when it was recorded",
    ),
    ("context is a tar stream", "the uploaded context was not recorded"),
    (
        "needs client session-id API",
        "the case drives an interface that only the peer's Go library has",
    ),
    (
        "source policy not captured",
        "the case's source policy was not recorded",
    ),
    (
        "needs image",
        "the case needs an image that is not among the base images",
    ),
];

impl Case {
    /// Why the case cannot be driven; `None` when it can.
    pub(super) fn reason_to_skip(&self) -> Option<String> {
        let recorded = NOT_RECORDED
            .iter()
            .find(|(mark, _)| self.incomplete_reasons.iter().any(|reason| reason.contains(mark)))
            .map(|(_, reason)| (*reason).to_owned());
        recorded.or_else(|| {
            let builds = self.steps.iter().filter_map(|step| match step {
                Step::Build(build) => Some(build),
                _ => None,
            });
            let sessions: Vec<&str> = builds.flat_map(|build| &build.session).map(String::as_str).collect();
            // Of the secrets the value is known: the peers' tests give all of them the same.
            let kind = sessions.into_iter().find(|kind| *kind != SECRETS)?;
            Some(format!("the values behind the session `{kind}` were not recorded"))
        })
    }
}
