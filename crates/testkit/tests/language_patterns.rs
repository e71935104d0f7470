//! The usual patterns of five languages, built for amd64 and arm64, pushed, and run on both under real emulation: as the
//! examples have them, and as they are often written (`patterns/`), which is wrong for three of them.
//!
//! Base images are made of Debian's packages and served under the public images' names. Installing compilers needs a
//! distribution's mirror, so an image that has them takes the place of the examples' `toolchain` stages, and `apk` of
//! the stand-ins finds everything installed already.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kiln_testkit::{
    DockerRegistry, Fixture, HttpServer, Language, Outcome, Program, Response, TestResult, TestkitError,
};
use serde_json::{Value, json};

const PLATFORMS: &str = "linux/amd64,linux/arm64";

/// Platform; its machine's name in the kernel's words, in Go's, and in those of `readelf`.
const MACHINES: [(&str, &str, &str, &str); 2] = [
    ("linux/amd64", "x86_64", "amd64", "Advanced Micro Devices X86-64"),
    ("linux/arm64", "aarch64", "arm64", "AArch64"),
];

/// Builds in a fixture with the images of one language, and a registry to push to.
struct Bench {
    fixture: Fixture,
    registry: DockerRegistry,
}

impl Bench {
    fn new(language: Language) -> Result<Self, TestkitError> {
        Ok(Self {
            fixture: Fixture::with_language_images(language)?,
            registry: DockerRegistry::start()?,
        })
    }

    fn image(&self) -> String {
        format!("{}/team/app:1", self.registry.address())
    }

    /// Builds a context for both platforms and pushes.
    fn build(&self, context: &Path, flags: &[&str]) -> Result<Outcome, TestkitError> {
        self.build_for(PLATFORMS, context, flags)
    }

    fn build_for(&self, platforms: &str, context: &Path, flags: &[&str]) -> Result<Outcome, TestkitError> {
        self.fixture
            .kiln(["build", "--progress=rawjson", "--platform", platforms, "--push", "-t"])
            .args([self.image()])
            .args(flags)
            .args([context])
            .limit(Duration::from_secs(600))
            .run()
    }

    /// The image's own command on a platform.
    fn run(&self, platform: &str, arguments: &[&str]) -> Result<Outcome, TestkitError> {
        self.fixture
            .kiln(["run", "--rm", "--platform", platform])
            .args([self.image()])
            .args(arguments)
            .run()
    }

    /// The machine of an ELF file in the pushed image, as `readelf` names it.
    fn machine(&self, platform: &str, path: &str) -> Result<String, Box<dyn std::error::Error>> {
        let bytes = self.fixture.bytes_in_image(&self.image(), platform, path)?;
        let bytes = bytes.ok_or_else(|| format!("{path} is not in the image for {platform}"))?;
        let file = self.fixture.write("elf", &bytes)?;
        let header = Program::new("readelf")
            .args(["-h"])
            .args([file])
            .succeed()?
            .stdout_text();
        let machine = header.lines().find_map(|line| line.trim().strip_prefix("Machine:"));
        Ok(machine.unwrap_or_default().trim().to_owned())
    }

    /// The image of each platform holds `path` for its own machine.
    fn assert_machines(&self, path: &str) -> TestResult {
        for (platform, _, _, machine) in MACHINES {
            assert_eq!(self.machine(platform, path)?, machine, "{path} for {platform}");
        }
        Ok(())
    }

    /// What the audit says of the pushed image, as JSON.
    fn audited(&self) -> Result<(Option<i32>, Value), TestkitError> {
        let image = self.image();
        let outcome = self
            .fixture
            .kiln(["audit", "--pull", "--format", "json", &image])
            .run()?;
        Ok((outcome.code(), outcome.json()))
    }

    /// The audit finds nothing wrong on any platform.
    fn assert_sound(&self) -> TestResult {
        let (code, report) = self.audited()?;
        assert_eq!(code, Some(0), "{report:#}");
        Ok(())
    }

