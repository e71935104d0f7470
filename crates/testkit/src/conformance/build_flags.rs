//! What the values of build flags mean, and working directories: rules that the binary and its libraries share.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln_dockerfile::lower::{image_platform, is_absolute, workdir};
use kiln_flags::annotation::Annotation;
use kiln_flags::attest::Attestation;
use kiln_flags::cache::Cache;
use kiln_flags::call::Call;
use kiln_flags::context::LayoutReference;
use kiln_flags::entitlement::Entitlement;
use kiln_flags::output::{Output, outputs};
use kiln_flags::policy::{LogLevel, Policy};
use kiln_flags::secret::Secret;
use kiln_flags::{FlagError, annotation, attest, cache, context, entitlement, host, pair, ssh};
use serde_json::{Map, Value, json};

use super::CorpusResult;
use super::oci::platform;
use super::tables::{self, Case, Table, Verdict, contains, equal, strings};

/// `cli-flags`: values of flags, read by the code that reads those of `kiln build`.
pub(super) fn cli_flags(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("cli-flags");
    build_flags(&dir.join("buildflags.json"), &mut result);
    tables::drive(dir, &mut result, flag_case);
    result
}

/// The values whose meaning the peers' own parsers gave.
fn build_flags(path: &Path, result: &mut CorpusResult) {
    let read = fs::read(path).map_err(|error| error.to_string());
    let parsed = read.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).map_err(|error| error.to_string()));
    let file = match parsed {
        Ok(file) => file,
        Err(error) => return result.fail("buildflags.json", error),
    };
    for case in file["cases"].as_array().into_iter().flatten() {
        let id = case["id"].as_str().unwrap_or_default();
        let flag = case["flag"].as_str().unwrap_or_default();
        let is = match meaning(flag, &strings(&case["in"])) {
            Some(is) => is,
            None => {
                result.fail(id, format!("no driver for the flag `{flag}`"));
                continue;
            }
        };
        let outcome = match (case["error"].as_str(), is) {
            (Some(expected), Err(error)) => contains(&error.to_string(), expected),
            (Some(expected), Ok(is)) => Err(format!("must be refused ({expected}), gives {is}")),
            // Nothing, said in one of three ways.
            (None, Ok(is)) if is_nothing(&is) && is_nothing(&case["out"]) => Ok(()),
            (None, Ok(is)) => equal(&without_addresses(&case["out"]), &is),
            (None, Err(error)) => Err(format!("must be accepted: {error}")),
        };
        result.record(id, outcome);
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// Go's printed form of a pointer is where it points; that it does is what counts.
fn without_addresses(value: &Value) -> Value {
    let Value::String(text) = value else {
        return value.clone();
    };
    let mut parts = text.split("0x");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()));
    Value::String(rest.fold(first, |shown, part| format!("{shown}0x{part}")))
}

fn policy(policy: &Policy) -> Value {
    let files: Vec<String> = policy
        .files
        .iter()
        .map(|name| format!("{{Filename:{name} Data:[]}}"))
        .collect();
    let strict = policy.strict.map_or("<nil>", |_| "0x");
    let level = policy.log_level.map_or("<nil>", LogLevel::name);
    Value::String(format!(
        "{{Files:[{}] Reset:{} Disabled:{} Strict:{strict} LogLevel:{level}}}",
        files.join(" "),
        policy.reset,
        policy.disabled
    ))
}

/// What values of a flag mean, in the peers' JSON. None: the flag is not known.
fn meaning(flag: &str, written: &[String]) -> Option<Result<Value, FlagError>> {
    let first = written.first().map(String::as_str).unwrap_or_default();
    let list = |all: Vec<Value>| Value::Array(all);
    Some(match flag {
        "output" => outputs(written).map(|all| list(all.iter().map(output).collect())),
        "cache" => cache::caches(written).map(|all| list(all.iter().map(cached).collect())),
        "secret" => {
            let secrets: Result<Vec<Secret>, FlagError> = written.iter().map(|text| Secret::parse(text)).collect();
            secrets.map(|all| list(all.iter().map(secret).collect()))
        }
        "ssh" => Ok(list(ssh::agents(written).iter().map(agent).collect())),
        "attest" => attest::attestations(written).map(|all| list(all.iter().map(attestation).collect())),
        "provenance-canonicalize" => Ok(attest::canonical("provenance", first).into()),
        "sbom-canonicalize" => Ok(attest::canonical("sbom", first).into()),
        "call" => Call::parse(first).map(|call| {
            call.map_or(
                Value::Null,
                |call| json!({"Name": call.name, "Format": call.format, "IgnoreStatus": call.ignore_status}),
            )
        }),
        "policy" => Policy::parse(first).map(|read| policy(&read)),
        "build-context" => context::contexts(written).map(|all| json!(all)),
        "annotation" => annotation::annotations(written).map(|all| annotations(&all)),
        "allow" => entitlement::allowed(written).map(|allowed| {
            let texts: Vec<String> = allowed.entitlements.iter().map(Entitlement::text).collect();
            json!({"allow_local_output_delete": allowed.deletes_local_output, "entitlements": texts})
        }),
        _ => return None,
    })
}

