//! `cargo xtask browser`: the report page in headless Chromium, at the width of a phone and of a desktop.
//!
//! A page of ours holds the report in frames of several widths and sends what it measures.

use crate::apt;
use crate::process::{self, cargo};
use anyhow::{Context, Result, bail, ensure};
use ocelli_browser::Visit;
use std::path::{Path, PathBuf};

const MODEL: &str = "models/mnist-cnn";
const DATA: &str = "data/mnist-10k";
/// Debian's package.
const PACKAGE: &str = "chromium";
/// Widths of the window in CSS pixels: a phone's, a tablet's, a desktop's.
const WIDTHS: [u32; 3] = [390, 768, 1280];
/// Parts that the page must have.
const SECTIONS: [&str; 10] =
    ["run", "training", "results", "classes", "confusion", "mistakes", "layers", "quantization", "device", "checks"];
/// Pictures that the page must show: the mistakes of the shipped model.
const MIN_PICTURES: usize = 12;

/// Arguments of `browser`.
#[derive(Default, clap::Args)]
pub struct Args {
    /// Keep the page and pictures of it, light and dark, in this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Installs Chromium where apt can.
pub fn ensure_installed() -> Result<()> {
    if ocelli_browser::chromium()?.is_none() && apt::is_available() {
        println!("setup: installs {PACKAGE} for the test of the report page");
        apt::update()?;
        apt::install(&[PACKAGE.to_owned()])?;
    }
    Ok(())
}

/// Makes the report of the shipped model and looks at it in a browser.
pub fn run(args: &Args) -> Result<()> {
    if ocelli_browser::chromium()?.is_none() {
        println!("browser: NOT RUN: there is no Chromium here; on Debian: apt-get install {PACKAGE}");
        bail!("the report page was not tested: Chromium is missing");
    }
    let temporary = tempfile::Builder::new().prefix("ocelli-report-").tempdir()?;
    let folder = args.keep.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let folder = folder.canonicalize()?;
    let page = folder.join("report.html");
    let mut report = cargo();
    report.args(["run", "--release", "--quiet", "--package", "ocelli-host", "--", "report", MODEL, DATA, "--out"]);
    process::run(report.arg(&page))?;
    let html = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let visit = ocelli_browser::visit(&[("/", &probe_page(&html))])?.context("Chromium is missing")?;
    let found = measured(&visit)?;
    println!("{found}");
    judge(&found)?;
    if args.keep.is_some() {
        for (name, width, dark) in
            [("phone", 500, false), ("phone-dark", 500, true), ("desktop", 1280, false), ("desktop-dark", 1280, true)]
        {
            picture(&page, &folder.join(format!("{name}.png")), width, dark)?;
        }
    }
    println!("browser: the report page fits windows of {WIDTHS:?} pixels");
    Ok(())
}

/// A page with the report in a frame of each width. It waits until all are loaded, then sends what it sees as JSON.
fn probe_page(report: &str) -> String {
    let report = serde_json::Value::from(report).to_string().replace('<', "\\u003c");
    format!(
        r#"<!doctype html><meta charset="utf-8"><title>probe</title><body><script>
const report = {report}, widths = {WIDTHS:?};
const errors = [];
window.addEventListener("error", e => errors.push(String(e.message)));
const frames = widths.map(width => new Promise(done => {{
  const frame = document.createElement("iframe");
  frame.style.cssText = `border:0;width:${{width}}px;height:900px`;
  frame.onload = () => done({{ width, frame }});
  frame.srcdoc = report;
  document.body.append(frame);
}}));
Promise.all(frames).then(async frames => {{
  const found = [];
  for (const {{ width, frame }} of frames) {{
    const page = frame.contentDocument, root = page.documentElement;
    for (const image of page.images) image.loading = "eager";
    await Promise.allSettled([...page.images].map(image => image.decode()));
    const inScroller = e => e.closest(".scroll, pre, .up") !== null;
    const hidden = [...page.querySelectorAll("body *")].filter(e => {{
      const box = e.getBoundingClientRect();
      return box.width > 0 && (box.right > root.clientWidth + 1 || box.left < -1) && !inScroller(e);
    }});
    found.push({{
      width, window: root.clientWidth, document: root.scrollWidth, height: root.scrollHeight,
      sections: [...page.querySelectorAll("section")].map(s => s.id),
      charts: page.querySelectorAll("svg").length,
      pictures: page.images.length,
      broken: [...page.images].filter(i => i.naturalWidth === 0).length,
      outside: hidden.slice(0, 5).map(e => e.tagName + "." + (e.getAttribute("class") || "")),
      font: Math.min(...[...page.querySelectorAll("td, p, th")].map(e => parseFloat(page.defaultView.getComputedStyle(e).fontSize))),
    }});
  }}
  return found;
}}).catch(error => {{ errors.push(String(error)); return []; }})
  .then(found => fetch("/found", {{ method: "POST", body: JSON.stringify({{ errors, found }}) }}));
</script>"#
    )
}

/// A picture of a page, light or dark.
fn picture(page: &Path, path: &Path, width: u32, dark: bool) -> Result<()> {
    let (mut command, _profile) = ocelli_browser::chromium()?.context("Chromium is missing")?;
    command.arg(format!("--window-size={width},4600")).arg(format!("--screenshot={}", path.display()));
    command.arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }));
    let output = command.arg(format!("file://{}", page.display())).output().context("cannot start Chromium")?;
    ensure!(path.is_file(), "Chromium made no picture: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What the probe sent.
fn measured(visit: &Visit) -> Result<serde_json::Value> {
    ensure!(visit.console.is_empty(), "the page's console is not empty:\n{}", visit.console.join("\n"));
    serde_json::from_str(&visit.found).with_context(|| format!("the probe page sent: {}", visit.found))
}

/// Refuses a page that does not fit, or lacks something.
fn judge(measured: &serde_json::Value) -> Result<()> {
    let errors = measured["errors"].as_array().context("no list of errors")?;
    ensure!(errors.is_empty(), "errors in the page: {errors:?}");
    let found = measured["found"].as_array().context("no measurements")?;
    ensure!(found.len() == WIDTHS.len(), "{} of {} windows were measured", found.len(), WIDTHS.len());
    for window in found {
        let number = |key: &str| window[key].as_u64().with_context(|| format!("no number '{key}'"));
        let width = number("width")?;
        ensure!(number("window")? == width, "the window is {} pixels wide, not {width}", number("window")?);
        ensure!(number("document")? <= width, "the page is {} pixels wide in a window of {width}", number("document")?);
        let outside = window["outside"].as_array().context("no list 'outside'")?;
        ensure!(outside.is_empty(), "in a window of {width} pixels these stick out: {outside:?}");
        for section in SECTIONS {
            let there = window["sections"].as_array().is_some_and(|ids| ids.iter().any(|id| id == section));
            ensure!(there, "the page has no section '{section}'");
        }
        ensure!(number("charts")? >= 3, "the page has {} charts, not 3", number("charts")?);
        let pictures = number("pictures")?;
        ensure!(pictures >= MIN_PICTURES as u64, "the page has {pictures} pictures, not {MIN_PICTURES}");
        ensure!(number("broken")? == 0, "{} pictures cannot be shown", number("broken")?);
        let font = window["font"].as_f64().context("no number 'font'")?;
        ensure!(font >= 11.0, "text of {font} pixels cannot be read on a phone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found() -> Value {
        let window = |width: u32| {
            json!({
                "width": width, "window": width, "document": width, "height": 9, "sections": SECTIONS, "charts": 3,
                "pictures": 20, "broken": 0, "outside": [], "font": 12.0,
            })
        };
        json!({ "errors": [], "found": WIDTHS.map(window) })
    }

    #[test]
    fn a_page_is_refused_for_each_fault() {
        judge(&found()).unwrap();
        for (key, value) in [
            ("document", json!(391)),
            ("sections", json!(["run"])),
            ("charts", json!(0)),
            ("pictures", json!(0)),
            ("broken", json!(1)),
            ("outside", json!(["TABLE."])),
            ("font", json!(8.0)),
        ] {
            let mut page = found();
            page["found"][0][key] = value;
            assert!(judge(&page).is_err(), "{key}");
        }
        let mut page = found();
        page["errors"] = json!(["x is not defined"]);
        assert!(judge(&page).is_err());
    }

    #[test]
    fn a_line_on_the_console_is_a_failure() {
        let visit = |found: &str, console: &[&str]| Visit {
            found: found.to_owned(),
            console: console.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert!(measured(&visit("{}", &[])).is_ok());
        assert!(measured(&visit("", &[])).is_err());
        assert!(measured(&visit("{}", &["[1:INFO:CONSOLE(1)] \"Refused to load\""])).is_err());
    }

    #[test]
    fn the_report_cannot_end_the_script_that_holds_it() {
        let page = probe_page("</script><b>\"\\");
        assert_eq!(page.matches("</script>").count(), 1);
    }
}
