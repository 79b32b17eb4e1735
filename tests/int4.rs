//! Dense layers with weights of four bits: judged by tract, the same as the layer in bytes on every core, and refused when damaged.

use crate::support::{EVERY_OPERATOR, OpFields, digits, quantized_network, reseal, write_run};
use ocelli::kernels::blocked::{InstructionSet, Level};
use ocelli::model::LoadError;
use ocelli::model::records::{flag, packed_nibbles};
use ocelli::model::write::ModelFile;
use ocelli::runtime::{EVERY_KIND, INT4, SessionOf, kinds_of};
use ocelli_host::check::{self, Status};
use ocelli_host::compile::{Options, Passes, Target, assemble, compile, planned};
use ocelli_host::data::Split;
use ocelli_host::model::ModelBytes;
use ocelli_host::network::{Network, Weights};
use ocelli_host::quantize::{Calibration, Int4, QuantizedNetwork, quantize_int4};
use ocelli_host::run::Bundle;
use ocelli_host::train::device;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A chip whose files every core here takes.
const CHIP: Target = Target { lane_bytes: 2, scratch_bytes: 1280, blocks: false, cores: 1 };

/// A dense layer over rows of 13 * 3 values, which begin inside a group of eight weights, and two after it.
const ODD_ROWS: &str = r#"
name = "odd-rows"
[input]
height = 28
width = 28
color = "gray"
[[layer]]
type = "conv2d"
filters = 3
kernel = 4
stride = 2
activation = "relu"
[[layer]]
type = "flatten"
[[layer]]
type = "dense"
units = 21
activation = "relu"
[[layer]]
type = "dense"
units = 10
[[layer]]
type = "softmax"
"#;

/// A network with fresh weights and `int4` layers, quantized on digits.
fn quantized(net: &str, int4: &[&str]) -> (Network, Weights, QuantizedNetwork) {
    let (network, weights, _) = quantized_network(net);
    let images = digits(&network, Split::Train, 64);
    let calibration = Calibration::observe(&network, &weights, &images, &device("flex").unwrap()).unwrap();
    let int4 = Int4::new(int4.iter().map(|&name| name.to_owned()).collect());
    let quantized = quantize_int4(&network, &weights, &calibration, &images.labels, &int4).unwrap();
    (network, weights, quantized)
}

/// The network of the golden file: [`ODD_ROWS`] in four bits, for a chip.
pub fn odd_rows() -> Vec<u8> {
    compile(&quantized(ODD_ROWS, &["dense", "dense_1"]).2, Options::for_target(CHIP)).unwrap()
}

fn frames(network: &QuantizedNetwork, count: usize) -> Vec<Vec<i8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let len = network.input_shape.elements().unwrap() as usize;
    (0..count).map(|_| (0..len).map(|_| rng.random()).collect()).collect()
}

fn outputs(model: &[u8], frames: &[Vec<i8>]) -> Vec<Vec<i8>> {
    let run = |frame: &Vec<i8>| {
        ModelBytes::new(model).with_session(|session| Ok(session.run_frame(frame).unwrap().to_vec())).unwrap()
    };
    frames.iter().map(run).collect()
}

