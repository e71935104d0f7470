//! `kiln bake`: definitions resolved, and built in one graph.

use std::fs;

use kiln_testkit::{DockerRegistry, Fixture, TestResult, report_skip};

const TOKEN: &str = "cat /proc/sys/kernel/random/uuid";

/// Two stages that all of four targets share: one for each platform, one for all.
fn shared_stages() -> String {
    let own = |name: &str| format!("FROM base AS {name}\nCOPY --from=tools /tool /tool\nRUN echo {name} > /name\n");
    format!(
        "FROM busybox AS base\nRUN {TOKEN} > /base\n\
         FROM --platform=$BUILDPLATFORM busybox AS tools\nRUN {TOKEN} > /tool\n{}{}{}{}",
        own("api"),
        own("web"),
        own("jobs"),
        own("cli")
    )
}

const FOUR: &str = r#"
variable "REGISTRY" {}
group "default" { targets = ["app"] }
target "app" {
  name = "app-${part}"
  matrix = { part = ["api", "web", "jobs", "cli"] }
  context = "."
  target = part
  platforms = ["linux/amd64", "linux/arm64"]
  tags = ["${REGISTRY}/team/${part}:1.0"]
}
"#;

/// How many COPY and RUN steps ran, by the events that the build told.
fn steps_that_ran(events: &str) -> usize {
    let events: Vec<serde_json::Value> = events
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let is_step = |vertex: &serde_json::Value| {
        let planned = events
            .iter()
            .find(|event| event["event"] == "step-planned" && event["vertex"] == *vertex);
        let name = planned.and_then(|event| event["meta"]["name"].as_str());
        name.is_some_and(|name| name.starts_with("RUN") || name.starts_with("COPY"))
    };
    let started = events.iter().filter(|event| event["event"] == "step-started");
    started.filter(|event| is_step(&event["vertex"])).count()
}

#[test]
fn four_targets_share_what_they_have_in_common() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let address = registry.address();
    fixture.write("Dockerfile", shared_stages().as_bytes())?;
    fixture.write("docker-bake.hcl", FOUR.as_bytes())?;
    let metadata = fixture.directory().join("built.json");
    let built = fixture
        .kiln(["bake", "--progress=rawjson", "--push", "--metadata-file"])
        .args([&metadata])
        .env("REGISTRY", &address)
        .run()?;
    built.assert_success();
    // Built one after the other in four stores, the targets take 28 steps: seven each.
    assert_eq!(steps_that_ran(&built.stderr), 13);
    let mut tools = Vec::new();
    let mut bases = std::collections::BTreeMap::<&str, Vec<String>>::new();
    for part in ["api", "web", "jobs", "cli"] {
        let image = format!("{address}/team/{part}:1.0");
        let index = fixture.raw_manifest(&image)?;
        assert_eq!(
            index["manifests"].as_array().map(Vec::len),
            Some(2),
            "{part} has both platforms"
        );
        for platform in ["linux/amd64", "linux/arm64"] {
            let read = |path: &str| fixture.file_in_image(&image, platform, path);
            assert_eq!(
                read("name")?.as_deref(),
                Some(format!("{part}\n").as_str()),
                "{part} {platform}"
            );
            tools.extend(read("tool")?);
            bases.entry(platform).or_default().extend(read("base")?);
        }
    }
    tools.dedup();
    assert_eq!(
        tools.len(),
        1,
        "the stage on the build platform ran once for all: {tools:?}"
    );
    for (platform, mut found) in bases {
        assert_eq!(found.len(), 4);
        found.dedup();
        assert_eq!(found.len(), 1, "the shared stage ran once for {platform}: {found:?}");
    }
    let metadata: serde_json::Value = serde_json::from_slice(&fs::read(metadata)?)?;
    for part in ["api", "web", "jobs", "cli"] {
        let digest = metadata[format!("app-{part}")]["containerimage.digest"].as_str();
        let said = format!("app-{part} {}\n", digest.unwrap_or_default());
        assert!(
            built.stdout_text().contains(&said),
            "{said} is in {}",
            built.stdout_text()
        );
    }
    Ok(())
}

