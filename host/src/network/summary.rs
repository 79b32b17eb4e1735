//! The table Keras users know, with what a chip needs beside it.

use super::{LayerKind, Network, NetworkError, op_name};
use serde::Serialize;

/// A layer's line.
#[derive(Clone, Debug, Serialize)]
pub struct LayerSummary {
    /// Name of the layer.
    pub name: String,
    /// Type of the layer.
    pub kind: &'static str,
    /// Output shape `[h, w, c]`.
    pub output_shape: [u32; 3],
    /// Trained numbers.
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
}

/// Makes the table. Flash and RAM are those of the compiled network: it is compiled with placeholder weights, and with numbers for
/// labels where none are given.
///
/// # Errors
/// When the network's shapes do not fit, or the labels are not one a class.
pub fn summarize(network: &Network, labels: Option<&[String]>) -> anyhow::Result<Summary> {
    let numbers: Vec<String> = (0..network.classes()?).map(|class| class.to_string()).collect();
    let compiled = crate::compile::measure(network, labels.unwrap_or(&numbers))?;
    let nodes = network.nodes()?;
    let mut layers = Vec::new();
    let mut shape = network.input.shape;
    let mut nodes_left = nodes.iter();
    for layer in &network.layers {
        let (kind, parameters, macs) = match &layer.kind {
            LayerKind::Dropout { .. } => ("dropout", 0, 0),
            LayerKind::Op(op) => {
                let node = nodes_left.next().ok_or_else(|| missing(network))?;
                shape = node.output;
                let weights =
                    op.weight_shape(node.input).map_or(0, |s| s.iter().map(|&n| u64::from(n)).product::<u64>());
                let bias = op.weight_shape(node.input).map_or(0, |s| u64::from(s[0]));
                (op_name(op), weights + bias, op.macs(node.input, node.output))
            }
        };
        let cost = compiled.layers.get(&layer.name).copied().unwrap_or_default();
        layers.push(LayerSummary {
            name: layer.name.clone(),
            kind,
            output_shape: [shape.h, shape.w, shape.c],
            parameters,
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
        layers,
    })
}

fn missing(network: &Network) -> NetworkError {
    NetworkError::Invalid { name: network.name.clone(), message: "has fewer operators than layers".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_those_keras_prints() {
        // keras.io "Simple MNIST convnet": 320, 18,496, 16,010; total 34,826. TensorFlow's CNN tutorial: 122,570.
        let mnist = summarize(&Network::open("mnist-cnn").unwrap(), None).unwrap();
        let counts: Vec<u64> = mnist.layers.iter().map(|l| l.parameters).filter(|&p| p > 0).collect();
        assert_eq!(counts, [320, 18_496, 16_010]);
        assert_eq!(mnist.parameters, 34_826);
        assert_eq!(summarize(&Network::open("cifar-cnn").unwrap(), None).unwrap().parameters, 122_570);
    }
}
