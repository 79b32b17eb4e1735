//! The committed corpus through every target, without libFuzzer: a stable compiler will do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

/// Runs a target on the files of its corpus; returns how many there were.
fn replay(target: &str, run: impl Fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.iter().for_each(|file| run(&std::fs::read(file).unwrap()));
    files.len()
}

#[test]
fn tflite_read_survives_its_corpus() {
    assert!(replay("tflite_read", ocelli_fuzz::tflite_read) > 20);
}

#[test]
fn ocelli_read_survives_its_corpus() {
    assert!(replay("ocelli_read", ocelli_fuzz::ocelli_read) > 20);
}

#[test]
fn ocelli_run_survives_its_corpus() {
    assert!(replay("ocelli_run", ocelli_fuzz::ocelli_run) > 20);
}

#[test]
fn changed_fields_are_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    for entry in std::fs::read_dir(folder).unwrap() {
        let golden = std::fs::read(entry.unwrap().path()).unwrap();
        for seed in 1..2000_u32 {
            let mut file = golden.clone();
            let len = file.len();
            ocelli_fuzz::mutate(&mut file, len, seed.wrapping_mul(0x9e37_79b1));
            ocelli_fuzz::ocelli_run(&file);
        }
    }
}
