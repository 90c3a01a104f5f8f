//! Chunks that Prometheus wrote of what it scraped, taken through streamed remote read.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant, SystemTime},
};

use e2e::{
    note,
    peer::{capture_series, read_samples},
    programs::workspace,
    series::{Content, Labels, text},
};
use prom_remote::{Chunk, TimeRange};

/// So long until each series has a whole chunk: 120 scrapes, and the start.
const TIME: Duration = Duration::from_secs(660);
/// A chunk that Prometheus has closed holds more than this: it closes one at about 120 samples, so that
/// the chunks of a block are of one length.
const MIN_SAMPLES: u16 = 90;
/// So many chunks are kept of each kind.
const KEPT: usize = 200;
/// Of the series that never change, one of so many is kept.
const CONSTANT: usize = 8;

/// Waits until the servers at `sources` have whole chunks, and writes those of counters and of gauges.
pub(crate) fn capture(sources: &[String]) {
    let start = Instant::now();
    note("waiting for whole chunks: eleven minutes");
    while start.elapsed() < TIME {
        thread::sleep(Duration::from_secs(1));
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    let now = i64::try_from(now.as_millis()).expect("it is before the year 292277026");
    let range = TimeRange::new(now - 3_600_000, now).expect("it is not empty");
    let (mut counters, mut gauges) = (Vec::new(), Vec::new());
    for source in sources {
        let samples = read_samples(source, ".+", range).series;
        let samples: BTreeMap<&Labels, &Content> = samples.iter().collect();
        for series in capture_series(source, ".+", range) {
            let labels = text(series.labels.iter().map(|label| (&label.name[..], &label.value[..])));
            let kind = match labels["__name__"].as_str() {
                name if name.ends_with("_total") => &mut counters,
                name if DERIVED.iter().any(|end| name.ends_with(end)) => continue,
                _ => &mut gauges,
            };
            let content = samples[&labels];
            kind.extend(series.chunks.into_iter().filter_map(|chunk| digested(content, chunk)));
        }
    }
    for (name, chunks) in [("counters", counters), ("gauges", gauges)] {
        write(name, chunks);
    }
}

struct Digested {
    chunk: Vec<u8>,
    digest: u64,
    is_constant: bool,
}

/// A closed chunk with the digest of its samples as Prometheus itself decodes them.
fn digested(content: &Content, chunk: Chunk) -> Option<Digested> {
    let count = u16::from_be_bytes([*chunk.data.first()?, *chunk.data.get(1)?]);
    let range = chunk.min_time_ms..=chunk.max_time_ms;
    let inside: Vec<_> = content.samples.range(range).map(|(_, sample)| sample.sample).collect();
    if count < MIN_SAMPLES || inside.len() != usize::from(count) {
        return None;
    }
    let bytes = inside.iter().flat_map(|sample| {
        sample.timestamp_ms.to_le_bytes().into_iter().chain(sample.value_bits.to_le_bytes())
    });
    let digest = bytes
        .fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let is_constant = inside.iter().all(|sample| sample.value_bits == inside[0].value_bits);
    Some(Digested { chunk: chunk.data, digest, is_constant })
}

fn write(name: &str, chunks: Vec<Digested>) {
    let (constant, moving): (Vec<_>, Vec<_>) = chunks.into_iter().partition(|chunk| chunk.is_constant);
    let counts = (moving.len(), constant.len());
    let mut kept: Vec<_> = moving.into_iter().chain(constant.into_iter().step_by(CONSTANT)).collect();
    let step = kept.len().div_ceil(KEPT).max(1);
    kept = kept.into_iter().step_by(step).collect();
    let mut bytes = Vec::new();
    for Digested { chunk, digest, .. } in &kept {
        bytes.extend(u32::try_from(chunk.len()).expect("a chunk is short").to_le_bytes());
        bytes.extend(digest.to_le_bytes());
        bytes.extend(chunk);
    }
    let path = workspace().join(format!("crates/prom-chunks/tests/data/captured_{name}.bin"));
    fs::write(&path, &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    note(&format!("{name}: {} chunks of {} that move and {} that stay", kept.len(), counts.0, counts.1));
}

const DERIVED: [&str; 4] = ["_bucket", "_count", "_sum", "_info"];
