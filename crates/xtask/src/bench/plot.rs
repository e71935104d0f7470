//! The plot of the scale series: one small field for each, both axes logarithmic, with a dashed line of linear growth.

use crate::bench::scale::Series;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 200.0;
/// Room around a field for what is written.
const LEFT: f64 = 58.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 34.0;
const RIGHT: f64 = 16.0;
const COLUMNS: usize = 2;

/// All series as one picture.
pub(super) fn svg(all: &[Series]) -> String {
    let rows = all.len().div_ceil(COLUMNS);
    let (width, height) = (
        COLUMNS as f64 * (LEFT + WIDTH + RIGHT),
        rows as f64 * (TOP + HEIGHT + BOTTOM),
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, series) in all.iter().enumerate() {
        let x = (at % COLUMNS) as f64 * (LEFT + WIDTH + RIGHT) + LEFT;
        let y = (at / COLUMNS) as f64 * (TOP + HEIGHT + BOTTOM) + TOP;
        out.push_str(&format!(
            "<g transform=\"translate({x:.0} {y:.0})\">\n{}</g>\n",
            field(series)
        ));
    }
    out.push_str("</svg>\n");
    out
}

/// A logarithmic axis over some decades.
struct Axis {
    low: f64,
    high: f64,
    length: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, length: f64) -> Axis {
        let logs: Vec<f64> = values.filter(|value| *value > 0.0).map(f64::log10).collect();
        let low = logs.iter().copied().fold(f64::INFINITY, f64::min).floor();
        let high = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max).ceil();
        if low.is_finite() && high.is_finite() {
            Axis {
                low,
                high: high.max(low + 1.0),
                length,
            }
        } else {
            Axis {
                low: 0.0,
                high: 1.0,
                length,
            }
        }
    }

    fn place(&self, value: f64) -> f64 {
        (value.log10() - self.low) / (self.high - self.low) * self.length
    }

    fn decades(&self) -> impl Iterator<Item = f64> + '_ {
        let count = (self.high - self.low).round() as i32;
        (0..=count).map(|decade| 10f64.powf(self.low + f64::from(decade)))
    }
}

fn field(series: &Series) -> String {
    let across = Axis::over(series.points.iter().map(|(size, _)| *size as f64), WIDTH);
    let up = Axis::over(series.points.iter().map(|(_, seconds)| *seconds), HEIGHT);
    let mut out = format!(
        "<text x=\"0\" y=\"-12\" font-size=\"13\">{}: {}</text>\n",
        series.name, series.what
    );
    for value in across.decades() {
        let x = across.place(value);
        out.push_str(&format!(
            "<line x1=\"{x:.1}\" y1=\"0\" x2=\"{x:.1}\" y2=\"{HEIGHT}\" stroke=\"#ddd\"/>\n<text x=\"{x:.1}\" y=\"{:.0}\" \
             text-anchor=\"middle\">{value}</text>\n",
            HEIGHT + 16.0
        ));
    }
    for value in up.decades() {
        let y = HEIGHT - up.place(value);
        out.push_str(&format!(
            "<line x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n<text x=\"-6\" y=\"{:.1}\" \
             text-anchor=\"end\">{} s</text>\n",
            y + 4.0,
            trimmed(value)
        ));
    }
    let at = |(size, seconds): &(usize, f64)| (across.place(*size as f64), HEIGHT - up.place(*seconds));
    if let (Some(first), Some(last)) = (series.points.first(), series.points.last())
        && first.0 < last.0
    {
        // Linear growth through the last point, as far down as the field goes.
        let lowest = 10f64.powf(up.low);
        let start = (first.0 as f64).max(last.0 as f64 * lowest / last.1);
        let (x, y) = (across.place(start), HEIGHT - up.place(last.1 * start / last.0 as f64));
        let (x2, y2) = at(last);
        out.push_str(&format!(
            "<line x1=\"{x:.1}\" y1=\"{y:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#999\" stroke-dasharray=\"4 3\"/>\n"
        ));
    }
    let points: Vec<String> = series
        .points
        .iter()
        .map(|point| {
            let (x, y) = at(point);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    out.push_str(&format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#b5482a\" stroke-width=\"2\"/>\n",
        points.join(" ")
    ));
    for point in &series.points {
        let (x, y) = at(point);
        out.push_str(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#b5482a\"/>\n"
        ));
    }
    out
}

/// A power of ten without zeros that rounding left behind.
fn trimmed(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_are_evenly_spaced() {
        let axis = Axis::over([1.0, 1000.0].into_iter(), 300.0);
        let places: Vec<f64> = axis.decades().map(|value| axis.place(value).round()).collect();
        assert_eq!(places, [0.0, 100.0, 200.0, 300.0]);
    }

    #[test]
    fn every_point_is_drawn_inside_its_field() {
        let series = Series {
            name: "steps",
            what: "RUN steps",
            points: vec![(10, 0.05), (100, 0.5), (1000, 7.0)],
            ..Series::default()
        };
        let picture = svg(&[series]);
        assert_eq!(picture.matches("<circle").count(), 3);
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        assert!(!picture.contains("cy=\"-"), "{picture}");
    }
}
