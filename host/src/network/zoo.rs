//! Networks known by name.

mod build;
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
    ("mobilenet-v2-0.35", Source::Built(|| mobile::mobilenet_v2("mobilenet-v2-0.35", 0.35))),
    ("mobilenet-v2-1.0", Source::Built(|| mobile::mobilenet_v2("mobilenet-v2-1.0", 1.0))),
    ("resnet50", Source::Built(resnet::resnet50)),
    ("vgg16", Source::Built(resnet::vgg16)),
];

/// The built-in network of that name.
#[must_use]
pub fn find(name: &str) -> Option<Result<Network, NetworkError>> {
    let (_, source) = NETWORKS.iter().find(|(known, _)| *known == name)?;
    Some(match source {
        Source::Text(text) => Network::from_toml(text, name),
        Source::Built(build) => Ok(build()),
    })
}

/// Names of the built-in networks.
pub fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
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
            ("resnet50", 25_636_712),
            ("vgg16", 138_357_544),
        ] {
            let network = find(name).unwrap().unwrap();
            network.validate().unwrap();
            assert_eq!(parameters(&network).unwrap(), count, "{name}");
        }
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
