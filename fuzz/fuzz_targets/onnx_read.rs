//! An .onnx file of any origin: imported, and compiled where it is quantized.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|file: &[u8]| {
    ocelli_fuzz::onnx_read(file);
});

// most changes of bytes make a file that does not decode: every other one changes a number or name of the graph
fuzz_mutator!(|file: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = if seed.is_multiple_of(2) { None } else { ocelli_fuzz::change(&file[..size], seed) };
    match changed {
        Some(changed) if changed.len() <= max_size => {
            file[..changed.len()].copy_from_slice(&changed);
            changed.len()
        }
        _ => fuzzer_mutate(file, size, max_size),
    }
});
