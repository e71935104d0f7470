//! What is the same for all platforms is made once.

use kiln_testkit::{DockerRegistry, Fixture, TestResult};
use serde_json::Value;

const PLATFORMS: &str = "linux/amd64,linux/arm64,linux/arm/v7";

/// Writes where it runs: on the build platform, wherever that is.
const MARKED: &str = "FROM alpine:3.20\nRUN echo \"for $(uname -m)\" > /own\n# Pages are text.\n# kiln: noarch\n\
                      RUN echo \"$(uname -m) $TARGETS\" > /pages\nRUN cat /own /pages > /both\n";

#[test]
fn a_marked_step_runs_once_and_its_layer_is_in_every_image() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let registry = DockerRegistry::start()?;
    let image = format!("{}/team/pages:1", registry.address());
    fixture.context("app", &[("Dockerfile", MARKED)])?;
    let build = || fixture.kiln(["build", "--platform", PLATFORMS, "-t", &image, "--push", "app"]);
    let planned = fixture.kiln(["plan", "--platform", PLATFORMS, "app"]).run()?;
    assert_eq!(planned.assert_success().stdout_text().matches("run for all").count(), 1);

    let built = build().run()?;
    // The base of each platform differs, and so do two of the three steps.
    built.assert_success().assert_says(&["saved by sharing: 2 of 9 runs"]);
    let index = fixture.raw_manifest(&image)?;
    let mut layers: Vec<Vec<String>> = Vec::new();
    for manifest in index["manifests"].as_array().into_iter().flatten() {
        let digest = manifest["digest"].as_str().unwrap_or_default();
        let manifest = fixture.raw_manifest(&format!("{}/team/pages@{digest}", registry.address()))?;
        let digests = manifest["layers"].as_array().into_iter().flatten();
        layers.push(digests.map(|layer| layer["digest"].to_string()).collect());
    }
    assert_eq!(layers.len(), 3);
    let steps: Vec<&[String]> = layers.iter().map(|layers| &layers[layers.len() - 3..]).collect();
    assert!(steps.iter().all(|of| of[1] == steps[0][1]), "{steps:?}");
    assert_ne!(steps[0][0], steps[1][0]);

    let machine = fixture
        .file_in_image(&image, "linux/amd64", "pages")?
        .unwrap_or_default();
    for (platform, own) in [
        ("linux/amd64", "x86_64"),
        ("linux/arm64", "aarch64"),
        ("linux/arm/v7", "armv7l"),
    ] {
        let both = fixture.file_in_image(&image, platform, "both")?;
        assert_eq!(both, Some(format!("for {own}\n{machine}")), "{platform}");
    }

    let recorded = fixture.kiln(["history", "show", "--format", "json"]).run()?;
    let record: Value = serde_json::from_str(&recorded.assert_success().stdout_text())?;
    assert_eq!(record["shared"]["runs_saved"], 2);
    let (saved, all) = (&record["shared"]["bytes_saved"], &record["shared"]["bytes"]);
    assert!(
        saved.as_u64() > Some(0) && all.as_u64() > saved.as_u64(),
        "{saved} of {all}"
    );

    let again = build().args(["--progress", "rawjson"]).run()?;
    let text = &again.assert_success().stderr;
    let last: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    assert_eq!(
        (&last["event"], &last["runs"]),
        (&"shared".into(), &0.into()),
        "all was found"
    );
    assert_eq!(
        last["bytes_saved"], *saved,
        "its layers are in three images all the same"
    );

    // A change is told of the step that ran, not of those that took its layer.
    let edited = MARKED.replace("$TARGETS", "again");
    fixture.context("app", &[("Dockerfile", &edited)])?;
    let changed = build().args(["--explain"]).run()?;
    changed.assert_success().assert_says(&[
        "root cause: #3 [stage-0 3/4] RUN echo",
        "- RUN echo \"$(uname -m) $TARGETS\" > /pages",
        "+ RUN echo \"$(uname -m) again\" > /pages",
    ]);
    Ok(())
}

#[test]
fn a_promise_that_is_not_kept_is_an_error() -> TestResult {
    let fixture = Fixture::with_base_images()?;
    let text = "FROM alpine:3.20\nRUN true\n# kiln: noarch\nRUN mkdir /made && cp /bin/busybox /made/tool\n";
    fixture.context("app", &[("Dockerfile", text)])?;
    let arguments = [
        "build",
        "--platform",
        "linux/amd64,linux/arm64",
        "--output",
        "type=cacheonly",
    ];
    let failed = fixture.kiln(arguments).args(["app"]).run()?;
    failed.assert_code(1).assert_says(&[
        "failed to build step `RUN mkdir /made && cp /bin/busybox /made/tool",
        "the step is marked `noarch`, but makes `/made/tool`, a program for amd64 alone",
        "hint: leave out `# kiln: noarch`",
    ]);
    // Read as a variable, it is found before anything runs.
    let text = "FROM alpine:3.20\nARG TARGETARCH\n# kiln: noarch\nRUN echo $TARGETARCH > /arch\n";
    fixture.context("app", &[("Dockerfile", text)])?;
    let failed = fixture.kiln(arguments).args(["app"]).run()?;
    failed
        .assert_code(2)
        .assert_says(&["reads `$TARGETARCH`, which differs between platforms"]);
    Ok(())
}
