//! A rectangle cut into pieces of given sizes, each as square as it can be (Bruls, Huizing and van Wijk, 2000).

/// A piece, in percent of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tile {
    /// From the left.
    pub left: f64,
    /// From the top.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// Pieces for sizes that descend, in a rectangle that is `ratio` times as wide as high. Sizes of nothing get nothing.
pub fn tiles(sizes: &[u64], ratio: f64) -> Vec<Tile> {
    let total: f64 = sizes.iter().map(|size| *size as f64).sum();
    let mut all = Vec::with_capacity(sizes.len());
    // In units in which the rectangle is `ratio` wide and 1 high.
    let (mut left, mut top, mut width, mut height) = (0.0, 0.0, ratio, 1.0);
    let area = |size: u64| if total > 0.0 { size as f64 / total * ratio } else { 0.0 };
    let mut rest = sizes;
    while !rest.is_empty() {
        let side = f64::min(width, height);
        let count = row_length(rest, side, &area);
        let (row, after) = rest.split_at(count);
        let sum: f64 = row.iter().map(|size| area(*size)).sum();
        let depth = if side > 0.0 { sum / side } else { 0.0 };
        let mut along = 0.0;
        for size in row {
            let length = if depth > 0.0 { area(*size) / depth } else { 0.0 };
            let (x, y, w, h) = if width >= height {
                (left, top + along, depth, length)
            } else {
                (left + along, top, length, depth)
            };
            all.push(Tile {
                left: x / ratio * 100.0,
                top: y * 100.0,
                width: w / ratio * 100.0,
                height: h * 100.0,
            });
            along += length;
        }
        if width >= height {
            left += depth;
            width = f64::max(width - depth, 0.0);
        } else {
            top += depth;
            height = f64::max(height - depth, 0.0);
        }
        rest = after;
    }
    all
}

/// How many pieces stand in the next row along a side: as long as that makes the worst of them more square.
fn row_length(sizes: &[u64], side: f64, area: &impl Fn(u64) -> f64) -> usize {
    let worst = |count: usize| {
        let sum: f64 = sizes[..count].iter().map(|size| area(*size)).sum();
        let ratio = |size: &u64| {
            let one = area(*size);
            if one <= 0.0 || sum <= 0.0 {
                return f64::INFINITY;
            }
            f64::max(side * side * one / (sum * sum), sum * sum / (side * side * one))
        };
        sizes[..count].iter().map(ratio).fold(0.0, f64::max)
    };
    let mut count = 1;
    while count < sizes.len() && worst(count + 1) <= worst(count) {
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_as_large_as_their_sizes_and_none_covers_another() {
        for sizes in [
            vec![600, 600, 400, 300, 200, 200, 100],
            vec![1],
            vec![5, 0, 0],
            vec![0],
            vec![],
        ] {
            let total: u64 = sizes.iter().sum();
            let found = tiles(&sizes, 1.5);
            assert_eq!(found.len(), sizes.len());
            for (tile, size) in found.iter().zip(&sizes) {
                let area = tile.width * tile.height / 10_000.0;
                let share = if total > 0 { *size as f64 / total as f64 } else { 0.0 };
                assert!((area - share).abs() < 1e-9, "{sizes:?}: {tile:?}");
                assert!(tile.left >= 0.0 && tile.left + tile.width <= 100.0 + 1e-6, "{tile:?}");
                assert!(tile.top >= 0.0 && tile.top + tile.height <= 100.0 + 1e-6, "{tile:?}");
            }
            for (number, a) in found.iter().enumerate() {
                for b in &found[number + 1..] {
                    let wide = f64::min(a.left + a.width, b.left + b.width) - f64::max(a.left, b.left);
                    let high = f64::min(a.top + a.height, b.top + b.height) - f64::max(a.top, b.top);
                    assert!(wide < 1e-6 || high < 1e-6, "{a:?} covers {b:?}");
                }
            }
        }
    }

    #[test]
    fn pieces_are_nearly_square() {
        let worst = tiles(&[600, 600, 400, 300, 200, 200, 100], 1.5)
            .iter()
            .map(|tile| f64::max(tile.width * 1.5 / tile.height, tile.height / (tile.width * 1.5)))
            .fold(0.0, f64::max);
        assert!(worst < 4.0, "{worst}");
    }
}
