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
    let fits = |all: &Vec<Constraint>| {
        // A pre-release is wanted only where one of the constraints names one.
        let wanted = version.pre.is_empty() || all.iter().any(|constraint| !constraint.version.pre.is_empty());
        wanted && all.iter().all(|constraint| constraint.holds(&version))
    };
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
    /// What is open in it is missing.
    version: Version,
    /// Whether no number is given at all: `*`.
    any: bool,
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
        let (numbers, tail) = bare.split_at(bare.find(['-', '+']).unwrap_or(bare.len()));
        let known: Vec<&str> = numbers.split('.').take_while(|part| !wild(part)).collect();
        if !numbers.split('.').skip(known.len()).all(wild) {
            return None;
        }
        let any = known.is_empty();
        let known = if any { "0".to_owned() } else { known.join(".") };
        Some(Constraint {
            operator,
            version: Version::parse(&format!("{known}{tail}"))?,
            any,
        })
    }

    fn holds(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let order = version.order(wanted);
        let (major, minor, _) = version.numbers();
        // Which numbers are open; of `*` none is, and it counts as 0.0.0.
        let open_minor = !self.any && wanted.minor.is_none();
        let open_patch = !self.any && wanted.minor.is_some() && wanted.patch.is_none();
        let is_open = self.any || wanted.patch.is_none();
        let wanted_minor = wanted.minor.unwrap_or(0);
        match self.operator {
            Operator::Equal if is_open => self.is_near(version),
            Operator::Equal => order.is_eq(),
            Operator::NotEqual if open_minor => major != wanted.major,
            Operator::NotEqual if open_patch => {
                (major, minor) != (wanted.major, wanted_minor) || version.pre != wanted.pre
            }
            Operator::NotEqual => order.is_ne(),
            Operator::Greater if open_minor => major > wanted.major,
            Operator::Greater if open_patch => (major, minor) > (wanted.major, wanted_minor),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual if open_minor => major <= wanted.major,
            Operator::LessOrEqual if is_open => (major, minor) <= (wanted.major, wanted_minor),
            Operator::LessOrEqual => order.is_le(),
            Operator::Tilde => self.is_near(version),
            Operator::Caret => {
                let caret = match (wanted.major, wanted.minor, wanted.patch) {
                    _ if self.any => true,
                    (0, Some(0), Some(patch)) => version.numbers() == (0, 0, patch),
                    (0, Some(wanted), _) => major == 0 && minor == wanted,
                    (wanted, ..) => major == wanted,
                };
                order.is_ge() && caret
            }
        }
    }

    /// `~1.2.3`: of the same minor version, or of the same major one if no minor one is named. `~0.0.0` is everything.
    fn is_near(&self, version: &Version) -> bool {
        let wanted = &self.version;
        let (major, minor, _) = version.numbers();
        let everything = self.any || (wanted.patch.is_some() && wanted.numbers() == (0, 0, 0));
        let near = major == wanted.major && wanted.minor.is_none_or(|wanted| minor == wanted);
        version.order(wanted).is_ge() && (everything || near)
    }
}
