//! Each operator against Burn's own, and its gradients against Burn's tape and finite differences.

use super::Operators::{self, Burns, Ours};
use crate::train::device;
use crate::train::parts::to_vec;
use burn::nn::{BatchNorm, BatchNormConfig};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::Activation;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

fn training_device() -> Device {
    device("flex").unwrap().autodiff()
}

fn noise<const D: usize>(shape: [usize; D], seed: u64) -> TensorData {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    TensorData::new(values, shape)
}

fn leaf<const D: usize>(data: &TensorData, device: &Device) -> Tensor<D> {
    Tensor::from_data(data.clone(), device).require_grad()
}

fn assert_close(ours: &[f32], expected: &[f32], what: &str) {
    assert_eq!(ours.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0_f32, |largest, v| largest.max(v.abs()));
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 2e-5 * scale, "{what}[{i}]: {a}, expected {b} (largest {scale})");
    }
}

/// A weighted sum, so that every output has a gradient of its own.
fn weighted(y: Tensor<4>) -> Tensor<1> {
    let weights = Tensor::<4>::from_data(noise(y.dims(), 99), &y.device());
    (y * weights).sum()
}

#[derive(Clone, Copy, Debug)]
struct Case {
    x: [usize; 4],
    /// `[c_out, c_in / groups, kh, kw]`.
    weight: [usize; 4],
    groups: usize,
    stride: [usize; 2],
    dilation: [usize; 2],
    /// Rows, then columns.
    pads: [(usize, usize); 2],
    activation: Activation,
}

const PLAIN: Case = Case {
    x: [2, 5, 9, 8],
    weight: [7, 5, 3, 3],
    groups: 1,
    stride: [1, 1],
    dilation: [1, 1],
    pads: [(0, 0), (0, 0)],
    activation: Activation::None,
};

const SAME: [(usize, usize); 2] = [(1, 1), (1, 1)];

fn cases() -> Vec<Case> {
    let relu = Activation::Relu;
    vec![
        PLAIN,
        Case { activation: relu, pads: SAME, ..PLAIN },
        Case { activation: Activation::Relu6, stride: [2, 2], pads: [(0, 1), (0, 1)], ..PLAIN },
        Case { stride: [2, 3], pads: [(1, 0), (2, 1)], ..PLAIN },
        Case { dilation: [2, 2], pads: [(2, 2), (2, 2)], ..PLAIN },
        Case { dilation: [1, 3], stride: [2, 1], activation: relu, ..PLAIN },
        // more padding than the kernel reaches: the input's gradient goes the other way
        Case { pads: [(3, 0), (0, 4)], ..PLAIN },
        Case { weight: [4, 5, 2, 5], pads: [(1, 0), (2, 2)], activation: Activation::ReluN1To1, ..PLAIN },
        // a kernel of one pixel, with images that do not divide among groups, and strided
        Case { x: [19, 24, 5, 3], weight: [40, 24, 1, 1], activation: relu, ..PLAIN },
        Case { weight: [33, 5, 1, 1], stride: [2, 2], ..PLAIN },
        Case { weight: [3, 5, 1, 1], pads: SAME, ..PLAIN },
        // vectors filled, one channel, one column
        Case { x: [3, 16, 12, 12], weight: [32, 16, 3, 3], pads: SAME, activation: relu, ..PLAIN },
        Case { x: [1, 48, 6, 7], weight: [80, 48, 3, 3], stride: [2, 2], pads: SAME, ..PLAIN },
        Case { x: [2, 1, 28, 28], weight: [6, 1, 5, 5], ..PLAIN },
        Case { x: [2, 3, 11, 1], weight: [4, 3, 3, 1], ..PLAIN },
        // depthwise: channels that fill vectors, several pixels in a vector, neither
        Case { x: [3, 32, 9, 10], weight: [32, 1, 3, 3], groups: 32, pads: SAME, activation: relu, ..PLAIN },
        Case { x: [2, 8, 9, 11], weight: [8, 1, 3, 3], groups: 8, pads: SAME, ..PLAIN },
        Case { x: [2, 8, 9, 11], weight: [8, 1, 3, 3], groups: 8, stride: [2, 2], pads: [(0, 1), (0, 1)], ..PLAIN },
        Case { x: [2, 21, 8, 7], weight: [21, 1, 3, 3], groups: 21, stride: [2, 2], pads: SAME, ..PLAIN },
        Case { x: [2, 16, 9, 9], weight: [16, 1, 5, 5], groups: 16, pads: [(2, 2), (2, 2)], activation: relu, ..PLAIN },
        Case { x: [2, 16, 9, 9], weight: [16, 1, 3, 3], groups: 16, dilation: [2, 2], pads: [(3, 0), (0, 1)], ..PLAIN },
        // groups that are Burn's
        Case { x: [2, 6, 7, 7], weight: [9, 2, 3, 3], groups: 3, activation: relu, ..PLAIN },
        Case { x: [2, 4, 7, 7], weight: [8, 1, 3, 3], groups: 4, pads: SAME, ..PLAIN },
    ]
}

