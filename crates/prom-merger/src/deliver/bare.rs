//! Exemplars without a sample. Prometheus sends them so, in either version; Prometheus as a receiver takes them so by 1.0
//! alone and refuses the series by 2.0.

use prom_remote::{Limits, SeriesV2View, convert_to_v1, keep_series_v2};

use super::message::{Message, Version};

/// Takes the series that have exemplars and nothing else out of a request of 2.0, as a request of 1.0. `None` if there are
/// none, or they cannot be converted.
pub(super) fn apart(message: &Message, limits: &Limits) -> Option<Vec<Message>> {
    if message.version != Version::V2 {
        return None;
    }
    let is_bare = |series: &SeriesV2View<'_>| {
        series.exemplar_count() > 0 && series.sample_count() + series.histogram_count() == 0
    };
    let mut bare = Vec::new();
    let report = keep_series_v2(&message.bytes, limits, is_bare, &mut bare).ok()?;
    if report.kept == 0 {
        return None;
    }
    let exemplars = Message { version: Version::V1, bytes: convert_to_v1(&bare, limits).ok()?.request };
    if report.removed == 0 {
        return Some(vec![exemplars]);
    }
    let mut rest = Message { version: Version::V2, bytes: Vec::new() };
    keep_series_v2(&message.bytes, limits, |series| !is_bare(series), &mut rest.bytes).ok()?;
    Some(vec![rest, exemplars])
}

/// Whether a refusal is about such series, in the words of Prometheus.
pub(super) fn is_meant(words: &str) -> bool {
    words.contains("must contain at least one sample")
}

#[cfg(test)]
mod tests {
    use prom_remote::{Sample, SampleV2, SeriesV2, WriteRequestV2Builder};

    use super::*;

    /// Series with samples and exemplars, and what of them is where.
    #[track_caller]
    fn check(series: &[(usize, usize)], expected: &[(Version, usize, usize)]) {
        let mut builder = WriteRequestV2Builder::new();
        for (samples, exemplars) in series {
            let sample = |time| SampleV2 { sample: Sample::new(time, 1.0), start_timestamp_ms: 0 };
            builder.full_series(&SeriesV2 {
                labels: vec![(b"__name__", b"a")],
                samples: (0..*samples as i64).map(sample).collect(),
                exemplars: (0..*exemplars)
                    .map(|_| (vec![(&b"id"[..], &b"x"[..])], Sample::new(5, 1.0)))
                    .collect(),
                ..SeriesV2::default()
            });
        }
        let (message, limits) =
            (Message { version: Version::V2, bytes: builder.finish() }, Limits::default());
        let count = |part: &Message| {
            let summary = part.version.summary(&part.bytes, &limits).unwrap();
            (part.version, summary.samples, summary.exemplars)
        };
        let found: Vec<_> = apart(&message, &limits).iter().flatten().map(count).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn only_series_of_nothing_but_exemplars_go_out_as_1_0() {
        check(&[(1, 0), (2, 1)], &[]);
        check(&[(0, 0)], &[]);
        check(&[(1, 1), (0, 2), (1, 0)], &[(Version::V2, 2, 1), (Version::V1, 0, 2)]);
        check(&[(0, 1)], &[(Version::V1, 0, 1)]);
    }
}
