//! `--chown` of COPY and ADD: `user[:group]`, names resolved in the root that is copied to.

/// Numeric owner of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnerIds {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Why an owner cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnerError {
    /// A name that `/etc/passwd` of the root does not have.
    #[error("user `{0}` is not in /etc/passwd of the image")]
    User(String),
    /// A name that `/etc/group` of the root does not have.
    #[error("group `{0}` is not in /etc/group of the image")]
    Group(String),
}

/// Resolves `user[:group]`. A number needs no entry; a number alone is the group too; a name alone has the
/// group of its entry.
pub fn resolve_owner(text: &str, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<OwnerIds, OwnerError> {
    let (user_text, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let (uid, primary) = match user_text.parse::<u32>() {
        Ok(uid) => (uid, uid),
        Err(_) if user_text.is_empty() => (0, 0),
        Err(_) => {
            user_entry(user_text, passwd.unwrap_or_default()).ok_or_else(|| OwnerError::User(user_text.to_owned()))?
        }
    };
    let gid = match group_text {
        None => primary,
        Some(name) => match name.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => group_entry(name, group.unwrap_or_default()).ok_or_else(|| OwnerError::Group(name.to_owned()))?,
        },
    };
    Ok(OwnerIds { uid, gid })
}

/// Resolves an owner as the operation asks for it.
pub fn resolve(owner: &kiln_graph::Owner, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<OwnerIds, OwnerError> {
    match resolve_owner(&owner.text, passwd, group) {
        Err(_) if owner.lenient => Ok(OwnerIds::default()),
        resolved => resolved,
    }
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    file.split(|&byte| byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim().split(':').collect())
}

fn user_entry(name: &str, passwd: &[u8]) -> Option<(u32, u32)> {
    lines(passwd).find_map(|fields| match fields.as_slice() {
        [found, _, uid, gid, ..] if *found == name => Some((uid.parse().ok()?, gid.parse().ok()?)),
        _ => None,
    })
}

fn group_entry(name: &str, group: &[u8]) -> Option<u32> {
    lines(group).find_map(|fields| match fields.as_slice() {
        [found, _, gid, ..] if *found == name => gid.parse().ok(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_resolve_in_the_image() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
        let group = b"root:x:0:\nstaff:x:50:app\n";
        let table = [
            ("1:2", Ok((1, 2))),
            ("7", Ok((7, 7))),
            ("app", Ok((1000, 1001))),
            ("app:staff", Ok((1000, 50))),
            ("app:9", Ok((1000, 9))),
            (":staff", Ok((0, 50))),
            ("nobody", Err(OwnerError::User("nobody".into()))),
            ("app:none", Err(OwnerError::Group("none".into()))),
        ];
        for (text, expected) in table {
            let resolved = resolve_owner(text, Some(passwd), Some(group)).map(|ids| (ids.uid, ids.gid));
            assert_eq!(resolved, expected, "{text}");
        }
        assert_eq!(resolve_owner("app", None, None), Err(OwnerError::User("app".into())));
    }
}
