//! The captured payloads are what their README says.

use prom_remote::{Limits, validate, validate_v2};

#[path = "../benches/splice/payload.rs"]
mod payload;

use payload::{Payload, Version};

#[track_caller]
fn check(exporter: &'static str, version: Version, labels: f64) {
    let payload = Payload::read(exporter, version);
    let limits = Limits::default();
    for body in &payload.bodies {
        let report = match version {
            Version::V1 => validate(&body.request, &limits),
            Version::V2 => validate_v2(&body.request, &limits),
        };
        let report = report.expect("well formed");
        assert_eq!((report.summary.series, report.summary.samples), (2_000, 2_000));
        assert_eq!(report.verdicts, []);
    }
    let mean = payload.mean_labels();
    assert!((mean - labels).abs() < 0.05, "{} has {mean} labels a series", payload.name());
}

#[test]
fn payloads_have_the_series_and_labels_that_are_told() {
    for version in Version::ALL {
        check("kafka", version, 11.6);
        check("node", version, 5.7);
        check("kubernetes", version, 14.0);
    }
}

#[test]
fn payloads_stay_small() {
    let bytes: usize = Payload::all().flat_map(|payload| payload.bodies).map(|body| body.block.len()).sum();
    assert!(bytes < 1_500_000, "{bytes} bytes of snappy blocks");
}
