//! `--ssh`: agents and keys that steps can mount.

/// One agent, or keys that stand in for one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    /// Its name in `RUN --mount=type=ssh`.
    pub id: String,
    /// A socket or keys; None is the agent of the environment.
    pub paths: Option<Vec<String>>,
}

/// Reads every value: `ID`, or `ID=PATH,PATH`. Empty ones are left out.
pub fn agents(written: &[String]) -> Vec<Ssh> {
    let given = written.iter().filter(|text| !text.is_empty());
    given
        .map(|text| match text.split_once('=') {
            Some((id, paths)) => Ssh {
                id: id.to_owned(),
                paths: Some(paths.split(',').map(str::to_owned).collect()),
            },
            None => Ssh {
                id: text.clone(),
                paths: None,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_behind_the_name() {
        let found = agents(&["default".into(), "a=k,l".into(), String::new()]);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].paths, None);
        assert_eq!(found[1].paths, Some(vec!["k".to_owned(), "l".to_owned()]));
    }
}
