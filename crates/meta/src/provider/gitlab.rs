//! GitLab CI. Variables: <https://docs.gitlab.com/ci/variables/predefined_variables/>.

use super::Read;
use crate::event::{Event, GitRef, Repository};

/// What started a job of GitLab CI.
pub(super) fn event(read: &Read<'_>, head: bool) -> Event {
    let source = read.text("CI_PIPELINE_SOURCE").unwrap_or("push");
    let name = match source {
        "merge_request_event" | "external_pull_request_event" => "pull_request",
        "web" => "workflow_dispatch",
        other => other,
    };
    let request = read
        .text("CI_MERGE_REQUEST_IID")
        .or_else(|| read.text("CI_EXTERNAL_PULL_REQUEST_IID"));
    let branch = read
        .text("CI_COMMIT_BRANCH")
        .or_else(|| read.text("CI_COMMIT_REF_NAME"));
    let git_ref = match (read.text("CI_COMMIT_TAG"), request, branch) {
        (Some(tag), _, _) => GitRef::Tag(tag.to_owned()),
        (None, Some(request), _) => GitRef::PullRequest(request.to_owned()),
        (None, None, Some(branch)) => GitRef::Branch(branch.to_owned()),
        (None, None, None) => GitRef::default(),
    };
    // A pipeline of a merged result runs on a commit that no branch has.
    let source_commit = read
        .text("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA")
        .filter(|_| head)
        .or_else(|| read.text("CI_COMMIT_SHA"));
    let source_commit = source_commit.unwrap_or_default();
    let commit_time = read
        .time("CI_COMMIT_TIMESTAMP")
        .filter(|_| read.text("CI_COMMIT_SHA") == Some(source_commit));
    let base = read
        .optional("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
        .or_else(|| read.optional("CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"));
    Event {
        name: name.to_owned(),
        git_ref,
        commit: source_commit.to_owned(),
        commit_time,
        base,
        repository: Repository {
            name: read.owned("CI_PROJECT_NAME"),
            description: read.owned("CI_PROJECT_DESCRIPTION"),
            url: read.owned("CI_PROJECT_URL"),
            license: String::new(),
            default_branch: read.optional("CI_DEFAULT_BRANCH"),
        },
        on_any_branch: true,
    }
}
