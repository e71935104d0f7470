//! Ports of EXPOSE: `80`, `80/udp`, `8000-8010/tcp`, and the forms of `docker run -p`, of which only the
//! container's side counts.

/// A text that names no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// The ports that a text names, as `number/protocol`.
pub fn parse_port(text: &str) -> Result<Vec<String>, PortError> {
    let (address, protocol) = match text.rsplit_once('/') {
        Some((address, protocol)) => (address, protocol.to_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    let protocol = if protocol.is_empty() {
        "tcp".to_owned()
    } else {
        protocol
    };
    let container = address.rsplit_once(':').map_or(address, |(_, container)| container);
    let invalid = |reason: &str| PortError(format!("invalid port: {text:?}: {reason}"));
    if container.is_empty() {
        return Err(invalid("no port specified"));
    }
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(invalid(&format!("invalid proto: {protocol}")));
    }
    let number = |text: &str| {
        text.parse::<u16>()
            .map_err(|_| invalid(&format!("invalid containerPort: {container}")))
    };
    let (first, last) = match container.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(container)?, number(container)?),
    };
    if first > last {
        return Err(invalid(&format!("invalid containerPort: {container}")));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_side_counts() {
        assert_eq!(parse_port("80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(parse_port("53/UDP"), Ok(vec!["53/udp".into()]));
        assert_eq!(
            parse_port("8000-8002"),
            Ok(vec!["8000/tcp".into(), "8001/tcp".into(), "8002/tcp".into()])
        );
        assert_eq!(parse_port("[::1]:80:81/tcp"), Ok(vec!["81/tcp".into()]));
        for bad in ["", "x", "80/ip", "70000", "3-1", "0.0.0.0:1234-1235:/tcp"] {
            assert!(parse_port(bad).is_err(), "{bad}");
        }
    }
}
