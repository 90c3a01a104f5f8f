//! Rules of a destination, which see the label of the source.

use prom_merger::Config;
use prom_remote::{RelabelAction, RelabelRule, Sample, WriteRequestBuilder};

use crate::support::{Answer, Destination, TestMerger, eventually, label};

const T: i64 = 1_700_000_000_000;

fn rule(action: RelabelAction, source: &str, regex: &str) -> RelabelRule {
    let mut rule = RelabelRule::new(action);
    rule.source_labels = vec![source.to_owned()];
    rule.regex = regex.to_owned();
    rule
}

#[tokio::test]
async fn a_destination_gets_the_series_that_its_rules_leave_and_the_others_are_counted() {
    let data = tempfile::tempdir().unwrap();
    let first = Destination::start(|_, _| Answer::Take).await;
    let second = Destination::start(|_, _| Answer::Take).await;
    let text = format!(
        "listen: 127.0.0.1:0\ndata: {}\nsources: [{{name: a}}]\ndestinations:\n  \
         - {{name: first, url: '{}'}}\n  - {{name: second, url: '{}'}}\n",
        data.path().display(),
        first.url,
        second.url
    );
    let mut config = Config::parse("m", text).unwrap();
    let mut cluster = rule(RelabelAction::Replace, "source", "(.*)");
    cluster.target_label = "cluster".to_owned();
    config.destinations[1].relabel = vec![rule(RelabelAction::Drop, "__name__", "noise_.*"), cluster];
    let merger = TestMerger::start_config(config).await;
    let send = async |names: &[&str]| {
        let mut builder = WriteRequestBuilder::new();
        for name in names {
            builder.series([("__name__", *name)], [Sample::new(T, 1.0)]);
        }
        merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
    };
    send(&["noise_1", "up", "noise_2"]).await;
    eventually("all arrive", || async { first.names().len() == 3 && second.names().len() == 1 }).await;
    // Nothing is left of this one: the place moves all the same.
    send(&["noise_3"]).await;
    let pending = "prom_merger_journal_pending_records{source=\"a\",destination=\"second\"}";
    eventually("both lanes are done", || async {
        first.names().len() == 4 && merger.metric(pending).await == 0.0
    })
    .await;
    assert_eq!(second.names(), ["up"]);
    assert_eq!(label(&second.series()[0], "cluster"), "a");
    assert_eq!(label(&first.series()[1], "cluster"), "");
    let dropped = async |destination: &str| {
        let line =
            format!("prom_merger_relabel_dropped_series_total{{source=\"a\",destination=\"{destination}\"}}");
        merger.metric(&line).await
    };
    assert_eq!((dropped("first").await, dropped("second").await), (0.0, 3.0));
    let delivered = "prom_merger_delivered_samples_total{source=\"a\",destination=\"second\"}";
    assert_eq!(merger.metric(delivered).await, 1.0);
    merger.shutdown().await;
}

#[tokio::test]
async fn of_a_refused_request_the_culprit_is_set_aside_as_it_came() {
    let data = tempfile::tempdir().unwrap();
    let destination = Destination::start(|request, _| {
        let is_bad = request.iter().any(|series| label(series, "cluster") == "bad");
        if is_bad { Answer::Refuse(400, "no") } else { Answer::Take }
    })
    .await;
    let text = format!(
        "listen: 127.0.0.1:0\ndata: {}\nsources: [{{name: a}}]\ndestination: {{url: '{}'}}\n",
        data.path().display(),
        destination.url
    );
    let mut config = Config::parse("m", text).unwrap();
    let mut cluster = rule(RelabelAction::Replace, "__name__", "(.*)");
    cluster.target_label = "cluster".to_owned();
    config.destinations[0].relabel = vec![cluster];
    let merger = TestMerger::start_config(config).await;
    let mut builder = WriteRequestBuilder::new();
    for name in ["good", "bad", "fine"] {
        builder.series([("__name__", name)], [Sample::new(T, 1.0)]);
    }
    merger.send("a", builder.finish_compressed().unwrap()).await.unwrap();
    eventually("the good ones arrive", || async { destination.names() == ["good", "fine"] }).await;
    eventually("the other is set aside", || async {
        merger.metric("prom_merger_dead_letter_records{source=\"a\"}").await == 1.0
    })
    .await;
    merger.shutdown().await;
}