    /// The audit finds a fault in a file on the foreign platform alone, and names the instruction that put it there.
    fn assert_fault(&self, fault: &str, file: &str, instruction: &str) -> TestResult {
        let (code, report) = self.audited()?;
        assert_eq!(code, Some(1), "{report:#}");
        let text = report.to_string();
        assert!(
            text.contains(fault) && text.contains(file) && text.contains(instruction),
            "{report:#}"
        );
        // The stand-ins for compilers lack libraries of their own; the fault is the foreign platform's alone.
        let (native, _) = native();
        let image = self.image();
        let arguments = ["audit", "--format", "json", "--platform", native, &image];
        let sound = self.fixture.kiln(arguments).run()?.stdout_text();
        assert!(!sound.is_empty() && !sound.contains(fault), "{sound}");
        Ok(())
    }

    /// A context in the fixture: an example's files with the pattern's Dockerfile.
    fn pattern(&self, name: &str) -> Result<PathBuf, TestkitError> {
        let context = self.fixture.directory().join(name);
        Program::new("cp")
            .args(["-r".as_ref(), example(name).as_os_str(), context.as_os_str()])
            .succeed()?;
        let path = pattern(&format!("{name}.Dockerfile"));
        let dockerfile = fs::read(&path).map_err(|source| TestkitError::File {
            action: "read",
            path,
            source,
        })?;
        self.fixture.write(&format!("{name}/Dockerfile"), &dockerfile)?;
        Ok(context)
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn pattern(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("patterns").join(file)
}

/// The platform that this machine emulates.
fn foreign() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "linux/arm64"
    } else {
        "linux/amd64"
    }
}

/// The platform of this machine, and what `readelf` calls it.
fn native() -> (&'static str, &'static str) {
    let (platform, _, _, machine) = if foreign() == "linux/arm64" {
        MACHINES[0]
    } else {
        MACHINES[1]
    };
    (platform, machine)
}

fn events(outcome: &Outcome) -> impl Iterator<Item = Value> {
    outcome
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// How many steps ran whose instruction begins like this, and how many steps in all ran under an emulator.
fn ran(outcome: &Outcome, instruction: &str) -> (usize, usize) {
    let started: Vec<Value> = events(outcome)
        .filter(|event| event["event"] == "step-started")
        .collect();
    let named: Vec<Value> = events(outcome)
        .filter(|event| event["event"] == "step-planned")
        .filter(|event| {
            event["meta"]["name"]
                .as_str()
                .unwrap_or_default()
                .starts_with(instruction)
        })
        .map(|event| event["vertex"].clone())
        .collect();
    let count = started.iter().filter(|event| named.contains(&event["vertex"])).count();
    let emulated = started.iter().filter(|event| event["emulated"] == true).count();
    (count, emulated)
}

/// A tar archive, compressed, of a directory whose files get `prefix` in front.
fn packed(directory: &Path, prefix: &str) -> Result<Vec<u8>, TestkitError> {
    let transform = format!("s,^\\.,{prefix},");
    let packed = Program::new("tar")
        .args(["-czf", "-", "--transform", &transform, "-C"])
        .args([directory])
        .args(["."])
        .succeed()?;
    Ok(packed.stdout)
}

/// The base images of a language are large: its tests share one store that they are fetched into once.
#[test]
fn go() -> TestResult {
    let bench = Bench::new(Language::Go)?;
    go_is_cross_compiled_without_emulation(&bench)?;
    go_as_it_is_often_written_is_right_too(&bench)
}

#[test]
fn node() -> TestResult {
    let bench = Bench::new(Language::Node)?;
    a_node_add_on_is_cross_compiled_without_emulation(&bench)?;
    services_of_a_node_project_are_baked_from_stages_that_they_share(&bench)?;
    node_modules_of_the_build_platform_fail_elsewhere(&bench)
}

#[test]
fn python() -> TestResult {
    let bench = Bench::new(Language::Python)?;
    a_python_extension_is_cross_compiled_without_emulation(&bench)?;
    wheels_of_the_build_platform_are_refused_elsewhere(&bench)
}

#[test]
fn java() -> TestResult {
    let bench = Bench::new(Language::Java)?;
    a_java_runtime_is_linked_for_each_platform_without_emulation(&bench)?;
    a_java_runtime_of_the_build_platform_does_not_start_elsewhere(&bench)
}

#[test]
fn rust() -> TestResult {
    rust_is_cross_compiled_without_emulation(&Bench::new(Language::Rust)?)
}

fn go_is_cross_compiled_without_emulation(bench: &Bench) -> TestResult {
    let outcome = bench.build(&example("go"), &[])?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "COPY cmd"), (1, 0), "shared by both platforms");
    assert_eq!(ran(&outcome, "RUN CGO_ENABLED=0"), (2, 0), "once for each, natively");
    bench.assert_machines("app")?;
    bench.assert_sound()?;
    for (platform, _, go, _) in MACHINES {
        let said = bench.run(platform, &["you"])?;
        assert_eq!(
            said.assert_success().stdout_text(),
            format!("hello you from Go on linux/{go}\n")
        );
    }
    Ok(())
}

