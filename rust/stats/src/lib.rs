//! Detects whether values changed, and by how much. The verdicts are valid for real latencies, which are skewed,
//! heavy-tailed and correlated in time.
//!
//! All results are deterministic: there is no resampling, and no random numbers are used.
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "running out of memory may end a test"
    )
)]
#![deny(unsafe_code)]

mod comparison;
mod dependence;
mod few;
mod history;
mod location;
mod normal;
mod online;
mod partition;
mod quantiles;
mod ranks;
mod shift;
mod values;

pub use comparison::{
    ALPHA, Comparison, FALSE_DISCOVERY_RATE, MIN_EFFECT, QuantileChange, Settings, TAIL_MIN_EFFECT,
    Verdict, compare, compare_many,
};
pub use history::{ChangePoint, HistorySettings, change_points};
pub use online::{Alarm, OnlineDetector, OnlineSettings};
pub use values::{NotFinite, Values, ValuesError};
