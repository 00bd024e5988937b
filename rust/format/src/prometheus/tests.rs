//! Tests of the exposition formats.
//!
//! Properties of classic buckets: a bucket's count never includes a value above the bucket's bound, never falls while
//! values are added, and misses only values less than one exponential bucket below the bound. The other tests cover
//! escaping, names, options and the omission of families that have no series.

use proptest::{collection::vec, prelude::*};

use nanospan_record::{
    Clock, Measured, MonitorSnapshot, Operation, OperationSnapshot, Outcome, Seconds, Writers,
    histogram::Snapshot,
};

use super::{Bounds, Family, Format, Head, Kind, Options, Series, Source, Value, encode, samples};
use crate::Error;

/// Returns a histogram of `values`, which are durations in nanoseconds.
fn recorded(values: &[u64]) -> Snapshot {
    let operation = Operation::new(b"op", 1, Clock::get()).unwrap();
    for &ns in values {
        operation.record(
            0,
            Measured::Nanos(ns),
            Outcome::Ok,
            Writers::Serialised,
            |_| false,
        );
    }
    operation.histogram_of(Outcome::Ok).unwrap()
}

fn operation(name: &[u8], ok: &[u64], error: &[u64]) -> OperationSnapshot {
    OperationSnapshot {
        name: name.into(),
        ok: recorded(ok),
        error: recorded(error),
        cancelled: Snapshot::default(),
        violations: 0,
        threshold: None,
        in_flight: 2,
        created: 1_700_000_000.25,
    }
}

fn shown(operations: Vec<OperationSnapshot>, format: Format) -> String {
    let options = Options::new(&[1e-6, 0.5, 1.0], 160).unwrap();
    let snapshot = MonitorSnapshot {
        time: 0.0,
        operations,
    };
    let source = Source {
        snapshot: &snapshot,
        labels: &[],
    };
    String::from_utf8(encode(&[source], &[], format, &options).unwrap()).unwrap()
}

fn durations() -> impl Strategy<Value = Vec<u64>> {
    vec((any::<u64>(), 0_u32..64).prop_map(|(v, s)| v >> s), 0..200)
}

#[test]
fn text_has_one_series_set_for_each_outcome_that_counts() {
    let text = shown(
        vec![operation(b"op", &[400_000_000, 500_000_000], &[])],
        Format::Text,
    );
    let expected = r#"# HELP nanospan_operation_duration_seconds How long executions of an operation took.
# TYPE nanospan_operation_duration_seconds histogram
nanospan_operation_duration_seconds_bucket{operation="op",outcome="ok",le="1e-06"} 0
nanospan_operation_duration_seconds_bucket{operation="op",outcome="ok",le="0.5"} 2
nanospan_operation_duration_seconds_bucket{operation="op",outcome="ok",le="1"} 2
nanospan_operation_duration_seconds_bucket{operation="op",outcome="ok",le="+Inf"} 2
nanospan_operation_duration_seconds_sum{operation="op",outcome="ok"} 0.9
nanospan_operation_duration_seconds_count{operation="op",outcome="ok"} 2
nanospan_operation_duration_seconds_bucket{operation="op",outcome="error",le="1e-06"} 0
nanospan_operation_duration_seconds_bucket{operation="op",outcome="error",le="0.5"} 0
nanospan_operation_duration_seconds_bucket{operation="op",outcome="error",le="1"} 0
nanospan_operation_duration_seconds_bucket{operation="op",outcome="error",le="+Inf"} 0
nanospan_operation_duration_seconds_sum{operation="op",outcome="error"} 0
nanospan_operation_duration_seconds_count{operation="op",outcome="error"} 0
# HELP nanospan_operation_in_flight Executions under way.
# TYPE nanospan_operation_in_flight gauge
nanospan_operation_in_flight{operation="op"} 2
"#;
    assert_eq!(text, expected);
}

