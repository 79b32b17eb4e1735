//! Every inner loop of every core against plain Rust. Where QEMU or a target is missing the test says so and passes, unless
//! `OCELLI_REQUIRE_DEVICE` is set, as `cargo xtask ci` does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli_firmware_tools::toolchain::find_emulator;
use ocelli_firmware_tools::{Toolchain, find, run_kernels};

#[test]
fn inner_loops_give_the_results_of_plain_rust() {
    // a board for each instruction set
    for name in ["qemu-m0plus", "qemu-m3", "qemu-m4", "qemu-m33", "qemu-rv32"] {
        let board = find(name).unwrap();
        let toolchain = match (find_emulator(board), Toolchain::find(board.target)) {
            (Ok(_), Ok(toolchain)) => toolchain,
            (Err(missing), _) | (_, Err(missing)) => {
                assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none(), "{missing}");
                eprintln!("not run: {missing}");
                continue;
            }
        };
        let lines = run_kernels(board, &toolchain, None).unwrap();
        let equal = lines.iter().filter(|line| line.ends_with("3000 cases are equal")).count();
        assert_eq!(equal, 8, "{name}:\n{}", lines.join("\n"));
        assert!(lines.iter().any(|line| line.contains("accumulate")), "{name}: nothing was measured");
    }
}
