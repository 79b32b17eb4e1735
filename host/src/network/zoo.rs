//! Networks known by name.

mod build;
mod imagenet;
mod mobile;
mod ocellus;
mod resnet;

use super::{Network, NetworkError};

/// Where a built-in network comes from.
#[derive(Clone, Copy)]
enum Source {
    /// A `net.toml`.
    Text(&'static str),
    /// A function, for networks of many like layers.
    Built(fn() -> Network),
}

/// Whose form of a network of ImageNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// That of `keras.applications`.
    Keras,
    /// That of torchvision, for weights that were trained there.
    Torchvision,
}

/// Name and source of each built-in network.
const NETWORKS: [(&str, Source); 14] = [
    ("mnist-cnn", Source::Text(include_str!("zoo/mnist-cnn.toml"))),
    ("cifar-cnn", Source::Text(include_str!("zoo/cifar-cnn.toml"))),
    ("cats-cnn", Source::Text(include_str!("zoo/cats-cnn.toml"))),
    ("cats-cnn-gap", Source::Text(include_str!("zoo/cats-cnn-gap.toml"))),
    ("resnet8", Source::Built(resnet::resnet8)),
    ("ocellus", Source::Built(ocellus::ocellus)),
    ("ds-cnn", Source::Built(mobile::ds_cnn)),
    ("mobilenet-v1-0.25", Source::Built(|| mobile::mobilenet_v1("mobilenet-v1-0.25", 0.25))),
    ("mobilenet-v1-0.5", Source::Built(|| mobile::mobilenet_v1("mobilenet-v1-0.5", 0.5))),
    ("mobilenet-v1-1.0", Source::Built(|| mobile::mobilenet_v1("mobilenet-v1-1.0", 1.0))),
    ("mobilenet-v2-0.35", Source::Built(|| mobile::mobilenet_v2("mobilenet-v2-0.35", 0.35, Origin::Keras))),
    ("mobilenet-v2-1.0", Source::Built(|| mobile::mobilenet_v2("mobilenet-v2-1.0", 1.0, Origin::Keras))),
    ("resnet50", Source::Built(|| imagenet::resnet50(Origin::Keras))),
    ("vgg16", Source::Built(|| imagenet::vgg16(Origin::Keras))),
];

/// Keras' names of networks that have another here.
const ALIASES: [(&str, &str); 1] = [("mobilenetv2", "mobilenet-v2-1.0")];

/// The built-in network of that name.
#[must_use]
pub fn find(name: &str) -> Option<Result<Network, NetworkError>> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name);
    let (_, source) = NETWORKS.iter().find(|(known, _)| *known == name)?;
    Some(match source {
        Source::Text(text) => Network::from_toml(text, name),
        Source::Built(build) => Ok(build()),
    })
}

/// torchvision's form of a built-in network, by the name that the network itself has.
#[must_use]
pub fn torchvision(name: &str) -> Option<Network> {
    match name {
        "resnet50" => Some(imagenet::resnet50(Origin::Torchvision)),
        "vgg16" => Some(imagenet::vgg16(Origin::Torchvision)),
        "mobilenet-v2-1.0" => Some(mobile::mobilenet_v2(name, 1.0, Origin::Torchvision)),
        _ => None,
    }
}

/// Names of the built-in networks.
pub fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::LayerKind;
    use crate::network::summary::parameters;

    #[test]
    fn parameters_are_those_that_keras_and_mlperf_print() {
        // ocellus: 9 C_in C_out, 9 C and C_in C_out of its kernels, 4 a channel of batch norms, summed by hand.
        // keras.io "Simple MNIST convnet"; TensorFlow's CNN tutorial; MLPerf Tiny's reference models; keras.applications.
        for (name, count) in [
            ("mnist-cnn", 34_826),
            ("cifar-cnn", 122_570),
            ("resnet8", 78_666),
            ("ocellus", 91_066),
            ("ds-cnn", 24_908),
            ("mobilenet-v1-0.25", 221_794),
            ("mobilenet-v2-0.35", 1_691_208),
            ("mobilenet-v2-1.0", 3_538_984),
            ("mobilenetv2", 3_538_984),
            ("resnet50", 25_636_712),
            ("vgg16", 138_357_544),
        ] {
            let network = find(name).unwrap().unwrap();
            network.validate().unwrap();
            assert_eq!(parameters(&network).unwrap(), count, "{name}");
        }
    }

    #[test]
    fn layers_of_imagenet_networks_are_named_as_keras_names_them() {
        // `model.summary()` of keras.applications, the layers that only pad left out
        let begins = |name: &str, expected: &[&str]| {
            let network = find(name).unwrap().unwrap();
            let found: Vec<&str> =
                network.layers.iter().map(|layer| layer.name.as_str()).take(expected.len()).collect();
            assert_eq!(found, expected, "{name}");
            network
        };
        let resnet = begins("resnet50", &["conv1_conv", "conv1_bn", "conv1_relu", "pool1_pool", "conv2_block1_0_conv"]);
        // 1 + 16 blocks of 3 convolutions + 4 shortcuts, a batch norm each
        let norms = resnet.layers.iter().filter(|layer| matches!(layer.kind, LayerKind::BatchNorm { .. })).count();
        assert_eq!(norms, 53);
        let has = |network: &Network, name: &str| network.layers.iter().any(|layer| layer.name == name);
        for name in ["conv2_block1_0_bn", "conv4_block6_3_bn", "conv5_block3_add", "conv5_block3_out", "avg_pool"] {
            assert!(has(&resnet, name), "{name}");
        }
        assert!(has(&resnet, "predictions"));
        begins("vgg16", &["block1_conv1", "block1_conv2", "block1_pool", "block2_conv1"]);
        let mobile = begins(
            "mobilenetv2",
            &["Conv1", "bn_Conv1", "Conv1_relu", "expanded_conv_depthwise", "expanded_conv_depthwise_BN"],
        );
        for name in [
            "expanded_conv_project_BN",
            "block_1_expand",
            "block_2_add",
            "block_16_project_BN",
            "Conv_1_bn",
            "out_relu",
        ] {
            assert!(has(&mobile, name), "{name}");
        }
    }

    #[test]
    fn torchvisions_forms_have_its_parameters() {
        // torchvision's documentation of its weights (`num_params`), and 2 running statistics a channel of each batch norm:
        // 26,560 channels in ResNet-50, 17,056 in MobileNetV2
        for (name, count) in [
            ("resnet50", 25_557_032 + 2 * 26_560),
            ("vgg16", 138_357_544),
            ("mobilenet-v2-1.0", 3_504_872 + 2 * 17_056),
        ] {
            let network = torchvision(name).unwrap();
            network.validate().unwrap();
            assert_eq!(parameters(&network).unwrap(), count, "{name}");
        }
        assert!(torchvision("resnet8").is_none());
    }

    #[test]
    fn classes_and_input_size_can_be_others() {
        for name in names() {
            let network = find(name).unwrap().unwrap().with_classes(7).unwrap();
            assert_eq!(network.classes().unwrap(), 7, "{name}");
        }
        let wide = find("mobilenet-v2-0.35").unwrap().unwrap().with_input(96, 160).unwrap();
        assert_eq!(parameters(&wide).unwrap(), 1_691_208);
        let error = find("cats-cnn").unwrap().unwrap().with_input(17, 17).unwrap_err().to_string();
        assert!(error.contains("conv2d_2"), "{error}");
    }
}