fn object(attributes: &BTreeMap<String, String>, more: &[(&str, Option<&str>)]) -> Value {
    let own = attributes.iter().map(|(key, value)| (key.clone(), json!(value)));
    let more = more
        .iter()
        .filter_map(|(key, value)| Some(((*key).to_owned(), json!((*value)?))));
    Value::Object(own.chain(more).collect::<Map<String, Value>>())
}

fn output(output: &Output) -> Value {
    let kind = Some(output.kind.as_str());
    object(
        &output.attributes,
        &[("type", kind), ("dest", output.destination.as_deref())],
    )
}

fn cached(cache: &Cache) -> Value {
    object(&cache.attributes, &[("type", Some(&cache.kind))])
}

fn secret(secret: &Secret) -> Value {
    let id = Some(secret.id.as_str()).filter(|id| !id.is_empty());
    object(
        &BTreeMap::new(),
        &[
            ("id", id),
            ("src", secret.source.as_deref()),
            ("env", secret.variable.as_deref()),
        ],
    )
}

fn agent(agent: &ssh::Ssh) -> Value {
    let mut shown = json!({"id": agent.id});
    if let Some(paths) = &agent.paths {
        shown["paths"] = json!(paths);
    }
    shown
}

fn attestation(attestation: &Attestation) -> Value {
    let mut shown = object(&attestation.attributes, &[("type", Some(&attestation.kind))]);
    if attestation.disabled {
        shown["disabled"] = json!(true);
    }
    shown
}

fn annotations(all: &[Annotation]) -> Value {
    let pairs = all.iter().map(|one| (one.attribute(), json!(one.value)));
    Value::Object(pairs.collect())
}

fn flag_case(table: &Table, case: &Case) -> Option<Verdict> {
    let skipped = |reason: &str| Some(Verdict::Skipped(reason.to_owned()));
    let outcome = match table.test.as_str() {
        "TestParseExportCache" => caches(case, "exportCaches", true),
        "TestParseImportCache"
            if strings(&case.value["importCaches"])
                .iter()
                .any(|text| text.contains("gha")) =>
        {
            return skipped("the environment of the job, which gives the cache its address, was not recorded");
        }
        "TestParseImportCache" => caches(case, "importCaches", false),
        "TestParseOpt" => build_arguments(case),
        "TestNormalizePlatform" => normal_platform(case),
        "TestCreateExports_RegistryUnpack" => exported(case),
        "TestLoadInputsOCILayoutNamedContext" => layout(
            case.text("ref"),
            case.value["wantRef"]["Path"].as_str(),
            case.value["wantRef"]["Tag"].as_str(),
            case.value["wantRef"]["Digest"].as_str(),
        ),
        "TestParse" => layout(
            case.text("s"),
            Some(case.text("path")),
            Some(case.text("tag")),
            Some(case.text("dgst")),
        ),
        "TestToBuildkitExtraHosts" => extra_hosts(case),
        "TestParseAnnotations" => parsed_annotations(case),
        "TestProxyArgKeyExists" => {
            let given = case.value["proxyArgs"].as_object().into_iter().flatten();
            let given = given.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
            let is = kiln_flags::proxy::is_given(&given.collect(), case.text("key"));
            equal(case.value["want"].as_bool(), Some(is))
        }
        "TestParseRegistryAuthTLSContext" => {
            return skipped("Kiln takes certificates of registries from its configuration, not from a flag");
        }
        "TestGetGitAttributes" => return skipped("what is said of a context's commit belongs to provenance"),
        "TestTruncPlatforms" => return skipped("Kiln has no list of builders in which platforms are shortened"),
        _ => return None,
    };
    Some(outcome.into())
}

fn caches(case: &Case, field: &str, to_write: bool) -> Result<(), String> {
    let read = cache::caches(&strings(&case.value[field]));
    if case.expects_error("expectedErr") {
        return match read {
            Ok(read) => Err(format!("must be refused, gives {read:?}")),
            Err(error) => contains(&error.to_string(), case.error("expectedErr")),
        };
    }
    let read = read.map_err(|error| error.to_string())?;
    let read: Vec<Value> = read
        .into_iter()
        .map(|cache| if to_write { cache.to_write() } else { cache })
        .map(|cache| json!({"Type": cache.kind, "Attrs": cache.attributes}))
        .collect();
    equal(case.value["expected"].as_array().cloned().unwrap_or_default(), read)
}

