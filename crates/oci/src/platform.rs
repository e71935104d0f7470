//! Platforms: `os/arch[/variant]`, as containerd's platforms library reads and normalises them.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on. Values made by parsing are normalised; values from documents are as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// CPU architecture, in Go's spelling.
    pub architecture: String,
    /// Operating system, in Go's spelling.
    pub os: String,
    /// Version of the operating system (Windows).
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Required features of the operating system.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Variant of the architecture, such as `v7`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// Not `os/arch[/variant]`.
    #[error("`{0}` is not of the form os/arch[/variant]")]
    Format(String),
    /// A part is no known operating system or architecture.
    #[error("`{0}` is not a known operating system or architecture")]
    Unknown(String),
}

impl Platform {
    /// A Linux platform, normalised.
    pub fn linux(architecture: &str, variant: &str) -> Platform {
        Platform {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.into(),
            ..Platform::default()
        }
        .normalized()
    }

    /// The platform of the machine that this program was compiled for.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform::linux(architecture, "")
    }

    /// The canonical spelling: `aarch64` → `arm64`, `arm64/v8` → `arm64`, `arm` → `arm/v7`.
    pub fn normalized(mut self) -> Platform {
        self.os = self.os.to_lowercase();
        let (architecture, variant) = match (
            self.architecture.to_lowercase().as_str(),
            self.variant.to_lowercase().as_str(),
        ) {
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", String::new()),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", String::new()),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant.to_owned()),
            ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", String::new()),
            ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9".to_owned()),
            ("aarch64" | "arm64", variant) => ("arm64", variant.to_owned()),
            ("armhf", _) => ("arm", "v7".to_owned()),
            ("armel", _) => ("arm", "v6".to_owned()),
            ("arm", "" | "7") => ("arm", "v7".to_owned()),
            ("arm", variant @ ("5" | "6" | "8")) => ("arm", format!("v{variant}")),
            (other, variant) => {
                self.architecture = other.to_owned();
                self.variant = variant.to_owned();
                return self;
            }
        };
        self.architecture = architecture.to_owned();
        self.variant = variant;
        self
    }
}

/// Operating systems, in Go's spelling.
const SYSTEMS: [&str; 16] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];

/// Architectures, in Go's spelling.
const ARCHITECTURES: [&str; 27] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "mips64el",
    "mipsel",
    "unknown",
];

impl FromStr for Platform {
    type Err = PlatformError;

    /// Reads what people write: `linux/arm64`, `arm64`, `linux/arm/v7`, `linux`. The operating system may carry a
    /// version and features: `windows(10.0.17763+win32k)/amd64`; `%` escapes what would end them.
    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let format = || PlatformError::Format(text.to_owned());
        if let Some((os, qualifiers, rest)) = qualified(text) {
            let (os_version, os_features) = parse_qualifiers(qualifiers).ok_or_else(format)?;
            let platform: Platform = format!("{os}{rest}").parse().map_err(|_| format())?;
            return Ok(Platform {
                os_version,
                os_features,
                ..platform
            });
        }
        let word = |part: &&str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(word) {
            return Err(format());
        }
        let host = Platform::host();
        let part = |os: &str, architecture: &str, variant: &str| {
            Platform {
                os: os.into(),
                architecture: architecture.into(),
                variant: variant.into(),
                ..Platform::default()
            }
            .normalized()
        };
        match parts.as_slice() {
            [one] => {
                let platform = part("linux", one, "");
                if ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    return Ok(Platform {
                        os: host.os,
                        ..platform
                    });
                }
                let os = normal_os(one);
                if SYSTEMS.contains(&os.as_str()) {
                    return Ok(Platform { os, ..host });
                }
                Err(PlatformError::Unknown((*one).to_owned()))
            }
            [os, architecture] => Ok(part(&normal_os(os), architecture, "")),
            [os, architecture, variant] => Ok(part(&normal_os(os), architecture, variant)),
            _ => Err(format()),
        }
    }
}

/// `os(qualifiers)rest` in its three parts.
fn qualified(text: &str) -> Option<(&str, &str, &str)> {
    let (os, behind) = text.split_once('(')?;
    let (qualifiers, rest) = behind.split_once(')')?;
    Some((os, qualifiers, rest))
}

/// `version+feature+feature`, any of them absent. None: not of this form.
fn parse_qualifiers(text: &str) -> Option<(String, Vec<String>)> {
    let mut parts = text.split('+').map(unescaped);
    let version = parts.next()??;
    let features = parts
        .map(|feature| feature.filter(|feature| !feature.is_empty()))
        .collect::<Option<Vec<String>>>()?;
    Some((version, features))
}

/// Percent escapes resolved. None: a letter that may not stand here, or a malformed escape.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        match first {
            b'%' => {
                let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &behind[2..];
            }
            letter if letter.is_ascii_alphanumeric() || b"_.-".contains(&letter) => {
                bytes.push(letter);
                rest = behind;
            }
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

fn escaped(text: &str) -> String {
    let letter = |byte: u8| match byte {
        plain if plain.is_ascii_alphanumeric() || b"_.-".contains(&plain) => char::from(plain).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(letter).collect()
}

fn normal_os(os: &str) -> String {
    match os.to_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        other => other.to_owned(),
    }
}

/// Chooses images for a platform: the platform itself, then what its processor runs too, best first.
#[derive(Debug, Clone)]
pub struct PlatformMatcher {
    accepted: Vec<Platform>,
}

