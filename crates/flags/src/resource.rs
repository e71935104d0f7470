//! `--resource`: limits of the control groups of steps.

use kiln_oci::Resources;

use crate::FlagError;
use crate::limit::size;

/// Reads `KEY=VALUE` each; a later value takes the place of an earlier one.
pub fn resources(written: &[String]) -> Result<Resources, FlagError> {
    let mut resources = Resources::default();
    for text in written {
        let (key, value) = text.split_once('=').ok_or_else(|| FlagError::Resource(text.clone()))?;
        let invalid = || FlagError::Resource(text.clone());
        let (key, value) = (key.trim(), value.trim());
        let number = || value.parse::<u64>().map_err(|_| invalid());
        let set = || {
            let fits = !value.is_empty()
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'-'));
            fits.then(|| value.to_owned()).ok_or_else(invalid)
        };
        match key {
            "memory" => resources.memory = Some(size(value)?),
            "memory-swap" if value == "-1" => resources.memory_swap = Some(-1),
            "memory-swap" => resources.memory_swap = Some(i64::try_from(size(value)?).map_err(|_| invalid())?),
            "cpu-shares" => resources.cpu_shares = Some(number()?),
            "cpu-period" => resources.cpu_period = Some(number()?),
            "cpu-quota" => resources.cpu_quota = Some(value.parse().map_err(|_| invalid())?),
            "cpuset-cpus" => resources.cpuset_cpus = Some(set()?),
            "cpuset-mems" => resources.cpuset_mems = Some(set()?),
            _ => return Err(FlagError::UnknownResource(key.to_owned())),
        }
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &[&str]) -> Result<Resources, FlagError> {
        resources(&written.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn limits_have_units_and_sets() {
        let all = read(&[
            "memory=2g",
            "memory-swap=-1",
            "cpu-quota=50000",
            "cpuset-cpus=0-3,5",
            "memory=1m",
        ]);
        assert_eq!(
            all.expect("valid"),
            Resources {
                memory: Some(1 << 20),
                memory_swap: Some(-1),
                cpu_quota: Some(50_000),
                cpuset_cpus: Some("0-3,5".to_owned()),
                ..Resources::default()
            }
        );
        for bad in [
            "memory",
            "memory=x",
            "cpu-shares=-1",
            "cpuset-cpus=a",
            "disk=1g",
            "cpuset-mems=",
        ] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
    }
}
