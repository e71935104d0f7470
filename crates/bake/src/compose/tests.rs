//! Compose files of several parts: what is reset, replaced, included and extended.

use std::collections::BTreeMap;

use crate::config::{File, Inputs, read};
use crate::error::BakeError;
use crate::functions::Host;
use crate::model::Config;

/// Reads the files of a directory, of which the first ones are the definition.
fn read_all(definition: &[&str], files: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, BakeError> {
    let files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let given: Vec<File> = definition
        .iter()
        .map(|name| File {
            name: (*name).to_owned(),
            text: files[name].to_owned(),
        })
        .collect();
    let environment = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let inputs = Inputs {
        variables: BTreeMap::new(),
        environment: environment.collect(),
        built_in: BTreeMap::new(),
        host: Host {
            now: 0,
            home: Some("/home/me".to_owned()),
            random: |_| {},
        },
        file_relative_paths: false,
        read_file: &|path| {
            let path = crate::functions::clean_path(path.strip_prefix("cwd://").unwrap_or(path));
            Ok(files.get(path.as_str()).map(|text| (*text).to_owned()))
        },
    };
    read(&given, &inputs).map(|definition| definition.config)
}

fn args(config: &Config, target: &str) -> String {
    let target = config.target(target).expect("the target is there");
    let args: Vec<String> = target
        .args
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    args.join(" ")
}

fn context<'a>(config: &'a Config, target: &str) -> &'a str {
    config
        .target(target)
        .and_then(|target| target.context.as_deref())
        .unwrap_or_default()
}

const BASE: &str = "
services:
  web:
    image: web
    build:
      context: web
      target: final
      args: {A: 1, B: 2}
      tags: [one, two]
  old:
    build: old
";

#[test]
fn later_files_reset_and_override() {
    let change = "
services:
  web:
    build:
      target: !reset null
      args: !override {C: 3}
      tags: !override [three]
      labels: !reset {}
  old: !reset null
";
    let config = read_all(
        &["compose.yml", "change.yml"],
        &[("compose.yml", BASE), ("change.yml", change)],
        &[],
    );
    let config = config.expect("valid");
    let web = config.target("web").expect("there");
    assert_eq!((web.target.as_deref(), web.context.as_deref()), (None, Some("web")));
    assert_eq!(args(&config, "web"), "C=3");
    assert_eq!(web.tags.as_deref(), Some(&["three".to_owned()][..]));
    assert!(config.target("old").is_none());
    // Without the tags, what is said later is added.
    let config = read_all(
        &["compose.yml", "change.yml"],
        &[
            ("compose.yml", BASE),
            ("change.yml", "services: {web: {build: {args: [C=3], tags: [three]}}}"),
        ],
        &[],
    );
    let config = config.expect("valid");
    assert_eq!(args(&config, "web"), "A=1 B=2 C=3");
    assert_eq!(
        config.target("web").and_then(|web| web.tags.as_ref()).map(Vec::len),
        Some(3)
    );
    // One argument alone.
    let one = "services: {web: {build: {args: {A: !reset null}}}}";
    let config = read_all(
        &["compose.yml", "one.yml"],
        &[("compose.yml", BASE), ("one.yml", one)],
        &[],
    );
    assert_eq!(args(&config.expect("valid"), "web"), "B=2");
}

#[test]
fn services_extend_across_files() {
    let files = [
        (
            "compose.yml",
            "
services:
  app:
    extends: {file: common/base.yml, service: base}
    build:
      args: !override {OWN: 1}
  plain:
    extends: {file: common/base.yml, service: base}
  here:
    extends: plain
    build: {target: here}
",
        ),
        (
            "common/base.yml",
            "
services:
  base:
    extends: {file: deep/root.yml, service: root}
    build:
      context: src
      args: {FROM_BASE: 1, FROM_FILE: }
    env_file:
      - path: base.env
      - path: none.env
        required: false
",
        ),
        (
            "common/deep/root.yml",
            "services: {root: {build: {context: unused, additional_contexts: {lib: lib}, args: {ROOT: 1}}}}",
        ),
        ("common/base.env", "FROM_FILE=from the file\n"),
    ];
    let config = read_all(&["compose.yml"], &files, &[]).expect("valid");
    assert_eq!(context(&config, "plain"), "common/src");
    assert_eq!(args(&config, "plain"), "FROM_BASE=1 FROM_FILE=from the file ROOT=1");
    assert_eq!(
        config.target("plain").expect("there").contexts["lib"],
        "common/deep/lib"
    );
    assert_eq!(args(&config, "app"), "OWN=1");
    assert_eq!(context(&config, "here"), "common/src");
    assert_eq!(
        config.target("here").and_then(|here| here.target.as_deref()),
        Some("here")
    );
    let circle = [("compose.yml", "services: {a: {extends: b, build: .}, b: {extends: a}}")];
    let error = read_all(&["compose.yml"], &circle, &[]).expect_err("a circle");
    assert!(error.to_string().contains("extends itself"), "{error}");
}

