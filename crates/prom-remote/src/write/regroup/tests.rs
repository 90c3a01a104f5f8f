use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    Limits, Sample, WriteRequestBuilder, WriteRequestV2Builder,
    proto::{
        prometheus::{TimeSeries, WriteRequest},
        write_v2::Request,
    },
    write::{strategies, v2::strategies as strategies_v2},
};

fn parts(request: &[u8], size: &SplitSize) -> (Vec<Vec<u8>>, SplitReport) {
    let mut parts = Vec::new();
    let report = split(request, size, |part| parts.push(part.to_vec())).unwrap();
    assert_eq!(report.parts, parts.len());
    (parts, report)
}

fn parts_v2(request: &[u8], size: &SplitSize) -> Option<(Vec<Vec<u8>>, SplitReport)> {
    let mut parts = Vec::new();
    let report = split_v2(request, &Limits::default(), size, |part| parts.push(part.to_vec())).ok()?;
    assert_eq!(report.parts, parts.len());
    Some((parts, report))
}

/// Series in the order in which they came; consecutive ones with the same labels as one, empty ones left out.
fn glue(all: impl IntoIterator<Item = TimeSeries>) -> String {
    let mut glued: Vec<TimeSeries> = Vec::new();
    for series in all {
        match glued.last_mut().filter(|last| last.labels == series.labels) {
            Some(last) => {
                last.samples.extend(series.samples);
                last.exemplars.extend(series.exemplars);
                last.histograms.extend(series.histograms);
            }
            None => glued.push(series),
        }
    }
    format!("{glued:?}")
}

