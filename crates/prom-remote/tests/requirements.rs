//! The requirements of the specifications on what a receiver must take, must refuse and must keep, one line each, for
//! both versions of remote write.
//!
//! Remote write 1.0 "Protocol", 2.0-rc.4 "Protocol" and the native histograms specification; transport and answers are
//! tested in `prom-remote-http`.

use prom_remote::{
    LabelSplicer, Limits, STALE_MARKER_BITS, Sample, SampleV2, SeriesV2, ValidationReport,
    WriteRequestBuilder, WriteRequestV2Builder, WriteRequestV2View, WriteRequestView, validate, validate_v2,
};

const NAME: (&[u8], &[u8]) = (b"__name__", b"up");

/// What becomes of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Against nothing.
    Good,
    /// Against the specification, and delivered.
    Tolerated,
    /// Set aside, while the rest of its request is kept.
    Rejected,
}
use Outcome::{Good, Rejected, Tolerated};

fn outcome(report: &ValidationReport) -> Outcome {
    match report.verdict(0) {
        None => Good,
        Some(verdict) if verdict.is_rejected() => Rejected,
        Some(_) => Tolerated,
    }
}

fn field(key: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128, "short fields only");
    [&[key, content.len() as u8][..], content].concat()
}

/// A 1.0 request of one series: labels as given, then raw fields.
fn v1(labels: &[(&[u8], &[u8])], rest: &[u8]) -> Vec<u8> {
    let label =
        |(name, value): &(&[u8], &[u8])| field(0x0a, &[field(0x0a, name), field(0x12, value)].concat());
    field(0x0a, &[labels.iter().flat_map(label).collect::<Vec<_>>(), rest.to_vec()].concat())
}

/// A 2.0 request of one series: the same labels in a table of symbols, then raw fields.
fn v2(labels: &[(&[u8], &[u8])], rest: &[u8]) -> Vec<u8> {
    let mut symbols: Vec<&[u8]> = vec![b""];
    let mut refs = Vec::new();
    for (name, value) in labels {
        for symbol in [name, value] {
            let known = symbols.iter().position(|known| known == symbol);
            refs.push(known.unwrap_or(symbols.len()) as u8);
            if known.is_none() {
                symbols.push(symbol);
            }
        }
    }
    let body = [field(0x0a, &refs), rest.to_vec()].concat();
    [symbols.iter().flat_map(|symbol| field(0x22, symbol)).collect(), field(0x2a, &body)].concat()
}

/// A sample of value 1 at this time below 128.
fn sample(time: u8) -> Vec<u8> {
    field(0x12, &[&[0x09][..], &1.0_f64.to_le_bytes(), &[0x10, time]].concat())
}

#[track_caller]
fn check(name: &str, labels: &[(&[u8], &[u8])], in_v1: Outcome, in_v2: Outcome) {
    let limits = Limits::default();
    let (one, two) = (v1(labels, &sample(1)), v2(labels, &sample(1)));
    assert_eq!(outcome(&validate(&one, &limits).unwrap()), in_v1, "{name}, 1.0");
    assert_eq!(outcome(&validate_v2(&two, &limits).unwrap()), in_v2, "{name}, 2.0");
    let splicer = LabelSplicer::new("source", "kafka").unwrap();
    let mut spliced = Vec::new();
    let (_, report) = splicer.splice_valid(&one, &limits, &mut spliced).unwrap();
    assert_eq!(
        report.series,
        usize::from(in_v1 != Rejected),
        "{name}, 1.0: only what is rejected is left out"
    );
    let (_, report) = splicer.splice_valid_v2(&two, &limits, &mut spliced).unwrap();
    assert_eq!(
        report.series,
        usize::from(in_v2 != Rejected),
        "{name}, 2.0: only what is rejected is left out"
    );
}

