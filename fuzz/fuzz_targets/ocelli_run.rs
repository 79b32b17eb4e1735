//! A .ocelli file of any origin: loaded and run.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|file: &[u8]| {
    ocelli_fuzz::ocelli_run(file);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed & 3 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    ocelli_fuzz::mutate(data, size, seed);
    size
});
