//! What a definition may do to the machine only if the user allows it: read and write outside the working directory,
//! use the SSH agent, the host's network or privileged steps.

use std::collections::BTreeSet;

use crate::functions::clean_path;
use crate::model::Target;

/// What is allowed, or what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// Steps on the host's network.
    pub network_host: bool,
    /// Privileged steps.
    pub security_insecure: bool,
    /// The SSH agent.
    pub ssh: bool,
    /// Output directories may lose what the build does not write.
    pub local_output_delete: bool,
    /// Paths that may be read; `*` for all.
    pub read: Vec<String>,
    /// Paths that may be written; `*` for all.
    pub write: Vec<String>,
    /// Devices that steps may use.
    pub devices: Vec<String>,
}

/// What a build would do of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// `network.host`, `security.insecure`, `device=…`.
    pub allow: Vec<String>,
    /// Paths that are read.
    pub read: Vec<String>,
    /// Paths that are written.
    pub write: Vec<String>,
    /// Whether the SSH agent is used.
    pub ssh_agent: bool,
    /// Whether an output directory may lose files.
    pub deletes: bool,
}

/// How paths are on this machine. The library itself reads none.
pub trait Paths {
    /// An absolute path without symbolic links: the part of it that exists, and the names behind that do not.
    ///
    /// # Errors
    /// Why the path cannot be followed.
    fn follow(&self, path: &str) -> Result<(String, String), String>;

    /// The working directory.
    fn working_directory(&self) -> String;
}

impl Entitlements {
    /// From the values of `--allow`.
    ///
    /// # Errors
    /// Names a value that is no entitlement.
    pub fn parse(values: &[String]) -> Result<Entitlements, String> {
        let mut all = Entitlements::default();
        for value in values {
            let (key, path) = value.split_once('=').unwrap_or((value, ""));
            match (key, value.contains('=')) {
                ("network.host", false) => all.network_host = true,
                ("security.insecure", false) => all.security_insecure = true,
                ("ssh", false) => all.ssh = true,
                ("local-output-delete" | "local.output.delete", false) => all.local_output_delete = true,
                ("fs.read", true) => all.read.push(path.to_owned()),
                ("fs.write", true) => all.write.push(path.to_owned()),
                ("fs", true) => {
                    all.read.push(path.to_owned());
                    all.write.push(path.to_owned());
                }
                ("device", _) => all.devices.push(path.to_owned()),
                // The peer accepts these, and checks nothing by them yet.
                ("image" | "image.push" | "image.load", true) => {}
                _ => return Err(format!("unknown entitlement key {key:?}")),
            }
        }
        Ok(all)
    }

    /// With what another one allows.
    pub fn merge(&mut self, other: &Entitlements) {
        self.network_host |= other.network_host;
        self.security_insecure |= other.security_insecure;
        self.ssh |= other.ssh;
        self.local_output_delete |= other.local_output_delete;
        self.read.extend(other.read.iter().cloned());
        self.write.extend(other.write.iter().cloned());
        self.devices.extend(other.devices.iter().cloned());
    }

    /// What is needed and not allowed.
    ///
    /// # Errors
    /// A path that cannot be followed.
    pub fn missing(&self, needs: &Needs, paths: &dyn Paths) -> Result<Entitlements, String> {
        let needs_allow = |name: &str| needs.allow.iter().any(|allow| allow == name);
        let devices = needs.allow.iter().filter_map(|allow| {
            let device = allow
                .strip_prefix("device=")
                .or_else(|| (allow == "device").then_some("*"))?;
            let allowed = self
                .devices
                .iter()
                .any(|known| known.is_empty() || known == "*" || known == device);
            (!allowed).then(|| device.to_owned())
        });
        Ok(Entitlements {
            network_host: needs_allow("network.host") && !self.network_host,
            security_insecure: needs_allow("security.insecure") && !self.security_insecure,
            ssh: needs.ssh_agent && !self.ssh,
            local_output_delete: needs.deletes && !self.local_output_delete,
            read: missing_paths(&self.read, &needs.read, paths)?,
            write: missing_paths(&self.write, &needs.write, paths)?,
            devices: devices.collect(),
        })
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Entitlements::default()
    }

