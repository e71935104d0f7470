//! Semantic versions against constraints: `>= 1.2, < 2 || ^3.1`.

use std::cmp::Ordering;

use crate::value::Value;

use super::{Call, Function, FunctionError, Kind, Outcome, function, parameter};

pub(super) const FUNCTIONS: &[Function] = &[function(
    "semvercmp",
    &[
        parameter("version", Kind::String),
        parameter("constraint", Kind::String),
    ],
    compare,
)];

fn compare(call: &Call<'_>) -> Outcome {
    let version = Version::parse(call.text(0)?).ok_or_else(|| FunctionError::from("invalid semantic version"))?;
    let constraint = call.text(1)?;
    let invalid = || FunctionError::from(format!("improper constraint: {constraint}"));
    let alternatives = constraint
        .split("||")
        .map(|alternative| all_of(alternative).ok_or_else(invalid))
        .collect::<Result<Vec<_>, _>>()?;
    let fits = |all: &Vec<Constraint>| all.iter().all(|constraint| constraint.holds(&version));
    Ok(Value::Bool(alternatives.iter().any(fits)))
}

/// A version, of which the end may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    major: u64,
    minor: Option<u64>,
    patch: Option<u64>,
    pre: String,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let text = text.trim();
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text
            .split_once('+')
            .map_or((text, None), |(text, build)| (text, Some(build)));
        let (numbers, pre) = text
            .split_once('-')
            .map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
        let fine = |part: &str| {
            part.split('.').all(|word| {
                !word.is_empty()
                    && word
                        .bytes()
                        .all(|letter| letter.is_ascii_alphanumeric() || letter == b'-')
            })
        };
        if !build.is_none_or(fine) || !pre.is_none_or(fine) {
            return None;
        }
        let numbers: Vec<u64> = numbers.split('.').map(number).collect::<Option<_>>()?;
        if numbers.is_empty() || numbers.len() > 3 {
            return None;
        }
        Some(Version {
            major: numbers[0],
            minor: numbers.get(1).copied(),
            patch: numbers.get(2).copied(),
            pre: pre.unwrap_or_default().to_owned(),
        })
    }

    fn numbers(&self) -> (u64, u64, u64) {
        (self.major, self.minor.unwrap_or(0), self.patch.unwrap_or(0))
    }

    fn order(&self, other: &Version) -> Ordering {
        self.numbers()
            .cmp(&other.numbers())
            .then_with(|| pre_release(&self.pre, &other.pre))
    }
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// No pre-release comes after every pre-release; numbers come before words.
fn pre_release(one: &str, two: &str) -> Ordering {
    match (one.is_empty(), two.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let mut ones = one.split('.');
    let mut twos = two.split('.');
    loop {
        let order = match (ones.next(), twos.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(one), Some(two)) => match (number(one), number(two)) {
                (Some(one), Some(two)) => one.cmp(&two),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => one.cmp(two),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[derive(Debug)]
struct Constraint {
    operator: Operator,
    /// None for `*`.
    version: Option<Version>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

const OPERATORS: [(&str, Operator); 12] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
    ("=", Operator::Equal),
    ("", Operator::Equal),
];

/// Constraints that are separated by commas or spaces; `1.2 - 2.3` is a range.
fn all_of(text: &str) -> Option<Vec<Constraint>> {
    let mut all = Vec::new();
    let mut pending: Option<Operator> = None;
    let words: Vec<&str> = text.split([',', ' ', '\t']).filter(|word| !word.is_empty()).collect();
    let mut words = words.into_iter().peekable();
    while let Some(word) = words.next() {
        let (mark, operator) = OPERATORS.iter().find(|(mark, _)| word.starts_with(mark))?;
        let rest = &word[mark.len()..];
        if rest.is_empty() {
            if pending.is_some() {
                return None;
            }
            pending = Some(*operator);
            continue;
        }
        let operator = match (pending.take(), *mark) {
            (Some(operator), "") => operator,
            (Some(_), _) => return None,
            (None, _) => *operator,
        };
        if words.peek() == Some(&"-") {
            words.next();
            let end = words.next()?;
            all.push(Constraint::new(Operator::GreaterOrEqual, rest)?);
            all.push(Constraint::new(Operator::LessOrEqual, end)?);
            continue;
        }
        all.push(Constraint::new(operator, rest)?);
    }
    (!all.is_empty() && pending.is_none()).then_some(all)
}

impl Constraint {
    fn new(operator: Operator, text: &str) -> Option<Constraint> {
        let wild = |part: &str| matches!(part, "*" | "x" | "X");
        let bare = text.strip_prefix('v').unwrap_or(text);
        let (numbers, _) = bare.split_once(['-', '+']).unwrap_or((bare, ""));
        let known: Vec<&str> = numbers.split('.').take_while(|part| !wild(part)).collect();
        if !numbers.split('.').skip(known.len()).all(wild) {
            return None;
        }
        let version = match (known.is_empty(), known.len() == numbers.split('.').count()) {
            (true, _) => None,
            (false, true) => Some(Version::parse(text)?),
            (false, false) => Some(Version::parse(&known.join("."))?),
        };
        Some(Constraint { operator, version })
    }

    fn holds(&self, version: &Version) -> bool {
        let Some(wanted) = &self.version else {
            return version.pre.is_empty() && self.operator != Operator::NotEqual;
        };
        // A pre-release is wanted only where the constraint names one.
        if !version.pre.is_empty() && wanted.pre.is_empty() && self.operator != Operator::NotEqual {
            return false;
        }
        let order = version.order(wanted);
        let same_part = || match (wanted.minor, wanted.patch) {
            (None, _) => version.major == wanted.major,
            (Some(minor), None) => version.major == wanted.major && version.minor.unwrap_or(0) == minor,
            (Some(_), Some(_)) => order.is_eq(),
        };
        let (major, minor, patch) = version.numbers();
        match self.operator {
            Operator::Equal => same_part(),
            Operator::NotEqual => !same_part(),
            Operator::Greater => order.is_gt() && !(wanted.patch.is_none() && same_part()),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le() || (wanted.patch.is_none() && same_part()),
            Operator::Tilde => {
                order.is_ge() && major == wanted.major && wanted.minor.is_none_or(|wanted| minor == wanted)
            }
            Operator::Caret => {
                let caret = match (wanted.major, wanted.minor, wanted.patch) {
                    (0, Some(0), Some(wanted)) => major == 0 && minor == 0 && patch == wanted,
                    (0, Some(wanted), _) => major == 0 && minor == wanted,
                    (wanted, ..) => major == wanted,
                };
                order.is_ge() && caret
            }
        }
    }
}
