//! A convolution of volumes in Burn. Burn is NCDHW and OIDHW; the turn from and to our layouts is made here and nowhere else.

use super::ops::activate;
use super::parts::{bias, materialize, to_vec};
use crate::network::{Conv3d, LayerWeights, VolumeError};
use burn::module::{Module, Param};
use burn::tensor::module::conv3d;
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Device, Tensor, TensorData};
use ocelli::ir::Shape;

/// A conv3d with its weights.
#[derive(Module, Debug)]
pub(super) struct Volume {
    /// `[filters, c_in, kd, kh, kw]`.
    pub weight: Param<Tensor<5>>,
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    conv: Conv3d,
    /// Before and after depth, rows and columns.
    #[module(skip)]
    pads: [(usize, usize); 3],
}

impl Volume {
    pub fn new(conv: Conv3d, input: Shape, layer: &LayerWeights, device: &Device) -> Result<Self, VolumeError> {
        let pads = conv.resolve(input)?.pads.map(|[before, after]| (usize::from(before), usize::from(after)));
        let [kd, kh, kw] = conv.kernel.map(usize::from);
        let shape = [conv.filters as usize, kd, kh, kw, conv.channels(input) as usize];
        let ours = Tensor::<5>::from_data(TensorData::new(layer.kernel.clone(), shape), device);
        let weight = materialize(ours.permute([0, 4, 1, 2, 3]), device);
        Ok(Self { weight: Param::from_tensor(weight), bias: bias(layer, device), conv, pads })
    }

    pub fn to_layer(&self) -> LayerWeights {
        let ours = self.weight.val().permute([0, 2, 3, 4, 1]);
        let [filters, kd, kh, kw, c] = ours.dims();
        LayerWeights {
            shape: [filters, kd * kh, kw, c],
            kernel: to_vec(ours),
            bias: self.bias.as_ref().map_or_else(Vec::new, |bias| to_vec(bias.val())),
        }
    }

    /// The output slices.
    ///
    /// # Shapes
    /// `x`: `[n, depth * c, h, w]`; result: `[n, d_out * filters, h_out, w_out]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let ([n, _, h, w], [_, c, ..]) = (x.dims(), weight.dims());
        let mut x = x.reshape([n, self.conv.depth as usize, c, h, w]).permute([0, 2, 1, 3, 4]);
        if self.pads != [(0, 0); 3] {
            // Burn 0.22 takes no padding that differs before and after
            x = x.pad(self.pads, PadMode::Constant(0.0));
        }
        let options = ConvOptions::new(self.conv.stride.map(usize::from), [0; 3], [1; 3], 1);
        let y = conv3d(x, weight, self.bias.as_ref().map(Param::val), options);
        let [n, filters, d, h, w] = y.dims();
        activate(y.permute([0, 2, 1, 3, 4]).reshape([n, d * filters, h, w]), self.conv.activation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Network, Weights};
    use crate::train::Classifier;
    use ocelli::ir::{Activation, Padding};
    use rand::Rng;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use serde_json::Value;

    /// Recorded by `tools/conv3d_case.py`.
    const KERAS: &str = include_str!("../../../tests/data/conv3d.json");

