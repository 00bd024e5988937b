//! Metric families, and what a format's writer must be able to do with them.

use std::borrow::Cow;

use nanospan_record::histogram::Snapshot;

/// What a family's values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows. Its series end in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1: the labels are what it says. Its series end in `_info`.
    Info,
    /// A distribution.
    Histogram,
}

/// What is said once of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The name without the suffix that its kind brings; ASCII letters, digits and `_`.
    pub name: Cow<'static, str>,
    /// One sentence; any text.
    pub help: Cow<'static, str>,
    /// The unit that the name ends with, or nothing.
    pub unit: Cow<'static, str>,
    /// What its values mean.
    pub kind: Kind,
}

impl Head {
    /// A head whose texts are known at compile time.
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

    /// What the names of its series end with, apart from a histogram's.
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
    /// What is said once.
    pub head: Head,
    /// Its values; histograms exactly if the kind says so.
    pub series: Vec<Series>,
}

/// One value of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Names, of the form of [`Head::name`], and values, any text.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: Value,
}

/// A series' value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number, infinite ones and NaN included.
    Number(f64),
    /// A distribution of seconds.
    Histogram(Snapshot),
}

/// Label names and values.
pub(super) type Labels<'a> = [(&'a str, &'a str)];

/// Writes families one after another. `created` is the Unix time from which a counter or histogram counts.
pub(super) trait Writer {
    /// Begins a family; what follows is of it, until the next. It is left out if nothing follows.
    fn begin(&mut self, head: &Head);
    /// A counter, gauge or info of the family.
    fn number(&mut self, labels: &Labels<'_>, value: f64, created: Option<f64>);
    /// A histogram of the family.
    fn histogram(&mut self, labels: &Labels<'_>, histogram: &Snapshot, created: Option<f64>);
}
