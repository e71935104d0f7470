//! `RUN --device`: a device by its name in the Container Device Interface, as comma-separated fields.

use crate::diagnostic::SyntaxError;

/// A device that a step asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceSpec {
    /// Its qualified name, such as `vendor.com/class=name`.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
}

/// Reads one `--device` value: a name alone, or `name=NAME,required`.
pub fn parse_device(text: &str) -> Result<DeviceSpec, SyntaxError> {
    let mut device = DeviceSpec::default();
    for field in text.split(',').map(str::trim) {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("name", Some(_)) if !device.name.is_empty() => {
                return Err(SyntaxError::new(format!("device name already set to {}", device.name)));
            }
            ("name", Some(name)) => name.clone_into(&mut device.name),
            ("required", None | Some("true" | "1")) => device.required = true,
            ("required", Some("false" | "0")) => device.required = false,
            ("required", Some(value)) => {
                return Err(SyntaxError::new(format!("invalid value for required: {value}")));
            }
            // A device's own name has an equals sign in it.
            _ if device.name.is_empty() => field.clone_into(&mut device.name),
            (_, None) => {
                return Err(SyntaxError::new(format!(
                    "invalid field '{field}' must be a key=value pair"
                )));
            }
            (key, Some(_)) => return Err(SyntaxError::new(format!("unexpected key '{key}' in '{field}'"))),
        }
    }
    if device.name.is_empty() {
        return Err(SyntaxError::new("a device needs a name").hint("write `--device=vendor.com/class=name`"));
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_alone_or_by_its_field() {
        let device = |text: &str| parse_device(text).map(|device| (device.name, device.required));
        assert_eq!(device("v.com/d=foo"), Ok(("v.com/d=foo".into(), false)));
        assert_eq!(device("v.com/d=foo,required"), Ok(("v.com/d=foo".into(), true)));
        assert_eq!(
            device("name=v.com/d=foo,required=false"),
            Ok(("v.com/d=foo".into(), false))
        );
        assert!(device("").is_err() && device("a,b").is_err() && device("required=maybe,a").is_err());
    }
}
