//! Models for PCs and the Raspberry Pi: whole tensors, layer by layer, weights in blocks of sixteen output channels.

use super::pack::Packing;
use super::passes::Passes;
use super::plan::{with_heights, work_in_place};
use super::tile::Target;
use anyhow::Context;
use ocelli::model::blocks;
use ocelli::model::records::{flag, kind, padded};
use ocelli::model::write::ModelFile;

/// Gives everything its place; tensors are whole and every operator waits for its inputs. Rings must be as tall as their tensors.
///
/// # Errors
/// When the memory does not fit 32 bits.
pub fn plan_layers(file: &mut ModelFile, passes: Passes, target: &Target) -> anyhow::Result<Packing> {
    if passes.in_place {
        work_in_place(file);
    }
    for index in 0..file.ops.len() {
        file.ops[index].record.flags |= flag::WAITS;
        pack(file, index)?;
    }
    let heights: Vec<u32> = file.tensors.iter().map(|tensor| tensor.h).collect();
    if file.ops.iter().any(|op| op.record.has(flag::BLOCKED)) {
        file.scratch = [0, target.scratch_bytes];
    }
    with_heights(file, &heights)
}

/// Turns an operator's weights, if the block kernels take it.
fn pack(file: &mut ModelFile, index: usize) -> anyhow::Result<()> {
    let input = file.tensors[usize::from(file.ops[index].record.inputs[0])];
    let c_out = file.tensors[index + 1].c as usize;
    let entry = &mut file.ops[index];
    let record = &mut entry.record;
    if !blocks::takes(record, &input) {
        return Ok(());
    }
    let row = match record.kind {
        kind::CONV2D => usize::from(record.kernel[1]) * input.c as usize,
        kind::DEPTHWISE_CONV2D => c_out,
        _ => input.shape().elements().context("its input is too large")? as usize,
    };
    let plain: Vec<i8> =
        entry.weights.chunks_exact(padded(row).max(1)).flat_map(|line| &line[..row]).copied().collect();
    let (weights, sums) = blocks::pack(record, &input, c_out, &plain);
    record.flags |= flag::BLOCKED;
    if !plain.contains(&i8::MIN) {
        record.flags |= flag::SYMMETRIC;
    }
    (record.tile_values, record.tile_channels) = (0, 0);
    entry.weights = weights;
    entry.bias.extend(sums);
    Ok(())
}

/// Scratch memory of an operator with weights in blocks: for as many rows at once as `budget` has room for, at least one.
pub(super) fn scratch_bytes(file: &ModelFile, index: usize, budget: u32) -> u32 {
    let (record, output) = (&file.ops[index].record, &file.tensors[index + 1]);
    let input = &file.tensors[usize::from(record.inputs[0])];
    let bytes = |rows: u32| blocks::scratch_bytes(record, input, output, rows);
    let fitting = (1..=output.h).rev().map(bytes).find(|&bytes| bytes <= u64::from(budget));
    u32::try_from(fitting.unwrap_or_else(|| bytes(1))).unwrap_or(u32::MAX)
}
