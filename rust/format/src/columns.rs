//! Converts a window's samples to columns (for writing files and drawing images), and columns to rows of text.
//!
//! The caller determines what a row looks like (quoting, field names) by supplying the text between the values, so that
//! one writer serves every line-oriented format.

use std::{cmp::Reverse, collections::BinaryHeap};

use nanospan_fallible::{Buffer, OutOfMemory, TryCollect, TryGrow, filled, heap_push};
use nanospan_record::{Outcome, Sample, clock::Anchor, seconds::nanos};

/// Samples stored as columns: entry `i` of every column belongs to sample `i`.
#[derive(Debug, Default, PartialEq)]
pub struct Columns {
    /// When each sample ended, in nanoseconds of Unix time.
    pub ends: Vec<u64>,
    /// How long each sample took, in seconds.
    pub durations: Vec<f64>,
    /// Each sample's [`Outcome`], as an integer.
    pub outcomes: Vec<u8>,
}

impl Columns {
    /// Converts `samples` to columns; `anchor` converts their end times to Unix time.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the columns.
    pub fn of(samples: &[Sample], anchor: Anchor) -> Result<Self, OutOfMemory> {
        Ok(Self {
            ends: samples.iter().map(|s| anchor.unix_ns(s.end)).try_vec()?,
            durations: samples.iter().map(|s| s.duration.seconds()).try_vec()?,
            outcomes: samples.iter().map(|s| s.outcome as u8).try_vec()?,
        })
    }
}

/// The position of each sample on a timeline. Samples that overlap in time are drawn in different lanes (rows).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lanes {
    /// When each sample began, in nanoseconds of Unix time; 0 if the sample's duration implies a start before 1970.
    pub starts: Vec<u64>,
    /// The lane of each sample, counted from 0.
    pub lanes: Vec<u32>,
}

/// Largest overlap of two samples, in nanoseconds, that is attributed to rounding. An overlap depends on two clock
/// readings, each rounded by less than 1 ns.
const ROUNDING_NS: u64 = 2;

impl Lanes {
    /// Assigns each sample to a lane: in order of start time, each one gets the lowest free lane. The number of
    /// lanes is the minimum possible: the largest number of samples under way at the same time.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the lanes.
    pub fn of(ends: &[u64], durations: &[f64]) -> Result<Self, OutOfMemory> {
        let mut starts = ends
            .iter()
            .zip(durations)
            .map(|(end, &seconds)| end.saturating_sub(nanos(seconds)))
            .try_vec()?;
        let mut order = (0..starts.len()).try_vec()?;
        // Of two samples that begin together, the longer one takes the lower lane. The row makes the order of equal
        // samples that of a stable sort, which would need memory.
        order.sort_unstable_by_key(|&row| (starts[row], Reverse(ends[row]), row));
        let mut lanes = filled(0, starts.len())?;
        let mut busy: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
        let mut free: BinaryHeap<Reverse<u32>> = BinaryHeap::new();
        let mut ended = Vec::new(); // when the last sample of each lane ended
        for row in order {
            while let Some(&Reverse((end, lane))) = busy.peek()
                && end <= starts[row].saturating_add(ROUNDING_NS)
            {
                busy.pop();
                heap_push(&mut free, Reverse(lane))?;
            }
            let lane = match free.pop() {
                Some(Reverse(lane)) => lane,
                // A window holds fewer than 2^32 samples.
                None => {
                    ended.try_push(0)?;
                    ended.len() as u32 - 1
                }
            };
            let end_of_lane = &mut ended[lane as usize];
            starts[row] = starts[row].max(*end_of_lane).min(ends[row]);
            *end_of_lane = ends[row].max(*end_of_lane);
            lanes[row] = lane;
            heap_push(&mut busy, Reverse((ends[row], lane)))?;
        }
        Ok(Self { starts, lanes })
    }
}

/// Optional text for each sample, inserted verbatim into the output. There may be fewer rows than samples; the other
/// samples have no text.
#[derive(Debug, Default)]
pub struct Attached {
    // All texts, one after another.
    bytes: Vec<u8>,
    // Where each row's text is in `bytes`.
    places: Vec<Option<Place>>,
    last: Option<Place>,
}

/// The start and the end of a text. Rows that share a text have the same place.
pub type Place = (usize, usize);

impl Attached {
    /// Adds a row with the text `text`, or without a text.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for it.
    pub fn push(&mut self, text: Option<&[u8]>) -> Result<(), OutOfMemory> {
        let Some(text) = text else {
            return self.places.try_push(None);
        };
        let start = self.bytes.len();
        self.bytes.try_extend(text.iter().copied())?;
        self.last = Some((start, self.bytes.len()));
        self.share()
    }

    /// Adds a row that shares the text of the last row that has one.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for it.
    pub fn share(&mut self) -> Result<(), OutOfMemory> {
        self.places.try_push(self.last)
    }

