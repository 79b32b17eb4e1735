//! Model files: the committed one, those of other versions, and those that somebody damaged.

use crate::graphs::quantized_every_layer;
use crate::int4::odd_rows;
use crate::support::{OpFields, repository, reseal};
use ocelli::image::{ColorOrder, InputSpec, Resize};
use ocelli::ir::Shape;
use ocelli::model::records::{OpRecord, Tensor, VERSION, kind, padded};
use ocelli::model::write::{ModelFile, OpEntry};
use ocelli::model::{LoadError, Model, Region};
use ocelli::quant::Multiplier;
use ocelli::runtime::Session;
use ocelli_host::compile::{Options, Passes, Target, compile, ring_rows, with_heights};
use ocelli_host::interchange::tflite::{ImportOptions, Imported, import};
use ocelli_host::model::ModelBytes;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn golden() -> PathBuf {
    repository("tests/golden/tiny-v2.ocelli")
}

/// The golden file's network: is a 4x4 gray picture bright at the top left? Conv 2x2 (mean of four pixels), max pool 3, dense 2.
fn tiny() -> ModelFile {
    let tensor = |h, w, c, scale, zero_point| Tensor { h, w, c, rows: h, offset: 0, last_reader: 0, scale, zero_point };
    let entry = |name: &str, record, weights: &[i8], bias: &[i32], multipliers: &[f64]| OpEntry {
        name: name.to_owned(),
        record,
        weights: weights.to_vec(),
        bias: bias.to_vec(),
        multipliers: multipliers.iter().map(|&real| Multiplier::from_real(real).unwrap()).collect(),
    };
    let conv = OpRecord { kernel: [2, 2], tile_values: 8, tile_channels: 1, ..OpRecord::new(kind::CONV2D, 0) };
    let pool = OpRecord { kernel: [3, 3], stride: [3, 3], ..OpRecord::new(kind::MAX_POOL2D, 1) };
    let pixel = 1.0 / 255.0;
    let mut file = ModelFile {
        tensors: vec![
            tensor(4, 4, 1, pixel, -128),
            tensor(3, 3, 1, pixel, -128),
            tensor(1, 1, 1, pixel, -128),
            tensor(1, 1, 2, 0.0625, 0),
            tensor(1, 1, 2, 1.0 / 256.0, -128),
        ],
        ops: vec![
            // weights 64 at a scale of 1/256: a quarter each, a row of two padded to four; the bias 0 and 128 * 4 * 64 for the zero point
            entry("conv", conv, &[64, 64, 0, 0, 64, 64, 0, 0], &[32768], &[1.0 / 256.0]),
            entry("pool", pool, &[], &[], &[]),
            // logits -4 x + 2 and 4 x - 2, weights at a scale of 1/16: 64 steps are 4; the bias is at 1/255/16: 8160, and 128 * 64 for
            // the zero point
            entry(
                "dense",
                OpRecord::new(kind::DENSE, 2),
                &[-64, 0, 0, 0, 64, 0, 0, 0],
                &[8160 - 8192, -8160 + 8192],
                &[f64::from(pixel); 2],
            ),
            entry("softmax", OpRecord::new(kind::SOFTMAX, 3), &[], &[], &[0.0625 * f64::from(1 << 26)]),
        ],
        labels: vec!["dark".to_owned(), "bright".to_owned()],
        input: Some((
            InputSpec {
                shape: Shape::new(4, 4, 1),
                color: ColorOrder::Gray,
                resize: Resize::CenterCrop,
                mean: [0.0; 3],
                std: [1.0; 3],
            },
            (-128..=127).collect(),
        )),
        arena_bytes: 0,
        state: 0,
        scratch: [0, 0],
        lane_bytes: WIDEST.lane_bytes,
    };
    for (i, tensor) in (0..).zip(&mut file.tensors) {
        tensor.last_reader = i.min(3);
    }
    let heights = ring_rows(&file).unwrap();
    with_heights(&mut file, &heights).unwrap();
    file
}

/// A target whose files every core here takes.
const WIDEST: Target = Target { lane_bytes: 2, scratch_bytes: 1280, blocks: false, cores: 1 };

