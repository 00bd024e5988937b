//! Encodes a monitor's metrics in Prometheus' exposition formats: text 0.0.4, OpenMetrics 1.0 and protobuf with native
//! histograms.
//!
//! [`encode`] walks the [families](family) once and passes each series to the writer for the format. The text formats
//! do not support native histograms, so they contain *classic* ones: the number of values up to each
//! [bound](Bounds). Protobuf contains both, and the Prometheus server stores the kind that it is configured for.
//!
//! The formats are defined in "Exposition formats" and "Native Histograms" in Prometheus' documentation, the
//! OpenMetrics 1.0 specification, and `io/prometheus/client/metrics.proto` of prometheus/client_model.

use nanospan_fallible::{OutOfMemory, TryCollect};

mod classic;
mod family;
mod operations;
mod options;
mod protobuf;
mod samples;
#[cfg(test)]
mod tests;
mod text;

pub use classic::Bounds;
pub use family::{Family, Head, Kind, Series, Value};
pub use operations::Source;
pub use options::{LEAST_NATIVE_BUCKETS, Options};
pub use samples::Sample;

use self::{family::Writer, protobuf::Protobuf, samples::Samples, text::Text};

/// An exposition format supported by Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, with content type `text/plain; version=0.0.4`.
    Text,
    /// OpenMetrics 1.0 text, with content type `application/openmetrics-text; version=1.0.0`.
    OpenMetrics,
    /// Length-delimited protobuf messages, with content type `application/vnd.google.protobuf;
    /// proto=io.prometheus.client.MetricFamily; encoding=delimited`.
    Protobuf,
}

/// Encodes `sources` and `families` as one exposition in `format`.
///
/// Families, and the series in each family, are written in the order given; a family without series is left out. The
/// caller must ensure that no two series with the same name have the same labels.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for the exposition.
pub fn encode(
    sources: &[Source<'_>],
    families: &[Family],
    format: Format,
    options: &Options,
) -> Result<Vec<u8>, OutOfMemory> {
    match format {
        Format::Text | Format::OpenMetrics => {
            let mut writer = Text::new(options, format == Format::OpenMetrics)?;
            write(sources, families, &mut writer)?;
            writer.finish()
        }
        Format::Protobuf => {
            let mut writer = Protobuf::new(options);
            write(sources, families, &mut writer)?;
            writer.finish()
        }
    }
}

/// Returns the samples (lines) that a text exposition of `sources` and `families` would contain, grouped by family.
///
/// # Errors
///
/// [`OutOfMemory`] if there is no memory for the samples.
pub fn samples(
    sources: &[Source<'_>],
    families: &[Family],
    options: &Options,
) -> Result<Vec<(Head, Vec<Sample>)>, OutOfMemory> {
    let mut writer = Samples::new(options);
    write(sources, families, &mut writer)?;
    Ok(writer.families)
}

fn write(
    sources: &[Source<'_>],
    families: &[Family],
    writer: &mut impl Writer,
) -> Result<(), OutOfMemory> {
    operations::write(sources, writer)?;
    for family in families {
        writer.begin(&family.head)?;
        for series in &family.series {
            let labels = series
                .labels
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .try_vec()?;
            match &series.value {
                Value::Number(value) => writer.number(&labels, *value, None)?,
                Value::Histogram(histogram) => writer.histogram(&labels, histogram, None)?,
            }
        }
    }
    Ok(())
}
