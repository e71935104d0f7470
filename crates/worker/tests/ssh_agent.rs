//! OpenSSH's own programs talk to an agent that holds keys which OpenSSH made.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and says why it is skipped"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_worker::ssh::{AgentSource, Forwarding, Key, KeyError};

fn keygen(arguments: &[&str], file: &Path) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", ""]).args(arguments).arg("-f").arg(file);
    assert!(status_of(&mut command), "ssh-keygen {arguments:?}");
}

fn status_of(command: &mut Command) -> bool {
    command.status().unwrap().success()
}

fn with_pub(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.pub", file.display()))
}

fn has_openssh() -> bool {
    let found = Command::new("ssh-keygen").arg("-?").output().is_ok();
    if !found {
        println!("skipped: `ssh-keygen` is not installed");
    }
    found
}

/// Signs with the key through the agent alone, and lets OpenSSH verify what came of it.
fn sign_and_verify(directory: &Path, public: &Path, socket: &Path) {
    let message = directory.join("message");
    std::fs::write(&message, "signed by an agent").unwrap();
    let _ = std::fs::remove_file(directory.join("message.sig"));
    let sign = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "file", "-f"])
        .args([public, &message])
        .env("SSH_AUTH_SOCK", socket)
        .output()
        .unwrap();
    assert!(sign.status.success(), "{}", String::from_utf8_lossy(&sign.stderr));
    let text = std::fs::read_to_string(public).unwrap();
    let signers = directory.join("signers");
    std::fs::write(&signers, format!("me {text}")).unwrap();
    let verify = Command::new("ssh-keygen")
        .args(["-q", "-Y", "verify", "-n", "file", "-I", "me", "-f"])
        .arg(&signers)
        .arg("-s")
        .arg(directory.join("message.sig"))
        .stdin(std::fs::File::open(&message).unwrap())
        .output()
        .unwrap();
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
}

#[test]
fn every_kind_of_key_signs_for_openssh() {
    if !has_openssh() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let kinds: [(&str, &[&str]); 6] = [
        ("ed25519", &["-t", "ed25519", "-C", "me@home"]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("rsa-pem", &["-t", "rsa", "-b", "3072", "-m", "PEM"]),
        ("rsa-pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
        ("ecdsa-256", &["-t", "ecdsa", "-b", "256"]),
        ("ecdsa-384", &["-t", "ecdsa", "-b", "384"]),
    ];
    let mut keys = Vec::new();
    let mut publics: Vec<PathBuf> = Vec::new();
    for (name, arguments) in kinds {
        let file = scratch.path().join(name);
        keygen(arguments, &file);
        keys.push(Key::parse(&std::fs::read(&file).unwrap(), name).unwrap_or_else(|error| panic!("{name}: {error}")));
        publics.push(with_pub(&file));
        // The agent alone can sign.
        std::fs::remove_file(&file).unwrap();
    }
    let directory = scratch.path().join("socket");
    std::fs::create_dir(&directory).unwrap();
    let forwarding = Forwarding::start(&directory, AgentSource::Keys(keys.into()), 0o600, 0, 0);
    let forwarding = match forwarding {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            println!("skipped: owners can only be set by root");
            return;
        }
        other => other.unwrap(),
    };
    let socket = forwarding.path().to_owned();
    let listed = Command::new("ssh-add")
        .arg("-L")
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for public in &publics {
        let text = std::fs::read_to_string(public).unwrap();
        let blob = text.split(' ').nth(1).unwrap();
        assert!(listed.contains(blob), "{}", public.display());
        sign_and_verify(scratch.path(), public, &socket);
    }
    assert!(listed.contains("me@home"), "{listed}");
    let removed = Command::new("ssh-add")
        .arg("-D")
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .unwrap();
    assert!(!removed.status.success(), "a step must not remove keys");
    drop(forwarding);
    let gone = Command::new("ssh-add")
        .arg("-l")
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .unwrap();
    assert!(!gone.status.success(), "nobody answers any more");
}

#[test]
fn keys_that_cannot_be_used_are_told_apart() {
    if !has_openssh() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let locked = scratch.path().join("locked");
    assert!(status_of(
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "secret", "-f"])
            .arg(&locked)
    ));
    let parse = |path: &Path| Key::parse(&std::fs::read(path).unwrap(), "x").unwrap_err();
    assert_eq!(parse(&locked), KeyError::Encrypted);
    let large = scratch.path().join("large");
    keygen(&["-t", "ecdsa", "-b", "521"], &large);
    assert_eq!(parse(&large), KeyError::Unsupported("ecdsa-sha2-nistp521".into()));
    assert_eq!(parse(&with_pub(&large)), KeyError::NotAKey);
    let whole = scratch.path().join("whole");
    keygen(&["-t", "ed25519"], &whole);
    let text = std::fs::read_to_string(&whole).unwrap();
    // Whatever a file is cut to, it is an error and no panic.
    let end = text.find("-----END").unwrap();
    for length in (0..end).step_by(7) {
        assert!(Key::parse(&text.as_bytes()[..length], "x").is_err());
    }
}
