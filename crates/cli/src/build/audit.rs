//! The gate before publishing: does each platform's image hold what can run there?

use std::sync::Arc;

use kiln_audit::{Base, Finding, Image, Report, Severity, render};
use kiln_graph::{AuditFinding, Event};
use kiln_oci::{Descriptor, Platform};
use kiln_worker::Layers;

use crate::audit::blobs::{self, Blobs, Fetch};
use crate::audit::source::Candidate;
use crate::audit::today;
use crate::build::publish::task;
use crate::build::request::AuditRequest;
use crate::build::{BuildError, BuildRequest, BuiltImage, Machine};

/// Paragraphs that a build tells; `kiln audit` tells all.
const TOLD: usize = 20;

/// A base image that is pinned by digest to one platform's manifest.
#[derive(Debug, Clone)]
pub struct PinnedBase {
    /// The platform that it is used for.
    pub used_for: Platform,
    /// The base.
    pub base: Base,
}

/// Audits what was built, as far as the request wants it. Errors keep it from being published if the request says so.
pub(super) async fn gate(
    request: &BuildRequest,
    machine: &Machine,
    layers: &Layers,
    pinned: &[PinnedBase],
    built: &[BuiltImage],
) -> Result<(), BuildError> {
    let Some(audit) = &request.audit else { return Ok(()) };
    let candidates: Vec<Candidate> = built
        .iter()
        .filter_map(|built| candidate(built, pinned, built_platforms(request)))
        .collect();
    if candidates.is_empty() {
        return Ok(());
    }
    if !audit.asked && is_elsewhere(machine, layers, &candidates)? {
        machine.events.send(Event::Warning {
            message: "the images were not audited: layers of them are in a cache and not here".to_owned(),
            hints: vec![
                "`--audit=warn` fetches them for it, and `kiln audit NAME` looks at what was pushed".to_owned(),
            ],
        });
        return Ok(());
    }
    task(machine, "audit".to_owned(), async {
        match look(machine, layers, audit, candidates).await {
            Ok(report) => tell(machine, audit, &report),
            Err(error) if audit.refuses => Err(error),
            Err(error) => {
                machine.events.send(Event::Warning {
                    message: crate::command_error::chain(&error).join(": "),
                    hints: vec!["`--audit=off` leaves the audit out".to_owned()],
                });
                Ok(())
            }
        }
    })
    .await
}

/// Whether layers would have to come from a cache, which otherwise nothing needs: whoever wrote the cache had them.
fn is_elsewhere(machine: &Machine, layers: &Layers, candidates: &[Candidate]) -> Result<bool, BuildError> {
    for layer in candidates.iter().flat_map(|candidate| &candidate.layers) {
        let cached = layers.is_only_cached(&layer.digest);
        let known = || blobs::remembered(&machine.store, layer).map(|facts| facts.is_some());
        if cached.map_err(|source| BuildError::Worker(Box::new(source)))?
            && !known().map_err(|source| BuildError::AuditFailed(Box::new(source)))?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn built_platforms(request: &BuildRequest) -> usize {
    request.plan.platforms.len()
}

fn candidate(built: &BuiltImage, pinned: &[PinnedBase], platforms: usize) -> Option<Candidate> {
    let image = built.image.as_ref()?;
    let bases = pinned
        .iter()
        .filter(|pinned| pinned.used_for == built.platform)
        .map(|pinned| pinned.base.clone());
    Some(Candidate {
        // A single image has no index that could say something else.
        entry_platform: (platforms > 1).then(|| built.platform.clone()),
        manifest: image.manifest.digest().clone(),
        config: image.config.value().clone(),
        layers: image.manifest.value().layers.clone(),
        annotations: image.manifest.value().annotations.clone(),
        bases: bases.collect(),
    })
}

async fn look(
    machine: &Machine,
    layers: &Layers,
    audit: &AuditRequest,
    candidates: Vec<Candidate>,
) -> Result<Report, BuildError> {
    let (store, allow) = (machine.store.clone(), audit.allow.clone());
    let (handle, layers) = (tokio::runtime::Handle::current(), layers.clone());
    let fetch: Fetch = Arc::new(move |layer: &Descriptor| {
        handle
            .block_on(layers.fetch_blob(&layer.digest))
            .map_err(|error| Box::new(error).into())
    });
    let looked = tokio::task::spawn_blocking(move || {
        let descriptors: Vec<&Descriptor> = candidates.iter().flat_map(|image| &image.layers).collect();
        let mut facts = blobs::facts(&store, &Blobs::Store(fetch), &descriptors)?.into_iter();
        let counts: Vec<usize> = candidates.iter().map(|image| image.layers.len()).collect();
        let images: Vec<Image> = candidates
            .into_iter()
            .zip(counts)
            .map(|(image, count)| image.with_facts(facts.by_ref().take(count).collect()))
            .collect();
        Ok(kiln_audit::audit(&images, &allow, today()))
    });
    match looked.await {
        Ok(report) => report.map_err(|source| BuildError::AuditFailed(Box::new(source))),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn tell(machine: &Machine, audit: &AuditRequest, report: &Report) -> Result<(), BuildError> {
    for platform in &report.platforms {
        machine.events.send(Event::AuditFinished {
            platform: platform.platform.clone(),
            findings: platform.findings.iter().map(recorded).collect(),
        });
    }
    let errors = report.count(Severity::Error);
    if audit.refuses && errors > 0 {
        let text: Vec<String> = render::paragraphs(report, Severity::Error)
            .into_iter()
            .map(|(text, repair)| format!("  {text}\n    hint: {repair}"))
            .collect();
        return Err(BuildError::Refused {
            errors,
            findings: text.join("\n"),
        });
    }
    let told = render::paragraphs(report, Severity::Warning);
    let more = told.len().saturating_sub(TOLD);
    for (message, repair) in told.into_iter().take(TOLD) {
        machine.events.send(Event::Warning {
            message,
            hints: vec![repair],
        });
    }
    if more > 0 {
        machine.events.send(Event::Warning {
            message: format!("the audit found {more} more things"),
            hints: vec!["`kiln audit` of the image tells all of them".to_owned()],
        });
    }
    for remark in &report.remarks {
        machine.events.send(Event::Warning {
            message: remark.clone(),
            hints: Vec::new(),
        });
    }
    Ok(())
}

/// A finding as the build's record has it.
fn recorded(finding: &Finding) -> AuditFinding {
    AuditFinding {
        code: finding.code.id().to_owned(),
        severity: match finding.severity {
            Severity::Error => kiln_graph::Severity::Error,
            Severity::Warning => kiln_graph::Severity::Warning,
            Severity::Note => kiln_graph::Severity::Note,
        },
        path: finding.path.clone().unwrap_or_default(),
        instruction: finding.layer.as_ref().and_then(|layer| layer.instruction.clone()),
        message: finding.reason.clone(),
        repair: Some(finding.repair.clone()),
    }
}
