//! Plots samples as marks on a grid of pixels. The horizontal axis is the end time; the vertical axis is the duration,
//! on a logarithmic scale.

use nanospan_fallible::{OutOfMemory, TryCollect, filled};
use nanospan_record::OUTCOMES;

use crate::columns::Columns;

/// The ranges of the end times and durations of a window's samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// The earliest and latest end times, in nanoseconds of Unix time.
    pub ends: [u64; 2],
    /// The shortest non-zero duration and the longest duration, in seconds; both 0 if all durations are 0.
    pub durations: [f64; 2],
}

impl Extent {
    /// Returns the ranges of end times and durations in `columns`, or `None` if there are no samples.
    #[must_use]
    pub fn of(columns: &Columns) -> Option<Self> {
        let (first, last) = (columns.ends.iter().min()?, columns.ends.iter().max()?);
        let longest = columns.durations.iter().copied().fold(0.0, f64::max);
        let timed = columns.durations.iter().copied().filter(|&s| s > 0.0);
        Some(Self {
            ends: [*first, *last],
            durations: [timed.fold(longest, f64::min), longest],
        })
    }
}

/// The size of a grid of pixels, and the times and durations at the edges of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// The highest column number and the highest row number; columns and rows are numbered from 0.
    pub size: [usize; 2],
    /// The end times at the left and right edges, in nanoseconds of Unix time.
    pub ends: [u64; 2],
    /// The durations at the lower and upper edges, in seconds; they must be positive and different.
    pub durations: [f64; 2],
}

impl Grid {
    /// Returns, for each outcome, the distinct pixels that samples with that outcome occupy, as (column, row) counted
    /// from the bottom left and sorted by column, then row. A sample beyond an edge is placed on the edge.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the grid.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "pixel coordinates are rounded"
    )]
    pub fn pixels(
        self,
        columns: &Columns,
    ) -> Result<[Vec<(usize, usize)>; OUTCOMES.len()], OutOfMemory> {
        let [wide, tall] = self.size;
        let [first, last] = self.ends;
        let [low, high] = self.durations.map(f64::ln);
        let per_ns = wide as f64 / last.saturating_sub(first).max(1) as f64;
        let per_log = tall as f64 / (high - low);
        let pixels = wide
            .saturating_add(1)
            .saturating_mul(tall.saturating_add(1));
        let mut marked = [
            filled(false, pixels)?,
            filled(false, pixels)?,
            filled(false, pixels)?,
        ];
        let samples = columns.ends.iter().zip(&columns.durations);
        for ((end, seconds), outcome) in samples.zip(&columns.outcomes) {
            // If the time axis covers only one moment, its samples are placed in the middle.
            let right = match first == last {
                true => wide as f64 / 2.0,
                false => end.saturating_sub(first) as f64 * per_ns,
            };
            // `as` saturates: a duration of 0, whose logarithm is minus infinity, is placed at 0.
            let right = (right.round() as usize).min(wide);
            let up = (((seconds.ln() - low) * per_log).round() as usize).min(tall);
            if let Some(marked) = marked.get_mut(usize::from(*outcome)) {
                marked[right * (tall + 1) + up] = true;
            }
        }
        let places = |marked: &[bool]| {
            let at = marked.iter().enumerate().filter(|(_, marked)| **marked);
            at.map(|(at, _)| (at / (tall + 1), at % (tall + 1)))
                .try_vec()
        };
        let [ok, error, cancelled] = &marked;
        Ok([places(ok)?, places(error)?, places(cancelled)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(samples: &[(u64, f64, u8)]) -> Columns {
        Columns {
            ends: samples.iter().map(|s| s.0).collect(),
            durations: samples.iter().map(|s| s.1).collect(),
            outcomes: samples.iter().map(|s| s.2).collect(),
        }
    }

    #[test]
    fn the_extent_leaves_durations_of_zero_out() {
        let extent = |samples: &[_]| Extent::of(&columns(samples));
        assert_eq!(extent(&[]), None);
        let some = extent(&[(7, 0.0, 0), (5, 0.5, 0), (6, 0.25, 1)]).unwrap();
        assert_eq!((some.ends, some.durations), ([5, 7], [0.25, 0.5]));
        assert_eq!(extent(&[(5, 0.0, 0)]).unwrap().durations, [0.0, 0.0]);
    }

    #[test]
    fn samples_are_placed_by_time_and_logarithm_without_duplicate_pixels() {
        let grid = Grid {
            size: [10, 20],
            ends: [1_000, 2_000],
            durations: [0.01, 1.0],
        };
        let samples = [
            (1_000, 0.01, 0),
            (1_500, 0.1, 0),
            (1_501, 0.1, 0),
            (2_000, 1.0, 1),
            (9_000, 50.0, 2),
            (0, 0.0, 2),
        ];
        let [ok, error, cancelled] = grid.pixels(&columns(&samples)).unwrap();
        assert_eq!(ok, [(0, 0), (5, 10)]);
        assert_eq!(error, [(10, 20)]);
        assert_eq!(cancelled, [(0, 0), (10, 20)]);
    }

    #[test]
    fn a_single_moment_is_in_the_middle() {
        let grid = Grid {
            size: [10, 10],
            ends: [5, 5],
            durations: [0.1, 1.0],
        };
        assert_eq!(grid.pixels(&columns(&[(5, 0.1, 0)])).unwrap()[0], [(5, 0)]);
    }
}
