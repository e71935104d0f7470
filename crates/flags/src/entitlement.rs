//! `--allow`: what is forbidden unless it is said.

use crate::FlagError;

/// Something that steps may do or see.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `network.host`
    HostNetwork,
    /// `security.insecure`
    Insecure,
    /// `device`, or `device=NAME` for one.
    Device(Option<String>),
}

impl Entitlement {
    /// As it is written.
    pub fn text(&self) -> String {
        match self {
            Entitlement::HostNetwork => "network.host".to_owned(),
            Entitlement::Insecure => "security.insecure".to_owned(),
            Entitlement::Device(None) => "device".to_owned(),
            Entitlement::Device(Some(name)) => format!("device={name}"),
        }
    }
}

/// What is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// To steps.
    pub entitlements: Vec<Entitlement>,
    /// Whether writing a result may delete what is in the directory.
    pub deletes_local_output: bool,
}

/// Reads every value; empty ones are left out.
pub fn allowed(written: &[String]) -> Result<Allowed, FlagError> {
    let mut allowed = Allowed::default();
    for text in written.iter().filter(|text| !text.is_empty()) {
        match text.as_str() {
            "network.host" => allowed.entitlements.push(Entitlement::HostNetwork),
            "security.insecure" => allowed.entitlements.push(Entitlement::Insecure),
            "device" => allowed.entitlements.push(Entitlement::Device(None)),
            "buildx.local.output.delete" => allowed.deletes_local_output = true,
            other => match other.strip_prefix("device=").filter(|name| !name.is_empty()) {
                Some(name) => allowed.entitlements.push(Entitlement::Device(Some(name.to_owned()))),
                None => return Err(FlagError::Entitlement(other.to_owned())),
            },
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_exists_can_be_allowed() {
        let found = allowed(&["device=a".into(), "network.host".into(), String::new()]).expect("known");
        assert_eq!(found.entitlements.len(), 2);
        assert_eq!(found.entitlements[0].text(), "device=a");
        assert!(!found.deletes_local_output);
        assert_eq!(allowed(&["all".into()]), Err(FlagError::Entitlement("all".into())));
    }
}
