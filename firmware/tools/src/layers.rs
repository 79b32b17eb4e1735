//! What a model file says of its layers: the only place here that reads its records.

use ocelli::model::Model;
use ocelli::model::records::{NONE, kind};

/// A layer as the model file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Its name.
    pub(crate) name: String,
    /// Multiply-accumulates of one inference, border cells counted in.
    pub(crate) macs: u64,
    /// Bytes of its weights in the file, without bias and multipliers.
    pub(crate) weight_bytes: u64,
}

/// The layers, in the order of the operators.
pub(crate) fn layers(model: &Model<'_>) -> Vec<Layer> {
    let names = model.names().map(str::to_owned);
    let layer = |(op, name)| {
        let weight_bytes = u64::try_from(model.constants(op).weights.len()).unwrap_or(u64::MAX);
        Layer { name, macs: macs(model, op).unwrap_or(0), weight_bytes }
    };
    names.enumerate().map(layer).collect()
}

/// Bytes of the arena that hold accumulators, and what convolutions gather.
pub(crate) fn scratch_bytes(model: &Model<'_>) -> u64 {
    let graph = model.graph();
    let outputs = graph.tensors.iter().skip(1);
    let accumulators = graph.ops.iter().zip(outputs).filter(|(op, _)| op.accumulators != NONE);
    accumulators.map(|(_, output)| 4 * u64::from(output.c)).sum::<u64>() + u64::from(model.header().scratch_bytes)
}

/// Multiply-accumulates of operator `op`; `None` for a record that a checked model does not have.
fn macs(model: &Model<'_>, op: usize) -> Option<u64> {
    let graph = model.graph();
    let record = graph.ops.get(op)?;
    let input = graph.tensors.get(usize::from(record.inputs[0]))?;
    let output = graph.tensors.get(op + 1)?;
    let outputs = u64::from(output.shape().elements()?);
    let cells = u64::from(record.kernel[0]) * u64::from(record.kernel[1]);
    match record.kind {
        kind::CONV2D => outputs.checked_mul(cells.checked_mul((input.c / u32::from(record.groups)).into())?),
        kind::DEPTHWISE_CONV2D => outputs.checked_mul(cells),
        kind::DENSE => outputs.checked_mul(input.shape().elements()?.into()),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aligned::Aligned;

    #[test]
    fn the_shipped_model_has_the_multiply_accumulates_of_its_layers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/mnist-cnn/model.ocelli");
        let file = Aligned::copy(&std::fs::read(path).unwrap());
        let model = Model::parse(file.as_slice()).unwrap();
        let found: Vec<_> = layers(&model).into_iter().map(|layer| (layer.macs, layer.weight_bytes)).collect();
        // 28x28x1 -> 26x26x32 -> 13x13x32 -> 11x11x64 -> 5x5x64 -> 1600 -> 10 -> 10
        let conv1 = (26 * 26 * 32 * 9, 32 * 3 * 4); // rows of three weights, padded to four
        let conv2 = (11 * 11 * 64 * 9 * 32, 64 * 9 * 32);
        assert_eq!(found, [conv1, (0, 0), conv2, (0, 0), (1600 * 10, 16_000), (0, 0)]);
    }
}
