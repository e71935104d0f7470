//! `kiln plan`: what a build would run.

use kiln_graph::{Graph, Hit, Op, Vertex};
use kiln_solver::{Forecast, Verdict};
use serde_json::{Value, json};

use crate::args::{DocumentFormat, PlanArgs};
use crate::build::{BuildError, BuildRequest, Forecasts, Machine};
use crate::command_error::CommandError;
use crate::environment::Environment;
use crate::history::record::milliseconds;
use crate::history::timeline::{Timed, critical_path};
use crate::output;
use crate::render::{plain_text, reason, table, time};
use crate::settings::call::{Call, Method};

/// Says what `kiln build` with the same flags would run.
pub fn run(args: PlanArgs, environment: &Environment) -> Result<i32, CommandError> {
    if args.build.check || args.build.call != "build" {
        return Err(CommandError::user("--check and --call are for `kiln build`"));
    }
    let call = Call {
        method: Method::Plan,
        json: args.format == DocumentFormat::Json,
        ignore_status: false,
    };
    super::build::carry_out(call, args.build, environment)
}

/// Answers, and gives the exit code.
pub async fn answer(is_json: bool, request: &BuildRequest, machine: &Machine) -> Result<i32, BuildError> {
    let plan = Plan::of(crate::build::forecast(request, machine).await?);
    if is_json {
        output::line(&format!("{:#}", plan.value()));
    } else {
        plan.lines().iter().for_each(|line| output::line(line));
    }
    Ok(0)
}

/// What would be run, for whoever shows it.
struct Plan {
    graph: Graph,
    forecasts: Vec<Forecast>,
}

/// Expected times, in milliseconds.
struct Expected {
    /// Of all steps that run or may run, one after the other.
    sum: u64,
    /// Of the longest chain of them.
    critical: u64,
    /// Steps that run or may run and of which no time is known.
    unknown: usize,
}

impl Plan {
    fn of(forecasts: Forecasts) -> Plan {
        Plan {
            graph: forecasts.graph,
            forecasts: forecasts.forecasts,
        }
    }

    /// The steps of the Dockerfile with their forecasts.
    fn steps(&self) -> impl Iterator<Item = (&Vertex, &Forecast)> {
        let all = self.forecasts.iter();
        let known = all.filter_map(|forecast| Some((self.graph.vertex(&forecast.vertex)?, forecast)));
        known.filter(|(vertex, _)| vertex.meta.step.is_some())
    }

