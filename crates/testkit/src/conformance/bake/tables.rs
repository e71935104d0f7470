//! Tables of the peer's tests. Where a table gives values for a definition that stands in the test itself, the definition
//! stands here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kiln_bake::config::{DEFAULT_FILES, File, FileKind, Inputs, kind_of};
use kiln_bake::entitlement::{Entitlements, Needs, Paths, dedupe_paths, group_same_paths};
use kiln_dockerfile::git::{below, same_host};
use serde_json::Value;

use super::super::tables::{self, Table, Verdict, contains, equal, strings};
use super::{Case, functions, host};

type Row = tables::Case;

pub(super) fn drive(table: &Table, row: &Row) -> Option<Verdict> {
    let outcome = match table.test.as_str() {
        "TestNestedInheritsWithGroup" => nested_inherits(row),
        "TestTargetName" => fails_as_expected(
            Case::of("docker-bake.hcl", &format!("target {:?} {{}}", row.text("target")), &[]),
            row.expects_error("wantErr"),
        ),
        "TestNestedGroupsWithSameTarget" => nested_groups(row),
        "TestReadLocalFilesDefault" => {
            let there = strings(&row.value["filenames"]);
            let read = DEFAULT_FILES
                .iter()
                .filter(|name| there.iter().any(|there| there == *name));
            equal(
                strings(&row.value["expected"]),
                read.map(|name| (*name).to_owned()).collect(),
            )
        }
        "TestMatchNames" => matching_names(row),
        "TestRemoteURLWithSubdir" => equal(
            row.text("want").to_owned(),
            below(row.text("remote"), row.text("subdir")),
        ),
        "TestShouldAttachGitAuthSecrets" => equal(
            row.value["want"] == true,
            same_host(row.text("inputURL"), row.text("contextPath")),
        ),
        "TestServiceName" => {
            let compose = format!("services:\n  {}:\n    build:\n      context: .\n", row.text("svc"));
            fails_as_expected(Case::of("compose.yml", &compose, &[]), row.expects_error("wantErr"))
        }
        "TestValidateComposeSecret" => fails_as_expected(
            Case::of("compose.yml", row.text("dt"), &[]),
            row.expects_error("wantErr"),
        ),
        "TestValidateComposeFile" => compose_file(row),
        "TestDedupePaths" => dedupe(row),
        "TestGroupSamePaths" => same_paths(row),
        "TestValidateEntitlements" => entitlements(row),
        "TestVarTypingSpec" => type_specification(table, row),
        "TestDefaultVarTypeEnforcement" | "TestDefaultVarTypeWithAttrValuesEnforcement" => typed_default(row),
        "TestTypedVarOverrides" => typed_override(row, "FOO"),
        "TestTypedVarOverrides_JSON" => typed_override(row, "FOO_JSON"),
        _ => return functions::drive(table, row),
    };
    Some(outcome.into())
}

fn fails_as_expected(case: Case, fails: bool) -> Result<(), String> {
    match (case.read(), fails) {
        (Ok(_), false) | (Err(_), true) => Ok(()),
        (Ok(_), true) => Err("must be refused".to_owned()),
        (Err(error), false) => Err(error.to_string()),
    }
}

const INHERITING: &str = r#"
target "grandparent" {
  output = ["type=docker"]
  args = { BAR = "fuu" }
}
target "parent" {
  inherits = ["grandparent"]
  args = { FOO = "bar" }
}
target "child1" { inherits = ["parent"] }
target "child2" {
  inherits = ["parent"]
  args = { FOO2 = "bar2" }
}
group "default" { targets = ["child1", "child2"] }
"#;

fn nested_inherits(row: &Row) -> Result<(), String> {
    let case = Case {
        overrides: strings(&row.value["overrides"]),
        ..Case::of("docker-bake.hcl", INHERITING, &["default"])
    };
    let printed = case.print(false).map_err(|error| error.to_string())?;
    equal(&row.value["wantch1"], &printed["target"]["child1"]["args"])?;
    equal(&row.value["wantch2"], &printed["target"]["child2"]["args"])
}

const GROUPS: &str = r#"
group "a" { targets = ["b", "c"] }
group "b" { targets = ["d"] }
group "c" { targets = ["b"] }
target "d" { dockerfile = "./testdockerfile" }
group "e" { targets = ["a", "f"] }
target "f" { context = "./foo" }
"#;

