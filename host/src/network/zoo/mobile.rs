//! Networks of depthwise and pointwise convolutions.

use super::Origin;
use super::build::{Builder, window};
use super::imagenet::torchvision;
use crate::network::Network;
use ocelli::image::ColorOrder;
use ocelli::ir::{Activation, Op, Padding, Shape, Unary, Window};

/// Filters scaled by `alpha` and brought to a multiple of eight, not below nine tenths.
///
/// # Source
/// `_make_divisible` of `keras.applications`.
fn scaled(filters: u32, alpha: f64) -> u32 {
    let wanted = f64::from(filters) * alpha;
    let nearest = ((wanted + 4.0) / 8.0).floor().max(1.0) * 8.0;
    let chosen = if nearest < 0.9 * wanted { nearest + 8.0 } else { nearest };
    chosen as u32
}

/// MLPerf Tiny's keyword spotting network (Zhang et al., "Hello Edge", 2017): 24,908 parameters; its input is a spectrogram.
pub(super) fn ds_cnn() -> Network {
    let mut net = Builder::new("ds-cnn", 1);
    net.input().shape = Shape::new(49, 10, 1);
    net.input().color = ColorOrder::Gray;
    net.options.l2 = 1e-4;
    net.conv("stem", 64, Window::new([10, 4], [2, 2], Padding::Same));
    net.norm_then(Unary::Relu, "relu");
    for block in 1..=4 {
        separable(&mut net, block, 64, 1, Unary::Relu);
    }
    net.dropout(0.4);
    net.classify(12)
}

/// MobileNetV1 (Howard et al., "MobileNets", 2017) as MLPerf Tiny's visual wake words has it: 96x96, two classes, biases, ReLU.
/// With `alpha` 0.25: 221,794 parameters, 7,489,664 multiply-accumulates.
pub(super) fn mobilenet_v1(name: &str, alpha: f64) -> Network {
    let mut net = Builder::new(name, 96);
    net.conv("stem", scaled(32, alpha), window(3, 2, Padding::Same));
    net.norm_then(Unary::Relu, "relu");
    let doubling = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)];
    let blocks = doubling.into_iter().chain([(512, 1); 5]).chain([(1024, 2), (1024, 1)]);
    for (block, (filters, stride)) in (1..).zip(blocks) {
        separable(&mut net, block, scaled(filters, alpha), stride, Unary::Relu);
    }
    net.classify(2)
}

fn separable(net: &mut Builder, block: u32, filters: u32, stride: u16, function: Unary) {
    net.depthwise(&format!("depthwise{block}"), window(3, stride, Padding::Same));
    net.norm_then(function, "relu");
    net.conv(&format!("pointwise{block}"), filters, window(1, 1, Padding::Same));
    net.norm_then(function, "relu");
}

/// MobileNetV2 (Sandler et al., "MobileNetV2", 2018), its layers named as `keras.applications` names them: no biases before batch norms.
/// With `alpha` 1.0: 3,538,984 parameters.
///
/// torchvision's has the same weights, but pads both sides of a window of stride 2 alike and has another epsilon.
pub(super) fn mobilenet_v2(name: &str, alpha: f64, origin: Origin) -> Network {
    let mut net = Builder::new(name, 224);
    let sliding = |stride| match origin {
        Origin::Keras => window(3, stride, Padding::Same),
        Origin::Torchvision => window(3, stride, Padding::Explicit([1; 4])),
    };
    match origin {
        Origin::Keras => (net.input().mean, net.input().std, net.momentum) = ([0.5; 3], [0.5; 3], 0.999),
        Origin::Torchvision => torchvision(&mut net),
    }
    net.options.bias = false;
    net.conv("Conv1", scaled(32, alpha), sliding(2));
    net.norm_as("bn_Conv1");
    let mut tip = net.function("Conv1_relu", Unary::Relu6);
    let mut c_in = scaled(32, alpha);
    let mut block = 0;
    for (expansion, filters, repeats, stride) in
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    {
        for repeat in 0..repeats {
            let (stride, c_out) = (if repeat == 0 { stride } else { 1 }, scaled(filters, alpha));
            let prefix = if block == 0 { "expanded_conv".to_owned() } else { format!("block_{block}") };
            let part = |part: &str| format!("{prefix}_{part}");
            if expansion != 1 {
                net.conv(&part("expand"), expansion * c_in, window(1, 1, Padding::Same));
                net.norm_as(&part("expand_BN"));
                net.function(&part("expand_relu"), Unary::Relu6);
            }
            net.depthwise(&part("depthwise"), sliding(stride));
            net.norm_as(&part("depthwise_BN"));
            net.function(&part("depthwise_relu"), Unary::Relu6);
            net.conv(&part("project"), c_out, window(1, 1, Padding::Same));
            let main = net.norm_as(&part("project_BN"));
            let residual = stride == 1 && c_in == c_out;
            tip = if residual { net.add(&part("add"), [&tip, &main], Activation::None) } else { main };
            c_in = c_out;
            block += 1;
        }
    }
    net.conv("Conv_1", if alpha > 1.0 { scaled(1280, alpha) } else { 1280 }, window(1, 1, Padding::Same));
    net.norm_as("Conv_1_bn");
    net.function("out_relu", Unary::Relu6);
    net.options.bias = true;
    net.op("global_average_pooling2d", Op::GlobalAveragePool, &[]);
    net.predictions(1000)
}
