//! A file of a web server from a given byte on. Nothing but https leaves this machine; redirects are followed by hand, so that this holds for
//! them too.

use anyhow::{Context, bail, ensure};
use std::io::Read;
use std::time::Duration;
use ureq::http::{Response, Uri, header};
use ureq::{Agent, Body};

/// Redirects in a row.
const MAX_REDIRECTS: usize = 8;
/// How long a connection may take to come about, an answer to begin, and a transfer to stand still.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server answered.
pub(super) enum Answer {
    /// The file from the byte on that was asked for, or, from a server that cannot do that, from its beginning.
    Content {
        /// Where it begins.
        from: u64,
        /// Bytes of the whole file, where the server says so.
        whole: Option<u64>,
        /// The bytes.
        body: Box<dyn Read>,
    },
    /// The file has no such byte.
    NoSuchRange,
    /// Nothing: no connection came about, or it broke off.
    Nothing(anyhow::Error),
}

/// Refuses addresses that are neither https nor on this machine.
pub(super) fn check_address(address: &str) -> anyhow::Result<()> {
    let uri: Option<Uri> = address.parse().ok();
    let is_safe = uri.as_ref().is_some_and(|uri| match uri.scheme_str() {
        Some("https") => uri.host().is_some(),
        Some("http") => is_loopback(uri),
        _ => false,
    });
    ensure!(is_safe, "{address} is refused: only https is fetched from (and http on this machine)");
    Ok(())
}

/// Asks for the file at `address` from byte `from` on.
///
/// # Errors
/// When the answer is another than a file; the error names the address.
pub(super) fn get(address: &str, from: u64) -> anyhow::Result<Answer> {
    let mut at = address.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        check_address(&at)?;
        let response = match ask(&at, from).with_context(|| format!("{at} cannot be reached")) {
            Ok(response) => response,
            Err(error) => return Ok(Answer::Nothing(error)),
        };
        let status = response.status();
        if !status.is_redirection() {
            return answer(response, from).with_context(|| at);
        }
        let to = response.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        let to = to.with_context(|| format!("{at} answers {status} without saying where to"))?;
        at = joined(&at, to);
    }
    bail!("{address} leads from place to place without end")
}

fn ask(address: &str, from: u64) -> anyhow::Result<Response<Body>> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("ocelli/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE));
    // what is on this machine is not asked of a proxy
    let config = if is_loopback(&address.parse()?) { config.proxy(None) } else { config };
    let mut request = config.build().new_agent().get(address).header(header::ACCEPT_ENCODING, "identity");
    if from > 0 {
        request = request.header(header::RANGE, format!("bytes={from}-"));
    }
    Ok(request.call()?)
}

fn answer(response: Response<Body>, asked: u64) -> anyhow::Result<Answer> {
    let status = response.status();
    let text = |name| response.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let (from, whole) = match status.as_u16() {
        200 => (0, text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok())),
        206 => {
            let (from, whole) = text(header::CONTENT_RANGE)
                .and_then(content_range)
                .context("the server sends a part of the file without saying which")?;
            ensure!(from == asked, "the server sends the file from byte {from} on, not from {asked}");
            (from, whole)
        }
        416 => return Ok(Answer::NoSuchRange),
        _ => bail!("the server answers {status}"),
    };
    Ok(Answer::Content { from, whole, body: Box::new(response.into_body().into_reader()) })
}

/// The first byte and the whole file's bytes of `bytes 5-9/100`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.trim().parse().ok()?, whole.trim().parse().ok()))
}

/// Where a redirect leads.
///
/// # Source
/// RFC 3986, section 5.2, without the steps for `..`, which servers do not send.
fn joined(base: &str, to: &str) -> String {
    if to.contains("://") {
        return to.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{host}{to}")
    } else {
        let folder = path.rfind('/').map_or("", |end| &path[..end]);
        format!("{scheme}://{host}{folder}/{to}")
    }
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_meant_from_where_they_stand() {
        let base = "https://a.org/b/c?d=/e";
        for (to, expected) in [
            ("https://x.org/y", "https://x.org/y"),
            ("//x.org/y", "https://x.org/y"),
            ("/y?z", "https://a.org/y?z"),
            ("y", "https://a.org/b/y"),
        ] {
            assert_eq!(joined(base, to), expected);
        }
        assert_eq!(joined("https://a.org", "y"), "https://a.org/y");
    }

    #[test]
    fn parts_say_where_they_begin() {
        assert_eq!(content_range("bytes 5-9/100"), Some((5, Some(100))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for wrong in ["", "bytes", "bytes 5/100", "lines 5-9/100", "bytes x-9/100", "bytes */100"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_encryption() {
        for address in ["https://a.org/x", "http://127.0.0.1:80/x", "http://[::1]:80/x", "http://localhost/x"] {
            check_address(address).unwrap();
        }
        for address in
            ["http://a.org/x", "http://127.0.0.1@a.org/x", "http://10.0.0.1/x", "/x", "file:///x", "https:///x"]
        {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}
