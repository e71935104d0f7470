//! `kiln bake`.

mod list;
mod remote_definition;

use std::collections::{BTreeSet, HashMap};

use kiln_bake::config::Definition;
use kiln_bake::model::printed;
use kiln_graph::{Op, VertexId};
use kiln_oci::Platform;
use serde_json::Value;

use super::build::{Surroundings, explain, is_foreign, metadata, on_this_machine, recording, write_json};
use crate::args::BakeArgs;
use crate::build::request::Destination;
use crate::build::together::{self, Failed, NamedRequest, Plan};
use crate::build::{BuildRequest, BuildResult, Output};
use crate::command_error::{CommandError, ErrorKind};
use crate::environment::Environment;
use crate::output;
use crate::settings::bake::remote::ask_agents;
use crate::settings::bake::{self, Requests, Subject};
use crate::settings::{self, call};

/// Builds the targets of a definition, or says what they are.
pub fn run(args: &BakeArgs, environment: &Environment) -> Result<i32, CommandError> {
    if args.print && args.list.is_some() {
        return Err(CommandError::user("--print and --list are mutually exclusive").hint("leave one of them out"));
    }
    let subject = Subject::of(&args.targets);
    let (definition, origin) = match &subject.definition {
        None => (bake::definition(args, &subject, environment)?, None),
        Some(url) => remote_definition::read(url, args, &subject, environment)?,
    };
    warn(&definition);
    if let Some(list) = &args.list {
        return list::show(list, &definition).map(|()| 0);
    }
    let mut resolved = bake::resolved(args, &subject, &definition, environment)?;
    if let Some(origin) = &origin {
        origin.place_contexts(&mut resolved);
    }
    let mut resolved = bake::with_clean_paths(resolved);
    if args.print {
        let text = serde_json::to_string_pretty(&printed(&resolved.targets, &resolved.groups))
            .map_err(|error| CommandError::from_error(ErrorKind::Environment, &error))?;
        output::line(&text);
        return Ok(0);
    }
    if resolved.targets.is_empty() {
        return Err(
            CommandError::user("there is nothing to build").hint("`kiln bake --list=targets` shows the targets")
        );
    }
    if let Some(origin) = &origin {
        origin.prepare(&mut resolved, environment)?;
    }
    ask_agents(&mut resolved, subject.definition.as_deref(), environment);
    bake::check_entitlements(args, &subject, &resolved, environment)?;
    let requests = bake::requests(args, &resolved, environment)?;
    let surroundings = Surroundings {
        args: &requests.common,
        steps: settings::step_settings(&requests.common, environment)?,
        foreign: requests.targets.iter().any(|target| is_foreign(&target.request)),
        recorded: None,
        environment,
    };
    if !requests.calls.is_empty() {
        return answer(&requests, surroundings);
    }
    if args.dry_run {
        let planned = on_this_machine(surroundings, async |machine| {
            together::plan_all(&requests.targets, machine).await
        });
        let (plan, identities, _) = planned?;
        let plan = plan.map_err(|failed| explained(failed, &requests, identities))?;
        plan_lines(&plan, &requests.targets)
            .iter()
            .for_each(|line| output::line(line));
        return Ok(0);
    }
    let asked: Vec<&BuildRequest> = requests.targets.iter().map(|target| &target.request).collect();
    let surroundings = Surroundings {
        recorded: Some(recording::summary(
            subject.definition.as_deref().unwrap_or("bake"),
            &asked,
        )),
        ..surroundings
    };
    let (built, identities, recording) = on_this_machine(surroundings, async |machine| {
        together::run(&requests.targets, machine).await
    })?;
    let built = built.map_err(|failed| explained(failed, &requests, identities));
    let published = built.as_ref().map(|built| {
        built
            .iter()
            .filter_map(|(_, result)| result.published.as_ref())
            .collect()
    });
    recording.finish(published, requests.common.work.explain);
    let built = built?;
    report(args, &requests, &built).map(|()| 0)
}

fn explained(failed: Failed, requests: &Requests, identities: kiln_sandbox::IdentityMap) -> CommandError {
    let target = &requests.targets[failed.target];
    let mut command = explain(failed.error, identities);
    if requests.targets.len() > 1 {
        command
            .messages
            .insert(0, format!("failed to build target `{}`", target.name));
    }
    command
}

