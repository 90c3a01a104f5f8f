#![no_main]

#[path = "../targets/chunk_xor.rs"]
mod target;

libfuzzer_sys::fuzz_target!(|data: &[u8]| target::run(data));
