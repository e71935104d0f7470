//! A build and its place in the history.

use std::collections::BTreeSet;
use std::sync::Arc;

use kiln_graph::EventSink;
use kiln_store::Store;

use crate::build::{BuildRequest, Published};
use crate::command_error::{CommandError, ErrorKind, chain};
use crate::history::record::{ResultRecord, Status};
use crate::history::{Ending, Recorder, RequestSummary};
use crate::output;
use crate::render::explain;

/// A build that is recorded, or an answer that is not worth it.
pub struct Recording {
    store: Store,
    shown: Arc<dyn EventSink>,
    recorder: Option<Recorder>,
}

impl Recording {
    /// Begins. A build that cannot be recorded is built all the same.
    pub fn begin(request: Option<RequestSummary>, store: &Store, shown: Arc<dyn EventSink>) -> Recording {
        let begun = |request| match Recorder::begin(store, request, shown.clone()) {
            Ok(recorder) => Some(recorder),
            Err(error) => {
                let causes = chain(&error).join(": ");
                output::talk(&format!("warning: this build will not be in the history: {causes}"));
                None
            }
        };
        Recording {
            store: store.clone(),
            recorder: request.and_then(begun),
            shown,
        }
    }

    /// Where events go.
    pub fn sink(&self) -> Arc<dyn EventSink> {
        self.recorder
            .as_ref()
            .map_or_else(|| self.shown.clone(), Recorder::sink)
    }

    /// Keeps what came of it, and explains it if that is wanted.
    pub fn finish(self, result: Result<Vec<&Published>, &CommandError>, is_explained: bool) {
        let Some(recorder) = self.recorder else { return };
        let ending = match result {
            Ok(published) => Ending {
                status: Status::Done,
                error: Vec::new(),
                results: published.into_iter().map(result_of).collect(),
            },
            Err(error) => Ending {
                status: if error.kind == ErrorKind::Interrupted {
                    Status::Cancelled
                } else {
                    Status::Failed
                },
                error: error.messages.clone(),
                results: Vec::new(),
            },
        };
        if let Some(record) = recorder.finish(&self.store, ending).filter(|_| is_explained) {
            let steps: Vec<_> = record.instructions().collect();
            explain::lines(&record, &steps)
                .iter()
                .for_each(|line| output::talk(line));
        }
    }
}

fn result_of(published: &Published) -> ResultRecord {
    ResultRecord {
        digest: published.descriptor.digest.clone(),
        names: published.names.iter().map(ToString::to_string).collect(),
    }
}

/// What was asked for, of one Dockerfile or of several.
pub fn summary(context: &str, requests: &[&BuildRequest]) -> RequestSummary {
    let mut platforms = Vec::new();
    let mut arguments = BTreeSet::new();
    for request in requests {
        for platform in &request.plan.platforms {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        arguments.extend(request.plan.build_args.keys().cloned());
    }
    let files: BTreeSet<String> = requests
        .iter()
        .map(|request| request.plan.file.display().to_string())
        .collect();
    let targets: Vec<String> = requests
        .iter()
        .filter_map(|request| request.plan.target.clone())
        .collect();
    let tags = requests.iter().flat_map(|request| &request.tags);
    RequestSummary {
        context: kiln_solver::key::without_password(context),
        file: files.into_iter().collect::<Vec<_>>().join(", "),
        target: (!targets.is_empty()).then(|| targets.join(", ")),
        platforms,
        names: tags.map(ToString::to_string).collect(),
        arguments: arguments.into_iter().collect(),
    }
}
