//! `kiln meta` and `kiln build --meta`: in working trees made by git, and in jobs whose variables and payloads are set here.

use std::fs;
use std::path::Path;

use kiln_testkit::{DockerRegistry, Fixture, Outcome, Program, TestResult};
use serde_json::json;

/// The time of the commits and of the runs: 10 January 2020, half past midnight.
const EPOCH: &str = "1578616200";

/// A fixture whose clock stands still.
fn fixture() -> Result<Fixture, Box<dyn std::error::Error>> {
    let mut fixture = Fixture::new()?;
    fixture.set_env("SOURCE_DATE_EPOCH", EPOCH);
    Ok(fixture)
}

/// Runs git in the fixture's directory, and gives what it prints.
fn git(directory: &Path, arguments: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let date = "2019-12-31T23:30:00+02:00";
    let outcome = Program::new("git")
        .args(["-c", "user.name=Kiln", "-c", "user.email=kiln@example.com"])
        .args(arguments)
        .env("GIT_COMMITTER_DATE", date)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .with(|command| _ = command.current_dir(directory))
        .succeed()?;
    Ok(outcome.stdout_text().trim().to_owned())
}

/// A repository with one commit on the branch `main`, cloned from `https://…/octo/app`; gives its commit.
fn repository(fixture: &Fixture) -> Result<String, Box<dyn std::error::Error>> {
    let directory = fixture.directory();
    git(directory, &["init", "--quiet", "--initial-branch", "main", "."])?;
    git(directory, &["commit", "--quiet", "--allow-empty", "--message", "first"])?;
    git(
        directory,
        &[
            "remote",
            "add",
            "origin",
            "https://octo:secret@git.example/octo/app.git",
        ],
    )?;
    git(directory, &["rev-parse", "HEAD"])
}

fn lines(outcome: &Outcome) -> Vec<String> {
    outcome.stdout_text().lines().map(str::to_owned).collect()
}

/// The tags of a run with these flags.
fn tags(fixture: &Fixture, flags: &[&str]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let outcome = fixture
        .kiln(["meta", "--images", "octo/app", "--format", "tags"])
        .args(flags)
        .run()?;
    Ok(lines(outcome.assert_success()))
}

#[test]
fn a_branch_a_tag_and_a_detached_commit_of_git() -> TestResult {
    let fixture = fixture()?;
    let commit = repository(&fixture)?;
    let directory = fixture.directory();
    let rules = "type=edge\ntype=ref,event=branch\ntype=semver,pattern={{version}}\ntype=sha";
    let short = format!("octo/app:sha-{}", &commit[..7]);
    let on_main = ["octo/app:edge", "octo/app:main", &short];
    assert_eq!(tags(&fixture, &["--tags", rules])?, on_main);

    git(directory, &["checkout", "--quiet", "-b", "feat/one"])?;
    assert_eq!(tags(&fixture, &["--tags", rules])?, ["octo/app:feat-one", &short]);

    git(directory, &["tag", "v1.2.3"])?;
    git(directory, &["checkout", "--quiet", "--detach", "v1.2.3"])?;
    let on_tag = ["octo/app:1.2.3", &short, "octo/app:latest"];
    assert_eq!(tags(&fixture, &["--tags", rules])?, on_tag);

    // A commit that nothing points at is on the branch that it is in.
    git(directory, &["tag", "--delete", "v1.2.3"])?;
    git(directory, &["branch", "--delete", "--force", "main"])?;
    git(directory, &["checkout", "--quiet", "feat/one"])?;
    git(
        directory,
        &["commit", "--quiet", "--allow-empty", "--message", "second"],
    )?;
    git(directory, &["checkout", "--quiet", "--detach", &commit])?;
    assert_eq!(tags(&fixture, &[])?, ["octo/app:feat-one"]);
    Ok(())
}

