//! Running one case from its first step to its last.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use super::World;
use super::case::{Build, Case, Expectation, Mount, Route, SECRET, Step};
use super::{assertion, flags, in_full, tree};
use crate::fixture::Fixture;
use crate::http::Response;
use crate::http_server::HttpServer;

/// Texts by which the binary says that it lacks something. A case that expects an error must not hold because of one.
const NOT_SUPPORTED: &[&str] = &["unexpected argument", "not supported yet"];

/// A case under way.
#[derive(Debug)]
pub(super) struct Session<'a> {
    world: &'a World,
    fixture: Fixture,
    servers: BTreeMap<String, HttpServer>,
    /// The talk of each failed build.
    pub(super) errors: BTreeMap<u64, String>,
    pub(super) outputs: BTreeMap<String, PathBuf>,
    /// Builds whose image is wanted, with the layout that it is in once it is built; nothing is asserted then.
    pub(super) layouts: BTreeMap<u64, PathBuf>,
    /// Builds of which no image is wanted fail as the case goes on; their details.
    pub(super) failures: BTreeMap<u64, String>,
    compares: bool,
}

impl<'a> Session<'a> {
    /// Runs a case; the error says at which step what was different.
    pub(super) fn run(case: &Case, world: &'a World) -> Result<(), String> {
        Session::start(world)?.steps(case)
    }

