//! What several tests ask of a testbed.

use std::{collections::BTreeMap, time::Duration};

use e2e::{
    eventually,
    http::{self, Page, Sample},
    testbed::Testbed,
};

/// Metrics port of the producer and the workers.
pub(super) const LOAD_PORT: u16 = 9400;
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// While the producer pauses, everything that Kafka acknowledged arrives at a worker, and nothing was left out.
pub(super) fn what_was_produced_was_consumed(testbed: &Testbed) {
    let status = testbed.status();
    let producer_url = status.service("producer").metrics_url(LOAD_PORT);
    let control = producer_url.trim_end_matches("/metrics").to_owned();
    http::post(&format!("{control}/pause")).expect("the producer pauses");
    eventually(MINUTE, "all that was acknowledged is consumed, in full", || {
        let producer = Page::fetch(&producer_url)?;
        let in_flight = producer.sum("kafka_load_in_flight_messages");
        if in_flight != 0.0 {
            return Err(format!("{in_flight} messages are in flight"));
        }
        let acknowledged = by_stream(producer.of("kafka_load_last_acknowledged_sequence"));
        let mut consumed = BTreeMap::new();
        let mut missing = 0.0;
        for worker in status.services().filter(|service| service.name().starts_with("worker-")) {
            let page = Page::fetch(&worker.metrics_url(LOAD_PORT))?;
            for (stream, sequence) in by_stream(page.of("kafka_load_last_consumed_sequence")) {
                let highest = consumed.entry(stream).or_insert(sequence);
                *highest = sequence.max(*highest);
            }
            missing += page.sum("kafka_load_lost_messages_total");
            missing -= page.sum("kafka_load_reordered_messages_total");
        }
        // Workers may also have finished what an earlier producer left.
        let is_of_this_producer =
            |(epoch, _): &(String, u32)| acknowledged.keys().any(|(own, _)| own == epoch);
        consumed.retain(|stream, _| is_of_this_producer(stream));
        if acknowledged.is_empty() || acknowledged != consumed {
            return Err(format!("acknowledged {acknowledged:?}\nconsumed {consumed:?}"));
        }
        if missing == 0.0 { Ok(()) } else { Err(format!("{missing} messages are missing")) }
    });
    let failed =
        Page::fetch(&producer_url).expect("the producer answers").sum("kafka_load_failed_messages_total");
    assert_eq!(failed, 0.0, "messages were given up");
    http::post(&format!("{control}/resume")).expect("the producer goes on");
}

#[track_caller]
pub(super) fn expect_ready(testbed: &Testbed) {
    eventually(2 * MINUTE, "all services are ready", || {
        let status = testbed.status();
        let is_ready = status.state() == "running" && status.not_ready().is_empty();
        if is_ready { Ok(()) } else { Err(format!("{}: {}", status.state(), status.not_ready().join("\n"))) }
    });
}

pub(super) fn by_label(samples: &[Sample], label: &str) -> BTreeMap<String, f64> {
    samples.iter().map(|sample| (sample.label(label).to_owned(), sample.value)).collect()
}

/// Sequence by epoch of the producer and partition.
pub(super) fn by_stream<'a>(samples: impl Iterator<Item = &'a Sample>) -> BTreeMap<(String, u32), u64> {
    samples
        .map(|sample| {
            let partition = sample.label("partition").parse().expect("a partition is a number");
            ((sample.label("epoch").to_owned(), partition), sample.value as u64)
        })
        .collect()
}