fn warn(definition: &Definition) {
    for warning in &definition.warnings {
        let place = warning
            .span
            .map(|span| format!("{}: ", definition.sources.describe(span)))
            .unwrap_or_default();
        output::talk(&format!("warning: {place}{}", warning.detail));
        for hint in &warning.hints {
            output::talk(&format!("hint: {hint}"));
        }
    }
}

/// Asks each Dockerfile what was to be asked. The exit code is the highest.
fn answer(requests: &Requests, surroundings: Surroundings<'_>) -> Result<i32, CommandError> {
    let mut calls = Vec::new();
    for (position, target) in requests.targets.iter().enumerate() {
        match requests.calls.get(&target.name) {
            Some(args) => calls.push((position, call::call(args)?)),
            None if target.linked_only => {}
            None => {
                let error = CommandError::user(format!(
                    "target `{}` is to be built, others only to be looked at",
                    target.name
                ));
                return Err(
                    error.hint("choose what to do with all of them with --call, or name the targets of one kind")
                );
            }
        }
    }
    let several = calls.len() > 1;
    let (answered, identities, _) = on_this_machine(surroundings, async |machine| {
        let mut highest = 0;
        for (target, call) in calls {
            let named = &requests.targets[target];
            if several && !call.json {
                output::line(&format!("{}:", named.name));
            }
            let code = super::call::run(call, &named.request, machine).await;
            highest = highest.max(code.map_err(|error| Failed { error, target })?);
        }
        Ok(highest)
    })?;
    answered.map_err(|failed| explained(failed, requests, identities))
}

fn report(args: &BakeArgs, requests: &Requests, built: &[(String, BuildResult)]) -> Result<(), CommandError> {
    if let Some(path) = &args.metadata_file {
        let targets = built.iter().filter_map(|(name, result)| {
            let published = result.published.as_ref()?;
            Some((name.clone(), metadata(published)))
        });
        write_json(path, &Value::Object(targets.collect()))?;
    }
    let writes_data = |output: &Output| {
        matches!(
            output,
            Output::Oci {
                destination: Destination::Stdout,
                ..
            } | Output::Docker {
                destination: Destination::Stdout,
                ..
            } | Output::Tar {
                destination: Destination::Stdout,
                ..
            }
        )
    };
    let data = requests
        .targets
        .iter()
        .any(|target| target.request.outputs.iter().any(writes_data));
    if data {
        return Ok(());
    }
    for (name, result) in built {
        if let Some(published) = &result.published {
            output::line(&format!("{name} {}", published.descriptor.digest));
        }
    }
    Ok(())
}

/// Each step that would be looked up or run, with the targets that need it.
fn plan_lines(plan: &Plan, requests: &[NamedRequest]) -> Vec<String> {
    let mut users: HashMap<VertexId, Vec<&str>> = HashMap::new();
    let mut lines = Vec::new();
    for target in &plan.targets {
        let named = &requests[target.target];
        let steps = plan.steps_of(target);
        let own = plan
            .graph
            .vertices()
            .iter()
            .filter(|vertex| steps.contains(&vertex.id) && is_step(&vertex.op));
        let platforms: Vec<String> = plan.platforms_of(target).iter().map(Platform::to_string).collect();
        let tags: Vec<String> = named.request.tags.iter().map(ToString::to_string).collect();
        let count = own
            .map(|vertex| users.entry(vertex.id.clone()).or_default().push(&named.name))
            .count();
        lines.push(format!("{}: {count} steps for {}", named.name, platforms.join(", ")));
        if !tags.is_empty() {
            lines.push(format!("  as {}", tags.join(", ")));
        }
    }
    lines.push("steps:".to_owned());
    let mut shared = 0;
    let mut all = 0;
    for vertex in plan.graph.vertices() {
        let Some(users) = users.get(&vertex.id) else { continue };
        all += 1;
        shared += usize::from(users.len() > 1);
        let platforms: BTreeSet<&Platform> = vertex.meta.platform.iter().collect();
        let platforms: Vec<String> = platforms.into_iter().map(Platform::to_string).collect();
        lines.push(
            format!("  {} ({}) {}", vertex.meta.name, users.join(", "), platforms.join(", "))
                .trim_end()
                .to_owned(),
        );
    }
    lines.push(format!("{all} steps, {shared} of them for several targets"));
    lines
}

fn is_step(op: &Op) -> bool {
    matches!(op, Op::Exec(_) | Op::File(_))
}
