use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    Sample,
    proto::prometheus::{WriteRequest, histogram, metric_metadata},
    write::strategies::{canonical_request, damaged_request, wild_request},
};

/// The walk and prost agree on whether the bytes are a request, and on what is in it.
#[track_caller]
fn check(bytes: &[u8]) {
    let unlimited = Limits { max_series: usize::MAX, max_samples: usize::MAX, ..Limits::default() };
    let walked = WriteRequestView::new(bytes).summary(&unlimited);
    let decoded = WriteRequest::decode(bytes);
    match (walked, decoded) {
        (Ok(summary), Ok(decoded)) => compare(bytes, &summary, &decoded),
        (Err(_), Err(_)) => {}
        (walked, decoded) => panic!("walk says {walked:?}, prost says {decoded:?}, of {bytes:02x?}"),
    }
}

#[track_caller]
fn compare(bytes: &[u8], summary: &Summary, decoded: &WriteRequest) {
    assert_eq!(summary.series, decoded.timeseries.len());
    assert_eq!(summary.metadata, decoded.metadata.len());
    let mut bounds = None;
    for (view, series) in WriteRequestView::new(bytes).series().zip(&decoded.timeseries) {
        let view = view.unwrap();
        let labels: Vec<_> =
            series.labels.iter().map(|l| LabelView { name: &l.name, value: &l.value }).collect();
        assert_eq!(view.labels().collect::<Vec<_>>(), labels);
        assert_eq!(view.label_count(), labels.len());
        let samples: Vec<_> = series.samples.iter().map(|s| Sample::new(s.timestamp, s.value)).collect();
        assert_eq!(view.samples().collect::<Vec<_>>(), samples);
        assert_eq!(view.sample_count(), samples.len());
        let histograms: Vec<_> = series.histograms.iter().map(|h| h.timestamp).collect();
        assert_eq!(view.histograms().map(|h| h.timestamp_ms).collect::<Vec<_>>(), histograms);
        assert_eq!(view.exemplar_count(), series.exemplars.len());
        let times = samples.iter().map(|s| s.timestamp_ms).chain(histograms);
        times.for_each(|time| {
            TimestampBounds::merge(&mut bounds, Some(TimestampBounds { min_ms: time, max_ms: time }));
        });
    }
    assert_eq!(summary.timestamps, bounds);
    assert_eq!(summary.samples, decoded.timeseries.iter().map(|s| s.samples.len()).sum::<usize>());
}

proptest! {
    #[test]
    fn agrees_with_prost_on_canonical_requests(bytes in canonical_request()) {
        prop_assert!(WriteRequest::decode(&bytes[..]).is_ok());
        check(&bytes);
    }

    #[test]
    fn agrees_with_prost_on_wild_requests(bytes in wild_request()) {
        prop_assert!(WriteRequest::decode(&bytes[..]).is_ok());
        check(&bytes);
    }

    #[test]
    fn agrees_with_prost_on_damaged_requests(bytes in damaged_request()) {
        check(&bytes);
    }

    #[test]
    fn agrees_with_prost_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }
}

#[test]
fn an_error_names_its_place_and_series() {
    // Two empty series, then one whose label runs over the end.
    let bytes = [0x0a, 0, 0x0a, 0, 0x0a, 2, 0x0a, 9];
    let error = WriteRequestView::new(&bytes).summary(&Limits::default()).unwrap_err();
    assert_eq!(error, DecodeError { kind: DecodeErrorKind::Truncated, offset: 8, series: Some(2) });
    assert_eq!(error.to_string(), "message ends inside a field at byte 8 (series 2)");
}

#[test]
fn counts_up_to_the_limit_of_series_and_not_over_it() {
    let bytes = [0x0a, 0, 0x0a, 0];
    let view = WriteRequestView::new(&bytes);
    let at = Limits { max_series: 2, ..Limits::default() };
    assert_eq!(view.summary(&at).unwrap().series, 2);
    let over = view.summary(&Limits { max_series: 1, ..at }).unwrap_err();
    assert_eq!(over.kind, DecodeErrorKind::TooManySeries { limit: 1 });
    assert_eq!(over.series, Some(1));
}

#[test]
fn reads_metadata() {
    let request = WriteRequest {
        timeseries: vec![],
        metadata: vec![crate::proto::prometheus::MetricMetadata {
            r#type: metric_metadata::MetricType::Gauge.into(),
            metric_family_name: b"up".to_vec(),
            help: b"whether it is up".to_vec(),
            unit: b"".to_vec(),
        }],
    };
    let bytes = request.encode_to_vec();
    let entries: Vec<_> = WriteRequestView::new(&bytes).entries().collect::<Result<_, _>>().unwrap();
    let [Entry::Metadata(metadata)] = &entries[..] else { panic!("one metadata entry") };
    assert_eq!(
        (metadata.metric_type, metadata.family, metadata.help),
        (2, &b"up"[..], &b"whether it is up"[..])
    );
    assert_eq!(metadata.field, 0..bytes.len());
}

#[test]
fn float_histograms_are_seen() {
    let mut request = WriteRequest::default();
    let mut series = crate::proto::prometheus::TimeSeries::default();
    series.histograms.push(crate::proto::prometheus::Histogram {
        count: Some(histogram::Count::CountFloat(1.5)),
        timestamp: -5,
        ..Default::default()
    });
    request.timeseries.push(series);
    check(&request.encode_to_vec());
}
