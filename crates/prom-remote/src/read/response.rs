//! The answer of type SAMPLES.

use thiserror::Error;

use crate::{DecodeError, DecodeErrorKind, Limits, Sample, SeriesView, Summary, wire::Fields};

/// A decoded (no longer compressed) `prometheus.ReadResponse`, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct ReadResponseView<'a> {
    bytes: &'a [u8],
}

/// A series of an answer, with the query that it answers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReadResponseSeries<'a> {
    /// The number of the query, from 0.
    pub query: usize,
    /// The series; its [`index`](SeriesView::index) counts over all queries.
    pub series: SeriesView<'a>,
}

impl<'a> ReadResponseView<'a> {
    /// Looks at the bytes of an answer; they are checked while walking, not here.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Walks all series in the order of the wire, nothing copied; after the first error the walk ends.
    pub fn series(&self) -> impl Iterator<Item = Result<ReadResponseSeries<'a>, DecodeError>> + use<'a> {
        let mut walk =
            Walk { results: Some(Fields::new(self.bytes)), series: None, result_count: 0, next_series: 0 };
        std::iter::from_fn(move || walk.next().transpose())
    }

    /// Returns the number of results, which must be the number of queries asked.
    ///
    /// # Errors
    /// Malformed bytes, as far as results are walked; their content is not.
    pub fn result_count(&self) -> Result<usize, DecodeError> {
        let mut fields = Fields::new(self.bytes);
        let mut count = 0;
        while let Some(field) = fields.next()? {
            if field.number == RESULTS {
                field.bytes()?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReadDecodeError {
    /// The bytes are not a `ReadResponse`, or go over a limit.
    #[error("malformed remote-read answer")]
    Malformed(#[from] DecodeError),
    /// The answer has another number of results than there were queries.
    #[error("remote-read answer has {actual} results for {expected} queries")]
    ResultCount {
        /// How many queries were asked.
        expected: usize,
        /// How many results came.
        actual: usize,
    },
}

/// A label that owns its bytes, which need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Its name.
    pub name: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// A series of an answer, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadSeries {
    /// The labels as the server sent them: sorted, if it keeps to the protocol.
    pub labels: Vec<Label>,
    /// The samples as the server sent them: in the order of time, if it keeps to the protocol.
    pub samples: Vec<Sample>,
    /// The native histograms, undecoded.
    pub histograms: Vec<ReadHistogram>,
}

/// A native histogram of an answer, undecoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadHistogram {
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// The bytes of the `Histogram` message.
    pub message: Vec<u8>,
}

impl ReadSeries {
    /// Copies a borrowed series.
    pub fn from_view(series: &SeriesView<'_>) -> Self {
        let label =
            |label: crate::LabelView<'_>| Label { name: label.name.to_vec(), value: label.value.to_vec() };
        let histogram = |histogram: crate::HistogramView<'_>| ReadHistogram {
            timestamp_ms: histogram.timestamp_ms,
            message: histogram.message_bytes.to_vec(),
        };
        Self {
            labels: series.labels().map(label).collect(),
            samples: series.samples().collect(),
            histograms: series.histograms().map(histogram).collect(),
        }
    }

    /// Returns the value of the first label of this name; `None` also for an empty one.
    pub fn label(&self, name: &[u8]) -> Option<&[u8]> {
        let label = self.labels.iter().find(|label| label.name == name)?;
        Some(&label.value[..]).filter(|value| !value.is_empty())
    }
}

/// Reads a whole answer: for each query, in the order asked, its series.
///
/// Value bits are kept, stale markers included. Takes memory for the whole answer, bounded by the limits; to hold
/// one series at a time, walk [`ReadResponseView::series`].
///
/// # Errors
/// Malformed bytes, more series, samples or labels than the limits allow, or another number of results than
/// `query_count`.
pub fn decode_samples(
    response: &[u8],
    query_count: usize,
    limits: &Limits,
) -> Result<Vec<Vec<ReadSeries>>, ReadDecodeError> {
    let view = ReadResponseView::new(response);
    let actual = view.result_count()?;
    if actual != query_count {
        return Err(ReadDecodeError::ResultCount { expected: query_count, actual });
    }
    let mut results = Vec::new();
    results.resize_with(query_count, Vec::new);
    let mut summary = Summary::default();
    for entry in view.series() {
        let ReadResponseSeries { query, series } = entry?;
        summary.include_series(&series, limits)?;
        if series.label_count() > limits.max_labels_per_series {
            let kind = DecodeErrorKind::TooManyLabels { limit: limits.max_labels_per_series };
            return Err(DecodeError::new(kind, series.byte_range().start).in_series(series.index()).into());
        }
        if let Some(result) = results.get_mut(query) {
            result.push(ReadSeries::from_view(&series));
        }
    }
    Ok(results)
}

struct Walk<'a> {
    results: Option<Fields<'a>>,
    /// The rest of the result that is being walked.
    series: Option<Fields<'a>>,
    result_count: usize,
    next_series: usize,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Result<Option<ReadResponseSeries<'a>>, DecodeError> {
        let next = self.advance();
        if next.is_err() {
            (self.results, self.series) = (None, None);
        }
        next
    }

