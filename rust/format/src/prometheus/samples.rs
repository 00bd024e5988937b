//! The lines of a text exposition as plain values, for callers that encode the exposition themselves.

use nanospan_fallible::{OutOfMemory, TryCollect, TryGrow, string, vec};
use nanospan_record::histogram::Snapshot;

use super::{
    family::{Head, Labels, Writer},
    options::Options,
    text::canonical,
};

/// One sample line of a text exposition: a series and its value.
#[derive(Debug, PartialEq)]
pub struct Sample {
    /// The suffix, such as `_bucket`, that follows the family's name in the sample's name; may be empty.
    pub suffix: &'static str,
    /// The names and values of the labels, including `le` for a histogram bucket.
    pub labels: Vec<(String, String)>,
    /// The sample's value.
    pub value: f64,
}

pub(super) struct Samples<'a> {
    pub(super) families: Vec<(Head, Vec<Sample>)>,
    options: &'a Options,
}

impl<'a> Samples<'a> {
    pub(super) fn new(options: &'a Options) -> Self {
        Self {
            families: Vec::new(),
            options,
        }
    }

    fn push(
        &mut self,
        suffix: &'static str,
        labels: &Labels<'_>,
        value: f64,
    ) -> Result<(), OutOfMemory> {
        let owned = |&(name, value): &(&str, &str)| Ok((string(name)?, string(value)?));
        if let Some((_, samples)) = self.families.last_mut() {
            samples.try_push(Sample {
                suffix,
                labels: labels.iter().map(owned).try_vec_of()?,
                value,
            })?;
        }
        Ok(())
    }

    fn created(&mut self, labels: &Labels<'_>, created: Option<f64>) -> Result<(), OutOfMemory> {
        match created {
            Some(created) => self.push("_created", labels, created),
            None => Ok(()),
        }
    }
}

impl Writer for Samples<'_> {
    fn begin(&mut self, head: &Head) -> Result<(), OutOfMemory> {
        self.families.try_push((head.try_clone()?, Vec::new()))
    }

    fn number(
        &mut self,
        labels: &Labels<'_>,
        value: f64,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory> {
        let suffix = self.families.last().map_or("", |(head, _)| head.suffix());
        self.push(suffix, labels, value)?;
        self.created(labels, created)
    }

    fn histogram(
        &mut self,
        labels: &Labels<'_>,
        histogram: &Snapshot,
        created: Option<f64>,
    ) -> Result<(), OutOfMemory> {
        let bounds = self.options.bounds();
        let ends = bounds.seconds().iter().map(|&bound| canonical(bound, true));
        let counts = bounds.cumulative(histogram).chain([histogram.count()]);
        for (end, count) in ends.chain([string("+Inf")]).zip(counts) {
            let end = end?;
            let mut of_bucket = vec(labels.len() + 1)?;
            of_bucket.try_extend(labels.iter().copied())?;
            of_bucket.try_push(("le", &*end))?;
            self.push("_bucket", &of_bucket, count as f64)?;
        }
        self.push("_sum", labels, histogram.sum_ns() as f64 / 1e9)?;
        self.push("_count", labels, histogram.count() as f64)?;
        self.created(labels, created)
    }
}
