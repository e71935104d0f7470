//! What functions give, by the documentation of the peers: an expression, and its value as JSON or the end of its error.

use crate::config::{File, Inputs, read};
use crate::model::Target;
use crate::resolve::{Selection, resolve};

use super::Host;

/// An expression's value as JSON text, or the message of its error.
fn value(expression: &str) -> Result<String, String> {
    let text = format!("target \"t\" {{\n  args = {{\n    a = jsonencode({expression})\n  }}\n}}\n");
    resolved("docker-bake.hcl", text).map(|target| target.args["a"].clone())
}

/// The target `t` of a file.
fn resolved(name: &str, text: String) -> Result<Target, String> {
    let files = [File {
        name: name.to_owned(),
        text,
    }];
    let inputs = Inputs {
        variables: Default::default(),
        environment: Default::default(),
        built_in: Default::default(),
        host: Host {
            now: 1_700_000_000,
            home: Some("/root".to_owned()),
            random: |bytes| bytes.fill(7),
        },
        file_relative_paths: false,
        read_file: &|_| Ok(None),
    };
    let definition = read(&files, &inputs).map_err(|error| error.to_string())?;
    let selection = Selection {
        targets: vec!["t".to_owned()],
        ..Selection::default()
    };
    let resolved = resolve(&definition.config, &selection).map_err(|error| error.to_string())?;
    Ok(resolved.targets["t"].clone())
}

/// Each row: an expression and its value, `!` before a part of its error.
fn check(rows: &[(&str, &str)]) {
    for (expression, expected) in rows {
        match (value(expression), expected.strip_prefix('!')) {
            (Ok(value), None) => assert_eq!(value, *expected, "{expression}"),
            (Err(error), Some(message)) => assert!(error.contains(message), "{expression}: {error}"),
            (Ok(value), Some(message)) => panic!("{expression} gives {value} and not the error {message}"),
            (Err(error), None) => panic!("{expression}: {error}"),
        }
    }
}