#[test]
fn check_passes_with_layers_in_four_bits() {
    for (net, layers) in [(EVERY_OPERATOR, &["dense"][..]), (ODD_ROWS, &["dense", "dense_1"])] {
        let (network, weights, quantized) = quantized(net, layers);
        let folder = tempfile::tempdir().unwrap();
        write_run(folder.path(), &network, &weights, &quantized);
        let bundle = Bundle::open(folder.path()).unwrap();
        let model = bundle.model.model().unwrap();
        assert_ne!(kinds_of(&model) & INT4, 0);
        let packed = model.graph().ops.iter().filter(|op| op.has(flag::INT4)).count();
        assert_eq!(packed, layers.len());
        let data = digits(&network, Split::Test, 40);
        let report = check::run(&bundle, &data, None, &mut |_| {}).unwrap();
        let failed: Vec<_> = report.rows().into_iter().filter(|row| row.status == Status::Failed).collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

#[test]
fn four_bits_give_the_bytes_of_eight_at_every_target_and_level() {
    let (_, _, quantized) = quantized(ODD_ROWS, &["dense", "dense_1"]);
    let frames = frames(&quantized, 4);
    let unpacked = Passes { nibbles: false, ..Passes::ALL };
    let expected = outputs(&compile(&quantized, Options { target: CHIP, passes: unpacked }).unwrap(), &frames);
    for target in [CHIP, Target::HOST] {
        let (small, large) = (
            compile(&quantized, Options::for_target(target)).unwrap(),
            compile(&quantized, Options { target, passes: unpacked }).unwrap(),
        );
        assert_eq!(outputs(&small, &frames), expected);
        // 21 rows of 507 values and 10 of 21
        let saved = 21 * (508 - packed_nibbles(507)) + 10 * (24 - packed_nibbles(21));
        assert!(small.len() + saved <= large.len(), "{} and {} bytes", small.len(), large.len());
        for level in InstructionSet::ALL.into_iter().filter_map(Level::new) {
            let model = ModelBytes::new(&small);
            let mut arena = vec![0_u64; model.model().unwrap().arena_bytes() as usize / 8 + 1];
            let arena = bytemuck::cast_slice_mut(&mut arena);
            let session = SessionOf::<EVERY_KIND>::load(model.as_slice(), arena).unwrap();
            let mut session = session.with_level(level);
            for (frame, expected) in frames.iter().zip(&expected) {
                assert_eq!(session.run_frame(frame).unwrap(), expected, "{level:?}");
            }
        }
    }
}

#[test]
fn a_firmware_without_the_kernel_refuses_the_flag() {
    let model = ModelBytes::new(&odd_rows());
    let mut arena = vec![0_u64; 1 << 16];
    let arena = bytemuck::cast_slice_mut(&mut arena);
    let result = SessionOf::<{ EVERY_KIND & !INT4 }>::load(model.as_slice(), arena).map(drop);
    assert_eq!(result, Err(LoadError::Op { op: 1, what: "flags" }));
    let result = SessionOf::<{ EVERY_KIND & !INT4 }>::with_model(model.model().unwrap(), arena).map(drop);
    assert!(matches!(result, Err(LoadError::Op { op: 1, .. })), "{result:?}");
}

/// Offset of the flags in an operator's record, by docs/model-format.md.
fn flags(file: &[u8], op: usize) -> usize {
    OpFields::of(file, op).pads() - 20 + 3
}

#[test]
fn damaged_weights_and_flags_are_refused() {
    let good = odd_rows();
    let refused = |damage: &dyn Fn(&mut Vec<u8>)| {
        let mut file = good.clone();
        damage(&mut file);
        reseal(&mut file);
        let model = ModelBytes::new(&file);
        match model.model() {
            Err(error) => format!("{error:#}"),
            Ok(_) => "let in".to_owned(),
        }
    };
    // a row has 507 weights: the last of 508 must stand for zero
    let of_rows = |file: &mut Vec<u8>| {
        let last = OpFields::of(file, 1).weights(file) + packed_nibbles(507) - 1;
        file[last] ^= 0x10;
    };
    assert!(refused(&of_rows).contains("padding of a row"), "{}", refused(&of_rows));
    let on_conv = |file: &mut Vec<u8>| {
        let at = flags(file, 0);
        file[at] |= flag::INT4;
    };
    assert!(refused(&on_conv).contains("flags"), "{}", refused(&on_conv));
    // in bytes the layer would need twice as many as there are
    let off = |file: &mut Vec<u8>| {
        let at = flags(file, 1);
        assert_eq!(file[at] & flag::INT4, flag::INT4);
        file[at] &= !flag::INT4;
    };
    assert_ne!(refused(&off), "let in");
    let zero_point = |file: &mut Vec<u8>| {
        let at = OpFields::of(file, 1).pads() + 10;
        file[at] = 1;
    };
    assert!(refused(&zero_point).contains("weight_zero_point"), "{}", refused(&zero_point));
}

/// A dense layer of 60,000 inputs and a large bias.
fn long(passes: Passes) -> ModelFile {
    let net = "name = \"long\"\n[input]\nheight = 200\nwidth = 300\ncolor = \"gray\"\n[[layer]]\ntype = \"flatten\"\n\
               [[layer]]\ntype = \"dense\"\nunits = 2\n[[layer]]\ntype = \"softmax\"\n";
    let network = Network::from_toml(net, "net.toml").unwrap();
    let weights = Weights::initial(&network, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    let range = ocelli_host::quantize::Range { min: -1.0, max: 1.0 };
    let calibration = Calibration::constant(&network, range).unwrap();
    let int4 = Int4::new(vec!["large".to_owned()]);
    let quantized = quantize_int4(&network, &weights, &calibration, &["a".to_owned(), "b".to_owned()], &int4).unwrap();
    let mut file = planned(&quantized, Options { target: CHIP, passes }).unwrap().file;
    file.ops[0].bias[0] = 1 << 29;
    file
}

#[test]
fn the_bound_of_sums_is_that_of_four_bits() {
    let packed = long(Passes::ALL);
    assert!(packed.ops[0].record.has(flag::INT4), "120,000 weights are large");
    assert!(assemble(&packed).is_ok(), "60,000 * 128 * 8 + 2^29 is below 2^30");
    let mut above = packed;
    above.ops[0].bias[0] = (1 << 30) - 60_000 * 128 * 8;
    assert_eq!(above.to_bytes().unwrap_err(), LoadError::Overflow { op: 0 });
    above.ops[0].bias[0] -= 1;
    assert!(above.to_bytes().is_ok());
    let in_bytes = long(Passes { nibbles: false, ..Passes::ALL });
    assert_eq!(in_bytes.to_bytes().unwrap_err(), LoadError::Overflow { op: 0 });
}

#[test]
fn names_of_no_dense_layer_are_refused_with_those_there_are() {
    let (network, weights, _) = quantized_network(ODD_ROWS);
    let calibration = Calibration::constant(&network, ocelli_host::quantize::Range { min: -1.0, max: 1.0 }).unwrap();
    let int4 = Int4::new(vec!["conv2d".to_owned()]);
    let labels: Vec<String> = (0..10).map(|i| i.to_string()).collect();
    let error = quantize_int4(&network, &weights, &calibration, &labels, &int4).unwrap_err().to_string();
    assert!(error.contains("'conv2d'") && error.contains("dense, dense_1"), "{error}");
}

#[test]
fn small_layers_are_not_large() {
    let (_, _, quantized) = quantized(ODD_ROWS, &["large"]);
    assert!(quantized.layers.iter().filter_map(|layer| layer.weights.as_ref()).all(|weights| !weights.fits_int4()));
}
