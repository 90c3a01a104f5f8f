//! Requests for property tests: as encoders write them, as the wire format allows them, and broken.

use proptest::{collection::vec, prelude::*, sample::Index};
use prost::Message;

use crate::{
    STALE_MARKER_BITS,
    proto::prometheus::{
        BucketSpan, Exemplar, Histogram, Label, MetricMetadata, Sample, TimeSeries, WriteRequest, histogram,
    },
    wire::{put_bytes, put_varint},
};

/// A request exactly as prost writes it: labels in any order, conflicts and empty labels included.
pub(crate) fn canonical_request() -> impl Strategy<Value = Vec<u8>> {
    request().prop_map(|request| request.encode_to_vec())
}

/// A canonical request whose labels are sorted, with unknown fields at every level and none named `source`.
pub(crate) fn tidy_request() -> impl Strategy<Value = Vec<u8>> {
    (request(), vec(any::<u8>(), 0..3)).prop_map(|(mut request, unknown)| {
        let mut bytes = Vec::new();
        for series in &mut request.timeseries {
            series.labels.retain(|label| label.name != b"source");
            series.labels.sort_by(|a, b| a.name.cmp(&b.name));
            let mut body = series.encode_to_vec();
            put_bytes(&mut body, 15, &unknown);
            put_bytes(&mut bytes, 1, &body);
            put_bytes(&mut bytes, 9, &unknown);
        }
        request.timeseries.clear();
        bytes.extend(request.encode_to_vec());
        bytes
    })
}

/// Series like those of a real sender: sorted labels, most of them as in the series before. Now and then a label
/// is missing, comes out of order or late, or is the one to be added.
pub(crate) fn similar_series() -> impl Strategy<Value = Vec<u8>> {
    const NAMES: [&str; 8] =
        ["__name__", "exported_source", "job", "partition", "source", "sourcf", "topic", "zone"];
    let label = prop_oneof![
        8 => Just(Some("same".to_owned())),
        4 => prop::sample::select(&["x", "other", "1", "a value of another length"][..])
            .prop_map(|value| Some(value.to_owned())),
        1 => Just(Some(String::new())),
        1 => Just(None),
    ];
    let series = (vec(label, NAMES.len()), vec(sample(), 0..2), 0..40_usize, 0..8_usize);
    vec(series, 1..8).prop_map(|all| {
        let mut bytes = Vec::new();
        for (values, samples, odd, place) in all {
            let mut labels: Vec<Vec<u8>> = NAMES
                .iter()
                .zip(values)
                .filter(|(name, _)| **name != "source" || odd == 0)
                .filter_map(|(name, value)| {
                    Some(Label { name: name.as_bytes().to_vec(), value: value?.into_bytes() }.encode_to_vec())
                })
                .collect();
            match odd {
                1 => labels.reverse(),
                2 => labels.insert(place.min(labels.len()), Vec::new()),
                _ => {}
            }
            let mut body = Vec::new();
            for (index, label) in labels.iter().enumerate() {
                if odd == 3 && index == place {
                    put_bytes(&mut body, 15, b"between");
                }
                put_bytes(&mut body, 1, label);
            }
            let rest = TimeSeries { samples, ..TimeSeries::default() };
            body.extend(rest.encode_to_vec());
            put_bytes(&mut bytes, 1, &body);
        }
        bytes
    })
}

/// A request in forms that the wire format allows and no encoder writes: fields in any order, unknown fields and
/// groups between them, a name twice in one label, numbers longer than need be.
pub(crate) fn wild_request() -> impl Strategy<Value = Vec<u8>> {
    vec(wild_request_field(), 0..6).prop_map(|fields| fields.concat())
}

/// A canonical or wild request with some bytes changed, cut off or repeated.
pub(crate) fn damaged_request() -> impl Strategy<Value = Vec<u8>> {
    damage(prop_oneof![canonical_request(), wild_request()])
}

