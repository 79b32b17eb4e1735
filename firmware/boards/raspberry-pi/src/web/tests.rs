use super::*;
use crate::files::RealDisk;
use crate::jpeg::tests::colourful;
use crate::live::{Caption, Snapshot};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// A page on a port of its own, whose thread ends with the test program.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) live: Arc<Live>,
}

pub(crate) fn serve_page(access: Access, keep: Option<&Path>, labels: &[&str]) -> Served {
    let live = Arc::new(Live::default());
    let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
    let keeper = keep.map(|folder| Arc::new(Keeper::new(folder.to_owned(), labels.clone(), Box::new(RealDisk))));
    let snapshot = Snapshot { labels, keeps: keeper.is_some(), ..Snapshot::default() };
    live.publish(&snapshot);
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site { live: Arc::clone(&live), keeper, access: Arc::new(access) };
    let services = crate::services::Services { page: Some((listener, site)), ..Default::default() };
    services.start().unwrap();
    Served { address, live }
}

impl Served {
    /// Sends a request, and reads the answer until it ends or `enough` is in it.
    fn ask(&self, request: &str, headers: &str, enough: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let host = if headers.contains("Host:") { String::new() } else { format!("Host: {}\r\n", self.address) };
        write!(stream, "{request} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n").unwrap();
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let count = stream.read(&mut piece).unwrap();
            answer.extend_from_slice(&piece[..count]);
            let is_enough = !enough.is_empty() && answer.windows(enough.len()).any(|part| part == enough);
            if count == 0 || is_enough {
                return answer;
            }
        }
    }

    fn status(&self, request: &str, headers: &str) -> u16 {
        let answer = self.ask(request, headers, b"\r\n\r\n");
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().parse().unwrap()
    }
}

const TOKEN: &str = "0123456789abcdef";

