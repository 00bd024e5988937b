//! Writes length-delimited protobuf messages of type `io.prometheus.client.MetricFamily`, with native histograms.

use nanospan_fallible::{Buffer, OutOfMemory, TryCollect, TryGrow, joined, string};
use nanospan_record::histogram::Snapshot;
use prost::{
    Message,
    encoding::{encode_varint, encoded_len_varint, message},
};

use super::{
    family::{Head, Kind, Labels, Writer},
    options::Options,
};

/// Upper bound, in seconds, of the zero bucket, which counts durations of exactly 0 ns. All other recorded buckets lie
/// above this bound. The official clients use the same value, so Prometheus can add histograms from different programs
/// without widening the zero bucket.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39; // 2^-128

/// The coarsest schema that Prometheus supports.
const MIN_SCHEMA: i32 = -4;

/// The fields of `MetricFamily` that precede its metrics. The metrics are encoded separately and appended one by one.
#[derive(Clone, PartialEq, Message)]
struct FamilyHead {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    // prost leaves out the value 0, which means COUNTER; readers take a missing field for that default.
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(string, tag = "5")]
    unit: String,
}

const METRICS: u32 = 4;

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Number>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Number>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

/// The message type for both `Gauge` and `Counter`: `value` has the same field number in both, and only
/// counters set `created_timestamp`.
#[derive(Clone, PartialEq, Message)]
struct Number {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

pub(super) struct Protobuf<'a> {
    out: Buffer,
    options: &'a Options,
    kind: Kind,
    // The family's message so far, and its length in bytes before the first metric.
    family: Buffer,
    head_bytes: usize,
}

impl<'a> Protobuf<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self {
            out: Buffer::default(),
            options,
            kind: Kind::Gauge,
            family: Buffer::default(),
            head_bytes: 0,
        }
    }

    fn end_family(&mut self) -> Result<(), OutOfMemory> {
        let length = self.family.as_bytes().len();
        if length > self.head_bytes {
            self.out
                .put_with(encoded_len_varint(length as u64), |bytes| {
                    encode_varint(length as u64, bytes);
                });
            self.out.put(self.family.as_bytes());
        }
        self.family.clear();
        self.out.check()
    }

    fn metric(&mut self, metric: &Metric) -> Result<(), OutOfMemory> {
        let length = message::encoded_len(METRICS, metric);
        self.family
            .put_with(length, |bytes| message::encode(METRICS, metric, bytes));
        self.family.check()
    }

    /// Returns the complete exposition.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, OutOfMemory> {
        self.end_family()?;
        self.out.finish()
    }
}

impl Writer for Protobuf<'_> {
    fn begin(&mut self, head: &Head) -> Result<(), OutOfMemory> {
        self.end_family()?;
        self.kind = head.kind;
        let head = FamilyHead {
            name: joined(&[&head.name, head.suffix()])?,
            help: string(&head.help)?,
            kind: match head.kind {
                Kind::Counter => 0,
                Kind::Gauge | Kind::Info => 1,
                Kind::Histogram => 4,
            },
            unit: string(&head.unit)?,
        };
        self.head_bytes = head.encoded_len();
        self.family
            .put_with(self.head_bytes, |bytes| head.encode_raw(bytes));
        self.family.check()
    }

    fn number(
        &mut self,
        labels: &Labels<'_>,
        value: f64,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory> {
        let number = Some(Number {
            value: Some(value),
            created_timestamp: created.map(timestamp),
        });
        let (gauge, counter) = match self.kind {
            Kind::Counter => (None, number),
            _ => (number, None),
        };
        self.metric(&Metric {
            label: pairs(labels)?,
            gauge,
            counter,
            histogram: None,
        })
    }

    fn histogram(
        &mut self,
        labels: &Labels<'_>,
        histogram: &Snapshot,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory> {
        let histogram = message_of(histogram, self.options, created)?;
        self.metric(&Metric {
            label: pairs(labels)?,
            histogram: Some(histogram),
            ..Metric::default()
        })
    }
}

fn pairs(labels: &Labels<'_>) -> Result<Vec<LabelPair>, OutOfMemory> {
    let pair = |&(name, value): &(&str, &str)| {
        Ok(LabelPair {
            name: string(name)?,
            value: string(value)?,
        })
    };
    labels.iter().map(pair).try_vec_of()
}

fn message_of(
    histogram: &Snapshot,
    options: &Options,
    created: Option<f64>,
) -> Result<Histogram, OutOfMemory> {
    let bounds = options.bounds();
    let classic = bounds.seconds().iter().zip(bounds.cumulative(histogram));
    let mut message = Histogram {
        sample_count: histogram.count(),
        sample_sum: histogram.sum_ns() as f64 / 1e9,
        bucket: classic
            .map(|(&upper_bound, cumulative_count)| Bucket {
                cumulative_count,
                upper_bound,
            })
            .try_vec()?,
        created_timestamp: created.map(timestamp),
        ..Histogram::default()
    };
    let native = options.native(histogram)?;
    // A histogram may already be coarser than any schema; in that case only the classic buckets are sent.
    if native.scale() >= MIN_SCHEMA {
        message.schema = native.scale();
        message.zero_threshold = ZERO_THRESHOLD;
        message.zero_count = native.zeros();
        let (mut next, mut before) = (0, 0);
        for (index, count) in native.buckets() {
            // Prometheus numbers buckets by their upper bounds, so its index is one higher than ours.
            let index = index + 1;
            match message.positive_span.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => message.positive_span.try_push(BucketSpan {
                    offset: index - next,
                    length: 1,
                })?,
            }
            // Counts of 2^63 or more cannot be reached in practice. The difference wraps, as it does in the reader.
            let count = count.cast_signed();
            message
                .positive_delta
                .try_push(count.wrapping_sub(before))?;
            (next, before) = (index + 1, count);
        }
    }
    Ok(message)
}