#[test]
fn verbs_and_flags_of_format() {
    check(&[
        (r#"format("100%% of %s", "it")"#, r#""100% of it""#),
        (r#"format("%v %v %v", "a", 1.5, true)"#, r#""a 1.5 true""#),
        (r#"format("%v %#v", null, "a")"#, r#""null \"a\"""#),
        (r#"format("%v", [1, "a"])"#, r#""[1,\"a\"]""#),
        (r#"format("%v %v", 100000, 1000000)"#, r#""100000 1e+06""#),
        (r#"format("%[2]s %[1]s", "a", "b")"#, r#""b a""#),
        (r#"format("%[2]s %s", "a", "b", "c")"#, r#""b c""#),
        (
            r#"format("[%5s] [%-5s] [%05s]", "ab", "ab", "ab")"#,
            r#""[   ab] [ab   ] [000ab]""#,
        ),
        (r#"format("%.2s %.2q", "hello", "hello")"#, r#""he \"he\"""#),
        (
            r#"format("%d %5d %-5d %05d %+d % d", 7, 7, 7, -7, 7, 7)"#,
            r#""7     7 7     -0007 +7  7""#,
        ),
        (r#"format("%b %o %x %X", 5, 9, 254, 254)"#, r#""101 11 fe FE""#),
        (
            r#"format("%#b %#o %#x %#X %#06x", 5, 9, 254, 254, 254)"#,
            r#""0b101 011 0xfe 0XFE 0x00fe""#,
        ),
        (r#"format("%.3d [%8.3d]", 7, 7)"#, r#""007 [     007]""#),
        (r#"format("%f %.1f %.4f", 10, "1.06", 2)"#, r#""10.000000 1.1 2.0000""#),
        (r#"format("%.20f", 0.1)"#, r#""0.10000000000000000000""#),
        (
            r#"format("%08.2f|%-8.2f|%+.1f", -1.5, 1.5, 1.5)"#,
            r#""-0001.50|1.50    |+1.5""#,
        ),
        (
            r#"format("%e %E %.1e", 1000, 1000, 12345)"#,
            r#""1.000000e+03 1.000000E+03 1.2e+04""#,
        ),
        (
            r#"format("%g %G %.3g", 1000, "1e-23", 1234.5)"#,
            r#""1000 1E-23 1.23e+03""#,
        ),
        (r#"format("%t %t", true, "false")"#, r#""true false""#),
        (r#"format("%d", "12")"#, r#""12""#),
        (r#"format("%s", null)"#, "!null value cannot be formatted"),
        (r#"format("%d", 1.5)"#, "!an integer is required"),
        (
            r#"format("%s")"#,
            "!not enough arguments for \"%s\" at 0: need index 1 but have 0 total",
        ),
        (r#"format("%[3]s", 1, 2)"#, "!not enough arguments for \"%[3]s\" at 0"),
        (
            r#"format("%[0]s", 1)"#,
            "!unrecognized format character '0' at offset 2",
        ),
        (
            r#"format("%z", 1)"#,
            "!unsupported format verb 'z' in \"%z\" at offset 0",
        ),
        (r#"format("%☠", 1)"#, "!unrecognized format character '☠' at offset 1"),
        (r#"format("none", 1)"#, "!too many arguments; no verbs in format string"),
        (
            r#"format("%d", 1, 2)"#,
            "!too many arguments; only 1 used by format string",
        ),
        (r#"formatlist("%s-%s", ["a", "b"], "x")"#, r#"["a-x","b-x"]"#),
        (r#"formatlist("%s", [])"#, "[]"),
        (
            r#"formatlist("%s%s", ["a", "b"], ["c"])"#,
            "!argument 2 has length 1, which is inconsistent",
        ),
    ]);
}

#[test]
fn text_is_counted_in_what_people_see() {
    check(&[
        (r#"strlen("e\u0301a👩‍👩‍👧")"#, "3"),
        (r#"substr("hello", 1, 3)"#, r#""ell""#),
        (r#"substr("hello", -3, 2)"#, r#""ll""#),
        (r#"substr("hello", -9, 2)"#, r#""he""#),
        (r#"substr("hello", 2, -1)"#, r#""llo""#),
        (r#"substr("hello", 7, 2)"#, r#""""#),
        (r#"substr("👩‍👩‍👧ab", 0, 2)"#, r#""👩‍👩‍👧a""#),
        (r#"reverse("e\u0301a")"#, r#""aé""#),
        (r#"title("hello wOrld o'neil_x")"#, r#""Hello WOrld O'Neil_x""#),
        (r#"indent(2, "a\nb\nc")"#, r#""a\n  b\n  c""#),
        (r#"chomp("a\r\n\n")"#, r#""a""#),
        (r#"trim("?!a?!", "!?")"#, r#""a""#),
        (r#"trimprefix("aab", "a")"#, r#""ab""#),
        (r#"split("", "abc")"#, r#"["a","b","c"]"#),
        (r#"split(",", "")"#, r#"[""]"#),
        (r#"join("-", ["a"], ["b", "c"])"#, r#""a-b-c""#),
        (r#"join("-")"#, "!at least one list is required"),
        (r#"upper("straße")"#, r#""STRAßE""#),
        (r#"replace("a.a", ".", "-")"#, r#""a-a""#),
        (r#"sort(["b", "a", "C"])"#, r#"["C","a","b"]"#),
        (r#"sort(["a", null])"#, "!null string cannot be sorted"),
    ]);
}

#[test]
fn patterns_are_those_of_re2() {
    check(&[
        (r#"regex("[a-z]+", "53453453.345345aaabbbccc23454")"#, r#""aaabbbccc""#),
        (r#"regex("(\\d+)-(\\d+)", "2019-02")"#, r#"["2019","02"]"#),
        (
            r#"regex("(?P<y>\\d+)-(?P<m>\\d+)?", "2019-")"#,
            r#"{"m":null,"y":"2019"}"#,
        ),
        (r#"regexall("[a-z]+", "1a2b")"#, r#"["a","b"]"#),
        (r#"regexall("[a-z]+", "12")"#, "[]"),
        (r#"regexall("\\d|\\w", "١aé")"#, r#"["a"]"#),
        (r#"regexall("[\\d[&&~~]", "1[&~x")"#, r#"["1","[","\u0026","~"]"#),
        (r#"regexall("[+--]", "+,-.")"#, r#"["+",",","-"]"#),
        (r#"regex("\\$\\{x}", "a$${x}")"#, r#""${x}""#),
        (r#"regex("{x}{2}", "{x}}")"#, r#""{x}}""#),
        (r#"regex("\\<a\\>", "<a>")"#, r#""\u003ca\u003e""#),
        (r#"regex("\\Qa.b\\E.", "a.bc")"#, r#""a.bc""#),
        (r#"regex("[[:alpha:]]+[]x]", "1ab]")"#, r#""ab]""#),
        (
            r#"regex("x", "y")"#,
            "!pattern did not match any part of the given string",
        ),
        (
            r#"regex("(a)(?P<n>b)", "ab")"#,
            "!cannot mix both named and unnamed capture groups",
        ),
        (r#"regex("(", "ab")"#, "!invalid regexp pattern"),
        (r#"regex_replace("-ab-axxb-", "a(x*)b", "$${1}W")"#, r#""-W-xxW-""#),
        (r#"regex_replace("-ab-axxb-", "a(?P<x>x*)b", "$${x}W")"#, r#""-W-xxW-""#),
    ]);
}

#[test]
fn collections() {
    check(&[
        (r#"element(["a", "b", "c"], 4)"#, r#""b""#),
        (r#"element(["a", "b", "c"], -1)"#, r#""c""#),
        (r#"element([], 0)"#, "!empty list"),
        (r#"coalescelist([], ["a"])"#, r#"["a"]"#),
        (
            r#"coalescelist("a")"#,
            "!coalescelist arguments must be lists or tuples",
        ),
        (r#"coalescelist()"#, "!at least one argument is required"),
        (r#"contains("abc", "a")"#, "!argument must be list, tuple, or set"),
        (r#"hasindex([1], 0) && !hasindex([1], 1)"#, "true"),
        (r#"hasindex({ a = 1 }, "a") && !hasindex({ a = 1 }, "b")"#, "true"),
        (r#"hasindex("abc", 0)"#, "!collection must be a list, a map or a tuple"),
        (r#"index({ foo = "bar", baz = "qux" }, "baz")"#, r#""qux""#),
        (r#"[byteslen("Docker"), byteslen("é")]"#, "[6,2]"),
        (r#"bytesslice("Docker", 0, 3)"#, r#""Doc""#),
        (r#"bytesslice("Docker", 4, 3)"#, "!greater than total buffer length 6"),
        (r#"bytesslice("Docker", -1, 3)"#, "!must be non-negative"),
        (r#"bytesslice("é", 0, 1)"#, "!within a character"),
        (r#"index(["a"], 0)"#, r#""a""#),
        (r#"length([1, 2])"#, "2"),
        (r#"length(convert({ a = 1 }, map(number)))"#, "1"),
        (r#"chunklist(["a", "b", "c"], 2)"#, r#"[["a","b"],["c"]]"#),
        (r#"chunklist(["a", "b"], 0)"#, r#"[["a","b"]]"#),
        (r#"chunklist(["a"], -1)"#, "!must be positive"),
        (r#"compact(["a", "", "b", null])"#, r#"["a","b"]"#),
        (r#"distinct(["a", "b", "a"])"#, r#"["a","b"]"#),
        (r#"flatten([["a"], [], ["b", ["c"]]])"#, r#"["a","b","c"]"#),
        (r#"keys({ b = 1, a = 2 })"#, r#"["a","b"]"#),
        (r#"values({ b = 1, a = 2 })"#, "[2,1]"),
        (r#"lookup({ a = 1 }, "b", 2)"#, "2"),
        (r#"merge({ a = 1 }, { a = 2, b = 3 })"#, r#"{"a":2,"b":3}"#),
        (r#"merge(null, null)"#, "null"),
        (r#"range(3)"#, "[0,1,2]"),
        (r#"range(1, 4)"#, "[1,2,3]"),
        (r#"range(4, 1, -2)"#, "[4,2]"),
        (r#"range(0, 1, 0)"#, "!step must not be zero"),
        (r#"range(2000)"#, "!more than 1024 values were generated"),
        (r#"slice(["a", "b", "c"], 1, 3)"#, r#"["b","c"]"#),
        (r#"zipmap(["a", "b"], [1, "x"])"#, r#"{"a":1,"b":"x"}"#),
        (
            r#"zipmap(["a"], [])"#,
            "!number of keys (1) does not match number of values (0)",
        ),
        (
            r#"setproduct(["a", "b"], ["c", "d"])"#,
            r#"[["a","c"],["a","d"],["b","c"],["b","d"]]"#,
        ),
        (
            r#"setproduct(["b", "a"], convert(["y", "x"], set(string)))"#,
            r#"[["a","x"],["a","y"],["b","x"],["b","y"]]"#,
        ),
        (r#"setproduct(["a"])"#, "!at least two arguments are required"),
        (r#"setunion(["b"], ["a", "b"])"#, r#"["a","b"]"#),
        (r#"setintersection(["a", "b"], ["b"], ["b", "c"])"#, r#"["b"]"#),
        (r#"setsubtract(["a", "b"], ["b"])"#, r#"["a"]"#),
        (r#"setsymmetricdifference(["a", "b"], ["b", "c"])"#, r#"["a","c"]"#),
        (r#"sethaselement(["a"], "a")"#, "true"),
    ]);
}

#[test]
fn numbers_and_conversions() {
    check(&[
        ("ceil(-1.2) + floor(1.8)", "0"),
        ("int(-1.5)", "-1"),
        ("signum(-3)", "-1"),
        ("log(16, 2)", "4"),
        ("pow(2, 10)", "1024"),
        ("modulo(-7, 3)", "-1"),
        ("divide(1, 0)", "!divided by zero"),
        (r#"parseint("ff", 16)"#, "255"),
        (r#"parseint("Z", 62)"#, "61"),
        (r#"parseint("g", 16)"#, "!cannot parse \"g\" as a base 16 integer"),
        ("max(1, 3, 2) + min(1, 3, 2)", "4"),
        ("max()", "!must pass at least one number"),
        (r#"convert("1", number)"#, "1"),
        (r#"convert(["1", 2], list(number))"#, "[1,2]"),
        (r#"convert({ a = 1, b = 2 }, object({ a = string }))"#, r#"{"a":"1"}"#),
        (r#"convert("x", number)"#, "!a number is required"),
    ]);
}

#[test]
fn encodings() {
    check(&[
        (r#"base64encode("héllo")"#, r#""aMOpbGxv""#),
        (r#"base64decode("aGVs\r\nbG8=")"#, r#""hello""#),
        (r#"base64decode("%")"#, "!failed to decode base64 data '%'"),
        (r#"base64decode("/w==")"#, "!not valid UTF-8"),
        (r#"urlencode("a b&c/é~")"#, r#""a+b%26c%2F%C3%A9~""#),
        (
            r#"jsonencode("<a> & \"b\" \\ é\t")"#,
            r#""\"\\u003ca\\u003e \\u0026 \\\"b\\\" \\\\ é\\t\"""#,
        ),
        (
            r#"jsonencode({ b = [1, null], a = true })"#,
            r#""{\"a\":true,\"b\":[1,null]}""#,
        ),
        (
            r#"jsonencode(jsondecode("\"\\u0008\\u000c\\u2028\\u007f\""))"#,
            "\"\\\"\\\\b\\\\f\\\\u2028\u{7f}\\\"\"",
        ),
        (r#"jsondecode("{\"a\": [1.50, \"x\"]}")"#, r#"{"a":[1.5,"x"]}"#),
        (
            r#"csvdecode("a,b\n1,\"x\"\"y\"\n\n2,3")"#,
            r#"[{"a":"1","b":"x\"y"},{"a":"2","b":"3"}]"#,
        ),
        (
            r#"csvdecode("a,b\n1")"#,
            "!CSV parse error on line 2: wrong number of fields",
        ),
        (r#"csvdecode("a,a\n")"#, "!duplicate column name \"a\""),
        (r#"csvdecode("")"#, "!missing header line"),
        (r#"md5("test")"#, r#""098f6bcd4621d373cade4e832627b4f6""#),
        (r#"sha1("test")"#, r#""a94a8fe5ccb19ba61c4c0873d391e987982fbbd3""#),
        (
            r#"sha256("test")"#,
            r#""9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08""#,
        ),
        (r#"substr(sha512("test"), 0, 16)"#, r#""ee26b0dd4af7e749""#),
        (r#"uuidv5("dns", "tada")"#, r#""faa898db-9b9d-5b75-86a9-149e7bb8e3b8""#),
        (
            r#"uuidv5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "tada") == uuidv5("urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8", "tada")"#,
            "true",
        ),
        (r#"uuidv5("tada", "tada")"#, "!doesn't support"),
        (
            r#"regex("^........-....-4...-[89ab]...-............$", uuidv4()) != """#,
            "true",
        ),
        (r#"substr(bcrypt("test"), 0, 7)"#, r#""$2a$10$""#),
        (r#"substr(bcrypt("test", 2), 0, 7)"#, r#""$2a$10$""#),
        (r#"substr(bcrypt("test", 4), 0, 7)"#, r#""$2a$04$""#),
        (
            r#"bcrypt("test", 10, 10)"#,
            "!bcrypt() takes no more than two arguments",
        ),
    ]);
}

#[test]
fn networks() {
    check(&[
        (r#"cidrhost("192.168.1.0/24", 5)"#, r#""192.168.1.5""#),
        (r#"cidrhost("192.168.1.0/24", -5)"#, r#""192.168.1.251""#),
        (
            r#"cidrhost("192.168.1.0/30", 255)"#,
            "!prefix of 30 does not accommodate a host numbered 255",
        ),
        (r#"cidrhost("fe80::/48", 6)"#, r#""fe80::6""#),
        (r#"cidrhost("nonsense", 6)"#, "!invalid CIDR expression"),
        (r#"cidrnetmask("192.168.1.0/27")"#, r#""255.255.255.224""#),
        (r#"cidrnetmask("1::/64")"#, r#""ffff:ffff:ffff:ffff::""#),
        (r#"cidrsubnet("192.168.2.0/20", 4, 6)"#, r#""192.168.6.0/24""#),
        (r#"cidrsubnet("fe80::/48", 16, 6)"#, r#""fe80:0:0:6::/64""#),
        (
            r#"cidrsubnet("192.168.0.0/30", 4, 6)"#,
            "!insufficient address space to extend prefix of 30 by 4",
        ),
        (
            r#"cidrsubnet("192.168.0.0/16", 2, 16)"#,
            "!prefix extension of 2 does not accommodate a subnet numbered 16",
        ),
        (
            r#"cidrsubnet("fe80::/48", 33, 6)"#,
            "!may not extend prefix by more than 32 bits",
        ),
        (
            r#"cidrsubnets("10.0.0.0/21", 3, 3, 3, 4)"#,
            r#"["10.0.0.0/24","10.0.1.0/24","10.0.2.0/24","10.0.3.0/25"]"#,
        ),
        (
            r#"cidrsubnets("10.0.0.0/8", 0)"#,
            "!must extend prefix by at least one bit",
        ),
        (
            r#"cidrsubnets("10.0.0.0/24", 9)"#,
            "!which is too long for an IPv4 address",
        ),
        (
            r#"cidrsubnets("10.0.0.0/24", 1, 1, 1)"#,
            "!not enough remaining address space",
        ),
        (r#"cidrsubnets("10.0.0.0/24")"#, "[]"),
    ]);
}

#[test]
fn versions() {
    check(&[
        (r#"semvercmp("1.2.3", ">= 1.2, < 2")"#, "true"),
        (r#"semvercmp("v1.2.3", "^1.1")"#, "true"),
        (r#"semvercmp("1.2.3", "1.2.x")"#, "true"),
        (r#"semvercmp("1.3.0", "~1.2.0")"#, "false"),
        (r#"semvercmp("3.1.0", "~0.0.0")"#, "true"),
        (r#"semvercmp("0.0.4", "^0.0.3")"#, "false"),
        (r#"semvercmp("0.2.9", "^0.2.3")"#, "true"),
        (r#"semvercmp("11.1.0", "> 11")"#, "false"),
        (r#"semvercmp("11.1.0", "<= 11")"#, "true"),
        (r#"semvercmp("1.5.0", "1.2 - 2.3.4")"#, "true"),
        (r#"semvercmp("1.5.0", "< 1 || > 1.4")"#, "true"),
        (r#"semvercmp("2.0.0-rc.1", ">= 1.0")"#, "false"),
        (r#"semvercmp("2.0.0-rc.1", "!= 3.0")"#, "false"),
        (r#"semvercmp("2.0.0-rc.1", ">= 1.0, < 2.0.0-rc.2")"#, "true"),
        (r#"semvercmp("x", ">= 1")"#, "!invalid semantic version"),
        (r#"semvercmp("1.0", "abc")"#, "!improper constraint"),
    ]);
}

#[test]
fn times() {
    check(&[
        (
            r#"formatdate("DD MMM YYYY hh:mm ZZZ", "2018-01-02T23:12:01Z")"#,
            r#""02 Jan 2018 23:12 UTC""#,
        ),
        (
            r#"formatdate("EEEE, DD-MMM-YY hh:mm:ss ZZZ", "2018-01-02T23:12:01Z")"#,
            r#""Tuesday, 02-Jan-18 23:12:01 UTC""#,
        ),
        (
            r#"formatdate("EEE, DD MMM YYYY hh:mm:ss ZZZ", "2018-01-02T23:12:01-08:00")"#,
            r#""Tue, 02 Jan 2018 23:12:01 -0800""#,
        ),
        (
            r#"formatdate("H'h'mm AA aa", "2018-01-02T23:12:01Z")"#,
            r#""11h12 PM pm""#,
        ),
        (
            r#"formatdate("'o''clock' '' M", "2018-01-02T23:12:01Z")"#,
            r#""o'clock ' 1""#,
        ),
        (
            r#"formatdate("Z ZZZZZ", "2018-01-02T23:12:01+01:00")"#,
            r#""+01:00 +01:00""#,
        ),
        (r#"formatdate("YYY", "2018-01-02T23:12:01Z")"#, "!year must either be"),
        (r#"formatdate("'x", "2018-01-02T23:12:01Z")"#, "!unterminated literal '"),
        (r#"formatdate("YYYY", "2018-01-02")"#, "!not a valid RFC3339 timestamp"),
        (
            r#"timeadd("2017-11-22T00:00:00Z", "1h30m")"#,
            r#""2017-11-22T01:30:00Z""#,
        ),
        (
            r#"timeadd("2017-11-22T00:00:00Z", "-10m")"#,
            r#""2017-11-21T23:50:00Z""#,
        ),
        (
            r#"timeadd("2017-11-22T00:00:00Z", "1500ms")"#,
            r#""2017-11-22T00:00:01Z""#,
        ),
        (
            r#"timeadd("2017-11-22T00:00:00+02:00", "1h")"#,
            r#""2017-11-22T01:00:00+02:00""#,
        ),
        (r#"timeadd("2017-11-22T00:00:00Z", "2x")"#, "!invalid duration"),
        ("timestamp()", r#""2023-11-14T22:13:20Z""#),
    ]);
}

/// Made with `openssl genrsa -traditional 1024` and `openssl pkeyutl -encrypt -pkeyopt rsa_padding_mode:pkcs1`.
#[test]
fn ciphertexts_of_rsa() {
    let key = include_str!("testdata/rsa.pem");
    let ciphertext = include_str!("testdata/rsa.ciphertext");
    let decrypted = |ciphertext: &str| value(&format!("rsadecrypt(<<C\n{ciphertext}C\n, <<K\n{key}K\n)"));
    assert_eq!(decrypted(ciphertext).as_deref(), Ok("\"message\""));
    let error = decrypted("AAAA\n").expect_err("no ciphertext");
    assert!(error.contains("failed to decrypt"), "{error}");
}

#[test]
fn objects_of_the_json_form_name_an_attribute_once() {
    let args = |args: &str| {
        resolved(
            "docker-bake.json",
            format!(r#"{{"target": {{"t": {{"args": {args}}}}}}}"#),
        )
    };
    assert!(args(r#"{"a": "1", "b": "2"}"#).is_ok());
    let error = args(r#"{"a": "1", "a": "2"}"#).expect_err("twice");
    assert!(
        error.contains("An attribute named \"a\" was already defined."),
        "{error}"
    );
}
