//! Elements whose text and attributes are always escaped: markup has no other way in than the names of elements and
//! attributes, which are constants of this program.

use std::fmt::Write as _;

/// HTML under construction.
#[derive(Debug, Default)]
pub struct Html(String);

/// Elements without content.
const VOID: [&str; 2] = ["br", "hr"];

impl Html {
    /// An element, with attributes and content.
    pub fn element(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &str)],
        content: impl FnOnce(&mut Html),
    ) {
        self.0.push('<');
        self.0.push_str(name);
        for (attribute, value) in attributes {
            // Writing to a string cannot fail.
            let _ = write!(self.0, " {attribute}=\"{}\"", escaped(value));
        }
        self.0.push('>');
        if VOID.contains(&name) {
            return;
        }
        content(self);
        let _ = write!(self.0, "</{name}>");
        if matches!(name, "div" | "section" | "details" | "li" | "tr" | "p" | "h2" | "h3") {
            self.0.push('\n');
        }
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.0.push_str(&escaped(text));
    }

    /// What was built.
    pub fn finish(self) -> String {
        self.0
    }
}

/// Text that means itself, in content and in quoted attributes. Controls, and characters that turn the direction of
/// what follows, are spelt out: they could make a page say something else than its text does.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            '\n' | '\t' => shown.push(letter),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.extend(letter.escape_unicode());
            }
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_gets_out_of_its_place() {
        let mut html = Html::default();
        let hostile = "\"'><script>alert(1)</script>&amp;\0\u{202e}";
        html.element("a", &[("title", hostile)], |link| link.text(hostile));
        let shown = "&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;amp;\\u{0}\\u{202e}";
        assert_eq!(html.finish(), format!("<a title=\"{shown}\">{shown}</a>"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_only_text(text in "\\PC*|.*") {
            let shown = escaped(&text);
            proptest::prop_assert!(!shown.contains(['<', '>', '"', '\'', '\0']));
            let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            for (at, _) in shown.match_indices('&') {
                proptest::prop_assert!(entities.iter().any(|entity| shown[at..].starts_with(entity)));
            }
        }
    }
}