    fn advance(&mut self) -> Result<Option<ReadResponseSeries<'a>>, DecodeError> {
        loop {
            while let Some(field) = self.series.as_mut().map(Fields::next).transpose()?.flatten() {
                if field.number == RESULT_SERIES {
                    let series = SeriesView::new(&field, self.next_series)?;
                    self.next_series += 1;
                    return Ok(Some(ReadResponseSeries {
                        query: self.result_count.saturating_sub(1),
                        series,
                    }));
                }
            }
            match self.results.as_mut().map(Fields::next).transpose()?.flatten() {
                Some(field) if field.number == RESULTS => {
                    self.result_count += 1;
                    self.series = Some(field.message()?);
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }
}

// Field numbers of `ReadResponse` and `QueryResult` in proto/prometheus/remote.proto.
const RESULTS: u32 = 1;
const RESULT_SERIES: u32 = 1;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use prost::Message;

    use super::*;
    use crate::{
        STALE_MARKER_BITS,
        proto::prometheus::{QueryResult, ReadResponse},
        write::strategies::{damaged_request, request},
    };

    fn response() -> impl Strategy<Value = ReadResponse> {
        let result = request().prop_map(|request| QueryResult { timeseries: request.timeseries });
        vec(result, 0..4).prop_map(|results| ReadResponse { results })
    }

    proptest! {
        #[test]
        fn agrees_with_prost(response in response()) {
            let bytes = response.encode_to_vec();
            // Through prost again, which drops a -0.0.
            let response = ReadResponse::decode(&bytes[..]).unwrap();
            let read = decode_samples(&bytes, response.results.len(), &Limits::default()).unwrap();
            prop_assert_eq!(read.len(), response.results.len());
            for (read, result) in read.iter().zip(&response.results) {
                prop_assert_eq!(read.len(), result.timeseries.len());
                for (read, series) in read.iter().zip(&result.timeseries) {
                    let samples: Vec<_> = series.samples.iter().map(|s| Sample::new(s.timestamp, s.value)).collect();
                    prop_assert_eq!(&read.samples, &samples);
                    let labels: Vec<_> = series
                        .labels
                        .iter()
                        .map(|l| Label { name: l.name.clone(), value: l.value.clone() })
                        .collect();
                    prop_assert_eq!(&read.labels, &labels);
                    let histograms: Vec<_> = series
                        .histograms
                        .iter()
                        .map(|h| ReadHistogram { timestamp_ms: h.timestamp, message: h.encode_to_vec() })
                        .collect();
                    prop_assert_eq!(&read.histograms, &histograms);
                }
            }
        }

        #[test]
        fn any_bytes_are_an_answer(
            bytes in prop_oneof![
                damaged_request(),
                damaged_request().prop_map(|inner| { let mut b = Vec::new(); crate::wire::put_bytes(&mut b, 1, &inner); b }),
            ]
        ) {
            let read = decode_samples(&bytes, 1, &Limits::default());
            if ReadResponse::decode(&bytes[..]).is_err() {
                prop_assert!(read.is_err());
            }
        }
    }

    fn one_series(samples: &[Sample]) -> Vec<u8> {
        let mut builder = crate::WriteRequestBuilder::new();
        builder.series([("__name__", "up")], samples.iter().copied());
        // A QueryResult has its series where a WriteRequest has them.
        let mut response = Vec::new();
        crate::wire::put_bytes(&mut response, 1, &builder.finish());
        response
    }

    #[test]
    fn value_bits_are_kept() {
        let samples = [
            Sample::stale(1),
            Sample { timestamp_ms: 2, value_bits: 0x7ff8_dead_beef_0001 },
            Sample::new(3, -0.0),
        ];
        let read = decode_samples(&one_series(&samples), 1, &Limits::default()).unwrap();
        assert_eq!(read[0][0].samples, samples);
        assert_eq!(read[0][0].samples[0].value_bits, STALE_MARKER_BITS);
        assert_eq!(read[0][0].label(b"__name__"), Some(&b"up"[..]));
    }

    #[test]
    fn limits_hold_at_and_over() {
        let response = one_series(&[Sample::new(1, 1.0), Sample::new(2, 1.0)]);
        let at = Limits { max_series: 1, max_samples: 2, max_labels_per_series: 1, ..Limits::default() };
        assert!(decode_samples(&response, 1, &at).is_ok());
        for over in [
            Limits { max_series: 0, ..at },
            Limits { max_samples: 1, ..at },
            Limits { max_labels_per_series: 0, ..at },
        ] {
            assert!(matches!(decode_samples(&response, 1, &over), Err(ReadDecodeError::Malformed(_))));
        }
    }

    #[test]
    fn results_must_be_as_many_as_queries() {
        let response = one_series(&[]);
        let error = decode_samples(&response, 2, &Limits::default()).unwrap_err();
        assert_eq!(error, ReadDecodeError::ResultCount { expected: 2, actual: 1 });
        assert_eq!(decode_samples(&[], 0, &Limits::default()), Ok(vec![]));
    }
}
