//! Writes the text formats: Prometheus text 0.0.4 and OpenMetrics 1.0.

use nanospan_fallible::{Buffer, OutOfMemory, TryCollect, formatted, joined, string};
use nanospan_record::histogram::Snapshot;

use super::{
    family::{Head, Kind, Labels, Writer},
    options::Options,
};

pub(super) struct Text<'a> {
    out: Buffer,
    options: &'a Options,
    open_metrics: bool,
    // For each bound, the text that follows `le="`, up to the space before the value. The last bound is infinity.
    ends: Vec<String>,
    // The family's comment lines, kept until its first series is written.
    comments: Buffer,
    name: Buffer,
    suffix: &'static str,
    // Reused buffers: the labels of the current series, and the beginning of a histogram's bucket lines.
    labels: Buffer,
    prefix: Buffer,
}

impl<'a> Text<'a> {
    pub(super) fn new(options: &'a Options, open_metrics: bool) -> Result<Self, OutOfMemory> {
        let bounds = options.bounds().seconds().iter();
        let ends = bounds
            .map(|&bound| joined(&[&canonical(bound, open_metrics)?, "\"} "]))
            .chain([string("+Inf\"} ")])
            .try_vec_of::<_, OutOfMemory>()?;
        Ok(Self {
            out: Buffer::default(),
            options,
            open_metrics,
            ends,
            comments: Buffer::default(),
            name: Buffer::default(),
            suffix: "",
            labels: Buffer::default(),
            prefix: Buffer::default(),
        })
    }

    fn comment(&mut self, keyword: &str, text: &str) {
        let suffix = if self.open_metrics { "" } else { self.suffix };
        for part in ["# ", keyword, " "] {
            self.comments.put(part.as_bytes());
        }
        self.comments.put(self.name.as_bytes());
        self.comments.put(suffix.as_bytes());
        self.comments.put_byte(b' ');
        // OpenMetrics also escapes double quotes in help texts; text 0.0.4 does not.
        escape(text, self.open_metrics, &mut self.comments);
        self.comments.put_byte(b'\n');
    }

    /// Fails if there was no memory for anything written so far.
    fn check(&self) -> Result<(), OutOfMemory> {
        let parts = [&self.comments, &self.name, &self.labels, &self.prefix];
        parts.iter().try_for_each(|part| part.check())?;
        self.out.check()
    }

    /// Begins a series: writes the family's comment lines if this is its first series, and formats the series' labels.
    fn begin_series(&mut self, labels: &Labels<'_>) {
        self.out.put(self.comments.as_bytes());
        self.comments.clear();
        self.labels.clear();
        for (i, (name, value)) in labels.iter().enumerate() {
            if i > 0 {
                self.labels.put_byte(b',');
            }
            self.labels.put(name.as_bytes());
            self.labels.put(b"=\"");
            escape(value, true, &mut self.labels);
            self.labels.put_byte(b'"');
        }
    }

    /// Writes one line of the current series: its name with `suffix`, its labels and `value`.
    fn line(&mut self, suffix: &str, value: f64) {
        self.out.put(self.name.as_bytes());
        self.out.put(suffix.as_bytes());
        if !self.labels.as_bytes().is_empty() {
            self.out.put_byte(b'{');
            self.out.put(self.labels.as_bytes());
            self.out.put_byte(b'}');
        }
        self.out.put_byte(b' ');
        put_number(value, &mut self.out);
        self.out.put_byte(b'\n');
    }

    fn created(&mut self, created: Option<f64>) {
        if let Some(created) = created.filter(|_| self.open_metrics) {
            self.line("_created", created);
        }
    }

    /// Returns the complete exposition.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, OutOfMemory> {
        if self.open_metrics {
            self.out.put(b"# EOF\n");
        }
        self.check()?;
        self.out.finish()
    }
}

