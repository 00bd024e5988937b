//! Metric families, and the interface that each format's writer implements.

use std::borrow::Cow;

use nanospan_record::histogram::Snapshot;

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows. Its series' names end in `_total`.
    Counter,
    /// A number that can go up and down.
    Gauge,
    /// The number 1, with labels that carry the information. Its series' names end in `_info`.
    Info,
    /// A distribution of durations.
    Histogram,
}

/// The description of a family, which its series share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The name, without the suffix that the kind adds; it consists of ASCII letters, digits and `_`.
    pub name: Cow<'static, str>,
    /// One sentence of help, which may contain any characters.
    pub help: Cow<'static, str>,
    /// The unit that the name ends with; empty if it has no unit.
    pub unit: Cow<'static, str>,
    /// The type of the family.
    pub kind: Kind,
}

impl Head {
    /// Creates a head whose texts are known at compile time.
    pub(super) const fn fixed(
        name: &'static str,
        help: &'static str,
        unit: &'static str,
        kind: Kind,
    ) -> Self {
        Self {
            name: Cow::Borrowed(name),
            help: Cow::Borrowed(help),
            unit: Cow::Borrowed(unit),
            kind,
        }
    }

    /// Returns the suffix of the series' names. A histogram's writer adds its suffixes itself.
    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        }
    }
}

/// A metric family with its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The family's description.
    pub head: Head,
    /// The family's series. Their values are histograms if the kind is [`Kind::Histogram`], and numbers otherwise.
    pub series: Vec<Series>,
}

/// One value of a family, with its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Label names, which have the same form as [`Head::name`], and label values, which may be any text.
    pub labels: Vec<(String, String)>,
    /// The series' value.
    pub value: Value,
}

/// A series' value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, which may be infinite or NaN.
    Number(f64),
    /// A distribution of durations.
    Histogram(Snapshot),
}

/// Label names and values.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

/// Writes families one after another. `created` is the Unix time, in seconds, when a counter or histogram began
/// counting.
pub(super) trait Writer {
    /// Begins a family: the values written until the next call belong to it. A family without values is left out.
    fn begin(&mut self, head: &Head);
    /// Writes the value of a counter, gauge or info to the family.
    fn number(&mut self, labels: &Labels<'_>, value: f64, created: Option<f64>);
    /// Writes a histogram to the family.
    fn histogram(&mut self, labels: &Labels<'_>, histogram: &Snapshot, created: Option<f64>);
}
