//! Status, metrics and health over HTTP, for people and machines.
//!
//! | path | answers |
//! | --- | --- |
//! | `/` | the status as text |
//! | `/status` | the status as JSON |
//! | `/metrics` | Prometheus text |
//! | `/healthz` | 200: the process is alive |
//! | `/readyz` | 200, or 503 and why not: storage writable, a source connected |
//! | `/queue/…`, `/dead…` | [`Looks`] |
//! | `/windows/close` | POST: every window that is open closes, as at the end of all readings |
//!
//! Invariants:
//! - where a token is set, everything but `/healthz` wants it;
//! - what changes anything is a POST, and is refused to web pages (they send `Origin`): a page that is open in a
//!   browser on the gateway's machine must not purge its dead letters;
//! - errors are `{"error": sentence}`.

mod looks;
mod status;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use axum::{Router, serve::ListenerExt};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

pub use self::looks::{Answer, Look, Looks, Unanswered, Wanted, look};
pub use self::status::{Queue, Sink, SinkState, Source, Status, Storage, Window};

use crate::config::Secret;
use crate::metrics::Metrics;

/// How long requests that are being answered may take once the gateway stops.
const GRACE: Duration = Duration::from_secs(1);

/// Serves until `shutdown` resolves.
pub async fn serve(
    listener: TcpListener,
    token: Option<Secret>,
    metrics: Arc<Metrics>,
    status: watch::Receiver<Status>,
    looks: Looks,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Replies are small and whole: nothing is gained by holding them back.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(token, metrics, status, looks)).with_graceful_shutdown(async move {
        // An error means that `stop` was dropped, which is how it is told.
        let _ = stopped.await;
    });
    let patience = async move {
        shutdown.await;
        drop(stop);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        outcome = server.into_future() => outcome,
        () = patience => Ok(()),
    }
}

#[derive(Clone)]
struct App {
    metrics: Arc<Metrics>,
    status: watch::Receiver<Status>,
    looks: Looks,
}

fn router(token: Option<Secret>, metrics: Arc<Metrics>, status: watch::Receiver<Status>, looks: Looks) -> Router {
    let guarded = Router::new()
        .route("/", get(page))
        .route("/status", get(status_json))
        .route("/metrics", get(metrics_text))
        .route("/readyz", get(ready))
        .route("/queue/stat", get(|State(app): State<App>| answer(app.looks.queue_stat, ())))
        .route("/queue/peek", get(peek))
        .route("/dead", get(letters))
        .route("/dead/purge", post(purge))
        .route("/windows/close", post(close))
        .fallback(nothing)
        .layer(from_fn_with_state(token.map(Arc::new), guard))
        .with_state(App { metrics, status, looks });
    guarded.route("/healthz", get(|| async { "alive\n" }))
}

#[derive(Deserialize)]
struct Before {
    before: u64,
}

async fn peek(State(app): State<App>, Query(wanted): Query<Wanted>) -> Response {
    answer(app.looks.queue_peek, wanted.bounded()).await
}

async fn letters(State(app): State<App>, Query(wanted): Query<Wanted>) -> Response {
    answer(app.looks.dead_list, wanted.bounded()).await
}

async fn page(State(app): State<App>) -> String {
    app.status.borrow().to_string()
}

async fn status_json(State(app): State<App>) -> Response {
    Json(&*app.status.borrow()).into_response()
}

async fn metrics_text(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.text()).into_response()
}

async fn ready(State(app): State<App>) -> Response {
    let why = app.status.borrow().unready();
    let code = if why.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": why.is_empty(), "why": why }))).into_response()
}

async fn purge(State(app): State<App>, Query(Before { before }): Query<Before>, headers: HeaderMap) -> Response {
    match from_a_page(&headers) {
        true => error(StatusCode::FORBIDDEN, "web pages may not purge; use `tidegate dead purge`"),
        false => answer(app.looks.dead_purge, before).await,
    }
}

async fn close(State(app): State<App>, headers: HeaderMap) -> Response {
    match from_a_page(&headers) {
        true => error(StatusCode::FORBIDDEN, "web pages may not close windows"),
        false => answer(app.looks.windows_close, ()).await,
    }
}

fn from_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN)
}

async fn nothing(uri: Uri) -> Response {
    error(StatusCode::NOT_FOUND, &format!("there is nothing at {}", uri.path()))
}

async fn answer<Q>(look: Look<Q>, question: Q) -> Response {
    match look(question).await {
        Ok(found) => Json(found).into_response(),
        Err(unanswered) => error(StatusCode::INTERNAL_SERVER_ERROR, &unanswered.to_string()),
    }
}

fn error(code: StatusCode, sentence: &str) -> Response {
    (code, Json(json!({ "error": sentence }))).into_response()
}

async fn guard(State(token): State<Option<Arc<Secret>>>, request: Request, next: Next) -> Response {
    let Some(token) = token else { return next.run(request).await };
    let given = request.headers().get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let given = given.strip_prefix(b"Bearer ").or_else(|| given.strip_prefix(b"bearer ")).unwrap_or_default();
    if equal(given, &token.0) {
        return next.run(request).await;
    }
    let mut refusal = error(StatusCode::UNAUTHORIZED, "this gateway wants its token: Authorization: Bearer TOKEN");
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    refusal
}

/// Takes the same time wherever the first difference is; the length may be guessed.
fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |difference, (a, b)| std::hint::black_box(difference | (a ^ b)));
    a.len() == b.len() && difference == 0
}

#[cfg(test)]
pub(crate) mod tests;
