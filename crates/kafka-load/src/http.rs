//! The HTTP side: `/metrics`, `/latency.hdr`, `/-/healthy`, `/-/ready`, and a producer's `/pause`, `/resume` and `/rate`.

use std::{io, sync::Arc};

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::{
    exposition::CONTENT_TYPE,
    producer::ProducerState,
    schedule::{MessagesPerSecond, RateError},
    worker::WorkerState,
};

/// Makes the routes of a producer.
pub fn producer_routes(state: Arc<ProducerState>) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(|State(state): State<Arc<ProducerState>>| async move { metrics(state.metrics()) }),
        )
        .route(
            "/latency.hdr",
            get(|State(state): State<Arc<ProducerState>>| async move { state.latency_hdr() }),
        )
        .route(
            "/-/ready",
            get(|State(state): State<Arc<ProducerState>>| async move { ready(state.is_ready()) }),
        )
        .route(
            "/pause",
            post(|State(state): State<Arc<ProducerState>>| async move { changed(state.pause()) }),
        )
        .route(
            "/resume",
            post(|State(state): State<Arc<ProducerState>>| async move { changed(state.resume()) }),
        )
        .route("/rate", post(set_rate))
        .with_state(state)
        .merge(healthy())
}

/// Makes the routes of a worker.
pub fn worker_routes(state: Arc<WorkerState>) -> Router {
    Router::new()
        .route(
            "/metrics",
            get(|State(state): State<Arc<WorkerState>>| async move { metrics(state.metrics()) }),
        )
        .route(
            "/latency.hdr",
            get(|State(state): State<Arc<WorkerState>>| async move { state.latency_hdr() }),
        )
        .route(
            "/-/ready",
            get(|State(state): State<Arc<WorkerState>>| async move { ready(state.is_ready()) }),
        )
        .with_state(state)
        .merge(healthy())
}

/// Serves until the returned future is dropped.
///
/// # Errors
/// The listener fails.
pub async fn serve(listener: TcpListener, routes: Router) -> io::Result<()> {
    axum::serve(listener, routes).await
}

fn healthy() -> Router {
    Router::new().route("/-/healthy", get(|| async { "healthy\n" }))
}

fn metrics(text: String) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}

fn ready(ready: bool) -> Response {
    match ready {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

#[derive(Deserialize)]
struct RateQuery {
    messages_per_second: f64,
}

async fn set_rate(State(state): State<Arc<ProducerState>>, Query(query): Query<RateQuery>) -> Response {
    changed(MessagesPerSecond::new(query.messages_per_second).and_then(|rate| state.set_rate(rate)))
}

fn changed(result: Result<(), RateError>) -> Response {
    match result {
        Ok(()) => "ok\n".into_response(),
        Err(error @ RateError::OutOfRange { .. }) => {
            (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
        }
        Err(error @ RateError::TooManyChanges) => {
            (StatusCode::CONFLICT, format!("{error}\n")).into_response()
        }
    }
}
