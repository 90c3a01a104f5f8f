use prom_remote::{
    LossKind, MetricType, Sample, SampleV2, SeriesV2, WriteRequestBuilder, WriteRequestV2Builder,
    WriteRequestV2View, WriteRequestView, decompress,
};

use super::*;

fn v1() -> Vec<u8> {
    let mut builder = WriteRequestBuilder::new();
    builder.series([("__name__", "up"), ("job", "kafka")], [Sample::new(1_700_000_000_000, 1.0)]);
    builder.finish()
}

/// With a start timestamp and metadata.
fn v2() -> Vec<u8> {
    let mut builder = WriteRequestV2Builder::new();
    builder.full_series(&SeriesV2 {
        labels: vec![(b"__name__", b"requests_total"), (b"job", b"kafka")],
        samples: vec![SampleV2 {
            sample: Sample::new(1_700_000_000_000, 1.0),
            start_timestamp_ms: 1_600_000_000_000,
        }],
        metadata: Some((MetricType::Counter, b"Requests.", b"")),
        ..SeriesV2::default()
    });
    builder.finish()
}

fn message(batch: &ConvertingBatch, form: WriteForm) -> Vec<u8> {
    let mut message = Vec::new();
    decompress(&batch.encode(form).unwrap(), &Limits::default(), &mut message).unwrap();
    message
}

#[test]
fn the_given_version_is_sent_as_it_is() {
    let batch = ConvertingBatch::from_v1(v1(), Limits::default());
    assert_eq!(message(&batch, WriteForm::V1), v1());
    let batch = ConvertingBatch::from_v2(v2(), Limits::default());
    assert_eq!(message(&batch, WriteForm::V2), v2());
    assert_eq!((batch.conversion(), batch.losses(WriteForm::V2)), (None, vec![]));
}

#[test]
fn a_batch_of_1_0_becomes_2_0() {
    let batch = ConvertingBatch::from_v1(v1(), Limits::default());
    let converted = message(&batch, WriteForm::V2);
    let summary = WriteRequestV2View::new(&converted, &Limits::default()).unwrap();
    assert_eq!(summary.summary(&Limits::default()).unwrap().samples, 1);
    assert_eq!(batch.conversion().unwrap().samples, 1);
    assert_eq!(batch.losses(WriteForm::V2), []);
}

#[test]
fn a_batch_of_2_0_becomes_1_0_and_tells_its_losses() {
    let batch = ConvertingBatch::from_v2(v2(), Limits::default());
    let summary = WriteRequestView::new(&message(&batch, WriteForm::V1)).summary(&Limits::default()).unwrap();
    assert_eq!((summary.series, summary.samples, summary.metadata), (1, 1, 1));
    let losses = batch.losses(WriteForm::V1Zstd);
    assert_eq!(losses.iter().map(|loss| loss.kind).collect::<Vec<_>>(), [LossKind::StartTimestamps]);
    assert_eq!(batch.losses(WriteForm::V2), []);
}

#[test]
fn what_cannot_be_converted_is_an_error() {
    let batch = ConvertingBatch::from_v2(&b"\x2a\x7f"[..], Limits::default());
    assert!(matches!(batch.encode(WriteForm::V1), Err(ConvertingBatchError::Convert(_))));
    assert_eq!(batch.conversion(), None);
}

#[test]
fn a_batch_of_which_nothing_is_left_is_not_sent() {
    // A series that has but a histogram of schema -53, zigzag 105.
    let request =
        [&[0x22, 0, 0x22, 1, b'a', 0x22, 1, b'b'][..], &[0x2a, 8, 0x0a, 2, 1, 2, 0x1a, 2, 0x20, 105]]
            .concat();
    let batch = ConvertingBatch::from_v2(request, Limits::default());
    let error = batch.encode(WriteForm::V1).unwrap_err();
    let ConvertingBatchError::NothingLeft { losses } = &error else { panic!("{error}") };
    assert_eq!(losses.iter().map(|loss| loss.kind).collect::<Vec<_>>(), [LossKind::CustomBuckets]);
    assert_eq!(batch.losses(WriteForm::V1), *losses);
}
