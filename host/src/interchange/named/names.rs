//! The names of a layer's tensors in files of other programs.

use crate::network::{Network, zoo};

/// Whose names and layouts a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `LAYER.kernel`, laid out as ours.
    Ocelli,
    /// `LAYER/kernel` with Keras' names of layers and parts: HWIO, dense `[in, out]`.
    Keras,
    /// torchvision's names of layers: OIHW, dense `[out, in]` behind a flatten of channels, rows, columns.
    Torchvision,
}

impl Scheme {
    /// All schemes.
    pub const ALL: [Self; 3] = [Self::Ocelli, Self::Keras, Self::Torchvision];

    /// Whose they are, for people.
    pub const fn owner(self) -> &'static str {
        match self {
            Self::Ocelli => "Ocelli",
            Self::Keras => "Keras",
            Self::Torchvision => "torchvision",
        }
    }
}

/// A part of a layer's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Weights; of a depthwise convolution where the flag is set.
    Kernel(bool),
    /// Biases.
    Bias,
    /// A batch norm's factors.
    Gamma,
    /// A batch norm's summands.
    Beta,
    /// A batch norm's running means.
    Mean,
    /// A batch norm's running variances.
    Variance,
}

/// The names that a part of a layer may have in a file, the usual one first; none where the scheme does not know the layer.
pub fn names(scheme: Scheme, network: &str, layer: &str, part: Part) -> Vec<String> {
    match scheme {
        Scheme::Ocelli => {
            let part = match part {
                Part::Kernel(_) => "kernel",
                Part::Bias => "bias",
                Part::Gamma => "gamma",
                Part::Beta => "beta",
                Part::Mean => "mean",
                Part::Variance => "variance",
            };
            vec![format!("{layer}.{part}")]
        }
        Scheme::Keras => {
            let parts: &[&str] = match part {
                Part::Kernel(false) => &["kernel"],
                Part::Kernel(true) => &["depthwise_kernel", "kernel"],
                Part::Bias => &["bias"],
                Part::Gamma => &["gamma"],
                Part::Beta => &["beta"],
                Part::Mean => &["moving_mean"],
                Part::Variance => &["moving_variance"],
            };
            // Keras 2 writes a layer's name twice and counts values: `conv1_conv/conv1_conv/kernel:0`
            let forms = |part: &&str| {
                let (once, twice) = (format!("{layer}/{part}"), format!("{layer}/{layer}/{part}"));
                [once.clone(), format!("{once}:0"), twice.clone(), format!("{twice}:0")]
            };
            parts.iter().flat_map(forms).collect()
        }
        Scheme::Torchvision => {
            let part = match part {
                Part::Kernel(_) | Part::Gamma => "weight",
                Part::Bias | Part::Beta => "bias",
                Part::Mean => "running_mean",
                Part::Variance => "running_var",
            };
            torchvision_layer(network, layer).map(|layer| format!("{layer}.{part}")).into_iter().collect()
        }
    }
}

/// The network in the form that a scheme's weights are for: torchvision's networks differ in a few strides and paddings.
pub fn form(scheme: Scheme, network: &Network) -> Option<Network> {
    if scheme != Scheme::Torchvision {
        return Some(network.clone());
    }
    let other = zoo::torchvision(&network.name)?.with_input(network.input.shape.h, network.input.shape.w).ok()?;
    let same = network.layers.len() == other.layers.len()
        && network.layers.iter().zip(&other.layers).all(|(ours, theirs)| ours.name == theirs.name);
    same.then_some(other)
}

/// torchvision's name of a layer of one of [`zoo::torchvision`]'s networks.
fn torchvision_layer(network: &str, layer: &str) -> Option<String> {
    match network {
        "resnet50" => resnet(layer),
        "vgg16" => vgg(layer),
        "mobilenet-v2-1.0" => mobilenet(layer),
        _ => None,
    }
}

