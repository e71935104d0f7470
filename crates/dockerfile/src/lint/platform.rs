//! Kiln's own rules, about Dockerfiles that are built for several platforms. They read the text alone, as a person
//! would: what they tell is likely, never certain, and every finding says how to repair it.

use std::sync::LazyLock;

use kiln_oci::Platform;
use regex::Regex;

use crate::instruction::{Copy, Instruction, Kind, Run};
use crate::lint::{Linter, Place, Rule, listed};
use crate::stage::{Dockerfile, Stage};

/// Looks at all stages. `emulated` says whether steps of a target platform would run under emulation.
pub fn check_platforms(linter: &mut Linter, dockerfile: &Dockerfile, platforms: &[Platform], emulated: bool) {
    let stages = Stages { dockerfile };
    for (number, stage) in dockerfile.stages.iter().enumerate() {
        for instruction in &stage.instructions {
            if let Kind::Run(run) = &instruction.kind {
                let step = Step {
                    number,
                    instruction,
                    text: shell_text(run),
                };
                stages.undeclared(linter, &step);
                if platforms.len() > 1 {
                    stages.host_artifact(linter, &step);
                }
                if emulated {
                    stages.heavy(linter, &step);
                }
            }
            if platforms.len() > 1 {
                stages.download(linter, number, instruction);
            }
        }
    }
}

/// A RUN with everything that its shell reads.
struct Step<'a> {
    number: usize,
    instruction: &'a Instruction,
    text: String,
}

fn shell_text(run: &Run) -> String {
    let documents = run.heredocs.iter().map(|heredoc| heredoc.content.as_str());
    let words = run.command.words.iter().map(String::as_str);
    words.chain(documents).collect::<Vec<_>>().join(" ")
}

struct Stages<'a> {
    dockerfile: &'a Dockerfile,
}

static PLATFORM_VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$\{?((?:TARGET|BUILD)(?:PLATFORM|OS|OSVERSION|ARCH|VARIANT|ARCH_(?:UNAME|DEB|RUST|GNU|NODE)))\b")
        .expect("a constant that compiles")
});

/// What says that a command knows the platform that it makes something for.
static CROSS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"\bTARGET(?:PLATFORM|ARCH|OS)|GOARCH=|--target\b|--host[= ]|\bxx-|\bCC=|--platform[= ]|--cpu[= ]|-a?arch[= ]",
    )
    .expect("a constant that compiles")
});

/// What kind of thing a command makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Programs or libraries, wherever they are put.
    Anything,
    /// `node_modules`; what bundlers write elsewhere runs anywhere.
    NodeModules,
    /// A Java runtime; archives of classes run anywhere.
    JavaRuntime,
}

/// Commands whose result is for the processor that they run on.
static NATIVE_TOOLS: LazyLock<Vec<(Regex, Made)>> = LazyLock::new(|| {
    let table = [
        (
            r"\b(?:npm (?:ci|install|i|rebuild)|yarn install|yarn\s*$|pnpm (?:install|i)|bun install)\b",
            Made::NodeModules,
        ),
        (
            r"\b(?:pip3? (?:wheel|install)|poetry install|uv (?:sync|pip install)|python3? setup\.py (?:build|install|bdist_wheel))\b",
            Made::Anything,
        ),
        (r"\b(?:jlink|jpackage)\b", Made::JavaRuntime),
        (r"\bnative-image\b", Made::Anything),
        (r"\bgo (?:build|install)\b", Made::Anything),
        (r"\bcargo (?:build|install)\b", Made::Anything),
        (
            r"(?:^|[\s;&(])(?:gcc|g\+\+|cc|c\+\+|clang|clang\+\+|make|cmake --build|ninja|rustc|ghc|swift build)\s",
            Made::Anything,
        ),
    ];
    table
        .into_iter()
        .map(|(text, made)| (Regex::new(text).expect("a constant that compiles"), made))
        .collect()
});

