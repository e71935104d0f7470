//! What only all files together can get wrong: services that name what is not there, or that contradict themselves.

use crate::error::BakeError;

use super::model::Project;
use super::yaml::Yaml;

/// Looks at services, in the order of their names.
///
/// # Errors
/// The first contradiction.
pub(super) fn check(project: &Project) -> Result<(), BakeError> {
    let found = project
        .services
        .iter()
        .try_for_each(|(name, service)| check_service(project, name, service));
    found.map_err(|message| BakeError::Compose {
        file: String::new(),
        line: None,
        message: format!("{message}: invalid compose project"),
        text: String::new(),
    })
}

fn check_service(project: &Project, name: &str, service: &Yaml) -> Result<(), String> {
    let build = section(service, "build");
    if build.is_none() && section(service, "image").is_none() && section(service, "provider").is_none() {
        return Err(format!(
            "service {name:?} has neither an image nor a build context specified"
        ));
    }
    if let Some(build) = build {
        check_build(project, name, build)?;
    }
    Ok(())
}

fn check_build(project: &Project, name: &str, build: &Yaml) -> Result<(), String> {
    if text(build, "dockerfile").is_some() && text(build, "dockerfile_inline").is_some() {
        return Err(format!(
            "service {name:?} declares mutually exclusive dockerfile and dockerfile_inline"
        ));
    }
    if let Some(Yaml::Map(contexts)) = build.get("additional_contexts") {
        for (context, value) in contexts {
            let value = value.scalar().unwrap_or_default();
            let Some(other) = value.strip_prefix("service:") else {
                continue;
            };
            let Some((_, found)) = project.services.iter().find(|(known, _)| known == other) else {
                return Err(format!(
                    "service {name:?} declares unknown service {other:?} as additional contexts {context}"
                ));
            };
            if section(found, "build").is_none() {
                return Err(format!(
                    "service {name:?} declares non-buildable service {other:?} as additional contexts {context}"
                ));
            }
        }
    }
    if let Some(Yaml::List(secrets)) = build.get("secrets") {
        for secret in secrets {
            let id = secret.get("source").unwrap_or(secret).scalar().unwrap_or_default();
            if !project.secrets.iter().any(|(known, _)| *known == id) {
                return Err(format!("service {name:?} refers to undefined build secret {id}"));
            }
        }
    }
    Ok(())
}

fn section<'a>(of: &'a Yaml, name: &str) -> Option<&'a Yaml> {
    of.get(name).filter(|section| **section != Yaml::Null)
}

fn text(of: &Yaml, name: &str) -> Option<String> {
    of.get(name)?.scalar().filter(|text| !text.is_empty())
}
