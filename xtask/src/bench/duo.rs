//! The part of `bench device` that boards with two cores have: one core and two, and the instructions of each.

use super::per_mac;
use anyhow::Result;
use ocelli_firmware_tools::bench::{BenchOptions, DuoReport, duo, noise};
use ocelli_firmware_tools::boards::{Board, Optimize};
use ocelli_firmware_tools::toolchain::Toolchain;
use serde_json::{Value, json};
use std::path::Path;

/// Measures a compiled model on one core and on two; `None` for a board with one.
pub fn measure(
    model: &Path,
    board: &'static Board,
    frames: usize,
    optimize: Option<Optimize>,
) -> Result<Option<DuoReport>> {
    if board.cores < 2 {
        return Ok(None);
    }
    let toolchain = Toolchain::find(board.target)?;
    let options = BenchOptions { optimize, ..BenchOptions::default() };
    Ok(Some(duo(board, &toolchain, model, &noise(model, frames)?, &options)?))
}

/// `part` next to `whole`.
fn ratio(part: u64, whole: u64) -> f64 {
    // Both are far below 2^53.
    part as f64 / whole.max(1) as f64
}

/// The report as the lines that are printed.
pub fn table(report: &DuoReport) -> String {
    let DuoReport { alone, together, span, stack_bytes, .. } = report;
    let line = |name: &str, work: u64, waiting: u64| {
        let share = ratio(work, alone.work);
        let per_mac = per_mac(work, report.macs).map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        format!("{name:<32} {work:>14} {waiting:>12} {share:>8.3} {per_mac:>8}\n")
    };
    let mut text = format!(
        "\ntwo cores share the rows of convolutions: the same bytes\n\n{:<32} {:>14} {:>12} {:>8} {:>8}\n",
        "instructions of", "work", "waiting", "of one", "per mac"
    );
    text += &line("one core, alone", alone.work, alone.waiting);
    for (index, core) in together.iter().enumerate() {
        text += &line(&format!("core {index} of two"), core.work, core.waiting);
    }
    text += &line("longest way through both", *span, 0);
    let faster = ratio(alone.work, *span);
    text += &format!("\ntwo cores: {faster:.2} x at best; deepest stacks {} and {}\n", stack_bytes[0], stack_bytes[1]);
    text
}

/// The report as JSON.
pub fn to_json(report: &DuoReport) -> Value {
    let core = |core: &ocelli_firmware_tools::CoreInstructions| json!({ "work": core.work, "waiting": core.waiting });
    json!({
        "one_core": core(&report.alone),
        "cores": report.together.iter().map(core).collect::<Vec<_>>(),
        "span": report.span,
        "stack_bytes": report.stack_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_firmware_tools::CoreInstructions;
    use ocelli_firmware_tools::boards::find;

    #[test]
    fn the_table_has_a_line_a_core_and_what_two_bring() {
        let core = |work, waiting| CoreInstructions { work, waiting };
        let report = DuoReport {
            board: find("qemu-m33-duo").unwrap(),
            optimize: Optimize::Speed,
            frames: 1,
            macs: 100,
            alone: core(200, 0),
            together: [core(120, 7), core(90, 8)],
            span: 125,
            stack_bytes: [700, 300],
            outputs: vec![],
        };
        let text = table(&report);
        let words = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.strip_prefix(name).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words("one core, alone"), ["200", "0", "1.000", "2.00"]);
        assert_eq!(words("core 1 of two"), ["90", "8", "0.450", "0.90"]);
        assert!(text.ends_with("two cores: 1.60 x at best; deepest stacks 700 and 300\n"), "{text}");
        assert_eq!(to_json(&report)["cores"][0]["work"], 120);
    }
}
