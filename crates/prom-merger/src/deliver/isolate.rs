//! Cuts a refused request until only the culprits are left, and collects them.

use std::collections::BTreeMap;

use prom_remote::{DecodeError, OtherContent, WriteRequestView, keep_samples};

use super::Refusal;

/// Cuts a request in two: between series, then between the samples of one, then metadata from a sample. Sent one after
/// the other, the halves are the whole in its order. `None` if nothing is left to cut.
pub(super) fn halves(message: &[u8]) -> Result<Option<[Vec<u8>; 2]>, DecodeError> {
    let (mut series, mut points) = (0_usize, 0_usize);
    for found in WriteRequestView::new(message).series() {
        let found = found?;
        series += usize::from(found.sample_count() + found.histogram_count() > 0);
        points += found.sample_count() + found.histogram_count();
    }
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
    keep_samples(
        message,
        OtherContent::Keep,
        |series, point| {
            sides.push(is_left(series.index(), point.index));
            sides.last() == Some(&true)
        },
        &mut left,
    )?;
    let is_right = |index: usize| sides.get(index) == Some(&false);
    keep_samples(message, OtherContent::Remove, |_, point| is_right(point.index), &mut right)?;
    Ok(if left.is_empty() || right.is_empty() { None } else { Some([left, right]) })
}

/// What a destination refused, by its words.
#[derive(Default)]
pub(super) struct Culprits {
    by_words: BTreeMap<Refusal, Vec<u8>>,
    bytes: usize,
}

impl Culprits {
    pub(super) fn add(&mut self, refusal: Refusal, message: &[u8]) {
        self.bytes += message.len() + refusal.message.len();
        // Messages one after the other are one message.
        self.by_words.entry(refusal).or_default().extend_from_slice(message);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all out.
    pub(super) fn drain(&mut self) -> BTreeMap<Refusal, Vec<u8>> {
        self.bytes = 0;
        std::mem::take(&mut self.by_words)
    }
}

#[cfg(test)]
mod tests {
    use prom_remote::{MetricType, Sample, WriteRequestBuilder};

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
        let found = halves(&builder.finish()).unwrap();
        assert_eq!(
            found.map(|halves| halves.map(|half| show(&half))),
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
            culprits.add(refusal(words), &builder.finish());
        }
        assert!(culprits.bytes() > 0);
        let found: Vec<_> =
            culprits.drain().iter().map(|(words, m)| (words.message.clone(), show(m))).collect();
        assert_eq!(found, [("odd".to_owned(), "b@1".to_owned()), ("old".to_owned(), "a@1 c@1".to_owned())]);
        assert_eq!(culprits.bytes(), 0);
    }
}
