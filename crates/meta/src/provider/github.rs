//! GitHub Actions, and the services that set the same variables.
//!
//! Variables: <https://docs.github.com/en/actions/reference/workflows-and-actions/variables>; payloads:
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads>.

use jiff::Timestamp;
use serde_json::Value;

use super::Read;
use crate::event::{Event, GitRef, Repository};

/// What started a job of GitHub Actions.
pub(super) fn event(read: &Read<'_>, payload: &Value, head: bool) -> Event {
    let name = read.owned("GITHUB_EVENT_NAME");
    let mut git_ref = GitRef::parse(read.text("GITHUB_REF").unwrap_or_default());
    // Such a job runs on the branch that the pull request goes to.
    if name.contains("pull_request_target")
        && let Some(number) = payload["number"].as_u64()
    {
        git_ref = GitRef::PullRequest(number.to_string());
    }
    let request = &payload["pull_request"];
    let mut commit = read.owned("GITHUB_SHA");
    if head
        && name.contains("pull_request")
        && let Some(sha) = request["head"]["sha"].as_str()
    {
        commit = sha.to_owned();
    }
    let base = match git_ref {
        GitRef::Tag(_) => payload["base_ref"]
            .as_str()
            .map(|base| base.strip_prefix("refs/heads/").unwrap_or(base)),
        _ => request["base"]["ref"].as_str(),
    };
    Event {
        commit_time: commit_time(payload, &commit),
        base: base.map(str::to_owned),
        repository: repository(read, payload),
        name,
        git_ref,
        commit,
        on_any_branch: false,
    }
}

/// As [`event`], for Forgejo and Gitea: a pull request's reference ends in `head`.
pub(super) fn compatible_event(read: &Read<'_>, payload: &Value, head: bool) -> Event {
    let mut event = event(read, payload, head);
    if let GitRef::PullRequest(request) = &mut event.git_ref
        && let Some(number) = request.strip_suffix("/head")
    {
        *request = number.to_owned();
    }
    event
}

fn commit_time(payload: &Value, commit: &str) -> Option<Timestamp> {
    let pushed = payload["commits"].as_array().into_iter().flatten();
    pushed
        .chain([&payload["head_commit"]])
        .find(|entry| entry["id"].as_str().is_some_and(|id| !id.is_empty() && id == commit))
        .and_then(|entry| entry["timestamp"].as_str()?.parse().ok())
}

/// The repository of the payload. Events that come without one leave the variables.
fn repository(read: &Read<'_>, payload: &Value) -> Repository {
    let mut repository = Repository::from_json(&payload["repository"]);
    if let Some(full) = read.text("GITHUB_REPOSITORY") {
        if repository.name.is_empty() {
            repository.name = full.rsplit('/').next().unwrap_or(full).to_owned();
        }
        if repository.url.is_empty()
            && let Some(server) = read.text("GITHUB_SERVER_URL")
        {
            repository.url = format!("{}/{full}", server.trim_end_matches('/'));
        }
    }
    repository
}
