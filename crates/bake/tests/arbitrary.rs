//! Whatever the text, reading it ends: in a definition or in an error, without a panic and in bounded time.

use std::collections::BTreeMap;

use kiln_bake::config::{Definition, File, Inputs, read};
use kiln_bake::functions::Host;
use kiln_bake::resolve::{Selection, resolve};
use kiln_bake::{BakeError, compose};
use proptest::prelude::*;

fn read_text(name: &str, text: &str) -> Result<Definition, BakeError> {
    let file = File {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let inputs = Inputs {
        variables: BTreeMap::new(),
        environment: BTreeMap::new(),
        built_in: BTreeMap::new(),
        host: Host {
            now: 0,
            home: None,
            random: |_| {},
        },
        file_relative_paths: false,
        read_file: &|_| Ok(None),
    };
    let definition = read(&[file], &inputs)?;
    let selection = Selection {
        targets: vec!["*".to_owned()],
        ..Selection::default()
    };
    // What is wrong with the targets together is another question; it must be answered, too.
    _ = resolve(&definition.config, &selection).map_err(|error| error.to_string());
    Ok(definition)
}

/// The message of the error of one expression, or its value as a build argument.
fn argument(expression: &str) -> Result<String, String> {
    let text = format!("target \"t\" {{\n args = {{\n a = {expression}\n }}\n}}\n");
    let definition = read_text("a.hcl", &text).map_err(|error| error.to_string())?;
    Ok(definition.config.targets[0].args.get("a").cloned().unwrap_or_default())
}

/// Pieces of which definitions are made, so that nonsense is often nearly sense.
fn pieces(list: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(list), 0..40).prop_map(|pieces| pieces.concat())
}

const HCL: &[&str] = &[
    "target",
    "\"a\"",
    "{",
    "}",
    "\n",
    "=",
    " ",
    "[",
    "]",
    "(",
    ")",
    "${",
    "%{ if ",
    "%{ endif }",
    "\"",
    "<<EOT\n",
    "EOT\n",
    "for",
    "in",
    "variable",
    "function",
    "args",
    "tags",
    "matrix",
    "name",
    "x",
    ".",
    "*",
    "[*]",
    "...",
    "?",
    ":",
    "-",
    "!",
    "==",
    "1",
    "1e9",
    "null",
    "true",
    ",",
    "~",
    "$${",
    "\\u00e9",
    "é",
    "\u{301}",
    "#",
    "//",
    "/*",
    "*/",
    "target.a.tags",
    "range(1, 9)",
    "format(\"%s\", 1)",
    "try(",
    "inherits",
];
const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"target\"",
    "\"a\"",
    "\"${x}\"",
    "\"args\"",
    "1",
    "-0.5e3",
    "null",
    "true",
    "\"",
    "\\",
    "\"variable\"",
    "\"default\"",
    "\"function\"",
    "\"%{\"",
    " ",
    "\n",
];
const YAML: &[&str] = &[
    "services:\n",
    "  a:\n",
    "    build:\n",
    "      context: .\n",
    "      args:\n",
    "        - X=${Y:-z}\n",
    "    image: b\n",
    "      x-bake:\n",
    "        tags: c\n",
    "secrets:\n",
    "include:\n",
    "- d\n",
    "&e ",
    "*e\n",
    "<<: *e\n",
    "extends: a\n",
    "{",
    "}",
    "[",
    "]",
    "$",
    "${",
    ": ",
    "\n",
    "  ",
    "!!str ",
    "|\n",
    "'",
    "\"",
    "null\n",
    "1\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn hcl_never_panics(text in pieces(HCL)) {
        _ = read_text("a.hcl", &text).map_err(|error| error.to_string());
    }

    #[test]
    fn json_never_panics(text in pieces(JSON)) {
        _ = read_text("a.json", &text).map_err(|error| error.to_string());
    }

    #[test]
    fn compose_never_panics(text in pieces(YAML)) {
        _ = read_text("compose.yaml", &text).map_err(|error| error.to_string());
    }

    #[test]
    fn any_text_in_any_language(text in ".{0,200}") {
        for name in ["a.hcl", "a.json", "compose.yml", "-"] {
            _ = read_text(name, &text).map_err(|error| error.to_string());
        }
        _ = compose::parse_dotenv(&text, &|_| None);
    }

    #[test]
    fn every_function_with_any_arguments(
        name in prop::sample::select(kiln_bake::functions::names().collect::<Vec<_>>()),
        arguments in prop::collection::vec(prop::sample::select(vec![
            "1", "-1", "0", "0.5", "99999999999999999999", "1e300", "\"\"", "\"a\"", "\"é\u{301}b\"", "\"10.0.0.0/8\"",
            "\"2020-01-01T00:00:00Z\"", "\"%s %d\"", "\"(a)(?P<n>b)\"", "[]", "[1, 2]", "[\"a\", \"b\"]", "[[1], [2]]",
            "{}", "{ a = 1 }", "{ a = \"b\" }", "null", "true", "\"1h\"", "\">= 1\"", "\"YYYY\"", "4294967296",
        ]), 0..4),
    ) {
        _ = argument(&format!("jsonencode({name}({}))", arguments.join(", ")));
    }
}

