//! Serves the pages, and looks at the processes once a second in between, so that quick restarts are seen.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::task::spawn_blocking;

use crate::simulated_kubelet::{
    exposition::{CONTENT_TYPE, cadvisor_page, kube_state_page},
    observer::{Observation, Observer},
};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// An observer that the server and the regular look share.
pub type SharedObserver = Arc<Mutex<Observer>>;

/// Makes the routes `/metrics/cadvisor`, `/metrics/kube-state` and `/-/healthy`.
pub fn routes(observer: SharedObserver) -> Router {
    Router::new()
        .route("/metrics/cadvisor", get(|State(observer)| page(observer, cadvisor_page)))
        .route("/metrics/kube-state", get(|State(observer)| page(observer, kube_state_page)))
        .route("/-/healthy", get(|| async { "healthy\n" }))
        .with_state(observer)
}

/// Looks once a second, for ever; drop the future to end it.
pub async fn look_regularly(observer: SharedObserver) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        let observer = observer.clone();
        let _ = spawn_blocking(move || observe(&observer)).await;
    }
}

async fn page(observer: SharedObserver, write: fn(&Observation) -> String) -> Response {
    match spawn_blocking(move || write(&observe(&observer))).await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn observe(observer: &SharedObserver) -> Observation {
    observer.lock().unwrap_or_else(PoisonError::into_inner).observe()
}
