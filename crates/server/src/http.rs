//! The http port: `/metrics` and `/healthz`, loopback by default. Called by `worker`; changes nothing.

use crate::metrics::Metrics;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use postino_ports::clock::Clock;
use postino_ports::queue::Queue;
use std::sync::Arc;
use tokio::sync::watch;

/// What the pages read.
#[derive(Clone)]
pub(crate) struct Pages {
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
    /// The queue, for its numbers.
    pub(crate) queue: Arc<dyn Queue>,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
}

/// Serves until `shutdown` turns true.
pub(crate) async fn serve(listener: tokio::net::TcpListener, pages: Pages, mut shutdown: watch::Receiver<bool>) -> std::io::Result<()> {
    let app = axum::Router::new().route("/metrics", get(metrics)).route("/healthz", get(|| async { "ok\n" })).with_state(pages);
    let stop = async move {
        let _ = shutdown.wait_for(|stop| *stop).await;
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let text = pages.metrics.render(pages.queue.as_ref(), pages.clock.now().0);
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
