//! Connections: bounded in number, in the time that a client takes, and in the size of a head.

use std::{io, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    select,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{secrets::SharedSecrets, tls::ClientCertificate};
use crate::config::WebConfig;

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) router: Router,
    pub(crate) secrets: Arc<SharedSecrets>,
    pub(crate) read_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) stop: CancellationToken,
}

impl Connections {
    pub(crate) fn new(
        router: Router,
        secrets: Arc<SharedSecrets>,
        config: &WebConfig,
        stop: CancellationToken,
    ) -> Self {
        let (read_timeout, max_connections) = (config.read_timeout, config.max_connections);
        Self { router, secrets, read_timeout, max_connections, stop }
    }

    /// Serves until told to stop, and then until what is under way is answered.
    pub(crate) async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let places = Arc::new(Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                // Those that find no place wait in the system's queue.
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            };
            let (place, accepted) = select! {
                accepted = accepted => accepted,
                () = self.stop.cancelled() => break,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, _)) => {
                    let shared = self.clone();
                    connections.spawn(async move {
                        shared.connection(stream).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // As of too many open files: it passes, or it is told again.
                    warn!(%error, "connection cannot be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    async fn connection(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Some(config) = self.secrets.current().tls.clone() else {
            return self.http(stream, ClientCertificate::default()).await;
        };
        match timeout(self.read_timeout, TlsAcceptor::from(config).accept(stream)).await {
            Ok(Ok(stream)) => {
                let certificate = ClientCertificate::of(stream.get_ref().1.peer_certificates());
                self.http(stream, certificate).await;
            }
            Ok(Err(error)) => debug!(%error, "no TLS connection"),
            Err(_) => debug!("no TLS connection in time"),
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, certificate: ClientCertificate) {
        let service = TowerToHyperService::new(self.router.clone().layer(Extension(certificate)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.read_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(%error, "connection broke off");
        }
    }
}

/// The head of a request, or one read of its body.
const MAX_HEAD_BYTES: usize = 64 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
