//! The syntax tree: one node an instruction, with the words that its own splitting rules give.

use crate::Lines;

/// A parsed file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The instructions, in order.
    pub nodes: Vec<Node>,
    /// The escape character.
    pub escape: Escape,
    /// Directives at the top: name, value, line.
    pub directives: Vec<Directive>,
}

/// The escape character of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Escape {
    /// `\`.
    #[default]
    Backslash,
    /// `` ` ``.
    Backtick,
}

impl Escape {
    /// The character.
    pub fn character(self) -> char {
        match self {
            Escape::Backslash => '\\',
            Escape::Backtick => '`',
        }
    }
}

/// `# name=value` at the top of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directive {
    /// In lower case: `syntax`, `escape` or `check`.
    pub name: String,
    /// As written.
    pub value: String,
    /// Where.
    pub line: usize,
}

/// One instruction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The instruction's word as written.
    pub keyword: String,
    /// The line after joining what was continued.
    pub original: String,
    /// `--name=value` words, as written.
    pub flags: Vec<String>,
    /// The arguments.
    pub arguments: Vec<String>,
    /// Whether the arguments were a JSON array.
    pub json: bool,
    /// The instruction inside ONBUILD.
    pub child: Option<Box<Node>>,
    /// Here-documents that the line opens, with their contents.
    pub heredocs: Vec<Heredoc>,
    /// The comment directly above, a line each.
    pub comments: Vec<String>,
    /// Where.
    pub lines: Lines,
}

/// A here-document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it.
    pub name: String,
    /// The number before `<<`; 0 if there is none.
    pub descriptor: u32,
    /// Whether variables in it are expanded: the word is not quoted.
    pub expand: bool,
    /// Whether leading tabs are taken away (`<<-`).
    pub chomp: bool,
    /// The lines.
    pub content: String,
}

impl Node {
    /// The instruction's word in lower case.
    pub fn name(&self) -> String {
        self.keyword.to_lowercase()
    }

    /// The form that the peers' parser prints its trees in.
    pub fn dump(&self) -> String {
        let mut text = self.name();
        if !self.flags.is_empty() {
            let flags: Vec<String> = self.flags.iter().map(|flag| quoted(flag)).collect();
            text.push_str(&format!(" [{}]", flags.join(" ")));
        }
        if let Some(child) = &self.child {
            text.push_str(&format!(" ({})", child.dump()));
        }
        for argument in &self.arguments {
            text.push(' ');
            text.push_str(&quoted(argument));
        }
        text.trim().to_owned()
    }
}

impl Tree {
    /// The form that the peers' parser prints its trees in.
    pub fn dump(&self) -> String {
        let lines: Vec<String> = self.nodes.iter().map(|node| format!("({})", node.dump())).collect();
        lines.join("\n")
    }
}

/// Go's `strconv.Quote`.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            letter if (letter as u32) < 0x20 || letter as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", letter as u32))
            }
            letter if letter.is_control() || letter == '\u{a0}' || letter == '\u{feff}' => {
                quoted.push_str(&format!("\\u{:04x}", letter as u32))
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}
