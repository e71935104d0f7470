//! What ran when: a lane for each platform, and the chain of steps that took longest.

use std::collections::{BTreeMap, HashSet};

use kiln_graph::VertexId;

use super::html::Html;
use super::mark;
use crate::history::record::{BuildRecord, StepKind, StepRecord, TaskRecord};
use crate::history::timeline::{Timed, critical_path};
use crate::render::time;

/// Something on a lane.
struct Bar {
    start: u64,
    end: u64,
    label: String,
    letter: &'static str,
    class: &'static str,
    /// Where more stands.
    link: Option<String>,
    critical: bool,
}

/// The bars of one lane, in rows in which none covers another.
struct Lane<'r> {
    name: String,
    rows: Vec<Vec<Bar>>,
    cached: Vec<&'r StepRecord>,
}

/// The timeline and the critical path.
pub fn section(main: &mut Html, record: &BuildRecord) {
    let (path, total) = path(record);
    let critical: HashSet<&VertexId> = path.iter().copied().collect();
    let lanes = lanes(record, &critical);
    let ends = lanes
        .iter()
        .flat_map(|lane| lane.rows.iter().flatten().map(|bar| bar.end));
    let whole = ends.max().unwrap_or(0).max(1);
    main.element("section", &[("aria-labelledby", "timeline")], |section| {
        section.element("h2", &[("id", "timeline")], |title| title.text("Timeline"));
        legend(section);
        section.element("div", &[("class", "lanes")], |place| {
            for lane in &lanes {
                draw(place, lane, whole);
            }
            axis(place, whole);
        });
    });
    if path.is_empty() {
        return;
    }
    main.element("section", &[("aria-labelledby", "critical")], |section| {
        section.element("h2", &[("id", "critical")], |title| title.text("Critical path"));
        section.element("p", &[], |text| {
            let share = total
                .saturating_mul(100)
                .checked_div(record.duration_ms)
                .unwrap_or(0)
                .min(100);
            text.text(&format!(
                "{} of the build's {} ({share} %): each of these steps waited for the one before it.",
                time(total),
                time(record.duration_ms)
            ));
        });
        section.element("ol", &[("class", "path")], |list| {
            for step in path.iter().filter_map(|vertex| record.step(vertex)) {
                list.element("li", &[], |item| step_line(item, step));
            }
        });
    });
}

fn step_line(item: &mut Html, step: &StepRecord) {
    let (letter, class) = mark(step.kind());
    item.element("a", &[("href", &format!("#step-{}", step.number))], |link| {
        link.text(&step.title())
    });
    item.text(" ");
    item.element("span", &[("class", &format!("badge {class}"))], |badge| {
        badge.text(&format!("{letter} {}", step.kind().word()));
    });
    let platform = step
        .platform
        .as_ref()
        .map(|platform| format!(" {platform},"))
        .unwrap_or_default();
    item.text(&format!("{platform} {}", time(step.duration_ms)));
}

fn path(record: &BuildRecord) -> (Vec<&VertexId>, u64) {
    let timed: Vec<Timed<'_>> = record
        .steps
        .iter()
        .map(|step| Timed {
            vertex: &step.vertex,
            inputs: &step.inputs,
            duration_ms: step.duration_ms,
        })
        .collect();
    critical_path(&timed)
}

fn lanes<'r>(record: &'r BuildRecord, critical: &HashSet<&VertexId>) -> Vec<Lane<'r>> {
    let mut found: BTreeMap<String, (Vec<Bar>, Vec<&StepRecord>)> = BTreeMap::new();
    for step in &record.steps {
        let Some(platform) = &step.platform else { continue };
        let lane = found.entry(platform.to_string()).or_default();
        match step.started_ms.zip(step.ended_ms()) {
            Some(times) => lane.0.push(step_bar(step, times, critical.contains(&step.vertex))),
            None if step.kind() == StepKind::Cached => lane.1.push(step),
            None => {}
        }
    }
    let mut lanes: Vec<Lane<'_>> = found
        .into_iter()
        .map(|(name, (bars, cached))| Lane {
            name,
            rows: rows(bars),
            cached,
        })
        .collect();
    if !record.tasks.is_empty() {
        lanes.push(Lane {
            name: "images and registries".to_owned(),
            rows: rows(
                record
                    .tasks
                    .iter()
                    .map(|task| task_bar(task, record.duration_ms))
                    .collect(),
            ),
            cached: Vec::new(),
        });
    }
    lanes
}

fn step_bar(step: &StepRecord, (start, end): (u64, u64), critical: bool) -> Bar {
    let (letter, class) = mark(step.kind());
    Bar {
        start,
        end,
        label: step.title(),
        letter,
        class,
        link: Some(format!("#step-{}", step.number)),
        critical,
    }
}

