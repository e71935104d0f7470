//! Jenkins: the variables of multibranch pipelines (`BRANCH_NAME`, `CHANGE_ID`, `TAG_NAME`), else those of the git plugin
//! (`GIT_BRANCH`, `GIT_COMMIT`, `GIT_URL`). What the clock started is only told by the variable `BUILD_CAUSE` of the plugin
//! EnvInject.

use super::{Read, repository_of_remote};
use crate::event::{Event, GitRef, Repository};

/// What started a job of Jenkins.
pub(super) fn event(read: &Read<'_>) -> Event {
    let branch = read
        .text("BRANCH_NAME")
        .map(str::to_owned)
        .or_else(|| read.text("GIT_LOCAL_BRANCH").map(str::to_owned))
        .or_else(|| {
            // `detached` is what the git plugin calls a commit that is checked out by itself.
            let branch = read.text("GIT_BRANCH").filter(|branch| *branch != "detached");
            branch.map(without_remote)
        });
    let git_ref = match (read.text("TAG_NAME"), read.text("CHANGE_ID"), branch) {
        (Some(tag), _, _) => GitRef::Tag(tag.to_owned()),
        (None, Some(change), _) => GitRef::PullRequest(change.to_owned()),
        (None, None, Some(branch)) => match branch
            .strip_prefix("refs/tags/")
            .or_else(|| branch.strip_prefix("tags/"))
        {
            Some(tag) => GitRef::Tag(tag.to_owned()),
            None => GitRef::Branch(branch),
        },
        (None, None, None) => GitRef::default(),
    };
    let name = if read.text("CHANGE_ID").is_some() {
        "pull_request"
    } else if read
        .text("BUILD_CAUSE")
        .is_some_and(|cause| cause.contains("TIMERTRIGGER"))
    {
        "schedule"
    } else {
        "push"
    };
    let default_branch = match (&git_ref, read.text("BRANCH_IS_PRIMARY")) {
        (GitRef::Branch(branch), Some("true")) => Some(branch.clone()),
        _ => None,
    };
    Event {
        name: name.to_owned(),
        git_ref,
        commit: read.owned("GIT_COMMIT"),
        commit_time: None,
        base: read.optional("CHANGE_TARGET"),
        repository: Repository {
            default_branch,
            ..repository_of_remote(read.text("GIT_URL").unwrap_or_default())
        },
        on_any_branch: true,
    }
}

/// `origin/main` and `refs/heads/main` are `main`.
fn without_remote(branch: &str) -> String {
    let branch = branch.strip_prefix("refs/remotes/").unwrap_or(branch);
    let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
    branch.strip_prefix("origin/").unwrap_or(branch).to_owned()
}
