//! The paths of the service.

mod secrets;
mod serve;
mod tls;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Router,
    extract::{Path, Query, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use prom_remote_http::{WriteServer, WriteServerConfig};
use sample_journal::Position;
use serde::Deserialize;
use serde_json::json;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

pub use self::tls::TlsError;
pub(crate) use self::{
    secrets::{Secrets, SharedSecrets},
    serve::Connections,
    tls::ClientCertificate,
};
use crate::{
    config::{Config, ReplicasConfig},
    dead_letters::{self, DeadLetter},
    ingest::SourceSink,
    metrics, replicas,
    source::SourceState,
};

pub(crate) struct Web {
    sources: BTreeMap<String, Entry>,
    secrets: Arc<SharedSecrets>,
    stop: CancellationToken,
}

struct Entry {
    state: Arc<SourceState>,
    server: WriteServer<SourceSink>,
    replicas: Option<ReplicasConfig>,
}

impl Web {
    pub(crate) fn new(
        config: &Config,
        sources: &[Arc<SourceState>],
        secrets: Arc<SharedSecrets>,
        stop: CancellationToken,
    ) -> Self {
        let entry = |state: &Arc<SourceState>| {
            let sink = Arc::new(SourceSink { source: Arc::clone(state) });
            let mut server_config = WriteServerConfig::default();
            server_config.limits = state.limits;
            server_config.accept_v2 = true;
            server_config.body_timeout = config.web.read_timeout;
            server_config.max_in_flight = state.max_in_flight;
            let server = WriteServer::new(sink, server_config);
            let source = config.sources.iter().find(|source| source.name == state.name);
            let replicas = source.and_then(|source| source.replicas.clone());
            (state.name.clone(), Entry { state: Arc::clone(state), server, replicas })
        };
        Self { sources: sources.iter().map(entry).collect(), secrets, stop }
    }

    pub(crate) fn router(self) -> Router {
        let web = Arc::new(self);
        let guarded = Router::new()
            .route("/api/v1/dead-letters/{source}", get(list_dead_letters))
            .route("/metrics", get(show_metrics))
            .route_layer(from_fn_with_state(Arc::clone(&web), guard));
        guarded
            .route("/api/v1/write/{source}", any(write))
            .route("/api/v1/write/{source}/{replica}", any(write_of_replica))
            .route("/-/healthy", get(async || "healthy\n"))
            .route("/-/ready", get(ready))
            .with_state(web)
    }

    fn now_ms(&self) -> i64 {
        // All go by the clock of the one machine.
        self.sources.values().next().map_or(0, |entry| entry.state.now_ms())
    }

    fn unknown(&self, source: &str) -> Response {
        let known: Vec<_> = self.sources.keys().map(String::as_str).collect();
        let shown: String = source.chars().take(64).collect();
        let text = format!("no source {shown:?}; known: {}\n", known.join(", "));
        (StatusCode::NOT_FOUND, text).into_response()
    }
}

/// Asks for the token of the web.
async fn guard(
    State(web): State<Arc<Web>>,
    Extension(certificate): Extension<ClientCertificate>,
    request: Request,
    next: Next,
) -> Response {
    match web.secrets.current().web.check(request.headers(), &certificate) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn write(
    State(web): State<Arc<Web>>,
    Path(source): Path<String>,
    Extension(certificate): Extension<ClientCertificate>,
    request: Request,
) -> Response {
    let Some(entry) = web.sources.get(&source) else { return web.unknown(&source) };
    let needs_replica = entry.replicas.as_ref().is_some_and(|replicas| replicas.label.is_none());
    if needs_replica {
        return not_so(&format!("replicas of {source} write to /api/v1/write/{source}/REPLICA"));
    }
    entry.handle(&web, "", certificate, request).await
}

async fn write_of_replica(
    State(web): State<Arc<Web>>,
    Path((source, replica)): Path<(String, String)>,
    Extension(certificate): Extension<ClientCertificate>,
    request: Request,
) -> Response {
    let Some(entry) = web.sources.get(&source) else { return web.unknown(&source) };
    let has_paths = entry.replicas.as_ref().is_some_and(|replicas| replicas.path);
    if !has_paths {
        return not_so(&format!(
            "source {source} has no replicas with paths: write to /api/v1/write/{source}"
        ));
    }
    entry.handle(&web, &replica, certificate, request).await
}

fn not_so(text: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("{text}\n")).into_response()
}

impl Entry {
    /// `replica` is the one of the path, or empty.
    async fn handle(
        &self,
        web: &Web,
        replica: &str,
        certificate: ClientCertificate,
        request: Request,
    ) -> Response {
        let access = web.secrets.current().sources.get(&self.state.name).cloned().unwrap_or_default();
        let response = match access.check(request.headers(), &certificate) {
            Ok(()) => self.server.handle(replica, request).await,
            Err(refusal) => refusal.into_response(),
        };
        self.state.metrics.responses.count(response.status().as_u16());
        response
    }
}

async fn ready(State(web): State<Arc<Web>>) -> Response {
    // The server answers only after all journals are open and recovered.
    if web.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n").into_response();
    }
    "ready\n".into_response()
}

async fn show_metrics(State(web): State<Arc<Web>>) -> Response {
    let sources: Vec<_> = web
        .sources
        .values()
        .map(|entry| (entry.state.name.as_str(), &*entry.state.metrics, entry.state.sizes()))
        .collect();
    let groups = web.sources.values().filter_map(|entry| entry.state.replicas.as_deref());
    let text = metrics::page(&sources, web.now_ms()) + &replicas::page(groups);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    from: u64,
}

async fn list_dead_letters(
    State(web): State<Arc<Web>>,
    Path(source): Path<String>,
    Query(range): Query<Range>,
) -> Response {
    let Some(entry) = web.sources.get(&source) else { return web.unknown(&source) };
    let journal = Arc::clone(&entry.state.dead_letters);
    let read =
        spawn_blocking(move || dead_letters::read(&journal, Position::from_u64(range.from), PAGE_LETTERS));
    match read.await {
        Ok(Ok(letters)) => {
            let lines = letters.iter().map(|letter| letter_line(&source, letter) + "\n").collect::<String>();
            ([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn letter_line(source: &str, letter: &DeadLetter) -> String {
    let line = match &letter.header {
        Ok(header) => {
            json!({"source": source, "position": letter.position, "body_bytes": letter.body_bytes, "letter": header})
        }
        Err(error) => json!({"source": source, "position": letter.position, "error": error}),
    };
    line.to_string()
}

/// How many dead letters one answer shows; the next page begins at the last position plus one.
const PAGE_LETTERS: usize = 1000;