/// Commands that can make things for another processor, or whose result is for none, with the way to do so.
static CROSS_TOOLS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let table = [
        (r"\bgo (?:build|install)\b", "set GOOS=$TARGETOS GOARCH=$TARGETARCH"),
        (
            r"\bcargo (?:build|install)\b",
            "build with --target and the target's linker",
        ),
        (
            r"\b(?:mvnw?|gradlew?|javac)\b.*\b(?:package|build|install|assemble|\.java)\b",
            "classes run anywhere: copy the archive",
        ),
        (r"\bdotnet (?:publish|build)\b", "pass -a $TARGETARCH"),
        (
            r"\b(?:npm|yarn|pnpm|bun) (?:run )?build\b",
            "what a bundler writes runs anywhere: copy that",
        ),
    ];
    table
        .into_iter()
        .map(|(text, how)| (Regex::new(text).expect("a constant that compiles"), how))
        .collect()
});

static ARCH_URL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"https?://[^\s"']*?(amd64|x86_64|x86-64|aarch64|arm64|linux-x64|linux64|armv7|armhf|ppc64le|s390x|riscv64)[^\s"']*"#)
        .expect("a constant that compiles")
});

/// What says that a command chooses by processor.
static CHOOSES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\bTARGET(?:PLATFORM|ARCH)|\buname -m|--print-architecture|\bcase\b|\bif\b|\barch\)|apk --print-arch")
        .expect("a constant that compiles")
});

