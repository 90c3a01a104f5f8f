//! An XOR chunk: both ways to walk it agree, and what was read is written and read again.

use prom_chunks::{Sample, XorEncoder, XorSamples};

pub(crate) fn run(data: &[u8]) {
    let Ok(walk) = XorSamples::new(data) else { return };
    let one_by_one: Vec<_> = {
        let mut walk = walk.clone();
        std::iter::from_fn(move || walk.next()).collect()
    };
    let folded = walk.fold(Vec::new(), |mut all, sample| {
        all.push(sample);
        all
    });
    assert_eq!(one_by_one, folded);
    let samples: Vec<Sample> = folded.into_iter().flatten().collect();
    let mut encoder = XorEncoder::new();
    for sample in &samples {
        encoder.append(*sample).expect("no more than came out of a chunk");
    }
    let again: Vec<Sample> = XorSamples::new(&encoder.finish())
        .expect("our own chunk")
        .map(|sample| sample.expect("our own"))
        .collect();
    assert_eq!(again, samples);
}
