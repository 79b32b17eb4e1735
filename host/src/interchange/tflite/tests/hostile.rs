//! Broken files give an error or a model, never a panic, and never cost more than their size justifies.

use super::super::*;
use super::build::relu;
use super::model;
use crate::compile::{Options, Target, compile};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const FILES: [&str; 2] = ["mnist_cnn_int8.tflite", "resnet8_made_int8.tflite"];
/// Bytes that make a parser go wrong more often than others do.
const CORNERS: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];

/// Does with `file` all that the `import` and `compile` commands do; whether it is read.
fn import(file: &[u8]) -> bool {
    if let Ok(Imported::Quantized(network)) = super::super::import(file, &ImportOptions::default()) {
        let options = Options::for_target(Target { lane_bytes: 2, scratch_bytes: 2560, blocks: false, cores: 1 });
        let _ = compile(&network, options); // an error is an answer
    }
    read(file).is_ok()
}

#[test]
fn cut_files_are_refused() {
    for name in FILES {
        let file = model(name);
        assert!(import(&file), "{name}");
        // the head and the tail byte by byte, what lies between in steps of a prime
        let cuts = (0..1024).chain((1024..file.len()).step_by(61)).chain(file.len() - 1024..file.len());
        let mut refused = 0;
        for cut in cuts {
            refused += u32::from(!import(&file[..cut]));
        }
        assert!(refused > 2_400, "{name}: {refused}");
    }
}

#[test]
fn other_files_are_refused_by_name() {
    for (file, found) in [(&b""[..], ""), (b"PK\x03\x04aaaa\x00", "aaaa"), (b"\x89HDF\r\n\x1a\n", r"\r\n\x1a\n")] {
        assert_eq!(read(file), Err(TfliteError::NotTflite { found: found.to_owned() }));
    }
}

#[test]
fn flipped_bytes_never_panic() {
    for (seed, name) in FILES.iter().enumerate() {
        let file = model(name);
        let mut random = ChaCha8Rng::seed_from_u64(seed as u64);
        let (mut read_anyway, rounds) = (0, 3_000);
        for _ in 0..rounds {
            let mut broken = file.clone();
            for _ in 0..random.random_range(1..8) {
                // the structure lies in the last part of the file, and at its start
                let structure = random.random_bool(0.8);
                let at = if structure {
                    file.len() - random.random_range(1..14_000)
                } else {
                    random.random_range(8..file.len())
                };
                broken[at] = match random.random_range(0..3) {
                    0 => random.random(),
                    1 => CORNERS[random.random_range(0..CORNERS.len())],
                    _ => broken[at] ^ 1 << random.random_range(0..8),
                };
            }
            read_anyway += u32::from(import(&broken));
        }
        // both happen, or the flips hit nothing or everything
        assert!((100..rounds - 100).contains(&read_anyway), "{name}: {read_anyway} of {rounds}");
    }
}

#[test]
fn every_byte_of_a_small_file_may_have_any_corner_value() {
    let file = relu().file();
    let mut read_anyway = 0;
    for at in 0..file.len() {
        for corner in CORNERS {
            let mut broken = file.clone();
            broken[at] = corner;
            read_anyway += usize::from(import(&broken));
        }
    }
    assert!(read_anyway > 0 && read_anyway < file.len() * CORNERS.len());
}

/// A file whose list of tensors names one tensor `count` times, written by hand.
fn one_tensor_many_times(count: u32, name: u32) -> Vec<u8> {
    let mut file = b"\0\0\0\0TFL3".to_vec();
    let u32s = |file: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    let u16s = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| file.extend(value.to_le_bytes()));
    u16s(&mut file, &[10, 12, 4, 0, 8, 0]); // 8: the model's vtable: version at 4, subgraphs at 8
    file[0] = 20; // the root
    u32s(&mut file, &[12, 3, 4]); // 20: the model; its list of subgraphs is at 32
    u32s(&mut file, &[1, 12]); // 32: one subgraph, at 48
    u16s(&mut file, &[6, 8, 4, 0]); // 40: the subgraph's vtable: tensors at 4
    u32s(&mut file, &[8, 20]); // 48: the subgraph; its list of tensors is at 72
    u16s(&mut file, &[12, 8, 0, 0, 0, 4, 0, 0]); // 56: the tensor's vtable: name at 4
    assert_eq!(file.len(), 72);
    u32s(&mut file, &[count]);
    let tensor = 76 + 4 * count;
    (0..count).for_each(|i| u32s(&mut file, &[tensor - 76 - 4 * i]));
    u32s(&mut file, &[tensor - 56, 4, name]);
    file.extend(vec![b'x'; name as usize]);
    file
}

#[test]
fn a_file_cannot_describe_more_than_it_holds() {
    // well formed as far as the tensors go, so it is the missing output that is refused
    let error = read(&one_tensor_many_times(10, 10)).unwrap_err();
    assert_eq!(error, TfliteError::Model("the network has no output".to_owned()));
    // 100,000 tensors of one description; and 5,000 copies of a name of 100,000 letters: 500 MB out of 120 KB
    for (count, name) in [(100_000, 10), (5_000, 100_000)] {
        let file = one_tensor_many_times(count, name);
        assert_eq!(read(&file), Err(TfliteError::TooMuch { file_bytes: file.len() }));
    }
}
