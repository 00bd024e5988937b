//! Metric families, and the trait that the writer for each exposition format implements.

use std::borrow::Cow;

use nanospan_fallible::{OutOfMemory, string};
use nanospan_record::histogram::Snapshot;

/// The type of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that never decreases. The names of its series end in `_total`.
    Counter,
    /// A number that can go up and down.
    Gauge,
    /// The constant 1, with labels that carry information. The names of its series end in `_info`.
    Info,
    /// A distribution of durations.
    Histogram,
}

/// A metric family's name, help text, unit and type.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The family's name, without the suffix that depends on the kind; it consists of ASCII letters, digits and `_`.
    pub name: Cow<'static, str>,
    /// The help text: one sentence, which may contain any characters.
    pub help: Cow<'static, str>,
    /// The unit, which is also the last word of the name; empty if the values have no unit.
    pub unit: Cow<'static, str>,
    /// The type of the family.
    pub kind: Kind,
}

impl Head {
    /// Creates a head from texts that are known at compile time.
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

    /// Copies the head.
    pub(super) fn try_clone(&self) -> Result<Self, OutOfMemory> {
        let copied = |text: &Cow<'static, str>| match text {
            Cow::Borrowed(text) => Ok(Cow::Borrowed(*text)),
            Cow::Owned(text) => string(text).map(Cow::Owned),
        };
        Ok(Self {
            name: copied(&self.name)?,
            help: copied(&self.help)?,
            unit: copied(&self.unit)?,
            kind: self.kind,
        })
    }

    /// Returns the suffix that the kind adds to the names of the series. It is empty for histograms, because writers
    /// add suffixes such as `_bucket` themselves.
    pub(super) fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        }
    }
}

/// A metric family: its description and its series.
#[derive(Debug, PartialEq)]
pub struct Family {
    /// The family's description.
    pub head: Head,
    /// The family's series. Every value is a histogram if the kind is [`Kind::Histogram`], and a number otherwise.
    pub series: Vec<Series>,
}

/// One value of a metric family, and the labels that identify it.
#[derive(Debug, PartialEq)]
pub struct Series {
    /// The labels, as (name, value) pairs. A name has the same form as [`Head::name`]; a value may be any text.
    pub labels: Vec<(String, String)>,
    /// The value of the series: a number or a histogram.
    pub value: Value,
}

/// The value of a series.
#[derive(Debug, PartialEq)]
pub enum Value {
    /// A number, which may be infinite or NaN.
    Number(f64),
    /// A distribution of durations.
    Histogram(Snapshot),
}

/// Labels, as (name, value) pairs.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

/// Writes metric families in one exposition format, one family after another.
///
/// In all methods, `created` is the Unix time, in seconds, at which a counter or histogram began counting. They fail if
/// there is no memory for what they write; the exposition cannot be completed then.
pub(super) trait Writer {
    /// Begins a family. All values written until the next call to `begin` belong to it; a family without values is
    /// left out.
    fn begin(&mut self, head: &Head) -> Result<(), OutOfMemory>;
    /// Adds the value of a counter, gauge or info to the current family.
    fn number(
        &mut self,
        labels: &Labels<'_>,
        value: f64,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory>;
    /// Adds a histogram to the current family.
    fn histogram(
        &mut self,
        labels: &Labels<'_>,
        histogram: &Snapshot,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory>;
}
