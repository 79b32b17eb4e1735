//! A model gives the same bytes however its weights lie, whatever instructions compute it, and on any number of cores.

use crate::support::repository;
use ocelli::kernels::blocked::{InstructionSet, Level};
use ocelli::model::Model;
use ocelli::model::records::{flag, layout};
use ocelli::runtime::Session;
use ocelli::runtime::threads::with_threads;
use ocelli_firmware_tools::boards::find;
use ocelli_host::check::golden::read_network;
use ocelli_host::compile::{Options, Target, compile};
use ocelli_host::model::ModelBytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const MODELS: [&str; 5] = ["branches_int8", "gated_int8", "mobile_uint8", "mnist_cnn_int8", "resnet8_made_int8"];
const SEED: u64 = 23;

/// A network compiled for a target.
fn compiled(name: &str, target: Target) -> ModelBytes {
    let network = read_network(&repository("tests/models").join(name).with_extension("tflite")).unwrap();
    ModelBytes::new(&compile(&network, Options::for_target(target)).unwrap())
}

/// Frames of noise: wide, then narrow, so that not every output is an end of its range.
fn frames(model: &Model<'_>) -> Vec<Vec<i8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let elements = model.input_shape().elements().unwrap() as usize;
    let mut frame = |divisor: i8| (0..elements).map(|_| rng.random::<i8>() / divisor).collect();
    [1, 1, 2, 4, 8, 16].map(&mut frame).to_vec()
}

/// The outputs of a session that uses the instructions of `level`.
fn outputs(model: Model<'_>, level: Level, frames: &[Vec<i8>]) -> Vec<Vec<i8>> {
    let mut arena = vec![0_u64; (model.arena_bytes() as usize).div_ceil(8)];
    let session = Session::with_model(model, bytemuck::cast_slice_mut(&mut arena)).unwrap();
    let mut session = session.with_level(level);
    frames.iter().map(|frame| session.run_frame(frame).unwrap().to_vec()).collect()
}

#[test]
fn every_layout_instruction_set_and_number_of_threads_gives_the_same_bytes() {
    let board = Target::of(find("qemu-m4").unwrap());
    for name in MODELS {
        let (rows, blocks) = (compiled(name, board), compiled(name, Target::HOST));
        let (rows, blocks) = (rows.model().unwrap(), blocks.model().unwrap());
        let frames = frames(&rows);
        let expected = outputs(rows, Level::PORTABLE, &frames);
        assert!(expected.iter().any(|scores| scores != &expected[0]), "{name}: the frames show nothing");
        for level in InstructionSet::ALL.into_iter().filter_map(Level::new) {
            assert_eq!(outputs(rows, level, &frames), expected, "{name}, rows, {level:?}");
            assert_eq!(outputs(blocks, level, &frames), expected, "{name}, blocks, {level:?}");
            for threads in [1, 2, 3, 5] {
                let found: Vec<Vec<i8>> = with_threads(blocks, threads, level, |team| {
                    frames.iter().map(|frame| team.run_frame(frame).unwrap().to_vec()).collect()
                })
                .unwrap();
                assert_eq!(found, expected, "{name}, {threads} threads, {level:?}");
            }
        }
    }
}

#[test]
fn a_model_for_this_computer_has_its_weights_in_blocks_and_one_for_a_board_has_not() {
    let is_blocked = |model: &Model<'_>| model.graph().ops.iter().any(|op| op.has(flag::BLOCKED));
    let host = compiled("resnet8_made_int8", Target::HOST);
    let host = host.model().unwrap();
    assert!(is_blocked(&host) && host.header().layout == layout::BLOCKS);
    let board = compiled("resnet8_made_int8", Target::of(find("qemu-m4").unwrap()));
    let board = board.model().unwrap();
    assert!(!is_blocked(&board) && board.header().layout == layout::ROWS);
}

#[test]
fn rows_pushed_one_by_one_give_the_same_bytes_as_a_frame() {
    let bytes = compiled("branches_int8", Target::HOST);
    let frame = frames(&bytes.model().unwrap()).swap_remove(0);
    bytes
        .with_session(|session| {
            let expected = session.run_frame(&frame).unwrap().to_vec();
            let row_len = session.model().input_shape().row_len().unwrap() as usize;
            let mut scores = None;
            for row in frame.chunks_exact(row_len) {
                assert!(scores.is_none());
                scores = session.push_row(|slot| slot.copy_from_slice(row)).map(<[i8]>::to_vec);
            }
            assert_eq!(scores, Some(expected));
            Ok(())
        })
        .unwrap();
}

/// A sum that is wrong would spoil what kernels with unsigned bytes compute, and no other kernel's outputs.
#[test]
fn wrong_sums_padding_and_symmetry_are_refused() {
    let bytes = compiled("resnet8_made_int8", Target::HOST);
    let model = bytes.model().unwrap();
    let (index, op) = model.graph().ops.iter().enumerate().find(|(_, op)| op.has(flag::BLOCKED)).unwrap();
    let (channels, c_in) = (model.graph().tensors[index + 1].c as usize, model.graph().tensors[0].c);
    assert!(op.kernel == [3, 3] && c_in == 3, "a row of nine values is padded to twelve");
    let record = model.header().ops as usize + index * size_of_val(op);
    let refused = |change: &dyn Fn(&mut [u8])| {
        let mut file = bytes.as_slice().to_vec();
        change(&mut file);
        let file = ModelBytes::new(&file);
        Model::parse_without_checksum(file.as_slice()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let sums = op.bias as usize + 4 * channels;
    assert!(refused(&|file| file[sums] ^= 1).contains("sums"));
    // channel 0's tenth value: the second of its third group
    let padding = op.weights as usize + 2 * 64 + 1;
    assert!(refused(&|file| file[padding] = 1).contains("padding"));
    assert!(refused(&|file| file[op.weights as usize] = 0x80).contains("-128"));
    assert!(refused(&|file| file[record + 3] |= 64).contains("flags"));
    assert!(refused(&|file| file[record + 3] &= !flag::BLOCKED).contains("flags"));
    assert_eq!(refused(&|_| ()), "");
}
