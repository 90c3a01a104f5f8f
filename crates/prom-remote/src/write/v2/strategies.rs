//! 2.0 requests for property tests: as encoders write them, as the wire format allows them, and broken.

use proptest::{collection::vec, prelude::*};
use prost::Message;

use crate::{
    proto::{
        prometheus,
        write_v2::{Exemplar, Histogram, Metadata, Request, Sample, TimeSeries, histogram},
    },
    wire::{put_bytes, put_varint},
    write::strategies::{damage, delimited, request as request_v1, unknown_field},
};

/// A request as an encoder writes it: labels in any order, conflicts and empty labels included.
pub(crate) fn canonical_request() -> impl Strategy<Value = Vec<u8>> {
    request().prop_map(|request| request.encode_to_vec())
}

/// A canonical request whose labels are sorted, not empty and not named `source`, all of whose symbols are in use,
/// with unknown fields.
pub(crate) fn tidy_request() -> impl Strategy<Value = Vec<u8>> {
    (request_v1(), vec(any::<u8>(), 0..3)).prop_map(|(mut request, unknown)| {
        for series in &mut request.timeseries {
            series.labels.retain(|label| label.name != b"source" && !label.value.is_empty());
            series.labels.sort_by(|a, b| a.name.cmp(&b.name));
            for exemplar in &mut series.exemplars {
                exemplar.labels.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
        let mut request = from_v1(&request);
        let series = std::mem::take(&mut request.timeseries);
        let mut bytes = request.encode_to_vec();
        for series in series {
            let mut body = series.encode_to_vec();
            put_bytes(&mut body, 15, &unknown);
            put_bytes(&mut bytes, 5, &body);
            put_bytes(&mut bytes, 9, &unknown);
        }
        bytes
    })
}

/// Forms that no encoder writes: symbols behind series, references unpacked or in pieces or out of range, unknown
/// fields anywhere, metadata in two pieces.
pub(crate) fn wild_request() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        3 => (symbol(), any::<bool>()).prop_map(|(symbol, long)| delimited(4, &symbol, long)),
        4 => (vec(wild_series_field(), 0..8), any::<bool>())
            .prop_map(|(fields, long)| delimited(5, &fields.concat(), long)),
        1 => unknown_field(),
    ];
    vec(field, 0..14).prop_map(|fields| fields.concat())
}

/// Whether each label is there and its value's symbol; values with times; the symbol of the help text.
type SimilarSeries = (Vec<(bool, u32)>, Vec<(f64, i64)>, Option<u32>);