fn go_as_it_is_often_written_is_right_too(bench: &Bench) -> TestResult {
    let outcome = bench.build(&bench.pattern("go")?, &[])?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "RUN GOOS"), (2, 0), "once for each, natively");
    bench.assert_machines("app")?;
    for (platform, _, go, _) in MACHINES {
        let said = bench.run(platform, &[])?;
        assert_eq!(
            said.assert_success().stdout_text(),
            format!("hello world from Go on linux/{go}\n")
        );
    }
    Ok(())
}

const ADD_ON: &str = "app/node_modules/example-greeting/build/Release/greeting.node";

fn services_of_a_node_project_are_baked_from_stages_that_they_share(bench: &Bench) -> TestResult {
    let example = example("node").canonicalize()?;
    let definition = pattern("node-services.hcl");
    let outcome = bench
        .fixture
        .kiln(["bake", "--no-cache", "--progress=rawjson", "--push", "-f"])
        .args([definition])
        .args([format!("--allow=fs.read={}", example.display())])
        .env("EXAMPLE", &example)
        .env("REGISTRY", bench.registry.address())
        .limit(Duration::from_secs(600))
        .run()?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "RUN npm run build"), (1, 0), "shared by all images");
    for each_platform in ["RUN case", "COPY --from=modules", "COPY --from=bundle"] {
        assert_eq!(ran(&outcome, each_platform), (2, 0), "{each_platform} for all services");
    }
    assert_eq!(ran(&outcome, "COPY <<NAME"), (8, 0), "the services' own");
    let services = ["api", "jobs", "mail", "web"];
    for (service, (platform, machine, _, _)) in services.into_iter().zip(MACHINES.into_iter().cycle()) {
        let image = format!("{}/team/{service}:1", bench.registry.address());
        let said = bench
            .fixture
            .kiln(["run", "--rm", "--platform", platform, &image])
            .run()?;
        let expected = format!("hello {service} from Node.js with an add-on for {machine}\n");
        assert_eq!(said.assert_success().stdout_text(), expected);
    }
    Ok(())
}

fn a_node_add_on_is_cross_compiled_without_emulation(bench: &Bench) -> TestResult {
    let toolchain = "toolchain=docker-image://example/node-toolchain:1";
    let outcome = bench.build(&example("node"), &["--build-context", toolchain])?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "RUN npm run build"), (1, 0), "shared by both platforms");
    assert_eq!(ran(&outcome, "RUN case"), (2, 0), "once for each, natively");
    bench.assert_machines(ADD_ON)?;
    bench.assert_sound()?;
    for (platform, machine, _, _) in MACHINES {
        let said = bench.run(platform, &[])?;
        let expected = format!("hello world from Node.js with an add-on for {machine}\n");
        assert_eq!(said.assert_success().stdout_text(), expected);
    }
    Ok(())
}

