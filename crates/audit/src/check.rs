//! The checks of one image, each in a module of its own.

pub(crate) mod addons;
pub(crate) mod binaries;
pub(crate) mod entrypoint;
pub(crate) mod images;
pub(crate) mod jars;
pub(crate) mod linking;
pub(crate) mod scripts;
pub(crate) mod wheels;

use std::collections::BTreeMap;
use std::collections::HashSet;

use crate::finding::{Code, Finding, LayerPlace, Severity};
use crate::image::Image;
use crate::places::{Bundle, Places};
use crate::reach::{Reach, Use};
use crate::view::View;

/// What every check works with, and where it puts what it finds.
pub(crate) struct Checks<'v, 'a> {
    pub(crate) view: &'v View<'a>,
    pub(crate) reach: Reach,
    pub(crate) places: Places<'v, 'a>,
    layers: Vec<LayerPlace>,
    pub(crate) findings: Vec<Finding>,
    /// Files that were found wrong: what else is wrong with them follows from that.
    pub(crate) wrong: HashSet<String>,
    /// Directories whose packages were found wrong, which stands for all files in them.
    pub(crate) wrong_packages: Vec<String>,
    /// Legitimate foreign binaries: told of by directory.
    bundles: BTreeMap<(Code, Bundle), Vec<String>>,
}

impl<'v, 'a> Checks<'v, 'a> {
    pub(crate) fn new(view: &'v View<'a>, reach: Reach, image: &Image) -> Checks<'v, 'a> {
        let instructions = image.instructions();
        let layers = image.layers.iter().zip(instructions).enumerate();
        Checks {
            view,
            reach,
            places: Places::new(view),
            layers: layers
                .map(|(number, (layer, instruction))| LayerPlace {
                    number: number + 1,
                    digest: layer.digest.clone(),
                    instruction,
                })
                .collect(),
            findings: Vec::new(),
            wrong: HashSet::new(),
            wrong_packages: Vec::new(),
            bundles: BTreeMap::new(),
        }
    }

    /// Adds a finding about a file.
    pub(crate) fn add(&mut self, code: Code, severity: Severity, path: &str, reason: String, repair: String) {
        let layer = self
            .view
            .root
            .node(path)
            .and_then(|node| self.layers.get(node.layer))
            .cloned();
        self.findings.push(Finding {
            code,
            severity,
            platform: self.view.target.platform.clone(),
            path: Some(format!("/{path}")),
            layer,
            reason,
            repair,
            files: 1,
        });
    }

    /// Adds a finding about the configuration.
    pub(crate) fn add_about_config(&mut self, code: Code, severity: Severity, reason: String, repair: String) {
        self.findings.push(Finding {
            code,
            severity,
            platform: self.view.target.platform.clone(),
            path: None,
            layer: None,
            reason,
            repair,
            files: 1,
        });
    }

    /// A foreign binary where foreign binaries are at home.
    pub(crate) fn add_to_bundle(&mut self, code: Code, bundle: Bundle, path: &str) {
        self.bundles.entry((code, bundle)).or_default().push(path.to_owned());
    }

    /// One note for each bundle.
    pub(crate) fn tell_of_bundles(&mut self) {
        for ((code, bundle), files) in std::mem::take(&mut self.bundles) {
            let first = &files[0];
            let count = files.len();
            let reason = match count {
                1 => format!("`/{first}` is for another platform: {}", bundle.why),
                _ => format!(
                    "{count} files are for other platforms, such as `/{first}`: {}",
                    bundle.why
                ),
            };
            let layer = self
                .view
                .root
                .node(first)
                .and_then(|node| self.layers.get(node.layer))
                .cloned();
            self.findings.push(Finding {
                code,
                severity: Severity::Note,
                platform: self.view.target.platform.clone(),
                path: Some(format!("/{}", bundle.directory)),
                layer,
                reason,
                repair: "nothing needs to be done; leave out what this platform does not use to make the image smaller"
                    .to_owned(),
                files: count,
            });
        }
    }

    /// An error if the file is used, a warning if nothing is known to use it.
    pub(crate) fn severity(&self, path: &str) -> Severity {
        if self.reach.of_path(path).is_some() {
            Severity::Error
        } else {
            Severity::Warning
        }
    }

    /// Whether the configuration or PATH makes it a program of this image.
    pub(crate) fn is_started(&self, path: &str) -> bool {
        self.reach.of_path(path).is_some_and(|used| used <= Use::Path)
    }

    /// Why it is used, to be put behind a reason.
    pub(crate) fn because(&self, path: &str) -> String {
        self.reach
            .of_path(path)
            .map(|used| format!(" ({})", used.text()))
            .unwrap_or_default()
    }

    /// Whether another finding stands for this file.
    pub(crate) fn is_covered(&self, path: &str) -> bool {
        let in_package = |package: &String| {
            path.strip_prefix(package.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        };
        self.wrong.contains(path) || self.wrong_packages.iter().any(in_package)
    }
}