#[test]
fn labels() {
    check("sorted", &[NAME, (b"a", b"1"), (b"b", b"1")], Good, Good);
    check("a name in UTF-8", &[NAME, ("größe.m".as_bytes(), b"1")], Good, Good);
    check("a value in UTF-8", &[NAME, (b"a", "ü\n\u{1f600}".as_bytes())], Good, Good);
    check("a reserved name", &[NAME, (b"__x", b"1")], Good, Good);
    check("unsorted", &[NAME, (b"b", b"1"), (b"a", b"1")], Tolerated, Tolerated);
    check("an empty value", &[NAME, (b"a", b"")], Tolerated, Tolerated);
    check("a repeated name", &[NAME, (b"a", b"1"), (b"a", b"2")], Rejected, Rejected);
    check("a repeated name, unsorted", &[NAME, (b"b", b"1"), (b"a", b"1"), (b"b", b"2")], Rejected, Rejected);
    check("an empty name", &[(b"", b"1"), NAME], Rejected, Rejected);
    check("no metric name", &[(b"a", b"1")], Rejected, Rejected);
    check("an empty metric name", &[(b"__name__", b"")], Rejected, Rejected);
    check("no labels", &[], Rejected, Rejected);
    check("a name not in UTF-8", &[NAME, (b"a\xff", b"1")], Rejected, Rejected);
    check("a value not in UTF-8", &[NAME, (b"a", b"\xff")], Rejected, Rejected);
}

#[track_caller]
fn check_content(name: &str, rest_v1: &[u8], in_v1: Outcome, rest_v2: &[u8], in_v2: Outcome) {
    let limits = Limits::default();
    let found = outcome(&validate(&v1(&[NAME], rest_v1), &limits).unwrap());
    assert_eq!(found, in_v1, "{name}, 1.0");
    let found = outcome(&validate_v2(&v2(&[NAME], rest_v2), &limits).unwrap());
    assert_eq!(found, in_v2, "{name}, 2.0");
}

#[test]
fn content() {
    let same = |name: &str, rest: &[u8], in_v1, in_v2| check_content(name, rest, in_v1, rest, in_v2);
    same("a sample", &sample(1), Good, Good);
    same("nothing", &[], Good, Rejected);
    same("times that ascend", &[sample(1), sample(2)].concat(), Good, Good);
    same("times that descend", &[sample(2), sample(1)].concat(), Tolerated, Tolerated);
    same("a time twice", &[sample(1), sample(1)].concat(), Tolerated, Tolerated);
    same("value and time of 0, which are not on the wire", &field(0x12, &[]), Good, Good);
    same("an unknown field", &[sample(1), field(0x7a, b"x")].concat(), Good, Good);
    // Exemplars alone: Prometheus sends them so.
    check_content("exemplars alone", &field(0x1a, &[0x18, 1]), Good, &field(0x22, &[0x18, 1]), Good);
    // rc.3 and before had `created_timestamp` as field 6.
    check_content("a created timestamp", &sample(1), Good, &[sample(1), vec![0x30, 5]].concat(), Good);
    check_content(
        "an empty metadata message",
        &sample(1),
        Good,
        &[sample(1), field(0x2a, &[])].concat(),
        Good,
    );
}

#[test]
fn histograms() {
    let in_both = |name: &str, histogram: &[u8], in_v1, in_v2| {
        check_content(name, &field(0x22, histogram), in_v1, &field(0x1a, histogram), in_v2);
    };
    let sum = |bits: u64| [&[0x19][..], &bits.to_le_bytes()].concat();
    // Counts 3 in buckets 1 and 2, schema 0.
    let good = [&[0x08, 3][..], &[0x5a, 2, 0x10, 2], &[0x62, 2, 2, 2], &[0x78, 1]].concat();
    in_both("one bucket after the other", &good, Good, Good);
    in_both("a count that is not the sum", &[&[0x08, 99][..], &good[2..]].concat(), Rejected, Rejected);
    in_both(
        "buckets that no span tells of",
        &[&[0x08, 3][..], &[0x62, 2, 2, 2]].concat(),
        Rejected,
        Rejected,
    );
    in_both(
        "a negative bucket",
        &[&[0x08, 0][..], &[0x5a, 2, 0x10, 2], &[0x62, 2, 1, 2]].concat(),
        Rejected,
        Rejected,
    );
    in_both("a reserved schema", &[&good[..], &[0x20, 18]].concat(), Tolerated, Tolerated);
    in_both("an unknown schema", &[&good[..], &[0x20, 0xc8, 1]].concat(), Rejected, Rejected);
    in_both("a stale marker", &sum(STALE_MARKER_BITS), Good, Good);
    in_both(
        "a stale marker of no schema",
        &[sum(STALE_MARKER_BITS), vec![0x20, 0xc8, 1]].concat(),
        Good,
        Good,
    );
    let bound = [&[0x82, 1, 8][..], &1.5_f64.to_le_bytes()].concat();
    let custom = [&[0x08, 3, 0x20, 105][..], &[0x5a, 2, 0x10, 2], &[0x62, 2, 2, 2], &bound].concat();
    in_both("custom buckets", &custom, Tolerated, Good);
    let zero = [&custom[..], &[0x30, 1]].concat();
    in_both("custom buckets with a zero bucket", &zero, Rejected, Rejected);
}