#[test]
fn a_target_is_the_base_of_another() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let base = format!("FROM busybox\nENV GREETING=hello\nRUN {TOKEN} > /token\n");
    fixture.context("base", &[("Dockerfile", &base)])?;
    let user = "FROM base\nRUN echo $GREETING > /greeting\nCOPY --from=base /token /copy\nCOPY file /\n";
    fixture.context("one", &[("Dockerfile", user), ("file", "1")])?;
    fixture.context("two", &[("Dockerfile", user), ("file", "2")])?;
    let definition = r#"
target "base" { context = "base" }
target "one" {
  context = "one"
  contexts = { base = "target:base" }
  platforms = ["linux/amd64", "linux/arm64"]
  output = ["out/one"]
}
target "two" {
  context = "two"
  contexts = { base = "target:base" }
  platforms = ["linux/amd64"]
  output = ["out/two"]
}
"#;
    fixture.write("docker-bake.hcl", definition.as_bytes())?;
    fixture.kiln(["bake", "one", "two"]).run()?.assert_success();
    let read = |path: &str| fs::read_to_string(fixture.directory().join("out").join(path));
    assert_eq!(
        read("one/linux_arm64/greeting")?,
        "hello\n",
        "the configuration is inherited"
    );
    assert_eq!(
        (read("one/linux_amd64/file")?, read("two/file")?),
        ("1".into(), "2".into())
    );
    assert_eq!(
        read("one/linux_amd64/token")?,
        read("two/token")?,
        "the base ran once for both"
    );
    assert_eq!(read("two/copy")?, read("two/token")?);
    assert_ne!(
        read("one/linux_arm64/token")?,
        read("one/linux_amd64/token")?,
        "the base is made for each platform that is asked of it"
    );
    Ok(())
}

#[test]
fn a_plan_names_every_step_and_runs_none() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.write("Dockerfile", shared_stages().as_bytes())?;
    fixture.write("docker-bake.hcl", FOUR.as_bytes())?;
    let plan = fixture
        .kiln(["bake", "--dry-run"])
        .env("REGISTRY", "registry.example")
        .run()?;
    let text = plan.assert_success().stdout_text();
    assert!(
        text.contains("app-api: 7 steps for linux/amd64, linux/arm64\n"),
        "{text}"
    );
    assert!(text.contains("as registry.example/team/web:1.0\n"), "{text}");
    // For all: a base and a copy of the tool on each platform, and the tool. For each target and platform: a name.
    assert!(text.contains("13 steps, 5 of them for several targets\n"), "{text}");
    Ok(())
}

/// The definition of a project as its documentation has it.
const DOCUMENTED: &str = r#"
variable "TAG" {
  default = "latest"
}

variable "REGISTRY" {
  default = "yourusername"
}

group "default" {
  targets = ["app"]
}

target "app" {
  context = "."
  dockerfile = "Dockerfile"
  tags = [
    "${REGISTRY}/app:${TAG}",
    "${REGISTRY}/app:latest"
  ]
  platforms = [
    "linux/amd64",
    "linux/arm64"
  ]
  cache-from = ["type=registry,ref=${REGISTRY}/app:buildcache"]
  cache-to = ["type=registry,ref=${REGISTRY}/app:buildcache,mode=max"]
  args = {
    BUILDKIT_INLINE_CACHE = "1"
  }
}

target "test" {
  inherits = ["app"]
  platforms = ["linux/amd64"]
  output = ["type=docker"]
}
"#;

