//! An .onnx file of any origin: imported, and compiled where it is quantized.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    ocelli_fuzz::onnx_read(file);
});
