//! A09 and A10: what the documents say, compared with each other.

use std::collections::BTreeMap;

use kiln_oci::Platform;

use crate::elf::Kind;
use crate::facts::{EntryKind, FileFacts, LayerFacts};
use crate::finding::{Code, Finding, LayerPlace, Severity};
use crate::image::{Image, Layer};
use crate::target::Target;

/// Compares the images of one index.
pub(crate) fn check(images: &[Image]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for image in images {
        config_differs(image, &mut findings);
        pinned_bases(image, images.len(), &mut findings);
    }
    for (number, image) in images.iter().enumerate() {
        for other in &images[..number] {
            if image.platform() != other.platform() {
                shared(image, other, &mut findings);
            } else {
                let reason = format!("two entries of the index are for {}", image.platform());
                findings.push(finding(
                    image,
                    Severity::Warning,
                    reason,
                    "leave one of them out of the index",
                    None,
                ));
            }
        }
    }
    findings
}

fn finding(image: &Image, severity: Severity, reason: String, repair: &str, layer: Option<LayerPlace>) -> Finding {
    Finding {
        code: Code::ManifestLies,
        severity,
        platform: image.platform(),
        path: None,
        layer,
        reason,
        repair: repair.to_owned(),
        files: 1,
    }
}

fn config_differs(image: &Image, findings: &mut Vec<Finding>) {
    let Some(entry) = &image.entry_platform else { return };
    let declared = image.config.platform();
    let (own, said) = (declared.clone().normalized(), entry.clone().normalized());
    if (&own.os, &own.architecture) != (&said.os, &said.architecture) {
        let reason = format!("the index says {entry}, the image's configuration {declared}");
        let repair = "build the image for the platform that it is published for, instead of only writing its name into the index";
        findings.push(finding(image, Severity::Error, reason, repair, None));
        return;
    }
    if own.variant != said.variant {
        // Older tools leave the variant out of the configuration, which says less and not something else.
        let severity = if declared.variant.is_empty() || entry.variant.is_empty() {
            Severity::Note
        } else {
            Severity::Error
        };
        let reason = format!("the index says {entry}, the image's configuration {declared}");
        let repair = "let both name the same variant";
        findings.push(finding(image, severity, reason, repair, None));
    }
}

/// Two platforms that have the same manifest, the same base, or everything in common.
fn shared(image: &Image, other: &Image, findings: &mut Vec<Finding>) {
    let (platform, other_platform) = (image.platform(), other.platform());
    if image.manifest == other.manifest {
        let reason = format!("{platform} and {other_platform} are one manifest, {}", image.manifest);
        let repair = "build an image for each platform; one manifest can only be right for one of them";
        findings.push(finding(image, Severity::Error, reason, repair, None));
        return;
    }
    let common = image
        .layers
        .iter()
        .zip(&other.layers)
        .take_while(|(a, b)| a.digest == b.digest)
        .count();
    let instructions = image.instructions();
    // Programs of one platform at the bottom of both: one of them stands on the other's base.
    for (number, layer) in image.layers[..common].iter().enumerate() {
        let Some((runs_on, example)) = whose(&layer.facts, &platform, &other_platform) else {
            continue;
        };
        let wrong = if runs_on == platform { other } else { image };
        let place = LayerPlace {
            number: number + 1,
            digest: layer.digest.clone(),
            instruction: instructions[number].clone(),
        };
        let share =
            format!("{platform} and {other_platform} share a layer with programs of {runs_on}, such as `/{example}`");
        if number == 0 {
            let reason = format!("its base is that of {runs_on}: {share}");
            let repair = "take the base for $TARGETPLATFORM: leave `--platform` out of the last FROM, and pin it to the digest of an index";
            findings.push(finding(wrong, Severity::Error, reason, repair, Some(place)));
        } else {
            // What is wrong with the programs is said for each of them.
            let repair = "build what differs between platforms for each of them";
            findings.push(finding(wrong, Severity::Warning, share, repair, Some(place)));
        }
        return;
    }
    let all = common == image.layers.len() && common == other.layers.len() && common > 0;
    if all && has_machine_code(&image.layers) {
        let reason = format!("every layer of {platform} is also that of {other_platform}, with machine code in them");
        let repair = "build what differs between platforms for each of them";
        findings.push(finding(image, Severity::Warning, reason, repair, None));
    }
}

/// Which of two platforms the programs of a layer run on, if they run on one of them only.
fn whose(facts: &LayerFacts, a: &Platform, b: &Platform) -> Option<(Platform, String)> {
    let (first, second) = (Target::of(a)?, Target::of(b)?);
    let mut counts: BTreeMap<bool, (usize, String)> = BTreeMap::new();
    for entry in &facts.entries {
        let EntryKind::File(FileFacts::Elf(elf)) = &entry.kind else {
            continue;
        };
        if elf.kind == Kind::Other || !elf.is_program() {
            continue;
        }
        let on_first = first.starts(elf.machine) && first.refuses(elf).is_none();
        let on_second = second.starts(elf.machine) && second.refuses(elf).is_none();
        if on_first != on_second {
            counts.entry(on_first).or_insert_with(|| (0, entry.path.clone())).0 += 1;
        }
    }
    // A bundle holds programs of both.
    match (counts.remove(&true), counts.remove(&false)) {
        (Some((_, example)), None) => Some((a.clone(), example)),
        (None, Some((_, example))) => Some((b.clone(), example)),
        _ => None,
    }
}

fn has_machine_code(layers: &[Layer]) -> bool {
    let is_elf = |kind: &EntryKind| matches!(kind, EntryKind::File(FileFacts::Elf(elf)) if elf.kind != Kind::Other);
    layers
        .iter()
        .any(|layer| layer.facts.entries.iter().any(|entry| is_elf(&entry.kind)))
}

fn pinned_bases(image: &Image, platforms: usize, findings: &mut Vec<Finding>) {
    let platform = image.platform();
    for base in image.bases.iter().filter(|base| base.is_single) {
        let of_base = base.platform.clone().normalized();
        let matches = of_base == platform;
        if matches && platforms < 2 {
            continue;
        }
        let severity = if matches { Severity::Warning } else { Severity::Error };
        let at = base
            .instruction
            .as_ref()
            .map(|text| format!(" (`{text}`)"))
            .unwrap_or_default();
        let reason = if matches {
            format!(
                "the base `{}`{at} is pinned to the image of {of_base} alone, and {platforms} platforms are built",
                base.reference
            )
        } else {
            format!(
                "the base `{}`{at} is pinned to the image of {of_base}, and the platform is {platform}",
                base.reference
            )
        };
        findings.push(Finding {
            code: Code::SinglePlatformBase,
            severity,
            platform: platform.clone(),
            path: None,
            layer: None,
            reason,
            repair: "pin the base to the digest of its index, which holds every platform (`kiln inspect` of the tag shows it)"
                .to_owned(),
            files: 1,
        });
    }
}
