//! `kiln meta`: tags, labels and annotations for what is being built.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use kiln_meta::{BakePart, Document, Level, Metadata, Setting};
use serde_json::Value;

use crate::args::{MetaArgs, MetaFormat};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::output;
use crate::settings::meta::{self, BAKE_TARGET, Chosen, variable};

/// Computes, and writes what was asked for.
pub fn run(args: &MetaArgs, environment: &Environment) -> Result<i32, CommandError> {
    let document = meta::inputs(args)?;
    let levels = meta::levels(environment)?;
    let source = meta::source(args.context, &document)?;
    let event = meta::event(source, &Chosen::of(args), environment)?;
    let metadata = Metadata::compute(&document.inputs, &event, &meta::options(environment)?)
        .map_err(|error| meta::refused(&error))?;
    for warning in &metadata.warnings {
        output::talk(&format!("warning: {warning}"));
    }
    let written = Written {
        format: args.format,
        document: &document,
        metadata: &metadata,
        levels: &levels,
    };
    for text in &args.bake_file {
        let (part, file) = bake_part(text);
        written.bake_file(part, Path::new(file))?;
    }
    if args.github_output {
        written.to_following_steps(environment)?;
    }
    let text = written.text();
    if !text.is_empty() {
        output::line(&text);
    }
    Ok(0)
}

/// `[PART=]FILE`.
fn bake_part(text: &str) -> (BakePart, &str) {
    match text.split_once('=') {
        Some(("tags", file)) => (BakePart::Tags, file),
        Some(("labels", file)) => (BakePart::Labels, file),
        Some(("annotations", file)) => (BakePart::Annotations, file),
        _ => (BakePart::TagsAndLabels, text),
    }
}

/// The metadata in the forms that can be asked for.
struct Written<'run> {
    format: MetaFormat,
    document: &'run Document,
    metadata: &'run Metadata,
    levels: &'run [Level],
}

