//! The audit against a table of truth: images made of real packages and real compilers' output, with faults planted in
//! some. Every planted fault must be found at its file under its code, and nothing else may be called an error.

mod audit_truth {
    pub(crate) mod bases;
    pub(crate) mod clean;
    pub(crate) mod documents;
    pub(crate) mod faults;
    pub(crate) mod languages;
    pub(crate) mod table;
}

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use audit_truth::table::{Case, Error, Table};
use kiln_testkit::{Fixture, ImageLayout, Layer, TestResult, Tree};

/// The images that the table must have, so that rows do not vanish unnoticed.
const LEAST_IMAGES: usize = 60;

#[test]
#[expect(clippy::print_stdout, reason = "the tally is the result of the table")]
fn planted_faults_are_found_and_nothing_else_is_an_error() -> TestResult {
    let mut table = Table::prepare()?;
    audit_truth::clean::add(&mut table)?;
    audit_truth::faults::add(&mut table)?;
    audit_truth::languages::add(&mut table)?;
    audit_truth::documents::add(&mut table)?;
    let images: usize = table.cases.iter().map(|case| case.images.len()).sum();
    assert!(images >= LEAST_IMAGES, "the table has {images} images");

    let fixture = Fixture::new()?;
    let mut writer = Writer {
        layout: ImageLayout::create(&fixture.directory().join("layout"))?,
        layers: HashMap::new(),
    };
    let mut wrong = Vec::new();
    let mut tally: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for (number, case) in table.cases.iter().enumerate() {
        let found = audit(&fixture, &mut writer, case, number)?;
        let expected: BTreeSet<Error> = case.errors.iter().cloned().collect();
        for error in expected.union(&found) {
            let counts = tally.entry(error.code.clone()).or_default();
            counts[0] += usize::from(expected.contains(error));
            counts[1] += usize::from(expected.contains(error) && found.contains(error));
            counts[2] += usize::from(found.contains(error));
        }
        let missed: Vec<_> = expected.difference(&found).collect();
        let surplus: Vec<_> = found.difference(&expected).collect();
        if !missed.is_empty() || !surplus.is_empty() {
            wrong.push(format!(
                "{}: missed {missed:#?}, called an error {surplus:#?}",
                case.name
            ));
        }
    }
    println!("{} images in {} rows", images, table.cases.len());
    for (code, [planted, hit, reported]) in &tally {
        println!("{code}: {planted} planted, {hit} found; {reported} reported");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let codes: Vec<&str> = tally.keys().map(String::as_str).collect();
    assert_eq!(codes, ["A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A09"]);
    Ok(())
}

/// Writes rows into one layout, in which equal layers are one.
struct Writer {
    layout: ImageLayout,
    layers: HashMap<*const Tree, Layer>,
}

impl Writer {
    fn write(&mut self, case: &Case, name: &str) -> TestResult {
        let mut entries = Vec::new();
        for image in &case.images {
            let mut layers = Vec::new();
            for (instruction, tree) in &image.layers {
                let key = Rc::as_ptr(tree);
                if !self.layers.contains_key(&key) {
                    self.layers.insert(key, self.layout.add_layer(tree)?);
                }
                layers.push((instruction.as_str(), self.layers[&key].clone()));
            }
            let layers: Vec<_> = layers
                .iter()
                .map(|(instruction, layer)| (*instruction, layer))
                .collect();
            let mut entry = self.layout.add_layers(&image.platform, &layers, image.config.clone())?;
            if let Some(platform) = &image.entry {
                entry["platform"] = platform.clone();
            }
            entries.push(entry);
        }
        if case.shares_manifest {
            let first = entries[0].clone();
            for entry in &mut entries {
                entry["digest"] = first["digest"].clone();
                entry["size"] = first["size"].clone();
            }
        }
        self.layout.add_index(&[name], &entries)?;
        Ok(())
    }
}

/// What `kiln audit` calls an error in a row's images.
fn audit(
    fixture: &Fixture,
    writer: &mut Writer,
    case: &Case,
    number: usize,
) -> Result<BTreeSet<Error>, Box<dyn std::error::Error>> {
    writer.write(case, &format!("row:{number}"))?;
    let image = format!("layout:row:{number}");
    let outcome = fixture.kiln(["audit", &image, "--format", "json"]).run()?;
    let report = outcome.json();
    assert!(report["platforms"].is_array(), "{}: {}", case.name, outcome.stderr);
    let mut found = BTreeSet::new();
    for platform in report["platforms"].as_array().into_iter().flatten() {
        for finding in platform["findings"].as_array().into_iter().flatten() {
            if finding["severity"] == "error" {
                let text = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
                found.insert(Error {
                    platform: text("platform"),
                    code: text("code"),
                    path: text("path"),
                });
            }
        }
    }
    assert_eq!(outcome.code(), Some(i32::from(!found.is_empty())), "{}", case.name);
    Ok(found)
}
