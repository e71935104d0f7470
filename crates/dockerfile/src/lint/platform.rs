//! Kiln's own rules, about Dockerfiles that are built for several platforms. They read the text alone, as a person
//! would: what they tell is likely, never certain, and every finding says how to repair it.

use std::sync::LazyLock;

use kiln_oci::Platform;
use regex::Regex;

use crate::directive::promises;
use crate::instruction::{Copy, Instruction, Kind, Run};
use crate::lint::native::{Made, made, natively};
use crate::lint::shell::{ShellCommand, commands};
use crate::lint::{Linter, Rule, listed};
use crate::stage::{Dockerfile, Stage};

/// Looks at all stages. `emulated` says whether steps of a target platform would run under emulation.
pub fn check_platforms(linter: &mut Linter, dockerfile: &Dockerfile, platforms: &[Platform], emulated: bool) {
    let stages = Stages { dockerfile };
    // An image for the machine that builds alone may hold what its tools make.
    let foreign = platforms.len() > 1 || emulated;
    for (number, stage) in dockerfile.stages.iter().enumerate() {
        for (position, instruction) in stage.instructions.iter().enumerate() {
            if let Kind::Run(run) = &instruction.kind {
                let step = Step::new(number, position, instruction, run);
                stages.undeclared(linter, &step);
                if foreign {
                    stages.host_artifact(linter, &step);
                }
                // What is promised to be the same for all runs on the build platform.
                if emulated && promises(&instruction.comments).next().is_none() {
                    stages.heavy(linter, &step);
                }
            }
            if foreign {
                stages.download(linter, number, instruction);
            }
        }
    }
}

/// A RUN with everything that its shell reads.
struct Step<'a> {
    /// Its stage, and where it stands there.
    number: usize,
    position: usize,
    instruction: &'a Instruction,
    text: String,
    commands: Vec<ShellCommand>,
    /// Whether a shell expands variables in it.
    shell: bool,
}

impl<'a> Step<'a> {
    fn new(number: usize, position: usize, instruction: &'a Instruction, run: &Run) -> Step<'a> {
        let text = shell_text(run);
        let words = &run.command.words;
        let shell = run.command.shell || words.iter().any(|word| word == "-c");
        let commands = match words.as_slice() {
            [program, arguments @ ..] if !shell => vec![ShellCommand {
                program: program.rsplit('/').next().unwrap_or(program).to_owned(),
                arguments: arguments.to_vec(),
            }],
            _ => commands(&text),
        };
        Step {
            number,
            position,
            instruction,
            text,
            commands,
            shell,
        }
    }
}

fn shell_text(run: &Run) -> String {
    let documents = run.heredocs.iter().map(|heredoc| heredoc.content.as_str());
    let words = run.command.words.iter().map(String::as_str);
    words.chain(documents).collect::<Vec<_>>().join("\n")
}

struct Stages<'a> {
    dockerfile: &'a Dockerfile,
}

static PLATFORM_VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\$\{?((?:TARGET|BUILD)(?:PLATFORM|OS|OSVERSION|ARCH|VARIANT|ARCH_(?:UNAME|DEB|RUST|GNU|NODE)))\b")
        .expect("a constant that compiles")
});

/// What says that a step knows the platform that it makes something for.
static CROSS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\bTARGET(?:PLATFORM|ARCH|OS|VARIANT)|GOARCH=|npm_config_arch=|CARGO_BUILD_TARGET=|\bxx-|\bCC=|--host=")
        .expect("a constant that compiles")
});

/// Flags that name the platform to make something for.
fn names_target(command: &ShellCommand) -> bool {
    let flags: &[&str] = match command.program.as_str() {
        "cargo" | "rustc" | "clang" | "clang++" => &["--target", "-target"],
        "npm" | "yarn" | "pnpm" | "bun" => &["--cpu", "--arch", "--target-arch"],
        "dotnet" => &["-a", "--arch", "-r", "--runtime"],
        "cmake" | "meson" => &["--toolchain", "--cross-file"],
        // pip's --target is a directory.
        _ => &["--platform", "--python-platform"],
    };
    command.value(flags).is_some()
}