fn node_modules_of_the_build_platform_fail_elsewhere(bench: &Bench) -> TestResult {
    let context = bench.pattern("node")?;
    let package = packed(&context.join("addon"), "package")?;
    let registry = HttpServer::start(move |_| Response::with_body(200, "application/octet-stream", &package[..]))?;
    let url = format!("http://{}/example-greeting-1.0.0.tgz", registry.address());
    let read = |name: &str| -> Result<Value, Box<dyn std::error::Error>> {
        Ok(serde_json::from_slice(&fs::read(context.join(name))?)?)
    };
    let mut manifest = read("package.json")?;
    manifest["dependencies"] = json!({"example-greeting": "1.0.0"});
    let lock = json!({
        "name": "example-app", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
        "packages": {
            "": {"name": "example-app", "version": "1.0.0", "dependencies": {"example-greeting": "1.0.0"}},
            "node_modules/example-greeting": {"version": "1.0.0", "resolved": url, "hasInstallScript": true},
        },
    });
    bench
        .fixture
        .write("node/package.json", manifest.to_string().as_bytes())?;
    bench
        .fixture
        .write("node/package-lock.json", lock.to_string().as_bytes())?;
    let outcome = bench.build(&context, &["--network=host", "--allow=network.host"])?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "RUN npm ci").1, 0, "natively");
    // Both images got the add-on of the machine that built.
    let (native, machine) = native();
    assert_eq!(bench.machine(native, ADD_ON)?, machine);
    assert_eq!(bench.machine(foreign(), ADD_ON)?, machine);
    bench.run(native, &[])?.assert_success();
    let failed = bench.run(foreign(), &[])?;
    assert!(!failed.status.success());
    failed.assert_says(&["greeting.node", "ERR_DLOPEN_FAILED"]);
    bench.assert_fault("A03", "greeting.node", "COPY /app/node_modules")?;
    Ok(())
}

fn a_python_extension_is_cross_compiled_without_emulation(bench: &Bench) -> TestResult {
    let toolchain = "toolchain=docker-image://example/python-toolchain:1";
    let library = "PYTHON_LIBRARY=/usr/lib/python3.11";
    let outcome = bench.build(
        &example("python"),
        &["--build-context", toolchain, "--build-arg", library],
    )?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "RUN case"), (2, 0), "once for each, natively");
    for (platform, machine, _, elf) in MACHINES {
        let extension = format!("app/site/greeting.cpython-311-{machine}-linux-gnu.so");
        assert_eq!(bench.machine(platform, &extension)?, elf);
        let said = bench.run(platform, &[])?;
        let expected = format!("hello world from Python with an extension for {machine}\n");
        assert_eq!(said.assert_success().stdout_text(), expected);
    }
    Ok(())
}

fn wheels_of_the_build_platform_are_refused_elsewhere(bench: &Bench) -> TestResult {
    let context = bench.pattern("python")?;
    let archive = packed(&context.join("greeting"), "example_greeting-1.0.0")?;
    let index = HttpServer::start(move |request| match request.path() {
        "/simple/example-greeting/" => {
            let page = "<a href=\"/example_greeting-1.0.0.tar.gz\">example_greeting-1.0.0.tar.gz</a>";
            Response::with_body(200, "text/html", page)
        }
        "/example_greeting-1.0.0.tar.gz" => Response::with_body(200, "application/gzip", &archive[..]),
        _ => Response::with_body(404, "text/plain", "no such page"),
    })?;
    let requirements = format!(
        "--index-url http://{}/simple/\nexample-greeting==1.0.0\n",
        index.address()
    );
    bench
        .fixture
        .write("python/requirements.txt", requirements.as_bytes())?;
    let host = ["--network=host", "--allow=network.host"];
    let outcome = bench.build_for(native().0, &context, &host)?;
    outcome.assert_success();
    let said = bench.run(native().0, &[])?;
    assert!(
        said.assert_success()
            .stdout_text()
            .contains("from Python with an extension")
    );
    // The wheels are those of the machine that built, and pip takes none of them on another.
    let outcome = bench.build(&context, &host)?;
    outcome.assert_code(1).assert_says(&[
        "RUN pip install",
        foreign(),
        "No matching distribution found for example-greeting==1.0.0",
    ]);
    assert_eq!(
        ran(&outcome, "RUN pip wheel").0,
        0,
        "cached from the first build: it knows no platform"
    );
    Ok(())
}

