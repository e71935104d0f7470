//! Commit and tag objects, as `git cat-file` prints them.

/// Who did something, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The name.
    pub name: String,
    /// The address between `<` and `>`.
    pub mail: String,
    /// When; None if it does not say or cannot be read.
    pub time: Option<ActorTime>,
}

/// A time with the offset of the place where it was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActorTime {
    /// Seconds since 1970 in UTC.
    pub seconds: i64,
    /// Minutes east of Greenwich.
    pub offset: i32,
}

impl Actor {
    /// Parses `Name <mail> seconds ±hhmm`.
    pub fn parse(text: &str) -> Actor {
        let text = text.trim();
        let Some((name, rest)) = text.split_once('<') else {
            return Actor {
                name: text.to_owned(),
                ..Actor::default()
            };
        };
        let (mail, rest) = rest.split_once('>').unwrap_or((rest, ""));
        let mut words = rest.split_whitespace();
        let time = words.next().zip(words.next()).and_then(|(seconds, offset)| {
            Some(ActorTime {
                seconds: seconds.parse().ok()?,
                offset: minutes(offset)?,
            })
        });
        Actor {
            name: name.trim().to_owned(),
            mail: mail.trim().to_owned(),
            time,
        }
    }
}

/// The time of a commit, in seconds since 1970: that of whoever committed it.
pub fn commit_time(object: &[u8]) -> Option<i64> {
    let text = String::from_utf8_lossy(object);
    let header = text.lines().take_while(|line| !line.is_empty());
    let committer = header.into_iter().find_map(|line| line.strip_prefix("committer "))?;
    Some(Actor::parse(committer).time?.seconds)
}

/// `±hhmm` as minutes.
fn minutes(offset: &str) -> Option<i32> {
    let sign = match offset.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = offset.get(1..).filter(|digits| digits.len() == 4)?;
    let (hours, minutes): (i32, i32) = (digits.get(..2)?.parse().ok()?, digits.get(2..)?.parse().ok()?);
    Some(sign * (hours * 60 + minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_the_time_of_its_committer() {
        let object = b"tree 00\nauthor A <a@x> 100 +0000\ncommitter B <b@x> 200 -0130\n\ncommitter C <c@x> 300 +0000\n";
        assert_eq!(commit_time(object), Some(200));
        assert_eq!(commit_time(b"tree 00\n\ncommitter C <c@x> 300 +0000\n"), None);
    }

    #[test]
    fn actors_without_mail_or_time() {
        assert_eq!(Actor::parse("Only A Name").name, "Only A Name");
        assert_eq!(Actor::parse("A <a@x> 12 +02").time, None);
        assert_eq!(
            Actor::parse("A <a@x> 12 -0130").time,
            Some(ActorTime {
                seconds: 12,
                offset: -90
            })
        );
    }
}
