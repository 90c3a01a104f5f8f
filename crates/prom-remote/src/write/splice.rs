//! Adds a label to every series of a request inside the wire bytes.
//!
//! One pass, one output buffer. A series whose labels are sorted and hold no conflict (every real sender's) is
//! copied in three pieces around the new label; consecutive series share most of their labels, so that a label with
//! the same bytes as in the series before is not parsed again. Any other series is taken apart into labels and the
//! rest, which is copied.

use std::cmp::Ordering;

use thiserror::Error;

use super::view::{LABEL_NAME, LABELS, LabelView, SERIES};
use crate::{
    DecodeError, DecodeErrorKind, Limits,
    wire::{Field, Fields, put_bytes, put_varint},
};

/// Adds one label to every series of a request, or takes it away again; everything else is kept byte for byte.
///
/// The label goes to its sorted place (by the bytes of the names). Samples, histograms, exemplars, metadata and
/// unknown fields are copied, never decoded; only the length of each series is written anew.
///
/// # When a series already has the label
///
/// The rule is that of a Prometheus scrape with `honor_labels: false`: the new label wins, and the value that was
/// there stays under the name with `exported_` in front, once more for each such name that the series already
/// has: `source` becomes `exported_source`, or `exported_exported_source` if there is an `exported_source`. The
/// renamed label goes to its sorted place.
///
/// An empty label is an absent one, as everywhere in Prometheus: an existing `source=""` is dropped, and an
/// `exported_source=""` does not count as taken and is replaced. If the label stands twice (which is against the
/// specification, see [`Fault::DuplicateLabelName`](crate::Fault)), each of them is renamed in turn, so that
/// nothing is lost.
///
/// # Series with unsorted labels
///
/// Their labels are sorted, and stand before the rest of the series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSplicer {
    name: Vec<u8>,
    value: Vec<u8>,
    /// The label as a field of a series, key and length included.
    encoded: Vec<u8>,
}

/// The label to add is not one that every receiver takes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidLabel {
    /// The name is not `[a-zA-Z_][a-zA-Z0-9_]*`, or begins with the reserved `__`.
    #[error("label name {name:?} is not [a-zA-Z_][a-zA-Z0-9_]* or begins with __")]
    Name {
        /// The name.
        name: String,
    },
    /// The value is empty, which would mean no label.
    #[error("label {name} has an empty value")]
    EmptyValue {
        /// The name.
        name: String,
    },
}

/// What a splice met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpliceReport {
    /// Series that were given the label: all of the request.
    pub series: usize,
    /// Series that had the label already, with another or the same value, and keep it under an `exported_` name.
    pub conflicts: usize,
    /// Series whose labels were unsorted and were sorted.
    pub sorted: usize,
}

impl LabelSplicer {
    /// Prepares the label.
    ///
    /// # Errors
    /// A name that is not a classic label name or is reserved, or an empty value.
    pub fn new(name: &str, value: &str) -> Result<Self, InvalidLabel> {
        let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let is_classic = name.bytes().next().is_some_and(is_first)
            && name.bytes().all(|byte| is_first(byte) || byte.is_ascii_digit());
        if !is_classic || name.starts_with("__") {
            return Err(InvalidLabel::Name { name: name.to_owned() });
        }
        if value.is_empty() {
            return Err(InvalidLabel::EmptyValue { name: name.to_owned() });
        }
        let mut label = Vec::new();
        put_bytes(&mut label, 1, name.as_bytes());
        put_bytes(&mut label, 2, value.as_bytes());
        let mut encoded = Vec::new();
        put_bytes(&mut encoded, 1, &label);
        Ok(Self { name: name.into(), value: value.into(), encoded })
    }

