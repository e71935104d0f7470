//! What processes may take of the machine (OCI runtime specification, `config-linux.md`, control groups).

use serde::{Deserialize, Serialize};

/// Limits of the control group of a process and of all that it starts. What is None is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 is no limit of swap.
    pub memory_swap: Option<i64>,
    /// Weight among groups that want the processors; 1024 is what others have.
    pub cpu_shares: Option<u64>,
    /// Microseconds of a period of `cpu_quota`; 100 000 if it is not given.
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period, on all processors together; -1 is no limit.
    pub cpu_quota: Option<i64>,
    /// Processors, such as `0-3,5`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, such as `0-1`.
    pub cpuset_mems: Option<String>,
}

impl Resources {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Resources::default()
    }
}
