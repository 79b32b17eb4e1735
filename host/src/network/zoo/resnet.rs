//! Residual networks (He et al., "Deep Residual Learning for Image Recognition", 2015).

use super::build::{Builder, he, window};
use crate::network::Network;
use ocelli::image::ColorOrder;
use ocelli::ir::{Activation, Op, Padding, Unary};

/// MLPerf Tiny's image classification network (ResNet-8 for CIFAR-10): 78,666 parameters, 12,501,632 multiply-accumulates.
pub(super) fn resnet8() -> Network {
    let mut net = Builder::new("resnet8", 32);
    net.options = he(1e-4);
    net.conv("stem", 16, window(3, 1, Padding::Same));
    let mut tip = net.norm_then(Unary::Relu, "relu");
    for (block, filters, stride) in [(1, 16, 1), (2, 32, 2), (3, 64, 2)] {
        net.conv(&format!("block{block}.a"), filters, window(3, stride, Padding::Same));
        net.norm_then(Unary::Relu, "relu");
        net.conv(&format!("block{block}.b"), filters, window(3, 1, Padding::Same));
        let main = net.norm();
        let shortcut = match stride {
            1 => tip,
            _ => net.conv_from(&format!("block{block}.shortcut"), filters, window(1, stride, Padding::Valid), &[&tip]),
        };
        tip = net.add(&format!("block{block}.add"), [&shortcut, &main], Activation::Relu);
    }
    net.classify(10)
}

/// ResNet-50 as `keras.applications` has it (the stride lies in a block's first convolution): 25,636,712 parameters. Its pictures are
/// BGR with ImageNet's mean taken off, on the scale 0 to 255 ("caffe" preprocessing).
pub(super) fn resnet50() -> Network {
    let mut net = Builder::new("resnet50", 224);
    caffe(&mut net);
    net.epsilon = 1.001e-5;
    net.options = he(0.0);
    net.conv("conv1", 64, window(7, 2, Padding::Explicit([3; 4])));
    net.norm_then(Unary::Relu, "relu");
    let mut tip = net.op("pool1", Op::MaxPool2d { window: window(3, 2, Padding::Explicit([1; 4])) }, &[]);
    for (stage, filters, blocks, stride) in [(2, 64, 3, 1), (3, 128, 4, 2), (4, 256, 6, 2), (5, 512, 3, 2)] {
        for block in 1..=blocks {
            let stride = if block == 1 { stride } else { 1 };
            let name = |part: &str| format!("conv{stage}_block{block}_{part}");
            let shortcut = if block == 1 {
                net.conv_from(&name("0"), 4 * filters, window(1, stride, Padding::Valid), &[&tip]);
                net.norm()
            } else {
                tip.clone()
            };
            net.conv_from(&name("1"), filters, window(1, stride, Padding::Valid), &[&tip]);
            net.norm_then(Unary::Relu, "relu");
            net.conv(&name("2"), filters, window(3, 1, Padding::Same));
            net.norm_then(Unary::Relu, "relu");
            net.conv(&name("3"), 4 * filters, window(1, 1, Padding::Valid));
            let main = net.norm();
            tip = net.add(&name("add"), [&shortcut, &main], Activation::Relu);
        }
    }
    net.classify(1000)
}

/// VGG-16 (Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014, configuration D): 138,357,544 parameters. Pictures as
/// [`resnet50`] has them.
pub(super) fn vgg16() -> Network {
    let mut net = Builder::new("vgg16", 224);
    caffe(&mut net);
    for (block, filters, convolutions) in [(1, 64, 2), (2, 128, 2), (3, 256, 3), (4, 512, 3), (5, 512, 3)] {
        for index in 1..=convolutions {
            let op = Op::Conv2d {
                c_out: filters,
                window: window(3, 1, Padding::Same),
                groups: 1,
                activation: Activation::Relu,
            };
            net.op(&format!("block{block}_conv{index}"), op, &[]);
        }
        net.op(&format!("block{block}_pool"), Op::MaxPool2d { window: window(2, 2, Padding::Valid) }, &[]);
    }
    net.op("flatten", Op::Flatten, &[]);
    net.dense("fc1", 4096, Activation::Relu);
    net.dense("fc2", 4096, Activation::Relu);
    net.finish(1000)
}

/// Blue first, each channel's mean over ImageNet taken off, no division: `(v / 255 - mean / 255) / (1 / 255)`.
fn caffe(net: &mut Builder) {
    let input = net.input();
    input.color = ColorOrder::Bgr;
    input.mean = [103.939, 116.779, 123.68].map(|mean: f32| mean / 255.0);
    input.std = [1.0 / 255.0; 3];
}
