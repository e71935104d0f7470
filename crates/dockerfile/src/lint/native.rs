//! What commands make: things for the processor that they run on, or things that run anywhere.

use crate::lint::shell::ShellCommand;

/// What a command makes for the processor that it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    /// Programs or libraries, wherever they are put.
    Anything,
    /// Programs or libraries at one place.
    At(String),
    /// Programs in a directory called `bin`.
    Programs,
    /// `node_modules`; what bundlers write elsewhere runs anywhere.
    NodeModules,
    /// Python packages or wheels; documents that a Python program writes run anywhere.
    PythonPackages(Option<String>),
    /// A Java runtime; archives of classes run anywhere.
    JavaRuntime,
}

/// What a command makes, if it is for the processor that the command runs on.
pub(super) fn made(command: &ShellCommand) -> Option<Made> {
    let subcommand = command.subcommand();
    match command.program.as_str() {
        "npm" => matches!(
            subcommand,
            "ci" | "clean-install" | "install" | "i" | "add" | "rebuild" | "install-ci-test"
        )
        .then_some(Made::NodeModules),
        "yarn" => matches!(subcommand, "" | "install" | "add" | "workspaces").then_some(Made::NodeModules),
        "pnpm" | "bun" => {
            matches!(subcommand, "install" | "i" | "add" | "rebuild" | "ci" | "deploy").then_some(Made::NodeModules)
        }
        "node-gyp" | "node-pre-gyp" => Some(Made::Anything),
        "go" => match subcommand {
            "build" => Some(
                command
                    .value(&["-o"])
                    .map_or(Made::Anything, |path| Made::At(path.to_owned())),
            ),
            "install" => Some(Made::Programs),
            _ => None,
        },
        "cargo" => match subcommand {
            "build" | "b" | "rustc" => Some(Made::Anything),
            "install" => Some(Made::Programs),
            _ => None,
        },
        "jlink" | "jpackage" => Some(Made::JavaRuntime),
        "native-image" | "rustc" | "ghc" | "make" | "gmake" | "ninja" | "gcc" | "g++" | "cc" | "c++" | "clang"
        | "clang++" => Some(Made::Anything),
        "cmake" => command
            .arguments
            .iter()
            .any(|word| word == "--build")
            .then_some(Made::Anything),
        "meson" => matches!(subcommand, "compile" | "install").then_some(Made::Anything),
        "swift" => (subcommand == "build").then_some(Made::Anything),
        _ => python(command),
    }
}

fn python(command: &ShellCommand) -> Option<Made> {
    let words: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
    let program = command.program.as_str();
    let packages = |flags: &[&str]| {
        let place = command.value(flags).map(str::to_owned);
        Some(Made::PythonPackages(place))
    };
    let is = |name: &str| {
        program
            .strip_prefix(name)
            .is_some_and(|version| version.chars().all(|letter| letter.is_ascii_digit() || letter == '.'))
    };
    let pip = if is("pip") {
        words.first().copied()
    } else if is("python") && words.first() == Some(&"-m") && words.get(1) == Some(&"pip") {
        words.get(2).copied()
    } else if program == "uv" && words.first() == Some(&"pip") {
        words.get(1).copied()
    } else {
        None
    };
    match pip {
        Some("install") => return packages(&["--target", "-t", "--prefix", "--root"]),
        Some("wheel") => return packages(&["--wheel-dir", "-w"]),
        Some("download") => return packages(&["--dest", "-d"]),
        _ => {}
    }
    let builds = match (program, words.as_slice()) {
        ("uv", [first, ..]) => matches!(*first, "sync" | "build"),
        ("poetry", _) => matches!(command.subcommand(), "install" | "build"),
        ("pipenv", _) => matches!(command.subcommand(), "install" | "sync"),
        (_, ["-m", "build", ..]) if is("python") => true,
        (_, ["setup.py", words @ ..]) if is("python") => words
            .iter()
            .any(|word| matches!(*word, "build" | "build_ext" | "install" | "bdist_wheel")),
        _ => false,
    };
    builds.then_some(Made::PythonPackages(None))
}

