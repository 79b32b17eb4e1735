//! ocelli
fn main() {}