    /// Adds the label to every series of `request` and writes the result to `output`, replacing what was there.
    ///
    /// The output is longer than the request by at most the encoded label and 10 bytes for each series, plus the
    /// `exported_` prefixes. The bytes are checked as far as they are walked: the request, its series and their
    /// labels, not the samples; [`validate`](crate::validate()) checks all.
    ///
    /// # Errors
    /// Malformed bytes, or more series or labels than the limits allow; `output` then holds nothing useful.
    pub fn splice(
        &self,
        request: &[u8],
        limits: &Limits,
        output: &mut Vec<u8>,
    ) -> Result<SpliceReport, DecodeError> {
        output.clear();
        output.reserve(request.len() + request.len() / 8);
        let mut report = SpliceReport::default();
        let mut memo = Memo::default();
        let mut fields = Fields::new(request);
        while let Some(field) = fields.next()? {
            if field.number != SERIES {
                output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default());
                continue;
            }
            let index = report.series;
            if index >= limits.max_series {
                let kind = DecodeErrorKind::TooManySeries { limit: limits.max_series };
                return Err(DecodeError::new(kind, field.offset()).in_series(index));
            }
            self.splice_series(&field, limits, &mut memo, output, &mut report)
                .map_err(|error| error.in_series(index))?;
            report.series += 1;
        }
        Ok(report)
    }

    /// Takes the label away again: of every series, the first label that has this name and this value.
    ///
    /// For a request that has no such label, none of whose labels was empty or unsorted, and whose lengths are
    /// written in their shortest form, `strip` after [`splice`](Self::splice) gives back the same bytes. Labels
    /// that were renamed to `exported_…` stay renamed. `output` is replaced.
    ///
    /// # Errors
    /// Malformed bytes, or more series than the limits allow; `output` then holds nothing useful.
    pub fn strip(&self, request: &[u8], limits: &Limits, output: &mut Vec<u8>) -> Result<usize, DecodeError> {
        output.clear();
        output.reserve(request.len());
        let mut stripped = 0;
        let mut series_count = 0;
        let mut fields = Fields::new(request);
        while let Some(field) = fields.next()? {
            let mut found = None;
            if field.number == SERIES {
                if series_count >= limits.max_series {
                    let kind = DecodeErrorKind::TooManySeries { limit: limits.max_series };
                    return Err(DecodeError::new(kind, field.offset()).in_series(series_count));
                }
                found = self.find_label(&field).map_err(|error| error.in_series(series_count))?;
                series_count += 1;
            }
            match found {
                Some(pieces) => {
                    put_series(output, &pieces);
                    stripped += 1;
                }
                None => output.extend_from_slice(request.get(field.start..field.end).unwrap_or_default()),
            }
        }
        Ok(stripped)
    }

    /// The body of the series before and after the label.
    fn find_label<'a>(&self, series: &Field<'a>) -> Result<Option<[&'a [u8]; 2]>, DecodeError> {
        let body = series.bytes()?;
        let mut fields = series.message()?;
        while let Some(field) = fields.next()? {
            if field.number != LABELS {
                continue;
            }
            let label = LabelView::new(&field)?;
            if label.name == self.name && label.value == self.value {
                return Ok(Some([
                    body.get(..field.start).unwrap_or_default(),
                    body.get(field.end..).unwrap_or_default(),
                ]));
            }
        }
        Ok(None)
    }

    fn splice_series<'a>(
        &self,
        series: &Field<'a>,
        limits: &Limits,
        memo: &mut Memo<'a>,
        output: &mut Vec<u8>,
        report: &mut SpliceReport,
    ) -> Result<(), DecodeError> {
        let body = series.bytes()?;
        match self.find_place(series, limits, memo)? {
            Some(place) => {
                let (before, after) = body.split_at_checked(place).unwrap_or((body, b""));
                put_series(output, &[before, &self.encoded, after]);
            }
            None => {
                memo.labels.clear();
                self.rewrite_series(series, limits, output, report)?;
            }
        }
        Ok(())
    }

    /// Where in the body the label belongs; `None` if that is not all there is to do.
    fn find_place<'a>(
        &self,
        series: &Field<'a>,
        limits: &Limits,
        memo: &mut Memo<'a>,
    ) -> Result<Option<usize>, DecodeError> {
        let mut search = PlaceSearch::default();
        let mut fields = series.message()?;
        if !self.pass_known_labels(series, limits, memo, &mut fields, &mut search)? {
            return Ok(None);
        }
        memo.labels.truncate(search.count);
        let mut is_contiguous = true;
        while let Some(field) = fields.next()? {
            if field.number != LABELS {
                is_contiguous = false;
                continue;
            }
            let name = LabelView::new(&field)?.name;
            let Some(is_after) = self.is_after(name) else { return Ok(None) };
            let label = KnownLabel { length: field.end - field.start, name, is_after };
            if !search.pass(label, field.start, false) {
                return Ok(None);
            }
            check_label_count(search.count, limits, series)?;
            if is_contiguous {
                memo.labels.push(label);
            }
        }
        memo.body = series.bytes()?;
        Ok(Some(search.place.unwrap_or(search.labels_end)))
    }

    /// Passes the labels at the beginning of the series as long as the series before had one at the same index;
    /// those with the same bytes are not parsed. The memo follows. Tells whether the labels are sorted and none has
    /// our name.
    fn pass_known_labels<'a>(
        &self,
        series: &Field<'a>,
        limits: &Limits,
        memo: &mut Memo<'a>,
        fields: &mut Fields<'a>,
        search: &mut PlaceSearch<'a>,
    ) -> Result<bool, DecodeError> {
        let body = series.bytes()?;
        let mut known_start = 0;
        // How many bytes from here on are the same as in the series before.
        let mut same = common_prefix(body, memo.body);
        while let Some(known) = memo.labels.get_mut(search.count) {
            let start = fields.position();
            let known_end = known_start + known.length;
            let has_known_name = if known.length <= same {
                fields.skip(known.length);
                same -= known.length;
                true
            } else {
                let mut ahead = fields.clone();
                let Some(field) = ahead.next()?.filter(|field| field.number == LABELS) else { break };
                *fields = ahead;
                let name = LabelView::new(&field)?.name;
                let has_known_name = name == known.name;
                known.length = field.end - start;
                if !has_known_name {
                    let Some(is_after) = self.is_after(name) else { return Ok(false) };
                    (known.name, known.is_after) = (name, is_after);
                }
                same = common_prefix(
                    body.get(field.end..).unwrap_or_default(),
                    memo.body.get(known_end..).unwrap_or_default(),
                );
                has_known_name
            };
            known_start = known_end;
            if !search.pass(*known, start, has_known_name) {
                return Ok(false);
            }
            check_label_count(search.count, limits, series)?;
        }
        Ok(true)
    }

    /// Whether a name sorts after ours; `None` if it is ours.
    fn is_after(&self, name: &[u8]) -> Option<bool> {
        match name.cmp(&self.name) {
            Ordering::Less => Some(false),
            Ordering::Equal => None,
            Ordering::Greater => Some(true),
        }
    }

    /// Takes the series apart: labels (renamed, sorted) first, then the rest as it was.
    fn rewrite_series(
        &self,
        series: &Field<'_>,
        limits: &Limits,
        output: &mut Vec<u8>,
        report: &mut SpliceReport,
    ) -> Result<(), DecodeError> {
        let body = series.bytes()?;
        let mut labels = Vec::new();
        let mut rest = Vec::new();
        let mut fields = series.message()?;
        while let Some(field) = fields.next()? {
            let bytes = body.get(field.start..field.end).unwrap_or_default();
            if field.number == LABELS {
                let LabelView { name, value } = LabelView::new(&field)?;
                labels.push(LabelToWrite {
                    name: name.into(),
                    is_empty: value.is_empty(),
                    field: bytes.into(),
                    message: field,
                });
                check_label_count(labels.len(), limits, series)?;
            } else {
                rest.extend_from_slice(bytes);
            }
        }
        report.sorted += usize::from(!labels.is_sorted_by(|a, b| a.name <= b.name));
        report.conflicts += usize::from(self.rename_conflicts(&mut labels)?);

        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let place = labels.partition_point(|label| label.name < self.name);
        let (before, after) = labels.split_at_checked(place).unwrap_or_default();
        let mut pieces: Vec<&[u8]> = Vec::with_capacity(labels.len() + 2);
        pieces.extend(before.iter().map(|label| &label.field[..]));
        pieces.push(&self.encoded);
        pieces.extend(after.iter().map(|label| &label.field[..]));
        pieces.push(&rest);
        put_series(output, &pieces);
        Ok(())
    }

    /// Applies the rule of the type's documentation; tells whether there was a conflict.
    fn rename_conflicts(&self, labels: &mut Vec<LabelToWrite<'_>>) -> Result<bool, DecodeError> {
        labels.retain(|label| !(label.name == self.name && label.is_empty));
        let mut had_conflict = false;
        while let Some(position) = labels.iter().position(|label| label.name == self.name) {
            had_conflict = true;
            let mut new_name = [EXPORTED, &self.name].concat();
            while labels.iter().any(|label| label.name == new_name && !label.is_empty) {
                new_name.splice(0..0, EXPORTED.iter().copied());
            }
            if let Some(label) = labels.get_mut(position) {
                label.rename(&new_name)?;
            }
            labels.retain(|label| !(label.name == new_name && label.is_empty));
        }
        Ok(had_conflict)
    }
}

