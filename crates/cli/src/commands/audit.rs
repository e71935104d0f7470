//! `kiln audit`: can what each platform's image holds run there?

use std::path::Path;

use kiln_audit::{Severity, render};
use kiln_oci::{Descriptor, Platform};

use crate::args::{AuditArgs, FailingSeverity, ReportFormat};
use crate::audit::blobs::{self, BlobError, Blobs};
use crate::audit::source::{self, Candidate, Source};
use crate::audit::{allow_list, bases, today};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::{machine, output, settings};

/// Audits, and gives the exit code.
pub fn run(args: &AuditArgs, environment: &Environment) -> Result<i32, CommandError> {
    let source = Source::parse(&args.image)?;
    let wanted = args
        .platform
        .iter()
        .map(|text| settings::platform(text))
        .collect::<Result<Vec<_>, _>>()?;
    let allow = allow_list(args.config.as_deref(), Path::new("."))?;
    let store = machine::store(environment)?;
    let client = machine::client(environment)?;
    let runtime = machine::runtime()?;
    let opened = source::open(&source, &store, &client, &runtime, args.pull)?;
    let mut images = chosen(opened.images, &wanted, &args.image)?;
    if matches!(source, Source::Name(_)) {
        bases::learn(&mut images, &client, &store, &runtime);
    }
    let images = with_facts(images, &opened.blobs, &store)?;
    let report = kiln_audit::audit(&images, &allow, today());
    let fails = match args.fail_on {
        FailingSeverity::Error => Some(Severity::Error),
        FailingSeverity::Warning => Some(Severity::Warning),
        FailingSeverity::Note => Some(Severity::Note),
        FailingSeverity::Never => None,
    };
    let version = env!("CARGO_PKG_VERSION");
    match args.format {
        ReportFormat::Text => output::line(&render::text(&args.image, &report)),
        ReportFormat::Json => output::line(&format!("{:#}", render::json(&args.image, &report))),
        ReportFormat::Sarif => output::line(&format!("{:#}", render::sarif(&args.image, version, &report))),
        ReportFormat::Junit => output::line(&render::junit(&args.image, &report, fails)),
        ReportFormat::Github => {
            let lines = render::github(&report);
            if !lines.is_empty() {
                output::line(&lines);
            }
        }
    }
    if args.format != ReportFormat::Text {
        for remark in &report.remarks {
            output::talk(&format!("remark: {remark}"));
        }
    }
    let failed = fails.is_some_and(|fails| report.worst().is_some_and(|worst| worst >= fails));
    Ok(i32::from(failed))
}

/// The images of the wanted platforms; all of them if none is named.
fn chosen(images: Vec<Candidate>, wanted: &[Platform], name: &str) -> Result<Vec<Candidate>, CommandError> {
    if images.is_empty() {
        return Err(CommandError::user(format!("`{name}` holds no image")));
    }
    let available: Vec<String> = images.iter().map(|image| image.platform().to_string()).collect();
    for platform in wanted {
        if !images.iter().any(|image| image.platform() == *platform) {
            return Err(CommandError::user(format!("`{name}` has no image for {platform}"))
                .hint(format!("the image has: {}", available.join(", "))));
        }
    }
    Ok(images
        .into_iter()
        .filter(|image| wanted.is_empty() || wanted.contains(&image.platform()))
        .collect())
}

/// Reads the layers of all images, equal ones once.
fn with_facts(
    images: Vec<Candidate>,
    blobs: &Blobs,
    store: &kiln_store::Store,
) -> Result<Vec<kiln_audit::Image>, CommandError> {
    let layers: Vec<&Descriptor> = images.iter().flat_map(|image| &image.layers).collect();
    let mut facts = blobs::facts(store, blobs, &layers)
        .map_err(|error| explain(&error))?
        .into_iter();
    let counts: Vec<usize> = images.iter().map(|image| image.layers.len()).collect();
    Ok(images
        .into_iter()
        .zip(counts)
        .map(|(image, count)| image.with_facts(facts.by_ref().take(count).collect()))
        .collect())
}

fn explain(error: &BlobError) -> CommandError {
    let kind = match error {
        BlobError::Open { .. } | BlobError::Store(_) => ErrorKind::Environment,
        BlobError::Read { .. } | BlobError::Digest { .. } => ErrorKind::User,
    };
    let command = CommandError::from_error(kind, error);
    match error {
        BlobError::Open { .. } => command.hint("is the image complete where it is? An image that was built here and never pushed may stand on layers that only its base's registry has: `kiln build --audit=warn` audits it"),
        BlobError::Read { .. } => command.hint("runtimes cannot unpack this layer either: push or export the image again"),
        BlobError::Digest { .. } => command.hint("the archive or layout is damaged: export the image again"),
        BlobError::Store(_) => command,
    }
}
