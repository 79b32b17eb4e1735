//! What the run is: a line, the figures that matter, its configuration, its curves.

use super::charts::{Series, lines};
use super::markup::{escape, facts, file, not_measured};
use crate::network::summary::Summary;
use crate::report::folder::{RunView, text_of};
use crate::report::history::Curves;
use crate::report::words::{percent, thousands};
use crate::run::names;
use std::fmt::Write;

/// Tables of the configuration, in the order in which they are shown.
const KNOWN_TABLES: [&str; 4] = ["dataset", "training", "quantization", "target"];
/// Classes that are named.
const NAMED_CLASSES: usize = 24;

/// What it is, in a line.
pub fn lead(run: &RunView) -> String {
    let shape = run.network.input.shape;
    let color = match shape.c {
        1 => "gray",
        _ => "colour",
    };
    let classes = run.network.classes().map_or_else(|_| "a classifier".to_owned(), |n| format!("{n} classes"));
    let mut parts = vec![format!("{classes}, {} \u{d7} {} {color}", shape.h, shape.w)];
    parts.extend(run.data().map(|data| format!("trained on {data}")));
    format!("<p class=\"lead\">{}</p>\n", escape(&parts.join(" \u{b7} ")))
}

/// The figures that matter.
pub fn tiles(run: &RunView, summary: &Summary) -> String {
    let mut tiles: Vec<(&str, String)> = Vec::new();
    if let Some(int8) = &run.figures.int8 {
        tiles.push(("accuracy, int8", percent(int8.metrics.accuracy)));
    }
    if let Some(float) = &run.figures.float {
        tiles.push(("accuracy, float", percent(float.metrics.accuracy)));
    } else if let Some((_, best)) = run.curves.as_ref().and_then(Curves::best_accuracy) {
        tiles.push(("best validation accuracy", percent(best)));
    }
    let bytes = |n: u64| format!("{} <small>bytes</small>", thousands(n));
    let model = run.model.as_ref().map(|model| (model.flash_bytes, model.ram_bytes));
    let (flash, ram) = model.unwrap_or((summary.flash_bytes, summary.ram_bytes));
    tiles.push(("flash, model", bytes(flash)));
    tiles.push(("RAM, model", bytes(ram)));
    tiles.push(("parameters", thousands(summary.parameters)));
    tiles.push(("multiply-accumulates", thousands(summary.macs)));
    let tiles: String =
        tiles.iter().map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>")).collect();
    format!("<dl class=\"tiles\">{tiles}</dl>\n")
}

/// Network, data and configuration.
pub fn about(run: &RunView) -> String {
    let mut rows: Vec<(&str, String)> = vec![("network", run.network.name.clone())];
    if !run.labels.is_empty() {
        let mut named = run.labels.iter().take(NAMED_CLASSES).cloned().collect::<Vec<_>>().join(", ");
        if run.labels.len() > NAMED_CLASSES {
            let _ = write!(named, " and {} more", run.labels.len() - NAMED_CLASSES);
        }
        rows.push(("classes", named));
    }
    let known = KNOWN_TABLES.into_iter();
    // tables of another version of the configuration come after those that are known
    let others =
        run.config.keys().map(String::as_str).filter(|table| !KNOWN_TABLES.contains(table) && *table != "network");
    for table in known.chain(others) {
        let Some(settings) = run.config.get(table).and_then(toml::Value::as_table) else { continue };
        let settings = settings.iter().map(|(key, value)| format!("{key} {}", text_of(value)));
        rows.push((table, settings.collect::<Vec<_>>().join(", ")));
    }
    let mut html = facts(&rows);
    for name in [names::CONFIG, names::NETWORK] {
        if let Ok(text) = std::fs::read_to_string(run.folder.join(name)) {
            html += &file(name, &text);
        }
    }
    html
}

/// Curves over the epochs.
pub fn training(run: &RunView) -> String {
    let Some(curves) = run.curves.as_ref().filter(|curves| curves.epochs() > 0) else {
        return not_measured("ocelli train config.toml --out RUN");
    };
    let series = |name: &'static str, class: &'static str, column: &str, factor: f64| Series {
        name,
        class,
        points: curves.points(column).into_iter().map(|(x, y)| (x, factor * y)).collect(),
    };
    let lowest = curves.points("val_loss").into_iter().reduce(|a, b| if b.1 < a.1 { b } else { a });
    let of_loss = lowest.map_or_else(String::new, |(epoch, loss)| {
        format!("Lowest validation loss <b>{loss:.4}</b> in epoch {epoch:.0}.")
    });
    let of_accuracy = curves.best_accuracy().map_or_else(String::new, |(epoch, accuracy)| {
        format!("Best validation accuracy <b>{}</b> in epoch {epoch:.0}.", percent(accuracy))
    });
    let mut html = String::from("<div class=\"charts\">");
    html +=
        &lines("Loss", &[series("training", "a", "loss", 1.0), series("validation", "b", "val_loss", 1.0)], &of_loss);
    html += &lines(
        "Accuracy (%)",
        &[series("training", "a", "accuracy", 100.0), series("validation", "b", "val_accuracy", 100.0)],
        &of_accuracy,
    );
    html += &lines("Learning rate", &[series("of the epoch's last step", "a", "learning_rate", 1.0)], "");
    html += "</div>\n";
    let seconds = curves.points("seconds").last().map(|&(_, seconds)| format!(" in {seconds:.0} s"));
    let _ = writeln!(html, "<p class=\"note after\">{} epochs{}.</p>", curves.epochs(), seconds.unwrap_or_default());
    html
}
