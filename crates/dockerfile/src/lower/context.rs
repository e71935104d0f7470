//! The build context and the named ones as vertices.

use kiln_graph::{CopyAction, FileAction, FileOp, GitSource, Graph, HttpSource, LocalSource, Op, VertexId, VertexMeta};

use crate::git::redacted;
use crate::lower::Lowerer;
use crate::plan::{BuildContext, NamedContext};

/// The name of the file that a URL gives, where nobody names it.
pub const CONTEXT_FILE: &str = "context";

/// The graph that gives the files of a remote context, with nothing left out. None: the context is a directory.
pub fn context_graph(context: &BuildContext) -> Option<(Graph, VertexId)> {
    let mut graph = Graph::new();
    let vertex = remote_files(&mut graph, context)?;
    Some((graph, vertex))
}

impl Lowerer<'_> {
    /// The files of the build context that no pattern hides.
    pub(super) fn build_context(&mut self) -> VertexId {
        let ignore = self.request.ignore.clone();
        match remote_files(&mut self.graph, &self.request.context) {
            None => self.local("context", ignore),
            Some(files) if ignore.is_empty() => files,
            Some(files) => {
                let action = CopyAction {
                    exclude: ignore,
                    ..everything(BuildContext::NAME)
                };
                root_of(
                    &mut self.graph,
                    files,
                    action,
                    None,
                    "build context without what is ignored",
                )
            }
        }
    }

    /// Whether the files of the build context have times that count.
    pub(super) fn context_keeps_times(&self) -> bool {
        matches!(&self.request.context, BuildContext::Git(git) if git.commit_times)
    }

    pub(super) fn local(&mut self, name: &str, ignore: Vec<String>) -> VertexId {
        let meta = VertexMeta {
            name: format!("context {name}"),
            ..VertexMeta::default()
        };
        self.graph.add(
            Op::Local(LocalSource {
                name: name.to_owned(),
                ignore,
            }),
            vec![],
            meta,
        )
    }

    /// Everything of a context as the root of a stage.
    pub(super) fn root_of_context(&mut self, name: &str, context: &NamedContext, files: VertexId) -> VertexId {
        let action = CopyAction {
            // A file from a URL has the time that the server says; a checkout one only if it is the commit's.
            keep_times: match context {
                NamedContext::Http(_) | NamedContext::Archive { .. } => true,
                NamedContext::Git(git) => git.commit_times,
                _ => false,
            },
            ..everything(name)
        };
        let epoch = self.request.epoch();
        root_of(&mut self.graph, files, action, epoch, &format!("FROM {name}"))
    }

    pub(super) fn scratch(&mut self) -> VertexId {
        scratch(&mut self.graph)
    }

    pub(super) fn http(&mut self, source: HttpSource) -> VertexId {
        http(&mut self.graph, source)
    }

    /// The files in a directory of an archive.
    pub(super) fn archive(&mut self, url: &str, directory: &str) -> VertexId {
        archive(&mut self.graph, &file_at(url), directory)
    }

    pub(super) fn git(&mut self, source: GitSource) -> VertexId {
        git(&mut self.graph, source)
    }
}

fn remote_files(graph: &mut Graph, context: &BuildContext) -> Option<VertexId> {
    match context {
        BuildContext::Local => None,
        BuildContext::Git(source) => Some(git(graph, source.clone())),
        BuildContext::Http {
            source, archive: false, ..
        } => Some(http(graph, source.clone())),
        BuildContext::Http {
            source,
            archive: true,
            directory,
        } => Some(archive(graph, source, directory.as_deref().unwrap_or_default())),
    }
}

/// What a URL gives, under the name that it has where nobody names it.
pub fn file_at(url: &str) -> HttpSource {
    HttpSource {
        url: url.to_owned(),
        checksum: None,
        filename: CONTEXT_FILE.to_owned(),
    }
}

fn archive(graph: &mut Graph, source: &HttpSource, directory: &str) -> VertexId {
    let url = redacted(&source.url);
    let file = http(graph, source.clone());
    let action = CopyAction {
        source: source.filename.clone(),
        unpack: true,
        unpack_required: true,
        ..everything(&url)
    };
    let files = root_of(graph, file, action, None, &format!("unpack {url}"));
    if directory.is_empty() {
        return files;
    }
    let action = CopyAction {
        source: directory.to_owned(),
        allow_empty: false,
        ..everything(directory)
    };
    root_of(graph, files, action, None, &format!("{directory} of {url}"))
}

fn scratch(graph: &mut Graph) -> VertexId {
    let meta = VertexMeta {
        name: "FROM scratch".into(),
        ..VertexMeta::default()
    };
    graph.add(Op::Scratch, vec![], meta)
}

fn http(graph: &mut Graph, source: HttpSource) -> VertexId {
    let url = redacted(&source.url);
    let meta = VertexMeta {
        slot: format!("http {url}"),
        name: url,
        ..VertexMeta::default()
    };
    graph.add(Op::Http(source), vec![], meta)
}

fn git(graph: &mut Graph, source: GitSource) -> VertexId {
    let mut name = format!("git {}", redacted(&source.remote));
    for (mark, part) in [('#', &source.reference), (':', &source.subdirectory)] {
        if let Some(part) = part {
            name.push(mark);
            name.push_str(part);
        }
    }
    let meta = VertexMeta {
        slot: name.clone(),
        name,
        ..VertexMeta::default()
    };
    graph.add(Op::Git(source), vec![], meta)
}

/// A root that holds what `action` takes of `files`.
fn root_of(graph: &mut Graph, files: VertexId, action: CopyAction, epoch: Option<i64>, name: &str) -> VertexId {
    let scratch = scratch(graph);
    let meta = VertexMeta {
        name: name.to_owned(),
        slot: format!("context {name}"),
        ..VertexMeta::default()
    };
    let actions = vec![FileAction::Copy(action)];
    graph.add(Op::File(FileOp { actions, epoch }), vec![scratch, files], meta)
}

/// All files of input 1, as they are.
fn everything(written: &str) -> CopyAction {
    CopyAction {
        keep_times: true,
        written: written.to_owned(),
        ..CopyAction::contents(1, "")
    }
}
