//! `--cache-from` and `--cache-to`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kiln_image::pack::CompressionSetting;
use kiln_oci::{Compression, Digest, Reference};
use kiln_worker::CacheCompression;
use kiln_worker::remote_cache::{ActionsSettings, ExportChoice, ExportMode, S3Credentials, S3Settings};

use crate::build::request::{CacheExport, CacheImport, CachePlace};
use crate::command_error::CommandError;
use crate::environment::Environment;
use crate::settings::{outputs, reference};

/// What a cache is called in a layout if nobody names it.
const TAG: &str = "latest";

/// Bytes of a cache mount at most, unless `mounts-max` says otherwise.
const LARGEST_MOUNT: u64 = 2 << 30;

/// Kinds of caches.
const KINDS: &str = "there are type=registry, local, inline, gha and s3";

/// Attributes that are left when those of the place are taken.
struct Attributes {
    flag: &'static str,
    kind: String,
    values: BTreeMap<String, String>,
}

/// The caches of a flag: kinds with attributes, or names of images in registries.
fn parse(flag: &'static str, written: &[String]) -> Result<Vec<Attributes>, CommandError> {
    let read = kiln_flags::cache::caches(written)
        .map_err(|error| CommandError::user(format!("invalid {flag}: {error}")).hint(KINDS))?;
    Ok(read
        .into_iter()
        .map(|cache| Attributes {
            flag,
            kind: cache.kind,
            values: cache.attributes,
        })
        .collect())
}

