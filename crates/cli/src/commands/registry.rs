//! `kiln registry serve`.

use crate::args::{RegistryArgs, RegistryCommand};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::{machine, output};

/// Serves until interrupted.
pub fn run(args: &RegistryArgs, environment: &Environment) -> Result<i32, CommandError> {
    let RegistryCommand::Serve { addr } = &args.command;
    let store = machine::store(environment)?;
    let runtime = machine::runtime()?;
    runtime.block_on(async {
        let failed = |error: &dyn std::error::Error| CommandError::from_error(ErrorKind::Environment, error);
        let listener = tokio::net::TcpListener::bind(addr)
            .await
            .map_err(|error| failed(&error).hint("choose another port, or 0 for a free one"))?;
        let address = listener.local_addr().map_err(|error| failed(&error))?;
        output::line(&address.to_string());
        let stop = machine::cancel_on_interrupt();
        kiln_registry::server::serve(listener, store, stop.cancelled_owned())
            .await
            .map_err(|error| failed(&error))?;
        Ok(0)
    })
}
