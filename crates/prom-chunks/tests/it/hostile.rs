//! Bytes that no Prometheus wrote.

use prom_chunks::{
    ChunkError, ChunkErrorKind, Encoding, HistogramDecoder, Sample, Xor2Samples, XorEncoder, XorSamples,
};
use proptest::{collection::vec, prelude::*};

/// Decodes as far as it goes; the number of values, and the error if there was one.
fn decode(encoding: Encoding, chunk: &[u8]) -> (usize, Option<ChunkError>) {
    fn count<T>(samples: impl Iterator<Item = Result<T, ChunkError>>) -> (usize, Option<ChunkError>) {
        let mut count = 0;
        let mut error = None;
        for sample in samples {
            assert_eq!(error, None, "nothing comes after an error");
            match sample {
                Ok(_) => count += 1,
                Err(found) => error = Some(found),
            }
        }
        (count, error)
    }
    match encoding {
        Encoding::Xor => XorSamples::new(chunk).map_or_else(|error| (0, Some(error)), count),
        Encoding::Xor2 => Xor2Samples::new(chunk).map_or_else(|error| (0, Some(error)), count),
        _ => {
            let mut decoder = match HistogramDecoder::with_max_buckets(encoding, chunk, 1 << 12) {
                Ok(decoder) => decoder,
                Err(error) => return (0, Some(error)),
            };
            let mut count = 0;
            loop {
                match decoder.next_histogram() {
                    Ok(Some(_)) => count += 1,
                    Ok(None) => return (count, None),
                    Err(error) => {
                        assert_eq!(decoder.next_histogram(), Ok(None));
                        return (count, Some(error));
                    }
                }
            }
        }
    }
}

fn encodings() -> impl Strategy<Value = Encoding> {
    (1..=6).prop_map(|number| Encoding::from_number(number).unwrap())
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(encoding in encodings(), bytes in vec(any::<u8>(), 0..400)) {
        let (count, error) = decode(encoding, &bytes);
        prop_assert!(count > 0 || error.is_some() || bytes[..2] == [0, 0] || bytes[0] & 0x3f == 0);
    }

    /// A sound header and many ones: long prefixes, wide windows.
    #[test]
    fn dense_bytes_are_an_answer(encoding in encodings(), count in 0..90_u8, bytes in vec(prop_oneof![Just(0xff_u8), Just(0), any::<u8>()], 0..300)) {
        let mut chunk = if encoding.number() > 4 { vec![0, count] } else { vec![0, count, 0] };
        chunk.extend(bytes);
        let (decoded, error) = decode(encoding, &chunk);
        prop_assert!(decoded <= count.into());
        prop_assert_eq!(decoded == usize::from(count), error.is_none());
    }

    #[test]
    fn a_shortened_chunk_gives_a_beginning_and_an_error(
        values in vec((0..50_000_i64, any::<u64>()), 1..150),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut timestamp_ms = 0;
        let samples: Vec<_> = values
            .into_iter()
            .map(|(step, value_bits)| {
                timestamp_ms += step;
                Sample { timestamp_ms, value_bits }
            })
            .collect();
        let mut encoder = XorEncoder::new();
        samples.iter().for_each(|sample| encoder.append(*sample).unwrap());
        let chunk = encoder.finish();
        let cut = &chunk[..cut.index(chunk.len())];
        let mut read = Vec::new();
        let mut error = None;
        match XorSamples::new(cut) {
            Ok(walk) => {
                for sample in walk {
                    match sample {
                        Ok(sample) => read.push(sample),
                        Err(found) => error = Some(found),
                    }
                }
            }
            Err(found) => error = Some(found),
        }
        prop_assert_eq!(&read[..], &samples[..read.len()]);
        let error = error.expect("a byte is missing");
        let is_expected = matches!(error.kind, ChunkErrorKind::Truncated | ChunkErrorKind::ImpossibleCount { .. });
        prop_assert!(is_expected, "{error}");
    }
}

#[track_caller]
fn check(encoding: Encoding, chunk: &[u8], expected: ChunkErrorKind) {
    assert_eq!(decode(encoding, chunk).1.map(|error| error.kind), Some(expected));
}

#[test]
fn declared_numbers_that_cannot_be_true() {
    use ChunkErrorKind::{ImpossibleCount, TooManyBuckets, Truncated, UnknownSchema};
    check(Encoding::Xor, &[], Truncated);
    check(Encoding::Xor, &[0], Truncated);
    check(Encoding::Xor2, &[0, 1], Truncated);
    check(Encoding::Histogram, &[0, 1], Truncated);
    check(Encoding::Xor, &[0xff, 0xff, 1, 2, 3], ImpossibleCount { declared: 0xffff });
    check(Encoding::FloatHistogram, &[0xff, 0xff, 0, 2, 3], ImpossibleCount { declared: 0xffff });
    check(Encoding::HistogramSt, &[0xff, 0xff, 0, 2, 3], ImpossibleCount { declared: 0x3fff });
    // Threshold 0, schema 0, then 2^63 spans.
    let spans = [0, 1, 0, 0, 0b0111_1111, 0b1100_0000, 0, 0, 0, 0, 0, 0, 0, 0];
    check(Encoding::Histogram, &spans, TooManyBuckets { limit: 3 });
    // Threshold 0, schema -53 + 1.
    let schema = [0, 1, 0, 0, 0b1110_1110, 0b0110_1000, 0, 0, 0];
    assert!(matches!(decode(Encoding::Histogram, &schema).1.unwrap().kind, UnknownSchema(_)));
}

#[test]
fn a_window_outside_of_the_value_is_refused() {
    // A varint of one byte, a value, a varint; then 11, 31 leading zeros, 40 significant bits.
    let mut chunk = vec![0, 2, 2];
    chunk.extend([0; 8]);
    chunk.extend([2, 0b1111_1111, 0b0100_0000, 0, 0, 0, 0, 0, 0]);
    let error = decode(Encoding::Xor, &chunk).1.unwrap();
    assert_eq!(error.kind, ChunkErrorKind::InvalidWindow { leading: 31, significant: 40 });
    assert_eq!(error.sample, 1);
    assert_eq!(
        error.to_string(),
        "window of 40 bits after 31 does not fit into 64 bits, in sample 1 at bit 109 of the chunk"
    );
}

#[test]
fn the_decoders_hold_the_asked_kind_of_values() {
    assert_eq!(
        HistogramDecoder::new(Encoding::Xor, &[0, 0, 0]).unwrap_err().kind,
        ChunkErrorKind::WrongEncoding
    );
}
