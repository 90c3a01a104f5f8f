//! Splits a request in which several replicas are mixed.

use std::string::FromUtf8Error;

use prom_remote::{DecodeError, Limits, WriteRequestV2View, WriteRequestView, keep_series, keep_series_v2};
use prom_remote_http::WriteVersion;

use super::filter::{Message, Part};

/// The series of one replica.
#[derive(Debug)]
pub(crate) struct OfReplica {
    /// `None` for series without the label.
    pub(crate) replica: Option<String>,
    pub(crate) part: Part,
}

/// Why a request cannot be split by the label of its replicas.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ByLabelError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("more than {maximum} replicas in one request")]
    TooMany { maximum: usize },
    #[error("the name of a replica is not UTF-8")]
    Name(#[from] FromUtf8Error),
}

/// Splits a request by the value of a label, in the order in which the values come; at most `maximum` values. Metadata and
/// unknown fields of the request go with each part.
pub(crate) fn by_label(
    message: Message<'_>,
    label: &[u8],
    limits: &Limits,
    maximum: usize,
) -> Result<Vec<OfReplica>, ByLabelError> {
    let mut owners = Owners { maximum, ..Owners::default() };
    match message.version {
        WriteVersion::V1 => {
            for series in WriteRequestView::new(message.bytes).series() {
                let series = series?;
                owners.add(series.label(label))?;
            }
        }
        WriteVersion::V2 => {
            let view = WriteRequestV2View::new(message.bytes, limits)?;
            for series in view.series() {
                let series = series?;
                owners.add(series.label(label, view.symbols()))?;
            }
        }
    }
    let Owners { names, of_series, .. } = owners;
    let is_mixed = names.len() > 1;
    let mut parts = Vec::with_capacity(names.len());
    for (number, name) in names.into_iter().enumerate() {
        let part = if is_mixed {
            part_of(message, limits, |series| of_series.get(series) == Some(&number))?
        } else {
            Part::All
        };
        let replica = name.map(|name| String::from_utf8(name.to_vec())).transpose()?;
        parts.push(OfReplica { replica, part });
    }
    if parts.is_empty() {
        // Metadata alone, say.
        parts.push(OfReplica { replica: None, part: Part::All });
    }
    Ok(parts)
}

fn part_of(
    message: Message<'_>,
    limits: &Limits,
    is_own: impl Fn(usize) -> bool,
) -> Result<Part, DecodeError> {
    let mut part = Vec::new();
    match message.version {
        WriteVersion::V1 => keep_series(message.bytes, |series| is_own(series.index()), &mut part)?,
        WriteVersion::V2 => {
            keep_series_v2(message.bytes, limits, |series| is_own(series.index()), &mut part)?
        }
    };
    Ok(Part::Some(part))
}

#[derive(Default)]
struct Owners<'a> {
    maximum: usize,
    names: Vec<Option<&'a [u8]>>,
    /// For each series the number of its name.
    of_series: Vec<usize>,
}

impl<'a> Owners<'a> {
    fn add(&mut self, name: Option<&'a [u8]>) -> Result<(), ByLabelError> {
        let number = match self.names.iter().position(|known| *known == name) {
            Some(number) => number,
            None => {
                let replicas = self.names.iter().flatten().count();
                if name.is_some() && replicas >= self.maximum {
                    return Err(ByLabelError::TooMany { maximum: self.maximum });
                }
                self.names.push(name);
                self.names.len() - 1
            }
        };
        self.of_series.push(number);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prom_remote::{Sample, WriteRequestBuilder, WriteRequestV2Builder};

    use super::*;

    /// Name of the metric and of the replica of each series.
    #[track_caller]
    fn check(series: &[(&str, &str)], maximum: usize, expected: Option<&[(Option<&str>, &[&str])]>) {
        let (mut v1, mut v2) = (WriteRequestBuilder::new(), WriteRequestV2Builder::new());
        for (name, replica) in series {
            let labels = [("__name__", *name), ("job", "x"), ("replica", *replica)];
            let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
            v1.series(labels.clone(), [Sample::new(1, 1.0), Sample::new(2, 1.0)]);
            v2.series(labels, [Sample::new(1, 1.0), Sample::new(2, 1.0)]);
        }
        for (version, request) in [(WriteVersion::V1, v1.finish()), (WriteVersion::V2, v2.finish())] {
            let message = Message { version, bytes: &request };
            let found = by_label(message, b"replica", &Limits::default(), maximum);
            let found = found.map(|parts| {
                let names = |part: &Part| match part {
                    Part::All => names(version, &request),
                    Part::Some(part) => names(version, part),
                    Part::Nothing => Vec::new(),
                };
                parts.iter().map(|of| (of.replica.clone(), names(&of.part))).collect::<Vec<_>>()
            });
            let owned = |(replica, names): &(Option<&str>, &[&str])| {
                let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
                (replica.map(str::to_owned), names)
            };
            let expected: Option<Vec<_>> = expected.map(|parts| parts.iter().map(owned).collect());
            assert_eq!(found.ok(), expected, "{version:?}");
        }
    }

    fn names(version: WriteVersion, request: &[u8]) -> Vec<String> {
        let text = |name: Option<&[u8]>| String::from_utf8(name.unwrap().to_vec()).unwrap();
        match version {
            WriteVersion::V1 => WriteRequestView::new(request)
                .series()
                .map(|series| text(series.unwrap().label(b"__name__")))
                .collect(),
            WriteVersion::V2 => {
                let view = WriteRequestV2View::new(request, &Limits::default()).unwrap();
                view.series().map(|series| text(series.unwrap().label(b"__name__", view.symbols()))).collect()
            }
        }
    }

    #[test]
    fn each_replica_gets_its_series_and_what_has_no_label_stands_apart() {
        check(&[], 2, Some(&[(None, &[])]));
        check(&[("up", "a"), ("down", "a")], 2, Some(&[(Some("a"), &["up", "down"])]));
        check(
            &[("up", "a"), ("up", "b"), ("other", ""), ("down", "a")],
            2,
            Some(&[(Some("a"), &["up", "down"]), (Some("b"), &["up"]), (None, &["other"])]),
        );
        check(&[("up", "a"), ("up", "b"), ("up", "c")], 2, None);
    }
}