/// A network of every layer there is, compiled without folding its padding, so that there is a pad.
fn every_operator() -> Vec<u8> {
    let passes = Passes { fold_padding: false, ..Passes::ALL };
    compile(&quantized_every_layer(), Options { target: WIDEST, passes }).unwrap()
}

fn load(bytes: &[u8]) -> Result<(), LoadError> {
    let bytes = ModelBytes::new(bytes);
    Model::parse(bytes.as_slice()).map(|_| ())
}

#[test]
fn the_golden_file_is_what_is_written_today() {
    let bytes = tiny().to_bytes().unwrap();
    if std::env::var_os("OCELLI_WRITE_GOLDEN").is_some() {
        std::fs::write(golden(), &bytes).unwrap();
    }
    assert_eq!(
        std::fs::read(golden()).unwrap(),
        bytes,
        "the format changed: raise VERSION and add a golden file beside this one"
    );
}

#[test]
fn the_golden_file_runs_as_computed_by_hand() {
    let model = ModelBytes::read(&golden()).unwrap();
    assert_eq!(model.model().unwrap().labels().collect::<Vec<_>>(), ["dark", "bright"]);
    assert_eq!(model.input_spec().unwrap().resize, Resize::CenterCrop);
    let scores = |pixel: i8| model.with_session(|s| Ok(s.run(|_, row| row.fill(pixel)).to_vec())).unwrap();
    // black: logits 2 and -2, so 1 / (1 + exp(-4)) = 0.98201 = 251.4 / 256, which is 251 - 128; white the other way round
    assert_eq!(scores(-128), [123, -123]);
    assert_eq!(scores(127), [-123, 123]);
}

#[test]
fn models_with_every_operator_are_still_read() {
    let path = |name: &str| repository("tests/golden").join(name);
    let (every_operator_file, uint8_file) = (path("every-operator-v2.ocelli"), path("mobile-uint8-v2.ocelli"));
    let blocks_file = path("blocks-v2.ocelli"); // layout 1
    let int4_file = path("int4-v2.ocelli");
    if std::env::var_os("OCELLI_WRITE_GOLDEN").is_some() {
        std::fs::write(&every_operator_file, every_operator()).unwrap();
        std::fs::write(&int4_file, odd_rows()).unwrap();
        for (name, target, to) in [("mobile_uint8", WIDEST, &uint8_file), ("gated_int8", Target::HOST, &blocks_file)] {
            let file = std::fs::read(repository(&format!("tests/models/{name}.tflite"))).unwrap();
            let Imported::Quantized(network) = import(&file, &ImportOptions::default()).unwrap() else {
                panic!("float")
            };
            std::fs::write(to, compile(&network, Options::for_target(target)).unwrap()).unwrap();
        }
    }
    let mut kinds = BTreeSet::new();
    for (path, classes) in [(every_operator_file, 10), (uint8_file, 5), (blocks_file, 6), (int4_file, 10)] {
        let model = ModelBytes::read(&path).unwrap();
        kinds.extend(model.model().unwrap().graph().ops.iter().map(|op| op.kind));
        let scores = |pixel: i8| model.with_session(|s| Ok(s.run(|_, row| row.fill(pixel)).to_vec())).unwrap();
        assert_eq!(scores(0).len(), classes, "{}", path.display());
        assert_eq!(scores(-128), scores(-128), "{}", path.display());
    }
    assert!(kinds.into_iter().eq(1..=kind::LAST), "an operator is in neither file");
}

/// The head of a file of version 1, as that version's builds wrote it: 4 operators, 780 bytes.
const HEAD_OF_VERSION_1: [u8; 20] =
    [b'O', b'C', b'E', b'L', b'L', b'I', b'\r', b'\n', 1, 0, 4, 0, 0x0c, 0x03, 0, 0, 0x34, 0, 0, 0];

