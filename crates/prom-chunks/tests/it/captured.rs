//! Counters and gauges of a machine, as `tests/data/README.md` says, against the digests of what went in.

use prom_chunks::{Sample, XorSamples};

/// The chunks of a captured file, each with the digest of its samples.
pub(crate) fn chunks(file: &str) -> Vec<(u64, Vec<u8>)> {
    let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut rest = &bytes[..];
    let mut chunks = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<12>() {
        let length = u32::from_le_bytes(head[..4].try_into().unwrap()) as usize;
        let digest = u64::from_le_bytes(head[4..].try_into().unwrap());
        chunks.push((digest, tail[..length].to_vec()));
        rest = &tail[length..];
    }
    assert!(rest.is_empty());
    chunks
}

/// FNV-1a over timestamps and value bits.
fn digest(samples: &[Sample]) -> u64 {
    let bytes = samples.iter().flat_map(|sample| {
        sample.timestamp_ms.to_le_bytes().into_iter().chain(sample.value_bits.to_le_bytes())
    });
    bytes.fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[track_caller]
fn check(file: &str) {
    let chunks = chunks(file);
    assert!(chunks.len() > 50, "{file} has {} chunks", chunks.len());
    for (index, (expected, chunk)) in chunks.iter().enumerate() {
        let samples: Vec<_> = XorSamples::new(chunk).unwrap().map(Result::unwrap).collect();
        assert!((90..=240).contains(&samples.len()), "{file} chunk {index} has {} samples", samples.len());
        assert_eq!(digest(&samples), *expected, "{file} chunk {index}");
    }
}

#[test]
fn captured_counters_are_whole() {
    check("captured_counters.bin");
}

#[test]
fn captured_gauges_are_whole() {
    check("captured_gauges.bin");
}
