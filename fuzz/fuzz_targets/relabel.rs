//! Both ways of relabelling a request, against the rules applied to each series.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| prom_remote::fuzzing::relabel(bytes));