static ARCH_URL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?:https?|ftp)://[^\s"'/]+/(?:[^\s"']*?[^\s"'a-zA-Z0-9])??(amd64|x86_64|x86-64|aarch64|arm64|linux-x64|linux64|i[36]86|armv[67]|armhf|ppc64le|s390x|riscv64|loong64|loongarch64)[^\s"']*"#)
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

    /// Whether a stage is for a platform of its own. The target platform is the one that it has in any case.
    fn has_platform(&self, number: usize) -> bool {
        self.lineage(number).any(|number| {
            let platform = self.stage(number).from.platform.as_deref();
            platform.is_some_and(|text| !text.contains("TARGETPLATFORM"))
        })
    }

    /// `$TARGETARCH` where nothing declares it: the shell reads it as nothing.
    fn undeclared(&self, linter: &mut Linter, step: &Step<'_>) {
        if !step.shell {
            return;
        }
        let before = |number: usize| {
            let all = &self.stage(number).instructions;
            if number == step.number {
                &all[..step.position]
            } else {
                &all[..]
            }
        };
        let declared: Vec<&str> = self
            .lineage(step.number)
            .flat_map(before)
            .flat_map(|instruction| match &instruction.kind {
                Kind::Arg(args) => args.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                Kind::Env(pairs) => pairs.iter().map(|pair| pair.key.as_str()).collect(),
                _ => Vec::new(),
            })
            .collect();
        let assigned = |name: &str| step.text.contains(&format!("{name}="));
        // Whoever writes a default knows that there may be no value.
        let has_default = |found: &regex::Captures<'_>| {
            let rest = found.get(0).map_or("", |all| &step.text[all.end()..]);
            found[0].contains('{') && rest.starts_with([':', '-', '+', '?'])
        };
        let missing: std::collections::BTreeSet<String> = PLATFORM_VARIABLE
            .captures_iter(&step.text)
            .filter(|found| !has_default(found))
            .map(|found| found[1].to_owned())
            .filter(|name| !declared.contains(&name.as_str()) && !assigned(name))
            .collect();
        let Some(first) = missing.first() else { return };
        let detail = format!(
            "{} is empty here: the stage does not declare it before this line",
            listed(&missing)
        );
        let repair = format!("write `ARG {first}` before this line, in this stage");
        linter.add(
            Rule::TargetArchNotDeclared,
            step.instruction.place(),
            detail,
            Some(repair),
        );
    }

    /// A native tool on the build platform whose result another stage takes.
    fn host_artifact(&self, linter: &mut Linter, step: &Step<'_>) {
        if !self.is_on_build_platform(step.number) || CROSS.is_match(&step.text) || self.sets_cross_variables(step) {
            return;
        }
        let tools = step.commands.iter().filter(|command| !names_target(command));
        for (command, made) in tools.filter_map(|command| made(command).map(|made| (command, made))) {
            if made == Made::JavaRuntime && self.links_for_target(step, command) {
                continue;
            }
            let Some((line, path)) = self.taken(step.number, &made) else {
                continue;
            };
            let detail = format!(
                "`{}` runs on the build platform, so what it makes is for that processor; line {line} takes `{path}` into the image of every platform",
                command.name()
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

    /// Whether a Java runtime is linked of modules that come from a stage or an image of the target platform.
    fn links_for_target(&self, step: &Step<'_>, command: &ShellCommand) -> bool {
        let Some(modules) = command.value(&["--module-path", "-p"]) else {
            return false;
        };
        let copies = self.lineage(step.number).flat_map(|number| {
            let instructions = self.stage(number).instructions.iter();
            instructions.map(move |instruction| (number, instruction))
        });
        let mut copies = copies.filter_map(|(number, instruction)| match &instruction.kind {
            Kind::Copy(copy) => Some((number, copy)),
            _ => None,
        });
        copies.any(|(number, copy)| {
            let stage = copy
                .from
                .as_deref()
                .and_then(|name| self.dockerfile.stage(name, number));
            stage.is_some_and(|stage| !self.is_on_build_platform(stage))
                && modules.contains(copy.destination.trim_end_matches('/'))
        })
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
    fn taken(&self, number: usize, made: &Made) -> Option<(usize, String)> {
        let workdirs: Vec<&str> = self
            .lineage(number)
            .flat_map(|number| &self.stage(number).instructions)
            .filter_map(|instruction| match &instruction.kind {
                Kind::Workdir(directory) => Some(directory.as_str()),
                _ => None,
            })
            .collect();
        let takers = (0..self.dockerfile.stages.len()).filter(|&taker| !self.is_on_build_platform(taker));
        for taker in takers {
            let is_it = |name: &str| {
                let from = self.dockerfile.stage(name, taker);
                from.is_some_and(|from| self.lineage(from).any(|known| known == number))
            };
            for instruction in &self.stage(taker).instructions {
                let paths: Vec<&str> = match &instruction.kind {
                    Kind::Copy(copy) if copy.from.as_deref().is_some_and(is_it) => {
                        copy.sources.iter().map(String::as_str).collect()
                    }
                    Kind::Run(run) => run.mounts.iter().filter_map(|mount| mounted(mount, is_it)).collect(),
                    _ => continue,
                };
                if let Some(path) = paths.into_iter().find(|path| made.may_be_in(path, &workdirs)) {
                    return Some((instruction.lines.start, path.to_owned()));
                }
            }
        }
        None
    }

    /// A compiler under emulation that could run natively.
    fn heavy(&self, linter: &mut Linter, step: &Step<'_>) {
        if self.has_platform(step.number) {
            return;
        }
        let found = step
            .commands
            .iter()
            .find_map(|command| Some((command, natively(command)?)));
        let Some((command, how)) = found else { return };
        let detail = format!(
            "`{}` runs under emulation for foreign platforms, many times slower",
            command.name()
        );
        let repair = format!("pin the stage with `FROM --platform=$BUILDPLATFORM`, and {how}");
        linter.add(Rule::EmulatedHeavyStep, step.instruction.place(), detail, Some(repair));
    }

    /// A download whose address names a processor.
    fn download(&self, linter: &mut Linter, number: usize, instruction: &Instruction) {
        let text = match &instruction.kind {
            Kind::Run(run) => shell_text(run),
            Kind::Copy(Copy { add: true, sources, .. }) => sources.join(" "),
            Kind::Env(pairs) => pairs
                .iter()
                .map(|pair| pair.value.as_str())
                .collect::<Vec<_>>()
                .join(" "),
            Kind::Arg(args) => args
                .iter()
                .filter_map(|(_, value)| value.as_deref())
                .collect::<Vec<_>>()
                .join(" "),
            _ => return,
        };
        if CHOOSES.is_match(&text) || self.has_platform(number) {
            return;
        }
        let Some(found) = ARCH_URL.captures(&text) else { return };
        let detail = format!("the download `{}` is for `{}` on every platform", &found[0], &found[1]);
        let repair = repair_download(&found[1]).to_owned();
        linter.add(Rule::ArchSpecificDownload, instruction.place(), detail, Some(repair));
    }
}

/// The path that a mount of RUN takes from a stage that `is_it`; all of it unless a part is named.
fn mounted(mount: &str, is_it: impl Fn(&str) -> bool) -> Option<&str> {
    let field = |names: &[&str]| {
        let mut fields = mount.split(',').filter_map(|field| field.split_once('='));
        fields.find(|(name, _)| names.contains(name)).map(|(_, value)| value)
    };
    field(&["from"]).filter(|name| is_it(name))?;
    // Caches hold what other steps left there, whatever stage they begin with.
    if field(&["type"]).is_some_and(|kind| kind != "bind") {
        return None;
    }
    Some(field(&["source", "src"]).unwrap_or("."))
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
    fn an_argument_counts_from_its_line_on_and_only_for_shells() {
        assert_eq!(
            found("FROM a\nRUN echo $TARGETOS\nARG TARGETOS\nRUN echo $TARGETOS\n"),
            [(Rule::TargetArchNotDeclared, 2)]
        );
        assert_eq!(found("FROM a\nENV TARGETARCH=x\nRUN echo $TARGETARCH\n"), []);
        assert_eq!(found("FROM a\nRUN [\"echo\", \"$TARGETARCH\"]\n"), []);
        assert_eq!(
            found("FROM a\nRUN [\"sh\", \"-c\", \"echo $TARGETARCH\"]\n"),
            [(Rule::TargetArchNotDeclared, 2)]
        );
        assert_eq!(
            found("FROM a\nRUN <<END\necho $BUILDARCH_DEB\nEND\n"),
            [(Rule::TargetArchNotDeclared, 2)]
        );
        assert_eq!(found("FROM a\nRUN echo ${TARGETARCH:-amd64}\n"), []);
        assert_eq!(found("FROM a\nRUN echo $TARGETARCHIVE $MY_TARGETARCH\n"), []);
    }

    /// A stage on the build platform with one step, and what the last stage takes from it.
    fn taken(step: &str, take: &str) -> Vec<(Rule, usize)> {
        found(&format!(
            "FROM --platform=$BUILDPLATFORM tools AS b\nWORKDIR /app\nRUN {step}\nFROM a\n{take}\n"
        ))
    }

    #[test]
    fn only_what_is_taken_counts() {
        for (step, take, reported) in [
            ("npm ci", "COPY --from=b /app /app", true),
            ("npm ci", "COPY --from=0 /app/node_modules /m", true),
            ("npm ci --cpu=arm64", "COPY --from=b /app /app", false),
            ("npm ci && npm run build", "COPY --from=b /app/dist /app", false),
            ("npm ci", "COPY --from=other /app /app", false),
            (
                "pip wheel -w /w -r r",
                "RUN --mount=from=b,source=/w,target=/w pip install /w/*",
                true,
            ),
            (
                "pip wheel -w /w -r r",
                "RUN --mount=type=cache,from=b,target=/w true",
                false,
            ),
            ("pip install --target /site x", "COPY --from=b /site /site", true),
            (
                "pip install mkdocs && mkdocs build -d /html",
                "COPY --from=b /html /html",
                false,
            ),
            ("apt-get install -y gcc make", "COPY --from=b /out /out", false),
            ("make", "COPY --from=b /app/tool /bin/", true),
            ("make", "COPY --from=b /etc/passwd /etc/", false),
            ("CC=$(target-cc) make", "COPY --from=b /app/tool /bin/", false),
            (
                "./configure --host=aarch64-linux-gnu && make",
                "COPY --from=b /app/tool /bin/",
                false,
            ),
            (
                "go install example.com/generator@latest && go generate",
                "COPY --from=b /app/text /",
                false,
            ),
            ("go build -o /out/tool .", "COPY --from=b /out/tool /", true),
            (
                "go build -o /out/generator . && /out/generator > /page",
                "COPY --from=b /page /",
                false,
            ),
            ("cargo install cargo-chef", "COPY --from=b /app/out /", false),
            (
                "cargo build --target x86_64-unknown-linux-musl",
                "COPY --from=b /app/out /",
                false,
            ),
            ("echo make the docs", "COPY --from=b /app/out /", false),
            ("jlink --output /jre", "COPY --from=b /jre /jre", true),
        ] {
            let expected: &[(Rule, usize)] = if reported { &[(Rule::HostArchArtifact, 3)] } else { &[] };
            assert_eq!(taken(step, take), expected, "{step} / {take}");
        }
    }

    #[test]
    fn a_java_runtime_may_be_linked_of_the_targets_modules() {
        let text = |from: &str| {
            format!(
                "FROM {from}jdk AS target\nFROM --platform=$BUILDPLATFORM jdk AS b\nCOPY --from=target /jdk/jmods /jmods\nRUN jlink --module-path /jmods --output /jre\nFROM a\nCOPY --from=b /jre /jre\n"
            )
        };
        assert_eq!(found(&text("")), []);
        assert_eq!(
            found(&text("--platform=$BUILDPLATFORM ")),
            [(Rule::HostArchArtifact, 4)]
        );
    }

    #[test]
    fn an_image_for_this_machine_alone_may_hold_what_its_tools_make() {
        let text = "FROM --platform=$BUILDPLATFORM node AS b\nRUN npm ci\nFROM node\nCOPY --from=b /node_modules /m\n";
        let check = |emulated| {
            let mut linter = Linter::new();
            let dockerfile = Dockerfile::parse(text, &mut linter).expect("well-formed");
            check_platforms(&mut linter, &dockerfile, &[Platform::linux("arm64", "")], emulated);
            linter.findings().len()
        };
        assert_eq!(check(false), 0);
        assert_eq!(check(true), 1, "one platform, and not that of the machine");
    }

    #[test]
    fn heavy_steps_are_those_that_could_run_natively() {
        for (text, expected) in [
            ("FROM golang\nRUN CGO_ENABLED=0 go build .\n", true),
            ("FROM --platform=$TARGETPLATFORM golang\nRUN go build .\n", true),
            (
                "FROM --platform=$BUILDPLATFORM golang AS b\nFROM b\nRUN GOARCH=x go build .\n",
                false,
            ),
            ("FROM maven\nRUN mvn -B package\n", true),
            ("FROM gradle\nRUN ./gradlew clean build -x test\n", true),
            ("FROM gradle\nRUN ./gradlew --version\n", false),
            ("FROM a\nRUN apt-get install -y golang cargo\n", false),
            ("FROM node\nRUN yarn build\n", true),
            ("FROM python\nRUN pip install x\n", false),
            ("FROM sdk\nRUN dotnet publish -c Release\n", true),
        ] {
            let rules: Vec<Rule> = found(text).into_iter().map(|(rule, _)| rule).collect();
            let others = rules.iter().filter(|rule| **rule == Rule::EmulatedHeavyStep).count();
            assert_eq!(others == 1, expected, "{text}");
        }
    }

    #[test]
    fn downloads_are_for_one_processor() {
        for (text, expected) in [
            ("RUN curl https://x.test/v1/tool_linux_amd64.deb", true),
            ("RUN curl https://x.test/tool-Linux-x86_64", true),
            ("RUN wget ftp://x.test/node-v20-linux-x64.tar.xz", true),
            ("ENV URL=https://x.test/arm64/tool", true),
            ("ARG URL=https://x.test/tool.aarch64", true),
            ("RUN curl https://amd64.example.test/tool", false),
            ("RUN curl https://x.test/famd64x", false),
            (
                "RUN curl https://x.test/tool-$(uname -m) || curl https://x.test/tool-amd64",
                false,
            ),
            ("RUN case $(arch) in x) curl https://x.test/x86_64 ;; esac", false),
            ("COPY tool-amd64 /", false),
        ] {
            let all = found(&format!("FROM a\n{text}\n"));
            let own = all
                .iter()
                .filter(|(rule, _)| *rule == Rule::ArchSpecificDownload)
                .count();
            assert_eq!(own == 1, expected, "{text}: {all:?}");
        }
        let on_build_platform = "FROM --platform=$BUILDPLATFORM a\nRUN curl https://x.test/tool-amd64\n";
        assert_eq!(found(on_build_platform), []);
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
