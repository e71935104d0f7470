//! What others call an architecture: arguments that only Kiln knows, for downloads and cross compilers.

use kiln_oci::Platform;

/// Endings of the arguments `TARGETARCH_…` and `BUILDARCH_…`.
const SCHEMES: [&str; 5] = ["UNAME", "DEB", "RUST", "GNU", "NODE"];

/// Architecture and variant (empty for any), then its names in the order of [`SCHEMES`].
#[rustfmt::skip]
const NAMES: [(&str, &str, [&str; 5]); 13] = [
    ("amd64", "", ["x86_64", "amd64", "x86_64-unknown-linux-gnu", "x86_64-linux-gnu", "x64"]),
    ("arm64", "", ["aarch64", "arm64", "aarch64-unknown-linux-gnu", "aarch64-linux-gnu", "arm64"]),
    ("arm", "v5", ["armv5tel", "armel", "armv5te-unknown-linux-gnueabi", "arm-linux-gnueabi", "armv5l"]),
    ("arm", "v6", ["armv6l", "armhf", "arm-unknown-linux-gnueabihf", "arm-linux-gnueabihf", "armv6l"]),
    ("arm", "", ["armv7l", "armhf", "armv7-unknown-linux-gnueabihf", "arm-linux-gnueabihf", "armv7l"]),
    ("386", "", ["i686", "i386", "i686-unknown-linux-gnu", "i686-linux-gnu", "x86"]),
    ("riscv64", "", ["riscv64", "riscv64", "riscv64gc-unknown-linux-gnu", "riscv64-linux-gnu", "riscv64"]),
    ("ppc64le", "", ["ppc64le", "ppc64el", "powerpc64le-unknown-linux-gnu", "powerpc64le-linux-gnu", "ppc64le"]),
    ("s390x", "", ["s390x", "s390x", "s390x-unknown-linux-gnu", "s390x-linux-gnu", "s390x"]),
    ("loong64", "", ["loongarch64", "loong64", "loongarch64-unknown-linux-gnu", "loongarch64-linux-gnu", "loong64"]),
    ("mips64le", "", ["mips64", "mips64el", "mips64el-unknown-linux-gnuabi64", "mips64el-linux-gnuabi64", "mips64el"]),
    ("mipsle", "", ["mips", "mipsel", "mipsel-unknown-linux-gnu", "mipsel-linux-gnu", "mipsel"]),
    ("ppc64", "", ["ppc64", "ppc64", "powerpc64-unknown-linux-gnu", "powerpc64-linux-gnu", "ppc64"]),
];

/// The names of a platform's architecture: ending of the argument, and value.
pub(super) fn names(platform: &Platform) -> impl Iterator<Item = (&'static str, &'static str)> {
    let found = NAMES.iter().find(|(architecture, variant, _)| {
        *architecture == platform.architecture && (variant.is_empty() || *variant == platform.variant)
    });
    found
        .into_iter()
        .flat_map(|(_, _, names)| SCHEMES.into_iter().zip(*names))
}

/// Whether an argument is one that other builders do not know.
pub(super) fn is_extension(argument: &str) -> bool {
    let scheme = argument
        .strip_prefix("TARGETARCH_")
        .or_else(|| argument.strip_prefix("BUILDARCH_"));
    scheme.is_some_and(|scheme| SCHEMES.contains(&scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_have_the_names_that_others_give_them() {
        let of = |architecture: &str, variant: &str| -> Vec<&str> {
            names(&Platform::linux(architecture, variant))
                .map(|(_, name)| name)
                .collect()
        };
        assert_eq!(of("amd64", "")[0], "x86_64");
        assert_eq!(of("arm64", "")[..2], ["aarch64", "arm64"]);
        assert_eq!(of("arm", "v6")[2], "arm-unknown-linux-gnueabihf");
        assert_eq!(of("arm", "v7")[3], "arm-linux-gnueabihf");
        assert!(of("sparc", "").is_empty());
        assert!(is_extension("BUILDARCH_NODE") && !is_extension("TARGETARCH"));
    }
}
