//! Prometheus asks our server by remote read: what its queries find is what the server has.

use std::{collections::BTreeMap, path::PathBuf};

use e2e::{
    go_programs::PROMETHEUS_3,
    http::raw_query,
    peer::Store,
    prometheus::{Prometheus, program},
    series::{HistogramBits, Labels, Series, SeriesSet},
};
use serde_json::Value;
use tempfile::TempDir;

use super::{data, now_ms};

/// It asks for samples and knows no histograms there.
#[test]
fn prometheus_2_finds_samples() {
    let series = data::floats(now_ms() - 500_000);
    check(program(), series);
}

/// It asks for a stream of chunks first.
#[test]
fn prometheus_3_finds_samples_and_histograms() {
    let base = now_ms() - 500_000;
    check(PROMETHEUS_3.path(), [data::floats(base), data::histograms(base)].concat());
}

#[track_caller]
fn check(program: PathBuf, series: Vec<Series>) {
    let store = Store::start(series.clone());
    let folder = TempDir::new().expect("a folder can be made");
    let config = format!("remote_read: [{{url: '{}', read_recent: true}}]\n", store.url());
    let mut prometheus = Prometheus::configured(folder.path(), program, &config, &[]);
    prometheus.start();
    let found = raw_query(&prometheus.url(), &format!("{{__name__=~{:?}}}[10m]", data::NAMES));
    let found: BTreeMap<Labels, Found> =
        found.expect("Prometheus answers").as_array().expect("a matrix").iter().map(Found::read).collect();
    let set: SeriesSet = series.into_iter().collect();
    let expected = set.iter().map(|(labels, content)| {
        // Queries pass over stale markers.
        let samples = content.samples.values().map(|sample| sample.sample).filter(|s| !s.is_stale());
        let samples = samples.map(|sample| (sample.timestamp_ms, plain(sample.value()))).collect();
        let histograms = content.histograms.iter().filter_map(|(time, bits)| Some((*time, totals(bits)?)));
        (labels.clone(), Found { samples, histograms: histograms.collect() })
    });
    assert_eq!(found, expected.collect());
}

/// What a query finds of one series.
#[derive(Debug, Default, PartialEq)]
struct Found {
    /// Bits by time.
    samples: BTreeMap<i64, u64>,
    /// By time: count, sum and the counts of the buckets that are not empty, sorted.
    histograms: BTreeMap<i64, (f64, f64, Vec<f64>)>,
}

impl Found {
    fn read(series: &Value) -> (Labels, Self) {
        let labels = series["metric"].as_object().expect("labels").iter();
        let labels = labels.map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned()));
        let samples = pairs(series, "values").map(|(time, value)| (time, plain(number(value))));
        let histograms = pairs(series, "histograms").map(|(time, histogram)| {
            let buckets = histogram["buckets"].as_array().into_iter().flatten();
            let mut buckets: Vec<_> = buckets.map(|bucket| number(&bucket[3])).collect();
            buckets.sort_by(f64::total_cmp);
            (time, (number(&histogram["count"]), number(&histogram["sum"]), buckets))
        });
        (labels.collect(), Self { samples: samples.collect(), histograms: histograms.collect() })
    }
}

fn pairs<'a>(series: &'a Value, key: &str) -> impl Iterator<Item = (i64, &'a Value)> {
    let time = |pair: &Value| (pair[0].as_f64().expect("a time in seconds") * 1_000.0).round() as i64;
    series[key].as_array().into_iter().flatten().map(move |pair| (time(pair), &pair[1]))
}

fn number(text: &Value) -> f64 {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {text}"))
}

/// The bits, with one NaN for all, as text has only one.
fn plain(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Nothing for a stale marker.
fn totals(bits: &HistogramBits) -> Option<(f64, f64, Vec<f64>)> {
    let HistogramBits::Value { kind: (_, is_float), totals, positive, negative, .. } = bits else {
        return None;
    };
    let count = |bits: u64| if *is_float { f64::from_bits(bits) } else { bits as f64 };
    let [sum, total, zero_count, _] = *totals;
    let zero_count = Some(zero_count).filter(|count| *count != 0);
    let buckets = positive.values().chain(negative.values()).copied().chain(zero_count);
    let mut buckets: Vec<_> = buckets.map(count).collect();
    buckets.sort_by(f64::total_cmp);
    Some((count(total), f64::from_bits(sum), buckets))
}
