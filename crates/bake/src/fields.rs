//! Comma-separated values, with quotes as in CSV: `type=local,"dest=a,b"`.

/// The fields of one line.
///
/// # Errors
/// A quote that is not closed, or one in the middle of a field.
pub fn split(text: &str) -> Result<Vec<String>, String> {
    match records(text)?.as_slice() {
        [] => Ok(vec![String::new()]),
        [fields] => Ok(fields.clone()),
        _ => Err("more than one line".to_owned()),
    }
}

/// All lines that are not empty.
///
/// # Errors
/// A quote that is not closed, or one in the middle of a field.
pub fn records(text: &str) -> Result<Vec<Vec<String>>, String> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut letters = text.chars().peekable();
    let mut at_field_start = true;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if at_field_start => {
                at_field_start = false;
                loop {
                    match letters.next() {
                        Some('"') if letters.peek() == Some(&'"') => {
                            letters.next();
                            field.push('"');
                        }
                        Some('"') => break,
                        Some(letter) => field.push(letter),
                        None => return Err("extraneous or missing \" in quoted-field".to_owned()),
                    }
                }
                if letters.peek().is_some_and(|next| !matches!(next, ',' | '\n' | '\r')) {
                    return Err("extraneous or missing \" in quoted-field".to_owned());
                }
            }
            '"' => return Err("bare \" in non-quoted-field".to_owned()),
            ',' => {
                record.push(std::mem::take(&mut field));
                at_field_start = true;
            }
            '\r' if letters.peek() == Some(&'\n') => {}
            '\n' => {
                if !(record.is_empty() && field.is_empty() && at_field_start) {
                    record.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut record));
                }
                at_field_start = true;
            }
            letter => {
                at_field_start = false;
                field.push(letter);
            }
        }
    }
    if !(record.is_empty() && field.is_empty() && at_field_start) {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_commas() {
        assert_eq!(
            split("type=local,\"dest=a,b\"").expect("valid"),
            ["type=local", "dest=a,b"]
        );
        assert_eq!(split("").expect("valid"), [""]);
        assert!(split("\"a").is_err());
        assert!(split("a\"b").is_err());
        assert_eq!(
            records("a,b\n1,\"2\"\"\"\n\n").expect("valid"),
            [["a", "b"], ["1", "2\""]]
        );
    }
}
