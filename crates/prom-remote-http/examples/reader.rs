//! Reads series from a Prometheus: `reader http://127.0.0.1:9090/api/v1/read NAME START_MS END_MS`.
//!
//! Prints a line for each series as it arrives; streamed if the server can.

#![expect(clippy::print_stdout, reason = "a program prints what it was asked for")]

use std::error::Error;

use prom_remote::{Matcher, Query, TimeRange};
use prom_remote_http::{ClientConfig, ReadClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [url, name, start_ms, end_ms] = &arguments[..] else {
        return Err("usage: reader URL NAME START_MS END_MS".into());
    };
    let range = TimeRange::new(start_ms.parse()?, end_ms.parse()?)?;
    let query = Query { range, matchers: vec![Matcher::equal("__name__", name)] };
    let mut stream = ReadClient::new(ClientConfig::new(url)?)?.read(&[query]).await?;
    println!("answer of type {:?}", stream.response_type());
    while let Some(series) = stream.next().await? {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let labels =
            series.labels.iter().map(|label| format!("{}={:?}", text(&label.name), text(&label.value)));
        let labels = labels.collect::<Vec<_>>().join(", ");
        match series.content {
            Ok(content) => {
                let last = content.samples.last().map(|sample| format!(", last {:?}", sample.sample));
                let (samples, histograms) = (content.samples.len(), content.histograms.len());
                println!(
                    "{{{labels}}}: {samples} samples, {histograms} histograms{}",
                    last.unwrap_or_default()
                );
            }
            Err(error) => println!("{{{labels}}}: {error}"),
        }
    }
    Ok(())
}
