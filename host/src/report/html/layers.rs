//! The layers: shapes and costs, and what int8 does to each.

use super::markup::{Cell, escape, not_measured, table as markup_table};
use super::results::EVALUATE;
use crate::compile::Target;
use crate::network::summary::{Summary, summarize};
use crate::quantize::widened_network;
use crate::report::folder::RunView;
use crate::report::words::thousands;
use ocelli_firmware_tools::boards::find;

/// The signal-to-noise ratio at which a bar is full.
const CLEAN_DB: f64 = 50.0;

/// The layer table for what the model was compiled for; without a model, for the board of the configuration.
pub fn summary(run: &RunView) -> anyhow::Result<Summary> {
    let compiled = run.model.as_ref().map(|model| anyhow::Ok(Target::of_model(&model.bytes.model()?))).transpose()?;
    let board = || run.setting("target", "board").and_then(|board| find(&board).ok()).map(Target::of);
    let labels = Some(run.labels.as_slice()).filter(|labels| !labels.is_empty());
    // of the network that the model was compiled from
    let widened = run.model.as_ref().map(|_| widened_network(&run.folder, &run.network)).transpose()?.flatten();
    let network = widened.as_ref().unwrap_or(&run.network);
    summarize(network, labels, compiled.or_else(board).unwrap_or(Target::HOST))
}

/// Shapes, parameters, multiply-accumulates, flash and RAM.
pub fn table(summary: &Summary) -> String {
    let shape = |[h, w, c]: [u32; 3]| format!("{h} \u{d7} {w} \u{d7} {c}");
    let largest = |of: fn(&crate::network::summary::LayerSummary) -> u64| {
        summary.layers.iter().map(of).max().unwrap_or(0).max(1) as f64
    };
    let (parameters, macs) = (largest(|l| l.parameters), largest(|l| l.macs));
    let (flash, ram) = (largest(|l| l.flash_bytes), largest(|l| l.ram_bytes));
    let bar = |value: u64, largest: f64| Cell::bar(&thousands(value), value as f64 / largest);
    let rows: Vec<Vec<Cell>> = summary
        .layers
        .iter()
        .map(|layer| {
            vec![
                Cell::head(&layer.name),
                Cell::text(layer.kind),
                Cell::number(&shape(layer.output_shape)),
                bar(layer.parameters, parameters),
                bar(layer.macs, macs),
                bar(layer.flash_bytes, flash),
                bar(layer.ram_bytes, ram),
            ]
        })
        .collect();
    let sum = |value: u64| Cell::number(&thousands(value));
    let foot = [
        Cell::head("all"),
        Cell::text(""),
        Cell::text(""),
        sum(summary.parameters),
        sum(summary.macs),
        sum(summary.flash_bytes),
        sum(summary.ram_bytes),
    ];
    let header = ["layer", "type", "output", "parameters", "MACs", "flash", "RAM"];
    let note = format!(
        "Input {}. Flash and RAM in bytes, of the int8 network as it is compiled; a layer's RAM is the ring of rows that holds its output. \
         The sums hold tables, the input's rows and the schedule's state too.",
        shape(summary.input_shape)
    );
    let note = match &summary.host_only {
        Some(layer) => format!(
            "Input {}. Runs on the host only, for layer {layer} is a conv3d: it takes no flash or RAM of a device.",
            shape(summary.input_shape)
        ),
        None => note,
    };
    format!("<p class=\"note\">{}</p>\n{}", escape(&note), markup_table("Layers", &header, 2, &rows, Some(&foot)))
}

/// The first images of a set in words.
pub fn first_of(images: usize, on: &str) -> String {
    let images = thousands(images as u64);
    if on.is_empty() { format!("{images} images") } else { format!("the first {images} of {on}") }
}

/// Float against int8, layer by layer.
pub fn quantization(run: &RunView) -> String {
    let Some(error) = &run.figures.quantization else { return not_measured(EVALUATE) };
    let rows: Vec<Vec<Cell>> = error
        .layers
        .iter()
        .map(|layer| {
            let ratio = layer
                .snr_db
                .map_or_else(|| Cell::number("\u{2013}"), |db| Cell::bar(&format!("{db:.1}"), db / CLEAN_DB));
            vec![
                Cell::head(&layer.name),
                ratio,
                Cell::number(&format!("{:.2}", layer.mean_steps)),
                Cell::number(&format!("{:.1}", layer.max_steps)),
                Cell::number(&format!("{:.3e}", layer.step)),
                Cell::number(&thousands(layer.values as u64)),
            ]
        })
        .collect();
    let note = format!(
        "Each layer's output in the compiled network against the float network's, on {}; the error of a layer holds that of all \
         before it. At 20 dB the noise is a tenth of the signal, at 40 dB a hundredth. Layers that the compiler fused into others are left \
         out.",
        first_of(error.images, &error.on)
    );
    let header = ["layer", "signal to noise (dB)", "mean error (steps)", "largest (steps)", "a step", "values"];
    format!("<p class=\"note\">{}</p>\n{}", escape(&note), markup_table("Quantization error", &header, 1, &rows, None))
}