#[test]
fn the_resolved_definition_is_printed() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.write("docker-bake.hcl", DOCUMENTED.as_bytes())?;
    let printed = fixture.kiln(["bake", "--print"]).env("TAG", "2.0").run()?;
    let app = &printed.assert_success().json()["target"]["app"];
    assert_eq!(
        app["tags"],
        serde_json::json!(["yourusername/app:2.0", "yourusername/app:latest"])
    );
    assert_eq!(app["platforms"], serde_json::json!(["linux/amd64", "linux/arm64"]));
    assert_eq!(
        app["cache-to"],
        serde_json::json!([{ "type": "registry", "ref": "yourusername/app:buildcache", "mode": "max" }])
    );
    let set = fixture
        .kiln([
            "bake",
            "app",
            "--print",
            "--set",
            "app.tags=custom:1",
            "--set",
            "*.platform=linux/arm/v7",
        ])
        .run()?;
    let app = &set.assert_success().json()["target"]["app"];
    assert_eq!(app["tags"], serde_json::json!(["custom:1"]));
    assert_eq!(app["platforms"], serde_json::json!(["linux/arm/v7"]));
    // A key that is true or false is true if it stands alone; of what is said twice, the last counts.
    let alone = fixture
        .kiln([
            "bake",
            "--print",
            "--print",
            "--pull=false",
            "--pull",
            "--set",
            "ap*.no-cache",
            "app",
        ])
        .run()?;
    let app = &alone.assert_success().json()["target"]["app"];
    assert_eq!((&app["no-cache"], &app["pull"]), (&true.into(), &true.into()));
    let given = fixture
        .kiln(["bake", "-f", "-", "--print", "--var", "TAG=3", "app"])
        .input(DOCUMENTED)
        .run()?;
    assert_eq!(
        given.assert_success().json()["target"]["app"]["tags"][0],
        "yourusername/app:3"
    );
    let listed = fixture.kiln(["bake", "--list=type=variables,format=json"]).run()?;
    assert_eq!(
        listed.assert_success().json(),
        serde_json::json!([{ "name": "REGISTRY", "value": "yourusername" }, { "name": "TAG", "value": "latest" }])
    );
    let targets = fixture
        .kiln(["bake", "--list=targets"])
        .run()?
        .assert_success()
        .stdout_text();
    assert_eq!(targets, "TARGET   DESCRIPTION\napp\ndefault  app\ntest\n");
    Ok(())
}

#[test]
fn what_is_empty_was_not_said() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.write("Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n")?;
    let definition =
        "target \"default\" {\n  dockerfile-inline = \"\"\n  call = \"\"\n  target = \"\"\n  network = \"\"\n}\n";
    fixture.write("docker-bake.hcl", definition.as_bytes())?;
    let plan = fixture.kiln(["bake", "--dry-run"]).run()?;
    let text = plan.assert_success().stdout_text();
    assert!(text.contains("default: 1 steps"), "{text}");
    Ok(())
}

#[test]
fn objects_of_a_variable_may_leave_out_what_is_optional() -> TestResult {
    let fixture = Fixture::new()?;
    let definition = r#"
variable "PARTS" {
  type    = list(object({ name = string, port = optional(number) }))
  default = [{ name = "api" }]
}
target "default" { args = { for part in PARTS : part.name => part.port } }
"#;
    fixture.write("docker-bake.hcl", definition.as_bytes())?;
    let printed = fixture.kiln(["bake", "--print"]).run()?;
    let default = &printed.assert_success().json()["target"]["default"];
    assert!(default["args"].is_null(), "{default}");
    let given = r#"[{"name": "api", "port": "80"}, {"name": "web"}]"#;
    let printed = fixture.kiln(["bake", "--print"]).env("PARTS_JSON", given).run()?;
    let default = &printed.assert_success().json()["target"]["default"];
    assert_eq!(default["args"], serde_json::json!({ "api": "80" }));
    Ok(())
}

