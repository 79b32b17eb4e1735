//! Operator cases on an emulated board. Where QEMU or the target is missing the test says so and passes, unless
//! `OCELLI_REQUIRE_DEVICE` is set, as `cargo xtask ci` does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli::model::records::{OpRecord, Tensor, kind};
use ocelli::model::write::{ModelFile, OpEntry};
use ocelli_firmware_tools::toolchain::find_emulator;
use ocelli_firmware_tools::{Case, Toolchain, find, run_cases};

/// The golden model: 4x4 gray to two scores.
fn golden() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tiny-v2.ocelli")).unwrap()
}

/// A model whose output is its input, 3x1x5.
fn flatten(arena_bytes: u32) -> Vec<u8> {
    let tensor =
        |h, c, rows, offset, last_reader| Tensor { h, w: 1, c, rows, offset, last_reader, scale: 0.5, zero_point: 3 };
    let entry = OpEntry {
        name: "flatten".to_owned(),
        record: OpRecord::new(kind::RESHAPE, 0),
        weights: vec![],
        bias: vec![],
        multipliers: vec![],
    };
    let file = ModelFile {
        tensors: vec![tensor(3, 5, 1, 0, 0), tensor(1, 15, 1, 8, 0)],
        ops: vec![entry],
        labels: vec![],
        input: None,
        arena_bytes,
        state: 24,
        scratch: [0, 0],
        lane_bytes: 1,
    };
    file.to_bytes().unwrap()
}

#[test]
fn a_case_that_the_board_refuses_does_not_keep_the_others_from_running() {
    let board = find("qemu-m4").unwrap();
    let toolchain = match (find_emulator(board), Toolchain::find(board.target)) {
        (Ok(_), Ok(toolchain)) => toolchain,
        (Err(missing), _) | (_, Err(missing)) => {
            assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none(), "{missing}");
            eprintln!("not run: {missing}");
            return;
        }
    };
    let mut damaged = golden();
    *damaged.last_mut().unwrap() ^= 1; // of the checksum
    let ramp: Vec<i8> = (-7..8).collect();
    let cases = [
        Case { model: golden(), frame: vec![-128; 16] },
        Case { model: damaged, frame: vec![-128; 16] },
        Case { model: flatten(28), frame: ramp.clone() },
        Case { model: golden(), frame: vec![0; 15] },
        Case { model: flatten((256 << 10) + 1), frame: ramp.clone() },
        Case { model: flatten(256 << 10), frame: ramp.clone() },
        Case { model: golden(), frame: vec![127; 16] },
        Case { model: vec![], frame: vec![] },
    ];
    let outputs = run_cases(board, &toolchain, &cases, None).unwrap();
    let ran: Vec<Option<&[i8]>> = outputs.iter().map(|output| output.as_deref().ok()).collect();
    assert_eq!(
        ran,
        [Some(&[123, -123][..]), None, Some(&ramp), None, None, Some(&ramp), Some(&[-123, 123]), None],
        "{outputs:?}"
    );
    let reason = |index: usize| outputs[index].as_deref().unwrap_err();
    assert!(reason(1).starts_with("the board refuses the model: Refused(Checksum {"), "{}", reason(1));
    assert_eq!(reason(3), "the frame has another size than the model's input: FrameSize");
    assert_eq!(
        reason(4),
        "the board refuses the model: Refused(Arena { found: 262144, needed: 262145 })",
        "more working memory than the bench has"
    );
    assert_eq!(reason(7), "the board refuses the model: Refused(NotAModel)");
}

#[test]
fn no_cases_give_no_outputs() {
    let board = find("qemu-m4").unwrap();
    let (Ok(_), Ok(toolchain)) = (find_emulator(board), Toolchain::find(board.target)) else {
        assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none());
        eprintln!("not run: QEMU or the target is missing");
        return;
    };
    assert!(run_cases(board, &toolchain, &[], None).unwrap().is_empty());
}
