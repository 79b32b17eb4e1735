//! The table Keras users know, with what a chip needs beside it.

use super::{INPUT, LayerKind, Network, NetworkError, Wired, layer_name};
use crate::compile::{Cost, Target, measure};
use serde::Serialize;

/// A layer's line.
#[derive(Clone, Debug, Serialize)]
pub struct LayerSummary {
    /// Name of the layer.
    pub name: String,
    /// Type of the layer.
    pub kind: &'static str,
    /// Names of the layers that it reads.
    pub inputs: Vec<String>,
    /// Output shape `[h, w, c]`.
    pub output_shape: [u32; 3],
    /// Trained numbers, the running statistics of a batch norm among them.
    pub parameters: u64,
    /// Multiply-accumulates an inference.
    pub macs: u64,
    /// Constants in flash once quantized: int8 weights, int32 biases, multipliers and shifts.
    pub flash_bytes: u64,
    /// Working memory: the ring of rows that holds the output, and accumulators.
    pub ram_bytes: u64,
}

/// The table's lines and sums.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Name of the network.
    pub network: String,
    /// Input shape `[h, w, c]`.
    pub input_shape: [u32; 3],
    /// The lines.
    pub layers: Vec<LayerSummary>,
    /// Sum of the lines.
    pub parameters: u64,
    /// Sum of the lines.
    pub macs: u64,
    /// Bytes of the ring that holds the input rows.
    pub input_ram_bytes: u64,
    /// Bytes of `model.ocelli`, all tables included.
    pub flash_bytes: u64,
    /// Bytes of working memory that a session needs, state included.
    pub ram_bytes: u64,
    /// The layer for which the network runs on the host only, where there is one: flash and RAM are 0 then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_only: Option<String>,
}

/// Makes the table. Flash and RAM are those of the compiled network: it is compiled with placeholder weights, and with numbers for
/// labels where none are given.
///
/// # Errors
/// When the network's shapes do not fit, or the labels are not one a class.
pub fn summarize(network: &Network, labels: Option<&[String]>, target: Target) -> anyhow::Result<Summary> {
    let numbers: Vec<String> = (0..network.classes()?).map(|class| class.to_string()).collect();
    let host_only = network.host_only().map(|layer| layer.name.clone());
    let compiled = match host_only {
        Some(_) => Cost::default(),
        None => measure(network, labels.unwrap_or(&numbers), target)?,
    };
    let mut layers = Vec::new();
    for wired in network.wired()? {
        let (layer, input) = (wired.layer, wired.input());
        let macs = match &layer.kind {
            LayerKind::Op(op) => op.macs(input, wired.output),
            LayerKind::Conv3d(conv) => conv.macs(input, wired.output),
            LayerKind::Dropout { .. } | LayerKind::BatchNorm { .. } => 0,
        };
        let cost = compiled.layers.get(&layer.name).copied().unwrap_or_default();
        let name_of = |&tensor: &usize| {
            let layer = tensor.checked_sub(1).and_then(|index| network.layers.get(index));
            layer.map_or(INPUT, |layer| &layer.name).to_owned()
        };
        layers.push(LayerSummary {
            name: layer.name.clone(),
            kind: layer_name(&layer.kind, input),
            inputs: wired.inputs.iter().map(name_of).collect(),
            output_shape: [wired.output.h, wired.output.w, wired.output.c],
            parameters: layer_parameters(&wired),
            macs,
            flash_bytes: cost.flash_bytes,
            ram_bytes: cost.ram_bytes,
        });
    }
    let input = network.input.shape;
    Ok(Summary {
        network: network.name.clone(),
        input_shape: [input.h, input.w, input.c],
        parameters: layers.iter().map(|l| l.parameters).sum(),
        macs: layers.iter().map(|l| l.macs).sum(),
        input_ram_bytes: compiled.input_ram_bytes,
        flash_bytes: compiled.flash_bytes,
        ram_bytes: compiled.ram_bytes,
        host_only,
        layers,
    })
}

/// Trained numbers of a network, the running statistics of batch norms among them.
///
/// # Errors
/// When the network's shapes do not fit.
pub fn parameters(network: &Network) -> Result<u64, NetworkError> {
    Ok(network.wired()?.iter().map(layer_parameters).sum())
}

fn layer_parameters(wired: &Wired<'_>) -> u64 {
    let input = wired.input();
    let biases = |channels: u32| if wired.layer.options.bias { u64::from(channels) } else { 0 };
    match &wired.layer.kind {
        LayerKind::Dropout { .. } => 0,
        LayerKind::BatchNorm { .. } => 4 * u64::from(input.c),
        LayerKind::Conv3d(conv) => {
            conv.weight_shape(input).iter().map(|&n| n as u64).product::<u64>() + biases(conv.filters)
        }
        LayerKind::Op(op) => op.weight_shape(input).map_or(0, |shape| {
            let bias = biases(shape[op.channel_axis()]);
            shape.iter().map(|&n| u64::from(n)).product::<u64>() + bias
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_those_keras_prints() {
        // keras.io "Simple MNIST convnet"
        let mnist = summarize(&Network::open("mnist-cnn").unwrap(), None, Target::HOST).unwrap();
        let counts: Vec<u64> = mnist.layers.iter().map(|l| l.parameters).filter(|&p| p > 0).collect();
        assert_eq!(counts, [320, 18_496, 16_010]);
        assert_eq!(mnist.parameters, 34_826);
    }
}
