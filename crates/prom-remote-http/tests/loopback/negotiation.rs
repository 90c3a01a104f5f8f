//! The negotiating sender against receivers of every age.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use prom_remote::{Limits, Loss, LossKind, Sample, SampleV2, SeriesV2, WriteRequestV2Builder};
use prom_remote_http::{
    ClientConfig, ConvertingBatch, NegotiationConfig, NegotiationError, WriteBatch, WriteClient, WriteError,
    WriteForm, WriteNegotiator, WrittenCounts,
};

use crate::support::serve;

/// A batch whose encodings tell what they are.
struct Forms;

impl WriteBatch for Forms {
    type Error = Infallible;

    fn encode(&self, form: WriteForm) -> Result<Bytes, Infallible> {
        Ok(format!("{form:?}").into())
    }
}

/// A receiver that answers from a list and notes what it got: body, type, encoding, version.
struct Receiver {
    negotiator: WriteNegotiator,
    seen: Arc<Mutex<Vec<String>>>,
}

type Answer = (u16, &'static [(&'static str, &'static str)], &'static str);

const V2: &str = "V2 application/x-protobuf;proto=io.prometheus.write.v2.Request snappy 2.0.0";
const V1: &str = "V1 application/x-protobuf snappy 0.1.0";
const ZSTD: &str = "V1Zstd application/x-protobuf zstd vm-1";
const WRITTEN: &[(&str, &str)] = &[
    ("X-Prometheus-Remote-Write-Samples-Written", "3"),
    ("X-Prometheus-Remote-Write-Histograms-Written", "0"),
    ("X-Prometheus-Remote-Write-Exemplars-Written", "0"),
];
const NOTHING_WRITTEN: &[(&str, &str)] = &[("x-prometheus-remote-write-samples-written", "0")];

async fn receiver(forms: &[WriteForm], answers: &[Answer]) -> Receiver {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
    let noted = Arc::clone(&seen);
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let version = header("x-prometheus-remote-write-version").unwrap_or_else(|| {
            format!("vm-{}", header("x-victoriametrics-remote-write-version").unwrap_or_default())
        });
        let [content_type, encoding] = ["content-type", "content-encoding"].map(|name| header(name).unwrap());
        let body = String::from_utf8_lossy(&body);
        noted.lock().unwrap().push(format!("{body} {content_type} {encoding} {version}"));
        let (status, headers, text) =
            answers.lock().unwrap().pop_front().expect("an answer for each request");
        let mut response: Response = (StatusCode::from_u16(status).unwrap(), text).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    };
    let address = serve(Router::new().fallback(any(handler))).await;
    let client = WriteClient::new(ClientConfig::new(&format!("http://{address}/write")).unwrap()).unwrap();
    let mut config = NegotiationConfig::default();
    config.forms = forms.to_vec();
    Receiver { negotiator: WriteNegotiator::new(client, config), seen }
}

