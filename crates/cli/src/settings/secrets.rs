//! `--secret` and `--ssh`: what steps may see and the image must not.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use kiln_sandbox::step::Secret;
use kiln_worker::Secrets;
use kiln_worker::ssh::{AgentSource, Key, KeyError, SshAgents};

use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;

/// Bytes of a secret at most, as with the peers.
const LARGEST: usize = 500 << 10;

const SECRET_FORM: &str = "write id=NAME,src=FILE or id=NAME,env=VARIABLE";

/// Where the value of a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Variable(String),
}

/// Reads the values of `--secret`.
pub fn secrets(written: &[String], environment: &Environment) -> Result<Secrets, CommandError> {
    let mut secrets = Secrets::default();
    for text in written {
        let (id, origin) = secret(text, environment)?;
        let value = match &origin {
            Origin::File(path) => std::fs::read(path).map_err(|error| {
                let mut command = CommandError::from_error(ErrorKind::User, &error);
                let message = format!("failed to read the secret `{id}` from `{}`", path.display());
                command.messages.insert(0, message);
                command
            })?,
            Origin::Variable(name) => match environment.variables.get(name) {
                Some(value) => value.clone().into_bytes(),
                None => {
                    let message = format!("the variable `{name}` of the secret `{id}` is not set");
                    return Err(CommandError::user(message).hint("export it, or name a file with src=FILE"));
                }
            },
        };
        if value.len() > LARGEST {
            let message = format!("the secret `{id}` has {} bytes; {LARGEST} are the most", value.len());
            return Err(CommandError::user(message));
        }
        secrets.0.insert(id, Secret(value));
    }
    Ok(secrets)
}

fn secret(text: &str, environment: &Environment) -> Result<(String, Origin), CommandError> {
    let invalid = |why: String| CommandError::user(format!("invalid --secret `{text}`: {why}")).hint(SECRET_FORM);
    let read = kiln_flags::secret::Secret::parse(text).map_err(|error| invalid(error.to_string()))?;
    let id = Some(read.id)
        .filter(|id| !id.is_empty())
        .ok_or_else(|| invalid("it has no id".into()))?;
    // Of `type=env` alone the name is the variable's too.
    let of_variable = read.of_variable && read.variable.is_none();
    let variable = read.variable.or_else(|| of_variable.then(|| id.clone()));
    let (source, of_file) = (read.source, read.of_file);
    let origin = match (source, variable) {
        (Some(_), Some(_)) => return Err(invalid("a file and a variable are named".into())),
        (Some(path), None) => Origin::File(path.into()),
        (None, Some(name)) => Origin::Variable(name),
        // The name alone is a variable's if there is one, else a file's.
        (None, None) if !of_file && environment.variables.contains_key(&id) => Origin::Variable(id.clone()),
        (None, None) => Origin::File(id.clone().into()),
    };
    Ok((id, origin))
}

/// Reads the keys and finds the agents of `--ssh`.
pub fn agents(written: &[String], environment: &Environment) -> Result<SshAgents, CommandError> {
    let mut agents = SshAgents::default();
    for text in written {
        let id = text.split('=').next().unwrap_or_default();
        let read = kiln_flags::ssh::agents(std::slice::from_ref(text));
        let paths = read.into_iter().filter_map(|agent| agent.paths).flatten();
        let paths: Vec<PathBuf> = paths.map(PathBuf::from).collect();
        if id.is_empty() {
            return Err(CommandError::user(format!("invalid --ssh `{text}`: it has no id"))
                .hint("write default, or ID=SOCKET, or ID=KEY,KEY"));
        }
        agents.0.insert(id.to_owned(), agent(text, paths, environment)?);
    }
    Ok(agents)
}

