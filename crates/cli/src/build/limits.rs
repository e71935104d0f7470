//! Limits of steps that this machine cannot set.

use kiln_graph::Event;
use kiln_oci::Resources;
use kiln_sandbox::control_group;

use super::{BuildRequest, Machine};
use crate::command_error::chain;

/// Leaves limits out that cannot be set here, and says so: the build gives the same without them.
pub(super) fn keep_possible(request: &mut BuildRequest, machine: &Machine) {
    let resources = &mut request.plan.resources;
    if let Err(error) = control_group::check(resources) {
        *resources = Resources::default();
        machine.events.send(Event::Warning {
            message: format!(
                "steps run without the limits of `resources`: {}",
                chain(&error).join(": ")
            ),
            hints: vec!["`kiln doctor` shows what this machine allows".to_owned()],
        });
    }
}