impl<'run> Written<'run> {
    fn setting(&self, setting: Setting, usual: &'run str) -> &'run str {
        self.document.settings.get(&setting).map_or(usual, String::as_str)
    }

    fn bake(&self, part: BakePart) -> Value {
        let target = self.setting(Setting::BakeTarget, BAKE_TARGET);
        self.metadata.bake_file(target, part, self.levels)
    }

    fn tags(&self) -> String {
        self.metadata.tags().join(self.setting(Setting::SepTags, "\n"))
    }

    fn tag_names(&self) -> String {
        self.metadata.tag_names().join(self.setting(Setting::SepTags, "\n"))
    }

    fn labels(&self) -> String {
        self.metadata.labels().join(self.setting(Setting::SepLabels, "\n"))
    }

    fn annotations(&self) -> String {
        self.metadata
            .annotations_on(self.levels)
            .join(self.setting(Setting::SepAnnotations, "\n"))
    }

    fn version(&self) -> String {
        self.metadata.version.main.clone().unwrap_or_default()
    }

    /// The outputs that are texts, by the names that the action gives them.
    fn outputs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("version", self.version()),
            ("tags", self.tags()),
            ("tag-names", self.tag_names()),
            ("labels", self.labels()),
            ("annotations", self.annotations()),
            ("json", self.metadata.to_json(self.levels).to_string()),
        ]
    }

    fn text(&self) -> String {
        match self.format {
            MetaFormat::Text => self.for_people(),
            MetaFormat::Json => format!("{:#}", self.metadata.to_json(self.levels)),
            MetaFormat::Bake => format!("{:#}", self.bake(BakePart::TagsAndLabels)),
            MetaFormat::Version => self.version(),
            MetaFormat::Tags => self.tags(),
            MetaFormat::TagNames => self.tag_names(),
            MetaFormat::Labels => self.labels(),
            MetaFormat::Annotations => self.annotations(),
            MetaFormat::Env => {
                let lines = self.outputs().into_iter().map(|(name, value)| {
                    // A shell knows no escape inside single quotes.
                    format!("{}='{}'", variable_name(name), value.replace('\'', "'\\''"))
                });
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn for_people(&self) -> String {
        let mut text = format!("version: {}", self.version());
        let lists = [
            ("tags", self.metadata.tags()),
            ("labels", self.metadata.labels()),
            ("annotations", self.metadata.annotations_on(self.levels)),
        ];
        for (name, lines) in lists {
            text.push_str(&format!("\n{name}:"));
            for line in lines {
                text.push_str(&format!("\n  {}", line.replace('\n', "\n    ")));
            }
        }
        text
    }

    fn bake_file(&self, part: BakePart, file: &Path) -> Result<(), CommandError> {
        fs::write(file, format!("{:#}\n", self.bake(part))).map_err(|error| cannot_write(file, &error))
    }

    /// Adds every output to the files by which GitHub, Gitea and Forgejo hand them on, and bake files beside them.
    fn to_following_steps(&self, environment: &Environment) -> Result<(), CommandError> {
        let file = |name: &str| {
            variable(environment, name).map(PathBuf::from).ok_or_else(|| {
                CommandError::user(format!("--github-output needs the variable {name}, which names a file"))
                    .hint("it is set inside a job; elsewhere use --format or --bake-file")
            })
        };
        let mut outputs = self.outputs();
        let directory = bake_directory(environment)?;
        for (name, part) in [
            ("bake-file-tags", BakePart::Tags),
            ("bake-file-labels", BakePart::Labels),
            ("bake-file-annotations", BakePart::Annotations),
            ("bake-file", BakePart::TagsAndLabels),
        ] {
            let path = directory.join(format!("docker-metadata-action-{}.json", name.replacen("-file", "", 1)));
            self.bake_file(part, &path)?;
            outputs.push((name, path.display().to_string()));
        }
        append(&file("GITHUB_OUTPUT")?, &outputs)?;
        let with_variables = match variable(environment, "DOCKER_METADATA_SET_OUTPUT_ENV") {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some(other) => {
                return Err(CommandError::user(format!(
                    "DOCKER_METADATA_SET_OUTPUT_ENV is neither true nor false: `{other}`"
                )));
            }
        };
        if with_variables {
            let variables: Vec<_> = outputs
                .iter()
                .map(|(name, value)| (variable_name(name), value.clone()))
                .collect();
            append(&file("GITHUB_ENV")?, &variables)?;
        }
        Ok(())
    }
}

/// A directory for bake files that the following steps of the job find.
fn bake_directory(environment: &Environment) -> Result<PathBuf, CommandError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("kiln-meta-");
    let made = match variable(environment, "RUNNER_TEMP") {
        Some(directory) => builder.tempdir_in(directory),
        None => builder.tempdir(),
    };
    let directory = made.map_err(|error| {
        let mut command = CommandError::from_error(ErrorKind::Environment, &error);
        command
            .messages
            .insert(0, "failed to make a directory for bake files".to_owned());
        command
    })?;
    Ok(directory.keep())
}

/// The name of the variable that the action sets for an output.
fn variable_name(output: &str) -> String {
    format!("DOCKER_METADATA_OUTPUT_{}", output.replace('-', "_").to_uppercase())
}

/// Adds values to a file of the runner. Each is written between two lines that do not occur in it.
fn append<N: AsRef<str>>(file: &Path, values: &[(N, String)]) -> Result<(), CommandError> {
    let mut text = String::new();
    for (name, value) in values {
        let mut delimiter = "kiln_meta_value".to_owned();
        while value.lines().any(|line| line.trim_end() == delimiter) {
            delimiter.push('_');
        }
        text.push_str(&format!("{}<<{delimiter}\n{value}\n{delimiter}\n", name.as_ref()));
    }
    let mut open = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .map_err(|error| cannot_write(file, &error))?;
    open.write_all(text.as_bytes())
        .map_err(|error| cannot_write(file, &error))
}

fn cannot_write(file: &Path, error: &std::io::Error) -> CommandError {
    let mut command = CommandError::from_error(ErrorKind::Environment, error);
    command
        .messages
        .insert(0, format!("failed to write `{}`", file.display()));
    command
}
