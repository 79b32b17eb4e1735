//! The firmware on an emulated board. Where QEMU or the target is missing these tests say so and pass, unless
//! `OCELLI_REQUIRE_DEVICE` is set, as `cargo xtask ci` does.

use crate::support::{OpFields, device_toolchain, digits, repository, reseal, shipped_model};
use ocelli_firmware_tools::{Board, Firmware};
use ocelli_host::check::run_firmware;
use ocelli_host::data::Split;
use ocelli_host::model::ModelBytes;
use ocelli_host::network::Network;
use std::path::Path;

/// The board and a firmware with this model in it; `None` where it cannot be run.
fn firmware(model: &Path) -> Option<(&'static Board, Firmware)> {
    let (board, toolchain) = device_toolchain("qemu-m4")?;
    Some((board, ocelli_firmware_tools::build(board, &toolchain, model, None).unwrap()))
}

#[test]
fn the_board_gives_every_byte_that_the_host_gives() {
    let path = shipped_model().join("model.ocelli");
    let Some((board, firmware)) = firmware(&path) else { return };
    let model = ModelBytes::read(&path).unwrap();
    let data = digits(&Network::open("mnist-cnn").unwrap(), Split::Test, 30);
    let check = run_firmware(board, &firmware, &model, &data, 30, &mut |_| {}).unwrap();
    assert_eq!((check.differing_bytes, check.bytes), (0, 300), "{:?}", check.first_difference);
    assert!(check.instructions > 2_000_000, "fewer instructions than multiply-accumulates: {}", check.instructions);
    assert!(check.stack_bytes > 0 && check.ram_static_bytes >= u64::from(model.model().unwrap().arena_bytes()));
    assert_eq!(check.log, ["info: 30 frames classified"], "the log is decoded");
}

#[test]
fn one_wrong_weight_on_the_board_is_found() {
    let path = shipped_model().join("model.ocelli");
    let Some((board, firmware)) = firmware(&path) else { return };
    let model = ModelBytes::read(&path).unwrap();
    let mut file = model.as_slice().to_vec();
    let at = OpFields::of(&file, 0).weights(&file) + 5;
    file[at] ^= 0x40;
    reseal(&mut file);
    let data = digits(&Network::open("mnist-cnn").unwrap(), Split::Test, 50);
    let wrong = firmware.with_model(&file).unwrap();
    let check = run_firmware(board, &wrong, &model, &data, 50, &mut |_| {}).unwrap();
    assert!(check.differing_bytes > 0);
    assert!(check.first_difference.is_some_and(|first| first.contains("on the board")));
}

#[test]
fn a_damaged_model_is_refused_by_the_board_with_the_reason() {
    let path = shipped_model().join("model.ocelli");
    let Some((board, firmware)) = firmware(&path) else { return };
    let model = ModelBytes::read(&path).unwrap();
    let mut file = model.as_slice().to_vec();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    let data = digits(&Network::open("mnist-cnn").unwrap(), Split::Test, 1);
    let error = run_firmware(board, &firmware.with_model(&file).unwrap(), &model, &data, 1, &mut |_| {}).unwrap_err();
    assert!(format!("{error:#}").contains("Checksum"), "{error:#}");
}

#[test]
fn the_golden_model_runs_on_the_board() {
    let path = repository("tests/golden/tiny-v2.ocelli");
    let Some((board, firmware)) = firmware(&path) else { return };
    let frame = |value| vec![value; 16];
    let frames = ocelli_firmware_tools::Frames {
        width: 4,
        height: 4,
        format: ocelli::image::PixelFormat::Gray8,
        frames: vec![frame(0), frame(255)],
    };
    let run = ocelli_firmware_tools::run(board, &firmware, &frames, &mut |_| {}).unwrap();
    assert_eq!(run.outputs, [[123, -123], [-123, 123]]);
}