impl Stages<'_> {
    fn stage(&self, number: usize) -> &Stage {
        &self.dockerfile.stages[number]
    }

    /// A stage and those that it is built on, nearest first.
    fn lineage(&self, number: usize) -> impl Iterator<Item = usize> + '_ {
        let parent = |number: &usize| self.dockerfile.stage(&self.stage(*number).from.base, *number);
        std::iter::successors(Some(number), parent)
    }

    /// Whether a stage runs on the machine that builds, whatever it builds for.
    fn is_on_build_platform(&self, number: usize) -> bool {
        self.lineage(number).any(|number| {
            self.stage(number)
                .from
                .platform
                .as_deref()
                .is_some_and(|text| text.contains("BUILDPLATFORM"))
        })
    }

    fn has_platform(&self, number: usize) -> bool {
        self.lineage(number)
            .any(|number| self.stage(number).from.platform.is_some())
    }

    /// `$TARGETARCH` where nothing declares it: the shell reads it as nothing.
    fn undeclared(&self, linter: &mut Linter, step: &Step<'_>) {
        let declared: Vec<&str> = self
            .lineage(step.number)
            .flat_map(|number| &self.stage(number).instructions)
            .flat_map(|instruction| match &instruction.kind {
                Kind::Arg(args) => args.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                Kind::Env(pairs) => pairs.iter().map(|pair| pair.key.as_str()).collect(),
                _ => Vec::new(),
            })
            .collect();
        let assigned = |name: &str| step.text.contains(&format!("{name}="));
        let missing: std::collections::BTreeSet<String> = PLATFORM_VARIABLE
            .captures_iter(&step.text)
            .map(|found| found[1].to_owned())
            .filter(|name| !declared.contains(&name.as_str()) && !assigned(name))
            .collect();
        let Some(first) = missing.first() else { return };
        let detail = format!("{} is empty here: the stage does not declare it", listed(&missing));
        let repair = format!("write `ARG {first}` before this line, in this stage");
        linter.add(
            Rule::TargetArchNotDeclared,
            step.instruction.place(),
            detail,
            Some(repair),
        );
    }

    /// A native tool on the build platform whose result another stage copies.
    fn host_artifact(&self, linter: &mut Linter, step: &Step<'_>) {
        if !self.is_on_build_platform(step.number) || CROSS.is_match(&step.text) || self.sets_cross_variables(step) {
            return;
        }
        for (tool, made) in NATIVE_TOOLS.iter() {
            let Some(found) = tool.find(&step.text) else { continue };
            let Some((lines, path)) = self.taken(step.number, *made) else {
                continue;
            };
            let command = found
                .as_str()
                .trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '+');
            let detail = format!(
                "`{command}` runs on the build platform, so what it makes is for that processor; line {lines} copies `{path}` into the image of every platform"
            );
            let repair =
                "run it in a stage without --platform=$BUILDPLATFORM, or cross-compile with the TARGET… arguments";
            linter.add(
                Rule::HostArchArtifact,
                step.instruction.place(),
                detail,
                Some(repair.into()),
            );
            return;
        }
    }

    fn sets_cross_variables(&self, step: &Step<'_>) -> bool {
        self.lineage(step.number)
            .flat_map(|number| &self.stage(number).instructions)
            .any(|instruction| match &instruction.kind {
                Kind::Env(pairs) => pairs.iter().any(|pair| {
                    pair.value.contains("TARGET") || matches!(pair.key.as_str(), "GOARCH" | "CARGO_BUILD_TARGET")
                }),
                _ => false,
            })
    }

    /// Where another stage of the target platform takes something of this kind from a stage: the line and the path.
    fn taken(&self, number: usize, made: Made) -> Option<(usize, String)> {
        let takers = (0..self.dockerfile.stages.len()).filter(|&taker| !self.is_on_build_platform(taker));
        for taker in takers {
            for instruction in &self.stage(taker).instructions {
                let Kind::Copy(copy) = &instruction.kind else { continue };
                let from = copy.from.as_deref().and_then(|name| self.dockerfile.stage(name, taker));
                if from.is_none_or(|from| !self.lineage(from).any(|known| known == number)) {
                    continue;
                }
                if let Some(path) = copy.sources.iter().find(|path| self.may_hold(path, made, number)) {
                    return Some((instruction.lines.start, path.clone()));
                }
            }
        }
        None
    }

    fn may_hold(&self, path: &str, made: Made, number: usize) -> bool {
        let path = path.trim_end_matches('/');
        let is_workdir = || {
            let workdirs = self.stage(number).instructions.iter();
            path.is_empty()
                || path == "."
                || workdirs
                    .filter_map(|instruction| match &instruction.kind {
                        Kind::Workdir(directory) => Some(directory.trim_end_matches('/')),
                        _ => None,
                    })
                    .any(|directory| directory == path)
        };
        match made {
            Made::NodeModules => path.contains("node_modules") || is_workdir(),
            Made::JavaRuntime => ![".jar", ".war", ".ear"].iter().any(|end| path.ends_with(end)),
            Made::Anything => {
                // Certificates, users and time zones are text.
                !["/etc/", "/usr/share/"].iter().any(|text| path.starts_with(text))
            }
        }
    }

    /// A compiler under emulation that could run natively.
    fn heavy(&self, linter: &mut Linter, step: &Step<'_>) {
        if self.has_platform(step.number) {
            return;
        }
        for (tool, how) in CROSS_TOOLS.iter() {
            let Some(found) = tool.find(&step.text) else { continue };
            let detail = format!(
                "`{}` runs under emulation for foreign platforms, many times slower",
                found.as_str().trim()
            );
            let repair = format!("pin the stage with `FROM --platform=$BUILDPLATFORM`, and {how}");
            linter.add(Rule::EmulatedHeavyStep, step.instruction.place(), detail, Some(repair));
            return;
        }
    }

    /// A download whose address names a processor.
    fn download(&self, linter: &mut Linter, number: usize, instruction: &Instruction) {
        let text = match &instruction.kind {
            Kind::Run(run) => shell_text(run),
            Kind::Copy(Copy { add: true, sources, .. }) => sources.join(" "),
            _ => return,
        };
        if CHOOSES.is_match(&text) || self.has_platform(number) {
            return;
        }
        let Some(found) = ARCH_URL.captures(&text) else { return };
        let detail = format!("the download `{}` is for `{}` on every platform", &found[0], &found[1]);
        let place = Place {
            lines: instruction.lines,
            comments: &instruction.comments,
        };
        linter.add(
            Rule::ArchSpecificDownload,
            place,
            detail,
            Some(repair_download(&found[1]).into()),
        );
    }
}