/// The series of a 2.0 request with their labels as text; `None` if references are bad.
fn resolved(request: &Request) -> Option<Vec<String>> {
    let symbol = |reference: u32| request.symbols.get(reference as usize).cloned();
    let labels = |refs: &[u32]| refs.iter().map(|&reference| symbol(reference)).collect::<Option<Vec<_>>>();
    let mut all = Vec::new();
    for series in &request.timeseries {
        let names = labels(&series.labels_refs).filter(|labels| labels.len() % 2 == 0)?;
        let mut exemplars = Vec::new();
        for exemplar in &series.exemplars {
            let labels = labels(&exemplar.labels_refs).filter(|labels| labels.len() % 2 == 0)?;
            exemplars.push((labels, exemplar.value.to_bits(), exemplar.timestamp));
        }
        let metadata = match &series.metadata {
            Some(metadata) => Some((metadata.r#type, symbol(metadata.help_ref)?, symbol(metadata.unit_ref)?)),
            None => None,
        };
        all.push(format!(
            "{names:?} {:?} {:?} {exemplars:?} {metadata:?}",
            series.samples, series.histograms
        ));
    }
    Some(all)
}

fn size() -> impl Strategy<Value = SplitSize> {
    let bound = || prop_oneof![1 => Just(usize::MAX), 1 => 1..6_usize];
    let bytes = prop_oneof![1 => Just(usize::MAX), 2 => 1..2_000_usize];
    (bound(), bound(), bytes).prop_map(|(max_series, max_samples, max_bytes)| SplitSize {
        max_series,
        max_samples,
        max_bytes,
    })
}

#[track_caller]
fn check_sizes(parts: &[usize], samples: &[usize], series: &[usize], size: &SplitSize, report: &SplitReport) {
    let over = (0..parts.len())
        .filter(|&part| {
            parts[part] > size.max_bytes || samples[part] > size.max_samples || series[part] > size.max_series
        })
        .count();
    assert!(over <= report.oversized, "{over} parts over the size, {} reported", report.oversized);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn parts_hold_everything_once(
        request in prop_oneof![strategies::canonical_request(), strategies::wild_request(), strategies::similar_series()],
        size in size(),
    ) {
        let (parts, report) = parts(&request, &size);
        let decoded: Vec<_> = parts.iter().map(|part| WriteRequest::decode(&part[..]).unwrap()).collect();
        let lengths: Vec<_> = parts.iter().map(Vec::len).collect();
        let count = |request: &WriteRequest| {
            request.timeseries.iter().map(|series| series.samples.len() + series.histograms.len()).sum()
        };
        let samples: Vec<_> = decoded.iter().map(count).collect();
        let series: Vec<_> = decoded.iter().map(|request| request.timeseries.len()).collect();
        check_sizes(&lengths, &samples, &series, &size, &report);
        let whole = WriteRequest::decode(&request[..]).unwrap();
        prop_assert_eq!(
            glue(decoded.iter().flat_map(|part| part.timeseries.clone())),
            glue(whole.timeseries)
        );
        let metadata: Vec<_> = decoded.into_iter().flat_map(|part| part.metadata).collect();
        prop_assert_eq!(metadata, whole.metadata);
    }

    #[test]
    fn parts_of_2_hold_everything_once(
        request in prop_oneof![strategies_v2::canonical_request(), strategies_v2::wild_request(), strategies_v2::tidy_request()],
        max_series in 1..4_usize,
    ) {
        let size = SplitSize { max_series, ..SplitSize::default() };
        let whole = Request::decode(&request[..]).unwrap();
        if let (Some((parts, report)), Some(expected)) = (parts_v2(&request, &size), resolved(&whole)) {
            let decoded: Vec<_> = parts.iter().map(|part| Request::decode(&part[..]).unwrap()).collect();
            prop_assert!(decoded.iter().all(|part| part.timeseries.len() <= max_series));
            prop_assert_eq!(report.oversized, 0);
            let found: Vec<_> = decoded.iter().flat_map(|part| resolved(part).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_size_in_bytes_holds_for_2(request in strategies_v2::canonical_request(), size in size()) {
        if let Some((parts, report)) = parts_v2(&request, &size) {
            let decoded: Vec<_> = parts.iter().map(|part| Request::decode(&part[..]).unwrap()).collect();
            let lengths: Vec<_> = parts.iter().map(Vec::len).collect();
            let count = |request: &Request| {
                request.timeseries.iter().map(|series| series.samples.len() + series.histograms.len()).sum()
            };
            let samples: Vec<_> = decoded.iter().map(count).collect();
            let series: Vec<_> = decoded.iter().map(|request| request.timeseries.len()).collect();
            check_sizes(&lengths, &samples, &series, &size, &report);
            let whole = Request::decode(&request[..]).unwrap();
            prop_assert_eq!(samples.iter().sum::<usize>(), count(&whole));
        }
    }

    #[test]
    fn merging_is_concatenating(
        a in strategies_v2::canonical_request(),
        b in strategies_v2::canonical_request(),
    ) {
        let mut merged = Vec::new();
        if merge_v2(&[&a, &b], &Limits::default(), &mut merged).is_ok() {
            let series = |bytes: &[u8]| resolved(&Request::decode(bytes).unwrap());
            let expected: Vec<_> = [series(&a).unwrap(), series(&b).unwrap()].concat();
            prop_assert_eq!(series(&merged).unwrap(), expected);
            let symbols = Request::decode(&merged[..]).unwrap().symbols;
            let distinct: std::collections::HashSet<_> = symbols.iter().collect();
            prop_assert_eq!(distinct.len(), symbols.len());
        }
    }

    #[test]
    fn any_bytes_are_an_answer(
        request in prop_oneof![strategies::damaged_request(), strategies_v2::damaged_request()],
        size in size(),
    ) {
        let _ = split(&request, &size, |_| ());
        let _ = split_v2(&request, &Limits::default(), &size, |_| ());
        let _ = concatenate(&[&request, &request], &Limits::default(), &mut Vec::new());
        let _ = merge_v2(&[&request, &request], &Limits::default(), &mut Vec::new());
    }
}

fn request(name: &str, times: &[i64]) -> Vec<u8> {
    let samples = times.iter().map(|&time| Sample::new(time, 1.0));
    WriteRequestBuilder::new().series([("__name__", name)], samples).finish()
}

fn request_v2(name: &str, times: &[i64]) -> Vec<u8> {
    let samples = times.iter().map(|&time| Sample::new(time, 1.0));
    WriteRequestV2Builder::new().series([("__name__", name)], samples).finish()
}

type Coalesced = Result<CoalesceReport, CoalesceError>;

#[track_caller]
fn check_coalesce(requests: &[(&str, &[i64])], expected: Result<usize, CoalesceError>) {
    let limits = Limits { max_series: 3, ..Limits::default() };
    let v1: Vec<_> = requests.iter().map(|(name, times)| request(name, times)).collect();
    let v2: Vec<_> = requests.iter().map(|(name, times)| request_v2(name, times)).collect();
    let borrow = |all: &[Vec<u8>], coalesce: &dyn Fn(&[&[u8]]) -> Coalesced| {
        let all: Vec<_> = all.iter().map(Vec::as_slice).collect();
        coalesce(&all).map(|report| report.samples)
    };
    assert_eq!(borrow(&v1, &|all| concatenate(all, &limits, &mut Vec::new())), expected);
    assert_eq!(borrow(&v2, &|all| merge_v2(all, &limits, &mut Vec::new())), expected);
}

#[test]
fn time_must_go_forward_in_every_series() {
    check_coalesce(&[("a", &[1, 2]), ("b", &[1]), ("a", &[3])], Ok(4));
    let stop = |request| Err(CoalesceError::TimeNotAscending { request, series: 0 });
    check_coalesce(&[("a", &[1, 2]), ("a", &[2])], stop(1));
    check_coalesce(&[("a", &[5]), ("b", &[1]), ("a", &[4])], stop(2));
    check_coalesce(&[("a", &[2, 1])], stop(0));
}

#[test]
fn unknown_fields_are_not_coalesced() {
    let unknown = [&request("a", &[1])[..], &[0x4a, 1, 7]].concat();
    let mut output = Vec::new();
    let error = concatenate(&[&request("b", &[1]), &unknown], &Limits::default(), &mut output).unwrap_err();
    assert_eq!(error, CoalesceError::UnknownFields { request: 1 });
    let unknown = [&request_v2("a", &[1])[..], &[0x4a, 1, 7]].concat();
    let error = merge_v2(&[&unknown], &Limits::default(), &mut output).unwrap_err();
    assert_eq!(error, CoalesceError::UnknownFields { request: 0 });
}

#[test]
fn a_long_series_is_cut_between_its_samples() {
    let times: Vec<i64> = (0..10).collect();
    let (parts, report) = parts(&request("a", &times), &SplitSize { max_samples: 4, ..SplitSize::default() });
    let lengths: Vec<_> = parts
        .iter()
        .map(|part| WriteRequest::decode(&part[..]).unwrap().timeseries[0].samples.len())
        .collect();
    assert_eq!((lengths, report.oversized), (vec![4, 4, 2], 0));
    let size = SplitSize { max_bytes: 1, ..SplitSize::default() };
    let mut count = 0;
    let report = split_v2(&request_v2("a", &times), &Limits::default(), &size, |_| count += 1).unwrap();
    assert_eq!((count, report.oversized), (10, 10));
}
