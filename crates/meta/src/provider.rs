//! Events from the variables that continuous integration sets.
//!
//! Nothing is asked over the network: what a service does not tell its jobs (a licence, say) stays empty.

mod buildkite;
mod github;
mod gitlab;
mod jenkins;
mod remote;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::event::{Event, Repository};

pub use remote::repository_of_remote;

/// The variables of a job.
pub type Variables = BTreeMap<String, String>;

/// A service that runs jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// GitHub Actions.
    GitHub,
    /// Forgejo Actions.
    Forgejo,
    /// Gitea Actions.
    Gitea,
    /// GitLab CI.
    GitLab,
    /// Buildkite.
    Buildkite,
    /// Jenkins, best with multibranch pipelines.
    Jenkins,
}

impl Provider {
    /// Every service, in the order in which they are looked for: those that pretend to be GitHub come before it.
    pub const ALL: [Provider; 6] = [
        Provider::Forgejo,
        Provider::Gitea,
        Provider::GitHub,
        Provider::GitLab,
        Provider::Buildkite,
        Provider::Jenkins,
    ];

    /// The service that the variables speak of.
    pub fn detect(variables: &Variables) -> Option<Provider> {
        let names = |provider: &Provider| match provider {
            Provider::Forgejo => "FORGEJO_ACTIONS",
            Provider::Gitea => "GITEA_ACTIONS",
            Provider::GitHub => "GITHUB_ACTIONS",
            Provider::GitLab => "GITLAB_CI",
            Provider::Buildkite => "BUILDKITE",
            Provider::Jenkins => "JENKINS_URL",
        };
        Provider::ALL.into_iter().find(|provider| {
            let value = variables.get(names(provider)).map_or("", String::as_str);
            !matches!(value, "" | "false")
        })
    }

    /// The service's name as it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Provider::GitHub => "github",
            Provider::Forgejo => "forgejo",
            Provider::Gitea => "gitea",
            Provider::GitLab => "gitlab",
            Provider::Buildkite => "buildkite",
            Provider::Jenkins => "jenkins",
        }
    }

    /// Where the service put the event as JSON.
    pub fn payload_file(self, variables: &Variables) -> Option<&str> {
        match self {
            Provider::GitHub | Provider::Forgejo | Provider::Gitea => Read(variables).text("GITHUB_EVENT_PATH"),
            Provider::GitLab | Provider::Buildkite | Provider::Jenkins => None,
        }
    }

    /// What started the job. `payload` is the event as JSON, where there is one; `head` asks for the head of a pull
    /// request instead of the commit that the service made or checked out for it.
    pub fn event(self, variables: &Variables, payload: &Value, head: bool) -> Event {
        let read = Read(variables);
        match self {
            Provider::GitHub => github::event(&read, payload, head),
            Provider::Forgejo | Provider::Gitea => github::compatible_event(&read, payload, head),
            Provider::GitLab => gitlab::event(&read, head),
            Provider::Buildkite => buildkite::event(&read),
            Provider::Jenkins => jenkins::event(&read),
        }
    }
}

impl Repository {
    /// A repository as the APIs of GitHub, Gitea and Forgejo describe it.
    pub fn from_json(repository: &Value) -> Repository {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let license = match repository["license"]["spdx_id"].as_str() {
            Some(license) => license.to_owned(),
            None => text(&repository["licenses"][0]),
        };
        Repository {
            name: text(&repository["name"]),
            description: text(&repository["description"]),
            url: text(&repository["html_url"]),
            license,
            default_branch: repository["default_branch"].as_str().map(str::to_owned),
        }
    }
}

/// Variables of which empty ones are as good as none.
struct Read<'variables>(&'variables Variables);

impl<'variables> Read<'variables> {
    fn text(&self, name: &str) -> Option<&'variables str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn owned(&self, name: &str) -> String {
        self.text(name).unwrap_or_default().to_owned()
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::GitRef;
    use serde_json::json;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn event(pairs: &[(&str, &str)], payload: &Value, head: bool) -> Event {
        let variables = variables(pairs);
        let provider = Provider::detect(&variables).expect("known");
        provider.event(&variables, payload, head)
    }

