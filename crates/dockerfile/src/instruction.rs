//! Every instruction and flag as a type. Values stay as they are written: expansion comes with the plan.

mod copy;
mod device;
mod flags;
mod mount;
mod parse;

use crate::Lines;
use crate::ast::Heredoc;
use crate::lint::Place;

pub use device::{DeviceSpec, parse_device};
pub use mount::{MountSpec, parse_mount};
pub use parse::{parse_instruction, parse_onbuild};

/// One instruction with its place and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub lines: Lines,
    /// The whole line as it was written, joined.
    pub original: String,
    /// Its word as it was written.
    pub keyword: String,
    /// The comment directly above, a line each.
    pub comments: Vec<String>,
}

impl Instruction {
    /// Where rules find it.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            lines: self.lines,
            comments: &self.comments,
        }
    }
}

/// The closed set of instructions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// FROM.
    From(From),
    /// ARG: names with their defaults.
    Arg(Vec<(String, Option<String>)>),
    /// ENV: names with values.
    Env(Vec<KeyValue>),
    /// LABEL.
    Label(Vec<KeyValue>),
    /// MAINTAINER.
    Maintainer(String),
    /// RUN.
    Run(Run),
    /// COPY or ADD.
    Copy(Copy),
    /// WORKDIR.
    Workdir(String),
    /// USER.
    User(String),
    /// CMD.
    Cmd(CommandLine),
    /// ENTRYPOINT.
    Entrypoint(CommandLine),
    /// EXPOSE.
    Expose(Vec<String>),
    /// VOLUME.
    Volume(Vec<String>),
    /// STOPSIGNAL.
    StopSignal(String),
    /// HEALTHCHECK.
    HealthCheck(HealthCheck),
    /// SHELL.
    Shell(Vec<String>),
    /// ONBUILD: the instruction as text.
    OnBuild(String),
}

/// `FROM [--platform=…] image [AS name]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct From {
    /// The image or stage.
    pub base: String,
    /// The stage's name, in lower case.
    pub name: Option<String>,
    /// `--platform`.
    pub platform: Option<String>,
}

/// A name with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
    /// Whether it was written `name value`, without an equals sign.
    pub legacy: bool,
}

/// A command: words, or a text for the shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The words, or the text as the only one.
    pub words: Vec<String>,
    /// Whether the shell reads it.
    pub shell: bool,
}

/// RUN.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub command: CommandLine,
    /// Its here-documents.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, as written: their values may hold variables.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Option<String>,
    /// `--device`.
    pub devices: Vec<String>,
}

/// COPY or ADD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// Whether it is ADD.
    pub add: bool,
    /// Paths, patterns, URLs.
    pub sources: Vec<String>,
    /// Here-documents that are files.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
    /// `--from`.
    pub from: Option<String>,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--checksum`.
    pub checksum: Option<String>,
    /// `--keep-git-dir`.
    pub keep_git_directory: Option<bool>,
    /// `--unpack`.
    pub unpack: Option<bool>,
}

/// HEALTHCHECK. Durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// None is `HEALTHCHECK NONE`.
    pub command: Option<CommandLine>,
    /// `--interval`.
    pub interval: i64,
    /// `--timeout`.
    pub timeout: i64,
    /// `--start-period`.
    pub start_period: i64,
    /// `--start-interval`.
    pub start_interval: i64,
    /// `--retries`.
    pub retries: i64,
}

impl Kind {
    /// The instruction's word.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::From(_) => "FROM",
            Kind::Arg(_) => "ARG",
            Kind::Env(_) => "ENV",
            Kind::Label(_) => "LABEL",
            Kind::Maintainer(_) => "MAINTAINER",
            Kind::Run(_) => "RUN",
            Kind::Copy(copy) if copy.add => "ADD",
            Kind::Copy(_) => "COPY",
            Kind::Workdir(_) => "WORKDIR",
            Kind::User(_) => "USER",
            Kind::Cmd(_) => "CMD",
            Kind::Entrypoint(_) => "ENTRYPOINT",
            Kind::Expose(_) => "EXPOSE",
            Kind::Volume(_) => "VOLUME",
            Kind::StopSignal(_) => "STOPSIGNAL",
            Kind::HealthCheck(_) => "HEALTHCHECK",
            Kind::Shell(_) => "SHELL",
            Kind::OnBuild(_) => "ONBUILD",
        }
    }
}
