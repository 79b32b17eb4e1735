//! Looks at a page in headless Chromium: for the tests of Ocelli's pages.
//!
//! Pages are served on loopback, and a script in the first of them sends what it found when it is done, however long the browser takes:
//! Chromium's virtual time (`--virtual-time-budget` with `--dump-dom`) runs ahead of pictures that are still being decoded, and ends too early
//! on a busy machine.

use anyhow::{Context, Result, bail};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Names under which Chromium is installed.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// How long a page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A command that starts Chromium without a window and without a network, and its profile; `None` where it is not installed.
pub fn chromium() -> Result<Option<(Command, TempDir)>> {
    let version =
        |program: &&str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let Some(program) = PROGRAMS.into_iter().find(|program| version(program)) else { return Ok(None) };
    let profile = tempfile::Builder::new().prefix("ocelli-browser-").tempdir()?;
    let mut command = Command::new(program);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    // a page that needs the network must fail
    command.args(["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--enable-logging=stderr", "--v=0"]);
    command.stdin(Stdio::null());
    Ok(Some((command, profile)))
}

/// Chromium at a page, until it is dropped.
pub struct Browser {
    child: Child,
    log: PathBuf,
    profile: TempDir,
}

impl Browser {
    /// Opens an address; `None` where Chromium is not installed.
    pub fn open(address: &str) -> Result<Option<Self>> {
        let Some((mut command, profile)) = chromium()? else { return Ok(None) };
        let log = profile.path().join("log.txt");
        let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        command.args(["--window-size=1400,1000", address]).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().context("cannot start Chromium")?;
        Ok(Some(Self { child, log, profile }))
    }

    /// What the browser has logged so far.
    fn log(&self) -> String {
        std::fs::read(&self.log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it has ended already
        let _ = self.child.wait();
        // its helpers end a little later, and write until then
        for _ in 0..50 {
            if std::fs::remove_dir_all(self.profile.path()).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a visit gave.
#[derive(Debug)]
pub struct Visit {
    /// What the page sent to `/found`.
    pub found: String,
    /// Lines of the pages' console.
    pub console: Vec<String>,
}

/// Opens the first of some pages (their paths and texts) and waits for what its script sends in a POST to `/found`; `None` where Chromium is
/// not installed.
pub fn visit(pages: &[(&str, &str)]) -> Result<Option<Visit>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let first = pages.first().context("no page")?.0;
    let address = format!("http://{}{first}", listener.local_addr()?);
    let (sender, receiver) = mpsc::channel();
    let served: Vec<(String, String)> =
        pages.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (served, sender) = (served.clone(), sender.clone());
            thread::spawn(move || serve(stream, &served, &sender));
        }
    });
    let Some(mut browser) = Browser::open(&address)? else { return Ok(None) };
    let start = Instant::now();
    let found = loop {
        match receiver.recv_timeout(Duration::from_millis(200)) {
            Ok(found) => break found,
            Err(RecvTimeoutError::Timeout) if start.elapsed() < PATIENCE && browser.child.try_wait()?.is_none() => {}
            Err(_) => bail!(
                "the page sent nothing in {:.0} s; Chromium says:\n{}",
                start.elapsed().as_secs_f64(),
                browser.log()
            ),
        }
    };
    // what was logged just before is on its way
    thread::sleep(Duration::from_millis(300));
    let console = browser.log().lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    Ok(Some(Visit { found, console }))
}

/// Answers one request.
fn serve(mut stream: TcpStream, pages: &[(String, String)], found: &Sender<String>) -> io::Result<()> {
    let Request { path, body, .. } = request(&mut stream)?;
    let page = pages.iter().find(|(page, _)| page.split('#').next() == Some(&path));
    let (status, text) = match page {
        Some((_, text)) => ("200 OK", text.as_str()),
        None if path == "/found" => ("204 No Content", ""),
        // what a browser asks for by itself
        None if path == "/favicon.ico" => ("204 No Content", ""),
        None => ("404 Not Found", ""),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )?;
    if path == "/found" {
        let _ = found.send(String::from_utf8_lossy(&body).into_owned()); // nobody waits any more
    }
    Ok(())
}

/// A request of a browser.
pub struct Request {
    /// Its lines before the body, with the empty one.
    pub head: String,
    /// What it asks for.
    pub path: String,
    /// What it sends.
    pub body: Vec<u8>,
}

/// Reads a request.
pub fn request(stream: &mut TcpStream) -> io::Result<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let length = text.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok(Request { head: text, path, body })
}
