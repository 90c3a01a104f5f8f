//! A stranger's program around `prom-chunks`: writes a chunk of a counter and one of histograms, then reads both as
//! it would read chunks of a Prometheus.

use std::error::Error;

use prom_chunks::{
    BucketCounts, Buckets, Encoding, Histogram, HistogramDecoder, HistogramEncoder, ResetHeader, Sample,
    Span, XorEncoder, XorSamples,
};

fn main() -> Result<(), Box<dyn Error>> {
    let counter = counter_chunk()?;
    println!("counter: {} bytes, increase {}", counter.len(), increase(&counter)?);

    let latencies = latency_chunk()?;
    println!("latencies: {} bytes, last {}", latencies.len(), last_histogram(&latencies)?);

    // What a peer sends may be anything; the answer is an error value that says where.
    for broken in [&counter[..counter.len() / 2], &[0xff; 20]] {
        match increase(broken) {
            Ok(increase) => println!("increase {increase}"),
            Err(error) => println!("refused: {error}"),
        }
    }
    Ok(())
}

/// A counter that is reset once and ends with a stale marker.
fn counter_chunk() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = XorEncoder::new();
    for scrape in 0..100_i64 {
        let value = if scrape < 60 { scrape * 7 } else { (scrape - 60) * 7 };
        encoder.append(Sample::new(1_700_000_000_000 + scrape * 15_000, value as f64))?;
    }
    encoder.append(Sample::stale(1_700_001_500_000))?;
    Ok(encoder.finish())
}

/// What a counter went up by, resets included.
fn increase(chunk: &[u8]) -> Result<f64, prom_chunks::ChunkError> {
    let mut increase = 0.0;
    let mut before: Option<f64> = None;
    for sample in XorSamples::new(chunk)? {
        let sample = sample?;
        if sample.is_stale() {
            continue;
        }
        let value = sample.value();
        increase += match before {
            Some(before) if value >= before => value - before,
            Some(_) => value,
            None => 0.0,
        };
        before = Some(value);
    }
    Ok(increase)
}

/// Ten histograms of two buckets.
fn latency_chunk() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = HistogramEncoder::new(Encoding::Histogram, ResetHeader::Unknown)?;
    let mut histogram = Histogram {
        zero_threshold: 0.001,
        positive_spans: vec![Span { offset: -1, length: 2 }],
        ..Histogram::integer()
    };
    for scrape in 1..=10_u64 {
        histogram.timestamp_ms = 1_700_000_000_000 + scrape as i64 * 15_000;
        histogram.sum = scrape as f64 * 1.4;
        histogram.counts = BucketCounts::Integer(Buckets {
            count: scrape * 3,
            zero_count: 0,
            positive: vec![scrape * 2, scrape],
            negative: vec![],
        });
        encoder.append(&histogram)?;
    }
    Ok(encoder.finish())
}

fn last_histogram(chunk: &[u8]) -> Result<String, prom_chunks::ChunkError> {
    let mut decoder = HistogramDecoder::new(Encoding::Histogram, chunk)?;
    let mut last = String::new();
    while let Some(histogram) = decoder.next_histogram()? {
        let mean = match &histogram.counts {
            BucketCounts::Integer(buckets) => histogram.sum / buckets.count as f64,
            BucketCounts::Float(buckets) => histogram.sum / buckets.count,
        };
        last = format!("mean {mean:.3} s in {} buckets", histogram.bucket_count());
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use prom_chunks::Xor2Samples;

    use super::*;

    #[test]
    fn a_reset_does_not_lower_an_increase() {
        assert_eq!(increase(&counter_chunk().unwrap()).unwrap(), (59 * 7 + 39 * 7) as f64);
    }

    #[test]
    fn the_mean_is_that_of_all_observations() {
        assert_eq!(last_histogram(&latency_chunk().unwrap()).unwrap(), "mean 0.467 s in 2 buckets");
    }

    /// A chunk of the format's page (`docs/formats/xor2.md`).
    #[test]
    fn start_timestamps_come_with_xor2() {
        let chunk = [
            0x00, 0x05, 0x84, 0xd0, 0x0f, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 0xe8, 0x07, 0xe8, 0x07, 0x50, 0x97,
            0xff, 0xff, 0x80, 0x03, 0x98, 0x0c,
        ];
        let starts: Result<Vec<_>, _> = Xor2Samples::new(&chunk)
            .unwrap()
            .map(|sample| sample.map(|started| started.start_timestamp_ms))
            .collect();
        assert_eq!(starts.unwrap(), [500, 500, 500, 500, 4_000]);
    }
}
