//! A .tflite file of any origin: read, simplified, imported and compiled.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| ocelli_fuzz::tflite_read(file));