fn timestamp(unix: f64) -> Timestamp {
    let seconds = unix.floor();
    Timestamp {
        // `as` saturates if the clock is so wrong that the time does not fit.
        seconds: seconds as i64,
        nanos: ((unix - seconds) * 1e9) as i32,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Decodes a histogram's native buckets as pairs of a bucket's index, as numbered by Prometheus, and its count.
    fn buckets(histogram: &Histogram) -> Vec<(i32, u64)> {
        let (mut index, mut count) = (0, 0_i64);
        let mut deltas = histogram.positive_delta.iter();
        let mut found = Vec::new();
        for span in &histogram.positive_span {
            index += span.offset;
            for delta in deltas.by_ref().take(span.length as usize) {
                count += delta;
                found.push((index, count.cast_unsigned()));
                index += 1;
            }
        }
        assert!(deltas.next().is_none());
        found
    }

    fn recorded(values: &[u64]) -> Snapshot {
        let one = |&value: &u64| match value {
            0 => Snapshot::new(1, 0, Vec::new(), 0, 0, 0),
            _ => {
                let index = nanospan_record::histogram::config::index_of(value);
                Snapshot::new(0, index, vec![1], value.into(), value, value)
            }
        };
        let mut all = Snapshot::default();
        for value in values {
            all.merge(&one(value)).expect("few values");
        }
        all
    }

    proptest! {
        #[test]
        fn a_native_histogram_holds_the_buckets_themselves(
            values in vec((any::<u64>(), 0_u32..64).prop_map(|(v, s)| v >> s), 0..300),
            most in 5..200_usize,
        ) {
            let options = Options::new(&[1e-3, 1.0], most).unwrap();
            let snapshot = recorded(&values);
            let sent = message_of(&snapshot, &options, Some(12.5)).unwrap().encode_to_vec();
            let read = Histogram::decode(&*sent).unwrap();
            let expected = snapshot.with_at_most(most).unwrap();
            prop_assert_eq!(read.schema, expected.scale());
            prop_assert!((MIN_SCHEMA..=6).contains(&read.schema));
            prop_assert!(read.positive_delta.len() <= most);
            let numbered: Vec<_> = expected.buckets().map(|(i, n)| (i + 1, n)).collect();
            prop_assert_eq!(buckets(&read), numbered);
            prop_assert_eq!(read.zero_count, snapshot.zeros());
            prop_assert_eq!(read.sample_count, values.len() as u64);
            let counts: Vec<_> = read.bucket.iter().map(|b| b.cumulative_count).collect();
            prop_assert_eq!(counts, options.bounds().cumulative(&snapshot).collect::<Vec<_>>());
            let created = Timestamp { seconds: 12, nanos: 500_000_000 };
            prop_assert_eq!(read.created_timestamp, Some(created));
        }
    }

    #[test]
    fn a_histogram_coarser_than_any_schema_is_classic_only() {
        let options = Options::new(&[1.0], 160).unwrap();
        let coarse = recorded(&[1, 2]).at_scale(-5).unwrap();
        let message = message_of(&coarse, &options, None).unwrap();
        assert_eq!(
            (message.zero_threshold, message.positive_span.len()),
            (0.0, 0)
        );
        assert_eq!(message.bucket[0].cumulative_count, 2);
    }
}
