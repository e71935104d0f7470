//! Rows of the table: images, and the errors that are planted in them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use kiln_testkit::{AuditParts, TestkitError, Tree};
use serde_json::{Value, json};

/// An error as the table expects it. `path` is empty when it is about documents.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Error {
    pub(crate) platform: String,
    pub(crate) code: String,
    pub(crate) path: String,
}

/// One platform's image.
pub(crate) struct CaseImage {
    pub(crate) platform: String,
    /// What the index says, if it says something else.
    pub(crate) entry: Option<Value>,
    pub(crate) layers: Vec<(String, Rc<Tree>)>,
    pub(crate) config: Value,
}

impl CaseImage {
    /// An image of one layer that starts a shell.
    pub(crate) fn new(platform: &str, base: impl Into<Rc<Tree>>) -> CaseImage {
        CaseImage {
            platform: platform.to_owned(),
            entry: None,
            layers: vec![("base".to_owned(), base.into())],
            config: json!({
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["/bin/sh"],
            }),
        }
    }

    /// With a further layer.
    pub(crate) fn layer(mut self, instruction: &str, tree: impl Into<Rc<Tree>>) -> CaseImage {
        self.layers.push((instruction.to_owned(), tree.into()));
        self
    }

    /// With a member of the configuration.
    pub(crate) fn with(mut self, name: &str, value: Value) -> CaseImage {
        self.config[name] = value;
        self
    }
}

/// A row: the images behind one name.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) images: Vec<CaseImage>,
    pub(crate) errors: Vec<Error>,
    /// Whether every entry of the index points at the first image's manifest.
    pub(crate) shares_manifest: bool,
}

/// The table, and what its images are made of.
pub(crate) struct Table {
    pub(crate) parts: AuditParts,
    pub(crate) cases: Vec<Case>,
    /// Roots by C library and architecture: equal ones are one layer.
    bases: RefCell<HashMap<String, Rc<Tree>>>,
}

impl Table {
    pub(crate) fn prepare() -> Result<Table, TestkitError> {
        Ok(Table {
            parts: AuditParts::prepare()?,
            cases: Vec::new(),
            bases: RefCell::default(),
        })
    }

    /// A root with glibc and a shell.
    pub(crate) fn glibc(&self, architecture: &str) -> Result<Rc<Tree>, TestkitError> {
        self.base(&format!("glibc {architecture}"), || {
            super::bases::glibc(&self.parts, architecture)
        })
    }

    /// A root with musl and a shell.
    pub(crate) fn musl(&self, architecture: &str) -> Result<Rc<Tree>, TestkitError> {
        self.base(&format!("musl {architecture}"), || {
            super::bases::musl(&self.parts, architecture)
        })
    }

    fn base(&self, name: &str, make: impl FnOnce() -> Result<Tree, TestkitError>) -> Result<Rc<Tree>, TestkitError> {
        if let Some(known) = self.bases.borrow().get(name) {
            return Ok(known.clone());
        }
        let made = Rc::new(make()?);
        self.bases.borrow_mut().insert(name.to_owned(), made.clone());
        Ok(made)
    }

    /// A row of one image without a fault.
    pub(crate) fn clean(&mut self, name: &str, image: CaseImage) {
        self.faulty(name, image, &[]);
    }

    /// A row of one image with errors at paths.
    pub(crate) fn faulty(&mut self, name: &str, image: CaseImage, errors: &[(&str, &str)]) {
        let platform = image.platform.clone();
        let errors: Vec<_> = errors
            .iter()
            .map(|(code, path)| (platform.as_str(), *code, *path))
            .collect();
        self.several(name, vec![image], &errors);
    }

    /// A row of several images.
    pub(crate) fn several(&mut self, name: &str, images: Vec<CaseImage>, errors: &[(&str, &str, &str)]) {
        let errors = errors.iter().map(|(platform, code, path)| Error {
            platform: (*platform).to_owned(),
            code: (*code).to_owned(),
            path: (*path).to_owned(),
        });
        self.cases.push(Case {
            name: name.to_owned(),
            images,
            errors: errors.collect(),
            shares_manifest: false,
        });
    }
}