#[test]
fn labels_come_from_the_commit_and_the_remote() -> TestResult {
    let fixture = fixture()?;
    let commit = repository(&fixture)?;
    let labels = "org.opencontainers.image.title=Mine\nbuilt={{commit_date 'YYYY-MM-DD HH:mm' tz='Asia/Tokyo'}}";
    let outcome = fixture
        .kiln(["meta", "--images", "octo/app", "--format", "json", "--labels", labels])
        .run()?;
    let read = outcome.assert_success().json();
    let expected = json!({
        "built": "2020-01-01 06:30",
        "org.opencontainers.image.created": "2020-01-10T00:30:00.000Z",
        "org.opencontainers.image.description": "",
        "org.opencontainers.image.licenses": "",
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.source": "https://git.example/octo/app",
        "org.opencontainers.image.title": "Mine",
        "org.opencontainers.image.url": "https://git.example/octo/app",
        "org.opencontainers.image.version": "main",
    });
    assert_eq!(read["labels"], expected);
    assert_eq!(read["tags"], json!(["octo/app:main"]));
    assert!(
        !outcome.stdout_text().contains("secret"),
        "the remote's password stays where it is"
    );
    Ok(())
}

/// Names and values.
type Variables<'text> = &'text [(&'text str, &'text str)];

/// Gives the fixture the variables of a job.
fn job(fixture: &mut Fixture, variables: Variables<'_>) {
    for (name, value) in variables {
        fixture.set_env(name, value);
    }
}

/// The variables of GitHub for an event with this payload.
fn github_job(fixture: &mut Fixture, event: &str, git_ref: &str, payload: &serde_json::Value) -> TestResult {
    let file = fixture.write("event.json", payload.to_string().as_bytes())?;
    job(
        fixture,
        &[
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_EVENT_NAME", event),
            ("GITHUB_REF", git_ref),
            ("GITHUB_SHA", "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00"),
            ("GITHUB_REPOSITORY", "octo/app"),
            ("GITHUB_SERVER_URL", "https://github.example"),
            ("GITHUB_EVENT_PATH", &file.display().to_string()),
        ],
    );
    Ok(())
}

fn pushed() -> serde_json::Value {
    json!({
        "base_ref": null,
        "commits": [{"id": "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00", "timestamp": "2019-02-03T04:05:06+01:00"}],
        "repository": {
            "name": "app",
            "description": "An app",
            "html_url": "https://github.example/octo/app",
            "default_branch": "trunk",
            "license": {"spdx_id": "Apache-2.0"},
        },
    })
}

#[test]
fn a_push_in_github_actions() -> TestResult {
    let mut fixture = fixture()?;
    github_job(&mut fixture, "push", "refs/heads/trunk", &pushed())?;
    let rules = "type=edge\ntype=raw,value={{commit_date 'YYYYMMDD'}},enable={{is_default_branch}}\ntype=sha";
    assert_eq!(
        tags(&fixture, &["--tags", rules])?,
        ["octo/app:edge", "octo/app:20190203", "octo/app:sha-c0ffee0"]
    );
    let outcome = fixture.kiln(["meta", "--format", "labels"]).run()?;
    let labels = lines(outcome.assert_success());
    for expected in [
        "org.opencontainers.image.description=An app",
        "org.opencontainers.image.licenses=Apache-2.0",
        "org.opencontainers.image.source=https://github.example/octo/app",
    ] {
        assert!(labels.iter().any(|label| label == expected), "{labels:#?}");
    }
    Ok(())
}

#[test]
fn a_pull_request_in_github_actions_and_in_forgejo() -> TestResult {
    let payload = json!({"number": 7, "pull_request": {"base": {"ref": "trunk"}, "head": {"sha": "4ead4ead4ead"}}});
    let rules = "type=ref,event=pr\ntype=raw,value=to-{{base_ref}}\ntype=sha";
    let mut github = fixture()?;
    github_job(&mut github, "pull_request", "refs/pull/7/merge", &payload)?;
    let merged = ["octo/app:pr-7", "octo/app:to-trunk", "octo/app:sha-c0ffee0"];
    assert_eq!(tags(&github, &["--tags", rules])?, merged);
    github.set_env("DOCKER_METADATA_PR_HEAD_SHA", "true");
    github.set_env("DOCKER_METADATA_SHORT_SHA_LENGTH", "5");
    let head = ["octo/app:pr-7", "octo/app:to-trunk", "octo/app:sha-4ead4"];
    assert_eq!(tags(&github, &["--tags", rules])?, head);

    let mut forgejo = fixture()?;
    github_job(&mut forgejo, "pull_request", "refs/pull/7/head", &payload)?;
    forgejo.set_env("FORGEJO_ACTIONS", "true");
    assert_eq!(tags(&forgejo, &["--tags", rules])?, merged);
    Ok(())
}

