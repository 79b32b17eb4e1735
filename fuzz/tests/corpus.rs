//! The committed corpus through every target, without libFuzzer: a stable compiler will do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

/// The files of a target's corpus.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn tflite_read_survives_its_corpus() {
    let files = corpus("tflite_read");
    files.iter().for_each(|file| ocelli_fuzz::tflite_read(file));
    assert!(files.len() > 20);
}

#[test]
fn onnx_read_survives_its_corpus_and_imports_much_of_it() {
    let imported = corpus("onnx_read").iter().filter(|file| ocelli_fuzz::onnx_read(file)).count();
    assert!(imported > 20, "{imported} files are imported");
}

#[test]
fn changed_numbers_and_names_of_a_graph_are_survived() {
    let mut imported = 0;
    for file in corpus("onnx_read") {
        for seed in 1..400_u32 {
            let changed = ocelli_fuzz::change(&file, seed.wrapping_mul(0x9e37_79b1));
            imported += changed.map_or(0, |file| usize::from(ocelli_fuzz::onnx_read(&file)));
        }
    }
    assert!(imported > 1000, "{imported} files are imported");
}

#[test]
fn ocelli_read_survives_its_corpus() {
    let files = corpus("ocelli_read");
    files.iter().for_each(|file| ocelli_fuzz::ocelli_read(file));
    assert!(files.len() > 20);
}

#[test]
fn ocelli_run_survives_its_corpus_and_runs_much_of_it() {
    let ran = corpus("ocelli_run").iter().filter(|file| ocelli_fuzz::ocelli_run(file)).count();
    assert!(ran > 20, "{ran} files load and run");
}

#[test]
fn changed_fields_are_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    for entry in std::fs::read_dir(folder).unwrap() {
        let golden = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(ocelli_fuzz::ocelli_run(&golden));
        for seed in 1..2000_u32 {
            let mut file = golden.clone();
            let len = file.len();
            ocelli_fuzz::mutate(&mut file, len, seed.wrapping_mul(0x9e37_79b1));
            ocelli_fuzz::ocelli_run(&file);
        }
    }
}