fn nested_groups(row: &Row) -> Result<(), String> {
    let names = strings(&row.value["names"]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let printed = Case::of("docker-bake.hcl", GROUPS, &names)
        .print(false)
        .map_err(|error| error.to_string())?;
    let keys = |value: &Value| -> Vec<String> {
        value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    let mut groups = strings(&row.value["groups"]);
    groups.sort();
    equal(groups, keys(&printed["group"]))?;
    equal(row.value["count"].as_u64(), Some(keys(&printed["target"]).len() as u64))?;
    equal(
        strings(&row.value["targets"]),
        strings(&printed["group"]["default"]["targets"]),
    )
}

const NAMES: &str = r#"
group "default" { targets = ["foo", "foo-bar"] }
group "baz" { targets = ["baz-foo", "baz-bar", "baz-fuu"] }
target "foo" {}
target "foo-bar" {}
target "foo-baz" {}
target "foo-fuu" {}
target "bar-foo" {}
target "bar-baz" {}
target "bar-fuu" {}
target "baz-foo" {}
target "baz-bar" {}
target "baz-fuu" {}
target "mtx" {
  name = "mtx-${foo}-${bar}-${baz}"
  matrix = {
    foo = ["a"]
    bar = ["b", "c"]
    baz = ["d", "e", "f"]
  }
}
"#;

fn matching_names(row: &Row) -> Result<(), String> {
    let patterns = strings(&row.value["pattern"]);
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    let printed = Case::of("docker-bake.hcl", NAMES, &patterns).print(false);
    if row.expects_error("wantErr") {
        return tables::refused(printed);
    }
    let printed = printed.map_err(|error| error.to_string())?;
    let targets = printed["target"].as_object();
    let is: Vec<String> = targets.into_iter().flatten().map(|(name, _)| name.clone()).collect();
    equal(strings(&row.value["expected"]), is)
}

fn compose_file(row: &Row) -> Result<(), String> {
    let file = File {
        name: row.text("fn").to_owned(),
        text: row.text("dt").to_owned(),
    };
    let inputs = Inputs {
        variables: BTreeMap::new(),
        environment: BTreeMap::new(),
        built_in: BTreeMap::new(),
        host: host(),
        file_relative_paths: false,
        read_file: &|_| Ok(None),
    };
    let is_compose = row.value["isCompose"] == true;
    match kind_of(&file, &inputs) {
        Ok(kind) => {
            equal(is_compose, kind == FileKind::Compose)?;
            // Of a file that is no Compose file by its content, the error is told only if it is nothing else either.
            if row.expects_error("wantErr") && is_compose {
                return Err("must be refused".to_owned());
            }
            Ok(())
        }
        Err(_) if row.expects_error("wantErr") && is_compose => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn dedupe(row: &Row) -> Result<(), String> {
    let paths = |key: &str| -> Vec<String> {
        let set = row.value[key].as_object();
        set.into_iter().flatten().map(|(path, _)| path.clone()).collect()
    };
    equal(paths("out"), dedupe_paths(paths("in")))
}

fn same_paths(row: &Row) -> Result<(), String> {
    let list = |key: &str| strings(&row.value[key]);
    let (one, two, both) = group_same_paths(&list("in1"), &list("in2"));
    equal(
        (list("expected1"), list("expected2"), list("expectedC")),
        (one, two, both),
    )
}

/// A directory as the peer's test has it: two empty ones, and a link that leads out of the first.
struct World {
    directory: tempfile::TempDir,
    working: String,
}

impl Paths for World {
    fn follow(&self, path: &str) -> Result<(String, String), String> {
        let mut existing = Path::new(path).to_path_buf();
        let mut rest = Vec::new();
        loop {
            match fs::canonicalize(&existing) {
                Ok(real) => {
                    rest.reverse();
                    return Ok((real.to_string_lossy().into_owned(), rest.join("/")));
                }
                Err(error) => match (existing.file_name(), existing.parent()) {
                    (Some(name), Some(parent)) => {
                        rest.push(name.to_string_lossy().into_owned());
                        existing = parent.to_path_buf();
                    }
                    _ => return Err(error.to_string()),
                },
            }
        }
    }

    fn working_directory(&self) -> String {
        self.working.clone()
    }
}

impl World {
    fn new() -> Result<World, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let make = |name: &str| fs::create_dir_all(directory.path().join(name)).map_err(|error| error.to_string());
        make("001/subdir")?;
        make("002")?;
        make("cwd/bake")?;
        std::os::unix::fs::symlink("../..", directory.path().join("001/escape_link"))
            .map_err(|error| error.to_string())?;
        let working = fs::canonicalize(directory.path().join("cwd/bake")).map_err(|error| error.to_string())?;
        Ok(World {
            working: working.to_string_lossy().into_owned(),
            directory,
        })
    }

    /// A path of the peer's machine as one of this.
    fn here(&self, path: &str) -> String {
        let root = self.directory.path().to_string_lossy().into_owned();
        let parent = self.directory.path().parent().unwrap_or(Path::new("/"));
        match path.strip_prefix("/tmp/TestValidateEntitlements") {
            Some(rest) => {
                let behind = rest.find('/').map_or("", |slash| &rest[slash..]);
                format!("{root}{behind}")
            }
            None if path == "/tmp" => parent.to_string_lossy().into_owned(),
            None => path.replace("{{CWD}}/bake", &self.working),
        }
    }

    fn paths(&self, value: &Value) -> Vec<String> {
        strings(value).iter().map(|path| self.here(path)).collect()
    }

    fn entitlements(&self, value: &Value) -> Entitlements {
        Entitlements {
            network_host: value["NetworkHost"] == true,
            security_insecure: value["SecurityInsecure"] == true,
            ssh: value["SSH"] == true,
            local_output_delete: value["LocalOutputDelete"] == true,
            read: self.paths(&value["FSRead"]),
            write: self.paths(&value["FSWrite"]),
            devices: strings(&value["Devices"]),
        }
    }
}

fn entitlements(row: &Row) -> Result<(), String> {
    let world = World::new()?;
    let options = &row.value["opt"];
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut needs = Needs {
        allow: strings(&options["Allow"]),
        write: world.paths(&options["ExportsLocalPathsTemporary"]),
        ..Needs::default()
    };
    // A context that is a state of the build is not on this machine.
    if options["Inputs"]["ContextState"].is_null() {
        needs
            .read
            .push(world.here(options["Inputs"]["ContextPath"].as_str().unwrap_or_default()));
    }
    for secret in list(&options["SecretSpecs"]) {
        let path = secret["FilePath"].as_str().filter(|path| !path.is_empty());
        needs.read.extend(path.map(|path| world.here(path)));
    }
    for ssh in list(&options["SSHSpecs"]) {
        let paths = world.paths(&ssh["Paths"]);
        needs.ssh_agent |= paths.is_empty();
        needs.read.extend(paths);
    }
    for (key, attribute, written) in [("CacheFrom", "src", false), ("CacheTo", "dest", true)] {
        for cache in list(&options[key]).iter().filter(|cache| cache["Type"] == "local") {
            let path = cache["Attrs"][attribute].as_str().map(|path| world.here(path));
            if written {
                needs.write.extend(path);
            } else {
                needs.read.extend(path);
            }
        }
    }
    needs.deletes = list(&options["Exports"])
        .iter()
        .any(|export| export["Type"] == "local" && export["Attrs"]["mode"] == "delete");
    let allowed = world.entitlements(&row.value["conf"]);
    let missing = allowed.missing(&needs, &world)?;
    equal(world.entitlements(&row.value["expected"]), missing)
}

fn type_specification(table: &Table, row: &Row) -> Result<(), String> {
    let definition = format!("variable \"FOO\" {{\n  type = {}\n}}", row.whole());
    // The first list of the test is of types, the second of what is none.
    let fails = table.table == "L1812";
    fails_as_expected(Case::of("docker-bake.hcl", &definition, &[]), fails)
}

/// A number, a text or a piece of HCL, as it stands in a definition.
fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn typed_default(row: &Row) -> Result<(), String> {
    let attribute = &row.value["attrValue"];
    let argument = match row.text("argValue") {
        "" => "FOO",
        argument => argument,
    };
    let (local, default) = if attribute.is_null() {
        (String::new(), written(&row.value["varDefault"]))
    } else {
        (format!("BAR = {}\n", written(attribute)), "BAR".to_owned())
    };
    let definition = format!(
        "{local}variable \"FOO\" {{\n  type = {}\n  default = {default}\n}}\ntarget \"default\" {{\n  args = {{\n    foo = {argument}\n  }}\n}}\n",
        row.text("varType")
    );
    let printed = Case::of("docker-bake.hcl", &definition, &["default"]).print(false);
    if row.expects_error("wantError") {
        return tables::refused(printed);
    }
    let printed = printed.map_err(|error| error.to_string())?;
    match row.value.get("wantValue") {
        Some(wanted) => equal(wanted, &printed["target"]["default"]["args"]["foo"]),
        None => Ok(()),
    }
}

fn typed_override(row: &Row, variable: &str) -> Result<(), String> {
    let argument = match row.text("argValue") {
        "" => "FOO",
        argument => argument,
    };
    let definition = format!(
        "variable \"FOO\" {{\n  type = {}\n}}\ntarget \"default\" {{\n  args = {{\n    foo = {argument}\n  }}\n}}\n",
        row.text("varType")
    );
    let case = Case {
        env: BTreeMap::from([(variable.to_owned(), row.text("override").to_owned())]),
        ..Case::of("docker-bake.hcl", &definition, &["default"])
    };
    match (row.text("wantErrorMsg"), case.print(false)) {
        ("", Ok(printed)) => equal(&row.value["wantValue"], &printed["target"]["default"]["args"]["foo"]),
        ("", Err(error)) => Err(error.to_string()),
        (wanted, Err(error)) => contains(&error.to_string(), wanted),
        (wanted, Ok(printed)) => Err(format!("expected an error with {wanted:?}, got {printed}")),
    }
}
