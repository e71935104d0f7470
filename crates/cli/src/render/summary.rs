//! The table at the end: platform, digest, layers, size, time, cached and run steps.

use std::time::Duration;

use kiln_graph::Outcome;

use crate::render::steps::{Progress, Steps};
use crate::render::table;
use crate::render::tree::bytes;
use crate::sharing;

/// The lines of the table; nothing if no image was made.
pub fn lines(steps: &Steps) -> Vec<String> {
    if steps.finished.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![["platform", "digest", "layers", "size", "steps", "time"].map(str::to_owned)];
    for image in &steps.finished {
        let (mut cached, mut run, mut time) = (0, 0, Duration::ZERO);
        for step in steps
            .steps
            .values()
            .filter(|step| step.meta.step.is_some() && step.meta.targets.contains(&image.platform))
        {
            match &step.progress {
                Progress::Ended(Outcome::Cached, _) => cached += 1,
                Progress::Ended(Outcome::Done, duration) => {
                    run += 1;
                    time += *duration;
                }
                _ => {}
            }
        }
        rows.push([
            image.platform.to_string(),
            format!("sha256:{}", image.digest.short()),
            image.layers.to_string(),
            bytes(image.size),
            format!("{cached} cached, {run} run"),
            format!("{:.1}s", time.as_secs_f64()),
        ]);
    }
    let total = steps
        .started
        .map(|started| format!("total {:.2}s", started.elapsed().as_secs_f64()));
    let saved = sharing::line(&steps.sharing.total(), bytes).map(|saved| format!("saved by sharing: {saved}"));
    table(&rows).into_iter().chain(saved).chain(total).collect()
}
