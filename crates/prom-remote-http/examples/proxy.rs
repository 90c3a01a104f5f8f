//! Passes remote write 1.0 and 2.0 on under a label: `proxy --listen 127.0.0.1:9202 --to URL --source NAME`.
//!
//! One request in, one request out, in the same version; the sender learns what the receiver says. Series keep every
//! byte but for the label.

#![expect(clippy::print_stdout, reason = "a program says where it listens")]

use std::{error::Error, sync::Arc, time::Duration};

use prom_remote::{Compressor, LabelSplicer, Limits};
use prom_remote_http::{
    ClientConfig, WriteBody, WriteClient, WriteError, WriteForm, WriteOutcome, WriteRequest, WriteServer,
    WriteServerConfig, WriteSink, WriteVersion,
};

struct Proxy {
    splicer: LabelSplicer,
    client: WriteClient,
}

impl Proxy {
    fn labelled(&self, body: &WriteBody) -> Result<WriteRequest, Box<dyn Error>> {
        let (mut spliced, mut block) = (Vec::new(), Vec::new());
        let limits = Limits::default();
        let form = match body.version {
            WriteVersion::V1 => {
                self.splicer.splice(&body.decoded, &limits, &mut spliced)?;
                WriteForm::V1
            }
            WriteVersion::V2 => {
                self.splicer.splice_v2(&body.decoded, &limits, &mut spliced)?;
                WriteForm::V2
            }
        };
        Compressor::new().compress(&spliced, &mut block)?;
        Ok(WriteRequest::new(form, block.into()))
    }
}

impl WriteSink for Proxy {
    async fn write(&self, _source: &str, body: WriteBody) -> WriteOutcome {
        let request = match self.labelled(&body) {
            Ok(request) => request,
            Err(error) => return WriteOutcome::Invalid { message: error.to_string() },
        };
        match self.client.send(request).await {
            // Thrown away by a receiver that knows 1.0 only: the sender will fall back when it is told nothing of 2.0.
            Ok(written) if body.version == WriteVersion::V2 && written.counts.is_none() => {
                WriteOutcome::Unsupported { message: "the receiver knows 1.0 only".to_owned() }
            }
            Ok(_) => WriteOutcome::Stored,
            Err(WriteError::Partial { written, message, .. }) => WriteOutcome::Partial { written, message },
            Err(WriteError::Rejected { status: 415, message }) => WriteOutcome::Unsupported { message },
            Err(WriteError::Rejected { message, .. }) => WriteOutcome::Invalid { message },
            Err(error) => {
                WriteOutcome::Unavailable { retry_after: Duration::from_secs(1), message: error.to_string() }
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let ["--listen", address, "--to", url, "--source", source] = arguments[..] else {
        return Err("usage: proxy --listen ADDRESS --to URL --source NAME".into());
    };
    let client = WriteClient::new(ClientConfig::new(url)?)?;
    let proxy = Proxy { splicer: LabelSplicer::new("source", source)?, client };
    let mut config = WriteServerConfig::default();
    config.accept_v2 = true;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, WriteServer::new(Arc::new(proxy), config).router("/api/v1/write")).await?)
}
