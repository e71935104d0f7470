//! Drawing a place in a file: the line with its neighbours, and a caret below.

use std::path::Path;

/// Lines shown before and after.
const AROUND: usize = 2;

/// Draws lines `start` to `end` (from 1) of a text, with the lines around them.
pub fn draw(file: &Path, text: &str, start: usize, end: usize, label: &str) -> String {
    draw_marked(file, text, (start, end), None, label)
}

/// Draws a line (from 1) of a text with the lines around it, and marks columns (from 1, the last excluded) of it.
pub fn draw_columns(file: &Path, text: &str, line: usize, columns: (usize, usize), label: &str) -> String {
    draw_marked(file, text, (line, line), Some(columns), label)
}

fn draw_marked(
    file: &Path,
    text: &str,
    (start, end): (usize, usize),
    columns: Option<(usize, usize)>,
    label: &str,
) -> String {
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
            let (indent, carets) = match columns {
                // Tabs stay tabs, so that the mark stands below what it marks.
                Some((from, to)) => (
                    shown
                        .chars()
                        .take(from.saturating_sub(1))
                        .map(|letter| if letter == '\t' { '\t' } else { ' ' })
                        .collect(),
                    to.saturating_sub(from),
                ),
                None => (
                    " ".repeat(shown.len() - shown.trim_start().len()),
                    shown.trim().chars().count(),
                ),
            };
            let carets = "^".repeat(carets.max(1));
            drawn.push_str(&format!("{:width$} | {indent}{carets} {label}\n", ""));
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
