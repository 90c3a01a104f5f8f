//! Asks a service again and again whether it works.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use super::Message;
use crate::backend::native::Probe;

const TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between two questions until the first good answer, and after it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(2));
/// A service that was ready is called not ready after so many bad answers in a row.
const PATIENCE: u32 = 3;

/// Sends a message for each change, until it is aborted.
pub(super) async fn watch(probe: Probe, index: usize, start: u32, sender: mpsc::Sender<Message>) {
    let client = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().unwrap_or_default();
    let (mut ready, mut bad_answers) = (false, 0);
    let mut last_told: Option<Result<(), String>> = None;
    loop {
        let answer = tokio::time::timeout(TIMEOUT, ask(&probe, &client))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
        bad_answers = if answer.is_ok() { 0 } else { bad_answers + 1 };
        let tolerated = ready && answer.is_err() && bad_answers < PATIENCE;
        if !tolerated {
            ready = answer.is_ok();
            if last_told.as_ref() != Some(&answer) {
                last_told = Some(answer.clone());
                if sender.send(Message::Probed { index, start, result: answer }).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(if ready { PAUSES.1 } else { PAUSES.0 }).await;
    }
}

async fn ask(probe: &Probe, client: &reqwest::Client) -> Result<(), String> {
    match probe {
        Probe::Exit => Ok(()),
        Probe::ZooKeeper(address) => zookeeper(*address).await,
        Probe::Tcp(addresses) => {
            for address in addresses {
                connect(*address).await?;
            }
            Ok(())
        }
        Probe::Http(url) => {
            let answer = client.get(url).send().await.map_err(|error| match error.is_connect() {
                true => format!("{url}: cannot connect"),
                false => format!("{url}: {error}"),
            })?;
            let status = answer.status();
            if status.is_success() { Ok(()) } else { Err(format!("{url} answers {status}")) }
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("{address}: {error}"))
}

async fn zookeeper(address: SocketAddr) -> Result<(), String> {
    let mut stream = connect(address).await?;
    let mut answer = String::new();
    stream.write_all(b"srvr").await.map_err(|error| format!("{address}: {error}"))?;
    stream.take(16 << 10).read_to_string(&mut answer).await.map_err(|error| format!("{address}: {error}"))?;
    if answer.contains("Mode:") { Ok(()) } else { Err(format!("{address}: ZooKeeper is not serving yet")) }
}
