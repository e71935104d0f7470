//! The nouns of the OCI specifications: references, platforms, digests, documents.

use std::fs;
use std::path::Path;

use kiln_oci::reference::{ReferenceError, is_domain};
use kiln_oci::{Digest, ImageConfig, ImageIndex, Manifest, Platform, PlatformMatcher, Reference};
use serde_json::Value;

use super::CorpusResult;
use super::tables::{self, Case, Table, Verdict, contains, equal, refused, strings};

fn parse(text: &str) -> Result<Reference, String> {
    Reference::parse_normalized(text).map_err(|error| format!("{text}: {error}"))
}

/// `image-reference`: what is a reference and what it means. Kiln knows references in their full form alone, so the cases
/// about the short form compare what it expands to.
pub(super) fn image_reference(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("image-reference");
    tables::drive(dir, &mut result, reference_case);
    result
}

fn reference_case(table: &Table, case: &Case) -> Option<Verdict> {
    let skipped = |reason: &str| Some(Verdict::Skipped(reason.to_owned()));
    let input = case.text("input");
    let outcome = match (table.test.as_str(), table.table.as_str()) {
        ("TestReferenceSorting", _) => return skipped("Kiln has no order among references of several forms"),
        ("TestMatch", _) => return skipped("Kiln matches no references against shell patterns"),
        ("TestWithDigest" | "TestWithTag", _)
            if case.text("digest").parse::<Digest>().is_err() && !case.text("digest").is_empty() =>
        {
            return skipped("the digest is none: its length is wrong, and Kiln has no type for such a one");
        }
        (_, "invalidRepoNames" | "invalidRepositoryNames") => refused(parse(case.whole())),
        (_, "validRepoNames" | "validRepositoryNames") => parse(case.whole()).map(drop),
        ("TestWithNameFailure", _) => match parse(input) {
            Ok(reference) if reference.tag().is_none() && reference.digest().is_none() => {
                Err(format!("{reference} must not be a bare name"))
            }
            _ => Ok(()),
        },
        ("TestIdentifierRegexp", _) => {
            let is = matches!(Reference::parse_normalized(input), Err(ReferenceError::Identifier(_)));
            equal(case.value["match"].as_bool(), Some(is))
        }
        ("TestDomainRegexp", _) => equal(case.value["match"].as_bool(), Some(is_domain(input))),
        ("TestReferenceRegexp", _) => split_reference(case),
        ("TestFullNameRegexp", _) => split_name(case),
        ("TestParseNamed", _) => canonical_name(case),
        ("TestWithTag" | "TestWithDigest", _) => with_tag_and_digest(case),
        ("TestSerialization", _) => serialized(case),
        ("TestDomainAndPath" | "TestNormalizedSplitHostname", _) => parse(input).and_then(|reference| {
            let domain = Some(case.text("domain"))
                .filter(|domain| !domain.is_empty())
                .unwrap_or("docker.io");
            equal((domain, case.text("path")), (reference.domain(), reference.path()))
        }),
        ("TestReferenceParse", _) => parsed_parts(case),
        ("TestParseDockerRef", _) => parse(input).and_then(|reference| {
            // A digest says more than a tag does.
            let reference = match reference.digest().cloned() {
                Some(digest) => reference.without_tag_and_digest().with_digest(digest),
                None => reference.tagged_latest(),
            };
            equal(case.text("expected"), reference.to_string().as_str())
        }),
        ("TestParseAnyReference", _) => any_reference(case),
        ("TestParseRepositoryInfo", _) => repository(case),
        _ => return None,
    };
    Some(outcome.into())
}

/// `input`, whether it matches, and name, tag and digest as `subs`.
fn split_reference(case: &Case) -> Result<(), String> {
    if case.value["match"] != true {
        return refused(parse(case.text("input")));
    }
    let subs = strings(&case.value["subs"]);
    let [name, tag, digest] = subs.as_slice() else {
        return Err(format!("{subs:?} are no three parts"));
    };
    let reference = parse(case.text("input"))?;
    let is = (
        reference.tag().unwrap_or_default(),
        reference.digest().map(Digest::to_string).unwrap_or_default(),
    );
    equal(parse(name)?.name(), reference.name())?;
    equal((tag.as_str(), digest.clone()), is)
}

/// `input`, whether it is a name, and domain and path as `subs`.
fn split_name(case: &Case) -> Result<(), String> {
    let input = case.text("input");
    let is = parse(input)
        .ok()
        .filter(|reference| reference.tag().is_none() && reference.digest().is_none());
    equal(case.value["match"].as_bool(), Some(is.is_some())).map_err(|detail| format!("{input}: {detail}"))?;
    let subs = strings(&case.value["subs"]);
    match (subs.as_slice(), is) {
        ([domain, path], Some(reference)) => {
            let joined = if domain.is_empty() {
                path.clone()
            } else {
                format!("{domain}/{path}")
            };
            equal(parse(&joined)?.name(), reference.name())
        }
        _ => Ok(()),
    }
}