    /// Returns the text of row `row`, or `None` if it has none.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let (start, end) = (*self.places.get(row)?)?;
        Some(&self.bytes[start..end])
    }

    /// Iterates over the rows: where each row's text is, and the text; `None` for a row without text.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Option<(Place, &[u8])>> {
        let text = |place: Place| (place, &self.bytes[place.0..place.1]);
        self.places.iter().map(move |place| place.map(text))
    }

    /// Returns a copy in which each text is quoted for CSV: it is between double quotes, and the double quotes inside
    /// are doubled.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the copy.
    pub fn quoted_as_csv(&self) -> Result<Self, OutOfMemory> {
        let mut quoted = Self::default();
        let mut text = Buffer::default();
        let mut last = None;
        for row in self.rows() {
            match row {
                None => quoted.push(None)?,
                Some((place, _)) if last == Some(place) => quoted.share()?,
                Some((place, plain)) => {
                    last = Some(place);
                    text.clear();
                    text.put_byte(b'"');
                    for (number, part) in plain.split(|&byte| byte == b'"').enumerate() {
                        text.put(if number > 0 { b"\"\"" } else { b"" });
                        text.put(part);
                    }
                    text.put_byte(b'"');
                    text.check()?;
                    quoted.push(Some(text.as_bytes()))?;
                }
            }
        }
        Ok(quoted)
    }
}

/// The fixed text around the fields of a table row.
#[derive(Debug, Clone, Copy)]
pub struct TableRow<'a> {
    /// The text before the timestamp, before the duration, before the outcome, before the attached text, and at the end
    /// of the row.
    pub pieces: [&'a [u8]; 5],
    /// The placeholder written if a sample has no attached text.
    pub nothing: &'a [u8],
}

impl TableRow<'_> {
    /// Writes a row for each sample: the end time in Unix seconds with nine decimals, the duration in seconds with the
    /// fewest digits that read back as the same number, the outcome (`ok`, `error` or `cancelled`), and the attached
    /// text.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the rows.
    pub fn write(self, columns: &Columns, attached: &Attached) -> Result<Vec<u8>, OutOfMemory> {
        let [
            before_end,
            before_duration,
            before_outcome,
            before_attached,
            close,
        ] = self.pieces;
        let pieces: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        let rows = columns.ends.len();
        let mut out = Buffer::with_capacity(rows * (pieces + 48));
        for row in 0..rows {
            let (end, outcome) = (columns.ends[row], columns.outcomes[row]);
            out.put(before_end);
            fixed_point(&mut out, end, 1_000_000_000, 9);
            out.put(before_duration);
            out.text(format_args!("{:?}", columns.durations[row]));
            out.put(before_outcome);
            out.put(Outcome::from_bits(outcome.into()).name().as_bytes());
            out.put(before_attached);
            out.put(attached.get(row).unwrap_or(self.nothing));
            out.put(close);
        }
        out.finish()
    }
}

/// The fixed parts of a timeline's rows, each of which is a complete event in the Chrome trace-event format.
#[derive(Debug, Clone, Copy)]
pub struct EventRow<'a> {
    /// The text at the beginning of an event, up to the sample's metadata and times. Each outcome has two such texts:
    /// one for samples within the operation's duration threshold, one for samples over it.
    pub heads: [[&'a [u8]; 2]; 3],
    /// The operation's threshold in seconds; infinity if the operation has no threshold.
    pub threshold: f64,
    /// The start of the timeline, in nanoseconds of Unix time.
    pub origin: u64,
    /// The thread number of lane 0; lane `i` has the number `thread + i`.
    pub thread: u32,
}

impl EventRow<'_> {
    /// Writes an event for each sample. Start times (since `origin`) and durations are in microseconds, without rounding.
    ///
    /// `lanes` must have a start and a lane for each sample in `columns`.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for the events.
    pub fn write(
        self,
        columns: &Columns,
        lanes: &Lanes,
        attached: &Attached,
    ) -> Result<Vec<u8>, OutOfMemory> {
        let mut out = Buffer::with_capacity(columns.ends.len() * 160);
        let samples = columns.ends.iter().zip(&columns.durations);
        let places = lanes.starts.iter().zip(&lanes.lanes);
        let samples = samples.zip(&columns.outcomes).zip(places).enumerate();
        for (row, (((&end, &seconds), &outcome), (&start, lane))) in samples {
            let outcome = Outcome::from_bits(outcome.into()) as usize;
            out.put(self.heads[outcome][usize::from(seconds > self.threshold)]);
            if let Some(attached) = attached.get(row) {
                out.put(b",\"metadata\":");
                out.put(attached);
            }
            out.put(b"},\"ts\":");
            fixed_point(&mut out, start.saturating_sub(self.origin), 1_000, 3);
            out.put(b",\"dur\":");
            fixed_point(&mut out, end.saturating_sub(start), 1_000, 3);
            out.text(format_args!(",\"tid\":{}}},\n", self.thread + lane));
        }
        out.finish()
    }
}