pub(crate) fn damage(whole: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (whole, vec((any::<Index>(), any::<u8>()), 0..4), any::<Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, cut, is_cut)| {
            for (place, byte) in changes {
                if !bytes.is_empty() {
                    let place = place.index(bytes.len());
                    bytes[place] = byte;
                }
            }
            if is_cut && !bytes.is_empty() {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

pub(crate) fn request() -> impl Strategy<Value = WriteRequest> {
    (vec(series(), 0..5), vec(metadata(), 0..3))
        .prop_map(|(timeseries, metadata)| WriteRequest { timeseries, metadata })
}

fn series() -> impl Strategy<Value = TimeSeries> {
    (vec(label(), 0..8), vec(sample(), 0..4), vec(exemplar(), 0..2), vec(histogram(), 0..2)).prop_map(
        |(labels, samples, exemplars, histograms)| TimeSeries { labels, samples, exemplars, histograms },
    )
}

fn label() -> impl Strategy<Value = Label> {
    (label_name(), label_value()).prop_map(|(name, value)| Label { name, value })
}

/// Mostly names that come near to `source` or into conflict with it.
fn label_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(NAMES).prop_map(|name| name.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..6),
        1 => (120_usize..200).prop_map(|length| vec![b'n'; length]),
    ]
}

const NAMES: &[&str] = &[
    "source",
    "source",
    "exported_source",
    "exported_exported_source",
    "__name__",
    "job",
    "sourc",
    "source_",
    "topic",
    "",
];

fn label_value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        4 => "[a-z]{1,6}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 1..6),
        1 => (120_usize..300).prop_map(|length| vec![b'v'; length]),
    ]
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        Just(f64::from_bits(STALE_MARKER_BITS)),
        Just(f64::from_bits(0x7ff8_dead_beef_0001)),
        Just(-0.0),
        Just(1.0),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    (value(), any::<i64>()).prop_map(|(value, timestamp)| Sample { value, timestamp })
}

fn exemplar() -> impl Strategy<Value = Exemplar> {
    (vec(label(), 0..3), value(), any::<i64>()).prop_map(|(labels, value, timestamp)| Exemplar {
        labels,
        value,
        timestamp,
    })
}

fn metadata() -> impl Strategy<Value = MetricMetadata> {
    (any::<i32>(), label_value(), label_value(), label_value()).prop_map(|(r#type, name, help, unit)| {
        MetricMetadata { r#type, metric_family_name: name, help, unit }
    })
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let spans =
        vec((any::<i32>(), any::<u32>()).prop_map(|(offset, length)| BucketSpan { offset, length }), 0..3);
    (any::<u64>(), value(), any::<i32>(), spans, vec(any::<i64>(), 0..4), vec(value(), 0..4), any::<i64>())
        .prop_map(|(count, sum, schema, spans, deltas, values, timestamp)| Histogram {
            sum,
            schema,
            zero_threshold: sum,
            negative_spans: spans.clone(),
            negative_deltas: deltas.clone(),
            negative_counts: values.clone(),
            positive_spans: spans,
            positive_deltas: deltas,
            positive_counts: values.clone(),
            reset_hint: schema,
            timestamp,
            custom_values: values,
            count: Some(match count % 2 {
                0 => histogram::Count::CountInt(count),
                _ => histogram::Count::CountFloat(sum),
            }),
            zero_count: Some(histogram::ZeroCount::ZeroCountInt(count)),
        })
}

fn wild_request_field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (vec(wild_series_field(), 0..10), any::<bool>()).prop_map(|(fields, long)| delimited(1, &fields.concat(), long)),
        1 => (metadata(), any::<bool>()).prop_map(|(metadata, long)| delimited(3, &metadata.encode_to_vec(), long)),
        1 => unknown_field(),
    ]
}

