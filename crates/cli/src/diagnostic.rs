//! Drawing a place in a file: the line with its neighbours, and a caret below.

use std::path::Path;

/// Lines shown before and after.
const AROUND: usize = 2;

/// Draws lines `start` to `end` (from 1) of a text, with the lines around them.
pub fn draw(file: &Path, text: &str, start: usize, end: usize, label: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = start.saturating_sub(AROUND).max(1);
    let last = (end + AROUND).min(lines.len());
    let width = last.to_string().len();
    let mut drawn = format!("{:width$}--> {}:{start}\n{:width$} |\n", "", file.display(), "");
    for number in first..=last {
        let line = lines.get(number - 1).copied().unwrap_or_default();
        let mark = if (start..=end).contains(&number) { ">" } else { " " };
        drawn.push_str(&format!("{number:width$} |{mark}{line}\n"));
        if number == end {
            let shown = lines.get(start - 1).copied().unwrap_or_default();
            let indent = shown.len() - shown.trim_start().len();
            let carets = "^".repeat(shown.trim().chars().count().max(1));
            drawn.push_str(&format!("{:width$} | {}{carets} {label}\n", "", " ".repeat(indent)));
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_shown_with_its_neighbours() {
        let drawn = draw(
            Path::new("Dockerfile"),
            "FROM a\nRUN x\nCOPI b c\nCMD d\n",
            3,
            3,
            "here",
        );
        assert_eq!(
            drawn,
            " --> Dockerfile:3\n  |\n1 | FROM a\n2 | RUN x\n3 |>COPI b c\n  | ^^^^^^^^ here\n4 | CMD d\n"
        );
    }
}
