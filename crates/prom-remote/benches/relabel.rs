//! Relabelling with memory: what a series costs that was met before, and one that was not.

#![expect(clippy::print_stdout, reason = "a bench talks to whoever runs it")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prom_remote::{
    LabelNames, Limits, RelabelAction, RelabelMemory, RelabelRule, Relabeler, Sample, WriteRequestBuilder,
    WriteRequestView,
};

const SERIES: u64 = 2_000;

/// Kafka-like: 11 labels a series.
fn request() -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    for index in 0..SERIES {
        let (topic, partition) = (index / 50, index % 50);
        let labels = [
            ("__name__", format!("kafka_log_log_size_{}", index % 4)),
            ("cluster", "performance-testbed".to_owned()),
            ("env", "experiment".to_owned()),
            ("instance", "kafka-broker-1.testbed.internal:7071".to_owned()),
            ("job", "kafka-jmx-exporter".to_owned()),
            ("partition", partition.to_string()),
            ("rack", "rack-a".to_owned()),
            ("replica_set", "kafka-brokers-default".to_owned()),
            ("role", "broker".to_owned()),
            ("topic", format!("experiment-payload-topic-{topic:04}")),
            ("zone", "host-machine-zone-1".to_owned()),
        ];
        builder.series(labels, [Sample::new(1_700_000_000_000, index as f64)]);
    }
    builder.finish()
}

/// Five rules as they are found in configurations: drop, replace, replace a constant, labelmap, labeldrop.
fn rules() -> Vec<RelabelRule> {
    let rule = |action, source: &[&str], regex: &str| {
        let mut rule = RelabelRule::new(action);
        rule.source_labels = source.iter().map(|&name| name.to_owned()).collect();
        rule.regex = regex.to_owned();
        rule
    };
    let drop = rule(RelabelAction::Drop, &["__name__"], "go_.*|process_.*|jvm_.*");
    let mut host = rule(RelabelAction::Replace, &["instance"], "([^:]+):\\d+");
    host.target_label = "host".to_owned();
    let mut constant = RelabelRule::new(RelabelAction::Replace);
    constant.target_label = "source".to_owned();
    constant.replacement = "kafka".to_owned();
    let mut map = rule(RelabelAction::LabelMap, &[], "replica_(.+)");
    map.replacement = "kafka_$1".to_owned();
    let unwanted = rule(RelabelAction::LabelDrop, &[], "rack|zone");
    vec![drop, host, constant, map, unwanted]
}

fn benches(criterion: &mut Criterion) {
    let limits = Limits::default();
    let request = request();
    let series: Vec<_> =
        WriteRequestView::new(&request).series().map(|series| series.expect("our own")).collect();
    let mut warm = Relabeler::new(&rules()).expect("good rules");

    let mut group = criterion.benchmark_group("relabel-5-rules-2000");
    group.throughput(Throughput::Elements(SERIES));
    group.bench_function("apply-warm", |bencher| {
        bencher.iter(|| {
            for series in &series {
                black_box(warm.apply_to_series(series).expect("UTF-8"));
            }
        });
    });
    let mut output = Vec::new();
    group.bench_function("rewrite-warm", |bencher| {
        bencher.iter(|| warm.rewrite(black_box(&request), &limits, &mut output).expect("well formed"));
    });
    let mut memory = RelabelMemory::default();
    memory.max_series = 0;
    let mut cold = Relabeler::with(&rules(), LabelNames::default(), memory).expect("good rules");
    group.bench_function("apply-cold", |bencher| {
        bencher.iter(|| {
            for series in &series {
                black_box(cold.apply_to_series(series).expect("UTF-8"));
            }
        });
    });
    group.finish();

    let applied = best(|| {
        for series in &series {
            black_box(warm.apply_to_series(series).expect("UTF-8"));
        }
    });
    let rewritten = best(|| {
        warm.rewrite(black_box(&request), &limits, &mut output).expect("well formed");
    });
    let unknown = best(|| {
        for series in &series {
            black_box(cold.apply_to_series(series).expect("UTF-8"));
        }
    });
    let each = |time: Duration| time.as_nanos() / u128::from(SERIES);
    println!(
        "ns/series, best pass: memory warm {}, request rewritten {}, memory cold {}",
        each(applied),
        each(rewritten),
        each(unknown)
    );
}

/// The shortest of many passes: what the work costs when nothing else runs.
fn best(mut pass: impl FnMut()) -> Duration {
    let end = Instant::now() + Duration::from_secs(2);
    let mut best = Duration::MAX;
    while Instant::now() < end {
        let start = Instant::now();
        pass();
        best = best.min(start.elapsed());
    }
    best
}

criterion_group!(relabel, benches);
criterion_main!(relabel);
