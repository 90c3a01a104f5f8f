use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    Limits, MetricType, Sample, SampleV2, SeriesV2, WriteRequestBuilder, WriteRequestV2Builder,
    proto::{
        prometheus::{Histogram, Label, TimeSeries, WriteRequest},
        write_v2::{Request, TimeSeries as TimeSeriesV2},
    },
    write::{strategies, v2::strategies as strategies_v2},
};

fn to_v2(request: &[u8]) -> (Request, ConversionReport) {
    let mut output = vec![1, 2, 3];
    let report = convert_to_v2(request, &Limits::default(), &mut output).unwrap();
    (Request::decode(&output[..]).unwrap(), report)
}

fn labels(symbols: &[Vec<u8>], refs: &[u32]) -> Option<Vec<Label>> {
    let symbol = |reference: u32| symbols.get(reference as usize).cloned();
    let (pairs, []) = refs.as_chunks::<2>() else { return None };
    pairs.iter().map(|&[name, value]| Some(Label { name: symbol(name)?, value: symbol(value)? })).collect()
}

/// The content of a series with values as bits, whatever the version.
fn content(series: &TimeSeries) -> String {
    let bits = |values: &mut dyn Iterator<Item = f64>| values.map(f64::to_bits).collect::<Vec<_>>();
    let floats =
        bits(&mut series.samples.iter().map(|s| s.value).chain(series.exemplars.iter().map(|e| e.value)));
    format!("{series:?} {floats:?}")
}

/// A 2.0 series as 1.0, without what that cannot express; `None` if its references are bad.
fn lower(request: &Request, series: &TimeSeriesV2) -> Option<TimeSeries> {
    let mut lowered =
        TimeSeries { labels: labels(&request.symbols, &series.labels_refs)?, ..Default::default() };
    for s in &series.samples {
        let sample = crate::proto::prometheus::Sample { value: s.value, timestamp: s.timestamp };
        lowered.samples.push(sample);
    }
    for e in &series.exemplars {
        let labels = labels(&request.symbols, &e.labels_refs)?;
        lowered.exemplars.push(crate::proto::prometheus::Exemplar {
            labels,
            value: e.value,
            timestamp: e.timestamp,
        });
    }
    for histogram in &series.histograms {
        if histogram.schema != -53 && histogram.custom_values.is_empty() {
            lowered.histograms.push(Histogram::decode(&histogram.encode_to_vec()[..]).unwrap());
        }
    }
    Some(lowered)
}

#[track_caller]
fn check_to_v2(request: &[u8]) {
    let before = WriteRequest::decode(request).unwrap();
    let (after, report) = to_v2(request);
    assert_eq!(after.symbols[0], b"");
    let mut expected = Vec::new();
    for series in before.timeseries {
        if series.samples.is_empty() || series.histograms.is_empty() {
            expected.push(series);
            continue;
        }
        let (mut samples, mut histograms) = (series.clone(), series);
        samples.histograms.clear();
        histograms.samples.clear();
        histograms.exemplars.clear();
        expected.extend([samples, histograms]);
    }
    assert_eq!(report.series, expected.len());
    assert_eq!(after.timeseries.len(), expected.len());
    for (series, expected) in after.timeseries.iter().zip(&expected) {
        let mut expected = expected.clone();
        let custom = |histogram: &Histogram| histogram.schema != -53 && histogram.custom_values.is_empty();
        expected.histograms.retain(custom);
        assert_eq!(content(&lower(&after, series).unwrap()), content(&expected));
    }
}

#[track_caller]
fn check_to_v1(bytes: &[u8]) {
    let before = Request::decode(bytes).unwrap();
    let lowered: Option<Vec<_>> = before.timeseries.iter().map(|series| lower(&before, series)).collect();
    let good_metadata = before.timeseries.iter().flat_map(|series| &series.metadata).all(|metadata| {
        [metadata.help_ref, metadata.unit_ref].iter().all(|&r| (r as usize) < before.symbols.len())
    });
    let Some(lowered) = lowered else {
        assert!(convert_to_v1(bytes, &Limits::default()).is_err());
        return;
    };
    let converted = match convert_to_v1(bytes, &Limits::default()) {
        Ok(converted) => converted,
        Err(_) => return assert!(!good_metadata),
    };
    let after = WriteRequest::decode(&converted.request[..]).unwrap();
    let is_left = |(before, after): &(&TimeSeriesV2, &TimeSeries)| {
        before.histograms.is_empty()
            || !before.samples.is_empty()
            || !before.exemplars.is_empty()
            || !after.histograms.is_empty()
    };
    let expected: Vec<_> =
        before.timeseries.iter().zip(&lowered).filter(is_left).map(|(_, lowered)| content(lowered)).collect();
    assert_eq!(after.timeseries.iter().map(content).collect::<Vec<_>>(), expected);
    let custom: usize = before.timeseries.iter().map(|series| series.histograms.len()).sum::<usize>()
        - lowered.iter().map(|series| series.histograms.len()).sum::<usize>();
    assert_eq!(converted.report.lost(LossKind::CustomBuckets), custom);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_changes_on_the_way_to_2(
        request in prop_oneof![strategies::canonical_request(), strategies::wild_request()],
    ) {
        check_to_v2(&request);
    }

    #[test]
    fn nothing_but_what_is_reported_changes_on_the_way_to_1(
        request in prop_oneof![strategies_v2::canonical_request(), strategies_v2::wild_request()],
    ) {
        check_to_v1(&request);
    }

    #[test]
    fn any_bytes_are_an_answer(
        request in prop_oneof![strategies::damaged_request(), strategies_v2::damaged_request()],
    ) {
        let _ = convert_to_v2(&request, &Limits::default(), &mut Vec::new());
        let _ = convert_to_v1(&request, &Limits::default());
    }
}

