//! The 2.0 walk and judgement against prost.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| prom_remote::fuzzing::write_v2(bytes));
