//! The frontend options of a case, said in flags of `kiln build`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;

use super::case::{Build, CacheExport, Expectation, Output, SECRETS};

/// The variable of the environment that holds the value of secrets.
pub(super) const SECRET_VARIABLE: &str = "KILN_TEST_SECRET";

/// A value of `--output` or `--cache-to`: `type=…,key=value`, fields with commas or quotes in quotes.
pub(super) fn fields(kind: &str, attributes: &BTreeMap<String, String>, more: &[(&str, &str)]) -> String {
    let mut fields = vec![format!("type={kind}")];
    fields.extend(attributes.iter().map(|(key, value)| format!("{key}={value}")));
    fields.extend(more.iter().map(|(key, value)| format!("{key}={value}")));
    let quoted: Vec<String> = fields
        .into_iter()
        .map(|field| {
            if field.contains([',', '"', '\n']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field
            }
        })
        .collect();
    quoted.join(",")
}

/// The flags of a build, but for its outputs, context and Dockerfile. `attests`: whether with those about attestations;
/// `directory` gives the directory of a mount.
pub(super) fn of_build(
    build: &Build,
    attests: bool,
    directory: &dyn Fn(&str) -> String,
) -> Result<Vec<String>, String> {
    let mut flags = Vec::new();
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    for (option, value) in &build.opts {
        let (key, rest) = option.split_once(':').unwrap_or((option, ""));
        match key {
            "build-arg" => flag("--build-arg", format!("{rest}={value}")),
            "label" => flag("--label", format!("{rest}={value}")),
            "target" => flag("--target", value.clone()),
            "platform" => flag("--platform", value.clone()),
            "no-cache" if value.is_empty() => flag("--no-cache=true", String::new()),
            "no-cache" => value
                .split(',')
                .for_each(|stage| flag("--no-cache-filter", stage.to_owned())),
            "context" if !rest.is_empty() => {
                let source = value.strip_prefix("local:").map_or_else(|| value.clone(), directory);
                flag("--build-context", format!("{rest}={source}"));
            }
            // Where the context and the Dockerfile lie is settled by the caller.
            "context" | "filename" => {}
            "add-hosts" => value.split(',').for_each(|host| flag("--add-host", host.to_owned())),
            "shm-size" | "ulimit" | "cgroup-parent" => flag(&format!("--{key}"), value.clone()),
            "memory" | "memory-swap" | "cpu-shares" | "cpu-period" | "cpu-quota" | "cpuset-cpus" | "cpuset-mems" => {
                flag("--resource", format!("{key}={value}"));
            }
            "force-network-mode" => flag("--network", value.clone()),
            "image-resolve-mode" if value == "pull" => flag("--pull=true", String::new()),
            "image-resolve-mode" => {}
            "attest" if !attests => {}
            "attest" => {
                let more = if value.is_empty() {
                    String::new()
                } else {
                    format!(",{value}")
                };
                flag("--attest", format!("type={rest}{more}"));
            }
            // The peer's command line sets these through build arguments of the same meaning, which win.
            "hostname" if build.opts.contains_key("build-arg:BUILDKIT_SANDBOX_HOSTNAME") => {}
            "hostname" => flag("--build-arg", format!("BUILDKIT_SANDBOX_HOSTNAME={value}")),
            "multi-platform" => flag("--build-arg", format!("BUILDKIT_MULTI_PLATFORM={value}")),
            "source" | "cmdline" => flag("--build-arg", format!("BUILDKIT_SYNTAX={value}")),
            "cache-from" => value
                .split(',')
                .for_each(|cache| flag("--cache-from", format!("type=registry,ref={cache}"))),
            _ => return Err(format!("the driver has no flag for the option `{option}`")),
        }
    }
    if build.session.iter().any(|kind| kind == SECRETS) && build.expect == Expectation::Success {
        for id in secret_ids(build) {
            flag("--secret", format!("id={id},env={SECRET_VARIABLE}"));
        }
    }
    for entitlement in &build.entitlements {
        flag("--allow", entitlement.clone());
    }
    let cache = |export: &CacheExport| fields(&export.kind, &export.attrs, &[]);
    build
        .cache_exports
        .iter()
        .for_each(|export| flag("--cache-to", cache(export)));
    build
        .cache_imports
        .iter()
        .for_each(|import| flag("--cache-from", cache(import)));
    // A switch carries no separate value.
    flags.retain(|one| !one.is_empty());
    Ok(flags)
}

/// The secrets that the build's files mount, each once.
fn secret_ids(build: &Build) -> BTreeSet<String> {
    let files = build.mounts.values().flat_map(|mount| &mount.files);
    let texts = files.filter_map(|file| file.text.as_deref());
    let Ok(mounted) = Regex::new(r"type=secret\S*?,id=([\w.-]+)|--mount=id=([\w.-]+),type=secret") else {
        return BTreeSet::new();
    };
    texts
        .flat_map(|text| mounted.captures_iter(text))
        .filter_map(|found| found.get(1).or(found.get(2)))
        .map(|id| id.as_str().to_owned())
        .collect()
}

/// The flag value for an output that is written to `place`.
pub(super) fn of_output(output: &Output, place: &Path) -> String {
    let destination = place.display().to_string();
    let needs_place = matches!(output.kind.as_str(), "local" | "tar" | "oci" | "docker");
    let more: &[(&str, &str)] = if needs_place { &[("dest", &destination)] } else { &[] };
    fields(&output.kind, &output.attrs, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_commas_are_quoted() {
        let attributes = BTreeMap::from([("name".to_owned(), "a,b".to_owned())]);
        assert_eq!(
            fields("image", &attributes, &[("push", "true")]),
            r#"type=image,"name=a,b",push=true"#
        );
    }
}
