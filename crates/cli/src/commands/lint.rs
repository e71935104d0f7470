//! `kiln lint`: checks Dockerfiles by their text alone.

use std::path::{Path, PathBuf};

use kiln_dockerfile::Dockerfile;
use kiln_dockerfile::diagnostic::SyntaxError;
use kiln_dockerfile::lint::{Linter, check_platforms};
use kiln_dockerfile::lower::{Lowering, lower};
use kiln_dockerfile::plan::{Need, PlanRequest, Resolved, ResolvedImage};
use kiln_graph::{ImageOrigin, ImageSource};
use kiln_oci::{ImageConfig, Platform};

use crate::args::{FailOn, FindingFormat, LintArgs};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::render::findings::{self, Checked};
use crate::{output, settings};

/// Checks, and gives the exit code.
pub fn run(args: &LintArgs, environment: &Environment) -> Result<i32, CommandError> {
    let platforms = args
        .platform
        .iter()
        .map(|text| settings::platform(text))
        .collect::<Result<Vec<_>, _>>()?;
    let build_args = settings::pairs(&args.build_arg, "--build-arg", environment)?;
    let mut all = Vec::new();
    for path in &args.paths {
        all.push(check(path, &platforms, &build_args)?);
    }
    match args.format {
        FindingFormat::Text => output::line(&findings::text(&all)),
        FindingFormat::Json => output::line(&format!("{:#}", findings::json(&all))),
        FindingFormat::Sarif => output::line(&format!("{:#}", findings::sarif(&all))),
        FindingFormat::Github => {
            let lines = findings::github(&all);
            if !lines.is_empty() {
                output::line(&lines);
            }
        }
    }
    let failed = all.iter().any(|checked| match args.fail_on {
        FailOn::Warning => !checked.is_clean(),
        FailOn::Error => checked.error.is_some(),
    });
    Ok(i32::from(failed))
}

fn check(
    path: &Path,
    platforms: &[Platform],
    build_args: &std::collections::BTreeMap<String, String>,
) -> Result<Checked, CommandError> {
    let stdin = path == Path::new("-");
    let file = if stdin {
        PathBuf::from("Dockerfile")
    } else if path.is_dir() {
        let upper = path.join("Dockerfile");
        let lower = path.join("dockerfile");
        if !upper.exists() && lower.exists() {
            lower
        } else {
            upper
        }
    } else {
        path.to_owned()
    };
    let (text, ignore) = if stdin {
        (settings::stdin_text()?, Vec::new())
    } else {
        let bytes = std::fs::read(&file).map_err(|error| {
            let mut command = CommandError::from_error(ErrorKind::User, &error);
            command
                .messages
                .insert(0, format!("failed to read `{}`", file.display()));
            command.hint("name Dockerfiles, directories that hold one, or `-` for standard input")
        })?;
        let directory = file.parent().map(Path::to_owned).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (text, settings::ignore_file(&directory, Some(&file))?)
    };
    let request = PlanRequest {
        platforms: platforms.to_vec(),
        build_platform: Platform::host(),
        build_args: build_args.clone(),
        ignore,
        file: file.clone(),
        allow_host_network: true,
        allow_insecure: true,
        every_stage: true,
        ..PlanRequest::default()
    };
    let given = build_args.get("BUILDKIT_DOCKERFILE_CHECK").map(String::as_str);
    let mut linter = Linter::with_override(given).map_err(|error| {
        let command = CommandError::user(format!("invalid BUILDKIT_DOCKERFILE_CHECK: {}", error.message));
        error.hints.into_iter().fold(command, CommandError::hint)
    })?;
    linter.set_ignore(&request.ignore);
    let error = examine(&text, &request, &mut linter).err();
    Ok(Checked {
        file,
        text,
        findings: linter.findings(),
        error,
    })
}

fn examine(text: &str, request: &PlanRequest, linter: &mut Linter) -> Result<(), SyntaxError> {
    let dockerfile = Dockerfile::parse(text, linter)?;
    // Whichever machine builds for several platforms, one of them is not its own.
    let foreign = request
        .platforms
        .iter()
        .any(|platform| *platform != request.build_platform);
    check_platforms(linter, &dockerfile, &request.platforms, foreign);
    let mut resolved = Resolved::default();
    loop {
        match lower(&dockerfile, request, &resolved, linter)? {
            Lowering::Done(_) => break,
            Lowering::Needs(needs) => {
                for need in &needs {
                    resolved.insert(need, stand_in(need));
                }
            }
        }
    }
    linter.violation().map_or(Ok(()), Err)
}

/// Stands for an image that is not looked at: it says as little as an image can.
fn stand_in(need: &Need) -> ResolvedImage {
    let mut config = ImageConfig {
        architecture: need.platform.architecture.clone(),
        os: need.platform.os.clone(),
        ..ImageConfig::default()
    };
    config
        .config
        .env
        .push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    ResolvedImage {
        source: ImageSource {
            reference: need.reference.to_string(),
            origin: ImageOrigin::Registry,
            platform: need.platform.clone(),
            manifest: None,
            layers: Vec::new(),
        },
        config,
    }
}