    fn sizes<const N: usize>(value: &Value) -> [usize; N] {
        let sizes: Vec<usize> = value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as usize).collect();
        sizes.try_into().unwrap()
    }

    fn floats(value: &Value) -> Vec<f32> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
    }

    /// `[d, h, w, c]` as our `[d * c, h, w]`.
    fn folded(values: &[f32], [d, h, w, c]: [usize; 4]) -> Vec<f32> {
        let at = |i: usize| values[((i / (h * w) / c * h + i / w % h) * w + i % w) * c + i / (h * w) % c];
        (0..d * h * w * c).map(at).collect()
    }

    #[test]
    fn outputs_and_gradients_are_those_of_keras() {
        let file: Value = serde_json::from_str(KERAS).unwrap();
        let device = Device::flex().autodiff();
        for case in file["cases"].as_array().unwrap() {
            let [depth, h, w, c] = sizes::<4>(&case["shape"]);
            let [kd, kh, kw] = sizes::<3>(&case["kernel"]);
            let filters = case["filters"].as_u64().unwrap() as usize;
            let small = |values: [usize; 3]| values.map(|n| u16::try_from(n).unwrap());
            let conv = Conv3d {
                depth: depth as u32,
                filters: filters as u32,
                kernel: small([kd, kh, kw]),
                stride: small(sizes::<3>(&case["stride"])),
                padding: if case["padding"] == "same" { Padding::Same } else { Padding::Valid },
                activation: Activation::None,
            };
            // Keras' weights are [d, h, w, c, filters]
            let theirs = |values: Vec<f32>| -> Vec<f32> {
                let inner = kd * kh * kw * c;
                (0..filters * inner).map(|i| values[i % inner * filters + i / inner]).collect()
            };
            let input = Shape::new(h as u32, w as u32, (depth * c) as u32);
            let kernel = theirs(floats(&case["weights"]));
            let layer = LayerWeights { shape: conv.weight_shape(input), kernel, bias: floats(&case["bias"]) };
            assert_eq!((layer.kernel.len() + layer.bias.len()) as u64, case["parameters"].as_u64().unwrap());
            let volume = Volume::new(conv, input, &layer, &device).unwrap();
            assert_eq!(volume.to_layer(), layer);
            let x = folded(&floats(&case["x"]), [depth, h, w, c]);
            let x = Tensor::<4>::from_data(TensorData::new(x, [1, depth * c, h, w]), &device).require_grad();
            let y = volume.forward(x.clone());
            let out = sizes::<4>(&case["output_shape"]);
            let output = conv.infer_shape(input).unwrap();
            assert_eq!([output.h, output.w, output.c], [out[1], out[2], out[0] * out[3]].map(|n| n as u32));
            assert_eq!(to_vec(y.clone()), folded(&floats(&case["y"]), out), "all sums are exact");
            let slopes = TensorData::new(folded(&floats(&case["slopes"]), out), y.dims());
            let gradients = (y * Tensor::from_data(slopes, &device)).sum().backward();
            let dx = to_vec(x.grad(&gradients).unwrap());
            assert_eq!(dx, folded(&floats(&case["dx"]), [depth, h, w, c]));
            let dw = to_vec(volume.weight.val().grad(&gradients).unwrap().permute([0, 2, 3, 4, 1]));
            assert_eq!(dw, theirs(floats(&case["dweights"])));
            let db = to_vec(volume.bias.as_ref().unwrap().val().grad(&gradients).unwrap());
            assert_eq!(db, floats(&case["dbias"]));
        }
    }

    #[test]
    fn a_plain_loop_and_the_convolution_written_out_give_the_same() {
        let text = "name = \"t\"\n[input]\nheight = 6\nwidth = 7\ncolor = \"rgb\"\n\
            [[layer]]\ntype = \"conv2d\"\nname = \"wide\"\nfilters = 8\nkernel = 1\n\
            [[layer]]\ntype = \"conv3d\"\nname = \"c\"\ndepth = 4\nfilters = 3\nkernel = [2, 3, 2]\nstride = [1, 2, 1]\n\
            padding = \"same\"\nactivation = \"relu\"\n\
            [[layer]]\ntype = \"batch_norm\"\n\
            [[layer]]\ntype = \"flatten\"\n[[layer]]\ntype = \"dense\"\nunits = 2\nactivation = \"softmax\"\n";
        let network = Network::from_toml(text, "net.toml").unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut weights = Weights::initial(&network, &mut rng).unwrap();
        let numbers = LayerWeights { bias: vec![0.2, -0.1, 0.3], ..weights.layer("c").unwrap().clone() };
        weights.insert("c", numbers.clone());
        let device = Device::flex();
        let x: Vec<f32> = (0..2 * 3 * 42).map(|_| rng.random_range(-1.0..1.0)).collect();
        let x = Tensor::<4>::from_data(TensorData::new(x, [2, 3, 6, 7]), &device);
        let observed = |module: &Classifier| {
            let mut outputs = std::collections::BTreeMap::new();
            let logits = module.forward_observed(x.clone(), |layer| drop(outputs.insert(layer.name, layer.values)));
            (outputs, to_vec(logits))
        };
        let (layers, logits) = observed(&Classifier::new(&network, &weights, &device).unwrap());
        let (_, written_out) = observed(&Classifier::folded(&network, &weights, &device).unwrap());
        for (a, b) in logits.iter().zip(&written_out) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        // [n, h, w, d * c] in and out; one slice, one row and one column of padding, all after the last
        let (input, output) = (&layers["wide"], &layers["c"]);
        for (at, &found) in output.iter().enumerate() {
            let (filter, slice, column) = (at % 3, at / 3 % 4, at / 12 % 7);
            let (row, image) = (at / 84 % 3, at / 252);
            let mut sum = numbers.bias[filter];
            for (d, y, x, c) in (0..24).map(|i| (i / 12, i / 4 % 3, i / 2 % 2, i % 2)) {
                let (from, top, left) = (slice + d, 2 * row + y, column + x);
                if from < 4 && top < 6 && left < 7 {
                    let value = input[((image * 6 + top) * 7 + left) * 8 + from * 2 + c];
                    sum += value * numbers.kernel[(((filter * 2 + d) * 3 + y) * 2 + x) * 2 + c];
                }
            }
            assert!((sum.max(0.0) - found).abs() < 1e-5, "{at}: {found} for {sum}");
        }
    }
}