/// A name that must be in its full form.
fn canonical_name(case: &Case) -> Result<(), String> {
    let input = case.text("input");
    let canonical = parse(input).ok().filter(|reference| reference.to_string() == input);
    match canonical {
        None if case.expects_error("err") => Ok(()),
        None => Err(format!("{input} is not in its full form")),
        Some(reference) if case.expects_error("err") => Err(format!("{reference} must not be in its full form")),
        Some(reference) => equal(
            (case.text("domain"), case.text("path")),
            (reference.domain(), reference.path()),
        ),
    }
}

fn with_tag_and_digest(case: &Case) -> Result<(), String> {
    let mut reference = parse(case.text("name"))?;
    if !case.text("tag").is_empty() {
        reference = reference
            .with_tag(case.text("tag"))
            .map_err(|error| error.to_string())?;
    }
    if let Ok(digest) = case.text("digest").parse() {
        reference = reference.with_digest(digest);
    }
    equal(parse(case.text("combined"))?, reference)
}

fn serialized(case: &Case) -> Result<(), String> {
    let text = Value::String(case.text("input").to_owned());
    let read = serde_json::from_value::<Reference>(text);
    if case.expects_error("err") {
        return refused(read);
    }
    let reference = read.map_err(|error| error.to_string())?;
    equal(parse(case.text("name"))?.name(), reference.name())?;
    equal(case.text("tag"), reference.tag().unwrap_or_default())?;
    let again = serde_json::to_value(&reference).map_err(|error| error.to_string())?;
    equal(again, Value::String(reference.to_string()))
}

fn parsed_parts(case: &Case) -> Result<(), String> {
    let input = case.text("input");
    if case.expects_error("err") {
        return refused(parse(input));
    }
    let repository = parse(case.text("repository"))?;
    let reference = match (parse(input), case.text("domain")) {
        (Ok(reference), _) => reference,
        (Err(error), _) => return Err(error),
    };
    equal(repository.name(), reference.name())?;
    equal(case.text("tag"), reference.tag().unwrap_or_default())?;
    equal(
        case.text("digest"),
        reference.digest().map(Digest::to_string).unwrap_or_default().as_str(),
    )
}

fn any_reference(case: &Case) -> Result<(), String> {
    let text = case.text("Reference");
    let expected = case.text("Equivalent");
    // A digest alone names no image, and neither does the identifier of one: both are refused.
    if expected.starts_with("sha256:") {
        return refused(parse(text));
    }
    equal(expected, parse(text)?.to_string().as_str())
}

fn repository(case: &Case) -> Result<(), String> {
    for spelling in ["FamiliarName", "FullName", "AmbiguousName"] {
        let text = case.text(spelling);
        if text.is_empty() {
            continue;
        }
        let reference = parse(text)?;
        equal(case.text("FullName"), reference.name().as_str())?;
        equal(case.text("FamiliarName"), reference.familiar_name().as_str())?;
        equal(
            (case.text("Domain"), case.text("RemoteName")),
            (reference.domain(), reference.path()),
        )?;
    }
    Ok(())
}

/// `platforms`: reading, writing and matching them.
pub(super) fn platforms(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("platforms");
    tables::drive(dir, &mut result, platform_case);
    result
}

fn platform_case(table: &Table, case: &Case) -> Option<Verdict> {
    let skipped = |reason: &str| Some(Verdict::Skipped(reason.to_owned()));
    let outcome = match table.test.as_str() {
        "TestOnly" => accepted(case),
        "TestOnlyStrict" | "TestOnlyOS" | "TestOnlyOSLess" => {
            return skipped("Kiln chooses a platform in one way, the one of `TestOnly`");
        }
        "TestCompareOSFeatures" if case.value.get("mc").is_some() => {
            return skipped("the platforms that are compared were not recorded");
        }
        "TestCompareOSFeatures" => best(case),
        "TestGetCPUVariantFromArch" => return skipped("Kiln takes the variant of the host from how it was built"),
        "TestMatchComparerMatch_ABICheckWCOW" | "Test_PlatformCompat" | "Test_PlatformOrder" => {
            return skipped("the case is about hosts with Windows, on which Kiln does not run steps");
        }
        "TestParseSelector" => selector(case),
        "TestParseSelectorInvalid" => refused(case.text("input").parse::<Platform>()),
        "TestFormatAllEncoding" => equal(
            case.text("expected"),
            platform(&case.value["platform"]).to_string().as_str(),
        ),
        _ => return None,
    };
    Some(outcome.into())
}

fn read_platform(text: &str) -> Result<Platform, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// A platform in the peers' field names.
pub(super) fn platform(value: &Value) -> Platform {
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    Platform {
        os: text("OS"),
        architecture: text("Architecture"),
        variant: text("Variant"),
        os_version: text("OSVersion"),
        os_features: strings(&value["OSFeatures"]),
    }
}

fn accepted(case: &Case) -> Result<(), String> {
    let matcher = PlatformMatcher::only(&read_platform(case.text("platform"))?);
    for (field, expected) in [("true", true), ("false", false)] {
        for text in strings(&case.value["matches"][field]) {
            let is = matcher.accepts(&read_platform(&text)?);
            equal(expected, is).map_err(|detail| format!("{text} for {}: {detail}", case.text("platform")))?;
        }
    }
    Ok(())
}

