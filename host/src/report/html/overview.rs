//! What the run is: a line, the figures that matter, its configuration, its curves.

use super::charts::{Series, lines};
use super::markup::{escape, facts, file, not_measured};
use crate::network::summary::Summary;
use crate::report::folder::{RunView, text_of};
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
    let on = |share: f64, on: &str| format!("{} <small class=\"on\">{}</small>", percent(share), escape(on));
    let (int8, float) = (run.figures.int8.as_ref(), run.figures.float.as_ref());
    if let Some(int8) = int8 {
        tiles.push(("accuracy, int8", on(int8.metrics.accuracy, &int8.on_name())));
    }
    // figures of other images do not stand beside these: a reader would compare them
    if let Some(float) = float.filter(|float| int8.is_none_or(|int8| float.is_of_the_images_of(int8))) {
        tiles.push(("accuracy, float", on(float.metrics.accuracy, &float.on_name())));
    }
    if let (None, None, Some(kept)) = (int8, float, run.kept()) {
        let of = format!("epoch {:.0}, whose weights are kept", kept.epoch);
        tiles.push(("validation accuracy, float", on(kept.val_accuracy, &of)));
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
    let of_kept = run.kept().map_or_else(String::new, |kept| {
        format!(" The folder holds the weights of epoch {:.0} ({}).", kept.epoch, percent(kept.val_accuracy))
    });
    let mut html = String::from("<div class=\"charts\">");
    html +=
        &lines("Loss", &[series("training", "a", "loss", 1.0), series("validation", "b", "val_loss", 1.0)], &of_loss);
    html += &lines(
        "Accuracy (%)",
        &[series("training", "a", "accuracy", 100.0), series("validation", "b", "val_accuracy", 100.0)],
        &(of_accuracy + &of_kept),
    );
    html += &lines("Learning rate", &[series("of the epoch's last step", "a", "learning_rate", 1.0)], "");
    html += "</div>\n";
    let seconds = curves.points("seconds").last().map(|&(_, seconds)| format!(" in {seconds:.0} s"));
    let _ = writeln!(html, "<p class=\"note after\">{} epochs{}.</p>", curves.epochs(), seconds.unwrap_or_default());
    html
}