impl PlatformMatcher {
    /// A platform and the older variants that run on it (`arm/v7` runs `arm/v6` and `arm/v5`, `arm64` runs `arm`,
    /// `amd64/v3` runs `amd64/v2`, `amd64` runs `386`).
    pub fn only(platform: &Platform) -> PlatformMatcher {
        let wanted = platform.clone().normalized();
        let other = |architecture: &str, variant: String| Platform {
            architecture: architecture.into(),
            variant,
            ..wanted.clone()
        };
        let number = |default: u32| {
            wanted
                .variant
                .trim_start_matches('v')
                .split('.')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or(default)
        };
        let arm = |from: u32| (5..=from).rev().map(|version| other("arm", format!("v{version}")));
        let mut accepted = vec![wanted.clone()];
        match wanted.architecture.as_str() {
            "amd64" => {
                accepted.extend(
                    (2..number(1))
                        .rev()
                        .map(|version| other("amd64", format!("v{version}"))),
                );
                accepted.push(other("amd64", String::new()));
                accepted.push(other("386", String::new()));
            }
            "arm" => accepted.extend(arm(number(7).saturating_sub(1))),
            "arm64" => {
                accepted.push(other("arm64", String::new()));
                accepted.extend(arm(8));
            }
            _ => {}
        }
        PlatformMatcher { accepted }
    }

    /// The best of several candidates.
    pub fn best<'a, T>(&self, candidates: impl Iterator<Item = (&'a Platform, T)>) -> Option<T> {
        candidates
            .filter_map(|(platform, value)| Some((self.rank(platform)?, value)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, value)| value)
    }

    /// Whether images of a platform can be taken.
    pub fn accepts(&self, platform: &Platform) -> bool {
        self.rank(platform).is_some()
    }

    /// The smaller, the better: first what the processor prefers, then what uses most of the wanted features.
    fn rank(&self, platform: &Platform) -> Option<(usize, Reverse<usize>)> {
        let platform = platform.clone().normalized();
        let position = self.accepted.iter().position(|accepted| {
            let same = (&accepted.os, &accepted.architecture, &accepted.variant)
                == (&platform.os, &platform.architecture, &platform.variant);
            same && offers_features(accepted, &platform) && offers_version(accepted, &platform)
        })?;
        Some((position, Reverse(platform.os_features.len())))
    }
}

/// Whether every feature that an image needs is wanted. Windows images name features that every Windows has.
fn offers_features(wanted: &Platform, image: &Platform) -> bool {
    image.os == "windows"
        || image
            .os_features
            .iter()
            .all(|feature| wanted.os_features.contains(feature))
}

/// Windows images run on their own build of Windows: the first three numbers of the version.
fn offers_version(wanted: &Platform, image: &Platform) -> bool {
    let open = wanted.os != "windows" || wanted.os_version.is_empty() || image.os_version.is_empty();
    let build = |version: &str| version.split('.').take(3).map(str::to_owned).collect::<Vec<String>>();
    open || build(&wanted.os_version) == build(&image.os_version)
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if !self.os_version.is_empty() || !self.os_features.is_empty() {
            let mut features = self.os_features.clone();
            features.sort();
            let features: String = features
                .iter()
                .map(|feature| format!("+{}", escaped(feature)))
                .collect();
            write!(f, "({}{features})", escaped(&self.os_version))?;
        }
        write!(f, "/{}", self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_normalised() {
        let table = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("macos/arm64", "darwin/arm64"),
            ("linux/i386", "linux/386"),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Platform>().expect(text).to_string(), expected);
        }
        assert_eq!(
            "arm64".parse::<Platform>().expect("an architecture").architecture,
            "arm64"
        );
        for bad in [
            "",
            "linux/",
            "a/b/c/d",
            "nonsense",
            "li nux/amd64",
            "linux(+)/amd64",
            "linux(%4)/amd64",
            "linux(a/amd64",
        ] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_and_features_of_the_system_are_kept() {
        let text = "windows(10.0.17763%2Bbuild.42+win32k)/amd64";
        let platform: Platform = text.parse().expect(text);
        assert_eq!(platform.os_version, "10.0.17763+build.42");
        assert_eq!(platform.os_features, ["win32k"]);
        assert_eq!(platform.to_string(), text);
        let matcher = PlatformMatcher::only(&"windows(10.0.17763.1)/amd64".parse().expect("valid"));
        assert!(matcher.accepts(&"windows(10.0.17763.99)/amd64".parse().expect("valid")));
        assert!(!matcher.accepts(&"windows(10.0.20348.1)/amd64".parse().expect("valid")));
        assert!(
            !PlatformMatcher::only(&Platform::linux("amd64", "")).accepts(&"linux(+gpu)/amd64".parse().expect("valid"))
        );
    }

    #[test]
    fn the_nearest_platform_is_chosen() {
        let platforms: Vec<Platform> = ["linux/arm/v5", "linux/arm/v6", "linux/386", "linux/amd64"]
            .iter()
            .map(|text| text.parse().expect(text))
            .collect();
        let best = |wanted: &str| {
            let matcher = PlatformMatcher::only(&wanted.parse().expect(wanted));
            matcher.best(platforms.iter().map(|platform| (platform, platform.to_string())))
        };
        assert_eq!(best("linux/arm/v7").as_deref(), Some("linux/arm/v6"));
        assert_eq!(best("linux/amd64/v3").as_deref(), Some("linux/amd64"));
        assert_eq!(best("linux/arm/v5").as_deref(), Some("linux/arm/v5"));
        assert_eq!(best("linux/s390x"), None);
    }
}
