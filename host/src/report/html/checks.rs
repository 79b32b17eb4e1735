//! What a board measured, and what the judges said.

use super::layers::first_of;
use super::markup::{Cell, escape, facts, not_measured, table};
use crate::report::folder::RunView;
use crate::report::words::{percent, thousands};
use crate::run::names;
use serde_json::Value;

/// Flash, RAM and instructions, from the last check or from a bench.
pub fn device(run: &RunView) -> String {
    let board = run.setting("target", "board").unwrap_or_else(|| "BOARD".to_owned());
    let mut rows = Vec::new();
    let bytes = |n: u64| format!("{} bytes", thousands(n));
    if let Some(model) = &run.model {
        rows.push(("flash, model", bytes(model.flash_bytes)));
        rows.push(("RAM, model", bytes(model.ram_bytes)));
    }
    let check = run.figures.check.as_ref().and_then(|check| check.device.as_ref());
    if let Some(device) = check {
        rows.push(("board", device.board.clone()));
        rows.push(("flash, firmware with model", bytes(device.flash_bytes)));
        rows.push((
            "RAM, firmware with model",
            format!("{} ({} of them stack)", bytes(device.ram_bytes), thousands(device.stack_bytes)),
        ));
        rows.push(("instructions an image", thousands(device.instructions)));
        let on = first_of(device.images, &device.on);
        rows.push(("accuracy", format!("{} on {on}", percent(device.accuracy))));
        rows.push((
            "outputs",
            match device.differing_bytes {
                0 => "every byte as on this computer".to_owned(),
                n => format!("{n} bytes are not those of this computer"),
            },
        ));
        return facts(&rows) + "<p class=\"note\">Instructions, not cycles.</p>\n";
    }
    if let Some((measured, layers)) = bench(run) {
        rows.extend(measured);
        return facts(&rows) + &layers;
    }
    let command = match board.as_str() {
        crate::config::HOST => "cargo xtask bench host".to_owned(),
        board => format!("ocelli check RUN DATA --board {board}"),
    };
    facts(&rows) + "<h3>Instructions, firmware's flash and RAM</h3>\n" + &not_measured(&command)
}

type Bench = (Vec<(&'static str, String)>, String);

/// What `cargo xtask bench device --json RUN/bench.json` left, when it is of this model.
fn bench(run: &RunView) -> Option<Bench> {
    let text = std::fs::read_to_string(run.folder.join(names::BENCH)).ok()?;
    let json: Value = serde_json::from_str(&text).ok()?;
    let number = |key: &str| json[key].as_u64();
    // a model that has since been made anew may be as long, but not end in the same checksum
    let checksum =
        run.model.as_ref().and_then(|model| model.bytes.as_slice().last_chunk()).copied().map(u32::from_le_bytes);
    if number("model_crc32") != checksum.map(u64::from) || checksum.is_none() {
        return None;
    }
    let bytes = |key: &str| number(key).map(|n| format!("{} bytes", thousands(n)));
    let text = |key: &str| json[key].as_str().map(str::to_owned);
    let rows = [
        ("board", text("board")),
        ("core", text("core")),
        ("flash, code", bytes("flash_code_bytes")),
        ("stack", bytes("stack_bytes")),
        ("instructions an inference", number("instructions").map(thousands)),
    ];
    let layers: Vec<Vec<Cell>> = json["layers"]
        .as_array()?
        .iter()
        .filter_map(|layer| {
            Some(vec![
                Cell::head(layer["name"].as_str()?),
                Cell::number(&thousands(layer["instructions"].as_u64()?)),
                Cell::number(
                    &layer["instructions_per_mac"].as_f64().map_or("\u{2013}".to_owned(), |n| format!("{n:.2}")),
                ),
            ])
        })
        .collect();
    let table =
        table("Instructions of each layer", &["layer", "instructions", "a multiply-accumulate"], 1, &layers, None);
    Some((rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(), table))
}

/// The table of the last check.
pub fn checks(run: &RunView) -> String {
    let Some(check) = &run.figures.check else { return not_measured("ocelli check RUN DATA") };
    let rows: Vec<Vec<Cell>> = check
        .rows
        .iter()
        .map(|row| {
            let status = Cell::text(&row.status);
            let status = match row.status.as_str() {
                "ok" => status.with_class("ok"),
                "FAILED" => status.with_class("failed"),
                _ => status,
            };
            vec![Cell::long(&row.what), Cell::long(&row.found), Cell::text(&row.allowed), status]
        })
        .collect();
    let mut note = "Burn, tract, the int8 runtime and the emulated board, side by side".to_owned();
    if !check.on.is_empty() {
        note = format!("{note}, on {}", check.on);
    }
    format!(
        "<p class=\"note\">{}.</p>\n{}",
        escape(&note),
        table("Checks", &["check", "found", "allowed", ""], 4, &rows, None)
    )
}
