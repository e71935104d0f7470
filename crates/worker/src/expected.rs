//! How long steps are expected to take, by what earlier builds say.

use std::sync::Arc;
use std::time::Duration;

use kiln_graph::{Op, Vertex};
use kiln_oci::Platform;
use kiln_solver::schedule::EMULATION_FACTOR;
use kiln_store::{StepTime, Store};

use crate::WorkerError;
use crate::exec::ExecSettings;

/// Records of one step that are looked at: enough for every platform of a usual build.
const LOOKED_AT: usize = 16;

/// The times of vertices, in their order. None: nothing is known, or it is a source.
pub(crate) fn times(
    store: &Store,
    exec: &ExecSettings,
    vertices: &[Arc<Vertex>],
) -> Result<Vec<Option<Duration>>, WorkerError> {
    let time = |vertex: &Arc<Vertex>| {
        if vertex.op.is_source() || vertex.meta.slot.is_empty() {
            return Ok(None);
        }
        let known = store.step_times(&vertex.meta.slot, &vertex.meta.name, LOOKED_AT)?;
        Ok(choose(vertex, &known, &|platform| exec.is_emulated(platform)))
    };
    vertices.iter().map(time).collect()
}

/// The same instruction in the same place says most; then the same instruction elsewhere for the same platform; then for
/// another one, as much faster or slower as an emulator makes it; and last whatever stood in the place before.
fn choose(vertex: &Vertex, known: &[StepTime], is_emulated: &dyn Fn(&Platform) -> bool) -> Option<Duration> {
    let meta = &vertex.meta;
    let platform = meta.platform.as_ref().map(ToString::to_string);
    let same_name = |time: &&StepTime| time.name == meta.name;
    let in_place = |time: &&StepTime| time.slot == meta.slot;
    let exact = known
        .iter()
        .find(|time| same_name(time) && in_place(time))
        .or_else(|| known.iter().find(|time| same_name(time) && time.platform == platform));
    if let Some(time) = exact {
        return Some(time.took);
    }
    if let Some(time) = known.iter().find(same_name) {
        let emulated = |platform: &Option<String>| {
            let parsed: Option<Platform> = platform.as_deref().and_then(|platform| platform.parse().ok());
            matches!(vertex.op, Op::Exec(_)) && parsed.is_some_and(|platform| is_emulated(&platform))
        };
        return Some(match (emulated(&time.platform), emulated(&platform)) {
            (false, true) => time.took * EMULATION_FACTOR,
            (true, false) => time.took / EMULATION_FACTOR,
            _ => time.took,
        });
    }
    known.iter().find(in_place).map(|time| time.took)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_graph::{Graph, VertexMeta};

    fn vertex(name: &str, platform: &str) -> Vertex {
        let mut graph = Graph::new();
        let base = graph.add(Op::Scratch, Vec::new(), VertexMeta::default());
        let action = kiln_graph::ExecOp {
            argv: vec![name.to_owned()],
            env: Vec::new(),
            workdir: "/".into(),
            user: String::new(),
            network: kiln_graph::NetworkMode::Default,
            security: kiln_graph::SecurityMode::Sandbox,
            hostname: String::new(),
            extra_hosts: Vec::new(),
            mounts: Vec::new(),
            platform: platform.parse().expect("a platform"),
            shm_size: None,
            ulimits: Default::default(),
            cgroup_parent: None,
            resources: Default::default(),
            proxy: Vec::new(),
        };
        let meta = VertexMeta {
            name: name.to_owned(),
            slot: format!("Dockerfile app 2 {platform}"),
            platform: platform.parse().ok(),
            ..VertexMeta::default()
        };
        let id = graph.add(Op::Exec(action), vec![base], meta);
        graph.vertex(&id).expect("just added").clone()
    }

    fn time(name: &str, slot: &str, platform: &str, milliseconds: u64) -> StepTime {
        StepTime {
            slot: slot.to_owned(),
            name: name.to_owned(),
            platform: Some(platform.to_owned()),
            took: Duration::from_millis(milliseconds),
        }
    }

    #[test]
    fn the_nearest_record_says_how_long_a_step_takes() {
        let here = "Dockerfile app 2 linux/arm64";
        let chosen = |known: &[StepTime]| {
            let emulated = |platform: &Platform| platform.architecture == "arm64";
            choose(&vertex("RUN make", "linux/arm64"), known, &emulated).map(|time| time.as_millis())
        };
        let mut known = vec![time("RUN make old", here, "linux/arm64", 1)];
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&known), Some(1), "an edited step takes about as long as before");
        known.push(time("RUN make", "elsewhere", "linux/amd64", 10));
        assert_eq!(chosen(&known), Some(80), "the native time, as an emulator stretches it");
        known.push(time("RUN make", "elsewhere", "linux/arm64", 70));
        assert_eq!(chosen(&known), Some(70));
        known.push(time("RUN make", here, "linux/arm64", 60));
        assert_eq!(chosen(&known), Some(60));
    }
}
