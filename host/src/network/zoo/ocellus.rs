//! Ocelli's own network.

use super::build::{Builder, he, window};
use crate::network::Network;
use ocelli::ir::{Activation, Padding, Unary};

/// For 32x32 pictures on a chip with 24 KB for them: 91,066 parameters, 21,131,904 multiply-accumulates.
///
/// Full 3x3 convolutions in residual blocks where rows are wide and channels few: there they cost few weights, and a ring of three
/// rows of 16 or 32 channels is short. Inverted residuals (Sandler et al., "MobileNetV2", 2018) where the picture is 8x8 and weights would be
/// many: 13,000 a block of 64 channels, for 74,000 of two full convolutions. Where the picture shrinks the last time a plain convolution
/// stands alone: a block's widened channels at 16x16 would need a ring of 6 KB.
pub(super) fn ocellus() -> Network {
    let mut net = Builder::new("ocellus", 32);
    net.options = he(1e-4);
    net.options.bias = false;
    net.momentum = 0.9;
    net.conv("stem", 16, window(3, 1, Padding::Same));
    let mut tip = net.norm_then(Unary::Relu, "relu");
    for (block, filters, stride) in [(1, 16, 1), (2, 16, 1), (3, 32, 2), (4, 32, 1)] {
        net.conv(&format!("block{block}.a"), filters, window(3, stride, Padding::Same));
        net.norm_then(Unary::Relu, "relu");
        net.conv(&format!("block{block}.b"), filters, window(3, 1, Padding::Same));
        let main = net.norm();
        if stride == 2 {
            net.conv_from(&format!("block{block}.shortcut"), filters, window(1, stride, Padding::Same), &[&tip]);
            tip = net.norm();
        }
        tip = net.add(&format!("block{block}.add"), [&tip, &main], Activation::Relu);
    }
    net.conv("down", 64, window(3, 2, Padding::Same));
    tip = net.norm_then(Unary::Relu, "relu");
    for block in [5, 6] {
        net.conv(&format!("block{block}.expand"), 96, window(1, 1, Padding::Same));
        net.norm_then(Unary::Relu, "relu");
        net.depthwise(&format!("block{block}.depthwise"), window(3, 1, Padding::Same));
        net.norm_then(Unary::Relu, "relu");
        net.conv(&format!("block{block}.project"), 64, window(1, 1, Padding::Same));
        let main = net.norm();
        tip = net.add(&format!("block{block}.add"), [&tip, &main], Activation::None);
    }
    net.options.bias = true;
    net.classify(10)
}
