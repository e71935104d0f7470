//! A layer that was made once, put on the root of another platform, if it holds to its promise.

use std::io::Read;

use kiln_solver::{Input, Root};
use kiln_store::LayerId;
use kiln_store::index::EntryKind;

use crate::WorkerError;
use crate::destination::shown;
use crate::layers::{Layers, blocking};

/// The first root, and on it the topmost layer of the second. A program for one processor is refused: such a layer is not
/// the same for all, whatever its author said.
pub(crate) async fn graft(layers: &Layers, inputs: &[Input]) -> Result<Root, WorkerError> {
    let root = |at: usize| match inputs.get(at) {
        Some(Input::Root(root)) => root.clone(),
        _ => Root::from(Vec::new()),
    };
    let (base, made) = (root(0), root(1));
    let Some(layer) = made.last() else { return Ok(base) };
    if let Some((path, machine)) = first_program(layers, layer).await? {
        return Err(WorkerError::NotForAll { path, machine });
    }
    Ok(base.iter().chain([layer]).cloned().collect())
}

/// The first file of a layer that is for one processor, and for which.
async fn first_program(layers: &Layers, layer: &LayerId) -> Result<Option<(String, String)>, WorkerError> {
    let index = layers.index(layer).await?;
    let directory = layers.open_tree(layer).await?;
    let found = blocking(move || {
        let files = index.entries.iter().filter(|entry| match entry.kind {
            EntryKind::File { size, .. } => size >= HEADER as u64,
            _ => false,
        });
        for entry in files {
            let mut header = Vec::with_capacity(HEADER);
            let file = kiln_image::plan::open_below(&directory, &entry.path);
            let read = file.and_then(|file| file.take(HEADER as u64).read_to_end(&mut header));
            read.map_err(|source| WorkerError::Io {
                operation: "read",
                path: shown(&entry.path).into(),
                source,
            })?;
            if let Some(machine) = machine_of(&header) {
                return Ok(Some((shown(&entry.path), machine)));
            }
        }
        Ok(None)
    });
    found.await
}

/// Bytes up to and with `e_machine`.
const HEADER: usize = 20;

/// The processor of an ELF file by its first bytes: System V ABI, chapter 4. Programs for the kernel's own machine (BPF)
/// run on every processor of the same byte order, and are nobody's alone.
fn machine_of(header: &[u8]) -> Option<String> {
    const BIG_ENDIAN: u8 = 2;
    const NONE: u16 = 0;
    const BPF: u16 = 247;
    let header: &[u8; HEADER] = header.try_into().ok()?;
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let bytes = [header[18], header[19]];
    let machine = if header[5] == BIG_ENDIAN {
        u16::from_be_bytes(bytes)
    } else {
        u16::from_le_bytes(bytes)
    };
    match machine {
        NONE | BPF => None,
        3 => Some("386".into()),
        8 => Some("mips".into()),
        21 => Some("ppc64".into()),
        22 => Some("s390x".into()),
        40 => Some("arm".into()),
        62 => Some("amd64".into()),
        183 => Some("arm64".into()),
        243 => Some("riscv64".into()),
        258 => Some("loong64".into()),
        other => Some(format!("ELF machine {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_from_what_runs_anywhere() {
        let header = |order: u8, machine: [u8; 2]| {
            let mut bytes = b"\x7fELF\x02".to_vec();
            bytes.push(order);
            bytes.resize(18, 0);
            bytes.extend(machine);
            machine_of(&bytes)
        };
        assert_eq!(header(1, [183, 0]).as_deref(), Some("arm64"));
        assert_eq!(header(2, [0, 22]).as_deref(), Some("s390x"));
        assert_eq!(header(1, [247, 0]), None);
        assert_eq!(machine_of(b"#!/bin/sh\necho hello, world\n"), None);
        assert_eq!(machine_of(b"\x7fELF"), None);
    }
}
