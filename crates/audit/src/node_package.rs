//! Node.js: what a package in `node_modules` says about the platforms that it is for.

use serde::{Deserialize, Serialize};

use crate::platform_words::{Cpu, Named, System};
use crate::target::{Libc, Target};

/// A package that is for some platforms only (npm, "package.json": `os`, `cpu`, `libc`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePackage {
    /// Its name with scope.
    #[serde(default)]
    pub name: String,
    /// Node's names of operating systems.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub os: Vec<String>,
    /// Node's names of processors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpu: Vec<String>,
    /// `glibc` or `musl`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub libc: Vec<String>,
}

/// Reads a `package.json`. None: it is broken, or for every platform.
pub fn read(text: &[u8]) -> Option<NodePackage> {
    let document: serde_json::Value = serde_json::from_slice(text).ok()?;
    let list = |name: &str| -> Vec<String> {
        let strings = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        match &document[name] {
            serde_json::Value::Array(values) => values.iter().filter_map(strings).take(32).collect(),
            value => strings(value).into_iter().collect(),
        }
    };
    let package = NodePackage {
        name: document["name"].as_str()?.to_owned(),
        os: list("os"),
        cpu: list("cpu"),
        libc: list("libc"),
    };
    (!package.cpu.is_empty() && !package.cpu.iter().all(|cpu| cpu.starts_with('!'))).then_some(package)
}

impl NodePackage {
    /// Whether it is for one platform among others and not, say, only for everything but Windows.
    pub fn is_for_one_platform(&self) -> bool {
        self.cpu.len() == 1 && self.os.len() == 1
    }

    /// Whether it is for Linux at all.
    pub fn is_for_linux(&self) -> bool {
        self.os.is_empty() || self.os.iter().any(|os| Named::of(os).system == Some(System::Linux))
    }

    /// Why it does not belong on a platform.
    pub fn mismatch(&self, target: &Target, libc: Option<Libc>) -> Option<String> {
        let cpu = |name: &String| match name.as_str() {
            "ppc64" => matches!(target.cpu, Cpu::Ppc64 | Cpu::Ppc64le),
            name => Named::of(name).cpu == Some(target.cpu),
        };
        if !self.is_for_linux() || !self.cpu.iter().any(cpu) {
            let os = self.os.join("|");
            let cpu = self.cpu.join("|");
            return Some(format!(
                "the package `{}` is for {os} {cpu}, and the platform is {}",
                self.name, target.platform
            ));
        }
        let libc = libc?;
        // Packages older than the field say it in their name alone.
        let named = Named::of(&self.name);
        let wanted = match self.libc.first() {
            Some(name) => Named::of(name).libc,
            None if self.name.contains("linuxmusl") => Some(Libc::Musl),
            None => named.libc,
        };
        (wanted.is_some() && wanted != Some(libc)).then(|| {
            format!(
                "the package `{}` is for another C library than the image's {}",
                self.name,
                libc.name()
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_compared_with_the_platform() {
        let text = br#"{"name": "@esbuild/linux-x64", "os": ["linux"], "cpu": ["x64"]}"#;
        let package = read(text).expect("a platform package");
        let target = |text: &str| Target::of(&text.parse().expect(text)).expect(text);
        assert_eq!(package.mismatch(&target("linux/amd64"), Some(Libc::Musl)), None);
        assert!(package.mismatch(&target("linux/arm64"), None).is_some());
        let text = br#"{"name": "@rollup/rollup-linux-x64-gnu", "os": ["linux"], "cpu": ["x64"], "libc": ["glibc"]}"#;
        let package = read(text).expect("a platform package");
        assert!(package.mismatch(&target("linux/amd64"), Some(Libc::Musl)).is_some());
        assert_eq!(read(br#"{"name": "left-pad"}"#), None);
        assert_eq!(read(br#"{"name": "x", "cpu": ["!arm"]}"#), None);
        assert_eq!(read(b"{"), None);
    }
}