#[test]
fn mistakes_are_drawn_with_their_lines_and_what_was_meant() -> TestResult {
    let fixture = Fixture::new()?;
    for (definition, target, says) in [
        (
            "target \"app\" {\n  dockerfle = \"x\"\n}\n",
            "app",
            &[
                "docker-bake.hcl:2,3-12",
                "2 |>  dockerfle = \"x\"",
                "^^^^^^^^^",
                "did you mean `dockerfile`?",
            ][..],
        ),
        (
            "target \"app\" {\n  tags = [uper(\"x\")]\n}\n",
            "app",
            &["There is no function named \"uper\"", "did you mean `upper`?"],
        ),
        (
            "variable \"VERSION\" { default = \"1\" }\ntarget \"app\" {\n  tags = [\"a:${VERSOIN}\"]\n}\n",
            "app",
            &[
                "There is no variable named \"VERSOIN\"",
                "3 |>",
                "did you mean `VERSION`?",
            ],
        ),
        (
            "target \"app\" {}\n",
            "aap",
            &["failed to find target aap", "did you mean `app`?"],
        ),
        (
            "group \"all\" {\n  targets = [\"app\"]\n}\ntarget \"app\" {\n  inherits = [\"all\"]\n}\n",
            "app",
            &["failed to find target all", "`all` is a group"],
        ),
        (
            "target \"app\" {\n  args = { a = 1 / 0 }\n}\n",
            "app",
            &["cannot be divided by zero", "2 |>"],
        ),
        ("target \"app\" {\n", "app", &["no closing brace", "1 |>"]),
    ] {
        fixture.write("docker-bake.hcl", definition.as_bytes())?;
        let outcome = fixture.kiln(["bake", target]).run()?;
        outcome.assert_code(2).assert_says(says);
    }
    fs::remove_file(fixture.directory().join("docker-bake.hcl"))?;
    fixture
        .kiln(["bake"])
        .run()?
        .assert_code(2)
        .assert_says(&["couldn't find a bake definition"]);
    Ok(())
}

#[test]
fn what_a_definition_may_not_do_unasked() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context(
        "project",
        &[("Dockerfile", "FROM busybox\nCOPY --from=other secret.txt /\n")],
    )?;
    fixture.context("elsewhere", &[("secret.txt", "s")])?;
    let elsewhere = fixture.directory().join("elsewhere");
    let definition = format!(
        "target \"default\" {{\n  contexts = {{ other = {elsewhere:?} }}\n  output = [\"out\"]\n}}\ntarget \"net\" {{ network = \"host\" }}\n"
    );
    fixture.write("project/docker-bake.hcl", definition.as_bytes())?;
    let bake = |arguments: &[&str]| {
        let place = fixture.directory().join("project");
        fixture
            .kiln(std::iter::once("bake").chain(arguments.iter().copied()))
            .with(|command| _ = command.current_dir(place))
            .run()
    };
    let flag = format!("--allow=fs.read={}", elsewhere.display());
    bake(&[])?.assert_code(2).assert_says(&["asks for reading", &flag]);
    bake(&[&flag])?.assert_success();
    assert_eq!(
        fs::read_to_string(fixture.directory().join("project/out/secret.txt"))?,
        "s"
    );
    bake(&["net"])?
        .assert_code(2)
        .assert_says(&["the host's network", "--allow=network.host"]);
    bake(&["--allow=nonsense"])?
        .assert_code(2)
        .assert_says(&["unknown entitlement key \"nonsense\""]);
    Ok(())
}

#[test]
fn what_is_not_served_yet_says_so() -> TestResult {
    let fixture = Fixture::new()?;
    fixture.write("Dockerfile", b"FROM scratch\nCOPY Dockerfile /\n")?;
    fixture.write("docker-bake.hcl", b"target \"default\" {}\n")?;
    for (arguments, says) in [
        (&["bake", "--load"][..], "--load is not supported yet"),
        (
            &["bake", "--set", "*.attest=type=sbom"],
            "--attest is not supported yet",
        ),
        (
            &["bake", "--set", "*.context=-"],
            "context from stdin not allowed in bake",
        ),
        (&["bake", "--set", "*.resources.disk=1g"], "unknown resources key disk"),
    ] {
        fixture.kiln(arguments).run()?.assert_code(2).assert_says(&[says]);
    }
    Ok(())
}

