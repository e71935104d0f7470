//! What the platforms of a build had in common: runs and bytes that one platform spared another.

use std::collections::{BTreeSet, HashMap};

use kiln_graph::{Event, Outcome, Shared, VertexId};
use kiln_oci::{Digest, Platform};

/// Folds events into what was shared.
#[derive(Debug, Default)]
pub struct Sharing {
    /// How many platforms need each instruction. None needs one that stands below a layer that is made for others.
    needed: HashMap<VertexId, u64>,
    /// Runs if each platform had run its own, and those that there were.
    runs: (u64, u64),
    /// New layers: bytes, and the platforms whose images have them.
    layers: HashMap<Digest, (u64, BTreeSet<Platform>)>,
}

impl Sharing {
    /// Takes one event.
    pub fn take(&mut self, event: &Event) {
        match event {
            Event::StepPlanned { vertex, meta, .. } if meta.step.is_some() => {
                self.needed.insert(vertex.clone(), meta.targets.len() as u64);
            }
            Event::StepFinished {
                vertex,
                outcome: Outcome::Done,
                ..
            } => {
                if let Some(platforms) = self.needed.remove(vertex) {
                    self.runs.0 += platforms;
                    self.runs.1 += 1;
                }
            }
            Event::PlatformFinished { platform, contents, .. } => {
                for layer in contents.iter().filter(|layer| !layer.base) {
                    let known = self.layers.entry(layer.digest.clone()).or_default();
                    known.0 = layer.size;
                    known.1.insert(platform.clone());
                }
            }
            _ => {}
        }
    }

    /// What was shared so far.
    pub fn total(&self) -> Shared {
        let (all, ran) = self.runs;
        let mut total = Shared {
            runs: all,
            runs_saved: all.saturating_sub(ran),
            ..Shared::default()
        };
        for (size, platforms) in self.layers.values() {
            let several = platforms.len() as u64;
            total.bytes += size * several;
            total.bytes_saved += size * several.saturating_sub(1);
        }
        total
    }
}

/// What was shared as a line for people; None: nothing was.
pub fn line(shared: &Shared, bytes: impl Fn(u64) -> String) -> Option<String> {
    let mut parts = Vec::new();
    if shared.runs_saved > 0 {
        parts.push(format!("{} of {} runs", shared.runs_saved, shared.runs));
    }
    if shared.bytes_saved > 0 {
        let (saved, all) = (bytes(shared.bytes_saved), bytes(shared.bytes));
        parts.push(format!("{saved} of {all} in new layers"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_graph::{LayerContent, VertexMeta};
    use std::time::Duration;

    fn platforms() -> Vec<Platform> {
        ["amd64", "arm64", "s390x"]
            .map(|name| Platform::linux(name, ""))
            .to_vec()
    }

    fn planned(name: &str, targets: usize) -> Event {
        Event::StepPlanned {
            vertex: VertexId(Digest::sha256(name)),
            meta: VertexMeta {
                step: Some((1, 1)),
                targets: platforms().into_iter().take(targets).collect(),
                ..VertexMeta::default()
            },
            inputs: Vec::new(),
        }
    }

    fn finished(name: &str, outcome: Outcome) -> Event {
        Event::StepFinished {
            vertex: VertexId(Digest::sha256(name)),
            outcome,
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn runs_and_bytes_count_once_for_each_platform_that_was_spared() {
        let mut sharing = Sharing::default();
        for (name, targets) in [("all", 3), ("one", 1), ("found", 3)] {
            sharing.take(&planned(name, targets));
        }
        sharing.take(&finished("all", Outcome::Done));
        sharing.take(&finished("one", Outcome::Done));
        sharing.take(&finished("found", Outcome::Cached));
        for (number, platform) in platforms().into_iter().enumerate() {
            let layer = |name: &str, size, base| LayerContent {
                digest: Digest::sha256(name),
                size,
                instruction: String::new(),
                base,
            };
            sharing.take(&Event::PlatformFinished {
                digest: Digest::sha256(platform.to_string()),
                platform,
                layers: 3,
                size: 0,
                contents: vec![
                    layer("base", 1000, true),
                    layer("same", 10, false),
                    layer(&format!("own {number}"), 5, false),
                ],
            });
        }
        let expected = Shared {
            runs: 4,
            runs_saved: 2,
            bytes: 45,
            bytes_saved: 20,
        };
        assert_eq!(sharing.total(), expected);
        let shown = line(&expected, |bytes| format!("{bytes} B"));
        assert_eq!(shown.as_deref(), Some("2 of 4 runs, 20 B of 45 B in new layers"));
        assert_eq!(line(&Shared::default(), |_| String::new()), None);
    }
}