    /// Runs a case for the images of its builds, whatever the case asserts, and whether or not a build of it fails.
    pub(super) fn images(case: &Case, world: &'a World, state: Option<PathBuf>) -> Result<Session<'a>, String> {
        let mut session = Session::start(world)?;
        if let Some(state) = state {
            session.fixture.set_state(state);
        }
        session.compares = true;
        for step in &case.steps {
            if let (Step::Build(build), Err(detail)) = (step, session.step(step)) {
                session.failures.insert(build.id, detail);
            }
        }
        Ok(session)
    }

    fn start(world: &'a World) -> Result<Session<'a>, String> {
        let mut fixture = Fixture::new().map_err(|error| in_full(&error))?;
        fixture
            .mirror("docker.io", &world.base.address())
            .map_err(|error| in_full(&error))?;
        fixture.set_state(world.shared.state());
        fixture.set_env(flags::SECRET_VARIABLE, SECRET);
        Ok(Session {
            world,
            fixture,
            servers: BTreeMap::new(),
            errors: BTreeMap::new(),
            outputs: BTreeMap::new(),
            layouts: BTreeMap::new(),
            failures: BTreeMap::new(),
            compares: false,
        })
    }

    fn steps(&mut self, case: &Case) -> Result<(), String> {
        for (position, step) in case.steps.iter().enumerate() {
            self.step(step)
                .map_err(|detail| format!("step {}: {detail}", position + 1))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Build(build) => self.build(build),
            Step::Assert(_) if self.compares => Ok(()),
            Step::Assert(assertion) => assertion::check(assertion, self),
            Step::HttpServer { id, routes } => self.serve(id, routes),
            Step::PruneCache {} => {
                let fresh = self.fixture.directory().join(format!("state-{}", self.outputs.len()));
                self.fixture.set_state(fresh);
                Ok(())
            }
        }
    }

    /// Replaces `{{HTTP1}}`, `{{REGISTRY}}` and `{{OUT:out1}}`.
    pub(super) fn fill_in(&self, text: &str) -> String {
        let mut text = text.replace("{{REGISTRY}}", &self.world.registry.address());
        for (id, server) in &self.servers {
            text = text.replace(&format!("{{{{{id}}}}}"), &format!("http://{}", server.address()));
        }
        for (id, path) in &self.outputs {
            text = text.replace(&format!("{{{{OUT:{id}}}}}"), &path.display().to_string());
        }
        text
    }

    fn serve(&mut self, id: &str, routes: &BTreeMap<String, Route>) -> Result<(), String> {
        let mut answers = BTreeMap::new();
        for (path, route) in routes {
            let content = tree::bytes(route.content.text.as_deref(), route.content.base64.as_deref())?;
            let mut response = Response::with_body(200, "application/octet-stream", content);
            if let Some(tag) = &route.etag {
                response = response.with_header("ETag", tag);
            }
            if let Some(time) = &route.lastmodified {
                response = response.with_header("Last-Modified", http_date(time)?);
            }
            answers.insert(path.clone(), response);
        }
        let server = HttpServer::start(move |request| {
            let Some(answer) = answers.get(request.path()) else {
                return Response::status(404);
            };
            let asked = request.header("If-None-Match");
            if asked.is_some() && asked == answer.header("ETag") {
                Response::status(304)
            } else {
                answer.clone()
            }
        })
        .map_err(|error| in_full(&error))?;
        self.servers.insert(id.to_owned(), server);
        Ok(())
    }

    fn build(&mut self, build: &Build) -> Result<(), String> {
        let directory = |mount: &str| self.mount_directory(build, mount);
        for (name, mount) in &build.mounts {
            self.write_mount(build, name, mount)?;
        }
        let dockerfile = if build.mounts.contains_key("dockerfile") {
            "dockerfile"
        } else {
            "context"
        };
        let filename = build.opts.get("filename").map_or("Dockerfile", String::as_str);
        let context = match build.opts.get("context") {
            Some(named) => self.fill_in(named),
            None if build.mounts.contains_key("context") => directory("context").display().to_string(),
            None => {
                let empty = self.fixture.context(&format!("empty-{}", build.id), &[]);
                empty.map_err(|error| in_full(&error))?.display().to_string()
            }
        };
        let mut arguments = vec!["build".to_owned(), "--progress".to_owned(), "plain".to_owned()];
        if build.mounts.contains_key(dockerfile) {
            arguments.extend([
                "-f".to_owned(),
                directory(dockerfile).join(filename).display().to_string(),
            ]);
        }
        let named = |mount: &str| directory(mount).display().to_string();
        // Golden files say nothing of attestations, and an image is the same with and without.
        let attests = !self.compares;
        arguments.extend(
            flags::of_build(build, attests, &named)?
                .iter()
                .map(|flag| self.fill_in(flag)),
        );
        let mut places = Vec::new();
        for (position, output) in build.outputs.iter().enumerate() {
            let id = output
                .id
                .clone()
                .unwrap_or_else(|| format!("output-{}-{position}", build.id));
            let place = self.fixture.directory().join(&id);
            arguments.extend(["--output".to_owned(), self.fill_in(&flags::of_output(output, &place))]);
            places.push((id, place));
        }
        if self.compares {
            let layout = self.fixture.directory().join(format!("layout-{}", build.id));
            arguments.extend([
                "--output".to_owned(),
                format!("type=oci,tar=false,dest={}", layout.display()),
            ]);
            self.layouts.insert(build.id, layout);
        } else if build.outputs.is_empty() {
            arguments.extend(["--output".to_owned(), "type=cacheonly".to_owned()]);
        }
        arguments.push(context);
        let outcome = self
            .fixture
            .kiln(&arguments)
            .limit(Duration::from_secs(120))
            .run()
            .map_err(|error| in_full(&error))?;
        self.outputs.extend(places);
        let missing = NOT_SUPPORTED.iter().find(|text| outcome.stderr.contains(**text));
        match (build.expect, outcome.status.success()) {
            (Expectation::Success, true) => Ok(()),
            (Expectation::Success, false) => Err(format!("the build fails: {}", last_lines(&outcome.stderr))),
            (Expectation::Error, true) => Err("the build succeeds although it must fail".to_owned()),
            (Expectation::Error, false) => match missing {
                Some(_) => Err(format!(
                    "the build fails for another reason: {}",
                    last_lines(&outcome.stderr)
                )),
                None => {
                    self.errors.insert(build.id, outcome.stderr);
                    Ok(())
                }
            },
        }
    }

    fn mount_directory(&self, build: &Build, name: &str) -> PathBuf {
        let original = build
            .mounts
            .get(name)
            .and_then(|mount| mount.same_as.as_deref())
            .unwrap_or(name);
        self.fixture
            .directory()
            .join(format!("mount-{}", build.id))
            .join(original)
    }

    fn write_mount(&self, build: &Build, name: &str, mount: &Mount) -> Result<(), String> {
        if mount.same_as.is_some() {
            return Ok(());
        }
        let directory = self.mount_directory(build, name);
        tree::write(&directory, &mount.files, &|text| self.fill_in(text)).map_err(|error| format!("{name}: {error}"))
    }

    /// Where a link of an output points, if it is one.
    pub(super) fn link(&self, output: &str, path: &str) -> Result<Option<String>, String> {
        Ok(self.stat(output, path, false)?.and_then(|found| found.link))
    }

    /// The bytes of a file of an output, which is a directory or a tar archive.
    pub(super) fn read(&self, output: &str, path: &str) -> Result<Option<Vec<u8>>, String> {
        let place = self
            .outputs
            .get(output)
            .ok_or_else(|| format!("there is no output `{output}`"))?;
        if place.is_dir() {
            return match fs::read(place.join(path)) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(format!("{path}: {error}")),
            };
        }
        Ok(self.archived(output, path)?.map(|found| found.content))
    }

    /// What is known of a file of an output; `None` when it is not there.
    pub(super) fn stat(&self, output: &str, path: &str, follow: bool) -> Result<Option<Found>, String> {
        let place = self
            .outputs
            .get(output)
            .ok_or_else(|| format!("there is no output `{output}`"))?;
        if !place.is_dir() {
            return self.archived(output, path);
        }
        let path = place.join(path);
        let metadata = if follow {
            fs::metadata(&path)
        } else {
            fs::symlink_metadata(&path)
        };
        match metadata {
            Ok(metadata) => Ok(Some(Found {
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid().into(),
                gid: metadata.gid().into(),
                directory: metadata.is_dir(),
                link: fs::read_link(&path).ok().map(|target| target.display().to_string()),
                content: Vec::new(),
            })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn archived(&self, output: &str, path: &str) -> Result<Option<Found>, String> {
        let place = &self.outputs[output];
        let in_words = |error: std::io::Error| format!("{}: {error}", place.display());
        let mut archive = tar::Archive::new(fs::File::open(place).map_err(in_words)?);
        let wanted = path.trim_matches('/');
        for entry in archive.entries().map_err(in_words)? {
            let mut entry = entry.map_err(in_words)?;
            let name = entry.path().map_err(in_words)?.display().to_string();
            if name.trim_start_matches("./").trim_matches('/') != wanted {
                continue;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).map_err(in_words)?;
            let header = entry.header();
            return Ok(Some(Found {
                mode: header.mode().map_err(in_words)? & 0o7777,
                uid: header.uid().map_err(in_words)?,
                gid: header.gid().map_err(in_words)?,
                directory: header.entry_type().is_dir(),
                link: entry
                    .link_name()
                    .map_err(in_words)?
                    .map(|target| target.display().to_string()),
                content,
            }));
        }
        Ok(None)
    }
}

/// A file of an output.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) directory: bool,
    pub(super) link: Option<String>,
    /// Only of files in archives.
    content: Vec<u8>,
}

/// `2023-11-14 22:16:41 +0000 UTC` as `Tue, 14 Nov 2023 22:16:41 GMT`.
fn http_date(text: &str) -> Result<String, String> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAYS: [&str; 7] = ["Sat", "Sun", "Mon", "Tue", "Wed", "Thu", "Fri"];
    let malformed = || format!("`{text}` is no time in UTC");
    let mut words = text.split(' ');
    let (Some(date), Some(time), Some("+0000")) = (words.next(), words.next(), words.next()) else {
        return Err(malformed());
    };
    let numbers: Vec<usize> = date.split('-').filter_map(|number| number.parse().ok()).collect();
    let &[year, month @ 1..=12, day] = &numbers[..] else {
        return Err(malformed());
    };
    // Zeller's congruence: January and February belong to the year before.
    let (shifted, of) = if month < 3 {
        (month + 12, year - 1)
    } else {
        (month, year)
    };
    let weekday = (day + 13 * (shifted + 1) / 5 + of + of / 4 - of / 100 + of / 400) % 7;
    let time = time.split('.').next().unwrap_or(time);
    Ok(format!(
        "{}, {day:02} {} {year} {time} GMT",
        DAYS[weekday],
        MONTHS[month - 1]
    ))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::http_date;

    #[test]
    fn times_are_said_as_http_says_them() {
        assert_eq!(
            http_date("2023-11-14 22:16:41 +0000 UTC").as_deref(),
            Ok("Tue, 14 Nov 2023 22:16:41 GMT")
        );
        assert_eq!(
            http_date("2024-02-29 00:00:00 +0000 UTC").as_deref(),
            Ok("Thu, 29 Feb 2024 00:00:00 GMT")
        );
        assert!(http_date("yesterday").is_err());
    }
}
