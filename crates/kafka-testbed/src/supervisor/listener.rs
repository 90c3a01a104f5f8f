//! The supervisor's side of its socket.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    sync::{mpsc, oneshot},
};

use super::Message;
use crate::control::MAX_LINE;

/// Hands each request to the supervisor and its answer back.
pub(super) async fn listen(listener: tokio::net::UnixListener, sender: mpsc::Sender<Message>) {
    while let Ok((stream, _)) = listener.accept().await {
        let sender = sender.clone();
        tokio::spawn(async move {
            // A command that says nothing must not hold a task for ever.
            let _ = tokio::time::timeout(Duration::from_secs(30), answer(stream, sender)).await;
        });
    }
}

async fn answer(stream: tokio::net::UnixStream, sender: mpsc::Sender<Message>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read).take(MAX_LINE).read_line(&mut line).await.ok()?;
    let request = serde_json::from_str(&line).ok()?;
    let (reply, status) = oneshot::channel();
    sender.send(Message::Request { request, reply }).await.ok()?;
    let mut answer = serde_json::to_vec(&status.await.ok()?).ok()?;
    answer.push(b'\n');
    write.write_all(&answer).await.ok()
}
