//! A program with a merger inside: two sources write to it, and a database of the program's own gets both, each series
//! with the label of its source. In earnest the database is a Prometheus or a VictoriaMetrics, and the sources are
//! Prometheus servers.

use std::{error::Error, sync::Arc, time::Duration};

use axum::{Router, extract::Request, routing::any};
use prom_merger::{Config, Merger};
use prom_remote::{Sample, WriteRequestBuilder, WriteRequestView};
use prom_remote_http::{
    ClientConfig, WriteBody, WriteClient, WriteOutcome, WriteServer, WriteServerConfig, WriteSink,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

type Anyhow = Box<dyn Error + Send + Sync>;

/// Takes what the merger delivers and shows the labels of each series.
struct Database(mpsc::Sender<String>);

impl WriteSink for Database {
    async fn write(&self, _: &str, body: WriteBody) -> WriteOutcome {
        let view = WriteRequestView::new(&body.decoded);
        for series in view.series().flatten() {
            let labels = series
                .labels()
                .map(|label| format!("{}={}", label.name.escape_ascii(), label.value.escape_ascii()));
            let labels: Vec<_> = labels.collect();
            if self.0.send(labels.join(",")).await.is_err() {
                return WriteOutcome::Failed { message: "the program ends".to_owned() };
            }
        }
        WriteOutcome::Stored
    }
}

async fn run() -> Result<Vec<String>, Anyhow> {
    let (sender, mut delivered) = mpsc::channel(16);
    let server = Arc::new(WriteServer::new(Arc::new(Database(sender)), WriteServerConfig::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let database = format!("http://{}/api/v1/write", listener.local_addr()?);
    let handle = move |request: Request| {
        let server = Arc::clone(&server);
        async move { server.handle("database", request).await }
    };
    let serving =
        tokio::spawn(axum::serve(listener, Router::new().route("/api/v1/write", any(handle))).into_future());

    // The configuration is the text of a merger.yaml; where it comes from is the program's business.
    let folder = tempfile::tempdir()?;
    let text = format!(
        "listen: 127.0.0.1:0\ndata: {}\nsources: [{{name: kafka}}, {{name: kubernetes}}]\n\
         destination: {{url: '{database}', protocol: '1.0'}}\n",
        folder.path().display()
    );
    let config = Config::parse("the program's own configuration", text)?;
    let merger = Merger::start(config).await?;

    for source in ["kafka", "kubernetes"] {
        let url = format!("http://{}/api/v1/write/{source}", merger.address());
        let mut request = WriteRequestBuilder::new();
        request.series([("__name__", "up"), ("job", "demo")], [Sample::new(1_700_000_000_000, 1.0)]);
        // The answer comes when the request is durable.
        WriteClient::new(ClientConfig::new(&url)?)?.send_v1(request.finish_compressed()?.into()).await?;
    }
    let mut series = Vec::new();
    while series.len() < 2 {
        series.extend(timeout(Duration::from_secs(30), delivered.recv()).await?);
    }
    merger.shutdown(Duration::from_secs(10)).await?;
    serving.abort();
    series.sort();
    Ok(series)
}

#[tokio::main]
async fn main() -> Result<(), Anyhow> {
    for series in run().await? {
        println!("delivered {series}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn both_sources_arrive_under_their_labels() {
        let series = super::run().await.unwrap();
        assert_eq!(series, ["__name__=up,job=demo,source=kafka", "__name__=up,job=demo,source=kubernetes"]);
    }
}