/// Consecutive series that differ in little, as those of an exporter do: in values of labels whose references are as wide
/// or wider, in their sample, in whether the sample has a value. Some values are no good.
pub(crate) fn similar_series() -> impl Strategy<Value = Vec<u8>> {
    // Symbols 1 to 8 are names in their order; from 9 on values, of which 20 is empty and 21 not UTF-8.
    let value = prop_oneof![
        12 => Just(9_u32),
        6 => 9..16_u32,
        4 => 120..140_u32,
        1 => prop::sample::select(vec![20, 21, 1_000]),
    ];
    let label = prop_oneof![30 => Just(true), 1 => Just(false)];
    let sample = (
        prop_oneof![Just(0.0), Just(1.0), any::<f64>()],
        prop_oneof![8 => Just(5_000_i64), 1 => 0..9_000_i64],
    );
    let metadata = prop_oneof![6 => Just(Some(9_u32)), 1 => Just(None), 1 => (9..12_u32).prop_map(Some), 1 => Just(Some(1_000))];
    let samples = prop_oneof![8 => vec(sample.clone(), 1), 1 => vec(sample, 0..3)];
    let series = (vec((label, value), 8), samples, metadata);
    vec(series, 1..12).prop_map(|all| {
        let mut symbols: Vec<Vec<u8>> =
            ["", "__name__", "a", "job", "source", "topic", "u", "v", "zone"].map(Vec::from).to_vec();
        symbols.extend((9..140).map(|number| format!("value {number}").into_bytes()));
        symbols[9] = b"x".to_vec();
        (symbols[20], symbols[21]) = (Vec::new(), vec![0xff]);
        let series = |(labels, samples, metadata): SimilarSeries| TimeSeries {
            labels_refs: (1..)
                .zip(labels)
                .filter(|(_, (is_there, _))| *is_there)
                .flat_map(|(name, (_, value))| [name, value])
                .collect(),
            samples: samples
                .into_iter()
                .map(|(value, timestamp)| Sample { value, timestamp, start_timestamp: 0 })
                .collect(),
            metadata: metadata.map(|help_ref| Metadata { r#type: 1, help_ref, unit_ref: 0 }),
            ..TimeSeries::default()
        };
        Request { symbols, timeseries: all.into_iter().map(series).collect() }.encode_to_vec()
    })
}

pub(crate) fn damaged_request() -> impl Strategy<Value = Vec<u8>> {
    damage(prop_oneof![canonical_request(), wild_request(), similar_series()])
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    (request_v1(), vec((any::<i64>(), 0..4_i32), 8)).prop_map(|(request, extras)| {
        let mut request = from_v1(&request);
        for (series, (start, kind)) in request.timeseries.iter_mut().zip(extras) {
            if kind > 0 {
                series.samples.iter_mut().for_each(|sample| sample.start_timestamp = start);
                series.histograms.iter_mut().for_each(|histogram| histogram.start_timestamp = start);
            }
            if kind > 1 {
                series.metadata = Some(Metadata { r#type: kind, help_ref: 1, unit_ref: 0 });
            }
        }
        if request.timeseries.iter().any(|series| series.metadata.is_some()) && request.symbols.len() < 2 {
            request.symbols.push(b"help".to_vec());
        }
        request
    })
}

/// The same content with its labels in a table of symbols.
pub(crate) fn from_v1(request: &prometheus::WriteRequest) -> Request {
    let mut symbols: Vec<Vec<u8>> = vec![Vec::new()];
    let mut refs = |labels: &[prometheus::Label]| {
        let mut number = |symbol: &Vec<u8>| {
            let found = symbols.iter().position(|known| known == symbol);
            found.unwrap_or_else(|| {
                symbols.push(symbol.clone());
                symbols.len() - 1
            }) as u32
        };
        labels.iter().flat_map(|label| [number(&label.name), number(&label.value)]).collect()
    };
    let timeseries = request
        .timeseries
        .iter()
        .map(|series| TimeSeries {
            labels_refs: refs(&series.labels),
            samples: series
                .samples
                .iter()
                .map(|s| Sample { value: s.value, timestamp: s.timestamp, start_timestamp: 0 })
                .collect(),
            histograms: series.histograms.iter().map(histogram_from_v1).collect(),
            exemplars: series
                .exemplars
                .iter()
                .map(|e| Exemplar { labels_refs: refs(&e.labels), value: e.value, timestamp: e.timestamp })
                .collect(),
            metadata: None,
        })
        .collect();
    Request { symbols, timeseries }
}

fn histogram_from_v1(histogram: &prometheus::Histogram) -> Histogram {
    let mut converted = Histogram::decode(&histogram.encode_to_vec()[..]).unwrap();
    if converted.count.is_none() {
        converted.count = Some(histogram::Count::CountInt(0));
    }
    converted
}

fn symbol() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        6 => prop::sample::select(&["source", "exported_source", "kafka", "__name__", "job", "up", "zone"][..])
            .prop_map(|symbol| symbol.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ]
}

fn wild_series_field() -> impl Strategy<Value = Vec<u8>> {
    let reference = prop_oneof![20 => 0..6_u64, 1 => any::<u64>()];
    let sample = (any::<u64>(), any::<i64>(), any::<i64>()).prop_map(|(bits, timestamp, start)| {
        let sample = Sample { value: f64::from_bits(bits), timestamp, start_timestamp: start };
        delimited(2, &sample.encode_to_vec(), start % 2 == 0)
    });
    let metadata = (0..9_i32, 0..6_u32, 0..6_u32)
        .prop_map(|(r#type, help_ref, unit_ref)| Metadata { r#type, help_ref, unit_ref }.encode_to_vec());
    prop_oneof![
        4 => (vec(reference.clone(), 0..6), any::<bool>()).prop_map(|(refs, long)| {
            let mut packed = Vec::new();
            refs.into_iter().for_each(|reference| put_varint(&mut packed, reference));
            delimited(1, &packed, long)
        }),
        1 => reference.prop_map(|reference| {
            let mut field = vec![0x08];
            put_varint(&mut field, reference);
            field
        }),
        3 => sample,
        1 => metadata.prop_map(|metadata| delimited(5, &metadata, false)),
        1 => (vec(0..6_u32, 0..5), any::<i64>()).prop_map(|(labels_refs, timestamp)| {
            delimited(4, &Exemplar { labels_refs, value: 1.5, timestamp }.encode_to_vec(), false)
        }),
        1 => unknown_field(),
    ]
}
