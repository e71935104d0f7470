//! Every step, and why it ran.

use super::html::Html;
use super::mark;
use crate::history::chain::chain;
use crate::history::record::{BuildRecord, StepRecord};
use crate::render::{reason, time};

/// The list of steps; each opens.
pub fn section(main: &mut Html, record: &BuildRecord) {
    if record.instructions().next().is_none() {
        return;
    }
    main.element("section", &[("aria-labelledby", "steps")], |section| {
        section.element("h2", &[("id", "steps")], |title| title.text("Steps"));
        for step in record.instructions() {
            section.element("details", &[], |details| one(details, record, step));
        }
    });
}

fn one(details: &mut Html, record: &BuildRecord, step: &StepRecord) {
    let (letter, class) = mark(step.kind());
    details.element("summary", &[], |summary| {
        summary.element("span", &[("class", "number")], |number| {
            number.text(&format!("#{}", step.number))
        });
        summary.element("span", &[("class", "title")], |title| title.text(&step.title()));
        summary.element("span", &[("class", "facts")], |facts| {
            if let Some(platform) = &step.platform {
                facts.text(&format!("{platform} "));
            }
            facts.element("span", &[("class", &format!("badge {class}"))], |badge| {
                badge.text(&format!("{letter} {}", step.kind().word()));
            });
            if step.started_ms.is_some() {
                facts.text(&format!(" {}", time(step.duration_ms)));
            }
        });
    });
    // A link to what is inside opens the whole.
    let id = format!("step-{}", step.number);
    details.element(
        "div",
        &[("id", &id), ("class", "inside"), ("tabindex", "-1")],
        |inside| {
            if step.name.contains('\n') {
                inside.element("pre", &[], |text| text.text(&step.name));
            }
            if let Some(lines) = &step.lines {
                inside.element("p", &[], |line| {
                    line.text(&format!("{}, line {}", lines.file.display(), lines.start))
                });
            }
            why(inside, record, step);
        },
    );
}

fn why(inside: &mut Html, record: &BuildRecord, step: &StepRecord) {
    if let Some(hit) = step.hit {
        let from = step
            .cache
            .as_deref()
            .map(|cache| format!(" (cache {cache})"))
            .unwrap_or_default();
        let took = step
            .took_ms
            .map(|took| format!("; it took {} when it ran", time(took)))
            .unwrap_or_default();
        inside.element("p", &[], |line| {
            line.text(&format!("Found{from}: {}{took}.", reason::hit(hit)))
        });
    }
    if let Some(why) = &step.reason {
        inside.element("p", &[], |line| line.text("Why it ran:"));
        inside.element("pre", &[], |text| text.text(&reason::lines(why).join("\n")));
    }
    let chain = chain(record, step);
    if let [_, .., root] = chain.as_slice() {
        inside.element("p", &[], |line| {
            line.text("Root cause: ");
            line.element("a", &[("href", &format!("#step-{}", root.number))], |link| {
                link.text(&root.title())
            });
        });
    }
    if let Some(kiln_graph::Outcome::Failed(error)) = &step.outcome {
        inside.element("pre", &[("class", "error")], |text| text.text(error));
    }
}