fn agent(text: &str, paths: Vec<PathBuf>, environment: &Environment) -> Result<AgentSource, CommandError> {
    if paths.is_empty() {
        let socket = environment
            .variables
            .get("SSH_AUTH_SOCK")
            .filter(|socket| !socket.is_empty());
        return match socket {
            Some(socket) => Ok(AgentSource::Socket(socket.into())),
            None => Err(
                CommandError::user(format!("--ssh `{text}` has no agent: SSH_AUTH_SOCK is not set"))
                    .hint("start one with `eval $(ssh-agent)` and `ssh-add`, or name a key: --ssh default=FILE"),
            ),
        };
    }
    let is_socket = |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    match paths.iter().filter(|path| is_socket(path)).count() {
        0 => {
            let keys: Vec<Key> = paths.iter().map(|path| key(text, path)).collect::<Result<_, _>>()?;
            Ok(AgentSource::Keys(keys.into()))
        }
        1 if paths.len() == 1 => Ok(AgentSource::Socket(paths.into_iter().next().unwrap_or_default())),
        _ => Err(
            CommandError::user(format!("invalid --ssh `{text}`: a socket stands alone"))
                .hint("name one socket, or keys only"),
        ),
    }
}

fn key(text: &str, path: &Path) -> Result<Key, CommandError> {
    let named = |mut command: CommandError| {
        let message = format!("failed to read the key `{}` of --ssh `{text}`", path.display());
        command.messages.insert(0, message);
        command
    };
    let bytes = std::fs::read(path).map_err(|error| named(CommandError::from_error(ErrorKind::User, &error)))?;
    let name = path.display().to_string();
    Key::parse(&bytes, &name).map_err(|error| {
        let command = named(CommandError::from_error(ErrorKind::User, &error));
        match error {
            KeyError::Encrypted => command.hint("add it to an agent with `ssh-add`, and name the agent: --ssh default"),
            KeyError::Unsupported(_) => command.hint(
                "there are Ed25519, RSA and ECDSA keys; `ssh-keygen -p -f FILE` rewrites a key as OpenSSH has it",
            ),
            KeyError::NotAKey | KeyError::Damaged => command,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            variables: [("TOKEN".to_owned(), "hush".to_owned())].into(),
            ..Environment::default()
        }
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let read = |text: &str| secret(text, &environment()).map_err(|error| error.messages[0].clone());
        let variable = |id: &str, name: &str| Ok((id.to_owned(), Origin::Variable(name.to_owned())));
        let file = |id: &str, path: &str| Ok((id.to_owned(), Origin::File(path.into())));
        assert_eq!(read("id=a,src=b"), file("a", "b"));
        assert_eq!(read("type=file,id=a,source=b"), file("a", "b"));
        assert_eq!(read("id=a,env=TOKEN"), variable("a", "TOKEN"));
        assert_eq!(read("type=env,id=a,src=TOKEN"), variable("a", "TOKEN"));
        assert_eq!(read("type=env,id=TOKEN"), variable("TOKEN", "TOKEN"));
        assert_eq!(read("id=TOKEN"), variable("TOKEN", "TOKEN"));
        assert_eq!(read("id=elsewhere"), file("elsewhere", "elsewhere"));
        assert_eq!(read("type=file,id=TOKEN"), file("TOKEN", "TOKEN"));
        for bad in ["src=b", "id=a,type=x", "id=a,foo=b", "id", "id=a,src=b,env=c", "id=\"a"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_are_read_or_the_reason_is_told() {
        let read = |text: &str| secrets(&[text.to_owned()], &environment());
        assert_eq!(read("id=TOKEN").expect("set").0["TOKEN"], Secret(b"hush".to_vec()));
        let missing = read("id=x,src=/nowhere/at/all").expect_err("missing");
        assert!(missing.messages[0].contains("`x` from `/nowhere/at/all`"));
        assert!(read("id=x,env=UNSET").expect_err("unset").messages[0].contains("`UNSET`"));
    }

    #[test]
    fn agents_are_named_or_the_environments() {
        let found = |text: &str| agents(&[text.to_owned()], &environment());
        assert!(found("default").expect_err("no agent").messages[0].contains("SSH_AUTH_SOCK"));
        assert!(found("=x").is_err());
        assert!(found("id=/nowhere/key").expect_err("missing").messages[0].contains("/nowhere/key"));
    }
}
