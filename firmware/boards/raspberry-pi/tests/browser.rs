//! The program's page in a real browser: the program serves it, headless Chromium shows it, and what a reader would see is measured.
//!
//! A proxy of ours stands before the program. It has one page more, which opens the real one in frames of several widths, looks, presses a
//! button, and sends what it found; everything else goes to the program.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use ocelli_browser::{Browser, Request};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const TOKEN: &str = "a-token-for-the-test";

/// Opens the page at one width after another (a browser has six connections to a host, and the page keeps two).
const PROBE: &str = r#"<!doctype html><meta charset="utf-8"><title>probe</title><body><script>
const wait = time => new Promise(done => setTimeout(done, time));
const until = async (what, test) => {
  for (let tries = 0; tries < 600; tries++) { if (test()) return; await wait(100); }
  throw new Error("waited in vain for " + what);
};
const widths = [360, 390, 768, 1280];
(async () => {
  const found = [];
  for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.style.cssText = `border:0;width:${width}px;height:900px`;
    frame.src = "/?token=TOKEN";
    document.body.append(frame);
    const $ = id => frame.contentDocument.getElementById(id);
    await until("figures", () => $("frames") && Number($("frames").textContent) > 0);
    await until("the live view", () => $("view").naturalWidth > 0);
    await until("a label", () => !$("label").textContent.startsWith("waiting"));
    const page = frame.contentDocument, root = page.documentElement;
    const before = Number($("frames").textContent);
    await until("more frames", () => Number($("frames").textContent) > before + 5);
    const outside = [...page.querySelectorAll("body *")].filter(e => {
      const box = e.getBoundingClientRect();
      return box.width > 0 && (box.right > root.clientWidth + 1 || box.left < -1);
    });
    const buttons = [...page.querySelectorAll("button")];
    found.push({
      width, window: root.clientWidth, document: root.scrollWidth,
      outside: outside.map(e => e.tagName + "." + e.className),
      view: [$("view").naturalWidth, $("view").naturalHeight],
      label: $("label").textContent, guesses: page.querySelectorAll(".guess").length,
      bars: $("histogram").children.length, verify: $("verify").textContent, rate: $("rate").textContent,
      trouble: $("trouble").hidden, buttons: buttons.map(b => b.querySelector(".name").textContent),
      smallest: Math.min(...buttons.map(b => b.getBoundingClientRect().height)),
      font: Math.min(...[...page.querySelectorAll("span, dd, dt, p, h2, footer")].filter(e => e.textContent)
        .map(e => parseFloat(page.defaultView.getComputedStyle(e).fontSize))),
      cookie: page.cookie, address: page.location.search,
    });
    if (width === widths[0]) {
      buttons[3].click();
      await until("the kept frame", () => $("kept").textContent !== "");
      found[0].kept = $("kept").textContent;
      await until("its count", () => buttons[3].querySelector(".count").textContent === "1");
    }
    frame.remove();
  }
  return { found };
})().catch(error => ({ error: String(error) }))
  .then(result => fetch("/found", { method: "POST", body: JSON.stringify(result) }));
</script>"#;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program on some photos; returns where it serves its page.
fn start(keep: &Path) -> (Running, SocketAddr) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ocelli-pi"));
    command.arg("--model").arg(root.join("models/cifar-cnn")).arg("--images").arg(root.join("tests/data/photos"));
    command.args([
        "--loop",
        "--max-fps",
        "20",
        "--output",
        "none",
        "--listen",
        "127.0.0.1:0",
        "--token",
        TOKEN,
        "--keep",
    ]);
    command.arg(keep);
    if cfg!(feature = "verify") {
        command.arg("--verify");
    }
    let mut child = Running(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let said = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("the page: "))).unwrap().unwrap();
    std::thread::spawn(move || lines.for_each(drop)); // so that it can go on saying things
    let address = said.split_once("http://").unwrap().1.split('/').next().unwrap().parse().unwrap();
    assert!(said.ends_with(&format!("/?token={TOKEN}")), "{said}");
    (child, address)
}

/// Answers a connection: the probe's page and its report here, all else by the program.
fn answer(mut stream: TcpStream, upstream: SocketAddr, found: &Sender<String>) -> std::io::Result<()> {
    let Request { head, path, body } = ocelli_browser::request(&mut stream)?;
    if path == "/probe" || path == "/found" {
        let page = if path == "/probe" { PROBE.replace("TOKEN", TOKEN) } else { String::new() };
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        )?;
        if path == "/found" {
            let _ = found.send(String::from_utf8_lossy(&body).into_owned()); // nobody waits any more
        }
        return Ok(());
    }
    let mut program = TcpStream::connect(upstream)?;
    // one request a connection, so that each is looked at here
    program.write_all(head.replace("Connection: keep-alive", "Connection: close").as_bytes())?;
    program.write_all(&body)?;
    let (mut up, mut from_browser) = (program.try_clone()?, stream.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_browser, &mut up);
        let _ = up.shutdown(std::net::Shutdown::Both); // the browser has gone: the program is to notice
    });
    std::io::copy(&mut program, &mut stream).map(drop)
}

fn browser(address: &str) -> Option<Browser> {
    let browser = Browser::open(address).unwrap();
    if browser.is_none() {
        assert!(std::env::var_os("OCELLI_REQUIRE_BROWSER").is_none(), "there is no Chromium: apt-get install chromium");
        eprintln!("the page in a browser: NOT RUN: there is no Chromium; on Debian: apt-get install chromium");
    }
    browser
}

#[test]
fn the_page_shows_the_run_and_keeps_a_frame() {
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("kept");
    let (_program, upstream) = start(&keep);
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/probe", proxy.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for stream in proxy.incoming().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || answer(stream, upstream, &sender));
        }
    });
    let Some(_browser) = browser(&address) else { return };
    let report = receiver.recv_timeout(Duration::from_secs(300)).expect("the browser sends what it found");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["error"].is_null(), "{report}");
    let found = report["found"].as_array().unwrap();
    assert_eq!(found.len(), 4);
    let labels: Vec<String> =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../models/cifar-cnn/labels.txt"))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
    for window in found {
        assert_eq!(window["window"], window["width"], "{window}");
        assert!(window["document"].as_u64() <= window["width"].as_u64(), "nothing is wider than the window: {window}");
        assert_eq!(window["outside"], Value::Array(Vec::new()), "{window}");
        let label = window["label"].as_str().unwrap();
        assert!(label == "unknown" || labels.iter().any(|known| label.starts_with(known)), "{window}");
        assert_eq!(window["guesses"], 5);
        assert!(
            window["bars"].as_u64().unwrap() >= 1 && window["rate"].as_str().unwrap().contains("frames / s"),
            "{window}"
        );
        assert_eq!(window["trouble"], true, "hidden");
        assert_eq!(window["buttons"], Value::from(labels.clone()));
        assert!(window["smallest"].as_f64().unwrap() >= 44.0, "buttons that a thumb hits: {window}");
        assert!(window["font"].as_f64().unwrap() >= 13.0, "{window}");
        assert_eq!(
            (window["cookie"].as_str(), window["address"].as_str()),
            (Some(""), Some("")),
            "no script sees the token"
        );
        if cfg!(feature = "verify") {
            assert!(window["verify"].as_str().unwrap().starts_with("0 of "), "{window}");
        }
    }
    assert!(found[0]["kept"].as_str().unwrap().starts_with("kept: "), "{report}");
    let kept = std::fs::read_dir(keep.join(&labels[3])).unwrap().next().unwrap().unwrap();
    assert!(image::open(kept.path()).is_ok());
}