impl Receiver {
    async fn send(&self) -> Result<WriteForm, WriteError> {
        match self.negotiator.send(&Forms, 0).await {
            Ok(sent) => Ok(sent.form),
            Err(NegotiationError::Write(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

const BOTH: &[WriteForm] = &[WriteForm::V2, WriteForm::V1];

#[tokio::test]
async fn a_receiver_of_2_0_gets_2_0() {
    let receiver = receiver(BOTH, &[(204, WRITTEN, ""), (200, NOTHING_WRITTEN, "")]).await;
    let sent = receiver.negotiator.send(&Forms, 0).await.unwrap();
    assert_eq!(sent.written.counts, Some(WrittenCounts { samples: 3, ..WrittenCounts::default() }));
    assert_eq!(receiver.send().await, Ok(WriteForm::V2));
    assert_eq!(receiver.seen(), [V2, V2]);
}

#[tokio::test]
async fn each_sign_of_1_0_sends_the_same_batch_again_and_is_remembered() {
    let signs: [Answer; 3] =
        [(415, &[], "unsupported"), (400, &[], "snappy: corrupt"), (204, &[], "swallowed without a word")];
    for sign in signs {
        let receiver = receiver(BOTH, &[sign, (204, &[], ""), (204, &[], "")]).await;
        assert_eq!(receiver.send().await, Ok(WriteForm::V1), "{sign:?}");
        assert_eq!(receiver.seen(), [V2, V1], "{sign:?}");
        assert_eq!(receiver.send().await, Ok(WriteForm::V1), "{sign:?}");
        assert_eq!(receiver.seen(), [V1], "{sign:?}");
    }
}

#[tokio::test]
async fn a_swallowed_batch_is_not_lost_when_1_0_fails_for_now() {
    let receiver =
        receiver(BOTH, &[(204, &[], ""), (503, &[("retry-after", "2")], "busy"), (204, &[], "")]).await;
    let error = receiver.send().await.unwrap_err();
    assert!(matches!(error, WriteError::Retryable { after: Some(after), .. } if after.as_secs() == 2));
    assert_eq!(receiver.send().await, Ok(WriteForm::V1));
    assert_eq!(receiver.seen(), [V2, V1, V1]);
}

#[tokio::test]
async fn bad_data_teaches_nothing() {
    let bad: Answer = (400, &[], "out of order sample");
    let receiver = receiver(BOTH, &[bad, bad, (204, WRITTEN, "")]).await;
    let error = receiver.send().await.unwrap_err();
    assert_eq!(error, WriteError::Rejected { status: 400, message: "out of order sample".to_owned() });
    assert_eq!(receiver.send().await, Ok(WriteForm::V2));
    assert_eq!(receiver.seen(), [V2, V1, V2]);
}

#[tokio::test]
async fn a_400_with_counts_or_after_a_success_is_the_datas_fault() {
    let receiver =
        receiver(BOTH, &[(400, WRITTEN, "too old"), (400, &[], "proxy"), (204, WRITTEN, "")]).await;
    let error = receiver.send().await.unwrap_err();
    let written = WrittenCounts { samples: 3, ..WrittenCounts::default() };
    assert_eq!(error, WriteError::Partial { status: 400, written, message: "too old".to_owned() });
    assert!(!error.is_retryable());
    assert_eq!(receiver.send().await.unwrap_err().status(), Some(400));
    assert_eq!(receiver.send().await, Ok(WriteForm::V2));
    assert_eq!(receiver.seen(), [V2, V2, V2]);
}

#[tokio::test]
async fn failures_for_now_teach_nothing() {
    for (status, is_retryable) in
        [(500, true), (503, true), (429, true), (401, false), (404, false), (413, false)]
    {
        let receiver = receiver(BOTH, &[(status, &[], ""), (204, WRITTEN, "")]).await;
        assert_eq!(receiver.send().await.unwrap_err().is_retryable(), is_retryable, "{status}");
        assert_eq!(receiver.send().await, Ok(WriteForm::V2), "{status}");
        assert_eq!(receiver.seen(), [V2, V2], "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_falls_back_to_1_0_later_loses_nothing() {
    let receiver = receiver(BOTH, &[(204, WRITTEN, ""), (204, &[], ""), (204, &[], "")]).await;
    assert_eq!(receiver.send().await, Ok(WriteForm::V2));
    assert_eq!(receiver.send().await, Ok(WriteForm::V1));
    assert_eq!(receiver.seen(), [V2, V2, V1]);
}

#[tokio::test]
async fn better_forms_are_tried_again_after_a_while() {
    let receiver =
        receiver(BOTH, &[(415, &[], ""), (204, &[], ""), (204, &[], ""), (204, WRITTEN, "")]).await;
    assert_eq!(receiver.send().await, Ok(WriteForm::V1));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3_599)).await;
    tokio::time::resume();
    assert_eq!(receiver.negotiator.form(), WriteForm::V1);
    assert_eq!(receiver.send().await, Ok(WriteForm::V1));
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    assert_eq!(receiver.negotiator.form(), WriteForm::V2);
    assert_eq!(receiver.send().await, Ok(WriteForm::V2));
    assert_eq!(receiver.seen(), [V2, V1, V1, V2]);
}

#[tokio::test]
async fn zstd_toward_victoria_metrics_falls_back_to_snappy() {
    let forms = &[WriteForm::V1Zstd, WriteForm::V1];
    let modern = receiver(forms, &[(204, &[], ""), (400, &[], "bad data"), (204, &[], "")]).await;
    assert_eq!(modern.send().await, Ok(WriteForm::V1Zstd));
    assert_eq!(modern.send().await.unwrap_err().status(), Some(400));
    assert_eq!(modern.send().await, Ok(WriteForm::V1Zstd));
    assert_eq!(modern.seen(), [ZSTD, ZSTD, ZSTD]);
    for sign in [415, 400] {
        let old = receiver(forms, &[(sign, &[], ""), (204, &[], ""), (204, &[], "")]).await;
        assert_eq!(old.send().await, Ok(WriteForm::V1));
        assert_eq!(old.send().await, Ok(WriteForm::V1));
        assert_eq!(old.seen(), [ZSTD, V1, V1]);
    }
}

#[tokio::test]
async fn with_one_form_only_nothing_is_tried_instead() {
    let receiver = receiver(&[WriteForm::V2], &[(204, &[], ""), (415, &[], "")]).await;
    assert_eq!(receiver.send().await.unwrap_err().status(), Some(415), "swallowed is not stored");
    assert_eq!(receiver.send().await.unwrap_err().status(), Some(415));
    assert_eq!(receiver.seen(), [V2, V2]);
}

#[tokio::test]
async fn a_converted_batch_arrives_with_its_losses() {
    let mut builder = WriteRequestV2Builder::new();
    let sample = Sample::new(1_700_000_000_000, 1.0);
    builder.full_series(&SeriesV2 {
        labels: vec![(b"__name__", b"requests_total")],
        samples: vec![SampleV2 { sample, start_timestamp_ms: 1_600_000_000_000 }],
        ..SeriesV2::default()
    });
    let batch = ConvertingBatch::from_v2(builder.finish(), Limits::default());

    let modern = receiver(BOTH, &[(204, WRITTEN, "")]).await;
    let sent = modern.negotiator.send(&batch, 0).await.unwrap();
    assert_eq!((sent.form, sent.losses), (WriteForm::V2, vec![]));

    let old = receiver(BOTH, &[(415, &[], ""), (204, &[], "")]).await;
    let sent = old.negotiator.send(&batch, 0).await.unwrap();
    assert_eq!(sent.form, WriteForm::V1);
    let [Loss { kind: LossKind::StartTimestamps, count: 1, first_series: Some(0), .. }] = sent.losses[..]
    else {
        panic!("{:?}", sent.losses)
    };
}