#[test]
fn this_computers_own_page_is_for_its_own_names_only() {
    let served = serve_page(Access::Local, None, &["cat"]);
    let port = served.address.port();
    assert_eq!(served.status("GET /", ""), 200);
    for (host, expected) in [
        (format!("localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        (format!("evil.example:{port}"), 403),
        ("127.0.0.1.evil.example".to_owned(), 403),
        ("192.168.0.9".to_owned(), 403),
    ] {
        assert_eq!(served.status("GET /figures", &format!("Host: {host}\r\n")), expected, "{host}");
    }
}

#[test]
fn elsewhere_a_token_is_needed_and_becomes_a_cookie() {
    let served = serve_page(Access::Token(TOKEN.to_owned()), None, &["cat"]);
    for path in
        ["/", "/figures", "/events", "/view.jpg", "/view.mjpeg", "/?token=", "/?token=0123456789abcdeX", "/?x=1"]
    {
        assert_eq!(served.status(&format!("GET {path}"), ""), 401, "{path}");
    }
    assert_eq!(served.status("POST /keep?label=cat", "x-ocelli: 1\r\nContent-Length: 0\r\n"), 401);
    let answer = served.ask(&format!("GET /?token={TOKEN}"), "", b"");
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let cookie = format!("set-cookie: ocelli_token={TOKEN}; Path=/; HttpOnly; SameSite=Lax");
    assert!(answer.contains(&cookie), "{answer}");
    for (headers, expected) in [
        (format!("Cookie: a=b; ocelli_token={TOKEN}\r\n"), 200),
        (format!("Authorization: Bearer {TOKEN}\r\n"), 200),
        (format!("Cookie: ocelli_token={TOKEN}0\r\n"), 401),
        ("Cookie: ocelli_token=\r\n".to_owned(), 401),
        ("Authorization: Bearer x\r\n".to_owned(), 401),
    ] {
        assert_eq!(served.status("GET /", &headers), expected, "{headers}");
    }
    assert_eq!(served.status(&format!("GET /figures?token={TOKEN}"), "Host: pi.local\r\n"), 200);
}

#[test]
fn an_open_address_gets_a_token_that_nobody_can_guess() {
    let everywhere = "0.0.0.0".parse().unwrap();
    let tokens = [(); 2].map(|()| match Access::new(everywhere, None).unwrap() {
        Access::Token(token) => token,
        Access::Local => panic!("open to everyone"),
    });
    assert!(tokens[0] != tokens[1] && tokens[0].len() == 32);
    assert!(matches!(Access::new("::1".parse().unwrap(), None).unwrap(), Access::Local));
    assert!(matches!(Access::new("127.0.0.1".parse().unwrap(), Some(TOKEN)).unwrap(), Access::Token(_)));
    assert!(Access::new(everywhere, Some("short")).is_err());
    assert!(Access::new(everywhere, Some("0123456789abcdef; Path=/x")).is_err());
}

#[test]
fn frames_are_kept_under_a_label_by_the_page_alone() {
    let folder = tempfile::tempdir().unwrap();
    let served = serve_page(Access::Local, Some(folder.path()), &["cat", "a b", ".."]);
    let own = "x-ocelli: 1\r\nContent-Length: 0\r\n";
    assert_eq!(served.status("POST /keep?label=cat", own), 503, "no frame yet");
    served.live.put(colourful(32, 24), Caption::default());
    assert_eq!(served.status("POST /keep?label=cat", "Content-Length: 0\r\n"), 403, "another site's request");
    assert_eq!(served.status("GET /keep?label=cat", own), 405);
    assert_eq!(served.status("POST /keep?label=dog", own), 404);
    assert_eq!(served.status("POST /keep?label=..", own), 400);
    assert_eq!(served.status("POST /keep?label=cat", own), 200);
    assert_eq!(served.status("POST /keep?label=a%20b", own), 200);
    for label in ["cat", "a b"] {
        let file = std::fs::read_dir(folder.path().join(label)).unwrap().next().unwrap().unwrap();
        let picture = image::open(file.path()).unwrap();
        assert_eq!((picture.width(), picture.height()), (32, 24), "{label}");
    }
    let without = serve_page(Access::Local, None, &["cat"]);
    without.live.put(colourful(32, 24), Caption::default());
    assert_eq!(without.status("POST /keep?label=cat", own), 404);
}

#[test]
fn figures_and_pictures_stream() {
    let served = serve_page(Access::Local, None, &["cat"]);
    assert_eq!(served.status("GET /view.jpg", ""), 503);
    served.live.put(colourful(32, 24), Caption::default());
    let answer = served.ask("GET /view.jpg", "", b"");
    let start = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(image::load_from_memory(&answer[start..]).unwrap().width(), 32);
    let events = served.ask("GET /events", "", b"\n\n");
    assert!(String::from_utf8_lossy(&events).contains("data: {\"model\""), "the figures of now come at once");

    // two pictures, each ended by the line before the next
    let view = std::thread::scope(|scope| {
        let reader = scope.spawn(|| served.ask("GET /view.mjpeg", "", b"second\r\n--ocelli-frame\r\n"));
        while !served.live.has_viewers() {
            std::thread::yield_now();
        }
        served.live.show(Bytes::from_static(b"first"));
        while !reader.is_finished() {
            served.live.show(Bytes::from_static(b"second"));
            std::thread::yield_now();
        }
        reader.join().unwrap()
    });
    let view = String::from_utf8_lossy(&view).into_owned();
    assert!(view.contains("content-type: multipart/x-mixed-replace; boundary=ocelli-frame"), "{view}");
    assert!(view.contains("Content-Type: image/jpeg\r\nContent-Length: 6\r\n\r\nsecond\r\n--ocelli-frame\r\n"));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let served = serve_page(Access::Local, None, &["cat"]);
    let answer = String::from_utf8(served.ask("GET /", "", b"")).unwrap();
    assert!(answer.contains("content-security-policy: default-src 'none'"));
    let page = answer.split_once("\r\n\r\n").unwrap().1;
    for elsewhere in ["http://", "https://", "src=\"//", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
}

#[test]
fn other_sites_get_nothing_but_may_lead_to_the_page() {
    let local = serve_page(Access::Local, None, &["cat"]);
    let with_token = serve_page(Access::Token(TOKEN.to_owned()), None, &["cat"]);
    let from = |site: &str, mode: &str, dest: &str| {
        format!(
            "Authorization: Bearer {TOKEN}\r\nSec-Fetch-Site: {site}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\n"
        )
    };
    for served in [&local, &with_token] {
        for (path, site, mode, dest, expected) in [
            ("/figures", "same-origin", "cors", "empty", 200),
            ("/", "none", "navigate", "document", 200),
            ("/", "cross-site", "navigate", "document", 200),
            ("/", "cross-site", "navigate", "iframe", 403),
            ("/view.mjpeg", "cross-site", "no-cors", "image", 403),
            ("/view.mjpeg", "same-site", "no-cors", "image", 403),
            ("/view.jpg", "cross-site", "navigate", "document", 403),
            ("/events", "cross-site", "cors", "empty", 403),
        ] {
            let status = served.status(&format!("GET {path}"), &from(site, mode, dest));
            assert_eq!(status, expected, "{path} {site} {mode} {dest}");
        }
        for path in ["/", "/figures", "/nowhere"] {
            let headers = format!("Authorization: Bearer {TOKEN}\r\n");
            let answer = String::from_utf8(served.ask(&format!("GET {path}"), &headers, b"\r\n\r\n")).unwrap();
            assert!(answer.contains("cross-origin-resource-policy: same-origin\r\n"), "{answer}");
            assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        }
    }
}

/// A page with limits of its own.
fn serve_limited(limits: Limits) -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site { live: Arc::default(), keeper: None, access: Arc::new(Access::Token(TOKEN.to_owned())) };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve(listener, site, limits)).unwrap();
    });
    address
}

#[test]
fn a_request_that_never_ends_is_not_waited_for() {
    let address = serve_limited(Limits { header: Duration::from_millis(50), ..Limits::default() });
    for begun in ["", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        // hangs for ever if it is waited for
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_connection_too_many_waits_until_another_ends() {
    let address = serve_limited(Limits { connections: 2, header: Duration::from_secs(3600) });
    let ask =
        |stream: &mut TcpStream| write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut held: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut waiting = TcpStream::connect(address).unwrap();
    ask(&mut waiting);
    waiting.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(waiting.read(&mut [0]).is_err(), "there is room for two");
    held.pop();
    waiting.set_read_timeout(None).unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}
