//! The http port: `/metrics` and `/healthz`, loopback by default. Called by `worker`; changes nothing.

use crate::metrics::Metrics;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use postino_ports::clock::Clock;
use postino_ports::queue::Queue;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 32;
/// Longest time that a connection may keep its place once it has nothing to say.
const CONNECTION_MAX: Duration = Duration::from_secs(30);

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
    axum::serve(Door { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }, app).with_graceful_shutdown(stop).await
}

/// The listener with its limits: whoever reaches this port must not be able to take the descriptors that mail needs.
struct Door {
    listener: tokio::net::TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Door {
    type Io = Caller;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Caller, SocketAddr) {
        // An error means that nobody can be counted: nobody is let in either.
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return std::future::pending().await };
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        (Caller { stream, end: Box::pin(tokio::time::sleep(CONNECTION_MAX)), _place: place }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place and its end.
struct Caller {
    stream: TcpStream,
    end: Pin<Box<tokio::time::Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Caller {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Pending if self.end.as_mut().poll(cx).is_ready() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            other => other,
        }
    }
}

impl AsyncWrite for Caller {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Pending if self.end.as_mut().poll(cx).is_ready() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            other => other,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

async fn metrics(State(pages): State<Pages>) -> impl IntoResponse {
    let text = pages.metrics.render(pages.queue.as_ref(), pages.clock.now().0);
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
}