#[test]
fn jobs_of_other_services() -> TestResult {
    let rules = "type=schedule\ntype=edge\ntype=ref,event=branch\ntype=ref,event=tag\ntype=ref,event=pr\ntype=sha\n\
                 type=raw,value=newest,enable={{is_default_branch}},priority=1";
    let gitlab = [
        ("GITLAB_CI", "true"),
        ("CI_COMMIT_SHA", "c0ffee00c0ffee00"),
        ("CI_COMMIT_TIMESTAMP", "2024-03-01T12:00:00+01:00"),
        ("CI_DEFAULT_BRANCH", "main"),
        ("CI_PROJECT_URL", "https://gitlab.example/octo/app"),
    ];
    let buildkite = [
        ("BUILDKITE", "true"),
        ("BUILDKITE_COMMIT", "c0ffee00c0ffee00"),
        ("BUILDKITE_PIPELINE_DEFAULT_BRANCH", "main"),
        ("BUILDKITE_REPO", "git@gitlab.example:octo/app.git"),
    ];
    let jenkins = [
        ("JENKINS_URL", "https://ci.example/"),
        ("GIT_COMMIT", "c0ffee00c0ffee00"),
        ("GIT_URL", "ssh://git@gitlab.example:22/octo/app.git"),
    ];
    let cases: [(Variables<'_>, Variables<'_>, &str); 9] = [
        (
            &gitlab,
            &[("CI_PIPELINE_SOURCE", "schedule"), ("CI_COMMIT_BRANCH", "main")],
            "nightly edge main sha-c0ffee0 newest",
        ),
        (
            &gitlab,
            &[("CI_PIPELINE_SOURCE", "schedule"), ("CI_COMMIT_BRANCH", "old")],
            "nightly old sha-c0ffee0",
        ),
        (
            &gitlab,
            &[("CI_PIPELINE_SOURCE", "push"), ("CI_COMMIT_TAG", "v1")],
            "v1 sha-c0ffee0 latest",
        ),
        (
            &gitlab,
            &[
                ("CI_PIPELINE_SOURCE", "merge_request_event"),
                ("CI_MERGE_REQUEST_IID", "9"),
                ("CI_COMMIT_REF_NAME", "x"),
            ],
            "pr-9 sha-c0ffee0",
        ),
        (
            &buildkite,
            &[("BUILDKITE_BRANCH", "main"), ("BUILDKITE_PULL_REQUEST", "false")],
            "edge main sha-c0ffee0 newest",
        ),
        (
            &buildkite,
            &[("BUILDKITE_BRANCH", "x"), ("BUILDKITE_PULL_REQUEST", "3")],
            "pr-3 sha-c0ffee0",
        ),
        (&jenkins, &[("GIT_BRANCH", "origin/dev")], "dev sha-c0ffee0"),
        (
            &jenkins,
            &[("BRANCH_NAME", "main"), ("BRANCH_IS_PRIMARY", "true")],
            "edge main sha-c0ffee0 newest",
        ),
        (
            &jenkins,
            &[("BRANCH_NAME", "PR-5"), ("CHANGE_ID", "5")],
            "pr-5 sha-c0ffee0",
        ),
    ];
    for (service, more, expected) in cases {
        let mut fixture = fixture()?;
        job(&mut fixture, service);
        job(&mut fixture, more);
        let outcome = fixture.kiln(["meta", "--format", "tag-names", "--tags", rules]).run()?;
        assert_eq!(lines(outcome.assert_success()).join(" "), expected, "{more:?}");
        let labels = fixture.kiln(["meta", "--format", "labels"]).run()?.stdout_text();
        assert!(
            labels.contains("image.source=https://gitlab.example/octo/app\n"),
            "{labels}"
        );
    }
    Ok(())
}

