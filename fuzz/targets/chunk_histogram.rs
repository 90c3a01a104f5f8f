//! A chunk of histograms; the first byte chooses the encoding. What was read of the two that can be written is written
//! and read again.

use prom_chunks::{Encoding, Histogram, HistogramDecoder, HistogramEncoder};

pub(crate) fn run(data: &[u8]) {
    let Some((choice, chunk)) = data.split_first() else { return };
    let encoding = match choice % 4 {
        0 => Encoding::Histogram,
        1 => Encoding::FloatHistogram,
        2 => Encoding::HistogramSt,
        _ => Encoding::FloatHistogramSt,
    };
    let Ok(mut decoder) = HistogramDecoder::with_max_buckets(encoding, chunk, 1_000) else { return };
    let header = decoder.reset_header();
    let Ok(mut encoder) = HistogramEncoder::new(encoding, header) else {
        while let Ok(Some(_)) = decoder.next_histogram() {}
        return;
    };
    let mut expected: Vec<Histogram> = Vec::new();
    while let Ok(Some(histogram)) = decoder.next_histogram() {
        // A chunk of a peer may go on after a stale marker; ours may not.
        if encoder.append(histogram).is_err() {
            break;
        }
        expected.push(histogram.clone());
        if expected.len() == 500 {
            break;
        }
    }
    let chunk = encoder.finish();
    let mut decoder = HistogramDecoder::with_max_buckets(encoding, &chunk, 1_000).expect("our own chunk");
    for histogram in &expected {
        assert_eq!(decoder.next_histogram().expect("our own chunk"), Some(histogram));
    }
    assert_eq!(decoder.next_histogram(), Ok(None));
}
