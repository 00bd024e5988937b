//! Writes the text formats: Prometheus text 0.0.4 and OpenMetrics 1.0.

use std::fmt::Write as _;

use nanospan_record::histogram::Snapshot;

use super::{
    family::{Head, Kind, Labels, Writer},
    options::Options,
};

pub(super) struct Text<'a> {
    out: String,
    options: &'a Options,
    open_metrics: bool,
    // For each bound, the text that follows `le="`, up to the space before the value. The last bound is infinity.
    ends: Vec<String>,
    // The family's comment lines, kept until its first series is written.
    comments: String,
    name: String,
    suffix: &'static str,
    // Reused buffers: the labels of the current series, and the beginning of a histogram's bucket lines.
    labels: String,
    prefix: String,
}

impl<'a> Text<'a> {
    pub(super) fn new(options: &'a Options, open_metrics: bool) -> Self {
        let bounds = options.bounds().seconds().iter();
        let mut ends: Vec<String> = bounds
            .map(|&bound| format!("{}\"}} ", canonical(bound, open_metrics)))
            .collect();
        ends.push("+Inf\"} ".to_owned());
        Self {
            out: String::new(),
            options,
            open_metrics,
            ends,
            comments: String::new(),
            name: String::new(),
            suffix: "",
            labels: String::new(),
            prefix: String::new(),
        }
    }

    fn comment(&mut self, keyword: &str, text: &str) {
        let suffix = if self.open_metrics { "" } else { self.suffix };
        // Writing to a string cannot fail, here and below.
        let _ = write!(self.comments, "# {keyword} {}{suffix} ", self.name);
        // OpenMetrics also escapes double quotes in help texts; text 0.0.4 does not.
        escape(text, self.open_metrics, &mut self.comments);
        self.comments.push('\n');
    }

    /// Begins a series: writes the family's comment lines if this is its first series, and formats the series' labels.
    fn begin_series(&mut self, labels: &Labels<'_>) {
        self.out.push_str(&self.comments);
        self.comments.clear();
        self.labels.clear();
        for (i, (name, value)) in labels.iter().enumerate() {
            if i > 0 {
                self.labels.push(',');
            }
            self.labels.push_str(name);
            self.labels.push_str("=\"");
            escape(value, true, &mut self.labels);
            self.labels.push('"');
        }
    }

    /// Writes one line of the current series: its name with `suffix`, its labels and `value`.
    fn line(&mut self, suffix: &str, value: f64) {
        self.out.push_str(&self.name);
        self.out.push_str(suffix);
        if !self.labels.is_empty() {
            self.out.push('{');
            self.out.push_str(&self.labels);
            self.out.push('}');
        }
        self.out.push(' ');
        push_number(value, &mut self.out);
        self.out.push('\n');
    }

    fn created(&mut self, created: Option<f64>) {
        if let Some(created) = created.filter(|_| self.open_metrics) {
            self.line("_created", created);
        }
    }

    /// Returns the complete exposition.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.open_metrics {
            self.out.push_str("# EOF\n");
        }
        self.out.into_bytes()
    }
}

impl Writer for Text<'_> {
    fn begin(&mut self, head: &Head) {
        self.name.clear();
        self.name.push_str(&head.name);
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
    }

    fn number(&mut self, labels: &Labels<'_>, value: f64, created: Option<f64>) {
        self.begin_series(labels);
        self.line(self.suffix, value);
        self.created(created);
    }

    fn histogram(&mut self, labels: &Labels<'_>, histogram: &Snapshot, created: Option<f64>) {
        self.begin_series(labels);
        self.prefix.clear();
        let comma = if self.labels.is_empty() { "" } else { "," };
        let _ = write!(
            self.prefix,
            "{}_bucket{{{}{comma}le=\"",
            self.name, self.labels
        );
        // Most of an exposition is written by this loop, so it copies prepared text instead of formatting labels.
        let counts = self.options.bounds().cumulative(histogram);
        let mut digits = itoa::Buffer::new();
        for (end, count) in self.ends.iter().zip(counts.chain([histogram.count()])) {
            self.out.push_str(&self.prefix);
            self.out.push_str(end);
            self.out.push_str(digits.format(count));
            self.out.push('\n');
        }
        self.line("_sum", histogram.sum_ns() as f64 / 1e9);
        self.line("_count", histogram.count() as f64);
        self.created(created);
    }
}

/// Formats a bucket bound as Prometheus and its official clients do, so that Prometheus stores a series under the
/// same labels whichever format it scrapes.
///
/// The result is the same as that of Go's `%g`: below 1e-4 and from 1e6 on, it has an exponent of at least two digits.
/// In OpenMetrics ("Canonical Numbers"), whole bounds without an exponent have a decimal point.
pub(super) fn canonical(bound: f64, open_metrics: bool) -> String {
    if (1e-4..1e6).contains(&bound) {
        // `{:?}` adds the decimal point; both forms are the shortest text that reads back as the same number.
        return match open_metrics {
            true => format!("{bound:?}"),
            false => format!("{bound}"),
        };
    }
    let text = format!("{bound:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

fn escape(text: &str, quotes: bool, out: &mut String) {
    let special = |byte| matches!(byte, b'\\' | b'\n') || (byte == b'"' && quotes);
    let mut rest = text;
    // Special characters are ASCII, so `at` is a character boundary.
    while let Some(at) = rest.bytes().position(special) {
        out.push_str(&rest[..at]);
        out.push('\\');
        out.push_str(match &rest[at..=at] {
            "\n" => "n",
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

fn push_number(value: f64, out: &mut String) {
    if value.is_finite() {
        let _ = write!(out, "{value}");
    } else {
        out.push_str(match value {
            f64::INFINITY => "+Inf",
            f64::NEG_INFINITY => "-Inf",
            _ => "NaN",
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
            assert_eq!(canonical(bound, true), text);
            assert_eq!(canonical(bound, false), text.trim_end_matches(".0"));
        }
    }
}
