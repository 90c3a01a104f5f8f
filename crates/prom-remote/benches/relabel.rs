//! Relabelling with memory: what a series costs that was met before, and one that was not.

#![expect(clippy::print_stdout, reason = "a bench talks to whoever runs it")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prom_remote::{
    LabelNames, Limits, RelabelAction, RelabelMemory, RelabelRule, Relabeler, WriteRequestView,
};

#[path = "splice/payload.rs"]
#[expect(dead_code, reason = "the other bench uses more of it")]
mod payload;

use payload::{Payload, Version};

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
    let mut map = rule(RelabelAction::LabelMap, &[], "broker_(.+)");
    map.replacement = "kafka_$1".to_owned();
    let unwanted = rule(RelabelAction::LabelDrop, &[], "run|team");
    vec![drop, host, constant, map, unwanted]
}

fn benches(criterion: &mut Criterion) {
    for exporter in payload::EXPORTERS {
        relabel_payload(criterion, &Payload::read(exporter, Version::V1));
    }
}

fn relabel_payload(criterion: &mut Criterion, payload: &Payload) {
    let limits = Limits::default();
    let requests: Vec<&[u8]> = payload.bodies.iter().map(|body| &body.request[..]).collect();
    let series = requests.iter().flat_map(|request| WriteRequestView::new(request).series());
    let series: Vec<_> = series.map(|series| series.expect("well formed")).collect();
    let mut warm = Relabeler::new(&rules()).expect("good rules");

    let mut group = criterion.benchmark_group(format!("relabel-5-rules/{}", payload.exporter));
    group.throughput(Throughput::Elements(series.len() as u64));
    group.sample_size(20);
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("apply-warm", |bencher| {
        bencher.iter(|| {
            for series in &series {
                black_box(warm.apply_to_series(series).expect("UTF-8"));
            }
        });
    });
    let mut output = Vec::new();
    group.bench_function("rewrite-warm", |bencher| {
        bencher.iter(|| {
            for request in &requests {
                warm.rewrite(black_box(request), &limits, &mut output).expect("well formed");
            }
        });
    });
    let mut memory = RelabelMemory::default();
    memory.max_series = 0;
    let mut cold = Relabeler::with(&rules(), LabelNames::default(), memory).expect("good rules");
    group.finish();

    let applied = best(|| {
        for series in &series {
            black_box(warm.apply_to_series(series).expect("UTF-8"));
        }
    });
    let rewritten = best(|| {
        for request in &requests {
            warm.rewrite(black_box(request), &limits, &mut output).expect("well formed");
        }
    });
    let unknown = best(|| {
        for series in &series {
            black_box(cold.apply_to_series(series).expect("UTF-8"));
        }
    });
    let each = |time: Duration| time.as_nanos() / series.len() as u128;
    println!(
        "{}: ns/series, best pass: memory warm {}, request rewritten {}, memory cold {}",
        payload.exporter,
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
