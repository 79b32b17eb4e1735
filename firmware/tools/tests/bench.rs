//! The benchmark on emulated boards. Where QEMU or a target is missing the tests say so and pass, unless `OCELLI_REQUIRE_DEVICE` is set,
//! as `cargo xtask ci` does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli_firmware_tools::bench::noise;
use ocelli_firmware_tools::toolchain::find_emulator;
use ocelli_firmware_tools::{BenchOptions, BenchReport, Board, Toolchain, bench, emulated, find};
use std::path::Path;

/// The shipped model: every layer has work to do.
fn model() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mnist-cnn/model.ocelli"))
}

/// The report on a board; `None` where it cannot be run.
fn measure(board: &'static Board, frames: usize) -> Option<BenchReport> {
    let toolchain = match (find_emulator(board), Toolchain::find(board.target)) {
        (Ok(_), Ok(toolchain)) => toolchain,
        (Err(missing), _) | (_, Err(missing)) => {
            assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none(), "{missing}");
            eprintln!("not run: {missing}");
            return None;
        }
    };
    let frames = noise(model(), frames).unwrap();
    Some(bench(board, &toolchain, model(), &frames, &BenchOptions::default()).unwrap())
}

#[test]
fn a_second_run_gives_the_same_report() {
    let board = find("qemu-m4").unwrap();
    assert_eq!(measure(board, 2), measure(board, 2));
}

#[test]
fn every_board_gives_the_outputs_of_the_host_and_layers_that_add_up_to_the_total() {
    for board in emulated() {
        let Some(report) = measure(board, 1) else { continue };
        let layers: u64 = report.layers.iter().map(|layer| layer.instructions).sum();
        // the total has no readings of the clock in it; what they cost has been taken off the layers
        assert!(layers.abs_diff(report.instructions) < report.instructions / 1_000, "{}: {layers}", board.name);
        assert!(
            report.instructions > report.macs / 2,
            "{}: no core here does more than two an instruction",
            board.name
        );
        let softmax = report.layers.last().unwrap();
        assert!((500..100_000).contains(&softmax.instructions), "{}: {softmax:?}", board.name);
        assert_eq!((report.layers.len(), report.layers[0].name.as_str(), report.layers[0].macs), (7, "input", 0));
        assert!(report.stack_bytes > 0 && report.stack_bytes <= board.stack_bytes.into(), "{}", report.stack_bytes);
        let sections: u64 = report.flash_sections.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sections, report.flash_code_bytes + report.flash_model_bytes);
    }
}
