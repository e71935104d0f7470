//! What holds for any input whatever: nothing panics, and what comes out is a tag.

use kiln_meta::provider::{Provider, Variables};
use kiln_meta::{Document, Event, GitRef, Input, Inputs, Metadata, Options, Template};
use proptest::prelude::*;

/// Text that is likely to reach deep: pieces of the languages that the inputs are written in.
fn likely() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "type=",
        "semver",
        "pep440",
        "match",
        "schedule",
        "edge",
        "ref",
        "raw",
        "sha",
        ",",
        "pattern=",
        "value=",
        "event=",
        "branch",
        "tag",
        "pr",
        "enable=",
        "priority=",
        "prefix=",
        "suffix=",
        "group=",
        "format=",
        "long",
        "match=",
        "\"",
        "{{",
        "}}",
        "{{{",
        "}}}",
        "~",
        "#if ",
        "/if",
        "else",
        "^",
        "!",
        "--",
        "date",
        " 'YYYY'",
        " tz='Asia/Tokyo'",
        "'",
        "(",
        ")",
        "[",
        "]",
        "*",
        "+",
        "\\d",
        "\\",
        "/",
        ".",
        "v1.2.3",
        "1.0rc1",
        "-",
        "\n",
        "# ",
        "latest=",
        "true",
        "false",
        "onlatest=",
        "name=",
        "é",
        " ",
        "=",
        "is_default_branch",
        "raw",
        "version",
        "major",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![3 => likely(), 1 => ".{0,60}"]
}

fn is_tag(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || b"._-".contains(&letter))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn inputs_give_tags_or_errors(
        texts in prop::collection::vec(any_text(), 5),
        name in prop::sample::select(vec!["push", "schedule", "pull_request", ""]),
        git_ref in prop_oneof![
            any_text(),
            any_text().prop_map(|text| format!("refs/tags/{text}")),
            any_text().prop_map(|text| format!("refs/heads/{text}")),
        ],
        commit in any_text(),
        seconds in -400_000_000_000i64..=253_402_207_200,
    ) {
        let mut inputs = Inputs::default();
        for (input, text) in Input::ALL.into_iter().zip(&texts) {
            // What is refused is left out, so that the rest is tried all the same.
            let _ = inputs.add(input, text);
        }
        let event = Event { name: name.to_owned(), git_ref: GitRef::parse(&git_ref), commit, ..Event::default() };
        let options = Options {
            now: jiff::Timestamp::from_second(seconds.max(jiff::Timestamp::MIN.as_second())).unwrap_or_default(),
            ..Options::default()
        };
        if let Ok(metadata) = Metadata::compute(&inputs, &event, &options) {
            for name in metadata.tag_names() {
                prop_assert!(is_tag(&name), "{name:?}");
            }
            prop_assert!(metadata.labels().iter().all(|label| label.contains('=')));
        }
    }

    #[test]
    fn templates_and_files_are_read_or_refused(text in any_text(), indented in any_text()) {
        let _ = Template::parse(&text);
        let _ = Document::parse("x", &text);
        let _ = Document::parse("x", &format!("tags: |\n  {indented}\nlabels:\n- {text}\n"));
    }

    #[test]
    fn formats_of_dates_are_written(format in "[A-Za-z\\[\\]\\\\ -]{0,20}", zone in prop::sample::select(vec!["UTC", "Asia/Tokyo", "America/St_Johns"])) {
        let mut inputs = Inputs::default();
        let rule = format!("x={{{{{{date '{format}-' tz='{zone}'}}}}}}");
        inputs.push(Input::Labels, 1, &rule)?;
        let computed = Metadata::compute(&inputs, &Event::default(), &Options::default());
        prop_assert!(computed.is_ok(), "{computed:?}");
    }

    #[test]
    fn services_tell_anything(values in prop::collection::vec(any_text(), 8), text in any_text()) {
        let names = [
            "GITHUB_REF", "GITHUB_EVENT_NAME", "CI_COMMIT_TAG", "CI_COMMIT_TIMESTAMP", "BUILDKITE_REPO", "GIT_URL", "GIT_BRANCH",
            "BUILDKITE_PULL_REQUEST",
        ];
        let variables: Variables = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
        let payload = serde_json::json!({"commits": [{"id": text, "timestamp": text}], "repository": text, "number": -1});
        for provider in Provider::ALL {
            let _ = provider.event(&variables, &payload, true);
        }
    }
}

#[test]
fn the_largest_entries_end_in_time() {
    let mut inputs = Inputs::default();
    let deep = format!("type=match,pattern={}", "(".repeat(15_000));
    inputs.add(Input::Tags, &deep).expect("short enough");
    let event = Event {
        git_ref: GitRef::parse("refs/tags/v1"),
        ..Event::default()
    };
    assert!(Metadata::compute(&inputs, &event, &Options::default()).is_err());
    let mut inputs = Inputs::default();
    inputs.add(Input::Labels, &"{{".repeat(8_000)).expect("short enough");
    assert!(Metadata::compute(&inputs, &event, &Options::default()).is_err());
}
