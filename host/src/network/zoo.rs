//! Networks known by name.

/// Name and `net.toml` of each built-in network.
const NETWORKS: [(&str, &str); 4] = [
    ("mnist-cnn", include_str!("zoo/mnist-cnn.toml")),
    ("cifar-cnn", include_str!("zoo/cifar-cnn.toml")),
    ("resnet8", include_str!("zoo/resnet8.toml")),
    ("mobilenet-v1-025", include_str!("zoo/mobilenet-v1-025.toml")),
];

/// The `net.toml` of a built-in network.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    NETWORKS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Names of the built-in networks.
pub fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|(name, _)| *name)
}