#[test]
fn open_metrics_includes_unit_creation_time_and_end() {
    let mut op = operation(b"op", &[1], &[]);
    (op.violations, op.threshold) = (3, Seconds::new(0.25).ok());
    op.cancelled = recorded(&[7]);
    let text = shown(vec![op], Format::OpenMetrics);
    for line in [
        "# UNIT nanospan_operation_duration_seconds seconds",
        r#"nanospan_operation_duration_seconds_bucket{operation="op",outcome="ok",le="1.0"} 1"#,
        r#"nanospan_operation_duration_seconds_bucket{operation="op",outcome="ok",le="1e-06"} 1"#,
        r#"nanospan_operation_duration_seconds_count{operation="op",outcome="cancelled"} 1"#,
        r#"nanospan_operation_duration_seconds_created{operation="op",outcome="ok"} 1700000000.25"#,
        "# TYPE nanospan_operation_violations counter",
        r#"nanospan_operation_violations_total{operation="op"} 3"#,
        r#"nanospan_operation_violations_created{operation="op"} 1700000000.25"#,
        r#"nanospan_operation_threshold_seconds{operation="op"} 0.25"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn names_are_escaped_and_remain_distinct() {
    let names: [&[u8]; 5] = [
        b"a\"b\\c\nd",
        "süß".as_bytes(),
        b"\xed\xa0\x80",
        b"\xed\xa0\x81",
        br"\ud800",
    ];
    let operations = || names.map(|name| operation(name, &[1], &[])).into();
    for format in [Format::Text, Format::OpenMetrics] {
        let text = shown(operations(), format);
        for label in [
            r#"{operation="a\"b\\c\nd"}"#,
            r#"{operation="süß"}"#,
            r#"{operation="\\ud800"}"#,
            r#"{operation="\\ud801"}"#,
            r#"{operation="\\\\ud800"}"#,
        ] {
            assert!(text.contains(label), "{label}\n{text}");
        }
    }
}

#[test]
fn families_have_their_kinds_suffix_and_type_and_are_left_out_without_series() {
    let family = |name: &'static str, kind, values: &[f64]| Family {
        head: Head {
            name: name.into(),
            help: "A \"quoted\"\nhelp.".into(),
            unit: "".into(),
            kind,
        },
        series: values
            .iter()
            .map(|&value| Series {
                labels: vec![("k".to_owned(), "v".to_owned())],
                value: Value::Number(value),
            })
            .collect(),
    };
    let families = [
        family("jobs", Kind::Counter, &[f64::NAN]),
        family("load", Kind::Gauge, &[f64::INFINITY, f64::NEG_INFINITY]),
        family("build", Kind::Info, &[1.0]),
        family("absent", Kind::Gauge, &[]),
    ];
    let options = Options::new(&[], 5).unwrap();
    let text =
        |format| String::from_utf8(encode(&[], &families, format, &options).unwrap()).unwrap();
    let plain = "\
# HELP jobs_total A \"quoted\"\\nhelp.
# TYPE jobs_total counter
jobs_total{k=\"v\"} NaN
# HELP load A \"quoted\"\\nhelp.
# TYPE load gauge
load{k=\"v\"} +Inf
load{k=\"v\"} -Inf
# HELP build_info A \"quoted\"\\nhelp.
# TYPE build_info gauge
build_info{k=\"v\"} 1
";
    assert_eq!(text(Format::Text), plain);
    let open = text(Format::OpenMetrics);
    assert!(open.contains("# HELP jobs A \\\"quoted\\\"\\nhelp.\n# TYPE jobs counter\njobs_total"));
    assert!(open.contains("# TYPE build info\nbuild_info{k=\"v\"} 1\n# EOF\n"));
}

#[test]
fn samples_are_the_lines_of_the_text() {
    let options = Options::new(&[0.5], 160).unwrap();
    let snapshot = MonitorSnapshot {
        time: 0.0,
        operations: vec![operation(b"op", &[1, 2], &[3])],
    };
    let source = Source {
        snapshot: &snapshot,
        labels: &[("host".to_owned(), "a".to_owned())],
    };
    let text = encode(&[source], &[], Format::OpenMetrics, &options);
    let lines: Vec<String> = String::from_utf8(text.unwrap())
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let mut found = Vec::new();
    for (head, samples) in samples(&[source], &[], &options).unwrap() {
        for sample in samples {
            let labels: Vec<_> = sample
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            found.push(format!(
                "{}{}{{{}}} {}",
                head.name,
                sample.suffix,
                labels.join(","),
                sample.value
            ));
        }
    }
    assert_eq!(found, lines);
}

#[test]
fn options_out_of_range_are_refused() {
    for bounds in [
        &[0.0][..],
        &[-1.0],
        &[f64::NAN],
        &[f64::INFINITY],
        &[2.0, 1.0],
        &[1.0, 1.0],
    ] {
        assert!(matches!(Options::new(bounds, 160), Err(Error::Bound(_))));
    }
    assert_eq!(
        Options::new(&[], 4),
        Err(Error::NativeBuckets { given: 4, least: 5 })
    );
}

proptest! {
    #[test]
    fn classic_counts_are_at_most_one_bucket_behind(
        values in durations(), scale in -4..=6_i32,
        mut bounds in vec((1_u64.., 0_u32..64).prop_map(|(v, s)| ((v >> s).max(1)) as f64 / 1e9), 1..30),
    ) {
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        let base = (-f64::from(scale)).exp2().exp2();
        let snapshot = recorded(&values).at_scale(scale).unwrap();
        for (bound, count) in bounds.iter().zip(Bounds::new(&bounds).unwrap().cumulative(&snapshot)) {
            let up_to = |seconds: f64| values.iter().filter(|&&v| v as f64 / 1e9 <= seconds).count() as u64;
            // The margin allows for rounding of the floating-point bound; the bucket index is exact.
            prop_assert!(count <= up_to(bound * (1.0 + 1e-12)));
            prop_assert!(count >= up_to(bound / base * (1.0 - 1e-12)));
        }
    }

    #[test]
    fn classic_counts_never_fall(values in durations(), more in durations()) {
        let bounds = Bounds::new(&[1e-6, 1e-3, 1.0, 60.0]).unwrap();
        let before = recorded(&values);
        let after = recorded(&[values, more].concat());
        for (before, after) in bounds.cumulative(&before).zip(bounds.cumulative(&after)) {
            prop_assert!(before <= after);
        }
    }

    #[test]
    fn powers_of_two_of_a_second_count_exactly(values in durations(), exponent in -9..=6_i32) {
        let bound = f64::from(exponent).exp2();
        let bounds = Bounds::new(&[bound]).unwrap();
        let exact = values.iter().filter(|&&v| v as f64 / 1e9 <= bound).count() as u64;
        prop_assert_eq!(bounds.cumulative(&recorded(&values)).collect::<Vec<_>>(), [exact]);
    }
}