impl Writer for Text<'_> {
    fn begin(&mut self, head: &Head) -> Result<(), OutOfMemory> {
        self.name.clear();
        self.name.put(head.name.as_bytes());
        self.suffix = head.suffix();
        self.comments.clear();
        self.comment("HELP", &head.help);
        let kind = match head.kind {
            Kind::Counter => "counter",
            Kind::Info if self.open_metrics => "info",
            Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram => "histogram",
        };
        self.comment("TYPE", kind);
        if self.open_metrics && !head.unit.is_empty() {
            self.comment("UNIT", &head.unit);
        }
        self.check()
    }

    fn number(
        &mut self,
        labels: &Labels<'_>,
        value: f64,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory> {
        self.begin_series(labels);
        self.line(self.suffix, value);
        self.created(created);
        self.check()
    }

    fn histogram(
        &mut self,
        labels: &Labels<'_>,
        histogram: &Snapshot,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory> {
        self.begin_series(labels);
        self.prefix.clear();
        self.prefix.put(self.name.as_bytes());
        self.prefix.put(b"_bucket{");
        self.prefix.put(self.labels.as_bytes());
        if !self.labels.as_bytes().is_empty() {
            self.prefix.put_byte(b',');
        }
        self.prefix.put(b"le=\"");
        // Most of an exposition is written by this loop, so it copies prepared text instead of formatting labels.
        let counts = self.options.bounds().cumulative(histogram);
        let mut digits = itoa::Buffer::new();
        for (end, count) in self.ends.iter().zip(counts.chain([histogram.count()])) {
            self.out.put(self.prefix.as_bytes());
            self.out.put(end.as_bytes());
            self.out.put(digits.format(count).as_bytes());
            self.out.put_byte(b'\n');
        }
        self.line("_sum", histogram.sum_ns() as f64 / 1e9);
        self.line("_count", histogram.count() as f64);
        self.created(created);
        self.check()
    }
}

/// Formats a bucket bound as Prometheus and its official clients do, so that Prometheus stores a series under the
/// same labels whichever format it scrapes.
///
/// The result is the same as that of Go's `%g`: below 1e-4 and from 1e6 on, it has an exponent of at least two digits.
/// In OpenMetrics ("Canonical Numbers"), whole bounds without an exponent have a decimal point.
pub(super) fn canonical(bound: f64, open_metrics: bool) -> Result<String, OutOfMemory> {
    if (1e-4..1e6).contains(&bound) {
        // `{:?}` adds the decimal point; both forms are the shortest text that reads back as the same number.
        return match open_metrics {
            true => formatted(format_args!("{bound:?}")),
            false => formatted(format_args!("{bound}")),
        };
    }
    let text = formatted(format_args!("{bound:e}"))?;
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.strip_prefix('-') {
        Some(exponent) => formatted(format_args!("{digits}e-{exponent:0>2}")),
        None => formatted(format_args!("{digits}e+{exponent:0>2}")),
    }
}

fn escape(text: &str, quotes: bool, out: &mut Buffer) {
    let special = |byte| matches!(byte, b'\\' | b'\n') || (byte == b'"' && quotes);
    let mut rest = text;
    // Special characters are ASCII, so `at` is a character boundary.
    while let Some(at) = rest.bytes().position(special) {
        out.put(&rest.as_bytes()[..at]);
        out.put_byte(b'\\');
        out.put_byte(match rest.as_bytes()[at] {
            b'\n' => b'n',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.put(rest.as_bytes());
}

fn put_number(value: f64, out: &mut Buffer) {
    if value.is_finite() {
        out.text(format_args!("{value}"));
    } else {
        out.put(match value {
            f64::INFINITY => b"+Inf",
            f64::NEG_INFINITY => b"-Inf",
            _ => b"NaN",
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_as_prometheus_does() {
        // From OpenMetrics 1.0, "Canonical Numbers".
        for text in [
            "1e-10", "1e-09", "1e-05", "0.0001", "0.1", "1.0", "100000.0", "1e+06", "1e+10",
            "0.001", "0.99", "2.5e-06", "1e+100",
        ] {
            let bound: f64 = text.parse().unwrap();
            assert_eq!(canonical(bound, true).unwrap(), text);
            assert_eq!(
                canonical(bound, false).unwrap(),
                text.trim_end_matches(".0")
            );
        }
    }
}
