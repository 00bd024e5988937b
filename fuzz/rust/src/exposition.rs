//! The target `exposition`: metric families with any names, labels and numbers, in Prometheus' formats.

use nanospan_format::prometheus::{
    Family, Format, Head, Kind, Options, Series, Source, Value, encode, samples,
};

use crate::{input::Input, limits::limited};

/// Every line of text is a comment or a sample, and every label's value can be read back; the messages in protobuf have
/// the lengths that they state.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let bounds = [1e-6, f64::from(input.byte()) + 1.0];
    let options = Options::new(&bounds, 5 + usize::from(input.byte())).expect("valid options");
    let mut families = Vec::new();
    while !input.0.is_empty() {
        families.push(family(&mut input));
    }
    for format in [Format::Text, Format::OpenMetrics] {
        check_text(&[], &families, format, &options);
    }
    let bytes = limited(data, 64 * data.len(), |_| {
        encode(&[], &families, Format::Protobuf, &options)
    })
    .expect("enough memory");
    check_protobuf(&bytes);
}

fn family(input: &mut Input<'_>) -> Family {
    let kind = [Kind::Counter, Kind::Gauge, Kind::Info][usize::from(input.byte() % 3)];
    let help = input.text();
    let series = (0..input.byte() % 4).map(|_| Series {
        labels: (0..input.byte() % 4)
            .map(|number| (format!("label_{number}"), input.text()))
            .collect(),
        value: Value::Number(input.float()),
    });
    let series = series.collect();
    Family {
        head: Head {
            name: "family".into(),
            help: help.into(),
            unit: "".into(),
            kind,
        },
        series,
    }
}

/// Checks that a text has one line for each sample, with the sample's labels.
pub fn check_text(sources: &[Source<'_>], families: &[Family], format: Format, options: &Options) {
    let text = encode(sources, families, format, options).expect("enough memory");
    let text = str::from_utf8(&text).expect("text is UTF-8");
    let comment = |line: &&str| line.starts_with("# ");
    let lines: Vec<&str> = text
        .split_terminator('\n')
        .filter(|line| !comment(line))
        .collect();
    // Only OpenMetrics has samples that tell when counting began.
    let samples: Vec<_> = samples(sources, families, options)
        .expect("enough memory")
        .into_iter()
        .flat_map(|(_, samples)| samples)
        .filter(|sample| format == Format::OpenMetrics || sample.suffix != "_created")
        .collect();
    assert_eq!(lines.len(), samples.len(), "{text}");
    for (line, sample) in lines.into_iter().zip(&samples) {
        for (name, value) in &sample.labels {
            let written = value
                .replace('\\', r"\\")
                .replace('"', "\\\"")
                .replace('\n', r"\n");
            // The formats write the bounds of buckets differently.
            assert!(
                name == "le" || line.contains(&format!("{name}=\"{written}\"")),
                "{line} lacks {name}={value:?}"
            );
        }
    }
}

/// Checks that the bytes are messages, each after its length.
pub fn check_protobuf(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let length = prost::decode_length_delimiter(&mut bytes).expect("a length");
        bytes = bytes.get(length..).expect("a whole message");
    }
}