#[test]
fn metadata_goes_to_the_series_of_its_family() {
    let mut builder = WriteRequestBuilder::new();
    builder
        .series([("__name__", "latency_bucket"), ("le", "1")], [Sample::new(1, 1.0)])
        .series([("__name__", "up")], [Sample::new(1, 1.0)])
        .metadata(MetricType::Histogram, "latency", "how long", "seconds")
        .metadata(MetricType::Gauge, "gone", "of no series", "");
    let (request, report) = to_v2(&builder.finish());
    let metadata = request.timeseries[0].metadata.as_ref().unwrap();
    assert_eq!(metadata.r#type, 3);
    assert_eq!(request.symbols[metadata.help_ref as usize], b"how long");
    assert_eq!(request.symbols[metadata.unit_ref as usize], b"seconds");
    assert_eq!(request.timeseries[1].metadata, None);
    assert_eq!(report.lost(LossKind::MetadataWithoutSeries), 1);
}

#[test]
fn what_1_cannot_express_is_reported() {
    let custom = Histogram { schema: -53, custom_values: vec![1.0], ..Default::default() }.encode_to_vec();
    let mut started = crate::proto::write_v2::Histogram { start_timestamp: 5, ..Default::default() };
    started.timestamp = 7;
    let started = started.encode_to_vec();
    let mut builder = WriteRequestV2Builder::new();
    let metadata = |help: &'static [u8]| Some((MetricType::Counter, help, &b""[..]));
    let sample = SampleV2 { sample: Sample::new(9, -0.0), start_timestamp_ms: 3 };
    builder
        .full_series(&SeriesV2 {
            labels: vec![(b"__name__", b"a_total")],
            samples: vec![sample],
            metadata: metadata(b"first"),
            ..Default::default()
        })
        .full_series(&SeriesV2 {
            labels: vec![(b"__name__", b"h")],
            histograms: vec![&custom, &started],
            ..Default::default()
        })
        .full_series(&SeriesV2 {
            labels: vec![(b"__name__", b"h")],
            histograms: vec![&custom],
            ..Default::default()
        })
        .full_series(&SeriesV2 {
            labels: vec![(b"__name__", b"a_total"), (b"x", b"y")],
            samples: vec![sample],
            metadata: metadata(b"second"),
            ..Default::default()
        });
    let ConvertedV1 { request, metadata, report } =
        convert_to_v1(&builder.finish(), &Limits::default()).unwrap();
    let loss = |kind, count, series| Loss { kind, count, first_series: Some(series) };
    assert_eq!(
        report.losses,
        [
            loss(LossKind::StartTimestamps, 3, 0),
            loss(LossKind::CustomBuckets, 2, 1),
            loss(LossKind::ContradictingMetadata, 1, 3)
        ]
    );
    assert_eq!((report.series, report.samples, report.histograms), (3, 2, 1));
    let request = WriteRequest::decode(&request[..]).unwrap();
    assert_eq!(request.timeseries[0].samples[0].value.to_bits(), (-0.0_f64).to_bits());
    assert_eq!(request.timeseries[1].histograms[0].timestamp, 7);
    let metadata = WriteRequest::decode(&metadata[..]).unwrap().metadata;
    assert_eq!(metadata.len(), 1);
    assert_eq!(
        (&metadata[0].metric_family_name[..], &metadata[0].help[..]),
        (&b"a_total"[..], &b"first"[..])
    );
}

#[test]
fn the_result_is_bounded() {
    let long = "v".repeat(1_000);
    let mut builder = WriteRequestV2Builder::new();
    for _ in 0..100 {
        builder.series([("__name__", long.as_str())], [Sample::new(1, 1.0)]);
    }
    let limits = Limits { max_decoded_bytes: 50_000, ..Limits::default() };
    let error = convert_to_v1(&builder.finish(), &limits).unwrap_err();
    assert_eq!(error.kind, crate::DecodeErrorKind::TooLong { limit: 50_000 });
}

#[test]
fn unknown_fields_do_not_become_start_timestamps() {
    let mut request = Vec::new();
    let label = [0x0a, 0x0d, 0x0a, 8, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', 0x12, 1, b'a'];
    // Samples with a field 3 and a field 4, a histogram with a field 17.
    let samples = [0x12, 4, 0x10, 1, 0x18, 5, 0x12, 4, 0x10, 2, 0x20, 6];
    let histogram = [0x22, 5, 0x78, 7, 0x88, 1, 9];
    crate::wire::put_bytes(&mut request, 1, &[&label[..], &samples, &histogram].concat());
    let (converted, report) = to_v2(&request);
    assert_eq!(report.lost(LossKind::UnknownFields), 2);
    assert_eq!(converted.timeseries.len(), 2);
    let times: Vec<_> =
        converted.timeseries[0].samples.iter().map(|s| (s.timestamp, s.start_timestamp)).collect();
    assert_eq!(times, [(1, 0), (2, 0)]);
    let histogram = &converted.timeseries[1].histograms[0];
    assert_eq!((histogram.timestamp, histogram.start_timestamp), (7, 0));
}
