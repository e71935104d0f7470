//! `--chmod` of COPY and ADD: octal, or symbolic as chmod(1) reads it.

/// A parsed mode change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeChange {
    /// The permission bits themselves, 07777 at most.
    Octal(u32),
    /// Clauses that are carried out from left to right.
    Symbolic(Vec<Clause>),
}

/// One clause such as `go-w`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    who: Who,
    operator: Operator,
    permissions: Vec<Permission>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Who {
    user: bool,
    group: bool,
    other: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Permission {
    Read,
    Write,
    Execute,
    /// Execute for directories and for files that someone may execute already.
    ExecuteIfUseful,
    SetId,
    Sticky,
    OfUser,
    OfGroup,
    OfOther,
}

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
pub struct ChmodError(pub String);

impl ModeChange {
    /// Reads an octal or a symbolic mode.
    pub fn parse(text: &str) -> Result<ModeChange, ChmodError> {
        let error = || ChmodError(text.to_owned());
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o7777 => Ok(ModeChange::Octal(mode)),
                _ => Err(error()),
            };
        }
        let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(clauses).collect();
        clauses.map(|all| ModeChange::Symbolic(all.concat())).ok_or_else(error)
    }

    /// The mode that a file or directory of mode `mode` gets.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            ModeChange::Octal(octal) => *octal,
            ModeChange::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| clause.apply(mode, directory)),
        }
    }
}

/// One comma-separated piece: who, then one or more operators with their permissions.
fn clauses(text: &str) -> Option<Vec<Clause>> {
    let start = text.find(['+', '-', '='])?;
    let mut who = Who::default();
    for letter in text[..start].chars() {
        match letter {
            'u' => who.user = true,
            'g' => who.group = true,
            'o' => who.other = true,
            'a' => {
                who = Who {
                    user: true,
                    group: true,
                    other: true,
                }
            }
            _ => return None,
        }
    }
    if who == Who::default() {
        who = Who {
            user: true,
            group: true,
            other: true,
        };
    }
    let mut found: Vec<Clause> = Vec::new();
    for letter in text[start..].chars() {
        let operator = match letter {
            '+' => Some(Operator::Add),
            '-' => Some(Operator::Remove),
            '=' => Some(Operator::Set),
            _ => None,
        };
        match operator {
            Some(operator) => found.push(Clause {
                who,
                operator,
                permissions: Vec::new(),
            }),
            None => found.last_mut()?.permissions.push(permission(letter)?),
        }
    }
    Some(found)
}

fn permission(letter: char) -> Option<Permission> {
    Some(match letter {
        'r' => Permission::Read,
        'w' => Permission::Write,
        'x' => Permission::Execute,
        'X' => Permission::ExecuteIfUseful,
        's' => Permission::SetId,
        't' => Permission::Sticky,
        'u' => Permission::OfUser,
        'g' => Permission::OfGroup,
        'o' => Permission::OfOther,
        _ => return None,
    })
}

impl Clause {
    fn apply(&self, mode: u32, directory: bool) -> u32 {
        let mut bits = 0;
        let mut covered = 0;
        for (selected, shift, set_id) in [
            (self.who.user, 6, 0o4000),
            (self.who.group, 3, 0o2000),
            (self.who.other, 0, 0),
        ] {
            if selected {
                bits |= self.class_bits(mode, directory) << shift;
                covered |= 0o7 << shift;
                if self.permissions.contains(&Permission::SetId) {
                    bits |= set_id;
                }
                // A directory keeps its set-id bits unless they are named.
                if !directory {
                    covered |= set_id;
                }
            }
        }
        if self.permissions.contains(&Permission::Sticky) {
            bits |= 0o1000;
        }
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !covered) | bits,
        }
    }

    /// The three bits of one class.
    fn class_bits(&self, mode: u32, directory: bool) -> u32 {
        self.permissions.iter().fold(0, |bits, permission| {
            bits | match permission {
                Permission::Read => 0o4,
                Permission::Write => 0o2,
                Permission::Execute => 0o1,
                Permission::ExecuteIfUseful => u32::from(directory || mode & 0o111 != 0),
                Permission::OfUser => (mode >> 6) & 0o7,
                Permission::OfGroup => (mode >> 3) & 0o7,
                Permission::OfOther => mode & 0o7,
                Permission::SetId | Permission::Sticky => 0,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_apply_as_chmod_does() {
        let table = [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("u+x", 0o600, false, 0o700),
            ("+x", 0o644, false, 0o755),
            ("a=r", 0o777, false, 0o444),
            ("go-w", 0o666, false, 0o644),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("g=u", 0o640, false, 0o660),
            ("u+s,+t", 0o755, false, 0o5755),
            ("u-x+w", 0o500, false, 0o600),
        ];
        for (text, mode, directory, expected) in table {
            let change = ModeChange::parse(text).expect(text);
            assert_eq!(change.apply(mode, directory), expected, "{text} on {mode:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "64a", "10000", "8", "u", "z+x", "u+q", "u+x,", "x"] {
            assert_eq!(ModeChange::parse(text), Err(ChmodError(text.into())), "{text}");
        }
    }
}
