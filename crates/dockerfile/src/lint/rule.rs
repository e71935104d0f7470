//! The rules: names, descriptions and where they are documented.

use serde::{Serialize, Serializer};

/// The closed set of rules: the peers' first, then Kiln's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described by `Rule::description`")]
pub enum Rule {
    StageNameCasing,
    FromAsCasing,
    NoEmptyContinuation,
    ConsistentInstructionCasing,
    DuplicateStageName,
    ReservedStageName,
    JsonArgsRecommended,
    MaintainerDeprecated,
    UndefinedArgInFrom,
    WorkdirRelativePath,
    UndefinedVar,
    MultipleInstructionsDisallowed,
    LegacyKeyValueFormat,
    RedundantTargetPlatform,
    SecretsUsedInArgOrEnv,
    InvalidDefaultArgInFrom,
    FromPlatformFlagConstDisallowed,
    CopyIgnoredFile,
    InvalidDefinitionDescription,
    ExposeProtoCasing,
    ExposeInvalidFormat,
    InvalidBaseImagePlatform,
    TargetArchNotDeclared,
    HostArchArtifact,
    SinglePlatformPin,
    ArchSpecificDownload,
    EmulatedHeavyStep,
    KilnExtension,
    KilnDirective,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Rule; 29] = [
        Rule::StageNameCasing,
        Rule::FromAsCasing,
        Rule::NoEmptyContinuation,
        Rule::ConsistentInstructionCasing,
        Rule::DuplicateStageName,
        Rule::ReservedStageName,
        Rule::JsonArgsRecommended,
        Rule::MaintainerDeprecated,
        Rule::UndefinedArgInFrom,
        Rule::WorkdirRelativePath,
        Rule::UndefinedVar,
        Rule::MultipleInstructionsDisallowed,
        Rule::LegacyKeyValueFormat,
        Rule::RedundantTargetPlatform,
        Rule::SecretsUsedInArgOrEnv,
        Rule::InvalidDefaultArgInFrom,
        Rule::FromPlatformFlagConstDisallowed,
        Rule::CopyIgnoredFile,
        Rule::InvalidDefinitionDescription,
        Rule::ExposeProtoCasing,
        Rule::ExposeInvalidFormat,
        Rule::InvalidBaseImagePlatform,
        Rule::TargetArchNotDeclared,
        Rule::HostArchArtifact,
        Rule::SinglePlatformPin,
        Rule::ArchSpecificDownload,
        Rule::EmulatedHeavyStep,
        Rule::KilnExtension,
        Rule::KilnDirective,
    ];

    /// The name that configuration and output know it by.
    pub fn name(self) -> &'static str {
        match self {
            Rule::StageNameCasing => "StageNameCasing",
            Rule::FromAsCasing => "FromAsCasing",
            Rule::NoEmptyContinuation => "NoEmptyContinuation",
            Rule::ConsistentInstructionCasing => "ConsistentInstructionCasing",
            Rule::DuplicateStageName => "DuplicateStageName",
            Rule::ReservedStageName => "ReservedStageName",
            Rule::JsonArgsRecommended => "JSONArgsRecommended",
            Rule::MaintainerDeprecated => "MaintainerDeprecated",
            Rule::UndefinedArgInFrom => "UndefinedArgInFrom",
            Rule::WorkdirRelativePath => "WorkdirRelativePath",
            Rule::UndefinedVar => "UndefinedVar",
            Rule::MultipleInstructionsDisallowed => "MultipleInstructionsDisallowed",
            Rule::LegacyKeyValueFormat => "LegacyKeyValueFormat",
            Rule::RedundantTargetPlatform => "RedundantTargetPlatform",
            Rule::SecretsUsedInArgOrEnv => "SecretsUsedInArgOrEnv",
            Rule::InvalidDefaultArgInFrom => "InvalidDefaultArgInFrom",
            Rule::FromPlatformFlagConstDisallowed => "FromPlatformFlagConstDisallowed",
            Rule::CopyIgnoredFile => "CopyIgnoredFile",
            Rule::InvalidDefinitionDescription => "InvalidDefinitionDescription",
            Rule::ExposeProtoCasing => "ExposeProtoCasing",
            Rule::ExposeInvalidFormat => "ExposeInvalidFormat",
            Rule::InvalidBaseImagePlatform => "InvalidBaseImagePlatform",
            Rule::TargetArchNotDeclared => "TargetArchNotDeclared",
            Rule::HostArchArtifact => "HostArchArtifact",
            Rule::SinglePlatformPin => "SinglePlatformPin",
            Rule::ArchSpecificDownload => "ArchSpecificDownload",
            Rule::EmulatedHeavyStep => "EmulatedHeavyStep",
            Rule::KilnExtension => "KilnExtension",
            Rule::KilnDirective => "KilnDirective",
        }
    }

    /// What it is about, in a line.
    pub fn description(self) -> &'static str {
        match self {
            Rule::StageNameCasing => "Stage names should be lowercase",
            Rule::FromAsCasing => "The 'as' keyword should match the case of the 'from' keyword",
            Rule::NoEmptyContinuation => "Empty continuation lines will become errors in a future release",
            Rule::ConsistentInstructionCasing => {
                "All commands within the Dockerfile should use the same casing (either upper or lower)"
            }
            Rule::DuplicateStageName => "Stage names should be unique",
            Rule::ReservedStageName => "Reserved words should not be used as stage names",
            Rule::JsonArgsRecommended => {
                "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals"
            }
            Rule::MaintainerDeprecated => {
                "The MAINTAINER instruction is deprecated, use a label instead to define an image author"
            }
            Rule::UndefinedArgInFrom => "FROM command must use declared ARGs",
            Rule::WorkdirRelativePath => {
                "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes"
            }
            Rule::UndefinedVar => "Variables should be defined before their use",
            Rule::MultipleInstructionsDisallowed => {
                "Multiple instructions of the same type should not be used in the same stage"
            }
            Rule::LegacyKeyValueFormat => "Legacy key/value format with whitespace separator should not be used",
            Rule::RedundantTargetPlatform => {
                "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
            }
            Rule::SecretsUsedInArgOrEnv => "Sensitive data should not be used in the ARG or ENV commands",
            Rule::InvalidDefaultArgInFrom => {
                "Default value for global ARG results in an empty or invalid base image name"
            }
            Rule::FromPlatformFlagConstDisallowed => "FROM --platform flag should not use a constant value",
            Rule::CopyIgnoredFile => "Attempting to Copy file that is excluded by .dockerignore",
            Rule::InvalidDefinitionDescription => {
                "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment."
            }
            Rule::ExposeProtoCasing => "Protocol in EXPOSE instruction should be lowercase",
            Rule::ExposeInvalidFormat => {
                "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release"
            }
            Rule::InvalidBaseImagePlatform => "Base image platform does not match expected target platform",
            Rule::TargetArchNotDeclared => "Platform arguments are empty in a stage that does not declare them",
            Rule::HostArchArtifact => "What a stage on the build platform makes is for the build platform's processor",
            Rule::SinglePlatformPin => "A base image is pinned to the digest of one platform",
            Rule::ArchSpecificDownload => "A download is for one processor, whatever the image is built for",
            Rule::EmulatedHeavyStep => "A heavy step runs under emulation where it need not",
            Rule::KilnExtension => "The Dockerfile relies on an extension that other builders lack",
            Rule::KilnDirective => "A `# kiln:` comment that promises nothing",
        }
    }

    /// Where it is documented.
    pub fn url(self) -> String {
        let mut kebab = String::new();
        let mut previous = 'A';
        let letters: Vec<char> = self.name().chars().collect();
        for (position, &letter) in letters.iter().enumerate() {
            let before_word = letters.get(position + 1).is_some_and(char::is_ascii_lowercase);
            if letter.is_ascii_uppercase() && position > 0 && (previous.is_ascii_lowercase() || before_word) {
                kebab.push('-');
            }
            kebab.push(letter.to_ascii_lowercase());
            previous = letter;
        }
        if self.is_of_peers() {
            format!("https://docs.docker.com/go/dockerfile/rule/{kebab}/")
        } else {
            format!("docs/lint.md#{}", self.name().to_lowercase())
        }
    }

    /// Whether it is one of the peers' rules.
    pub fn is_of_peers(self) -> bool {
        self < Rule::TargetArchNotDeclared
    }

    /// Whether it applies only if it is asked for.
    pub fn is_experimental(self) -> bool {
        self == Rule::InvalidDefinitionDescription
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_names_in_small_words() {
        let base = "https://docs.docker.com/go/dockerfile/rule";
        assert_eq!(
            Rule::JsonArgsRecommended.url(),
            format!("{base}/json-args-recommended/")
        );
        assert_eq!(
            Rule::SecretsUsedInArgOrEnv.url(),
            format!("{base}/secrets-used-in-arg-or-env/")
        );
        assert_eq!(Rule::UndefinedVar.url(), format!("{base}/undefined-var/"));
        assert_eq!(Rule::HostArchArtifact.url(), "docs/lint.md#hostarchartifact");
    }

    #[test]
    fn twenty_two_rules_are_the_peers() {
        assert_eq!(Rule::ALL.iter().filter(|rule| rule.is_of_peers()).count(), 22);
    }
}
