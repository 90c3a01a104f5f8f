//! Splits a request that runs backwards in time within a series.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::RandomState;
use prom_remote::{DecodeError, Limits, OtherContent, Point, Summary, WriteRequestView};

use super::message::{AnySeries, Version};

/// Returns the requests to send in the place of one in which a series runs backwards in time: sent one after the other,
/// no series does. `None` if the request does not run backwards, or so wildly that it would become too many.
pub(super) fn layers(
    version: Version,
    message: &[u8],
    limits: &Limits,
) -> Result<Option<Vec<Vec<u8>>>, DecodeError> {
    let direction = match version {
        Version::V1 => Clocks::default().advance(message, limits)?.1,
        Version::V2 => Direction::Unknown,
    };
    layers_of(direction, version, message, limits)
}

/// The same, where it is known how time goes through the series.
pub(super) fn layers_of(
    direction: Direction,
    version: Version,
    message: &[u8],
    limits: &Limits,
) -> Result<Option<Vec<Vec<u8>>>, DecodeError> {
    let runs_backwards = match direction {
        Direction::Forward => false,
        Direction::Backward => true,
        Direction::Unknown => runs_backwards(version, message, limits)?,
    };
    if !runs_backwards {
        return Ok(None);
    }
    let hasher = RandomState::default();
    let mut by_series: HashMap<u64, Vec<(i64, usize)>> = HashMap::new();
    let mut count = 0;
    let mut scratch = Vec::new();
    let collect = |series: &AnySeries<'_, '_>, point: Point| {
        by_series.entry(identity(series, &hasher)).or_default().push((point.timestamp_ms, point.index));
        count += 1;
        false
    };
    version.keep(message, limits, OtherContent::Remove, collect, &mut scratch)?;
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
        let is_of_layer = |_: &AnySeries<'_, '_>, point: Point| layer_of.get(point.index) == Some(&layer);
        version.keep(message, limits, others, is_of_layer, &mut part)?;
        Ok(part)
    };
    (0..=highest).map(layer).collect::<Result<_, _>>().map(Some)
}

/// The latest time of every series so far, through several requests; bounded by the series of a batch.
#[derive(Default)]
pub(super) struct Clocks {
    latest: HashMap<u64, i64, RandomState>,
    hasher: RandomState,
}

/// How time goes through the series of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Backward,
    /// Its labels are not written as every encoder does, or its samples in no strict order.
    Unknown,
}

impl Clocks {
    /// Goes through a message of 1.0, and tells what is in it. If time does not go [`Forward`](Direction::Forward), the
    /// clocks are of no more use.
    pub(super) fn advance(
        &mut self,
        message: &[u8],
        limits: &Limits,
    ) -> Result<(Summary, Direction), DecodeError> {
        let mut direction = Direction::Forward;
        let summary = WriteRequestView::new(message).summary_with(limits, |series| {
            let Some(bounds) = series.timestamps else { return };
            let Some(labels) = series.labels.filter(|_| series.is_in_time_order) else {
                direction = Direction::Unknown;
                return;
            };
            // Two series of one number are ordered as if they were one, which harms neither.
            let latest = self.latest.entry(self.hasher.hash_one(labels)).or_insert(i64::MIN);
            if bounds.min_ms < *latest && direction == Direction::Forward {
                direction = Direction::Backward;
            }
            *latest = bounds.max_ms.max(*latest);
        })?;
        Ok((summary, direction))
    }

    pub(super) fn clear(&mut self) {
        self.latest.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }
}

/// The same, label by label.
fn runs_backwards(version: Version, message: &[u8], limits: &Limits) -> Result<bool, DecodeError> {
    let hasher = RandomState::default();
    let mut latest: HashMap<u64, i64, RandomState> = HashMap::default();
    version.any_series(message, limits, |series| {
        let Some(bounds) = series.timestamps() else { return false };
        let latest = latest.entry(identity(series, &hasher)).or_insert(i64::MIN);
        if bounds.min_ms < *latest || goes_back_within(series) {
            return true;
        }
        *latest = bounds.max_ms;
        false
    })
}

/// The same time twice is for the receiver to judge; of samples mixed with histograms the order is not known.
fn goes_back_within(series: &AnySeries<'_, '_>) -> bool {
    !series.is_in_time_order() && (series.histogram_count() > 0 || !series.sample_times().is_sorted())
}

/// Two series of one number are ordered as if they were one, which harms neither.
fn identity(series: &AnySeries<'_, '_>, hasher: &RandomState) -> u64 {
    let mut hasher = hasher.build_hasher();
    series.for_each_label(|label| label.hash(&mut hasher));
    hasher.finish()
}

/// More requests than this in the place of one are not worth it; what a receiver refuses then is isolated.
const MAX_LAYERS: usize = 64;

#[cfg(test)]
mod tests {
    use prom_remote::{Sample, WriteRequestBuilder, WriteRequestV2Builder};

    use super::*;

    type Request<'a> = [(&'a str, &'a [i64])];

    #[track_caller]
    fn check(request: &Request<'_>, expected: &[&Request<'_>]) {
        let (mut v1, mut v2) = (WriteRequestBuilder::new(), WriteRequestV2Builder::new());
        for (name, times) in request {
            let samples = times.iter().map(|time| Sample::new(*time, 1.0));
            v1.series([("__name__", *name)], samples.clone());
            v2.series([("__name__", *name)], samples);
        }
        let owned = |layer: &&Request<'_>| -> Vec<(String, Vec<i64>)> {
            layer.iter().map(|(name, times)| ((*name).to_owned(), times.to_vec())).collect()
        };
        let expected: Vec<_> = expected.iter().map(owned).collect();
        for (version, message) in [(Version::V1, v1.finish()), (Version::V2, v2.finish())] {
            let layers = layers(version, &message, &Limits::default()).unwrap().unwrap_or_default();
            let found: Vec<_> = layers.iter().map(|layer| read(version, layer)).collect();
            assert_eq!(found, expected, "{version:?}");
        }
    }

    fn read(version: Version, message: &[u8]) -> Vec<(String, Vec<i64>)> {
        let mut all = Vec::new();
        let collect = |series: &AnySeries<'_, '_>| {
            let mut name = String::new();
            series.for_each_label(|label| name = String::from_utf8(label.value.to_vec()).unwrap());
            all.push((name, series.sample_times()));
            false
        };
        version.any_series(message, &Limits::default(), collect).unwrap();
        all
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