/// The labels of the series before, which stand together at the beginning of its body and are sorted.
#[derive(Debug, Default)]
struct Memo<'a> {
    body: &'a [u8],
    labels: Vec<KnownLabel<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct KnownLabel<'a> {
    /// The length of its field, key and length included.
    length: usize,
    name: &'a [u8],
    /// Whether its name sorts after the name of the new label.
    is_after: bool,
}

/// The search for the place of the new label in one series.
#[derive(Debug)]
struct PlaceSearch<'a> {
    /// The first label that sorts after the new one.
    place: Option<usize>,
    labels_end: usize,
    count: usize,
    previous_name: &'a [u8],
    /// The label before has the name that the memo had at its index, so its order with the next one is known if
    /// that has the memo's name too.
    previous_is_known: bool,
}

impl Default for PlaceSearch<'_> {
    fn default() -> Self {
        Self { place: None, labels_end: 0, count: 0, previous_name: b"", previous_is_known: true }
    }
}

impl<'a> PlaceSearch<'a> {
    /// Passes a label; tells whether it is in order.
    fn pass(&mut self, label: KnownLabel<'a>, start: usize, has_known_name: bool) -> bool {
        let is_sorted = (self.previous_is_known && has_known_name) || self.previous_name <= label.name;
        if label.is_after && self.place.is_none() {
            self.place = Some(start);
        }
        self.labels_end = start + label.length;
        self.count += 1;
        self.previous_name = label.name;
        self.previous_is_known = has_known_name;
        is_sorted
    }
}