/// Output and the gradients of input, weight and bias.
fn convolve(operators: Operators, case: &Case, data: &[TensorData; 3], device: &Device) -> [Vec<f32>; 4] {
    let Case { stride, dilation, pads, groups, activation, .. } = *case;
    let (x, weight, bias) = (leaf::<4>(&data[0], device), leaf::<4>(&data[1], device), leaf::<1>(&data[2], device));
    let options = ConvOptions::new_with_padding(stride, pads, dilation, groups);
    let y = operators.conv2d(x.clone(), weight.clone(), bias.clone(), &options, activation);
    let gradients = weighted(y.clone()).backward();
    [
        to_vec(y),
        to_vec(x.grad(&gradients).unwrap()),
        to_vec(weight.grad(&gradients).unwrap()),
        to_vec(bias.grad(&gradients).unwrap()),
    ]
}

fn data_of(case: &Case) -> [TensorData; 3] {
    [noise(case.x, 1), noise(case.weight, 2), noise([case.weight[0]], 3)]
}

#[test]
fn convolutions_and_their_gradients_are_burns() {
    for case in cases() {
        let data = data_of(&case);
        let [ours, burns] = [Ours, Burns].map(|operators| convolve(operators, &case, &data, &training_device()));
        for ((ours, burns), what) in ours.iter().zip(&burns).zip(["output", "input", "weight", "bias"]) {
            assert_close(ours, burns, &format!("{what} of {case:?}"));
        }
    }
}

#[test]
fn convolution_gradients_are_slopes() {
    for case in cases().into_iter().filter(|case| case.activation == Activation::None) {
        let data = data_of(&case);
        let [_, gradients @ ..] = convolve(Ours, &case, &data, &training_device());
        let options = ConvOptions::new_with_padding(case.stride, case.pads, case.dilation, case.groups);
        let device = device("flex").unwrap();
        // linear in each input: a large step is exact but for rounding
        let sum = |data: &[TensorData; 3]| -> f64 {
            let tensor = |i: usize| Tensor::<4>::from_data(data[i].clone(), &device);
            let bias = Tensor::<1>::from_data(data[2].clone(), &device);
            let y = Ours.conv2d(tensor(0), tensor(1), bias, &options, Activation::None);
            let weights: Vec<f32> = noise(y.dims(), 99).try_to_vec().unwrap();
            to_vec(y).iter().zip(weights).map(|(&y, w)| f64::from(y) * f64::from(w)).sum()
        };
        for (input, gradient) in gradients.iter().enumerate() {
            for at in [0, gradient.len() / 2, gradient.len() - 1] {
                let moved = |by: f32| {
                    let mut data = data.clone();
                    let mut values: Vec<f32> = data[input].try_to_vec().unwrap();
                    values[at] += by;
                    data[input] = TensorData::new(values, data[input].shape().clone());
                    sum(&data)
                };
                let slope = (moved(0.5) - moved(-0.5)) as f32;
                let error = (slope - gradient[at]).abs();
                assert!(error < 1e-3 * slope.abs().max(1.0), "{input}[{at}] of {case:?}: {} is {slope}", gradient[at]);
            }
        }
    }
}

#[test]
fn maximum_pools_are_burns() {
    let pool = |shape, kernel: [usize; 2], stride: [usize; 2], pads: [(usize, usize); 2]| {
        let options = MaxPoolOptions::new(kernel).with_stride(stride).with_padding_pairs(pads);
        let data = noise(shape, 5);
        [Ours, Burns].map(|operators| {
            let x = leaf::<4>(&data, &training_device());
            let y = operators.max_pool2d(x.clone(), &options);
            let gradients = weighted(y.clone()).backward();
            [to_vec(y), to_vec(x.grad(&gradients).unwrap())]
        })
    };
    for [ours, burns] in [
        pool([3, 32, 9, 8], [2, 2], [2, 2], [(0, 0); 2]),
        pool([2, 5, 9, 8], [3, 3], [2, 2], SAME),
        pool([2, 16, 7, 7], [3, 2], [1, 1], [(1, 0), (0, 1)]),
        pool([2, 1, 5, 5], [5, 5], [5, 5], [(0, 0); 2]),
    ] {
        assert_eq!(ours[0], burns[0]);
        assert_close(&ours[1], &burns[1], "gradient");
    }
}