    fn expected(&self) -> Expected {
        let known = self
            .forecasts
            .iter()
            .filter_map(|forecast| Some((self.graph.vertex(&forecast.vertex)?, forecast)));
        let timed: Vec<Timed<'_>> = known
            .map(|(vertex, forecast)| Timed {
                vertex: &vertex.id,
                inputs: &vertex.inputs,
                duration_ms: if runs(forecast) {
                    forecast.last.map_or(0, milliseconds)
                } else {
                    0
                },
            })
            .collect();
        Expected {
            sum: timed.iter().map(|step| step.duration_ms).sum(),
            critical: critical_path(&timed).1,
            unknown: self
                .steps()
                .filter(|(_, forecast)| runs(forecast) && forecast.last.is_none())
                .count(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut rows = vec![["STEP", "PLATFORM", "WHAT", "LAST TOOK", "WHY"].map(str::to_owned)];
        for (vertex, forecast) in self.steps() {
            rows.push([
                plain_text(&title(vertex)),
                platform(vertex),
                word(vertex, forecast).to_owned(),
                forecast.last.map(|last| time(milliseconds(last))).unwrap_or_default(),
                plain_text(&why(forecast)),
            ]);
        }
        let mut lines = table(&rows);
        lines.push(String::new());
        lines.push(self.total());
        lines
    }

    fn total(&self) -> String {
        let count = |wanted: fn(&Verdict) -> bool| self.steps().filter(|step| wanted(&step.1.verdict)).count();
        let run = count(|verdict| matches!(verdict, Verdict::Runs(_)));
        let may = count(|verdict| matches!(verdict, Verdict::MayRun(_)));
        let found = count(|verdict| matches!(verdict, Verdict::Cached { .. }));
        let may = if may > 0 {
            format!(", {may} may run")
        } else {
            String::new()
        };
        let expected = self.expected();
        let times = match (run, expected.sum) {
            (0, 0) => String::new(),
            (_, 0) => "; how long they take is not known yet".to_owned(),
            (_, sum) => {
                let rest = match expected.unknown {
                    0 => String::new(),
                    count => format!(", and {count} that never ran here"),
                };
                format!(
                    "; by their last times {} of work, {} on the critical path{rest}",
                    time(sum),
                    time(expected.critical)
                )
            }
        };
        format!("{run} to run{may}, {found} found{times}")
    }

    fn value(&self) -> Value {
        let steps: Vec<Value> = self
            .steps()
            .map(|(vertex, forecast)| {
                let (verdict, reason, hit, cache) = match &forecast.verdict {
                    Verdict::Source => ("source", None, None, None),
                    Verdict::Cached { hit, cache } => ("cached", None, Some(hit), cache.as_ref()),
                    Verdict::Runs(reason) => ("run", Some(reason), None, None),
                    Verdict::MayRun(reason) => ("may-run", Some(reason), None, None),
                };
                json!({
                    "name": vertex.meta.name,
                    "stage": vertex.meta.stage,
                    "step": vertex.meta.step,
                    "platform": vertex.meta.platform.as_ref().map(ToString::to_string),
                    "targets": vertex.meta.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "verdict": verdict,
                    "emulated": forecast.emulated,
                    "noarch": vertex.meta.noarch,
                    "reason": reason,
                    "hit": hit,
                    "cache": cache,
                    "last_ms": forecast.last.map(milliseconds),
                })
            })
            .collect();
        let expected = self.expected();
        json!({
            "steps": steps,
            "expected": {
                "work_ms": expected.sum,
                "critical_path_ms": expected.critical,
                "steps_of_unknown_time": expected.unknown,
            },
        })
    }
}

fn runs(forecast: &Forecast) -> bool {
    matches!(forecast.verdict, Verdict::Runs(_) | Verdict::MayRun(_))
}

fn title(vertex: &Vertex) -> String {
    let name = reason::first_line(&vertex.meta.name);
    match (&vertex.meta.stage, vertex.meta.step) {
        (Some(stage), Some((number, count))) => format!("[{stage} {number}/{count}] {name}"),
        _ => name.to_owned(),
    }
}

fn platform(vertex: &Vertex) -> String {
    vertex
        .meta
        .platform
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

fn word(vertex: &Vertex, forecast: &Forecast) -> &'static str {
    let is_process = matches!(vertex.op, Op::Exec(_));
    let runs = matches!(forecast.verdict, Verdict::Runs(_) | Verdict::MayRun(_));
    if runs && vertex.meta.noarch {
        return "run for all";
    }
    match (&forecast.verdict, is_process, forecast.emulated) {
        (Verdict::Source, ..) => "source",
        (Verdict::Cached { .. }, ..) => "found",
        (Verdict::Runs(_), true, true) => "run emulated",
        (Verdict::Runs(_), true, false) => "run native",
        (Verdict::Runs(_), false, _) => "run",
        (Verdict::MayRun(_), true, true) => "may run emulated",
        (Verdict::MayRun(_), true, false) => "may run native",
        (Verdict::MayRun(_), false, _) => "may run",
    }
}

fn why(forecast: &Forecast) -> String {
    match &forecast.verdict {
        Verdict::Source => String::new(),
        Verdict::Cached { cache: Some(cache), .. } => format!("cache {cache}"),
        Verdict::Cached {
            hit: Hit::NotNeeded, ..
        } => "a later step is found".to_owned(),
        Verdict::Cached { .. } => String::new(),
        Verdict::Runs(reason) => reason::short(reason),
        Verdict::MayRun(reason) => format!("{}, unless its files stay the same", reason::short(reason)),
    }
}