impl Attributes {
    fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }

    fn invalid(&self, why: &str) -> CommandError {
        CommandError::user(format!("invalid {} type={}: {why}", self.flag, self.kind))
    }

    fn registry(&mut self) -> Result<Reference, CommandError> {
        let text = self.take("ref").ok_or_else(|| {
            self.invalid("it has no ref")
                .hint("write type=registry,ref=registry.example.com/app:cache")
        })?;
        reference(&text)
    }

    fn digest(&mut self) -> Result<Option<Digest>, CommandError> {
        let Some(text) = self.take("digest") else {
            return Ok(None);
        };
        let digest = text
            .parse()
            .map_err(|_| self.invalid(&format!("`{text}` is no digest")))?;
        Ok(Some(digest))
    }

    fn truth(&mut self, name: &str) -> Result<bool, CommandError> {
        let Some(value) = self.take(name) else {
            return Ok(false);
        };
        kiln_flags::fields::boolean(&value)
            .ok_or_else(|| self.invalid(&format!("`{value}` for {name} is neither true nor false")))
    }

    fn compression(&mut self) -> Result<CacheCompression, CommandError> {
        let method = match self.take("compression") {
            Some(name) => Some(outputs::compression(&name).ok_or_else(|| {
                self.invalid(&format!("unknown compression `{name}`"))
                    .hint(outputs::COMPRESSIONS)
            })?),
            None => None,
        };
        let level = match self.take("compression-level") {
            Some(text) => Some(
                text.parse()
                    .map_err(|_| self.invalid(&format!("`{text}` for compression-level is no number")))?,
            ),
            None => None,
        };
        let force = self.truth("force-compression")?;
        if method.is_none() && level.is_none() && !force {
            return Ok(CacheCompression::default());
        }
        let setting = CompressionSetting {
            // As with the peers, whoever says something of compression without its method means gzip.
            compression: method.unwrap_or(Compression::Gzip),
            level,
            threads: None,
        };
        match outputs::wrong_level(setting) {
            Some(wrong) => Err(self.invalid(&wrong)),
            None => Ok(CacheCompression {
                setting: Some(setting),
                force,
            }),
        }
    }

    /// An attribute, else a variable of the environment.
    fn take_or(&mut self, name: &str, environment: &Environment, variable: &str) -> Option<String> {
        let variable = || environment.variables.get(variable).cloned();
        self.take(name).or_else(variable).filter(|value| !value.is_empty())
    }

    fn actions(&mut self, environment: &Environment) -> Result<CachePlace, CommandError> {
        let version = self.take("version");
        if version.is_some_and(|version| version != "2") {
            return Err(self.invalid("only version 2 of the cache service is spoken"));
        }
        // The address of the first version is often passed as well; it is another service's.
        self.take("url");
        let url = self.take_or("url_v2", environment, "ACTIONS_RESULTS_URL");
        let token = self.take_or("token", environment, "ACTIONS_RUNTIME_TOKEN");
        let (Some(url), Some(token)) = (url, token) else {
            return Err(self
                .invalid("ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN are not set")
                .hint("they are there in a step of an action; for a `run:` step, export them with crazy-max/ghaction-github-runtime"));
        };
        let scope = self.take("scope").unwrap_or_else(|| "kiln".to_owned());
        let timeout = self.take("timeout").unwrap_or_else(|| "10m".to_owned());
        let nanos = kiln_flags::duration::nanoseconds(&timeout).and_then(|nanos| u64::try_from(nanos).ok());
        let Some(nanos) = nanos else {
            return Err(self.invalid(&format!("`{timeout}` is no duration")));
        };
        // A token of the repository is for asking about rate limits, which the service's own answers tell.
        for accepted in ["ghtoken", "repository"] {
            self.take(accepted);
        }
        Ok(CachePlace::Actions(ActionsSettings {
            url,
            token,
            scope,
            timeout: Duration::from_nanos(nanos),
        }))
    }

    fn s3(&mut self, environment: &Environment) -> Result<CachePlace, CommandError> {
        let needed = |name: &str, value: Option<String>, attributes: &Attributes| {
            value.ok_or_else(|| attributes.invalid(&format!("it has no {name}")))
        };
        let bucket = self.take_or("bucket", environment, "AWS_BUCKET");
        let bucket = needed("bucket", bucket, self)?;
        let region = self.take_or("region", environment, "AWS_REGION");
        let region = needed("region", region, self)?;
        let id = self.take_or("access_key_id", environment, "AWS_ACCESS_KEY_ID");
        let secret = self.take_or("secret_access_key", environment, "AWS_SECRET_ACCESS_KEY");
        let session_token = self.take_or("session_token", environment, "AWS_SESSION_TOKEN");
        let (Some(access_key_id), Some(secret_access_key)) = (id, secret) else {
            return Err(self.invalid("it has no key").hint(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write access_key_id= and secret_access_key=",
            ));
        };
        let endpoint = self.take("endpoint_url");
        if endpoint.as_ref().is_some_and(|endpoint| !endpoint.contains("://")) {
            return Err(self
                .invalid("the endpoint_url is no URL")
                .hint("write http://HOST:PORT or https://HOST"));
        }
        // Hardly any other store answers to bucket names as host names.
        let path_style = match self.take("use_path_style").as_deref() {
            Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => return Err(self.invalid(&format!("`{other}` for use_path_style is neither true nor false"))),
            None => endpoint.is_some(),
        };
        for accepted in ["upload_parallelism", "touch_refresh"] {
            self.take(accepted);
        }
        Ok(CachePlace::S3(Box::new(S3Settings {
            bucket,
            region,
            endpoint,
            path_style,
            prefix: self.take("prefix").unwrap_or_default(),
            blobs_prefix: self.take("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned()),
            manifests_prefix: self.take("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned()),
            name: self.take("name").unwrap_or_else(|| "kiln".to_owned()),
            credentials: S3Credentials {
                access_key_id,
                secret_access_key,
                session_token,
            },
        })))
    }

    /// Whatever is left is not known here.
    fn finish(self) -> Result<(), CommandError> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(name) => Err(self.invalid(&format!("unknown attribute `{name}`"))),
        }
    }
}

/// Where caches are read from.
pub fn imports(written: &[String], environment: &Environment) -> Result<Vec<CacheImport>, CommandError> {
    let read = parse("--cache-from", written)?;
    read.into_iter().map(|cache| import(cache, environment)).collect()
}

