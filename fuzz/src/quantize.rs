//! The quantized network, without the calibration that needs Burn.

#[path = "../../host/src/quantize/network.rs"]
mod network;
pub use network::*;
