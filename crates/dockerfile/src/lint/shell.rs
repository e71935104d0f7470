//! A shell's text as the simple commands in it: enough to tell a program that is run from a word that only names it.

/// One simple command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ShellCommand {
    /// The program's file name.
    pub(super) program: String,
    /// What follows it, without quotes.
    pub(super) arguments: Vec<String>,
}

/// Words that stand before a command without changing which program it runs.
const PREFIXES: [&str; 16] = [
    "!", "{", "(", "if", "then", "else", "elif", "while", "until", "do", "exec", "time", "nice", "sudo", "command",
    "env",
];

impl ShellCommand {
    fn of(words: &[String]) -> Option<ShellCommand> {
        let mut words = words.iter();
        let program = words.find(|word| !PREFIXES.contains(&word.as_str()) && !is_assignment(word))?;
        if program.is_empty() {
            return None;
        }
        Some(ShellCommand {
            program: program.rsplit('/').next().unwrap_or(program).to_owned(),
            arguments: words.cloned().collect(),
        })
    }

    /// Its first argument that is no flag.
    pub(super) fn subcommand(&self) -> &str {
        let found = self.arguments.iter().find(|word| !word.starts_with(['-', '+']));
        found.map_or("", String::as_str)
    }

    /// The value of a flag, written `--flag value` or `--flag=value`.
    pub(super) fn value(&self, flags: &[&str]) -> Option<&str> {
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            for flag in flags {
                match argument.strip_prefix(flag) {
                    Some("") => return arguments.next().map(String::as_str),
                    Some(rest) if rest.starts_with('=') => return Some(&rest[1..]),
                    _ => {}
                }
            }
        }
        None
    }

    /// As a person would name it: the program and its subcommand.
    pub(super) fn name(&self) -> String {
        let is_word = |word: &&str| {
            let mut letters = word.chars();
            !word.is_empty() && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        };
        let mut name = self.program.clone();
        let words = self.arguments.iter().map(String::as_str);
        let mut words = words.filter(|word| !word.starts_with(['-', '+']));
        if let Some(subcommand) = words.next().filter(is_word) {
            name = format!("{name} {subcommand}");
            // The word after these says what is really done.
            if let "run" | "clean" = subcommand
                && let Some(word) = words.next().filter(is_word)
            {
                name = format!("{name} {word}");
            }
        }
        name
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        let mut letters = name.chars();
        letters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    })
}

/// The simple commands of a text, in order. Quotes, backslashes and comments are heeded; substitutions count as part of
/// the word that they stand in.
pub(super) fn commands(text: &str) -> Vec<ShellCommand> {
    let mut commands = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars().peekable();
    let mut quote = None;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('"') | None, '\\') => {
                // A backslash before a line's end joins two lines.
                if let Some(escaped) = letters.next().filter(|next| *next != '\n') {
                    word.get_or_insert_default().push(escaped);
                }
            }
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => {
                while letters.peek().is_some_and(|next| *next != '\n') {
                    letters.next();
                }
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '$') if letters.peek() == Some(&'(') => {
                let text = word.get_or_insert_default();
                text.push('$');
                substitution(&mut letters, text);
            }
            (None, ';' | '&' | '|' | '\n' | '(' | ')') => {
                words.extend(word.take());
                commands.extend(ShellCommand::of(&words));
                words.clear();
            }
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    commands.extend(ShellCommand::of(&words));
    commands
}

/// Takes `(…)` with what is nested in it.
fn substitution(letters: &mut impl Iterator<Item = char>, text: &mut String) {
    let mut depth = 0_usize;
    for letter in letters {
        text.push(letter);
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        commands(text).iter().map(ShellCommand::name).collect()
    }

    #[test]
    fn programs_are_told_from_words_that_name_them() {
        assert_eq!(
            names("apt-get install -y gcc make && rm -rf /x"),
            ["apt-get install", "rm"]
        );
        assert_eq!(
            names("CC=gcc make -j4 all; (cd a && npm ci)"),
            ["make all", "cd a", "npm ci"]
        );
        assert_eq!(names("if true; then /usr/bin/gcc -c a.c; fi"), ["true", "gcc", "fi"]);
        assert_eq!(names("echo 'gcc; make' \"a && b\" # make\nmake"), ["echo", "make"]);
        assert_eq!(names("n=$(nproc; gcc) cmake --build ."), ["cmake"]);
        assert_eq!(names("a \\\n b"), ["a b"]);
        assert_eq!(names("'"), Vec::<String>::new());
    }

    #[test]
    fn flags_have_values() {
        let command = &commands("pip wheel --wheel-dir=/w -r r.txt")[0];
        assert_eq!(command.value(&["-w", "--wheel-dir"]), Some("/w"));
        assert_eq!(command.value(&["-r"]), Some("r.txt"));
        assert_eq!(command.value(&["--prefix"]), None);
    }
}