fn repair_download(arch: &str) -> &'static str {
    match arch {
        "amd64" | "arm64" => "declare `ARG TARGETARCH` and write ${TARGETARCH} in its place",
        "linux-x64" => {
            "choose by `case $TARGETARCH in amd64) …; arm64) …; esac`, or write ${TARGETARCH_NODE} (an extension of Kiln)"
        }
        _ => "choose by `$(uname -m)` or `case $TARGETARCH in …`, or write ${TARGETARCH_UNAME} (an extension of Kiln)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Rule, usize)> {
        let mut linter = Linter::new();
        let dockerfile = Dockerfile::parse(text, &mut linter).expect("well-formed");
        let platforms = [Platform::linux("amd64", ""), Platform::linux("arm64", "")];
        check_platforms(&mut linter, &dockerfile, &platforms, true);
        let own = linter
            .findings()
            .into_iter()
            .filter(|finding| !finding.rule.is_of_peers());
        own.map(|finding| (finding.rule, finding.lines.map_or(0, |lines| lines.start)))
            .collect()
    }

    #[test]
    fn a_platform_argument_must_be_declared_where_it_is_used() {
        assert_eq!(
            found("FROM a\nRUN echo $TARGETARCH\n"),
            [(Rule::TargetArchNotDeclared, 2)]
        );
        assert_eq!(
            found("ARG TARGETARCH\nFROM a\nRUN echo ${TARGETARCH}\n"),
            [(Rule::TargetArchNotDeclared, 3)]
        );
        assert_eq!(found("FROM a\nARG TARGETARCH\nRUN echo $TARGETARCH\n"), []);
        assert_eq!(found("FROM a AS b\nARG TARGETARCH\nFROM b\nRUN echo $TARGETARCH\n"), []);
        assert_eq!(found("FROM a\nRUN TARGETARCH=x && echo $TARGETARCH\n"), []);
    }

    #[test]
    fn what_the_build_platforms_tools_make_is_not_for_every_platform() {
        let node = "FROM --platform=$BUILDPLATFORM node AS b\nARG TARGETARCH\nWORKDIR /app\nRUN npm ci\nRUN npm run build\nFROM node\nCOPY --from=b /app/dist ./dist\n";
        assert_eq!(found(node), [], "what a bundler writes runs anywhere");
        let modules = format!("{node}COPY --from=b /app/node_modules ./node_modules\n");
        assert_eq!(found(&modules), [(Rule::HostArchArtifact, 4)]);
        let python = "FROM --platform=$BUILDPLATFORM python AS b\nRUN pip wheel --wheel-dir /wheels -r r.txt\nFROM python\nCOPY --from=b /wheels /wheels\n";
        assert_eq!(found(python), [(Rule::HostArchArtifact, 2)]);
        let java = "FROM --platform=$BUILDPLATFORM jdk AS b\nRUN $JAVA_HOME/bin/jlink --output /jre\nFROM alpine\nCOPY --from=b /app.jar /\nCOPY --from=b /jre /jre\n";
        assert_eq!(found(java), [(Rule::HostArchArtifact, 2)]);
        let go = |env: &str| {
            format!(
                "FROM --platform=$BUILDPLATFORM golang AS b\nARG TARGETARCH\nRUN {env}go build -o /app .\nFROM scratch\nCOPY --from=b /app /app\n"
            )
        };
        assert_eq!(found(&go("GOARCH=$TARGETARCH ")), []);
        assert_eq!(found(&go("")), [(Rule::HostArchArtifact, 3)]);
    }

    #[test]
    fn downloads_and_heavy_steps() {
        assert_eq!(
            found("FROM a\nRUN curl -L https://x.test/tool-linux-amd64.tgz | tar xz\n"),
            [(Rule::ArchSpecificDownload, 2)]
        );
        assert_eq!(
            found("FROM a\nARG TARGETARCH\nRUN curl https://x.test/tool-$TARGETARCH # not amd64\n"),
            []
        );
        assert_eq!(
            found("FROM scratch\nADD https://x.test/tool-x86_64 /\n"),
            [(Rule::ArchSpecificDownload, 2)]
        );
        assert_eq!(
            found("FROM golang\nRUN go build ./...\n"),
            [(Rule::EmulatedHeavyStep, 2)]
        );
        assert_eq!(found("FROM a\n# check=skip=EmulatedHeavyStep\nRUN cargo build\n"), []);
    }
}