fn a_java_runtime_is_linked_for_each_platform_without_emulation(bench: &Bench) -> TestResult {
    let outcome = bench.build(&example("java"), &[])?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "RUN javac"), (1, 0), "shared by both platforms");
    assert_eq!(
        ran(&outcome, "RUN ${JDK_HOME}/bin/jlink"),
        (2, 0),
        "once for each, natively"
    );
    bench.assert_machines("opt/jre/bin/java")?;
    bench.assert_machines("opt/jre/lib/server/libjvm.so")?;
    bench.assert_sound()?;
    for (platform, machine, go, _) in MACHINES {
        let said = bench.run(platform, &["you"])?;
        // Java has its own name for one of the two.
        let machine = if go == "amd64" { go } else { machine };
        assert_eq!(
            said.assert_success().stdout_text(),
            format!("hello you from Java on {machine}\n")
        );
    }
    Ok(())
}

fn a_java_runtime_of_the_build_platform_does_not_start_elsewhere(bench: &Bench) -> TestResult {
    let context = bench.pattern("java")?;
    // Stands for Gradle: it puts the archive where Gradle would.
    let gradlew = "#!/bin/sh -e\nmkdir -p build/libs\njavac -d build/classes src/example/*.java\n\
        jar --create --file build/libs/app.jar --main-class example.App -C build/classes .\n";
    let script = bench.fixture.write("java/gradlew", gradlew.as_bytes())?;
    Program::new("chmod")
        .args(["755".as_ref(), script.as_os_str()])
        .succeed()?;
    let outcome = bench.build(&context, &[])?;
    outcome.assert_success();
    assert_eq!(
        ran(&outcome, "RUN $JAVA_HOME/bin/jlink"),
        (1, 0),
        "once, for both platforms"
    );
    let (native, machine) = native();
    assert_eq!(bench.machine(foreign(), "opt/jre/bin/java")?, machine);
    bench.run(native, &[])?.assert_success();
    let failed = bench.run(foreign(), &[])?;
    let of_this_machine = native.trim_start_matches("linux/");
    failed
        .assert_code(127)
        .assert_says(&[&format!("the loader that this program for {of_this_machine} asks for")]);
    bench.assert_fault("A01", "/opt/jre/bin/java", "COPY /customjre")?;
    Ok(())
}

fn rust_is_cross_compiled_without_emulation(bench: &Bench) -> TestResult {
    let toolchain = "toolchain=docker-image://example/rust-toolchain:1";
    let outcome = bench.build(&example("rust"), &["--build-context", toolchain])?;
    outcome.assert_success();
    assert_eq!(ran(&outcome, "COPY src"), (1, 0), "shared by both platforms");
    assert_eq!(ran(&outcome, "RUN case"), (2, 0), "once for each, natively");
    bench.assert_machines("usr/local/bin/app")?;
    bench.assert_sound()?;
    for (platform, machine, _, _) in MACHINES {
        let said = bench.run(platform, &["you"])?;
        assert_eq!(
            said.assert_success().stdout_text(),
            format!("hello you from Rust on {machine}\n")
        );
    }
    Ok(())
}
