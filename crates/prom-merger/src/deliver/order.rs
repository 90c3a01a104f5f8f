//! Splits a request that runs backwards in time within a series.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::RandomState;
use prom_remote::{DecodeError, OtherContent, Point, SeriesView, WriteRequestView, keep_samples};

/// Returns the requests to send in the place of one in which a series runs backwards in time: sent one after the other,
/// no series does. `None` if the request does not run backwards, or so wildly that it would become too many.
pub(super) fn layers(message: &[u8]) -> Result<Option<Vec<Vec<u8>>>, DecodeError> {
    let hasher = RandomState::default();
    if is_ascending(message)? || !runs_backwards(message, &hasher)? {
        return Ok(None);
    }
    let mut by_series: HashMap<u64, Vec<(i64, usize)>> = HashMap::new();
    let mut count = 0;
    let mut scratch = Vec::new();
    let collect = |series: &SeriesView<'_>, point: Point| {
        by_series.entry(identity(series, &hasher)).or_default().push((point.timestamp_ms, point.index));
        count += 1;
        false
    };
    keep_samples(message, OtherContent::Remove, collect, &mut scratch)?;
    let mut layer_of = vec![0_usize; count];
    let mut highest = 0;
    for points in by_series.values_mut() {
        // Of two at the same time the first stays first.
        points.sort_unstable();
        let (mut layer, mut previous) = (0, 0);
        for (_, index) in points {
            layer += usize::from(*index < previous);
            previous = *index;
            if let Some(slot) = layer_of.get_mut(*index) {
                *slot = layer;
            }
        }
        highest = highest.max(layer);
    }
    if highest == 0 || highest >= MAX_LAYERS {
        return Ok(None);
    }
    let layer = |layer| {
        let others = if layer == 0 { OtherContent::Keep } else { OtherContent::Remove };
        let mut part = Vec::new();
        keep_samples(message, others, |_, point| layer_of.get(point.index) == Some(&layer), &mut part)?;
        Ok(part)
    };
    (0..=highest).map(layer).collect::<Result<_, _>>().map(Some)
}

/// Whether time never goes backwards from sample to sample, whatever the series: true of most requests, and cheap.
fn is_ascending(message: &[u8]) -> Result<bool, DecodeError> {
    let mut latest = i64::MIN;
    for series in WriteRequestView::new(message).series() {
        let series = series?;
        let Some(bounds) = series.timestamps() else { continue };
        if bounds.min_ms < latest || !series.is_in_time_order() {
            return Ok(false);
        }
        latest = bounds.max_ms;
    }
    Ok(true)
}

fn runs_backwards(message: &[u8], hasher: &RandomState) -> Result<bool, DecodeError> {
    let mut latest: HashMap<u64, i64, RandomState> = HashMap::default();
    for series in WriteRequestView::new(message).series() {
        let series = series?;
        let Some(bounds) = series.timestamps() else { continue };
        let latest = latest.entry(identity(&series, hasher)).or_insert(i64::MIN);
        let mut previous = i64::MIN;
        let goes_back = series.samples().any(|sample| {
            let goes_back = sample.timestamp_ms < previous;
            previous = sample.timestamp_ms;
            goes_back
        });
        let is_mixed = series.histogram_count() > 0 && !series.is_in_time_order();
        if bounds.min_ms < *latest || goes_back || is_mixed {
            return Ok(true);
        }
        *latest = bounds.max_ms;
    }
    Ok(false)
}

/// Two series of one number are ordered as if they were one, which harms neither.
fn identity(series: &SeriesView<'_>, hasher: &RandomState) -> u64 {
    let mut hasher = hasher.build_hasher();
    for label in series.labels() {
        label.hash(&mut hasher);
    }
    hasher.finish()
}

/// More requests than this in the place of one are not worth it; what a receiver refuses then is isolated.
const MAX_LAYERS: usize = 64;

#[cfg(test)]
mod tests {
    use prom_remote::{Sample, WriteRequestBuilder};

    use super::*;

    #[track_caller]
    fn check(request: &[(&str, &[i64])], expected: &[&[(&str, &[i64])]]) {
        let mut builder = WriteRequestBuilder::new();
        for (name, times) in request {
            builder.series([("__name__", *name)], times.iter().map(|time| Sample::new(*time, 1.0)));
        }
        let layers = layers(&builder.finish()).unwrap().unwrap_or_default();
        let read = |layer: &Vec<u8>| -> Vec<(String, Vec<i64>)> {
            let read = |series: SeriesView<'_>| {
                let name = String::from_utf8(series.label(b"__name__").unwrap().to_vec()).unwrap();
                (name, series.samples().map(|sample| sample.timestamp_ms).collect())
            };
            WriteRequestView::new(layer).series().map(|series| read(series.unwrap())).collect()
        };
        let owned = |layer: &&[(&str, &[i64])]| -> Vec<(String, Vec<i64>)> {
            layer.iter().map(|(name, times)| ((*name).to_owned(), times.to_vec())).collect()
        };
        let found: Vec<_> = layers.iter().map(read).collect();
        assert_eq!(found, expected.iter().map(owned).collect::<Vec<_>>());
    }

    #[test]
    fn only_what_runs_backwards_is_split() {
        check(&[], &[]);
        check(&[("a", &[1, 2]), ("a", &[2, 3])], &[]);
        // Another series may be older.
        check(&[("a", &[5, 6]), ("b", &[1, 2])], &[]);
        // The same time twice is for the receiver to judge.
        check(&[("a", &[5, 5])], &[]);
        check(&[("a", &[5, 1, 2, 6])], &[&[("a", &[1, 2])], &[("a", &[5, 6])]]);
        check(
            &[("a", &[5]), ("b", &[3]), ("a", &[4]), ("a", &[6])],
            &[&[("b", &[3]), ("a", &[4])], &[("a", &[5]), ("a", &[6])]],
        );
    }

    #[test]
    fn what_would_become_too_many_requests_is_not_split() {
        let times: Vec<i64> = (0..=MAX_LAYERS as i64).rev().collect();
        check(&[("a", &times)], &[]);
    }
}
