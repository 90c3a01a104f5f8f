#![no_main]

#[path = "../targets/chunk_xor2.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
