//! Buildkite. Variables: <https://buildkite.com/docs/pipelines/configure/environment-variables>.

use super::{Read, repository_of_remote};
use crate::event::{Event, GitRef, Repository};

/// What started a job of Buildkite.
pub(super) fn event(read: &Read<'_>) -> Event {
    let request = read
        .text("BUILDKITE_PULL_REQUEST")
        .filter(|request| *request != "false");
    let git_ref = match (read.text("BUILDKITE_TAG"), request, read.text("BUILDKITE_BRANCH")) {
        (Some(tag), _, _) => GitRef::Tag(tag.to_owned()),
        (None, Some(request), _) => GitRef::PullRequest(request.to_owned()),
        (None, None, Some(branch)) => GitRef::Branch(branch.to_owned()),
        (None, None, None) => GitRef::default(),
    };
    let name = match read.text("BUILDKITE_SOURCE").unwrap_or("webhook") {
        "webhook" if request.is_some() => "pull_request",
        "webhook" => "push",
        "ui" => "workflow_dispatch",
        other => other,
    };
    // A build that somebody starts by hand is of `HEAD`: which commit that is, the checkout knows.
    let commit = read.text("BUILDKITE_COMMIT").filter(|commit| *commit != "HEAD");
    Event {
        name: name.to_owned(),
        git_ref,
        commit: commit.unwrap_or_default().to_owned(),
        commit_time: None,
        base: read.optional("BUILDKITE_PULL_REQUEST_BASE_BRANCH"),
        repository: Repository {
            default_branch: read.optional("BUILDKITE_PIPELINE_DEFAULT_BRANCH"),
            ..repository_of_remote(read.text("BUILDKITE_REPO").unwrap_or_default())
        },
        on_any_branch: true,
    }
}
