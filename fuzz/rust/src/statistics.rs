//! The target `statistics`: comparisons and change points of any numbers, as files and functions pass them.

use nanospan_stats::{
    HistorySettings, OnlineDetector, OnlineSettings, Settings, Values, change_points, compare,
};

use crate::input::Input;

/// The most numbers to take: comparing many takes longer than reading them, as it should.
const MOST: usize = 512;

/// Neither comparisons nor change points panic, and the probabilities are from 0 to 1.
pub fn target(data: &[u8]) {
    let mut input = Input(data);
    let split = usize::from(input.byte());
    let numbers = input.finite(MOST);
    let (before, after) = numbers.split_at(split.min(numbers.len()));
    let values = |numbers: &[f64]| Values::gather(numbers.iter().copied()).expect("finite");
    let comparison =
        compare(&values(before), &values(after), &Settings::default()).expect("enough memory");
    assert!((0.0..=1.0).contains(&comparison.p_value), "{comparison:?}");
    let history = values(&numbers);
    for change in change_points(&history, &HistorySettings::default()).expect("enough memory") {
        assert!(
            0 < change.index && change.index < numbers.len(),
            "{change:?}"
        );
        assert!((0.0..=1.0).contains(&change.p_value), "{change:?}");
    }
    let settings = OnlineSettings {
        warmup: 16,
        batch: 2,
        ..OnlineSettings::default()
    };
    let mut detector = OnlineDetector::new(settings).expect("enough memory");
    for (index, &number) in numbers.iter().enumerate() {
        if let Some(alarm) = detector.update(number).expect("enough memory") {
            assert!(
                alarm.since <= alarm.index && alarm.index == index as u64,
                "{alarm:?}"
            );
        }
    }
}