#[test]
fn dockerfiles_are_checked_through_a_definition() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.write("Dockerfile", b"FROM busybox\nmaintainer me\n")?;
    let inline = "target \"clean\" {\n  dockerfile-inline = <<EOT\nFROM busybox\nRUN true\nEOT\n}\n";
    fixture.write(
        "docker-bake.hcl",
        format!("target \"default\" {{}}\n{inline}").as_bytes(),
    )?;
    let checked = fixture.kiln(["bake", "--check"]).run()?;
    checked.assert_code(1);
    assert!(
        checked.stdout_text().contains("MaintainerDeprecated"),
        "{}",
        checked.stdout_text()
    );
    fixture.kiln(["bake", "--check", "clean"]).run()?.assert_success();
    Ok(())
}

#[test]
fn a_compose_file_is_a_definition() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    fixture.context(
        "web",
        &[("Dockerfile", "FROM busybox\nARG NAME\nRUN echo $NAME > /name\n")],
    )?;
    let compose = "services:\n  web:\n    image: example/web\n    build:\n      context: ./web\n      args:\n        NAME: ${WHO:-nobody}\n      x-bake:\n        output: type=local,dest=out\n  db:\n    image: postgres:${RELEASE}${WHO}\n";
    fixture.write("compose.yaml", compose.as_bytes())?;
    fixture.write(".env", b"WHO=somebody\n")?;
    let built = fixture.kiln(["bake"]).run()?;
    built.assert_success();
    let warnings: Vec<&str> = built.stderr.lines().filter(|line| line.contains("warning:")).collect();
    let warning = "warning: The \"RELEASE\" variable is not set. Defaulting to a blank string.";
    assert_eq!(warnings, [warning], "{}", built.stderr);
    assert_eq!(fs::read_to_string(fixture.directory().join("out/name"))?, "somebody\n");
    Ok(())
}

#[test]
fn steps_take_no_more_than_they_may() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    // One block is in memory as a whole.
    fixture.write(
        "Dockerfile",
        b"FROM busybox\nRUN cat /proc/self/cgroup > /groups && dd if=/dev/zero of=/dev/null bs=100M count=1\n",
    )?;
    let definition = "target \"default\" {\n  output = [\"out\"]\n  no-cache = true\n}\ntarget \"small\" {\n  inherits = [\"default\"]\n  resources = { memory = \"32m\", cpu-shares = 512 }\n}\n";
    fixture.write("docker-bake.hcl", definition.as_bytes())?;
    let read = |path: &str| fs::read_to_string(fixture.directory().join("out").join(path));
    fixture.kiln(["bake"]).run()?.assert_success();
    assert!(!read("groups")?.contains("kiln-"), "{}", read("groups")?);
    let limited = fixture.kiln(["bake", "--progress=plain", "small"]).run()?;
    if limited.stderr.contains("steps run without the limits") {
        report_skip(
            "steps_take_no_more_than_they_may",
            "there are no control groups to make",
        );
        limited.assert_success();
        return Ok(());
    }
    // Steps of a foreign platform are started in a user namespace of their emulator, which takes memory of its own.
    for platform in ["linux/amd64", "linux/arm64"] {
        let platform = format!("--set=small.platform={platform}");
        let limited = fixture.kiln(["bake", "small", &platform]).run()?;
        limited.assert_code(1).assert_says(&["killed by signal 9"]);
        let enough = fixture
            .kiln(["bake", "small", &platform, "--set=small.resources.memory=512m"])
            .run()?;
        enough.assert_success();
        assert!(read("groups")?.contains("kiln-"), "{}", read("groups")?);
    }
    // The limits change nothing of the result, so the result is found whatever they are.
    let found = fixture
        .kiln(["bake", "small", "--set=small.no-cache=false", "--explain"])
        .run()?;
    found.assert_success();
    Ok(())
}