fn task_bar(task: &TaskRecord, now: u64) -> Bar {
    let took = task.duration_ms.unwrap_or_else(|| now.saturating_sub(task.started_ms));
    let platform = task
        .platform
        .as_ref()
        .map(|platform| format!(" for {platform}"))
        .unwrap_or_default();
    Bar {
        start: task.started_ms,
        end: task.started_ms.saturating_add(took),
        label: format!("{}{platform}", task.name),
        letter: "R",
        class: "task",
        link: None,
        critical: false,
    }
}

/// Puts each bar into the first row that is free when it begins.
fn rows(mut bars: Vec<Bar>) -> Vec<Vec<Bar>> {
    bars.sort_by_key(|bar| (bar.start, bar.end));
    let mut rows: Vec<Vec<Bar>> = Vec::new();
    for bar in bars {
        let free = |row: &&mut Vec<Bar>| row.last().is_none_or(|last| last.end <= bar.start);
        match rows.iter_mut().find(free) {
            Some(row) => row.push(bar),
            None => rows.push(vec![bar]),
        }
    }
    rows
}

fn draw(place: &mut Html, lane: &Lane<'_>, whole: u64) {
    place.element(
        "div",
        &[("class", "lane"), ("role", "group"), ("aria-label", &lane.name)],
        |group| {
            group.element("div", &[("class", "lane-name")], |name| name.text(&lane.name));
            group.element("div", &[("class", "lane-rows")], |area| {
                for row in &lane.rows {
                    area.element("div", &[("class", "row")], |line| {
                        for bar in row {
                            draw_bar(line, bar, whole);
                        }
                    });
                }
                if !lane.cached.is_empty() {
                    area.element("div", &[("class", "chips")], |chips| {
                        for step in &lane.cached {
                            chip(chips, step);
                        }
                    });
                }
            });
        },
    );
}

fn draw_bar(line: &mut Html, bar: &Bar, whole: u64) {
    let share = |value: u64| value as f64 * 100.0 / whole as f64;
    let width = share(bar.end.saturating_sub(bar.start));
    let style = format!("left:{:.3}%;width:{width:.3}%", share(bar.start));
    let critical = if bar.critical { " critical" } else { "" };
    let class = format!("bar {}{critical}", bar.class);
    let on_path = if bar.critical { ", on the critical path" } else { "" };
    let title = format!(
        "{}: {}, {} to {}{on_path}",
        bar.label,
        time(bar.end.saturating_sub(bar.start)),
        time(bar.start),
        time(bar.end)
    );
    let text = |html: &mut Html| {
        let sign = if bar.critical { "◆" } else { "" };
        html.text(&format!("{sign}{} {}", bar.letter, bar.label));
    };
    match &bar.link {
        Some(link) => {
            let attributes = [
                ("class", class.as_str()),
                ("style", &style),
                ("href", link),
                ("title", &title),
                ("aria-label", &title),
            ];
            line.element("a", &attributes, text);
        }
        None => {
            let attributes = [
                ("class", class.as_str()),
                ("style", &style),
                ("tabindex", "0"),
                ("role", "img"),
                ("title", &title),
                ("aria-label", &title),
            ];
            line.element("span", &attributes, text);
        }
    }
}

fn chip(chips: &mut Html, step: &StepRecord) {
    let title = format!("{}: found in the cache", step.title());
    let link = format!("#step-{}", step.number);
    let attributes = [
        ("class", "chip cached"),
        ("href", link.as_str()),
        ("title", &title),
        ("aria-label", &title),
    ];
    chips.element("a", &attributes, |link| link.text(&format!("C{}", step.number)));
}

fn legend(section: &mut Html) {
    let kinds = [StepKind::Native, StepKind::Emulated, StepKind::Cached, StepKind::Failed];
    section.element("ul", &[("class", "legend"), ("aria-label", "Legend")], |list| {
        for kind in kinds {
            let (letter, class) = mark(kind);
            list.element("li", &[], |item| {
                item.element(
                    "span",
                    &[("class", &format!("swatch {class}")), ("aria-hidden", "true")],
                    |swatch| {
                        swatch.text(letter);
                    },
                );
                item.text(kind.word());
            });
        }
        list.element("li", &[], |item| {
            item.element("span", &[("class", "swatch task"), ("aria-hidden", "true")], |swatch| {
                swatch.text("R")
            });
            item.text("images and registries");
        });
        list.element("li", &[], |item| item.text("◆ on the critical path"));
    });
}

fn axis(place: &mut Html, whole: u64) {
    place.element("div", &[("class", "axis"), ("aria-hidden", "true")], |axis| {
        for quarter in 0..=4u64 {
            let at = u64::try_from(u128::from(whole) * u128::from(quarter) / 4).unwrap_or(whole);
            axis.element("span", &[], |tick| tick.text(&time(at)));
        }
    });
}