    #[test]
    fn a_job_of_github_has_a_payload() {
        let payload = json!({
            "base_ref": "refs/heads/main",
            "commits": [{"id": "c0ffee", "timestamp": "2022-04-19T11:27:24+02:00"}],
            "repository": {"name": "app", "description": null, "html_url": "https://github.com/o/app", "default_branch": "main",
                "license": {"spdx_id": "MIT"}},
        });
        let push = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_EVENT_NAME", "push"),
            ("GITHUB_REF", "refs/tags/v1"),
            ("GITHUB_SHA", "c0ffee"),
        ];
        let event = event(&push, &payload, false);
        assert_eq!(event.git_ref, GitRef::Tag("v1".into()));
        assert_eq!(event.base(), Some("main"));
        assert_eq!(event.commit_time, "2022-04-19T09:27:24Z".parse().ok());
        assert_eq!(event.repository.license, "MIT");
        assert_eq!(event.repository.default_branch.as_deref(), Some("main"));
    }

    #[test]
    fn a_pull_request_of_github_may_be_its_head() {
        let payload = json!({"number": 7, "pull_request": {"base": {"ref": "main"}, "head": {"sha": "4ead"}}});
        let target = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_EVENT_NAME", "pull_request_target"),
            ("GITHUB_REF", "refs/heads/main"),
            ("GITHUB_SHA", "c0ffee"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "o/app"),
        ];
        let merged = event(&target, &payload, false);
        assert_eq!(
            (merged.git_ref, merged.commit.as_str()),
            (GitRef::PullRequest("7".into()), "c0ffee")
        );
        assert_eq!(merged.base.as_deref(), Some("main"));
        assert_eq!(merged.repository.url, "https://github.com/o/app");
        assert_eq!(event(&target, &payload, true).commit, "4ead");
    }

    #[test]
    fn forgejo_and_gitea_name_pull_requests_by_their_head() {
        for name in ["FORGEJO_ACTIONS", "GITEA_ACTIONS"] {
            let job = [
                (name, "true"),
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_EVENT_NAME", "pull_request"),
                ("GITHUB_REF", "refs/pull/12/head"),
                ("GITHUB_SHA", "c0ffee"),
            ];
            let payload = json!({"number": 12, "repository": {"licenses": ["Apache-2.0"], "default_branch": "trunk"}});
            let event = event(&job, &payload, false);
            assert_eq!(event.git_ref, GitRef::PullRequest("12".into()));
            assert_eq!(event.repository.license, "Apache-2.0");
        }
    }

    #[test]
    fn gitlab_tells_everything_in_variables() {
        let common = [
            ("GITLAB_CI", "true"),
            ("CI_COMMIT_SHA", "c0ffee"),
            ("CI_COMMIT_TIMESTAMP", "2024-03-01T12:00:00+01:00"),
            ("CI_DEFAULT_BRANCH", "main"),
            ("CI_PROJECT_NAME", "app"),
            ("CI_PROJECT_URL", "https://gitlab.example/g/app"),
        ];
        let with = |more: &[(&str, &str)]| event(&[&common[..], more].concat(), &Value::Null, true);
        let branch = with(&[("CI_PIPELINE_SOURCE", "schedule"), ("CI_COMMIT_BRANCH", "main")]);
        assert_eq!(
            (branch.name.as_str(), branch.git_ref),
            ("schedule", GitRef::Branch("main".into()))
        );
        assert!(branch.on_any_branch, "a schedule may be of any branch");
        assert_eq!(branch.commit_time, "2024-03-01T11:00:00Z".parse().ok());
        let tag = with(&[
            ("CI_PIPELINE_SOURCE", "push"),
            ("CI_COMMIT_TAG", "v1"),
            ("CI_COMMIT_REF_NAME", "v1"),
        ]);
        assert_eq!(tag.git_ref, GitRef::Tag("v1".into()));
        let merge = with(&[
            ("CI_PIPELINE_SOURCE", "merge_request_event"),
            ("CI_MERGE_REQUEST_IID", "9"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
            ("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "4ead"),
            ("CI_COMMIT_REF_NAME", "feature"),
        ]);
        assert_eq!(
            (merge.name.as_str(), merge.git_ref),
            ("pull_request", GitRef::PullRequest("9".into()))
        );
        assert_eq!((merge.base.as_deref(), merge.commit.as_str()), (Some("main"), "4ead"));
        // The time that GitLab tells is that of the other commit.
        assert_eq!(merge.commit_time, None);
    }

    #[test]
    fn buildkite_tells_the_remote_too() {
        let job = [
            ("BUILDKITE", "true"),
            ("BUILDKITE_SOURCE", "webhook"),
            ("BUILDKITE_COMMIT", "HEAD"),
            ("BUILDKITE_BRANCH", "main"),
            ("BUILDKITE_PULL_REQUEST", "false"),
            ("BUILDKITE_PIPELINE_DEFAULT_BRANCH", "main"),
            ("BUILDKITE_REPO", "git@github.com:o/app.git"),
        ];
        let push = event(&job, &Value::Null, false);
        assert_eq!(
            (push.name.as_str(), &push.git_ref),
            ("push", &GitRef::Branch("main".into()))
        );
        assert_eq!((push.commit.as_str(), push.is_default_branch()), ("", true));
        assert_eq!(push.repository.url, "https://github.com/o/app");
        let request = [&job[..], &[("BUILDKITE_PULL_REQUEST", "3")]].concat();
        let request = event(&request, &Value::Null, false);
        assert_eq!(
            (request.name.as_str(), request.git_ref),
            ("pull_request", GitRef::PullRequest("3".into()))
        );
    }

    #[test]
    fn jenkins_names_branches_in_two_ways() {
        let job = |more: &[(&str, &str)]| {
            let common = [
                ("JENKINS_URL", "http://ci/"),
                ("GIT_COMMIT", "c0ffee"),
                ("GIT_URL", "https://u:p@h.example/o/app.git"),
            ];
            event(&[&common[..], more].concat(), &Value::Null, false)
        };
        let plain = job(&[("GIT_BRANCH", "origin/feat/x")]);
        assert_eq!(plain.git_ref, GitRef::Branch("feat/x".into()));
        assert_eq!(plain.repository.url, "https://h.example/o/app");
        assert_eq!(job(&[("GIT_BRANCH", "detached")]).git_ref, GitRef::default());
        let primary = job(&[
            ("BRANCH_NAME", "trunk"),
            ("BRANCH_IS_PRIMARY", "true"),
            ("GIT_BRANCH", "trunk"),
        ]);
        assert!(primary.is_default_branch());
        let tag = job(&[("BRANCH_NAME", "v1"), ("TAG_NAME", "v1")]);
        assert_eq!(tag.git_ref, GitRef::Tag("v1".into()));
        let request = job(&[("BRANCH_NAME", "PR-5"), ("CHANGE_ID", "5"), ("CHANGE_TARGET", "main")]);
        assert_eq!(
            (request.base(), &request.git_ref),
            (Some("main"), &GitRef::PullRequest("5".into()))
        );
    }

    #[test]
    fn no_service_is_no_service() {
        assert_eq!(
            Provider::detect(&variables(&[("CI", "true"), ("GITHUB_ACTIONS", "")])),
            None
        );
    }
}
