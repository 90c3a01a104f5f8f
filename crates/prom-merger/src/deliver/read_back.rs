//! Asks the destination what it has of a request, so that a refusal of what is stored already costs nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use prom_remote::{
    Matcher, OtherContent, Query, ReadSeries, SeriesView, TimeRange, WriteRequestView, keep_samples,
};
use prom_remote_http::ReadClient;

use super::bench::chain;
use crate::source::SourceState;

/// What of a request is not stored yet.
pub(super) struct Missing {
    /// The rest of the request; empty if nothing is left.
    pub(super) rest: Vec<u8>,
    /// Samples that the destination has with the same bits.
    pub(super) stored: usize,
}

type Labels = BTreeMap<Vec<u8>, Vec<u8>>;

/// Removes from a message (without the label) the samples that the destination has with the same bits. Native histograms
/// stay: they are not compared.
pub(super) async fn missing(
    client: &ReadClient,
    source: &SourceState,
    raw: &[u8],
) -> Result<Missing, String> {
    let mut labelled = Vec::new();
    source.splicer.splice(raw, &source.limits, &mut labelled).map_err(|error| error.to_string())?;
    // Each series keeps its place, so that the numbers of samples are the same with and without the label.
    let Wanted { names, range, points } = wanted(&labelled)?;
    let Some(range) = range else { return Ok(Missing { rest: raw.to_vec(), stored: 0 }) };
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
    keep_samples(raw, OtherContent::Keep, |_, point| !stored.contains(&point.index), &mut rest)
        .map_err(|error| error.to_string())?;
    Ok(Missing { rest, stored: stored.len() })
}

struct Wanted {
    names: BTreeSet<String>,
    range: Option<TimeRange>,
    /// The numbers of the samples of each time and value.
    points: HashMap<Labels, HashMap<(i64, u64), Vec<usize>>>,
}

fn wanted(labelled: &[u8]) -> Result<Wanted, String> {
    let mut points: HashMap<Labels, HashMap<_, Vec<usize>>> = HashMap::new();
    let mut names = BTreeSet::new();
    let mut bounds: Option<(i64, i64)> = None;
    let mut current = None;
    let collect = |series: &SeriesView<'_>, point: prom_remote::Point| {
        if let Some(bits) = point.value_bits {
            // The labels of a series are read once.
            if current.as_ref().is_none_or(|(index, _)| *index != series.index()) {
                current = Some((series.index(), labels_of_request(series)));
            }
            if let Some((_, labels)) = &current {
                let of_series = match points.get_mut(labels) {
                    Some(of_series) => of_series,
                    None => points.entry(labels.clone()).or_default(),
                };
                of_series.entry((point.timestamp_ms, bits)).or_default().push(point.index);
            }
            let (from, to) = bounds.unwrap_or((point.timestamp_ms, point.timestamp_ms));
            bounds = Some((from.min(point.timestamp_ms), to.max(point.timestamp_ms)));
        }
        false
    };
    keep_samples(labelled, OtherContent::Remove, collect, &mut Vec::new())
        .map_err(|error| error.to_string())?;
    for series in WriteRequestView::new(labelled).series() {
        let series = series.map_err(|error| error.to_string())?;
        let name = series.label(b"__name__").and_then(|name| std::str::from_utf8(name).ok());
        names.extend(name.filter(|_| series.sample_count() > 0).map(str::to_owned));
    }
    let range = bounds.and_then(|(from, to)| TimeRange::new(from, to.saturating_add(1)).ok());
    Ok(Wanted { names, range, points })
}

fn labels_of_request(series: &SeriesView<'_>) -> Labels {
    let labels = series.labels().filter(|label| !label.value.is_empty());
    labels.map(|label| (label.name.to_vec(), label.value.to_vec())).collect()
}

fn labels_of_answer(series: &ReadSeries) -> Labels {
    series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect()
}

/// One question asks for so many metrics at once.
const NAMES_PER_QUESTION: usize = 32;
