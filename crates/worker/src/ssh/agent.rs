//! The agent's protocol (draft-ietf-sshm-ssh-agent): a message is its length, its type and its contents.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::key::Key;
use super::wire::{Reader, Writer};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

/// Bytes of a message at most, as OpenSSH has it.
const LONGEST: usize = 256 << 10;

/// Who answers.
pub(super) enum Answerer<'a> {
    /// An agent at the other end of a socket.
    Agent(UnixStream),
    /// These keys.
    Keys(&'a [Key]),
}

/// Answers one client until it is gone.
pub(super) fn serve(mut client: UnixStream, mut answerer: Answerer<'_>) -> io::Result<()> {
    while let Some(request) = receive(&mut client)? {
        let answer = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => answerer.answer(&request)?,
            _ => vec![FAILURE],
        };
        send(&mut client, &answer)?;
    }
    Ok(())
}

impl Answerer<'_> {
    fn answer(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Answerer::Agent(agent) => {
                send(agent, request)?;
                receive(agent)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Answerer::Keys(keys) => Ok(answer_from(keys, request).unwrap_or_else(|| vec![FAILURE])),
        }
    }
}

fn answer_from(keys: &[Key], request: &[u8]) -> Option<Vec<u8>> {
    let (kind, contents) = request.split_first()?;
    if *kind == REQUEST_IDENTITIES {
        let start = Writer(vec![IDENTITIES_ANSWER]).number(keys.len());
        let all = keys.iter().fold(start, |writer, key| {
            writer.string(&key.public).string(key.comment.as_bytes())
        });
        return Some(all.0);
    }
    let mut contents = Reader(contents);
    let (public, data, flags) = (contents.string()?, contents.string()?, contents.number()?);
    let key = keys.iter().find(|key| key.public == public)?;
    let signature = key.sign(data, flags)?;
    Some(Writer(vec![SIGN_RESPONSE]).string(&signature).0)
}

/// The next message; None at the end.
fn receive(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message)?;
    Ok(Some(message))
}

fn send(stream: &mut UnixStream, message: &[u8]) -> io::Result<()> {
    stream.write_all(&Writer::default().string(message).0)
}