    /// What each entitlement allows, and the flag that grants it.
    pub fn explained(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut add = |what: String, flag: String| all.push((what, format!("--allow={flag}")));
        if self.network_host {
            add("steps that can use the host's network".into(), "network.host".into());
        }
        if self.security_insecure {
            add(
                "privileged steps that can change the system".into(),
                "security.insecure".into(),
            );
        }
        for device in &self.devices {
            add(
                format!("steps that can use the device {device}"),
                format!("device={device}"),
            );
        }
        if self.ssh {
            add("the default SSH agent".into(), "ssh".into());
        }
        if self.local_output_delete {
            add(
                "deleting files in an output directory".into(),
                "local-output-delete".into(),
            );
        }
        let (read, write, both) = group_same_paths(&self.read, &self.write);
        for path in both {
            add(format!("reading and writing {path}"), format!("fs={path}"));
        }
        for path in read {
            add(format!("reading {path}"), format!("fs.read={path}"));
        }
        for path in write {
            add(format!("writing {path}"), format!("fs.write={path}"));
        }
        all
    }
}

impl Needs {
    /// What a resolved target needs. `local` are the paths of its contexts and its Dockerfile.
    pub fn of(target: &Target, local: impl IntoIterator<Item = String>) -> Needs {
        let mut needs = Needs {
            allow: target.entitlements.clone().unwrap_or_default(),
            read: local.into_iter().collect(),
            ..Needs::default()
        };
        for output in target.outputs.iter().flatten() {
            if !output.destination.is_empty() && output.destination != "-" {
                needs.write.push(output.destination.clone());
            }
            needs.deletes |=
                output.kind == "local" && output.attributes.get("mode").is_some_and(|mode| mode == "delete");
        }
        let local = |kind: &str| kind == "local";
        let caches = target.cache_to.iter().flatten().filter(|cache| local(&cache.kind));
        needs
            .write
            .extend(caches.filter_map(|cache| cache.attributes.get("dest").cloned()));
        let caches = target.cache_from.iter().flatten().filter(|cache| local(&cache.kind));
        needs
            .read
            .extend(caches.filter_map(|cache| cache.attributes.get("src").cloned()));
        let secrets = target.secrets.iter().flatten().map(|secret| secret.path.clone());
        needs.read.extend(secrets.filter(|path| !path.is_empty()));
        for ssh in target.ssh.iter().flatten() {
            needs.read.extend(ssh.paths.iter().cloned());
            needs.ssh_agent |= ssh.paths.is_empty();
        }
        needs
    }
}

fn is_within(path: &str, parent: &str) -> bool {
    path == parent || parent == "/" || path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'))
}

fn missing_paths(allowed: &[String], needed: &[String], paths: &dyn Paths) -> Result<Vec<String>, String> {
    if allowed.iter().any(|path| path == "*") || needed.is_empty() {
        return Ok(Vec::new());
    }
    let working = paths.working_directory();
    let absolute = |path: &str| {
        if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("{working}/{path}")
        }
    };
    let mut real_allowed = Vec::new();
    for path in allowed {
        let (existing, rest) = paths.follow(&absolute(path))?;
        real_allowed.push(clean_path(&format!("{existing}/{rest}")));
    }
    let mut missing = BTreeSet::new();
    for path in needed {
        // To make what does not exist is to write the directory that does.
        let (existing, _) = paths.follow(&absolute(path))?;
        if !real_allowed.iter().any(|parent| is_within(&existing, parent)) {
            missing.insert(existing);
        }
    }
    Ok(dedupe_paths(missing))
}

/// Without paths that lie in others.
pub fn dedupe_paths(paths: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut cleaned: Vec<String> = paths.into_iter().map(|path| clean_path(&path)).collect();
    cleaned.sort_by_key(|path| (path.len(), path.clone()));
    let mut kept: Vec<String> = Vec::new();
    for path in cleaned {
        if !kept.iter().any(|parent| is_within(&path, parent)) {
            kept.push(path);
        }
    }
    kept.sort();
    kept
}

/// What is only in the first, only in the second, and in both.
pub fn group_same_paths(one: &[String], two: &[String]) -> (Vec<String>, Vec<String>, Vec<String>) {
    let ones: BTreeSet<&String> = one.iter().collect();
    let twos: BTreeSet<&String> = two.iter().collect();
    let owned = |paths: Vec<&&String>| paths.into_iter().map(|path| (*path).clone()).collect();
    (
        owned(ones.difference(&twos).collect()),
        owned(twos.difference(&ones).collect()),
        owned(ones.intersection(&twos).collect()),
    )
}
