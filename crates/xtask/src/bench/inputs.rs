//! The inputs of the benchmarks: the same bytes on every machine and in every run.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_testkit::{ImageLayout, Tree, on_path};
use serde_json::json;

use crate::error::XtaskError;

/// Words that files are made of: what they compress to is near to what source code does (about a third).
const WORDS: [&str; 32] = [
    "fn ", "let ", "match ", "return ", "self.", "platform", "layer", "digest", "(", ") ", "{\n    ", "}\n", " = ",
    " => ", "&", "Option<", "Result<", "image", "manifest", "config", "// ", "the ", "of a ", "entry", "path", "\n",
    "0x", "size", "use ", "::", "pub ", "struct ",
];

/// Numbers that look random and are the same everywhere (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Text of `size` bytes.
    pub(super) fn text(&mut self, size: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(size + 16);
        while text.len() < size {
            let number = self.next();
            for word in (0..10).map(|at| WORDS[(number >> (at * 5)) as usize % WORDS.len()]) {
                text.extend_from_slice(word.as_bytes());
            }
            text.extend_from_slice(format!("{:x}", number >> 52).as_bytes());
        }
        text.truncate(size);
        text
    }
}

/// A directory with a Dockerfile and `files` files of `total` bytes, 100 files in a directory. Made once.
pub(super) fn files(home: &Path, files: usize, total: u64) -> Result<PathBuf, XtaskError> {
    let context = home.join(format!("context-{files}-{total}"));
    if context.join("Dockerfile").is_file() {
        return Ok(context);
    }
    let mut numbers = Numbers::new(total ^ files as u64);
    let usual = usize::try_from(total / files.max(1) as u64).unwrap_or(0);
    for file in 0..files {
        let directory = context.join(format!("src/d{:02}/d{:02}", file / 10_000, file / 100 % 100));
        if file % 100 == 0 {
            fs::create_dir_all(&directory).map_err(failed("create", &directory))?;
        }
        // Half the usual size to one and a half of it.
        let size = usual / 2 + usize::try_from(numbers.next() % (usual as u64).max(1)).unwrap_or(0);
        let path = directory.join(format!("file-{file:06}.rs"));
        fs::write(&path, numbers.text(size)).map_err(failed("write", &path))?;
    }
    dockerfile(&context, "FROM scratch\nCOPY src /src\n")?;
    Ok(context)
}

/// A context that is nothing but a Dockerfile.
pub(super) fn only_dockerfile(home: &Path, name: &str, text: &str) -> Result<PathBuf, XtaskError> {
    let context = home.join(name);
    fs::create_dir_all(&context).map_err(failed("create", &context))?;
    dockerfile(&context, text)?;
    Ok(context)
}

/// Writes the Dockerfile of a context.
pub(super) fn dockerfile(context: &Path, text: &str) -> Result<(), XtaskError> {
    let path = context.join("Dockerfile");
    fs::write(&path, text).map_err(failed("write", &path))
}

/// A base image of `layers` layers with `total` bytes of files in all, as a layout. Made once. Its lowest layer has a shell.
pub(super) fn base(home: &Path, layers: usize, total: u64) -> Result<ImageLayout, XtaskError> {
    let directory = home.join(format!("base-{layers}-{total}"));
    if directory.join("done").is_file() {
        return Ok(ImageLayout::open(&directory));
    }
    // What is left of an interrupted run.
    let _ = fs::remove_dir_all(&directory);
    let shell = on_path("busybox").ok_or_else(|| XtaskError::Missing {
        what: "`busybox`".to_owned(),
        remedy: "install the Debian package busybox-static".to_owned(),
    })?;
    let shell = fs::read(&shell).map_err(failed("read", &shell))?;
    let fixture = |source| XtaskError::Fixture {
        what: "a base image",
        source,
    };
    let layout = ImageLayout::create(&directory).map_err(fixture)?;
    let tree = |layer: usize| {
        let mut tree = Tree::new();
        if layer == 0 {
            tree = tree
                .directory("bin", 0o755)
                .file("bin/busybox", 0o755, shell.clone())
                .symlink("bin/sh", "/bin/busybox");
        }
        let mut numbers = Numbers::new(layer as u64);
        let mut left = usize::try_from(total / layers as u64).unwrap_or(0);
        let mut file = 0;
        tree = tree.directory(&format!("layer-{layer}"), 0o755);
        // Small files and a few large ones, as in a distribution's packages.
        while left > 0 {
            let size = if file % 50 == 49 { 1 << 20 } else { 12 << 10 };
            let size = size.min(left);
            tree = tree.file(&format!("layer-{layer}/file-{file}"), 0o644, numbers.text(size));
            left -= size;
            file += 1;
        }
        tree
    };
    let config = json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]});
    let image = layout
        .add_layered_image(&host_platform(), (0..layers).map(tree), config)
        .map_err(fixture)?;
    layout
        .add_index(&[&format!("library/base:{layers}-{total}")], &[image])
        .map_err(fixture)?;
    let done = directory.join("done");
    fs::write(&done, "").map_err(failed("write", &done))?;
    Ok(layout)
}

/// This machine's platform.
pub(super) fn host_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("linux/{architecture}")
}

pub(super) fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> XtaskError + 'a {
    move |source| XtaskError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inputs_are_the_same_everywhere() {
        let text = Numbers::new(7).text(40);
        assert_eq!(text.len(), 40);
        assert_eq!(text, Numbers::new(7).text(40));
        assert_ne!(text, Numbers::new(8).text(40));
    }
}