fn wild_series_field() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => wild_label(),
        1 => (label(), any::<bool>()).prop_map(|(label, long)| delimited(1, &label.encode_to_vec(), long)),
        2 => (sample(), any::<bool>()).prop_map(|(sample, long)| delimited(2, &sample.encode_to_vec(), long)),
        1 => exemplar().prop_map(|exemplar| delimited(3, &exemplar.encode_to_vec(), false)),
        1 => histogram().prop_map(|histogram| delimited(4, &histogram.encode_to_vec(), false)),
        1 => unknown_field(),
    ]
}

fn wild_label() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        2 => (label_name(), any::<bool>()).prop_map(|(name, long)| delimited(1, &name, long)),
        2 => (label_value(), any::<bool>()).prop_map(|(value, long)| delimited(2, &value, long)),
        1 => unknown_field(),
    ];
    (vec(field, 0..4), any::<bool>()).prop_map(|(fields, long)| delimited(1, &fields.concat(), long))
}

/// Field numbers above all known ones.
pub(crate) fn unknown_field() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![20_u64..40, Just(536_870_911)];
    (number, 0..5_u8, any::<u64>(), vec(any::<u8>(), 0..5)).prop_map(|(number, kind, bits, bytes)| {
        let mut field = Vec::new();
        put_varint(&mut field, number << 3 | [0, 1, 2, 3, 5][usize::from(kind)]);
        match kind {
            0 => put_varint(&mut field, bits),
            1 => field.extend_from_slice(&bits.to_le_bytes()),
            2 => {
                put_varint(&mut field, bytes.len() as u64);
                field.extend_from_slice(&bytes);
            }
            3 => {
                put_bytes(&mut field, 1, &bytes);
                put_varint(&mut field, number << 3 | 4);
            }
            _ => field.extend_from_slice(&bits.to_le_bytes()[..4]),
        }
        field
    })
}

/// A length-delimited field; `long` writes key and length with more bytes than they need.
pub(crate) fn delimited(number: u8, content: &[u8], long: bool) -> Vec<u8> {
    let mut field = Vec::new();
    if long {
        field.extend_from_slice(&[number << 3 | 0x82, 0]);
        let length = content.len();
        field.extend_from_slice(&[
            (length & 0x7f) as u8 | 0x80,
            (length >> 7 & 0x7f) as u8 | 0x80,
            (length >> 14) as u8,
        ]);
        field.extend_from_slice(content);
    } else {
        put_bytes(&mut field, number, content);
    }
    field
}

/// `UPDATE=1` writes the seeds of the fuzz targets: a few requests of every kind.
#[test]
fn seeds_are_committed() {
    use proptest::{
        strategy::ValueTree,
        test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
    };

    use crate::write::v2::strategies as v2;

    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let kinds: [(&str, BoxedStrategy<Vec<u8>>); 8] = [
        ("canonical-1", canonical_request().boxed()),
        ("tidy-1", tidy_request().boxed()),
        ("similar-1", similar_series().boxed()),
        ("wild-1", wild_request().boxed()),
        ("damaged-1", damaged_request().boxed()),
        ("canonical-2", v2::canonical_request().boxed()),
        ("wild-2", v2::wild_request().boxed()),
        ("damaged-2", v2::damaged_request().boxed()),
    ];
    for (kind, strategy) in kinds {
        for number in 0..4 {
            let seed = strategy.new_tree(&mut runner).expect("a strategy without filters").current();
            let targets: &[&str] = if kind.ends_with('1') {
                &["write_v1", "splice", "convert"]
            } else {
                &["write_v2", "splice", "convert"]
            };
            for target in targets {
                let path = folder.join(target).join(format!("{kind}-{number}"));
                if std::env::var_os("UPDATE").is_some() {
                    std::fs::create_dir_all(folder.join(target)).expect("the corpus is writable");
                    std::fs::write(&path, &seed).expect("the corpus is writable");
                }
                assert!(path.exists(), "{} is missing: run with UPDATE=1", path.display());
            }
        }
    }
}
