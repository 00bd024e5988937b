//! Runs the target `histogram` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nanospan_fuzz::run("histogram", data));
