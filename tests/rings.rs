//! The row pipeline computes the same bytes whatever the height of its rings, and holds no more rows than it needs.

use crate::support::{every_operator, repository};
use ocelli_host::check::golden::{Golden, Pair, host_outputs, read_network};
use ocelli_host::compile::passes::simplify;
use ocelli_host::compile::{Options, Passes, Target, compile, lower, ring_rows, with_heights};
use ocelli_host::model::ModelBytes;
use ocelli_host::quantize::QuantizedNetwork;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The output and the working memory of the network with rings of these heights.
fn run(heights: &dyn Fn(usize, u32, u32) -> u32, frame: &[i8]) -> anyhow::Result<(Vec<i8>, u32)> {
    let (_, _, quantized) = every_operator();
    let mut file = lower(&simplify(quantized, Passes::ALL), &Target::HOST, true)?;
    let least = ring_rows(&file)?;
    let chosen: Vec<u32> = least.iter().zip(&file.tensors).enumerate().map(|(i, (&l, t))| heights(i, l, t.h)).collect();
    with_heights(&mut file, &chosen)?;
    let bytes = ModelBytes::new(&file.to_bytes()?);
    let arena = bytes.model()?.arena_bytes();
    bytes.with_session(|session| Ok((session.run_frame(frame).unwrap().to_vec(), arena)))
}

fn frame() -> Vec<i8> {
    (0..28 * 28).map(|i: i32| (i.wrapping_mul(2_654_435_761_u32 as i32) >> 24) as i8).collect()
}

#[test]
fn shortest_rings_and_whole_tensors_give_the_same_bytes() {
    let (shortest, small) = run(&|_, least, _| least, &frame()).unwrap();
    let (whole, large) = run(&|_, _, height| height, &frame()).unwrap();
    assert_eq!(shortest, whole);
    assert!(3 * small < large, "rings {small}, whole tensors {large}");
}

#[test]
fn one_row_less_is_refused_at_load() {
    // every ring but those that are one row high already, and the output
    let (_, _, quantized) = every_operator();
    let file = lower(&simplify(quantized, Passes::ALL), &Target::HOST, true).unwrap();
    let least = ring_rows(&file).unwrap();
    for short in (0..least.len() - 1).filter(|&i| least[i] > 1) {
        let result = run(&|i, rows, _| if i == short { rows - 1 } else { rows }, &frame());
        let refused = result.is_err_and(|error| error.to_string().contains("too short"));
        assert!(refused, "tensor {short} with {} rows", least[short] - 1);
    }
}

/// Each pass alone, none and all, on small boards and large.
#[test]
fn no_pass_changes_a_byte() {
    let none = Passes::NONE;
    let choices = [
        none,
        Passes { fold_padding: true, ..none },
        Passes { fold_activations: true, ..none },
        Passes { fold_shapes: true, ..none },
        Passes { in_place: true, ..none },
        Passes { tiles: true, ..none },
        Passes { gates: true, ..none },
        Passes::ALL,
    ];
    for name in ["branches_int8", "gated_int8", "mobile_uint8", "resnet8_made_int8"] {
        let network = read_network(&repository(&format!("tests/models/{name}.tflite"))).unwrap();
        let golden = recorded(name, &network);
        let mut reference = None;
        for passes in choices {
            for scratch_bytes in [256, 1280, 1 << 16] {
                let target = Target { lane_bytes: 2, scratch_bytes, blocks: false, cores: 1 };
                let model = compile(&network, Options { target, passes }).unwrap();
                let outputs = host_outputs(&model, &golden).unwrap();
                assert_eq!(*reference.get_or_insert(outputs.clone()), outputs, "{name}, {passes:?}, {scratch_bytes}");
            }
        }
    }
}

fn recorded(name: &str, network: &QuantizedNetwork) -> Vec<Pair> {
    Golden::read(&repository(&format!("tests/models/{name}.golden.json"))).unwrap().pairs(network).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]
    #[test]
    fn any_taller_rings_give_the_same_bytes(extra in proptest::collection::vec(0_u32..9, 16)) {
        let (shortest, _) = run(&|_, least, _| least, &frame()).unwrap();
        let (taller, _) = run(&|i, least, height| (least + extra[i]).min(height), &frame()).unwrap();
        prop_assert_eq!(shortest, taller);
    }
}

#[test]
fn rows_may_be_pushed_one_by_one_and_a_begun_frame_forgotten() {
    let (_, _, quantized) = every_operator();
    let bytes = ModelBytes::new(&compile(&quantized, Options::for_target(Target::HOST)).unwrap());
    let frame = frame();
    let expected = bytes.with_session(|session| Ok(session.run_frame(&frame).unwrap().to_vec())).unwrap();
    bytes
        .with_session(|session| {
            for row in frame.chunks_exact(28).take(11) {
                assert!(session.push_row(|slot| slot.copy_from_slice(row)).is_none());
            }
            session.restart();
            for _ in 0..2 {
                let mut result = None;
                for row in frame.chunks_exact(28) {
                    assert!(result.is_none());
                    result = session.push_row(|slot| slot.copy_from_slice(row)).map(<[i8]>::to_vec);
                }
                assert_eq!(result.as_ref(), Some(&expected));
            }
            Ok(())
        })
        .unwrap();
}
