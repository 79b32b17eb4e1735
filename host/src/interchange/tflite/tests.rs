//! Tests on real files, on files built for one edge each, and on broken ones.

mod build;
mod edges;
mod hostile;
mod problems;
mod real;
mod refused;

/// A file of the folder `tests/models`.
fn model(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
