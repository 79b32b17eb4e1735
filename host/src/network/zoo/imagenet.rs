//! ImageNet's large classifiers with the layers, in order and by name, of `keras.applications`; where torchvision's differ, as those too.

use super::Origin;
use super::build::{Builder, he, window};
use crate::network::Network;
use ocelli::image::ColorOrder;
use ocelli::ir::{Activation, Op, Padding, Unary};

/// ResNet-50 (He et al., "Deep Residual Learning for Image Recognition", 2015): 25,636,712 parameters with Keras' biases before batch
/// norms. Keras pads by layers of its own, `conv1_pad` and `pool1_pad`, which are part of the window here: the pool's zeros change
/// nothing behind a relu.
///
/// torchvision's has no biases before batch norms, and the stride of a block in its 3x3 convolution.
pub(super) fn resnet50(origin: Origin) -> Network {
    let mut net = Builder::new("resnet50", 224);
    net.options = he(0.0);
    match origin {
        Origin::Keras => {
            caffe(&mut net);
            net.epsilon = 1.001e-5;
        }
        Origin::Torchvision => {
            torchvision(&mut net);
            net.options.bias = false;
        }
    }
    net.conv("conv1_conv", 64, window(7, 2, Padding::Explicit([3; 4])));
    net.norm_as("conv1_bn");
    net.function("conv1_relu", Unary::Relu);
    let mut tip = net.op("pool1_pool", Op::MaxPool2d { window: window(3, 2, Padding::Explicit([1; 4])) }, &[]);
    for (stage, filters, blocks, stride) in [(2, 64, 3, 1), (3, 128, 4, 2), (4, 256, 6, 2), (5, 512, 3, 2)] {
        for block in 1..=blocks {
            let stride = if block == 1 { stride } else { 1 };
            let [first, second] = match origin {
                Origin::Keras => [stride, 1],
                Origin::Torchvision => [1, stride],
            };
            let name = |part: &str| format!("conv{stage}_block{block}_{part}");
            let shortcut = if block == 1 {
                net.conv_from(&name("0_conv"), 4 * filters, window(1, stride, Padding::Valid), &[&tip]);
                net.norm_as(&name("0_bn"))
            } else {
                tip.clone()
            };
            net.conv_from(&name("1_conv"), filters, window(1, first, Padding::Valid), &[&tip]);
            net.norm_as(&name("1_bn"));
            net.function(&name("1_relu"), Unary::Relu);
            net.conv(&name("2_conv"), filters, window(3, second, Padding::Explicit([1; 4])));
            net.norm_as(&name("2_bn"));
            net.function(&name("2_relu"), Unary::Relu);
            net.conv(&name("3_conv"), 4 * filters, window(1, 1, Padding::Valid));
            let main = net.norm_as(&name("3_bn"));
            net.add(&name("add"), [&shortcut, &main], Activation::None);
            tip = net.function(&name("out"), Unary::Relu);
        }
    }
    net.options.bias = true;
    net.op("avg_pool", Op::GlobalAveragePool, &[]);
    net.predictions(1000)
}

/// VGG-16 (Simonyan and Zisserman, "Very Deep Convolutional Networks", 2014, configuration D): 138,357,544 parameters.
///
/// torchvision's differs in what it takes pictures as.
pub(super) fn vgg16(origin: Origin) -> Network {
    let mut net = Builder::new("vgg16", 224);
    match origin {
        Origin::Keras => caffe(&mut net),
        Origin::Torchvision => torchvision(&mut net),
    }
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
    net.predictions(1000)
}

/// Keras' "caffe" preprocessing: blue first, each channel's mean over ImageNet taken off, no division:
/// `(v / 255 - mean / 255) / (1 / 255)`.
fn caffe(net: &mut Builder) {
    let input = net.input();
    input.color = ColorOrder::Bgr;
    input.mean = [103.939, 116.779, 123.68].map(|mean: f32| mean / 255.0);
    input.std = [1.0 / 255.0; 3];
}

/// What torchvision's networks are trained with: mean and deviation of ImageNet, PyTorch's batch norms.
pub(super) fn torchvision(net: &mut Builder) {
    (net.input().mean, net.input().std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    (net.epsilon, net.momentum) = (1e-5, 0.9);
}