/// Appends the exact value of `value / unit` with `decimals` decimal places; `unit` must be 10 to the power of
/// `decimals`.
///
/// This function writes most of the output, so it formats the digits itself: the standard formatting machinery takes
/// three times as long.
fn fixed_point(out: &mut Buffer, value: u64, unit: u64, decimals: usize) {
    let mut digits = [b'0'; 40];
    let mut at = digits.len();
    let mut put = |mut number: u64, at_least: usize, at: &mut usize| {
        let stop = *at - at_least;
        while number > 0 || *at > stop {
            *at -= 1;
            digits[*at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(value % unit, decimals, &mut at);
    at -= 1;
    let point = at;
    put(value / unit, 1, &mut at);
    digits[point] = b'.';
    out.put(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: u64, unit: u64, decimals: usize) -> String {
        let mut out = Buffer::default();
        fixed_point(&mut out, value, unit, decimals);
        String::from_utf8(out.finish().unwrap()).unwrap()
    }

    #[test]
    fn fixed_point_numbers_are_exact() {
        assert_eq!(written(0, 1_000, 3), "0.000");
        assert_eq!(written(1_005, 1_000, 3), "1.005");
        assert_eq!(written(u64::MAX, 1_000_000_000, 9), "18446744073.709551615");
    }

    #[test]
    fn samples_one_after_another_share_a_lane_and_overlapping_ones_do_not() {
        // [0, 10], [10, 20] and, rounded, [19, 30]; [5, 15] overlaps.
        let second = 1_000_000_000;
        let ends = [10, 20, 30, 15].map(|ns| second + ns);
        let lanes = Lanes::of(&ends, &[10e-9, 10e-9, 11e-9, 10e-9]).unwrap();
        assert_eq!(lanes.lanes, [0, 0, 0, 1]);
        assert_eq!(lanes.starts[2], second + 20);
    }

    #[test]
    fn a_sample_that_began_before_the_epoch_starts_at_the_epoch() {
        let lanes = Lanes::of(&[5], &[f64::MAX]).unwrap();
        assert_eq!((lanes.starts, lanes.lanes), (vec![0], vec![0]));
    }

    #[test]
    fn texts_are_shared_and_quoted_as_in_csv() {
        let mut attached = Attached::default();
        attached.push(Some(b"{\"a\":1}")).unwrap();
        attached.push(None).unwrap();
        attached.share().unwrap();
        attached.push(Some(b"")).unwrap();
        let quoted = attached.quoted_as_csv().unwrap();
        let texts: Vec<_> = (0..5).map(|row| quoted.get(row)).collect();
        let text = Some(&b"\"{\"\"a\"\":1}\""[..]);
        assert_eq!(texts, [text, None, text, Some(&b"\"\""[..]), None]);
        let places: Vec<_> = quoted.rows().flatten().map(|(place, _)| place).collect();
        assert!(places[0] == places[1] && places[1] != places[2]);
    }

    proptest! {
        #[test]
        fn lanes_hold_no_two_samples_at_once(
            spans in prop::collection::vec((0_u64..2_000, 0_u64..500), 0..60)
        ) {
            let ends: Vec<u64> = spans.iter().map(|(start, length)| start + length).collect();
            let durations: Vec<f64> = spans.iter().map(|(_, ns)| *ns as f64 / 1e9).collect();
            let Lanes { starts, lanes } = Lanes::of(&ends, &durations).unwrap();
            for row in 0..ends.len() {
                prop_assert!(starts[row] - spans[row].0 <= ROUNDING_NS);
                for other in 0..row {
                    let apart = ends[row] <= starts[other] || ends[other] <= starts[row];
                    // Rounding may move a start to the end of the sample before; if no time is left, the length is 0.
                    let instant = starts[row] == ends[row] || starts[other] == ends[other];
                    prop_assert!(apart || instant || lanes[row] != lanes[other]);
                }
            }
            // There are at most as many lanes as samples under way at the same time.
            let most = starts.iter().map(|&at| {
                (0..ends.len()).filter(|&i| starts[i] <= at && at <= ends[i]).count()
            });
            prop_assert!(lanes.iter().map(|&lane| lane as usize + 1).max() <= most.max());
        }

        #[test]
        fn written_durations_read_back_as_the_same_number(seconds in 0.0..=f64::MAX) {
            let columns = Columns { ends: vec![1], durations: vec![seconds], outcomes: vec![2] };
            let row = TableRow { pieces: [b"", b" ", b" ", b" ", b"\n"], nothing: b"-" };
            let line = row.write(&columns, &Attached::default()).unwrap();
            let line = String::from_utf8(line).unwrap();
            let fields: Vec<&str> = line.trim_end().split(' ').collect();
            prop_assert_eq!(fields[0], "0.000000001");
            prop_assert_eq!(fields[1].parse::<f64>().unwrap().to_bits(), seconds.to_bits());
            prop_assert_eq!(&fields[2..], ["cancelled", "-"]);
        }
    }
}
