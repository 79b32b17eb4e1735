//! Networks known by name.

/// Name and `net.toml` of each built-in network.
const NETWORKS: [(&str, &str); 2] =
    [("mnist-cnn", include_str!("zoo/mnist-cnn.toml")), ("cifar-cnn", include_str!("zoo/cifar-cnn.toml"))];

/// The `net.toml` of a built-in network.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    NETWORKS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// Names of the built-in networks.
pub fn names() -> impl Iterator<Item = &'static str> {
    NETWORKS.iter().map(|(name, _)| *name)
}
