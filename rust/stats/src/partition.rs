//! Partitions a series into homogeneous segments.

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, filled};

/// The width of the Gaussian kernel that measures how similar two values are. Values more than a few widths apart count
/// as entirely different, so an outlier has the same influence however far away it lies.
const WIDTH: f64 = 1.5;

/// The similarity of two values whose distance is `apart`, from 0 to 1: exp(-x) with x = (apart / WIDTH)^2 / 2,
/// approximated by (1 - x / 16)^16, which vectorises; 0 if x exceeds 16.
fn alike(apart: f64) -> f64 {
    const SHRINK: f64 = 1.0 / (2.0 * 16.0 * WIDTH * WIDTH);
    let base = (1.0 - apart * apart * SHRINK).max(0.0);
    let squared = base * base;
    let fourth = squared * squared;
    let eighth = fourth * fourth;
    eighth * eighth
}

/// Finds the best partition of `series` into segments, and returns the starts of all segments except the first. The
/// values must be in units of the noise's standard deviation.
///
/// Among all partitions into segments of at least `min_size` values, the best one minimises the sum of each segment's
/// scatter in the feature space of a Gaussian kernel plus `penalty` for each segment. It is found by dynamic
/// programming (Arlot, Celisse and Harchaoui, "A kernel multiple change-point algorithm via model selection", Journal
/// of Machine Learning Research 20, 2019). Time is quadratic in the length of the series, and memory is linear.
#[expect(clippy::cast_precision_loss, reason = "lengths of windows")]
pub(super) fn partition(
    series: &[f64],
    penalty: f64,
    min_size: usize,
) -> Result<Vec<usize>, OutOfMemory> {
    let n = series.len();
    if n / 2 < min_size {
        return Ok(Vec::new());
    }
    let reciprocal = (0..=n).map(|length| 1.0 / length as f64).try_vec()?;
    // For the segment from each place to the current end: the sum of the kernel over all its pairs.
    let mut sums = filled(0.0, n)?;
    let mut kernels = filled(0.0, n)?;
    let mut best = filled(f64::INFINITY, n + 1)?;
    best[0] = 0.0;
    let mut from = filled(0, n + 1)?;
    for end in 1..=n {
        let value = series[end - 1];
        for (kernel, other) in kernels[..end - 1].iter_mut().zip(series) {
            *kernel = alike(other - value);
        }
        let mut with_last = 0.0;
        for start in (0..end - 1).rev() {
            with_last += kernels[start];
            sums[start] += 2.0 * with_last + 1.0;
        }
        sums[end - 1] = 1.0;
        for start in 0..(end + 1).saturating_sub(min_size) {
            let length = end - start;
            let scatter = length as f64 - sums[start] * reciprocal[length];
            let cost = best[start] + scatter + penalty;
            if cost < best[end] {
                best[end] = cost;
                from[end] = start;
            }
        }
    }
    let mut starts = Vec::new();
    let mut end = from[n];
    while end > 0 {
        starts.try_push(end)?;
        end = from[end];
    }
    starts.reverse();
    Ok(starts)
}
