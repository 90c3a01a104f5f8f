//! Cuts a refused request until only the culprits are left, and collects them.

use std::collections::BTreeMap;

use prom_remote::{DecodeError, Limits, OtherContent, merge_v2};

use super::{
    Refusal,
    message::{Message, Version},
};

/// Cuts a request in two: between series, then between the samples of one, then metadata from a sample. Sent one after
/// the other, the halves are the whole in its order. `None` if nothing is left to cut.
pub(super) fn halves(message: &Message, limits: &Limits) -> Result<Option<[Message; 2]>, DecodeError> {
    let Message { version, bytes } = message;
    let (mut series, mut points) = (0_usize, 0_usize);
    version.any_series(bytes, limits, |found| {
        series += usize::from(found.point_count() > 0);
        points += found.point_count();
        false
    })?;
    let [mut left, mut right] = [Vec::new(), Vec::new()];
    let mut seen = (usize::MAX, 0);
    let mut is_left = |index: usize, point: usize| {
        if seen.0 != index {
            seen = (index, seen.1 + 1);
        }
        match (series, points) {
            (2.., _) => seen.1 <= series / 2,
            (_, 2..) => point < points / 2,
            _ => false,
        }
    };
    let mut sides = Vec::with_capacity(points);
    version.keep(
        bytes,
        limits,
        OtherContent::Keep,
        |series, point| {
            sides.push(is_left(series.index(), point.index));
            sides.last() == Some(&true)
        },
        &mut left,
    )?;
    let is_right = |index: usize| sides.get(index) == Some(&false);
    version.keep(bytes, limits, OtherContent::Remove, |_, point| is_right(point.index), &mut right)?;
    Ok(if left.is_empty() || right.is_empty() {
        None
    } else {
        Some([left, right].map(|bytes| Message { version: *version, bytes }))
    })
}

/// What a destination refused, by its words.
#[derive(Default)]
pub(super) struct Culprits {
    by_words: BTreeMap<(Refusal, Version), Vec<Vec<u8>>>,
    bytes: usize,
}

impl Culprits {
    pub(super) fn add(&mut self, refusal: Refusal, message: Message, limits: &Limits) {
        let Message { version, bytes } = message;
        let bytes = match version {
            Version::V1 => bytes,
            Version::V2 => without_spare_symbols(bytes, limits),
        };
        self.bytes += bytes.len() + refusal.message.len();
        self.by_words.entry((refusal, version)).or_default().push(bytes);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all out: one message for each of the destination's words, where they can be one.
    pub(super) fn drain(&mut self, limits: &Limits) -> Vec<(Refusal, Message)> {
        self.bytes = 0;
        let mut all = Vec::new();
        for ((refusal, version), messages) in std::mem::take(&mut self.by_words) {
            let merged = match version {
                // Messages one after the other are one message.
                Version::V1 => Some(messages.concat()),
                Version::V2 => merged(&messages, limits),
            };
            let messages = merged.map_or(messages, |merged| vec![merged]);
            all.extend(messages.into_iter().map(|bytes| (refusal.clone(), Message { version, bytes })));
        }
        all
    }
}

/// A part of a request has all its symbols; a dead letter need not.
fn without_spare_symbols(message: Vec<u8>, limits: &Limits) -> Vec<u8> {
    let messages = [message];
    let pruned = merged(&messages, limits);
    let [message] = messages;
    pruned.unwrap_or(message)
}

fn merged(messages: &[Vec<u8>], limits: &Limits) -> Option<Vec<u8>> {
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let mut merged = Vec::new();
    merge_v2(&messages, limits, &mut merged).ok().map(|_| merged)
}

#[cfg(test)]
mod tests {
    use prom_remote::{
        MetricType, Sample, SeriesV2, WriteRequestBuilder, WriteRequestV2Builder, WriteRequestView,
    };

    use super::*;

    /// A request as text, like `a@1,2 b@1 +1` for two series and a metadata entry.
    fn show(message: &[u8]) -> String {
        let view = WriteRequestView::new(message);
        let mut parts: Vec<String> = view
            .series()
            .map(|series| {
                let series = series.unwrap();
                let times: Vec<_> = series.samples().map(|sample| sample.timestamp_ms.to_string()).collect();
                format!("{}@{}", series.label(b"__name__").unwrap().escape_ascii(), times.join(","))
            })
            .collect();
        let metadata = view.summary(&prom_remote::Limits::default()).unwrap().metadata;
        if metadata > 0 {
            parts.push(format!("+{metadata}"));
        }
        parts.join(" ")
    }

