//! The page: live view, labels and figures, in one file without anything from elsewhere.

mod address;
mod auth;
#[cfg(test)]
mod tests;

pub use address::reachable;
pub use auth::{Access, MIN_TOKEN_CHARS, new_token};

use crate::files::{KeepError, Keeper};
use crate::live::Live;
use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::stream;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

const PAGE: &str = include_str!("web/page.html");
/// What may be loaded: this page and nothing else.
const POLICY: &str = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'";
/// A header that no other site can make a browser send here.
const OWN_REQUEST: &str = "x-ocelli";
/// What separates the pictures of the live view.
const BOUNDARY: &str = "ocelli-frame";

/// What the page needs.
#[derive(Clone)]
pub struct Site {
    /// Frames and figures.
    pub live: Arc<Live>,
    /// Where frames are kept; `None`: they cannot be.
    pub keeper: Option<Arc<Keeper>>,
    /// Who may see it.
    pub access: Arc<Access>,
}

/// What those may take who have shown no token yet.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; the next one waits until another ends.
    pub connections: usize,
    /// How long a request's header may take, from the connection's beginning or the answer before.
    pub header: Duration,
}

impl Default for Limits {
    /// 64 connections, 10 s.
    fn default() -> Self {
        Self { connections: 64, header: Duration::from_secs(10) }
    }
}

/// Listens at an address.
///
/// # Errors
/// When it is taken or not this computer's.
pub fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)
        .with_context(|| format!("cannot serve the page at {address}: choose another address or port with --listen"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the page.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, site: Site, limits: Limits) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let service = TowerToHyperService::new(router(site));
    let room = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            // the other side has gone already, or too many files are open
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let service = service.clone();
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(limits.header);
            // fails when the other side goes, is too slow, or speaks no HTTP
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

/// The page's addresses.
pub fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/figures", get(figures))
        .route("/events", get(events))
        .route("/view.jpg", get(picture))
        .route("/view.mjpeg", get(view))
        .route("/keep", post(keep))
        .layer(middleware::from_fn_with_state(Arc::clone(&site.access), auth::check))
        .with_state(site)
}

async fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, PAGE).into_response()
}

async fn figures(State(site): State<Site>) -> Response {
    let json = site.live.figures().borrow().to_string();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], json).into_response()
}

/// The figures whenever they change.
async fn events(State(site): State<Site>) -> Response {
    let mut receiver = site.live.figures();
    receiver.mark_changed();
    let stream = stream::unfold(receiver, |mut receiver| async {
        receiver.changed().await.ok()?;
        let json = receiver.borrow_and_update().to_string();
        Some((Ok::<_, Infallible>(Event::default().data(json)), receiver))
    });
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// One frame as a JPEG.
async fn picture(State(site): State<Site>) -> Response {
    let Some(frame) = site.live.frame() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no frame has come yet").into_response();
    };
    // a large frame takes its time, which others need not wait for
    let encode = move || crate::jpeg::encode(&frame, crate::jpeg::VIEW_QUALITY);
    match tokio::task::spawn_blocking(encode).await {
        Ok(Ok(jpeg)) => {
            ([(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "no-store")], jpeg).into_response()
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The live view: pictures that replace each other.
async fn view(State(site): State<Site>) -> Response {
    let stream = stream::unfold((site.live.view(), true), |(mut receiver, is_first)| async move {
        loop {
            receiver.changed().await.ok()?;
            let jpeg = receiver.borrow_and_update().clone();
            if !jpeg.is_empty() {
                return Some((Ok::<_, Infallible>(part(&jpeg, is_first)), (receiver, false)));
            }
        }
    });
    let kind = format!("multipart/x-mixed-replace; boundary={BOUNDARY}");
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store".to_owned())], Body::from_stream(stream))
        .into_response()
}

/// A picture, and the line that ends it: browsers show a picture when the next one begins.
fn part(jpeg: &[u8], is_first: bool) -> Bytes {
    let before = if is_first { format!("--{BOUNDARY}\r\n") } else { String::new() };
    let head = format!("{before}Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
    let tail = format!("\r\n--{BOUNDARY}\r\n");
    Bytes::from([head.as_bytes(), jpeg, tail.as_bytes()].concat())
}

#[derive(Deserialize)]
struct Kept {
    label: String,
}

/// Keeps the newest frame under a label.
async fn keep(State(site): State<Site>, headers: HeaderMap, Query(Kept { label }): Query<Kept>) -> Response {
    if !headers.contains_key(OWN_REQUEST) {
        return (StatusCode::FORBIDDEN, "only the page itself may keep frames").into_response();
    }
    let Some(keeper) = &site.keeper else {
        return (StatusCode::NOT_FOUND, "start ocelli-pi with --keep DIR to keep frames").into_response();
    };
    let Some(frame) = site.live.frame() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no frame has come yet").into_response();
    };
    let keeper = Arc::clone(keeper);
    // a slow disk must not hold up the view
    let kept = tokio::task::spawn_blocking(move || keeper.keep(&label, &frame)).await;
    match kept {
        Ok(Ok(path)) => path.display().to_string().into_response(),
        Ok(Err(KeepError::Unknown(error))) => (StatusCode::NOT_FOUND, error).into_response(),
        Ok(Err(KeepError::Unfit(error))) => (StatusCode::BAD_REQUEST, error).into_response(),
        Ok(Err(KeepError::Failed(error))) => {
            crate::say(&error);
            (StatusCode::INSUFFICIENT_STORAGE, error).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