#[test]
fn models_are_included_with_directories_and_variables() {
    let main = "
include:
  - short/compose.yml
  - path: [long/compose.yml, long/more.yml]
    project_directory: elsewhere
    env_file: [one.env, two.env]
services:
  main:
    build: {context: ., args: {WHO: '${WHO:-nobody}'}}
";
    let of = |name: &str, extra: &str| {
        format!(
            "services: {{{name}: {{build: {{context: ./{name}, args: {{WHO: '${{WHO:-nobody}}', TWO: '${{TWO:-}}'}}}}{extra}}}}}"
        )
    };
    let (short, long) = (
        of("short", ""),
        of("long", ", extends: {file: base.yml, service: base}"),
    );
    let files = [
        ("compose.yml", main),
        ("short/compose.yml", &short),
        ("short/.env", "WHO=short\n"),
        ("long/compose.yml", &long),
        ("long/more.yml", "services: {long: {build: {target: more}}}"),
        (
            "elsewhere/base.yml",
            "services: {base: {build: {context: x, args: {BASE: 1}}}}",
        ),
        ("one.env", "WHO=one\nTWO=1\n"),
        ("two.env", "TWO=${TWO}2\n"),
    ];
    let config = read_all(&["compose.yml"], &files, &[]).expect("valid");
    assert_eq!(args(&config, "main"), "WHO=nobody");
    assert_eq!(
        (context(&config, "short"), args(&config, "short")),
        ("short/short", "TWO= WHO=short".into())
    );
    assert_eq!(context(&config, "long"), "elsewhere/long");
    assert_eq!(args(&config, "long"), "BASE=1 TWO=12 WHO=one");
    assert_eq!(
        config.target("long").and_then(|long| long.target.as_deref()),
        Some("more")
    );
    // The environment comes before every file.
    let config = read_all(&["compose.yml"], &files, &[("WHO", "me")]).expect("valid");
    assert_eq!(args(&config, "long"), "BASE=1 TWO=12 WHO=me");

    let twice = [
        ("compose.yml", "include: [other.yml]\nservices: {a: {build: here}}"),
        ("other.yml", "services: {a: {build: there}}"),
    ];
    let error = read_all(&["compose.yml"], &twice, &[]).expect_err("defined twice");
    assert_eq!(error.to_string(), "services.a conflicts with imported resource");
    // A later file changes what an earlier one includes.
    let change = [
        ("compose.yml", "include: [other.yml]"),
        (
            "other.yml",
            "services: {a: {build: {context: there, args: [A=1, B=1]}}}",
        ),
        ("change.yml", "services: {a: {build: {args: {A: 2, B: !reset null}}}}"),
    ];
    let config = read_all(&["compose.yml", "change.yml"], &change, &[]).expect("valid");
    assert_eq!((context(&config, "a"), args(&config, "a").as_str()), ("there", "A=2"));
    let circle = [("compose.yml", "include: [compose.yml]\nservices: {a: {build: .}}")];
    let error = read_all(&["compose.yml"], &circle, &[]).expect_err("a circle");
    assert!(error.to_string().contains("levels deep"), "{error}");
    for (text, message) in [
        ("include: x\n", "include must be a list"),
        ("include: [{project_directory: x}]\n", "include.path is required"),
        ("include: [none.yml]\n", "`none.yml` does not exist"),
    ] {
        let error = read_all(&["compose.yml"], &[("compose.yml", text)], &[]).expect_err(text);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn raw_files_of_variables_are_taken_as_they_are() {
    let compose = "
services:
  a:
    build: {context: ., args: [V, W]}
    env_file: {path: raw.env, format: raw}
";
    let files = [("compose.yml", compose), ("raw.env", "# no\nV=\"$HOME\" # all\nW=\n")];
    let config = read_all(&["compose.yml"], &files, &[("HOME", "/root")]).expect("valid");
    assert_eq!(args(&config, "a"), "V=\"$HOME\" # all W=");
}

fn read_one(text: &str) -> Result<Config, BakeError> {
    read_all(&["compose.yml"], &[("compose.yml", text)], &[])
}

#[test]
fn hosts_have_addresses_in_several_forms() {
    let listed = r#"
services:
  a:
    build:
      extra_hosts: ["one:1.2.3.4", "two=::1", "three:[::1]", "one:5.6.7.8"]
"#;
    let mapped = "services: {a: {build: {extra_hosts: {one: [1.2.3.4, 9.9.9.9], four: 4.4.4.4}}}}";
    let config = read_all(
        &["compose.yml", "more.yml"],
        &[("compose.yml", listed), ("more.yml", mapped)],
        &[],
    );
    let config = config.expect("valid");
    let hosts = &config.target("a").expect("there").extra_hosts;
    let hosts: Vec<String> = hosts
        .iter()
        .map(|(host, addresses)| format!("{host}={addresses}"))
        .collect();
    assert_eq!(
        hosts,
        ["four=4.4.4.4", "one=1.2.3.4,5.6.7.8,9.9.9.9", "three=::1", "two=::1"]
    );
}

#[test]
fn sections_of_a_wrong_kind_are_refused() {
    for (build, message) in [
        (
            "args: [1]",
            "services.a.build.args must be an array of strings, not of number",
        ),
        (
            "args: {A: [1]}",
            "services.a.build.args must be a mapping to strings, but A is array",
        ),
        ("tags: one", "services.a.build.tags must be an array, not string"),
        (
            "tags: [1]",
            "services.a.build.tags must be an array of strings, not of number",
        ),
        (
            "ssh: default",
            "services.a.build.ssh must be a mapping or an array, not string",
        ),
        ("target: 1.10", "services.a.build.target must be a string, not number"),
        ("extra_hosts: [a]", "missing IP: a"),
        ("extra_hosts: [\"=1.1.1.1\"]", "bad host name ''"),
        ("extra_hosts: {\"a:b\": 1.1.1.1}", "bad host name 'a:b'"),
    ] {
        let error = read_one(&format!("services: {{a: {{build: {{{build}}}}}}}")).expect_err(build);
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[test]
fn a_number_is_no_name_of_an_image() {
    let error = read_one("services: {a: {image: 1.10, build: .}}").expect_err("a number");
    assert_eq!(error.to_string(), "services.a.image must be a string, not number");
}

#[test]
fn services_do_not_contradict_themselves() {
    for (text, message) in [
        (
            "services: {a: {command: x}}",
            "service \"a\" has neither an image nor a build context specified",
        ),
        (
            "services: {a: {build: {dockerfile: x, dockerfile_inline: FROM scratch}}}",
            "mutually exclusive dockerfile and dockerfile_inline",
        ),
        (
            "services: {a: {build: {secrets: [s]}}}",
            "service \"a\" refers to undefined build secret s",
        ),
        (
            "services: {a: {build: {additional_contexts: [b=service:b]}}}",
            "service \"a\" declares unknown service \"b\" as additional contexts b",
        ),
        (
            "services: {a: {build: {additional_contexts: [b=service:b]}}, b: {image: b}}",
            "service \"a\" declares non-buildable service \"b\" as additional contexts b",
        ),
    ] {
        let error = read_one(text).expect_err(text);
        assert!(error.to_string().contains(message), "{error}");
    }
    // Only all files together must be complete.
    let config = read_all(
        &["compose.yml", "secrets.yml"],
        &[
            ("compose.yml", "services: {a: {build: {secrets: [s]}}, b: {image: b}}"),
            ("secrets.yml", "secrets: {s: {file: x}}"),
        ],
        &[],
    );
    assert!(config.is_ok(), "{config:?}");
}

#[test]
fn paths_may_begin_at_home() {
    let text = "
services:
  a:
    build:
      context: ~/app
      additional_contexts: {more: ~/more}
      ssh: [default=~/key, other=./key]
      secrets: [s]
secrets: {s: {file: ~/secret}}
";
    let config = read_one(text).expect("valid");
    let target = config.target("a").expect("there");
    assert_eq!(target.context.as_deref(), Some("/home/me/app"));
    assert_eq!(target.contexts["more"], "/home/me/more");
    let paths: Vec<&String> = target.ssh.iter().flatten().flat_map(|ssh| &ssh.paths).collect();
    assert_eq!(paths, ["/home/me/key", "key"]);
    assert_eq!(target.secrets.as_ref().expect("there")[0].path, "/home/me/secret");
}

#[test]
fn the_name_of_the_project_is_a_variable() {
    let services = "services: {a: {build: {args: [\"P=${COMPOSE_PROJECT_NAME}\"]}}}";
    assert_eq!(args(&read_one(services).expect("valid"), "a"), "P=bake");
    let named = format!("name: My-${{APP:-app}}!\n{services}");
    assert_eq!(args(&read_one(&named).expect("valid"), "a"), "P=my-app");
}

#[test]
fn documents_of_one_file_are_merged() {
    let text = "
services: {a: {build: {args: {A: 1, B: 2}}}}
---
services: {a: {build: {args: {B: !reset null, C: 3}}}}
";
    assert_eq!(args(&read_one(text).expect("valid"), "a"), "A=1 C=3");
}