    #[track_caller]
    fn check(series: &[(&str, &[i64])], metadata: usize, expected: Option<[&str; 2]>) {
        let mut builder = WriteRequestBuilder::new();
        for (name, times) in series {
            builder.series([("__name__", *name)], times.iter().map(|time| Sample::new(*time, 1.0)));
        }
        for _ in 0..metadata {
            builder.metadata(MetricType::Gauge, "a", "", "");
        }
        let message = Message { version: Version::V1, bytes: builder.finish() };
        let found = halves(&message, &Limits::default()).unwrap();
        assert_eq!(
            found.map(|halves| halves.map(|half| show(&half.bytes))),
            expected.map(|e| e.map(str::to_owned))
        );
    }

    #[test]
    fn series_then_samples_then_nothing() {
        check(&[("a", &[1, 2]), ("b", &[1]), ("c", &[1])], 1, Some(["a@1,2 +1", "b@1 c@1"]));
        check(&[("a", &[1, 2]), ("b", &[1])], 0, Some(["a@1,2", "b@1"]));
        check(&[("a", &[1, 2, 3])], 0, Some(["a@1", "a@2,3"]));
        check(&[("a", &[1])], 2, Some(["+2", "a@1"]));
        check(&[("a", &[1])], 0, None);
        check(&[], 2, None);
        check(&[], 0, None);
    }

    #[test]
    fn culprits_of_the_same_words_are_one_request() {
        let mut culprits = Culprits::default();
        let refusal = |message: &str| Refusal { status: 400, message: message.to_owned() };
        for (name, words) in [("a", "old"), ("b", "odd"), ("c", "old")] {
            let mut builder = WriteRequestBuilder::new();
            builder.series([("__name__", name)], [Sample::new(1, 1.0)]);
            let message = Message { version: Version::V1, bytes: builder.finish() };
            culprits.add(refusal(words), message, &Limits::default());
        }
        assert!(culprits.bytes() > 0);
        let found: Vec<_> = culprits
            .drain(&Limits::default())
            .iter()
            .map(|(words, found)| (words.message.clone(), show(&found.bytes)))
            .collect();
        assert_eq!(found, [("odd".to_owned(), "b@1".to_owned()), ("old".to_owned(), "a@1 c@1".to_owned())]);
        assert_eq!(culprits.bytes(), 0);
    }

    #[test]
    fn a_request_of_2_0_is_cut_likewise_and_its_culprits_have_the_symbols_they_need() {
        let limits = Limits::default();
        let mut builder = WriteRequestV2Builder::new();
        for name in ["a", "b", "c"] {
            let samples = [Sample::new(1, 1.0), Sample::new(2, 1.0)];
            let series = SeriesV2 {
                labels: vec![(b"__name__", name.as_bytes())],
                samples: samples
                    .map(|sample| prom_remote::SampleV2 { sample, start_timestamp_ms: 7 })
                    .to_vec(),
                metadata: Some((MetricType::Gauge, b"help", b"")),
                ..SeriesV2::default()
            };
            builder.full_series(&series);
        }
        let whole = Message { version: Version::V2, bytes: builder.finish() };
        let mut culprits = Culprits::default();
        let refusal = Refusal { status: 400, message: "no".to_owned() };
        let mut stack = vec![whole];
        let mut parts = 0;
        while let Some(part) = stack.pop() {
            match halves(&part, &limits).unwrap() {
                Some([left, right]) => stack.extend([right, left]),
                None => {
                    parts += 1;
                    culprits.add(refusal.clone(), part, &limits);
                }
            }
        }
        assert_eq!(parts, 6);
        let [(_, found)] = &culprits.drain(&limits)[..] else { panic!("one letter") };
        let summary = found.version.summary(&found.bytes, &limits).unwrap();
        assert_eq!((summary.series, summary.samples, summary.metadata), (6, 6, 6));
        let mut single = WriteRequestV2Builder::new();
        single.series([("__name__", "only")], [Sample::new(1, 1.0)]);
        single.series([("__name__", "other_of_a_long_name")], [Sample::new(1, 1.0)]);
        let single = Message { version: Version::V2, bytes: single.finish() };
        let [left, _] = halves(&single, &limits).unwrap().unwrap();
        culprits.add(refusal, left, &limits);
        let [(_, found)] = &culprits.drain(&limits)[..] else { panic!("one letter") };
        assert!(!found.bytes.windows(5).any(|window| window == b"other"), "{:?}", found.bytes);
    }
}