fn import(mut attributes: Attributes, environment: &Environment) -> Result<CacheImport, CommandError> {
    let place = match attributes.kind.as_str() {
        // An image that carries its own cache is read like a cache.
        "registry" | "inline" => CachePlace::Registry(attributes.registry()?),
        "local" => {
            let source = attributes.take("src").ok_or_else(|| {
                attributes
                    .invalid("it has no src")
                    .hint("write type=local,src=DIRECTORY")
            })?;
            CachePlace::Layout {
                directory: PathBuf::from(source),
                tag: attributes.take("tag").unwrap_or_else(|| TAG.to_owned()),
                digest: attributes.digest()?,
            }
        }
        "gha" => attributes.actions(environment)?,
        "s3" => attributes.s3(environment)?,
        other => return Err(unknown("--cache-from", other)),
    };
    // What says how a cache is written is often passed here as well, and has no meaning for reading.
    for written in ["mode", "ignore-error"] {
        attributes.take(written);
    }
    attributes.finish()?;
    Ok(CacheImport { place })
}

/// Where caches are written to.
pub fn exports(
    written: &[String],
    build_args: &BTreeMap<String, String>,
    environment: &Environment,
) -> Result<Vec<CacheExport>, CommandError> {
    let read = parse("--cache-to", written)?;
    let exports = read.into_iter().map(|cache| export(cache, environment));
    let mut exports: Vec<CacheExport> = exports.collect::<Result<_, _>>()?;
    let inline = build_args
        .get("BUILDKIT_INLINE_CACHE")
        .is_some_and(|value| kiln_flags::fields::boolean(value) == Some(true));
    if inline && !exports.contains(&CacheExport::Inline) {
        exports.push(CacheExport::Inline);
    }
    Ok(exports)
}

fn export(mut attributes: Attributes, environment: &Environment) -> Result<CacheExport, CommandError> {
    if attributes.kind == "inline" {
        attributes.finish()?;
        return Ok(CacheExport::Inline);
    }
    let place = match attributes.kind.as_str() {
        "registry" => CachePlace::Registry(attributes.registry()?),
        "local" => {
            let destination = attributes.take("dest").ok_or_else(|| {
                attributes
                    .invalid("it has no dest")
                    .hint("write type=local,dest=DIRECTORY")
            })?;
            CachePlace::Layout {
                directory: PathBuf::from(destination),
                tag: attributes.take("tag").unwrap_or_else(|| TAG.to_owned()),
                digest: None,
            }
        }
        "gha" => attributes.actions(environment)?,
        "s3" => attributes.s3(environment)?,
        other => return Err(unknown("--cache-to", other)),
    };
    let mode = match attributes.take("mode").as_deref() {
        None | Some("min") => ExportMode::Min,
        Some("max") => ExportMode::Max,
        Some(other) => {
            return Err(attributes
                .invalid(&format!("unknown mode `{other}`"))
                .hint("there are min and max"));
        }
    };
    let limit = attributes.take("mounts-max");
    let limit = limit.map_or(Ok(LARGEST_MOUNT), |text| crate::settings::size("--cache-to", &text))?;
    let choice = ExportChoice {
        mode,
        mounts: attributes.truth("mounts")?.then_some(limit),
        compression: attributes.compression()?,
    };
    let ignore_error = attributes.truth("ignore-error")?;
    // A cache is an image manifest of its own type either way.
    for accepted in ["image-manifest", "oci-mediatypes"] {
        attributes.truth(accepted)?;
    }
    attributes.finish()?;
    Ok(CacheExport::To {
        place,
        choice,
        ignore_error,
    })
}

