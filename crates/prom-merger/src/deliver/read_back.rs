//! Asks the destination what it has of a request, so that a refusal of what is stored already costs nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use prom_remote::{Limits, Matcher, OtherContent, Point, Query, ReadSeries, TimeRange};
use prom_remote_http::ReadClient;

use super::{
    chain,
    message::{AnySeries, Message},
    pipeline::{Labels, Pipeline},
};
use crate::source::SourceState;

/// What of a request is not stored yet.
pub(super) struct Missing {
    /// The rest of the request; empty if nothing is left.
    pub(super) rest: Vec<u8>,
    /// Samples that the destination has with the same bits.
    pub(super) stored: usize,
}

/// What to ask for.
pub(super) struct Wanted {
    names: BTreeSet<String>,
    range: Option<TimeRange>,
    /// The numbers of the samples of each time and value.
    points: HashMap<Labels, HashMap<(i64, u64), Vec<usize>>>,
}

/// Removes from a message (without the label) the samples that the destination has with the same bits. Native histograms
/// stay: they are not compared.
pub(super) async fn missing(
    client: &ReadClient,
    source: &SourceState,
    raw: &Message,
    wanted: Wanted,
) -> Result<Missing, String> {
    let Wanted { names, range, points } = wanted;
    let Some(range) = range else { return Ok(Missing { rest: raw.bytes.clone(), stored: 0 }) };
    let mut stored: HashSet<usize> = HashSet::new();
    let names: Vec<_> = names.into_iter().collect();
    for names in names.chunks(NAMES_PER_QUESTION) {
        let query = |name: &String| Query {
            range,
            matchers: vec![Matcher::equal("__name__", name), Matcher::equal(&source.label, &source.value)],
        };
        let queries: Vec<_> = names.iter().map(query).collect();
        let answers = client.read_samples(&queries).await.map_err(|error| chain(&error))?;
        for series in answers.iter().flatten() {
            let Some(points) = points.get(&labels_of_answer(series)) else { continue };
            for sample in &series.samples {
                stored.extend(points.get(&(sample.timestamp_ms, sample.value_bits)).into_iter().flatten());
            }
        }
    }
    let mut rest = Vec::new();
    let is_missing = |_: &AnySeries<'_, '_>, point: Point| !stored.contains(&point.index);
    raw.version
        .keep(&raw.bytes, &source.limits, OtherContent::Keep, is_missing, &mut rest)
        .map_err(|error| error.to_string())?;
    Ok(Missing { rest, stored: stored.len() })
}

/// Collects the samples of a message under the labels with which they arrive.
pub(super) fn wanted(raw: &Message, pipeline: &mut Pipeline, limits: &Limits) -> Result<Wanted, String> {
    let mut points: HashMap<Labels, HashMap<_, Vec<usize>>> = HashMap::new();
    let mut names = BTreeSet::new();
    let mut bounds: Option<(i64, i64)> = None;
    // The labels of a series are made once.
    let mut current: Option<(usize, Option<Labels>)> = None;
    let mut failed = None;
    let collect = |series: &AnySeries<'_, '_>, point: Point| {
        let Some(bits) = point.value_bits else { return false };
        if current.as_ref().is_none_or(|(index, _)| *index != series.index()) {
            let labels = pipeline.final_labels(series).unwrap_or_else(|error| {
                failed = Some(error);
                None
            });
            let name = labels.iter().flatten().find(|(name, _)| name == b"__name__");
            names.extend(name.and_then(|(_, name)| String::from_utf8(name.clone()).ok()));
            current = Some((series.index(), labels));
        }
        if let Some((_, Some(labels))) = &current {
            let of_series = match points.get_mut(labels) {
                Some(of_series) => of_series,
                None => points.entry(labels.clone()).or_default(),
            };
            of_series.entry((point.timestamp_ms, bits)).or_default().push(point.index);
            let (from, to) = bounds.unwrap_or((point.timestamp_ms, point.timestamp_ms));
            bounds = Some((from.min(point.timestamp_ms), to.max(point.timestamp_ms)));
        }
        false
    };
    raw.version
        .keep(&raw.bytes, limits, OtherContent::Remove, collect, &mut Vec::new())
        .map_err(|error| error.to_string())?;
    if let Some(error) = failed {
        return Err(error);
    }
    let range = bounds.and_then(|(from, to)| TimeRange::new(from, to.saturating_add(1)).ok());
    Ok(Wanted { names, range, points })
}

fn labels_of_answer(series: &ReadSeries) -> Labels {
    let mut labels: Labels =
        series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
    labels.sort();
    labels
}

/// One question asks for so many metrics at once.
const NAMES_PER_QUESTION: usize = 32;
