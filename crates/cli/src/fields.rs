//! Comma-separated `key=value` fields of flags such as `--output`: quotes as in CSV.

/// The fields of a value, in order. A field without an equals sign has no value.
pub fn parse(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut fields = Vec::new();
    for field in split(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (field.as_str(), None),
        };
        fields.push((key.trim().to_lowercase(), value));
    }
    Ok(fields)
}

/// Splits at commas outside quotes; a doubled quote inside quotes is one.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    if quoted {
        return Err(format!("`{text}` has a quote that is not closed"));
    }
    fields.push(field);
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_outside_quotes() {
        let fields = parse("type=local,\"dest=a,b\",push").expect("well-formed");
        let expected = [("type", Some("local")), ("dest", Some("a,b")), ("push", None)];
        assert_eq!(
            fields,
            expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)))
        );
        assert!(parse("\"a").is_err());
    }
}
