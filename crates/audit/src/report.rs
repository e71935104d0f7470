//! What an audit came to.

use kiln_oci::{Digest, Platform};

use crate::allow::AllowList;
use crate::check::{self, Checks};
use crate::finding::{Finding, Severity};
use crate::image::Image;
use crate::libraries::{Linking, Search};
use crate::reach::Reach;
use crate::root::Root;
use crate::target::Target;
use crate::view::View;

/// What was found in the images behind one name.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By platform, in the order of the index.
    pub platforms: Vec<PlatformReport>,
    /// Findings that the allow list covers.
    pub allowed: Vec<Allowed>,
    /// What the reader of the report should know: expired and unused rows of the allow list, what was not looked at.
    pub remarks: Vec<String>,
}

/// What was found in one platform's image.
#[derive(Debug, Clone)]
pub struct PlatformReport {
    /// What it is for.
    pub platform: Platform,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// The worst first.
    pub findings: Vec<Finding>,
    /// Files that were looked at.
    pub files: usize,
}

/// A finding that somebody has allowed.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// The finding.
    pub finding: Finding,
    /// Why it is allowed.
    pub reason: String,
}

impl Report {
    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.platforms.iter().flat_map(|platform| &platform.findings)
    }

    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings().filter(|finding| finding.severity == severity).count()
    }

    /// The worst severity.
    pub fn worst(&self) -> Option<Severity> {
        self.findings().map(|finding| finding.severity).max()
    }
}

/// Audits the images behind one name: each by itself, all platforms at once, and then compared with each other.
pub fn audit(images: &[Image], allow: &AllowList, today: jiff::civil::Date) -> Report {
    let mut report = Report::default();
    let audited: Vec<(PlatformReport, Vec<String>)> = std::thread::scope(|scope| {
        let handles: Vec<_> = images
            .iter()
            .map(|image| scope.spawn(move || audit_one(image)))
            .collect();
        let joined = handles.into_iter().map(|handle| match handle.join() {
            Ok(audited) => audited,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    for (platform, remarks) in audited {
        report.platforms.push(platform);
        report.remarks.extend(remarks);
    }
    for finding in check::images::check(images) {
        let owner = images.iter().position(|image| image.platform() == finding.platform);
        if let Some(platform) = owner.and_then(|number| report.platforms.get_mut(number)) {
            platform.findings.push(finding);
        }
    }
    allow.apply(&mut report, today);
    for platform in &mut report.platforms {
        platform.findings.sort_by(|a, b| {
            let key = |finding: &Finding| (std::cmp::Reverse(finding.severity), finding.code, finding.path.clone());
            key(a).cmp(&key(b))
        });
    }
    report
}

fn audit_one(image: &Image) -> (PlatformReport, Vec<String>) {
    let platform = image.platform();
    let mut report = PlatformReport {
        platform: platform.clone(),
        manifest: image.manifest.clone(),
        findings: Vec::new(),
        files: 0,
    };
    let Some(target) = Target::of(&platform) else {
        let remark =
            format!("{platform}: only images for Linux are looked into; index and configuration were compared");
        return (report, vec![remark]);
    };
    let mut remarks = Vec::new();
    let root = Root::of(image.layers.iter().map(|layer| layer.facts.as_ref()));
    report.files = root.all().count();
    let partial = root.all().filter(|(_, node)| is_partial(node)).map(|(path, _)| path);
    let partial: Vec<&str> = partial.collect();
    if let Some(first) = partial.first() {
        let count = partial.len();
        remarks.push(format!(
            "{platform}: {count} files are too large or too broken to be read in full, such as `/{first}`; what they need is not checked"
        ));
    }
    let view = View::new(target, &root, &image.config.config);
    let mut search = Search::new(&view);
    let mut linking = Linking::default();
    let reach = Reach::of(&view, &mut search, &mut linking);
    let mut checks = Checks::new(&view, reach, image);
    check::addons::check(&mut checks);
    check::wheels::check(&mut checks);
    check::binaries::check(&mut checks);
    check::jars::check(&mut checks);
    check::linking::check(&mut checks, &mut search, linking);
    check::scripts::check(&mut checks);
    check::entrypoint::check(&mut checks);
    checks.tell_of_bundles();
    report.findings = checks.findings;
    (report, remarks)
}

fn is_partial(node: &crate::root::Node<'_>) -> bool {
    use crate::facts::FileFacts;
    match node.file() {
        Some(FileFacts::Elf(elf)) => elf.partial,
        Some(FileFacts::Jar(jar)) => jar.partial,
        _ => false,
    }
}
