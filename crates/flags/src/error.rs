//! Why a value means nothing.

/// A value that cannot be read. The messages are those of the peers where they have one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// Quotes that do not pair, or stand inside of a field.
    #[error("`{0}` has a quote that is not closed or stands inside of a field")]
    Quote(String),
    /// A field without an equals sign, or one that is not known.
    #[error("invalid value {0}")]
    Field(String),
    /// A field of a secret without an equals sign.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoPair(String),
    /// A key that this flag does not have.
    #[error("unexpected key '{key}' in '{field}'")]
    Key {
        /// The key.
        key: String,
        /// The field that it stands in.
        field: String,
    },
    /// A field that is neither true nor false.
    #[error("invalid value {field}: strconv.ParseBool: parsing {value:?}: invalid syntax")]
    Boolean {
        /// The field.
        field: String,
        /// Its value.
        value: String,
    },
    /// A cache without a type.
    #[error("type required for {0:?}")]
    CacheType(String),
    /// An output without a type.
    #[error("type is required for output")]
    OutputType,
    /// An attestation without a type.
    #[error("attestation type not specified")]
    AttestationType,
    /// An attestation that is named twice.
    #[error("duplicate attestation field {0}")]
    Duplicate(String),
    /// A secret of another type than `file` and `env`.
    #[error("unsupported secret type {0:?}")]
    SecretType(String),
    /// An attribute of `--call`.
    #[error("invalid print field: {0}")]
    CallField(String),
    /// Two methods.
    #[error("invalid print value: {0}")]
    CallValue(String),
    /// `ignorestatus` that is neither true nor false.
    #[error("invalid ignorestatus print value: {0}")]
    IgnoreStatus(String),
    /// A named context without a value.
    #[error("invalid context value: {0}, expected key=value")]
    Context(String),
    /// A named context whose name is that of no image.
    #[error("invalid context name {0}")]
    ContextName(String),
    /// A digest of an image layout.
    #[error("invalid digest {0:?}")]
    Digest(String),
    /// An annotation without a value.
    #[error("invalid annotation {0:?}, expected key=value")]
    Annotation(String),
    /// An annotation whose type is not of the right form.
    #[error("invalid annotation type {0:?}, expected type and optional platform in square brackets")]
    AnnotationForm(String),
    /// An annotation of a type that does not exist.
    #[error("unknown annotation type {0:?}")]
    AnnotationType(String),
    /// An annotation for a platform that is none.
    #[error("invalid platform {0:?}")]
    Platform(String),
    /// Something that cannot be allowed.
    #[error("unknown entitlement {0}")]
    Entitlement(String),
    /// A host without an address.
    #[error("bad format for add-host: {0:?}")]
    Host(String),
    /// A host whose address is none.
    #[error("invalid IP address in add-host: {0:?}")]
    Address(String),
    /// A limit that is none.
    #[error("invalid ulimit {0:?}")]
    Limit(String),
    /// A limit of a control group that cannot be read.
    #[error("invalid resource {0:?}, expected key=value")]
    Resource(String),
    /// A limit of a control group that does not exist.
    #[error("unknown resources key {0}")]
    UnknownResource(String),
    /// A size that is none.
    #[error("invalid size {0:?}")]
    Size(String),
    /// A pair without a name.
    #[error("{0:?} has no name")]
    Name(String),
}
