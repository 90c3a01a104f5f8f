//! Takes the body of a remote-write request, as it would come over HTTP, and makes the body to send on: judged, with a
//! label added, as 1.0 and as 2.0.

use std::error::Error;

use prom_remote::{
    Compressor, LabelSplicer, Limits, Sample, WriteRequestBuilder, WriteRequestV2View, convert_to_v2, decompress,
};

fn main() -> Result<(), Box<dyn Error>> {
    let body = body_of_a_sender()?;
    let limits = Limits::default();
    let splicer = LabelSplicer::new("source", "kafka")?;

    let (mut request, mut spliced) = (Vec::new(), Vec::new());
    decompress(&body, &limits, &mut request)?;
    let (validation, splice) = splicer.splice_valid(&request, &limits, &mut spliced)?;
    for verdict in validation.verdicts.iter().filter(|verdict| verdict.is_rejected()) {
        println!("series {} at byte {} is left out: {}", verdict.series, verdict.offset, verdict.faults[0]);
    }
    println!("{} series have the label now", splice.series);

    let mut converted = Vec::new();
    let report = convert_to_v2(&spliced, &limits, &mut converted)?;
    println!("{} bytes as 1.0, {} as 2.0; lost: {:?}", spliced.len(), converted.len(), report.losses);
    let view = WriteRequestV2View::new(&converted, &limits)?;
    for series in view.series() {
        let series = series?;
        let labels: Vec<_> = series
            .labels(view.symbols())
            .map(|label| format!("{}={}", text(label.name), text(label.value)))
            .collect();
        println!("{{{}}} {} samples", labels.join(", "), series.sample_count());
    }

    let mut to_send = Vec::new();
    Compressor::new().compress(&converted, &mut to_send)?;
    println!("{} bytes to send", to_send.len());
    Ok(())
}

fn body_of_a_sender() -> Result<Vec<u8>, Box<dyn Error>> {
    let mut builder = WriteRequestBuilder::new();
    builder
        .series([("__name__", "up"), ("job", "kafka")], [Sample::new(1_764_000_000_000, 1.0)])
        .series([("job", "of no metric")], [Sample::new(1_764_000_000_000, 1.0)])
        .series([("__name__", "lag"), ("topic", "t")], [Sample::new(1_764_000_000_000, 17.0)]);
    Ok(builder.finish_compressed()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
