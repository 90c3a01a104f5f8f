use super::{BucketCounts, Buckets, Histogram, Span};

impl Histogram {
    /// Merges buckets until the schema is at most `schema`, as Prometheus does with resolutions that it does not
    /// know (schemas above 8).
    ///
    /// Nothing is done where the schema is already that low, or the buckets are custom ones. Zero counts at the
    /// edges go, buckets that get together are added.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if self.schema <= schema {
            return;
        }
        let Ok(steps) = u32::try_from(i64::from(self.schema) - i64::from(schema)) else { return };
        let steps = steps.min(31);
        match &mut self.counts {
            BucketCounts::Integer(buckets) => {
                reduce(&mut self.positive_spans, &mut self.negative_spans, buckets, steps, u64::wrapping_add);
            }
            BucketCounts::Float(buckets) => {
                reduce(&mut self.positive_spans, &mut self.negative_spans, buckets, steps, |a, b| a + b);
            }
        }
        self.schema = schema;
    }
}

fn reduce<Count: Copy>(
    positive_spans: &mut Vec<Span>,
    negative_spans: &mut Vec<Span>,
    buckets: &mut Buckets<Count>,
    steps: u32,
    add: fn(Count, Count) -> Count,
) {
    for (spans, counts) in [(positive_spans, &mut buckets.positive), (negative_spans, &mut buckets.negative)]
    {
        (*spans, *counts) = merged(spans, counts, steps, add);
    }
}

fn merged<Count: Copy>(
    spans: &[Span],
    counts: &[Count],
    steps: u32,
    add: fn(Count, Count) -> Count,
) -> (Vec<Span>, Vec<Count>) {
    let mut new_spans: Vec<Span> = Vec::new();
    let mut new_counts: Vec<Count> = Vec::new();
    let mut last: Option<i64> = None;
    for (index, count) in Span::indices(spans).zip(counts) {
        // Bucket n holds (base^(n-1), base^n].
        let target = ((index - 1) >> steps) + 1;
        match (last, new_counts.last_mut()) {
            (Some(last), Some(sum)) if last == target => {
                *sum = add(*sum, *count);
                continue;
            }
            _ => {}
        }
        match (last, new_spans.last_mut()) {
            (Some(last), Some(span)) if last + 1 == target => span.length += 1,
            (last, _) => {
                let offset = last.map_or(target, |last| target - last - 1);
                new_spans
                    .push(Span { offset: offset.clamp(i32::MIN.into(), i32::MAX.into()) as i32, length: 1 });
            }
        }
        new_counts.push(*count);
        last = Some(target);
    }
    (new_spans, new_counts)
}

impl Span {
    /// Walks the index of each bucket of all spans. Bucket n of schema s holds what is in (b^(n-1), b^n], b being
    /// 2^(2^-s).
    ///
    /// Spans say how many buckets they have, and may say anything: zip the walk with the counts.
    pub fn indices(spans: &[Self]) -> impl Iterator<Item = i64> + '_ {
        let mut next = 0_i64;
        spans.iter().flat_map(move |span| {
            let start = next.saturating_add(span.offset.into());
            next = start.saturating_add(span.length.into());
            start..next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_that_fall_together_are_added() {
        let mut histogram = Histogram {
            schema: 2,
            positive_spans: vec![Span { offset: -3, length: 4 }, Span { offset: 2, length: 2 }],
            counts: BucketCounts::Integer(Buckets {
                count: 21,
                zero_count: 0,
                positive: vec![1, 2, 3, 4, 5, 6],
                negative: vec![],
            }),
            ..Histogram::integer()
        };
        histogram.reduce_resolution(1);
        // -3 -> -1, -2 -> -1+1, -1 -> 0, 0 -> 0; 3 -> 2, 4 -> 2.
        assert_eq!(histogram.positive_spans, [Span { offset: -1, length: 2 }, Span { offset: 1, length: 1 }]);
        let BucketCounts::Integer(buckets) = &histogram.counts else { panic!("still whole numbers") };
        assert_eq!(buckets.positive, [3, 7, 11]);
        assert_eq!(histogram.schema, 1);
    }
}