#[test]
fn what_would_take_all_memory_or_time_is_an_error() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(50_000), close.repeat(50_000));
    let many = format!("1{}", " + 1".repeat(100_000));
    let doubled = (0..40).fold("\"ab\"".to_owned(), |text, _| {
        format!("\"${{{text}}}${{{text}}}\"").chars().take(4000).collect()
    });
    for expression in [
        deep("(", ")").as_str(),
        &deep("[", "]"),
        &deep("{ a = ", " }"),
        &deep("!", ""),
        &deep("\"${", "}\""),
        &deep("try(", ")"),
        &many,
        &doubled,
        "1 / 0",
        "5 % 0",
        "divide(1, 0)",
        "modulo(1, 0)",
        "1e100000",
        "pow(10, 100000)",
        "range(1, 1000000000)",
        "indent(1000000000, \"\\n\\n\\n\")",
        "format(\"%999999999d\", 1)",
        "join(\"\", [for a in range(1000): join(\"\", [for b in range(1000): replace(\"xxxxxxxxxx\", \"x\", \"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\")])])",
        "setproduct(range(1000), range(1000), range(1000))",
        "regex_replace(\"aaaaaaaaaa\", \"a\", replace(\"x\", \"x\", \"$0$0$0$0\"))[9]",
    ] {
        let error = argument(expression).expect_err("is refused");
        assert!(error.len() < 2000, "{error}");
    }
}

#[test]
fn numbers_have_all_their_digits() {
    assert_eq!(argument("0.1 + 0.2").as_deref(), Ok("0.3"));
    assert_eq!(
        argument("12345678901234567890123 + 1").as_deref(),
        Ok("12345678901234567890124")
    );
    assert_eq!(argument("10 / 4").as_deref(), Ok("2.5"));
    assert_eq!(argument("-7 % 3").as_deref(), Ok("-1"));
}

#[test]
fn values_and_their_types() {
    for (expression, expected) in [
        ("\"a${1 + 1}b\"", "a2b"),
        (
            "jsonencode([for k, v in { b = 2, a = 1 }: \"${k}=${v}\"])",
            "[\"a=1\",\"b=2\"]",
        ),
        (
            "jsonencode({ for v in [\"a\", \"b\", \"a\"]: v => 1... })",
            "{\"a\":[1,1],\"b\":[1]}",
        ),
        ("jsonencode([{ a = 1 }, { a = 2 }][*].a)", "[1,2]"),
        ("jsonencode([{ a = 1 }, { a = 2 }].*.a)", "[1,2]"),
        ("true ? 1 : \"x\"", "1"),
        ("\"%{ for x in [1, 2] ~} <${x}> %{~ endfor }\"", "<1><2>"),
        ("\"%{ if false }a%{ else }b%{ endif }\"", "b"),
        ("<<-EOT\n    a\n      b\n    EOT\n", "a\n  b\n"),
        ("<<EOT\n${\"x\"}\n$${y}\nEOT\n", "x\n${y}\n"),
        ("try([1][5], \"fallback\")", "fallback"),
        ("can([1][5])", "false"),
        ("jsonencode(convert([\"1\"], list(number)))", "[1]"),
        ("jsonencode(setproduct([\"a\", \"b\"], [1]))", "[[\"a\",1],[\"b\",1]]"),
        ("jsonencode(regexall(\"[a-z]\", \"a1b\"))", "[\"a\",\"b\"]"),
        (
            "jsonencode(regex(\"(?P<x>.)(?P<y>.)\", \"ab\"))",
            "{\"x\":\"a\",\"y\":\"b\"}",
        ),
        ("regex_replace(\"ab12\", \"([a-z])([0-9])\", \"$2-$1\")", "a1-b2"),
        (
            "format(\"%05.1f|%-4s|%x|%q\", 3.14159, \"a\", 255, \"q\")",
            "003.1|a   |ff|\"q\"",
        ),
        (
            "formatdate(\"EEE, DD MMM YYYY hh:mm:ss ZZZ\", \"2020-02-03T04:05:06Z\")",
            "Mon, 03 Feb 2020 04:05:06 UTC",
        ),
        ("timeadd(\"2020-01-01T00:00:00Z\", \"1h30m\")", "2020-01-01T01:30:00Z"),
        (
            "jsonencode(cidrsubnets(\"10.0.0.0/16\", 4, 8))",
            "[\"10.0.0.0/20\",\"10.0.16.0/24\"]",
        ),
        ("cidrhost(\"10.12.127.0/20\", -1)", "10.12.127.255"),
        (
            "uuidv5(\"dns\", \"www.example.com\")",
            "2ed6657d-e927-568b-95e1-2665a8aea6a2",
        ),
        ("md5(\"hello\")", "5d41402abc4b2a76b9719d911017c592"),
        ("sha1(\"hello\")", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d"),
        ("title(\"hello wORLD\")", "Hello WORLD"),
        ("substr(\"hello\", -3, 2)", "ll"),
        ("strlen(\"e\\u0301x\")", "2"),
        ("jsonencode(csvdecode(\"a,b\\n1,2\\n\"))", "[{\"a\":\"1\",\"b\":\"2\"}]"),
        ("jsonencode(chunklist([1, 2, 3], 2))", "[[1,2],[3]]"),
        ("jsonencode(merge({ a = 1 }, { b = \"c\" }))", "{\"a\":1,\"b\":\"c\"}"),
        ("urlencode(\"a b&c\")", "a+b%26c"),
        ("semvercmp(\"1.4.0\", \"^1.2 || >= 3\")", "true"),
        ("parseint(\"ff\", 16)", "255"),
    ] {
        assert_eq!(argument(expression).as_deref(), Ok(expected), "{expression}");
    }
}