/// The first of the expected order is what must be chosen.
fn best(case: &Case) -> Result<(), String> {
    let matcher = PlatformMatcher::only(&read_platform(case.text("platform"))?);
    let texts = strings(&case.value["platforms"]);
    let candidates = texts
        .iter()
        .map(|text| read_platform(text))
        .collect::<Result<Vec<_>, _>>()?;
    let chosen = matcher.best(candidates.iter().zip(texts.iter().map(String::as_str)));
    equal(strings(&case.value["expected"]).first().map(String::as_str), chosen)
}

fn selector(case: &Case) -> Result<(), String> {
    let expected = platform(&case.value["expected"]);
    let parsed = read_platform(case.text("input"))?;
    // Kiln writes every platform in its normal form; the peers leave the variant of 32-bit ARM open here.
    let mut normal = expected.clone().normalized();
    normal.os_features.sort();
    let mut is = parsed.clone();
    is.os_features.sort();
    equal(&normal, &is)?;
    if normal.variant == expected.variant {
        equal(case.text("formatted"), parsed.to_string().as_str())?;
    }
    for other in case.value["matches"].as_array().into_iter().flatten() {
        let other = platform(other);
        equal(true, PlatformMatcher::only(&parsed).accepts(&other)).map_err(|detail| format!("{other}: {detail}"))?;
    }
    Ok(())
}

/// `digest`: what is a digest.
pub(super) fn digest(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("digest");
    tables::drive(dir, &mut result, digest_case);
    result
}

fn digest_case(table: &Table, case: &Case) -> Option<Verdict> {
    let outcome = match (table.test.as_str(), table.table.as_str()) {
        ("TestFlagInterface", _) => {
            return Some(Verdict::Skipped(
                "the case is about a command line flag of the peer's library".to_owned(),
            ));
        }
        ("TestFroms", "dgsts") => case
            .whole()
            .parse::<Digest>()
            .map(drop)
            .map_err(|error| error.to_string()),
        ("TestFroms", "algorithms") => {
            let length = match case.whole() {
                "sha256" => 64,
                "sha384" => 96,
                _ => 128,
            };
            let text = format!("{}:{}", case.whole(), "0".repeat(length));
            text.parse::<Digest>()
                .map_err(|error| error.to_string())
                .and_then(|read| equal(text, read.to_string()))
        }
        ("TestVerifierUnsupportedDigest", _) => refused(case.text("Digest").parse::<Digest>()),
        ("TestParseDigest", _) => match case.text("Input").parse::<Digest>() {
            Err(error) if case.expects_error("Err") => contains(&error.to_string(), case.error("Err")),
            Err(error) => Err(error.to_string()),
            Ok(digest) if case.expects_error("Err") => Err(format!("must be refused, gives {digest}")),
            Ok(digest) => equal(
                (case.text("Algorithm"), case.text("Encoded")),
                (digest.algorithm().name(), digest.hex().as_str()),
            ),
        },
        _ => return None,
    };
    Some(outcome.into())
}

/// `oci-image-spec`: documents that are valid and documents that are not.
pub(super) fn oci_image_spec(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("oci-image-spec");
    let cases = fs::read(dir.join("cases.json"))
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string()));
    let cases = match cases {
        Ok(cases) => cases,
        Err(error) => {
            result.fail("cases.json", error);
            return result;
        }
    };
    for case in cases["cases"].as_array().into_iter().flatten() {
        let text = |field: &str| case[field].as_str().unwrap_or_default();
        let outcome = match (read_document(text("schema"), text("json")), text("expect")) {
            (Err(error), "valid") if error.contains("unsupported digest algorithm") => {
                let reason =
                    "Kiln refuses a digest whose algorithm it cannot compute: its content could not be verified";
                result.skip(text("id"), reason);
                continue;
            }
            (Err(error), "valid") => Err(format!("must be valid ({}): {error}", text("description"))),
            (Ok(()), "invalid") => Err(format!("must be refused: {}", text("description"))),
            _ => Ok(()),
        };
        result.record(text("id"), outcome);
    }
    result
}

/// Reads a document as Kiln reads one that comes from elsewhere.
fn read_document(schema: &str, json: &str) -> Result<(), String> {
    let in_words = |error: serde_json::Error| error.to_string();
    match schema {
        "config-schema.json" => serde_json::from_str::<ImageConfig>(json).map(drop).map_err(in_words),
        "content-descriptor.json" => serde_json::from_str::<kiln_oci::Descriptor>(json)
            .map(drop)
            .map_err(in_words),
        "image-index-schema.json" => serde_json::from_str::<ImageIndex>(json).map(drop).map_err(in_words),
        "image-manifest-schema.json" => serde_json::from_str::<Manifest>(json).map(drop).map_err(in_words),
        other => Err(format!("the driver does not know the schema `{other}`")),
    }
}