impl Made {
    /// Whether a path that is copied out of a stage may hold it. `workdirs` are the stage's working directories.
    pub(super) fn may_be_in(&self, path: &str, workdirs: &[&str]) -> bool {
        let path = path.trim_end_matches('/');
        let is_workdir =
            path.is_empty() || path == "." || workdirs.iter().any(|directory| directory.trim_end_matches('/') == path);
        // Certificates, users and time zones are text.
        let is_text = ["/etc/", "/usr/share/"].iter().any(|text| path.starts_with(text));
        match self {
            Made::Anything => !is_text,
            Made::At(place) => is_workdir || overlaps(path, place),
            Made::Programs => is_workdir || path.split('/').any(|name| name == "bin"),
            Made::NodeModules => is_workdir || path.contains("node_modules"),
            Made::PythonPackages(Some(place)) => is_workdir || overlaps(path, place),
            Made::PythonPackages(None) => {
                const PLACES: [&str; 8] = [
                    "site-packages",
                    "dist-packages",
                    "wheel",
                    "venv",
                    "virtualenv",
                    ".local",
                    ".whl",
                    "dist",
                ];
                is_workdir
                    || matches!(path, "/usr/local" | "/usr/local/lib" | "/usr/local/bin" | "/opt")
                    || PLACES.iter().any(|place| path.contains(place))
            }
            Made::JavaRuntime => !is_text && ![".jar", ".war", ".ear"].iter().any(|end| path.ends_with(end)),
        }
    }
}

/// Whether one path is the other, or lies in it. A relative one may stand for the end of the other.
fn overlaps(copied: &str, made: &str) -> bool {
    let (copied, made) = (
        copied.trim_matches('/'),
        made.trim_start_matches("./").trim_matches('/'),
    );
    let within = |inner: &str, outer: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
    within(made, copied) || within(copied, made) || copied.ends_with(&format!("/{made}"))
}

/// A command that can make things for another processor, or whose result is for none: the way to do so.
pub(super) fn natively(command: &ShellCommand) -> Option<&'static str> {
    let subcommand = command.subcommand();
    let any = |words: &[&str]| {
        command
            .arguments
            .iter()
            .any(|argument| words.contains(&argument.as_str()))
    };
    match command.program.as_str() {
        "go" => matches!(subcommand, "build" | "install").then_some("set GOOS=$TARGETOS GOARCH=$TARGETARCH"),
        "cargo" => matches!(subcommand, "build" | "b" | "install" | "rustc")
            .then_some("build with --target and the target's linker"),
        "mvn" | "mvnw" | "gradle" | "gradlew" | "javac" | "sbt" => {
            let builds = command.program == "javac"
                || any(&[
                    "package",
                    "build",
                    "install",
                    "assemble",
                    "verify",
                    "bootJar",
                    "shadowJar",
                    "compile",
                ]);
            builds.then_some("classes run anywhere: copy the archive")
        }
        "dotnet" => matches!(subcommand, "publish" | "build").then_some("pass -a $TARGETARCH"),
        "npm" | "yarn" | "pnpm" | "bun" => any(&["build"]).then_some("what a bundler writes runs anywhere: copy that"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::shell::commands;

    fn of(text: &str) -> Option<Made> {
        commands(text).iter().find_map(made)
    }

    #[test]
    fn commands_make_things_for_their_processor() {
        let packages = |place: Option<&str>| Some(Made::PythonPackages(place.map(str::to_owned)));
        for (text, expected) in [
            ("npm ci --omit=dev", Some(Made::NodeModules)),
            ("yarn", Some(Made::NodeModules)),
            ("npm run build", None),
            ("npm --version", None),
            ("pip wheel -w /w x", packages(Some("/w"))),
            ("python3.12 -m pip install --target=/site x", packages(Some("/site"))),
            ("python -m http.server", None),
            ("uv sync --frozen", packages(None)),
            ("uv pip install x", packages(None)),
            ("go build -o /out/app .", Some(Made::At("/out/app".into()))),
            ("go vet ./... && go test ./...", None),
            ("cargo install cargo-chef", Some(Made::Programs)),
            ("cargo fetch", None),
            ("cmake -B build", None),
            ("cmake -B build && cmake --build build", Some(Made::Anything)),
            ("aarch64-linux-gnu-gcc -o a a.c", None),
            ("apt-get install gcc make", None),
            ("$JAVA_HOME/bin/jlink --output /jre", Some(Made::JavaRuntime)),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_may_hold_what_was_made() {
        for (made, path, expected) in [
            (Made::NodeModules, "/app", true),
            (Made::NodeModules, "/app/dist", false),
            (Made::NodeModules, "/app/node_modules/", true),
            (Made::At("/out/app".into()), "/out", true),
            (Made::At("/out/app".into()), "/out/other", false),
            (Made::At("bin/app".into()), "/src/bin/app", true),
            (Made::Programs, "/go/bin/tool", true),
            (Made::Programs, "/out/app", false),
            (Made::PythonPackages(Some("/w".into())), "/w/", true),
            (Made::PythonPackages(None), "/site", false),
            (Made::PythonPackages(None), "/opt/venv", true),
            (Made::JavaRuntime, "/app.jar", false),
            (Made::JavaRuntime, "/jre", true),
            (Made::Anything, "/etc/ssl/certs/", false),
        ] {
            assert_eq!(made.may_be_in(path, &["/app"]), expected, "{made:?} {path}");
        }
    }
}
