//! Conversion, splitting and merging, against each other.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| prom_remote::fuzzing::convert(bytes));
