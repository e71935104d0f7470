//! Finding and reading the builds of a store's history.

use kiln_graph::{Event, LogStream, VertexId};
use kiln_store::{BuildId, BuildState, Store};

use crate::command_error::{CommandError, ErrorKind};
use crate::history::record::{BuildRecord, FORMAT, Fold, JournalLine, Status};

/// The build that a text names: an id or the unambiguous beginning or end of one, `latest`, or `^1` for the one before
/// it. None is the newest.
pub fn find(store: &Store, text: Option<&str>) -> Result<BuildId, CommandError> {
    let builds = store.builds().map_err(failed)?;
    let hint = "`kiln history ls` lists the builds";
    let offset = match text {
        None | Some("latest" | "^") => Some(0),
        Some(text) => text.strip_prefix('^').and_then(|number| number.parse::<usize>().ok()),
    };
    if let Some(offset) = offset {
        let found = builds.iter().rev().nth(offset).cloned();
        return found.ok_or_else(|| match builds.len() {
            0 => CommandError::user("there is no build in the history").hint("`kiln build` makes one"),
            count => CommandError::user(format!("the history has only {count} builds")).hint(hint),
        });
    }
    let text = text.unwrap_or_default();
    let mut matching = builds.iter().filter(|id| {
        let id = id.to_string();
        !text.is_empty() && (id.starts_with(text) || id.ends_with(text))
    });
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id.clone()),
        (None, _) => Err(CommandError::user(format!("there is no build `{text}` in the history")).hint(hint)),
        (Some(_), Some(_)) => {
            Err(CommandError::user(format!("several builds begin or end with `{text}`")).hint("write more of the id"))
        }
    }
}

/// The record of a build, as far as it has come.
pub fn read(store: &Store, id: &BuildId) -> Result<BuildRecord, CommandError> {
    let gone = || CommandError::user(format!("build `{id}` is no longer in the history"));
    let state = store.build_state(id).map_err(failed)?.ok_or_else(gone)?;
    if state == BuildState::Ended {
        let bytes = store.build_record(id).map_err(failed)?.ok_or_else(gone)?;
        let record: BuildRecord = serde_json::from_slice(&bytes).map_err(|error| {
            let mut command = CommandError::from_error(ErrorKind::Environment, &error);
            command
                .messages
                .insert(0, format!("the record of build `{id}` is damaged"));
            command.hint(format!("`kiln history rm {id}` removes it"))
        })?;
        if record.format > FORMAT {
            return Err(CommandError::new(
                ErrorKind::Environment,
                format!("build `{id}` was recorded by a newer program"),
            ));
        }
        return Ok(record);
    }
    let bytes = store.build_journal(id).map_err(failed)?.ok_or_else(gone)?;
    let mut record = fold(&bytes);
    record.id = id.to_string();
    record.status = match state {
        BuildState::Running => Status::Running,
        BuildState::Interrupted | BuildState::Ended => Status::Interrupted,
    };
    Ok(record)
}

/// A record from the lines of a journal. A last line that was cut off, and lines of a newer program, are left out.
fn fold(journal: &[u8]) -> BuildRecord {
    let mut lines = journal.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let mut fold = Fold::begin(serde_json::from_slice(first).unwrap_or_default());
    for line in lines.filter_map(|line| serde_json::from_slice::<JournalLine>(line).ok()) {
        fold.take(line.at, &line.event);
    }
    fold.finish()
}

/// One piece of what a step wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// Which step.
    pub vertex: VertexId,
    /// Which stream.
    pub stream: LogStream,
    /// The text.
    pub text: String,
}

/// What the steps of a build wrote, in order.
pub fn logs(store: &Store, id: &BuildId) -> Result<Vec<LogPiece>, CommandError> {
    let bytes = store.build_journal(id).map_err(failed)?.unwrap_or_default();
    let pieces = bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let line: JournalLine = serde_json::from_slice(line).ok()?;
        match line.event {
            Event::StepLog { vertex, stream, text } => Some(LogPiece { vertex, stream, text }),
            _ => None,
        }
    });
    Ok(pieces.collect())
}

/// An error of the store's.
pub fn failed(error: kiln_store::StoreError) -> CommandError {
    CommandError::from_error(ErrorKind::Environment, &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_journal_is_read_as_far_as_it_goes() {
        let begun = BuildRecord {
            name: "app".into(),
            ..BuildRecord::default()
        };
        let warning = JournalLine {
            at: 70,
            event: Event::Warning {
                message: "careful".into(),
                hints: Vec::new(),
            },
        };
        let mut journal = serde_json::to_string(&begun).expect("serialise");
        journal.push_str("\n{\"at\":80,\"event\":{\"event\":\"of-a-newer-program\"}}\n");
        journal.push_str(&serde_json::to_string(&warning).expect("serialise"));
        journal.push_str("\n{\"at\":90,\"event\":{\"ev");
        let record = fold(journal.as_bytes());
        assert_eq!((record.name.as_str(), record.duration_ms), ("app", 70));
        assert_eq!(record.warnings[0].message, "careful");
        assert_eq!(fold(b"\xff\xfe"), BuildRecord::default());
    }
}
