//! Residual networks (He et al., "Deep Residual Learning for Image Recognition", 2015).

use super::build::{Builder, he, window};
use crate::network::Network;
use ocelli::ir::{Activation, Padding, Unary};

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
