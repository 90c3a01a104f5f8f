use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use e2e::programs::workspace;
use prom_remote::{Limits, Sample, WriteRequestBuilder, WriteRequestView, decompress};

/// Samples of each request.
pub(crate) const SAMPLES: usize = 2_000;
/// Captured requests of each exporter.
const BODIES: usize = 3;
/// How much later the captured series are sent again than the last of them stood.
const PAUSE_MS: i64 = 5_000;

/// The captured requests of one exporter, again and again with later timestamps: no series' time goes backwards.
pub(crate) struct Payload {
    pub(crate) exporter: String,
    pub(crate) mean_labels: f64,
    /// Snappy blocks.
    pub(crate) requests: Vec<bytes::Bytes>,
}

impl Payload {
    pub(crate) fn new(exporter: &str, count: usize) -> Self {
        let captured: Vec<_> = (1..=BODIES).map(|index| read(exporter, index)).collect();
        let times =
            || captured.iter().flat_map(|message| series(message)).map(|series| series.1.timestamp_ms);
        let first = times().min().expect("there are series");
        let round_ms = times().max().expect("there are series") - first + PAUSE_MS;
        let rounds = i64::try_from(count.div_ceil(BODIES)).expect("some thousands");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
        // The last of them is sent before its time has come.
        let begin = i64::try_from(now).expect("it is before the year 292277026") - rounds * round_ms;
        let requests = (0..count).map(|index| {
            let round = i64::try_from(index / BODIES).expect("some thousands");
            let mut builder = WriteRequestBuilder::new();
            for (labels, sample) in series(&captured[index % BODIES]) {
                let timestamp_ms = sample.timestamp_ms - first + begin + round * round_ms;
                builder.series(labels, [Sample { timestamp_ms, ..sample }]);
            }
            builder.finish_compressed().expect("it is short").into()
        });
        let labels: usize =
            captured.iter().flat_map(|message| series(message)).map(|(labels, _)| labels.len()).sum();
        Self {
            exporter: exporter.to_owned(),
            mean_labels: labels as f64 / (BODIES * SAMPLES) as f64,
            requests: requests.collect(),
        }
    }

    pub(crate) fn samples(&self) -> u64 {
        (self.requests.len() * SAMPLES) as u64
    }
}

type Labels<'a> = Vec<(&'a [u8], &'a [u8])>;

fn series(message: &[u8]) -> impl Iterator<Item = (Labels<'_>, Sample)> {
    WriteRequestView::new(message).series().map(|series| {
        let series = series.expect("well formed");
        let sample = series.samples().next().expect("one sample");
        (series.labels().map(|label| (label.name, label.value)).collect(), sample)
    })
}

fn read(exporter: &str, index: usize) -> Vec<u8> {
    let path = workspace().join(format!("crates/prom-remote/benches/captured/{exporter}-1.0-{index}.sz"));
    let block = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut message = Vec::new();
    decompress(&block, &Limits::default(), &mut message).expect("a body that was received");
    message
}
