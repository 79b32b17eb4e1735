//! Who may see the page.
//!
//! On this computer alone: requests must be addressed to it by name, so that a web site cannot reach the page through a name of its own
//! (DNS rebinding). Anywhere else: a token, in a cookie, a header or once in the address. And no other site may show the view as its own:
//! browsers tell on whose behalf they ask.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Characters that a token must have.
pub const MIN_TOKEN_CHARS: usize = 16;
const COOKIE: &str = "ocelli_token";

/// Who may see the page.
#[derive(Clone, Debug)]
pub enum Access {
    /// Programs on this computer.
    Local,
    /// Whoever has the token.
    Token(String),
}

impl Access {
    /// Access to a page at an address: with a token unless it is this computer's own and none was given.
    ///
    /// # Errors
    /// When the token is too short or has other characters than letters, digits, `-` and `_`, or none can be made.
    pub fn new(address: IpAddr, token: Option<&str>) -> anyhow::Result<Self> {
        match token {
            Some(token) => {
                let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
                anyhow::ensure!(
                    is_plain && token.len() >= MIN_TOKEN_CHARS,
                    "--token: give at least {MIN_TOKEN_CHARS} letters, digits, '-' or '_', or leave it out: one is made then"
                );
                Ok(Self::Token(token.to_owned()))
            }
            None if address.is_loopback() => Ok(Self::Local),
            None => Ok(Self::Token(new_token()?)),
        }
    }

    /// What is added to the page's address: the token.
    #[must_use]
    pub fn query(&self) -> String {
        match self {
            Self::Local => String::new(),
            Self::Token(token) => format!("?token={token}"),
        }
    }
}

/// A token of 128 random bits.
///
/// # Errors
/// When the system has no random numbers.
pub fn new_token() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Lets a request through, or says why not.
pub(super) async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    let mut response = if is_of_another_site(&request) {
        (StatusCode::FORBIDDEN, "another site asks for this: open the page itself").into_response()
    } else {
        admit(&access, request, next).await
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether another site's page asks for a part of this one, or frames it; to follow a link to the page is allowed.
fn is_of_another_site(request: &Request) -> bool {
    let told = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_link = request.uri().path() == "/"
        && told("sec-fetch-mode") == Some("navigate")
        && told("sec-fetch-dest") == Some("document");
    matches!(told("sec-fetch-site"), Some("cross-site" | "same-site")) && !is_link
}

async fn admit(access: &Access, request: Request, next: Next) -> Response {
    match access {
        Access::Local if is_local(request.headers()) => next.run(request).await,
        Access::Local => {
            (StatusCode::FORBIDDEN, "this page is for http://localhost or http://127.0.0.1 only").into_response()
        }
        Access::Token(token) => {
            let given = request.uri().query().unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("token="));
            if given.is_some_and(|given| is_equal(given, token)) {
                if request.uri().path() == "/" {
                    // The token leaves the address bar, and scripts cannot read the cookie. Strict, it would not come along after a link
                    // of another site to the address (in a mail); what changes something needs a header that other sites cannot send.
                    let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000");
                    return (StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)])
                        .into_response();
                }
                return next.run(request).await;
            }
            if tokens(request.headers()).any(|given| is_equal(given, token)) {
                return next.run(request).await;
            }
            (StatusCode::UNAUTHORIZED, "open the address that ocelli-pi printed: it holds the token").into_response()
        }
    }
}

/// Whether a request names this computer as its host.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The tokens that a request's headers hold.
fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let texts = |name| headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let cookies = texts(header::COOKIE)
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().strip_prefix(COOKIE).and_then(|rest| rest.strip_prefix('=')));
    cookies.chain(texts(header::AUTHORIZATION).filter_map(|value| value.strip_prefix("Bearer ")))
}

/// Compares in a time that does not tell how much is right.
fn is_equal(given: &str, token: &str) -> bool {
    given.as_bytes().ct_eq(token.as_bytes()).into()
}