/// How many bytes the two have in common at their beginning.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (a_words, _) = a.as_chunks::<8>();
    let (b_words, _) = b.as_chunks::<8>();
    let mut length = 0;
    for (a, b) in a_words.iter().zip(b_words) {
        let difference = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    let rest = a.iter().zip(b).skip(length).take_while(|(a, b)| a == b).count();
    length + rest
}

/// A label on the slow path.
struct LabelToWrite<'a> {
    name: Vec<u8>,
    is_empty: bool,
    /// Its bytes, key and length included.
    field: Vec<u8>,
    message: Field<'a>,
}

impl LabelToWrite<'_> {
    /// Writes the label with another name; its other fields, unknown ones included, are copied.
    fn rename(&mut self, name: &[u8]) -> Result<(), DecodeError> {
        let message = self.message.bytes()?;
        let mut renamed = Vec::with_capacity(message.len() + name.len());
        put_bytes(&mut renamed, LABEL_NAME as u8, name);
        let mut fields = self.message.message()?;
        while let Some(field) = fields.next()? {
            if field.number != LABEL_NAME {
                renamed.extend_from_slice(message.get(field.start..field.end).unwrap_or_default());
            }
        }
        self.name = name.to_vec();
        self.field.clear();
        put_bytes(&mut self.field, LABELS as u8, &renamed);
        Ok(())
    }
}

fn check_label_count(count: usize, limits: &Limits, series: &Field<'_>) -> Result<(), DecodeError> {
    if count > limits.max_labels_per_series {
        let kind = DecodeErrorKind::TooManyLabels { limit: limits.max_labels_per_series };
        return Err(DecodeError::new(kind, series.offset()));
    }
    Ok(())
}

#[inline]
fn put_series(output: &mut Vec<u8>, pieces: &[&[u8]]) {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    output.push(SERIES_KEY);
    put_varint(output, length as u64);
    for piece in pieces {
        output.extend_from_slice(piece);
    }
}

const SERIES_KEY: u8 = (SERIES as u8) << 3 | 2;

