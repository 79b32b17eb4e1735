//! The weights of a model file in one plain order, whatever core the file was compiled for.

use super::Numbers;
use crate::compile::unpacked;
use crate::network::LayerWeights;
use anyhow::{Context, ensure};
use ocelli::kernels::blocked::layout::BLOCK;
use ocelli::model::records::{OpRecord, Tensor, flag, kind, packed_nibbles, padded};
use ocelli::model::{Constants, Model, blocks};
use ocelli::quant::Multiplier;

/// The numbers of operator `op` of a model; `None` for an operator without weights.
///
/// # Errors
/// When a table is shorter than the operator needs; a checked file has none.
pub(super) fn numbers(model: &Model<'_>, op: usize, float: Option<&LayerWeights>) -> anyhow::Result<Option<Numbers>> {
    let graph = model.graph();
    let (Some(record), Some(output)) = (graph.ops.get(op), graph.tensors.get(op + 1)) else { return Ok(None) };
    let Some(input) = graph.tensors.get(usize::from(record.inputs[0])) else { return Ok(None) };
    let Some(depth) = depth(record, input) else { return Ok(None) };
    let constants = model.constants(op);
    let channels = output.c as usize;
    let cells = usize::from(record.kernel[0].max(1)) * usize::from(record.kernel[1].max(1));
    let taps = cells * depth;
    let int8 = plain(record, input, channels, &constants, [cells, depth]);
    ensure!(int8.len() == taps * channels && constants.bias.len() >= channels, "its weights are incomplete");
    let bias = (0..channels)
        .map(|channel| {
            // the file's bias holds - zx (sum(w) - taps zw): taken out again
            let sum: i64 = int8[channel * taps..][..taps].iter().map(|&w| i64::from(w)).sum();
            let zero_points = i64::from(input.zero_point) * (sum - taps as i64 * i64::from(record.weight_zero_point));
            i32::try_from(i64::from(constants.bias[channel]) + zero_points).context("a bias is too large")
        })
        .collect::<anyhow::Result<_>>()?;
    let float = float.map(|layer| by_channel(layer, channels, taps)).transpose()?;
    Ok(Some(Numbers { taps, depth, int8, bias, float, weight_zero_point: i32::from(record.weight_zero_point) }))
}

/// The factors of operator `op`, as many as it has.
pub(super) fn factors(model: &Model<'_>, op: usize) -> Vec<Multiplier> {
    let constants = model.constants(op);
    (0..constants.multipliers.len()).map(|index| constants.multiplier(index)).collect()
}

/// Input channels that each kernel cell of one output channel sees; `None` for an operator without weights.
fn depth(record: &OpRecord, input: &Tensor) -> Option<usize> {
    match record.kind {
        kind::CONV2D => Some(input.c as usize / usize::from(record.groups.max(1))),
        kind::DEPTHWISE_CONV2D => Some(1),
        kind::DENSE => Some(input.shape().elements()? as usize),
        _ => None,
    }
}

/// Weights as `[c_out, kh * kw, depth]`.
fn plain(
    record: &OpRecord,
    input: &Tensor,
    channels: usize,
    constants: &Constants<'_>,
    [cells, depth]: [usize; 2],
) -> Vec<i8> {
    let weights = constants.weights;
    let (kh, kw) = (usize::from(record.kernel[0].max(1)), usize::from(record.kernel[1].max(1)));
    let blocked = record.has(flag::BLOCKED);
    if record.kind == kind::DEPTHWISE_CONV2D {
        let row = if blocked { channels.next_multiple_of(BLOCK) } else { padded(channels) };
        let at = |channel: usize, cell: usize| weights.get(cell * row + channel).copied();
        return (0..channels).flat_map(|o| (0..cells).filter_map(move |cell| at(o, cell))).collect();
    }
    if blocked {
        let layout = blocks::layout(record, input, channels);
        let places = (0..channels).flat_map(|o| (0..kh).flat_map(move |ky| (0..kw).map(move |kx| (o, ky, kx))));
        return places
            .flat_map(|(o, ky, kx)| (0..depth).map(move |c| layout.weight_at(weights, o, ky, kx, c)))
            .collect();
    }
    let row = if record.kind == kind::DENSE { depth } else { kw * depth };
    if record.has(flag::INT4) {
        return weights.chunks_exact(packed_nibbles(row).max(1)).flat_map(|line| unpacked(line, row)).collect();
    }
    weights.chunks_exact(padded(row).max(1)).flat_map(|line| &line[..row]).copied().collect()
}

/// Float weights as `[c_out, taps]`, and one bias a channel.
fn by_channel(layer: &LayerWeights, channels: usize, taps: usize) -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
    ensure!(
        layer.kernel.len() == channels * taps && (layer.bias.is_empty() || layer.bias.len() == channels),
        "its float weights have another shape: they are not those that the model was compiled from"
    );
    let depthwise = layer.shape[0] == 1 && channels > 1 && layer.shape[3] == channels;
    let kernel = if depthwise {
        (0..channels).flat_map(|o| layer.kernel.iter().skip(o).step_by(channels)).copied().collect()
    } else {
        layer.kernel.clone()
    };
    let bias = if layer.bias.is_empty() { vec![0.0; channels] } else { layer.bias.clone() };
    Ok((kernel, bias))
}