#[test]
fn the_working_tree_may_win_over_the_job() -> TestResult {
    let mut fixture = fixture()?;
    let commit = repository(&fixture)?;
    github_job(&mut fixture, "schedule", "refs/heads/trunk", &json!({}))?;
    let rules = "type=schedule\ntype=ref,event=branch\ntype=sha,format=long,prefix=";
    let told = [
        "octo/app:nightly",
        "octo/app:trunk",
        "octo/app:c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00",
    ];
    assert_eq!(tags(&fixture, &["--tags", rules])?, told);
    // Like the action with `context: git`: the event stays, reference and commit are the tree's.
    let looked = [
        "octo/app:nightly".to_owned(),
        "octo/app:main".to_owned(),
        format!("octo/app:{commit}"),
    ];
    assert_eq!(tags(&fixture, &["--tags", rules, "--context", "git"])?, looked);
    let chosen = ["--ref", "refs/tags/v2.0.0", "--sha", "abcdef", "--event", "push"];
    assert_eq!(tags(&fixture, &chosen)?, ["octo/app:v2.0.0", "octo/app:latest"]);
    Ok(())
}

#[test]
fn outputs_reach_the_following_steps() -> TestResult {
    let mut fixture = fixture()?;
    github_job(&mut fixture, "push", "refs/tags/v1.2.3", &pushed())?;
    let temporary = fixture.context("runner", &[])?;
    let [output, variables] = ["output", "variables"].map(|name| fixture.directory().join(name));
    fs::write(&output, "earlier=1\n")?;
    job(
        &mut fixture,
        &[
            ("GITHUB_OUTPUT", &output.display().to_string()),
            ("GITHUB_ENV", &variables.display().to_string()),
            ("RUNNER_TEMP", &temporary.display().to_string()),
            ("DOCKER_METADATA_ANNOTATIONS_LEVELS", "manifest,index"),
        ],
    );
    let labels = "tricky=kiln_meta_value\n\"two=lines\nkiln_meta_value\"";
    fixture
        .kiln([
            "meta",
            "--images",
            "octo/app",
            "--labels",
            labels,
            "--github-output",
            "--bake-target",
            "release",
        ])
        .run()?
        .assert_success();
    let outputs = runner_values(&fs::read_to_string(&output)?);
    let find = |name: &str| {
        outputs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(find("earlier"), Some("1"));
    assert_eq!(find("version"), Some("v1.2.3"));
    assert_eq!(find("tags"), Some("octo/app:v1.2.3\nocto/app:latest"));
    assert!(find("labels").is_some_and(|labels| labels.contains("two=lines\nkiln_meta_value")));
    assert!(find("annotations").is_some_and(|all| all.contains("index:org.opencontainers.image.title=app")));
    let bake = |name: &str| -> Result<serde_json::Value, Box<dyn std::error::Error>> {
        let path = find(name).ok_or_else(|| format!("no output `{name}`"))?;
        assert!(Path::new(path).starts_with(&temporary), "{path}");
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    let both = bake("bake-file")?;
    assert_eq!(
        both["target"]["release"]["tags"],
        json!(["octo/app:v1.2.3", "octo/app:latest"])
    );
    assert_eq!(
        both["target"]["release"]["labels"]["org.opencontainers.image.licenses"],
        "Apache-2.0"
    );
    let arguments = json!({"DOCKER_META_IMAGES": "octo/app", "DOCKER_META_VERSION": "v1.2.3"});
    assert_eq!(bake("bake-file-tags")?["target"]["release"]["args"], arguments);
    assert!(bake("bake-file-labels")?["target"]["release"]["tags"].is_null());
    assert_eq!(
        bake("bake-file-annotations")?["target"]["release"]["annotations"]
            .as_array()
            .map(Vec::len),
        Some(16)
    );
    let exported = runner_values(&fs::read_to_string(&variables)?);
    assert!(exported.contains(&(
        "DOCKER_METADATA_OUTPUT_TAG_NAMES".to_owned(),
        "v1.2.3\nlatest".to_owned()
    )));

    fixture.set_env("DOCKER_METADATA_SET_OUTPUT_ENV", "false");
    fs::remove_file(&variables)?;
    fixture.kiln(["meta", "--github-output"]).run()?.assert_success();
    assert!(!variables.exists(), "no variables are set when they are not wanted");
    Ok(())
}

/// Reads a file of values as the runner does: `NAME=VALUE`, or `NAME<<END` up to the line `END`.
fn runner_values(text: &str) -> Vec<(String, String)> {
    let mut values = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some((name, end)) = line.split_once("<<") {
            let value: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
            values.push((name.to_owned(), value.join("\n")));
        } else if let Some((name, value)) = line.split_once('=') {
            values.push((name.to_owned(), value.to_owned()));
        }
    }
    values
}

#[test]
fn a_shell_reads_the_variables() -> TestResult {
    let fixture = fixture()?;
    repository(&fixture)?;
    let written = fixture
        .kiln([
            "meta",
            "--images",
            "octo/app",
            "--labels",
            "a=it's $HOME",
            "--format",
            "env",
        ])
        .run()?;
    let script = format!(
        "{}\nprintf '%s\\n' \"$DOCKER_METADATA_OUTPUT_TAGS\" \"$DOCKER_METADATA_OUTPUT_LABELS\"",
        written.assert_success().stdout_text()
    );
    let read = Program::new("sh").args(["-eu", "-c", &script]).succeed()?.stdout_text();
    assert!(read.starts_with("octo/app:main\na=it's $HOME\n"), "{read}");
    Ok(())
}

#[test]
fn bad_input_is_named_with_its_line() -> TestResult {
    let fixture = fixture()?;
    repository(&fixture)?;
    let cases: [(&[&str], &[&str]); 12] = [
        (
            &["--tags", "type=sha\ntype=semvr"],
            &["line 2 of `tags`", "type=semvr", "no type `semvr`", "hint: "],
        ),
        (
            &["--tags", "type=sha", "--tags", "type=ref"],
            &["line 2 of `tags`", "`event` is missing", "hint: "],
        ),
        (
            &["--tags", "type=raw,value={{date}}"],
            &["line 1 of `tags`", "`date` needs a format", "YYYYMMDD"],
        ),
        (
            &["--tags", "type=raw,value={{date 'Y' tz='Mars'}}"],
            &["no time zone `Mars`", "Asia/Tokyo"],
        ),
        (
            &["--tags", "type=match,pattern=v(.*"],
            &["line 1 of `tags`", "regular expression `v(.*`"],
        ),
        (
            &["--tags", "type=raw,value=x,enable={{branch}}"],
            &["`enable` comes to `main`"],
        ),
        (
            &["--flavor", "latest=always"],
            &["line 1 of `flavor`", "`always` is no value", "auto, true or false"],
        ),
        (&["--images", "a/b\nname="], &["line 2 of `images`", "no name"]),
        (
            &["--images", "a/b:1"],
            &["line 1 of `images`", "`a/b:1` has a tag", "hint: "],
        ),
        (
            &["--labels", "a=b\n\nc={{sha"],
            &["line 3 of `labels`", "is not closed"],
        ),
        (
            &["--images", "ghcr.io/${{ github.repository }}"],
            &[
                "line 1 of `images`",
                "expression of a workflow",
                "{{is_default_branch}}",
            ],
        ),
        (&["--ref", "v1"], &["`v1` is no full reference", "refs/tags/TAG"]),
    ];
    for (flags, said) in cases {
        fixture
            .kiln(["meta"])
            .args(flags)
            .run()?
            .assert_code(2)
            .assert_says(said);
    }
    fixture.write("inputs.yml", b"images: a/b\ntags: |\n  type=sha\n  type=nope\n")?;
    let outcome = fixture.kiln(["meta", "-f", "inputs.yml"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["line 4 of `inputs.yml`", "`type=nope`", "no type `nope`"]);
    fixture.write("inputs.yml", b"image: a/b\n")?;
    let outcome = fixture.kiln(["meta", "-f", "inputs.yml"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["line 1", "no input `image`", "images, tags"]);
    Ok(())
}

#[test]
fn a_file_holds_all_inputs_of_the_action() -> TestResult {
    let fixture = fixture()?;
    repository(&fixture)?;
    let text = "context: git\nimages: octo/app\ntags: |\n  a\n  b\nsep-tags: ','\nbake-target: app-metadata\n";
    fixture.write("inputs.yml", text.as_bytes())?;
    let from_file = |more: &[&str]| fixture.kiln(["meta", "-f", "inputs.yml"]).args(more).run();
    let tags = from_file(&["--format", "tags"])?;
    assert_eq!(lines(tags.assert_success()), ["octo/app:a,octo/app:b"]);
    let tags = from_file(&["--format", "tags", "--sep-tags", " "])?;
    assert_eq!(lines(tags.assert_success()), ["octo/app:a octo/app:b"]);
    let bake = from_file(&["--format", "bake"])?.assert_success().stdout_text();
    let bake: serde_json::Value = serde_json::from_str(&bake)?;
    assert_eq!(
        bake["target"]["app-metadata"]["tags"],
        json!(["octo/app:a", "octo/app:b"])
    );

    fixture.write(
        "docker-bake.hcl",
        b"target \"app-metadata\" {}\ntarget \"default\" { inherits = [\"app-metadata\"] }\n",
    )?;
    let printed = fixture.kiln(["bake", "--meta", "inputs.yml", "--print"]).run()?;
    let printed: serde_json::Value = serde_json::from_str(&printed.assert_success().stdout_text())?;
    assert_eq!(
        printed["target"]["default"]["tags"],
        json!(["octo/app:a", "octo/app:b"])
    );

    fixture.write("inputs.yml", b"context: mars\n")?;
    let outcome = from_file(&[])?;
    outcome
        .assert_code(2)
        .assert_says(&["no context `mars`", "workflow, git"]);
    Ok(())
}

#[test]
fn labels_are_no_templates_of_bake() -> TestResult {
    let fixture = fixture()?;
    repository(&fixture)?;
    let label = "a=${foo} %{if} $${x} $%{y} 100% \"q\" \\d";
    fixture.write(
        "docker-bake.hcl",
        b"target \"docker-metadata-action\" {}\ntarget \"default\" { inherits = [\"docker-metadata-action\"] }\n",
    )?;
    let images = ["meta", "--images", "octo/app", "--format", "version"];
    let outcome = fixture
        .kiln(images)
        .args(["--labels", label, "--bake-file", "meta.json"])
        .run()?;
    outcome.assert_success();
    let given = format!("labels={label}");
    // What is printed is a definition again, with escapes.
    let escaped = label.trim_start_matches("a=").replace("${", "$${").replace("%{", "%%{");
    let taken_over: [&[&str]; 2] = [
        &["bake", "--meta", "images=octo/app", "--meta", &given, "--print"],
        &["bake", "-f", "docker-bake.hcl", "-f", "meta.json", "--print"],
    ];
    for flags in taken_over {
        let printed = fixture.kiln(flags).run()?.assert_success().stdout_text();
        let printed: serde_json::Value = serde_json::from_str(&printed)?;
        assert_eq!(printed["target"]["default"]["labels"]["a"], json!(escaped));
    }
    Ok(())
}

#[test]
fn what_is_missing_is_said() -> TestResult {
    let mut fixture = fixture()?;
    let outcome = fixture.kiln(["meta"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["git knows no commit here", "--ref and --sha"]);
    git(fixture.directory(), &["init", "--quiet", "."])?;
    let outcome = fixture.kiln(["meta"]).run()?;
    outcome.assert_code(2).assert_says(&["nothing is committed"]);
    let outcome = fixture.kiln(["meta"]).env("PATH", "/nowhere").run()?;
    outcome
        .assert_code(2)
        .assert_says(&["failed to run `git`", "install git"]);
    let outcome = fixture.kiln(["meta", "--context", "workflow"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["no service that runs jobs", "--context git"]);
    let outcome = fixture
        .kiln(["meta", "--ref", "refs/tags/v1", "--sha", "abc", "--github-output"])
        .run()?;
    outcome.assert_code(2).assert_says(&["GITHUB_OUTPUT"]);
    fixture.set_env("GITHUB_ACTIONS", "true");
    fixture.set_env("GITHUB_EVENT_PATH", "/nowhere/event.json");
    let outcome = fixture.kiln(["meta"]).run()?;
    outcome
        .assert_code(3)
        .assert_says(&["/nowhere/event.json", "GITHUB_EVENT_PATH"]);
    Ok(())
}

#[test]
fn no_tag_is_a_warning() -> TestResult {
    let fixture = fixture()?;
    repository(&fixture)?;
    let outcome = fixture
        .kiln([
            "meta",
            "--images",
            "octo/app",
            "--format",
            "tags",
            "--tags",
            "type=semver,pattern={{version}},value=one",
        ])
        .run()?;
    outcome
        .assert_success()
        .assert_says(&["warning: `one` is no semantic version", "warning: no rule gives a tag"]);
    assert_eq!(outcome.stdout_text(), "");
    Ok(())
}

#[test]
fn a_build_takes_everything_over() -> TestResult {
    let mut fixture = fixture()?;
    let registry = DockerRegistry::start()?;
    fixture.mirror(&registry.address(), &registry.address())?;
    let commit = repository(&fixture)?;
    fixture.context(
        "image",
        &[(
            "Dockerfile",
            "FROM scratch\nLABEL own=1 vendor=nobody\nCOPY Dockerfile /\n",
        )],
    )?;
    let name = format!("{}/octo/app", registry.address());
    let inputs = format!(
        "with:\n  images: |\n    {name}\n  tags: |\n    # every commit\n    type=sha,prefix=\n    type=ref,event=branch\n  labels: |\n    vendor=Octo\n"
    );
    fixture.write("meta.yml", inputs.as_bytes())?;
    let extra = format!("{name}:extra");
    fixture.set_env("DOCKER_METADATA_ANNOTATIONS_LEVELS", "manifest,index");
    fixture
        .kiln([
            "build",
            "--platform",
            "linux/amd64,linux/arm64",
            "--push",
            "--meta",
            "meta.yml",
            "-t",
            &extra,
        ])
        .args(["--meta", "labels=also=this", "--label", "also=that", "image"])
        .run()?
        .assert_success();
    let digests: Vec<String> = ["extra", "main", &commit[..7]]
        .iter()
        .map(|tag| {
            let index = fixture.raw_manifest(&format!("{name}:{tag}"))?;
            assert_eq!(
                index["annotations"]["org.opencontainers.image.version"], "main",
                "{index}"
            );
            Ok(index["manifests"][0]["digest"].to_string())
        })
        .collect::<Result<_, kiln_testkit::TestkitError>>()?;
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let image = format!("docker://{name}:main");
    let config = fixture
        .skopeo(["inspect", "--tls-verify=false", "--config", &image])
        .succeed()?
        .json();
    let labels = &config["config"]["Labels"];
    assert_eq!(labels["own"], "1");
    assert_eq!(labels["vendor"], "Octo", "the metadata wins over the Dockerfile");
    assert_eq!(labels["also"], "that", "a flag wins over the metadata");
    assert_eq!(labels["org.opencontainers.image.revision"], commit);
    assert_eq!(labels["org.opencontainers.image.created"], "2020-01-10T00:30:00.000Z");
    Ok(())
}

#[test]
fn a_build_takes_a_result_over() -> TestResult {
    let mut fixture = fixture()?;
    repository(&fixture)?;
    fixture.context("image", &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")])?;
    let outcome = fixture
        .kiln(["meta", "--images", "registry.test/octo/app", "--format", "json"])
        .run()?;
    fixture.write("meta.json", &outcome.assert_success().stdout)?;
    // The result stands for itself: no event is looked for any more.
    fixture.set_env("GIT_DIR", "/nowhere");
    let output = "type=oci,tar=false,dest=layout";
    fixture
        .kiln(["build", "--meta", "meta.json", "-o", output, "image"])
        .run()?
        .assert_success();
    let index: serde_json::Value = serde_json::from_slice(&fs::read(fixture.directory().join("layout/index.json"))?)?;
    assert!(index.to_string().contains("registry.test/octo/app:main"), "{index}");

    let outcome = fixture.kiln(["build", "--meta", "tags=type=sha", "image"]).run()?;
    outcome
        .assert_code(2)
        .assert_says(&["--meta names no image", "--meta images="]);
    let outcome = fixture.kiln(["build", "--meta", "nowhere.yml", "image"]).run()?;
    outcome.assert_code(2).assert_says(&["failed to read `nowhere.yml`"]);
    Ok(())
}
