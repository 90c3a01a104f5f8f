//! Splicing and stripping labels, both versions, against prost.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| prom_remote::fuzzing::splice(bytes));
