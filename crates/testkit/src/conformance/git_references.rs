//! `git-refs`: how git repositories and other remote things are named.

use std::path::Path;

use kiln_dockerfile::git::object::Actor;
use kiln_dockerfile::git::remote::{Remote, source_url};
use kiln_dockerfile::git::url::{Fragment, User, known_hosts_name};
use kiln_dockerfile::git::{CheckoutTimes, GitReference, GitUrl, is_commit, is_http, is_remote, redacted};
use serde_json::{Value, json};

use super::CorpusResult;
use super::tables::{self, Case, Table, Verdict, contains, equal, strings};

/// Drives the corpus.
pub(super) fn drive(dir: &Path) -> CorpusResult {
    let mut result = CorpusResult::new("git-refs");
    tables::drive(dir, &mut result, |table, case| outcome(table, case).map(Verdict::from));
    result
}

fn outcome(table: &Table, case: &Case) -> Option<Result<(), String>> {
    let value = &case.value;
    let url = case.text("url");
    Some(match table.test.as_str() {
        "TestParseGitRef" => parse_reference(case),
        "TestFragmentFormat" => short_form(case, false),
        "TestFragmentFormatWithSubdir" => short_form(case, true),
        "TestIsCommitSHA" => {
            let expected = case.key.as_deref() == Some("true");
            strings(value)
                .iter()
                .try_for_each(|text| equal((text, expected), (text, is_commit(text))))
        }
        "TestParseURL" => match GitUrl::parse(url) {
            Ok(parsed) if !case.expects_error("err") => equal(&value["result"], &url_value(&parsed)),
            Err(_) if case.expects_error("err") => Ok(()),
            other => Err(format!("gives {other:?}")),
        },
        "TestParseSCPStyleURL" => match GitUrl::scp(url) {
            None if case.expects_error("err") => Ok(()),
            Some(parsed) if !case.expects_error("err") => {
                let user = parsed.user.map(|user| user.name).unwrap_or_default();
                let fragment = parsed.fragment.map(|fragment| fragment.reference).unwrap_or_default();
                equal(
                    [
                        case.text("user"),
                        case.text("host"),
                        case.text("path"),
                        case.text("fragment"),
                    ],
                    [user.as_str(), &parsed.host, &parsed.path, &fragment],
                )
            }
            other => Err(format!("gives {other:?}")),
        },
        "TestIsImplicitSSHTransport" => equal(value["want"].as_bool(), Some(GitUrl::scp(url).is_some())),
        "TestParseActor" => {
            let actor = Actor::parse(case.text("input"));
            let time = actor.time.map(|time| (time.seconds, time.offset));
            equal(
                [case.text("wantName"), case.text("wantMail")],
                [actor.name.as_str(), &actor.mail],
            )
            .and_then(|()| equal(value["wantTime"].as_str().map(instant).transpose()?, time))
        }
        "TestKnownHostsServerID" => equal(
            case.text("want"),
            known_hosts_name(case.text("hostname"), case.text("port")).as_str(),
        ),
        "TestRedactCredentials" => equal(case.text("want"), redacted(url).as_str()),
        "TestGitRemoteURL" => remote_url(case),
        "TestIsHTTPURL" => equal(value["want"].as_bool(), Some(is_http(case.text("input")))),
        "TestIsRemoteURL" => equal(value["want"].as_bool(), Some(is_remote(case.text("input")))),
        _ => return None,
    })
}

fn parse_reference(case: &Case) -> Result<(), String> {
    let expected = &case.value["expected"];
    match GitReference::parse(case.text("ref")) {
        Ok(Some(reference)) => equal(expected, &reference_value(&reference)),
        Ok(None) => equal(expected, &Value::Null).and_then(|()| equal("", case.text("err"))),
        Err(error) => equal(expected, &Value::Null).and_then(|()| contains(&error.to_string(), case.text("err"))),
    }
}

fn short_form(case: &Case, with_subdirectory: bool) -> Result<(), String> {
    let text = case.text("ref");
    let parsed = GitReference::parse(text).ok().flatten();
    let form = parsed
        .as_ref()
        .map_or_else(|| text.to_owned(), |parsed| parsed.short_form(with_subdirectory));
    equal(
        (case.text("expected"), case.value["ok"].as_bool()),
        (form.as_str(), Some(parsed.is_some())),
    )
}

fn reference_value(reference: &GitReference) -> Value {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    json!({
        "Remote": reference.remote,
        "ShortName": reference.short_name,
        "Ref": text(&reference.reference),
        "Checksum": text(&reference.checksum),
        "SubDir": text(&reference.subdirectory),
        "IndistinguishableFromLocal": reference.like_local_path,
        "UnencryptedTCP": reference.unencrypted,
        "KeepGitDir": reference.keep_git_directory,
        "Submodules": reference.submodules,
        "MTime": reference.times.map(CheckoutTimes::name).unwrap_or_default(),
        "FetchByCommit": reference.fetch_by_commit,
    })
}

/// In the form of the tables, which never fill in the remote.
fn url_value(url: &GitUrl) -> Value {
    let user = |user: &User| {
        json!({
            "username": user.name,
            "password": user.password.clone().unwrap_or_default(),
            "passwordSet": user.password.is_some(),
        })
    };
    let options = |fragment: &Fragment| json!({ "Ref": fragment.reference, "Subdir": fragment.subdirectory });
    json!({
        "Scheme": url.scheme.name(),
        "Host": url.host,
        "Path": url.path,
        "User": url.user.as_ref().map(user),
        "Query": url.query,
        "Opts": url.fragment.as_ref().map(options),
        "Remote": "",
    })
}

fn remote_url(case: &Case) -> Result<(), String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = case.value["remotes"].as_array().cloned().unwrap_or_default();
    let remotes: Vec<Remote> = rows
        .iter()
        .map(|row| Remote {
            name: text(&row["name"]),
            url: text(&row["url"]),
        })
        .collect();
    let tracked = rows
        .iter()
        .find(|row| !text(&row["tracking"]).is_empty())
        .map(|row| text(&row["name"]));
    let found = source_url(&remotes, tracked.as_deref());
    let expected = Some(case.text("expected")).filter(|_| !case.expects_error("fail"));
    equal(expected, found)
}

/// `2020-09-13 14:26:40 +0200 +0200` as seconds since 1970 and minutes east of Greenwich.
fn instant(text: &str) -> Result<(i64, i32), String> {
    let malformed = || format!("`{text}` is no time");
    let digits: Vec<i64> = text
        .get(..19)
        .ok_or_else(malformed)?
        .split(['-', ' ', ':'])
        .map(|number| number.parse().map_err(|_| malformed()))
        .collect::<Result<_, _>>()?;
    let &[year, month, day, hour, minute, second] = digits.as_slice() else {
        return Err(malformed());
    };
    let offset: i32 = text
        .split(' ')
        .nth(2)
        .and_then(|zone| zone.parse().ok())
        .ok_or_else(malformed)?;
    let offset = offset / 100 * 60 + offset % 100;
    // Days of the months of a year that begins in March.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    let local = days * 86_400 + hour * 3_600 + minute * 60 + second;
    Ok((local - i64::from(offset) * 60, offset))
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn times_with_offsets_are_instants() {
        assert_eq!(instant("2020-09-13 14:26:40 +0200 +0200"), Ok((1_600_000_000, 120)));
        assert_eq!(instant("1969-12-31 22:30:00 -0130 -0130"), Ok((0, -90)));
        assert!(instant("yesterday").is_err());
    }
}