/// `conv3_block2_1_bn` is `layer2.1.bn1`, `conv3_block1_0_conv` is `layer2.0.downsample.0`.
fn resnet(layer: &str) -> Option<String> {
    match layer {
        "conv1_conv" => return Some("conv1".to_owned()),
        "conv1_bn" => return Some("bn1".to_owned()),
        "predictions" => return Some("fc".to_owned()),
        _ => {}
    }
    let mut parts = layer.strip_prefix("conv")?.split('_');
    let (stage, block) = (parts.next()?, parts.next()?.strip_prefix("block")?);
    let (index, kind) = (parts.next()?, parts.next()?);
    let [stage, block] = [stage.parse::<u32>().ok()?.checked_sub(1)?, block.parse::<u32>().ok()?.checked_sub(1)?];
    let name = match (index, kind) {
        ("0", "conv") => "downsample.0".to_owned(),
        ("0", "bn") => "downsample.1".to_owned(),
        (index, kind @ ("conv" | "bn")) => format!("{kind}{index}"),
        _ => return None,
    };
    Some(format!("layer{stage}.{block}.{name}"))
}

/// torchvision counts convolutions, relus and pools of VGG-16 as the items of one list.
fn vgg(layer: &str) -> Option<String> {
    let dense = [("fc1", 0), ("fc2", 3), ("predictions", 6)];
    if let Some((_, index)) = dense.iter().find(|(name, _)| *name == layer) {
        return Some(format!("classifier.{index}"));
    }
    let (block, index) = layer.strip_prefix("block")?.split_once("_conv")?;
    let [block, index] = [block.parse::<usize>().ok()?.checked_sub(1)?, index.parse::<usize>().ok()?.checked_sub(1)?];
    let first = [0, 5, 10, 17, 24].get(block)?; // a convolution and its relu are two items, a pool one
    Some(format!("features.{}", first + 2 * index))
}

/// `block_3_expand_BN` is `features.4.conv.0.1`: the first convolution is item 0, the block without an expansion item 1.
fn mobilenet(layer: &str) -> Option<String> {
    let fixed = match layer {
        "Conv1" => "features.0.0",
        "bn_Conv1" => "features.0.1",
        "Conv_1" => "features.18.0",
        "Conv_1_bn" => "features.18.1",
        "predictions" => "classifier.1",
        "expanded_conv_depthwise" => "features.1.conv.0.0",
        "expanded_conv_depthwise_BN" => "features.1.conv.0.1",
        "expanded_conv_project" => "features.1.conv.1",
        "expanded_conv_project_BN" => "features.1.conv.2",
        _ => "",
    };
    if !fixed.is_empty() {
        return Some(fixed.to_owned());
    }
    let (block, part) = layer.strip_prefix("block_")?.split_once('_')?;
    let place = match part {
        "expand" => "0.0",
        "expand_BN" => "0.1",
        "depthwise" => "1.0",
        "depthwise_BN" => "1.1",
        "project" => "2",
        "project_BN" => "3",
        _ => return None,
    };
    Some(format!("features.{}.conv.{place}", block.parse::<u32>().ok()?.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torchvisions_names_are_those_of_its_state_dicts() {
        // keys of torchvision.models.*.state_dict()
        for (network, layer, name) in [
            ("resnet50", "conv1_conv", "conv1"),
            ("resnet50", "conv2_block1_0_conv", "layer1.0.downsample.0"),
            ("resnet50", "conv3_block4_2_bn", "layer2.3.bn2"),
            ("resnet50", "conv5_block3_3_conv", "layer4.2.conv3"),
            ("vgg16", "block1_conv1", "features.0"),
            ("vgg16", "block3_conv3", "features.14"),
            ("vgg16", "block5_conv3", "features.28"),
            ("vgg16", "fc2", "classifier.3"),
            ("mobilenet-v2-1.0", "expanded_conv_project", "features.1.conv.1"),
            ("mobilenet-v2-1.0", "block_1_depthwise_BN", "features.2.conv.1.1"),
            ("mobilenet-v2-1.0", "block_16_project_BN", "features.17.conv.3"),
        ] {
            assert_eq!(torchvision_layer(network, layer).as_deref(), Some(name));
        }
        for (network, layer) in
            [("resnet50", "conv2_block1_add"), ("resnet50", "conv0_block1_1_conv"), ("resnet8", "stem")]
        {
            assert_eq!(torchvision_layer(network, layer), None, "{layer}");
        }
    }
}
