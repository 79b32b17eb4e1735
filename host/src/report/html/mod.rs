//! `report.html`: a run on one page that needs nothing else: no network, no script, no other file.

mod charts;
mod checks;
mod confusion;
mod layers;
mod markup;
mod overview;
mod results;

use super::folder::RunView;
use crate::files::write_atomically;
use crate::run::names;
use markup::escape;
use std::path::{Path, PathBuf};

const STYLE: &str = include_str!("style.css");
/// The page may load nothing, and run nothing.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// Writes `report.html` into a run folder from what is there; returns its path. Cheap: nothing is evaluated, only read.
///
/// # Errors
/// When the folder is not one of a run, a file in it is damaged, or the page cannot be written.
pub fn refresh(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join(names::PAGE);
    write(folder, &path)?;
    Ok(path)
}

/// Writes the page of a run folder to `path`.
///
/// # Errors
/// As [`refresh`].
pub fn write(folder: &Path, path: &Path) -> anyhow::Result<()> {
    write_atomically(path, render(&RunView::read(folder)?)?.as_bytes())
}

/// The page of a run.
///
/// # Errors
/// When the network's shapes do not fit.
pub fn render(run: &RunView) -> anyhow::Result<String> {
    let summary = layers::summary(run)?;
    let title = escape(&run.network.name);
    let sections = [
        ("run", "The run", overview::about(run)),
        ("training", "Training", overview::training(run)),
        ("results", "Results", results::figures(run)),
        ("classes", "Classes", results::classes(run)),
        ("confusion", "Confusion", confusion::confusion(run)?),
        ("mistakes", "Mistakes", results::mistakes(run)),
        ("layers", "Layers", layers::table(&summary)),
        ("quantization", "Quantization error", layers::quantization(run)),
        ("device", "On the device", checks::device(run)),
        ("checks", "Checks", checks::checks(run)),
    ];
    let links = sections.iter().map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a>"));
    let body: String = sections.iter().map(|(id, title, body)| markup::section(id, title, body)).collect();
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title} &#183; Ocelli</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<div class=\"page\">\n\
         <header>\n<h1>{title}</h1>\n{}{}<nav aria-label=\"Contents\">{}</nav>\n</header>\n<main>\n{body}</main>\n\
         <footer>Written by ocelli {}.</footer>\n</div>\n</body>\n</html>\n",
        overview::lead(run),
        overview::tiles(run, &summary),
        links.collect::<String>(),
        env!("CARGO_PKG_VERSION"),
    ))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
