//! Every version of Kafka from the same specification.

use std::{collections::BTreeSet, fs, time::Instant};

use e2e::{alone, http::Page, note, testbed::Testbed};

use super::whole::{AGENT_PORT, BROKERS, comes_up, every_broker_is_measured, workers_go_on};

/// A version, and whether it runs with ZooKeeper.
const VERSIONS: &[(&str, bool)] = &[("3.3.1", true), ("3.9.2", true), ("4.1.2", false)];

/// Families that only brokers with ZooKeeper have.
const ONLY_WITH_ZOOKEEPER: &[&str] = &["kafka_zookeeper_request_latency_ms"];

/// A broker shows fewer series than this, with those of the agent itself.
const MOST_SERIES: usize = 300;

#[test]
#[ignore = "long: starts three testbeds one after the other, each of them twice"]
fn every_version_comes_up_carries_the_load_and_goes() {
    let _alone = alone();
    let mut oldest: Option<BTreeSet<String>> = None;
    for (version, has_zookeeper) in VERSIONS {
        let testbed = Testbed::new(&format!("versions-{}", version.replace('.', "-")));
        fs::write(testbed.home().join("testbed.yaml"), format!("kafka: {{version: {version}}}\n"))
            .expect("the home can be written");
        let step = |what: &str, run: &dyn Fn(&Testbed)| {
            let begun = Instant::now();
            run(&testbed);
            note(&format!("Kafka {version}: {what} took {:.1} s", begun.elapsed().as_secs_f64()));
        };
        step("up", &comes_up);
        runs_as(&testbed, version, *has_zookeeper);
        step("the load", &workers_go_on);
        every_broker_is_measured(&testbed);
        has_one_controller(&testbed, *has_zookeeper);
        let families = families(&testbed);
        let oldest = oldest.get_or_insert_with(|| families.clone());
        let other: Vec<&String> = families.difference(oldest).collect();
        note(&format!("Kafka {version} shows what {} does not: {other:?}", VERSIONS[0].0));
        let missing: Vec<&String> = oldest
            .difference(&families)
            .filter(|family| *has_zookeeper || !ONLY_WITH_ZOOKEEPER.contains(&family.as_str()))
            .collect();
        assert!(
            missing.is_empty(),
            "Kafka {version} does not show {missing:?}, which {} does",
            VERSIONS[0].0
        );
        step("down", &goes_down);
        step("up on its data", &comes_up);
        workers_go_on(&testbed);
        step("down", &goes_down);
        testbed.command(&["purge", "--yes"]).expect_code(0);
        assert!(!testbed.folder().exists(), "Kafka {version} left {}", testbed.folder().display());
    }
}

fn runs_as(testbed: &Testbed, version: &str, has_zookeeper: bool) {
    let status = testbed.status();
    assert_eq!(status.services().any(|service| service.name() == "zookeeper"), has_zookeeper);
    for broker in BROKERS {
        let log = fs::read_to_string(testbed.folder().join(format!("logs/{broker}.log")))
            .expect("the broker has a log");
        assert!(log.contains(&format!("Kafka version: {version}")), "{broker} does not run {version}");
        assert_eq!(status.service(broker).starts(), 1, "{broker} had to be started again");
    }
}

fn has_one_controller(testbed: &Testbed, has_zookeeper: bool) {
    let sum = testbed
        .query("sum(kafka_controller_kafkacontroller_activecontrollercount)")
        .expect("the database answers");
    assert_eq!(sum.iter().map(|sample| sample.value).collect::<Vec<_>>(), [1.0]);
    let leaders = testbed
        .query("count by (broker) (kafka_raft_current_leader and on (broker) kafka_raft_high_watermark > 0)")
        .expect("the database answers");
    assert_eq!(leaders.len(), if has_zookeeper { 0 } else { BROKERS.len() }, "{leaders:?}");
}

/// The names of the metrics that brokers show; no broker shows too many series.
fn families(testbed: &Testbed) -> BTreeSet<String> {
    let status = testbed.status();
    let pages = BROKERS.map(|broker| {
        let page = Page::fetch(&status.service(broker).metrics_url(AGENT_PORT)).expect("the agent answers");
        let series = page.samples().len();
        note(&format!("{broker} has {series} series"));
        assert!(series < MOST_SERIES, "{broker} has {series} series");
        page
    });
    let names = pages.iter().flat_map(Page::samples).map(|sample| sample.name.clone());
    names.filter(|name| name.starts_with("kafka_")).collect()
}

fn goes_down(testbed: &Testbed) {
    testbed.command(&["down"]).expect_code(0);
    testbed.expect_no_process();
}
