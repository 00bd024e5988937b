//! The target `columns`: samples with any end times, durations and outcomes, as rows, lanes and pixels.

use nanospan_format::{
    columns::{Attached, Columns, EventRow, Lanes, TableRow},
    scatter::{Extent, Grid},
};

use crate::{input::Input, limits::limited};

/// The bytes of one sample in an input.
const SAMPLE: usize = 17;

/// Each sample has a row, a lane and an event; a row's duration reads back as the same number.
pub fn target(data: &[u8]) {
    let columns = columns_of(data);
    let count = columns.durations.len();
    let extra = 256 * (1 + count);
    let pieces = [&b"<"[..], b",", b",", b",", b">\n"];
    let row = TableRow {
        pieces,
        nothing: b"-",
    };
    let rows = limited(data, extra, |_| row.write(&columns, &Attached::default()));
    let rows = String::from_utf8(rows.expect("enough memory")).expect("rows are text");
    assert_eq!(rows.lines().count(), count);
    for (line, duration) in rows.lines().zip(&columns.durations) {
        let shown = line.split(',').nth(1).and_then(|text| text.parse().ok());
        assert_eq!(shown, Some(*duration), "{line}");
    }
    let lanes = limited(data, extra, |_| {
        Lanes::of(&columns.ends, &columns.durations)
    })
    .expect("enough memory");
    assert_eq!((lanes.starts.len(), lanes.lanes.len()), (count, count));
    let events = EventRow {
        heads: [[b"{", b"{"]; 3],
        threshold: 1.0,
        origin: lanes.starts.iter().copied().min().unwrap_or_default(),
        thread: 0,
    };
    let events = limited(data, extra, |_| {
        events.write(&columns, &lanes, &Attached::default())
    });
    assert!(String::from_utf8(events.expect("enough memory")).is_ok());
    let Some(extent) = Extent::of(&columns) else {
        return assert_eq!(count, 0);
    };
    let size = [63, 15];
    let grid = Grid {
        size,
        ends: extent.ends,
        durations: [1e-9, 1.0],
    };
    for (wide, tall) in grid
        .pixels(&columns)
        .expect("enough memory")
        .into_iter()
        .flatten()
    {
        assert!(wide <= size[0] && tall <= size[1]);
    }
}

/// Reads samples as the bindings accept them: durations that can be recorded.
fn columns_of(data: &[u8]) -> Columns {
    let mut columns = Columns::default();
    for sample in data.chunks(SAMPLE) {
        let mut input = Input(sample);
        columns.ends.push(input.number());
        columns.durations.push(input.float());
        columns.outcomes.push(input.byte());
    }
    for duration in &mut columns.durations {
        if nanospan_record::Seconds::new(*duration).is_err() {
            *duration = 0.0;
        }
    }
    columns
}