fn norm(c: usize, device: &Device) -> BatchNorm {
    let mut norm = BatchNormConfig::new(c).with_epsilon(1e-3).with_momentum(0.1).init(device);
    norm.gamma = burn::module::Param::from_tensor(Tensor::from_data(noise([c], 11), device) + 1.5);
    norm.beta = burn::module::Param::from_tensor(Tensor::from_data(noise([c], 12), device));
    norm
}

#[test]
fn batch_norms_and_their_running_statistics_are_burns() {
    for (shape, activation) in [
        ([4, 8, 6, 5], Activation::None),
        ([3, 40, 5, 5], Activation::Relu),
        ([2, 3, 7, 9], Activation::Relu6),
        ([5, 130, 1, 1], Activation::Relu),
    ] {
        let data = noise(shape, 7);
        let run = |operators: Operators| {
            let device = training_device();
            let norm = norm(shape[1], &device);
            let leaf = leaf::<4>(&data, &device);
            // a mean far from zero: sums of squares would lose it
            let y = operators.batch_norm(&norm, leaf.clone() * 0.5 + 20.0, activation);
            let gradients = weighted(y.clone()).backward();
            [
                to_vec(y),
                to_vec(leaf.grad(&gradients).unwrap()),
                to_vec(norm.gamma.val().grad(&gradients).unwrap()),
                to_vec(norm.beta.val().grad(&gradients).unwrap()),
                to_vec(norm.running_mean.value_sync()),
                to_vec(norm.running_var.value_sync()),
            ]
        };
        let (ours, burns) = (run(Ours), run(Burns));
        let names = ["output", "input", "gamma", "beta", "running mean", "running variance"];
        for ((ours, burns), what) in ours.iter().zip(&burns).zip(names) {
            let scale = burns.iter().fold(1.0_f32, |largest, v| largest.max(v.abs()));
            for (a, b) in ours.iter().zip(burns) {
                // both round around a mean of 20
                assert!((a - b).abs() <= 2e-4 * scale, "{what} of {shape:?}: {a}, expected {b}");
            }
        }
    }
}

#[test]
fn batch_norms_use_running_statistics_when_nothing_is_trained() {
    let device = device("flex").unwrap();
    let norm = norm(20, &device);
    let x = Tensor::<4>::from_data(noise([2, 20, 4, 3], 1), &device);
    let [ours, burns] = [Ours, Burns].map(|operators| to_vec(operators.batch_norm(&norm, x.clone(), Activation::Relu)));
    assert_close(&ours, &burns, "output");
}

#[test]
fn sums_and_means_are_burns() {
    let data = [noise([3, 20, 5, 7], 1), noise([3, 20, 5, 7], 2)];
    let [ours, burns] = [Ours, Burns].map(|operators| {
        let [a, b] = data.each_ref().map(|data| leaf::<4>(data, &training_device()));
        let y = operators.global_average(operators.add(a.clone(), b.clone(), Activation::Relu));
        let gradients = weighted(y.clone()).backward();
        [to_vec(y), to_vec(a.grad(&gradients).unwrap()), to_vec(b.grad(&gradients).unwrap())]
    });
    for (ours, burns) in ours.iter().zip(&burns) {
        assert_close(ours, burns, "sum or mean");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let cases: Vec<Case> =
        cases().into_iter().filter(|case| case.groups == 1 || case.weight[0] == case.groups).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let convolved = cases.iter().map(|case| convolve(Ours, case, &data_of(case), &training_device()));
            let convolved: Vec<_> = convolved.collect();
            let device = training_device();
            let x = leaf::<4>(&noise([33, 24, 6, 5], 1), &device);
            let y = Ours.batch_norm(&norm(24, &device), x.clone(), Activation::Relu);
            let gradients = weighted(y.clone()).backward();
            (convolved, to_vec(y), to_vec(x.grad(&gradients).unwrap()))
        })
    };
    let one = run(1);
    for threads in [2, 3, 5] {
        assert!(run(threads) == one, "{threads} threads");
    }
}
