//! Platforms: `os/arch[/variant]`, as containerd's platforms library reads and normalises them.

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
        let (architecture, variant) = match (self.architecture.to_lowercase().as_str(), self.variant.to_lowercase().as_str()) {
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

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture] => Ok(Platform { os: (*os).into(), architecture: (*architecture).into(), ..Platform::default() }.normalized()),
            [os, architecture, variant] => Ok(Platform { os: (*os).into(), architecture: (*architecture).into(), variant: (*variant).into(), ..Platform::default() }.normalized()),
            _ => Err(PlatformError::Format(text.into())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}