fn unknown(flag: &str, kind: &str) -> CommandError {
    CommandError::user(format!("{flag} type=`{kind}` is not supported yet")).hint(KINDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str, environment: &Environment) -> Result<CacheImport, String> {
        let read = imports(&[text.to_owned()], environment).map_err(|error| error.messages[0].clone())?;
        read.into_iter().next().ok_or("nothing".to_owned())
    }

    #[test]
    fn caches_are_named_by_reference_or_directory() {
        let registry = |name: &str| CacheImport {
            place: CachePlace::Registry(reference(name).expect("a reference")),
        };
        let import = |text: &str| one(text, &Environment::default());
        assert_eq!(import("user/app:cache"), Ok(registry("user/app:cache")));
        assert_eq!(
            import("type=registry,ref=user/app:cache"),
            Ok(registry("user/app:cache"))
        );
        let local = import("type=local,src=/tmp/cache,tag=main").expect("valid");
        let expected = CachePlace::Layout {
            directory: "/tmp/cache".into(),
            tag: "main".into(),
            digest: None,
        };
        assert_eq!(local.place, expected);
        for bad in [
            "type=registry",
            "type=local,dest=x",
            "type=local,src=x,foo=y",
            "type=tape",
            "ref=x",
            "type=local,src=x,digest=y",
        ] {
            assert!(import(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exports_have_a_mode() {
        let none = BTreeMap::new();
        let exports = |text: &str| exports(&[text.to_owned()], &none, &Environment::default());
        let found =
            exports("type=registry,ref=user/app:cache,mode=max,ignore-error=true,compression=zstd").expect("valid");
        assert!(matches!(
            &found[..],
            [CacheExport::To {
                choice: ExportChoice {
                    mode: ExportMode::Max,
                    mounts: None,
                    compression: CacheCompression {
                        setting: Some(CompressionSetting {
                            compression: Compression::Zstd,
                            level: None,
                            ..
                        }),
                        force: false
                    }
                },
                ignore_error: true,
                ..
            }]
        ));
        assert_eq!(exports("type=inline").expect("valid"), [CacheExport::Inline]);
        for bad in [
            "type=local",
            "type=registry,ref=x,mode=most",
            "type=inline,mode=max",
            "type=registry,ref=x,ignore-error=perhaps",
            "type=registry,ref=x,compression=tape",
            "type=registry,ref=x,compression-level=much",
            "type=registry,ref=x,compression-level=13",
            "type=registry,ref=x,compression=zstd,compression-level=23",
            "type=registry,ref=x,force-compression=perhaps",
        ] {
            assert!(exports(bad).is_err(), "{bad}");
        }
        let inline = BTreeMap::from([("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned())]);
        assert_eq!(
            super::exports(&[], &inline, &Environment::default()).expect("valid"),
            [CacheExport::Inline]
        );
    }

    #[test]
    fn services_take_what_the_environment_says() {
        let environment = |pairs: &[(&str, &str)]| Environment {
            variables: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Environment::default()
        };
        let actions = environment(&[
            ("ACTIONS_RESULTS_URL", "https://results/"),
            ("ACTIONS_RUNTIME_TOKEN", "t"),
        ]);
        let found = one("type=gha,scope=main,timeout=5s", &actions).expect("valid");
        let CachePlace::Actions(settings) = found.place else {
            panic!("not the service: {:?}", found.place)
        };
        assert_eq!(
            (settings.scope.as_str(), settings.timeout),
            ("main", Duration::from_secs(5))
        );
        assert!(!format!("{settings:?}").contains("token"));
        assert!(one("type=gha", &Environment::default()).is_err());
        assert!(one("type=gha,version=1", &actions).is_err());
        let keys = environment(&[
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_REGION", "eu"),
        ]);
        let found = one("type=s3,bucket=b,endpoint_url=http://127.0.0.1:1,prefix=p/", &keys).expect("valid");
        let CachePlace::S3(settings) = found.place else {
            panic!("no bucket: {:?}", found.place)
        };
        assert!(settings.path_style);
        assert_eq!((settings.region.as_str(), settings.prefix.as_str()), ("eu", "p/"));
        for bad in [
            "type=s3",
            "type=s3,bucket=b,endpoint_url=host",
            "type=s3,bucket=b,use_path_style=maybe",
        ] {
            assert!(one(bad, &keys).is_err(), "{bad}");
        }
        assert!(one("type=s3,bucket=b,region=r", &Environment::default()).is_err());
    }
}