/// `--opt build-arg:NAME` of the peers' other client is `--build-arg NAME`.
fn build_arguments(case: &Case) -> Result<(), String> {
    const OPTION: &str = "build-arg:";
    let written = strings(&case.value["opts"]);
    let Some(arguments) = written
        .iter()
        .map(|option| option.strip_prefix(OPTION).map(str::to_owned))
        .collect::<Option<Vec<_>>>()
    else {
        return Err("the driver knows no flag for these options".to_owned());
    };
    let environment = |name: &str| case.value["env"][name].as_str().map(str::to_owned);
    let read = pair::pairs(&arguments, &environment);
    if case.expects_error("expectedErr") {
        return tables::refused(read);
    }
    let read = read.map_err(|error| error.to_string())?;
    let named: BTreeMap<String, String> = read
        .into_iter()
        .map(|(name, value)| (format!("{OPTION}{name}"), value))
        .collect();
    let expected: BTreeMap<String, String> = case.value["expected"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    equal(expected, named)
}

fn normal_platform(case: &Case) -> Result<(), String> {
    let requested = platform(&case.value["p"]);
    let is = image_platform(&requested, &platform(&case.value["imgP"]));
    equal(platform(&case.value["expected"]["Platform"]), is)?;
    equal(
        case.value["expected"]["ID"].as_str(),
        Some(requested.normalized().to_string().as_str()),
    )
}

/// Whether an output is sent to registries. That an image is also unpacked is about the store of a daemon, of which Kiln has
/// none.
fn exported(case: &Case) -> Result<(), String> {
    let entry = &case.value["entries"][0];
    let attributes = entry["Attrs"].as_object().into_iter().flatten();
    let output = Output {
        kind: entry["Type"].as_str().unwrap_or_default().to_owned(),
        destination: None,
        attributes: attributes
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    }
    .as_image();
    equal(case.text("wantType"), output.kind.as_str())?;
    let push = output.attributes.get("push").map(String::as_str).unwrap_or_default();
    equal(case.text("wantPush"), push)
}

fn layout(text: &str, path: Option<&str>, tag: Option<&str>, digest: Option<&str>) -> Result<(), String> {
    let read = LayoutReference::parse(text).map_err(|error| error.to_string())?;
    let read = read.ok_or("must be a layout")?;
    // The directory of the peers' test is one of its own, which is left out.
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        equal(path, read.path.as_str())?;
    }
    equal(tag.unwrap_or_default(), read.tag.as_deref().unwrap_or_default())?;
    let is = read.digest.map(|digest| digest.to_string()).unwrap_or_default();
    equal(digest.unwrap_or_default(), is.as_str())
}

fn extra_hosts(case: &Case) -> Result<(), String> {
    let written = strings(&case.value["input"]);
    let read = host::hosts(&written);
    if case.expects_error("expectedErr") {
        return match read {
            Ok(read) => Err(format!("must be refused, gives {read:?}")),
            Err(error) => contains(&error.to_string(), case.error("expectedErr")),
        };
    }
    let read = read.map_err(|error| error.to_string())?;
    let shown: Vec<String> = read.iter().map(host::Host::text).collect();
    // Where nothing else is expected, it is what was written.
    let expected = match case.text("expectedOut") {
        "" => written.join(","),
        expected => expected.to_owned(),
    };
    equal(expected, shown.join(","))
}

fn parsed_annotations(case: &Case) -> Result<(), String> {
    let read = annotation::annotations(&strings(&case.value["in"]));
    if case.expects_error("wantErr") {
        return match read {
            Ok(read) => Err(format!("must be refused, gives {read:?}")),
            Err(error) => contains(&error.to_string(), case.error("wantErr")),
        };
    }
    let read = read.map_err(|error| error.to_string())?;
    equal(&case.value["want"], &annotations(&read))
}

/// `workdir-paths`: working directories of both systems.
pub(super) fn workdir_paths(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("workdir-paths");
    tables::drive(dir, &mut result, workdir_case);
    result
}

fn workdir_case(table: &Table, case: &Case) -> Option<Verdict> {
    let system = if table.test.ends_with("Windows") {
        "windows"
    } else {
        "linux"
    };
    let outcome = match table.test.as_str() {
        "TestNormalizeWorkdir" | "TestNormalizeWorkdirWindows" | "TestNormalizeWorkdirUnix" => {
            normal_workdir(system, case)
        }
        // The rows are about Windows; the others hold there too.
        "TestIsAbs" => equal(
            case.value["desiredResult"].as_bool(),
            Some(is_absolute("windows", case.text("path"))),
        ),
        _ => return None,
    };
    Some(outcome.into())
}

fn normal_workdir(system: &str, case: &Case) -> Result<(), String> {
    let is = workdir(system, case.text("currentWorkdir"), case.text("newWorkDir")).map_err(|error| error.message);
    if case.expects_error("err") {
        return match is {
            Ok(is) => Err(format!("must be refused, gives {is:?}")),
            Err(error) => contains(&error, case.error("err")),
        };
    }
    equal(case.text("desiredResult"), is?.as_str())
}
