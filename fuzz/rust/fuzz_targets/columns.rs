//! Runs the target `columns` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nanospan_fuzz::run("columns", data));