/// Prometheus' `model.ExportedLabelPrefix`.
const EXPORTED: &[u8] = b"exported_";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::{
        Sample, WriteRequestBuilder, WriteRequestView,
        proto::prometheus::{Label, WriteRequest, histogram},
        write::strategies::{canonical_request, damaged_request, similar_series, tidy_request, wild_request},
    };

    fn splicer() -> LabelSplicer {
        LabelSplicer::new("source", "kafka").unwrap()
    }

    fn splice(request: &[u8]) -> (Vec<u8>, SpliceReport) {
        let mut output = vec![1, 2, 3];
        let report = splicer().splice(request, &Limits::default(), &mut output).unwrap();
        (output, report)
    }

    /// The rule of the type's documentation on decoded values.
    fn oracle(mut request: WriteRequest) -> WriteRequest {
        for series in &mut request.timeseries {
            let (existing, mut labels): (Vec<_>, Vec<_>) =
                std::mem::take(&mut series.labels).into_iter().partition(|label| label.name == b"source");
            for Label { value, .. } in existing.into_iter().filter(|label| !label.value.is_empty()) {
                let taken = |name: &[u8], labels: &[Label]| {
                    labels.iter().any(|label| label.name == name && !label.value.is_empty())
                };
                let name = (1..)
                    .map(|times| [&b"exported_".repeat(times)[..], b"source"].concat())
                    .find(|name| !taken(name, &labels))
                    .unwrap();
                labels.retain(|label| label.name != name);
                labels.push(Label { name, value });
            }
            labels.push(Label { name: b"source".to_vec(), value: b"kafka".to_vec() });
            labels.sort_by(|a, b| a.name.cmp(&b.name));
            series.labels = labels;
        }
        request
    }

    /// Everything in a request with floats as bits, so that NaN equals itself and -0.0 is not 0.0.
    fn bitwise(request: &WriteRequest) -> (String, Vec<u64>) {
        let mut floats = Vec::new();
        for series in &request.timeseries {
            floats.extend(series.samples.iter().map(|s| s.value));
            floats.extend(series.exemplars.iter().map(|e| e.value));
            for h in &series.histograms {
                floats.extend([h.sum, h.zero_threshold]);
                floats.extend(h.negative_counts.iter().chain(&h.positive_counts).chain(&h.custom_values));
                if let Some(histogram::Count::CountFloat(count)) = h.count {
                    floats.push(count);
                }
            }
        }
        (format!("{request:?}"), floats.into_iter().map(f64::to_bits).collect())
    }

    #[track_caller]
    fn check_against_oracle(request: &[u8]) {
        let expected = oracle(WriteRequest::decode(request).unwrap());
        let (spliced, report) = splice(request);
        let decoded = WriteRequest::decode(&spliced[..]).unwrap();
        assert_eq!(bitwise(&decoded), bitwise(&expected));
        assert_eq!(report.series, expected.timeseries.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn canonical_requests_match_the_oracle(request in canonical_request()) {
            check_against_oracle(&request);
        }

        #[test]
        fn wild_requests_match_the_oracle(request in wild_request()) {
            check_against_oracle(&request);
        }

        #[test]
        fn repeated_series_match_the_oracle(request in canonical_request(), other in canonical_request()) {
            // The memo of the series before is used most where requests repeat themselves.
            check_against_oracle(&[&request[..], &other, &request, &request].concat());
        }

        #[test]
        fn similar_series_match_the_oracle(request in similar_series()) {
            check_against_oracle(&request);
        }

        #[test]
        fn strip_undoes_splice(request in tidy_request()) {
            let (spliced, report) = splice(&request);
            prop_assert_eq!(report.conflicts, 0);
            prop_assert_eq!(report.sorted, 0);
            let mut stripped = Vec::new();
            let count = splicer().strip(&spliced, &Limits::default(), &mut stripped).unwrap();
            prop_assert_eq!(count, report.series);
            prop_assert_eq!(stripped, request);
        }

        #[test]
        fn any_bytes_are_an_answer(request in damaged_request()) {
            let _ = splicer().splice(&request, &Limits::default(), &mut Vec::new());
            let _ = splicer().strip(&request, &Limits::default(), &mut Vec::new());
        }

        #[test]
        fn a_request_that_decodes_splices(request in damaged_request()) {
            let decodes = WriteRequest::decode(&request[..]).is_ok();
            let splices = splicer().splice(&request, &Limits::default(), &mut Vec::new()).is_ok();
            prop_assert!(splices || !decodes);
        }
    }

    #[test]
    fn common_prefix_counts_bytes() {
        let a: Vec<u8> = (0..40).collect();
        for length in 0..40 {
            let mut b = a.clone();
            b[length] ^= 0x80;
            assert_eq!(common_prefix(&a, &b), length);
            assert_eq!(common_prefix(&a, &a[..length]), length);
        }
    }

    #[track_caller]
    fn check_labels(labels: &[(&str, &str)], expected: &[(&str, &str)]) {
        let mut builder = WriteRequestBuilder::new();
        builder.series(labels.iter().copied(), [Sample::new(1, 1.0)]);
        let (spliced, _) = splice(&builder.finish());
        let series = WriteRequestView::new(&spliced).series().next().unwrap().unwrap();
        let found: Vec<_> = series
            .labels()
            .map(|label| {
                (std::str::from_utf8(label.name).unwrap(), std::str::from_utf8(label.value).unwrap())
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_label_goes_to_its_sorted_place() {
        check_labels(&[], &[("source", "kafka")]);
        check_labels(&[("__name__", "up")], &[("__name__", "up"), ("source", "kafka")]);
        check_labels(&[("topic", "t")], &[("source", "kafka"), ("topic", "t")]);
        check_labels(
            &[("__name__", "up"), ("topic", "t")],
            &[("__name__", "up"), ("source", "kafka"), ("topic", "t")],
        );
    }

    #[test]
    fn an_existing_label_is_kept_as_exported() {
        check_labels(
            &[("job", "j"), ("source", "s")],
            &[("exported_source", "s"), ("job", "j"), ("source", "kafka")],
        );
        // Also when it says the same.
        check_labels(&[("source", "kafka")], &[("exported_source", "kafka"), ("source", "kafka")]);
        check_labels(
            &[("exported_source", "e"), ("source", "s")],
            &[("exported_exported_source", "s"), ("exported_source", "e"), ("source", "kafka")],
        );
        // No conflict, no change.
        check_labels(&[("exported_source", "e")], &[("exported_source", "e"), ("source", "kafka")]);
    }

    #[test]
    fn an_empty_label_is_an_absent_one() {
        check_labels(&[("source", "")], &[("source", "kafka")]);
        check_labels(
            &[("exported_source", ""), ("source", "s")],
            &[("exported_source", "s"), ("source", "kafka")],
        );
    }

    #[test]
    fn both_of_two_existing_labels_are_kept() {
        check_labels(
            &[("source", "a"), ("source", "b")],
            &[("exported_exported_source", "b"), ("exported_source", "a"), ("source", "kafka")],
        );
    }

    #[test]
    fn refuses_labels_that_receivers_refuse() {
        for name in ["", "9a", "a-b", "__source", "ü"] {
            assert!(matches!(LabelSplicer::new(name, "x"), Err(InvalidLabel::Name { .. })), "{name}");
        }
        assert!(matches!(LabelSplicer::new("source", ""), Err(InvalidLabel::EmptyValue { .. })));
    }

    #[test]
    fn limits_hold_at_and_over() {
        let mut builder = WriteRequestBuilder::new();
        builder.series([("a", "1"), ("b", "1")], []).series([("a", "1"), ("b", "1")], []);
        let request = builder.finish();
        let at = Limits { max_series: 2, max_labels_per_series: 2, ..Limits::default() };
        let mut output = Vec::new();
        splicer().splice(&request, &at, &mut output).unwrap();
        let series = splicer().splice(&request, &Limits { max_series: 1, ..at }, &mut output).unwrap_err();
        assert_eq!((series.kind, series.series), (DecodeErrorKind::TooManySeries { limit: 1 }, Some(1)));
        let labels = splicer().splice(&request, &Limits { max_labels_per_series: 1, ..at }, &mut output);
        assert_eq!(labels.unwrap_err().kind, DecodeErrorKind::TooManyLabels { limit: 1 });
    }
}