#[test]
fn references() {
    let limits = Limits::default();
    let check = |name: &str, refs: &[u8], rest: &[u8], expected| {
        let symbols = [field(0x22, b""), field(0x22, b"__name__"), field(0x22, b"up")].concat();
        let body = [refs.to_vec(), sample(1), rest.to_vec()].concat();
        let request = [symbols, field(0x2a, &body)].concat();
        assert_eq!(outcome(&validate_v2(&request, &limits).unwrap()), expected, "{name}");
    };
    let good = field(0x0a, &[1, 2]);
    check("packed", &good, &[], Good);
    check("unpacked", &[0x08, 1, 0x08, 2], &[], Good);
    check("in two pieces", &[field(0x0a, &[1]), field(0x0a, &[2])].concat(), &[], Good);
    check("an odd one", &field(0x0a, &[1, 2, 1]), &[], Rejected);
    check("out of range", &field(0x0a, &[1, 3]), &[], Rejected);
    check("metadata in range", &good, &field(0x2a, &[0x08, 1, 0x18, 2]), Good);
    check("metadata out of range", &good, &field(0x2a, &[0x18, 9]), Rejected);
    check("an exemplar in range", &good, &field(0x22, &[0x0a, 2, 1, 2, 0x18, 1]), Good);
    check("an exemplar out of range", &good, &field(0x22, &[0x0a, 2, 1, 9, 0x18, 1]), Rejected);
    check("an exemplar with an odd one", &good, &field(0x22, &[0x0a, 1, 1, 0x18, 1]), Rejected);
    // Symbols may stand behind the series.
    let late = [
        field(0x2a, &[good, sample(1)].concat()),
        field(0x22, b""),
        field(0x22, b"__name__"),
        field(0x22, b"up"),
    ];
    assert_eq!(outcome(&validate_v2(&late.concat(), &limits).unwrap()), Good);
}

/// Values that a float would not survive, kept through a splice of either version.
#[test]
fn special_values_keep_their_bits() {
    let bits = [
        STALE_MARKER_BITS,
        0x7ff8_0000_0000_0001,
        0xfff8_dead_beef_0001,
        (-0.0_f64).to_bits(),
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        1,
        f64::MIN_POSITIVE.to_bits(),
    ];
    let samples: Vec<_> = bits
        .iter()
        .zip(-3..)
        .map(|(&value_bits, timestamp_ms)| Sample { timestamp_ms, value_bits })
        .collect();
    let splicer = LabelSplicer::new("source", "kafka").unwrap();
    let (limits, mut spliced) = (Limits::default(), Vec::new());

    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", "up")], samples.iter().copied());
    splicer.splice_valid(&builder.finish(), &limits, &mut spliced).unwrap();
    let series = WriteRequestView::new(&spliced).series().next().unwrap().unwrap();
    assert_eq!(series.samples().collect::<Vec<_>>(), samples);

    let started: Vec<_> = samples.iter().map(|&sample| SampleV2 { sample, start_timestamp_ms: -1 }).collect();
    let mut builder = WriteRequestV2Builder::new();
    builder.full_series(&SeriesV2 { labels: vec![NAME], samples: started.clone(), ..SeriesV2::default() });
    splicer.splice_valid_v2(&builder.finish(), &limits, &mut spliced).unwrap();
    let view = WriteRequestV2View::new(&spliced, &limits).unwrap();
    assert_eq!(view.series().next().unwrap().unwrap().samples().collect::<Vec<_>>(), started);
}

/// A 1.0 message under the type of 2.0 and the other way round is an empty message: reserved fields see to it.
#[test]
fn the_other_version_is_an_empty_message() {
    let limits = Limits::default();
    let (one, two) = (v1(&[NAME], &sample(1)), v2(&[NAME], &sample(1)));
    let summary = WriteRequestV2View::new(&one, &limits).unwrap().summary(&limits).unwrap();
    assert_eq!((summary.series, summary.samples, summary.unknown_fields), (0, 0, 1));
    let summary = WriteRequestView::new(&two).summary(&limits).unwrap();
    assert_eq!((summary.series, summary.samples, summary.unknown_fields), (0, 0, 4));
}
