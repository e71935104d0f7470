//! `USER`: `user[:group]`, names resolved in the root's own `/etc/passwd` and `/etc/group`.

/// Numbers for a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// A name that the root does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("unable to find user {0}: no matching entries in passwd file")]
    User(String),
    /// No such group.
    #[error("unable to find group {0}: no matching entries in group file")]
    Group(String),
}

/// Resolves a user as Docker does: empty is root; a number needs no entry, but takes group and home from one if
/// there is; without a group, the supplementary groups of the user's name apply.
pub fn resolve_user(text: &str, passwd: Option<&[u8]>, group: Option<&[u8]>) -> Result<ResolvedUser, UserError> {
    let (user_text, group_text) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user_text = if user_text.is_empty() { "0" } else { user_text };
    let entry = passwd_entry(user_text, passwd.unwrap_or_default());
    let number: Option<u32> = user_text.parse().ok();
    let (name, uid, primary, home) = match (entry, number) {
        (Some(entry), _) => (entry.name, entry.uid, entry.gid, entry.home),
        (None, Some(uid)) => (String::new(), uid, 0, String::new()),
        (None, None) => return Err(UserError::User(user_text.to_owned())),
    };
    let groups_file = group.unwrap_or_default();
    let home = match (home.is_empty(), uid) {
        (false, _) => home,
        (true, 0) => "/root".to_owned(),
        (true, _) => "/".to_owned(),
    };
    match group_text {
        Some(group_text) => {
            let gid = match group_text.parse() {
                Ok(gid) => gid,
                Err(_) => group_id(group_text, groups_file).ok_or_else(|| UserError::Group(group_text.to_owned()))?,
            };
            Ok(ResolvedUser {
                uid,
                gid,
                groups: Vec::new(),
                home,
            })
        }
        None => Ok(ResolvedUser {
            uid,
            gid: primary,
            groups: groups_of(&name, groups_file),
            home,
        }),
    }
}

struct PasswdEntry {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&str>> {
    file.split(|&byte| byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim().split(':').collect())
}

/// An entry by name, else by number.
fn passwd_entry(user: &str, passwd: &[u8]) -> Option<PasswdEntry> {
    let entries = || {
        lines(passwd).filter_map(|fields| match fields.as_slice() {
            [name, _, uid, gid, _, home, ..] => Some(PasswdEntry {
                name: (*name).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home: (*home).to_owned(),
            }),
            _ => None,
        })
    };
    let number: Option<u32> = user.parse().ok();
    entries()
        .find(|entry| entry.name == user)
        .or_else(|| entries().find(|entry| Some(entry.uid) == number))
}

fn group_id(name: &str, group: &[u8]) -> Option<u32> {
    lines(group).find_map(|fields| match fields.as_slice() {
        [found, _, gid, ..] if *found == name => gid.parse().ok(),
        _ => None,
    })
}

fn groups_of(user: &str, group: &[u8]) -> Vec<u32> {
    if user.is_empty() {
        return Vec::new();
    }
    let member = |fields: Vec<&str>| match fields.as_slice() {
        [_, _, gid, members, ..] if members.split(',').any(|member| member == user) => gid.parse().ok(),
        _ => None,
    };
    lines(group).filter_map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\nbroken line\n";
    const GROUP: &[u8] = b"root:x:0:\nstaff:x:50:app,other\nwheel:x:10:root,app\n";

    #[test]
    fn users_resolve_as_docker_does() {
        let user = |uid, gid, groups: &[u32], home: &str| ResolvedUser {
            uid,
            gid,
            groups: groups.to_vec(),
            home: home.into(),
        };
        let table = [
            ("", Ok(user(0, 0, &[10], "/root"))),
            ("app", Ok(user(1000, 1001, &[50, 10], "/home/app"))),
            ("1000", Ok(user(1000, 1001, &[50, 10], "/home/app"))),
            ("app:staff", Ok(user(1000, 50, &[], "/home/app"))),
            ("7:8", Ok(user(7, 8, &[], "/"))),
            ("7", Ok(user(7, 0, &[], "/"))),
            ("ghost", Err(UserError::User("ghost".into()))),
            ("app:ghosts", Err(UserError::Group("ghosts".into()))),
        ];
        for (text, expected) in table {
            assert_eq!(resolve_user(text, Some(PASSWD), Some(GROUP)), expected, "{text}");
        }
    }

    #[test]
    fn a_root_without_account_files_knows_numbers_only() {
        assert_eq!(
            resolve_user("5:6", None, None).map(|user| (user.uid, user.gid)),
            Ok((5, 6))
        );
        assert_eq!(resolve_user("app", None, None), Err(UserError::User("app".into())));
    }
}