#[test]
fn other_versions_are_refused_with_both_versions_named() {
    let mut future = std::fs::read(golden()).unwrap();
    future[8..10].copy_from_slice(&(VERSION + 1).to_le_bytes());
    reseal(&mut future);
    let mut past = vec![0; 780];
    past[..20].copy_from_slice(&HEAD_OF_VERSION_1);
    reseal(&mut past);
    for (bytes, found, remedy) in [(future, VERSION + 1, "update ocelli"), (past, 1, "compile the model again")] {
        let error = load(&bytes).unwrap_err();
        assert_eq!(error, LoadError::Version { found, supported: VERSION });
        let text = error.to_string();
        let named = [found, VERSION].iter().all(|version| text.contains(&format!("version {version}")));
        assert!(named && text.contains(remedy), "{text}");
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = std::fs::read(golden()).unwrap();
    for len in 0..bytes.len() {
        assert!(load(&bytes[..len]).is_err(), "{len} bytes");
    }
    for len in 0..bytes.len() - 4 {
        let mut sealed = bytes[..len].to_vec();
        ocelli::model::write::seal(&mut sealed);
        assert!(load(&sealed).is_err(), "{len} bytes with a checksum of their own");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let bytes = std::fs::read(golden()).unwrap();
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(load(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn a_misaligned_file_is_refused_with_the_remedy() {
    let bytes = std::fs::read(golden()).unwrap();
    let mut shifted = vec![0_u64; bytes.len() / 8 + 2];
    let shifted = bytemuck::cast_slice_mut::<u64, u8>(&mut shifted);
    shifted[1..=bytes.len()].copy_from_slice(&bytes);
    let error = Model::parse(&shifted[1..=bytes.len()]).unwrap_err();
    assert_eq!(error, LoadError::Misaligned);
    assert!(error.to_string().contains("Aligned"));
}

#[test]
fn a_short_arena_is_refused_with_the_size_that_is_needed() {
    let model = ModelBytes::read(&golden()).unwrap();
    let needed = model.model().unwrap().arena_bytes();
    let mut arena = vec![0_u64; 1024];
    let arena = bytemuck::cast_slice_mut::<u64, u8>(&mut arena);
    let mut load = |from: usize, to: usize| Session::load(model.as_slice(), &mut arena[from..to]).map(|_| ());
    assert_eq!(load(0, needed as usize), Ok(()));
    assert_eq!(load(0, needed as usize - 1), Err(LoadError::Arena { found: needed - 1, needed }));
    assert_eq!(load(1, 1 + needed as usize), Err(LoadError::Arena { found: needed, needed }));
}

#[test]
fn two_tensors_in_one_place_are_refused() {
    let mut file = tiny();
    file.tensors[1].offset = file.tensors[0].offset;
    assert_eq!(file.to_bytes().unwrap_err(), LoadError::Memory { what: Region::Tensor, index: 1 });
}

#[test]
fn a_sum_that_could_overflow_is_refused() {
    let mut file = tiny();
    file.ops[0].bias[0] = i32::MAX;
    assert_eq!(file.to_bytes().unwrap_err(), LoadError::Overflow { op: 0 });
}

#[test]
fn padding_of_a_row_that_is_not_zero_is_refused() {
    let mut file = tiny();
    file.ops[0].weights[3] = 1;
    let what = "weights: the padding of a row must be zero";
    assert_eq!(file.to_bytes().unwrap_err(), LoadError::Op { op: 0, what });
}

#[test]
fn a_lane_that_is_no_power_of_two_is_refused() {
    let mut file = tiny();
    file.lane_bytes = 3;
    assert_eq!(file.to_bytes().unwrap_err(), LoadError::Field { what: "lane_bytes" });
}

#[test]
fn the_fields_lie_where_the_tests_damage_them() {
    // if this fails the planted faults of the other tests hit something else
    let bytes = tiny().to_bytes().unwrap();
    let fields = OpFields::of(&bytes, 0);
    let kernel: Vec<u8> = bytes[fields.pads() - 12..fields.pads() - 8].to_vec();
    assert_eq!(kernel, [2, 0, 2, 0], "the kernel lies three pairs before the padding");
    let model = ModelBytes::new(&bytes);
    let model = model.model().unwrap();
    let constants = model.constants(0);
    assert_eq!(constants.weights.len(), 2 * padded(2));
    assert_eq!(bytes[fields.weights(&bytes)] as i8, constants.weights[0]);
    assert_eq!(bytes[fields.shifts(&bytes)] as i8, constants.shifts[0]);
}
