//! The plain loops over packed weights: for every CPU, and what the vector kernels are checked against.

use super::Job;
use super::layout::{BLOCK, GROUP, GROUP_BYTES};
use super::plan::{DepthwisePlan, Piece, Plan, prepare, prepare_depthwise};
use crate::kernels::isa::AddParams;
use crate::kernels::portable::add_one;
use crate::quant::requantize;

/// Computes rows of a convolution.
pub(super) fn conv2d(job: &Job<'_>, plan: &Plan, scratch: &mut [u8], out: &mut [i8]) {
    prepare(job.params, plan, job.rows, job.y, |index, piece| match piece {
        Piece::Zero(len) => scratch[index..index + len].fill(job.zero.cast_unsigned()),
        Piece::Values(values) => {
            for (to, &from) in scratch[index..].iter_mut().zip(values) {
                *to = from.cast_unsigned();
            }
        }
    });
    let blocks = job.constants.weights.chunks_exact(plan.groups * GROUP_BYTES).take(plan.blocks());
    for (block, weights) in blocks.enumerate() {
        let first = block * BLOCK;
        let bias = job.constants.block(block).bias;
        for (index, pixel_out) in out.chunks_exact_mut(plan.c_out).enumerate() {
            let (row, x) = (index / plan.out_width, index % plan.out_width);
            let mut acc = bias;
            let mut weights = weights.as_chunks::<GROUP>().0.as_chunks::<BLOCK>().0.iter();
            for line in 0..plan.kernel_rows * plan.segments {
                let (ky, segment) = (line / plan.segments, line % plan.segments);
                let start = row * plan.row_step + ky * plan.row_len + segment * plan.segment_step + x * plan.pixel_step;
                let values = scratch[start..start + plan.segment_groups * GROUP].as_chunks::<GROUP>().0;
                for (values, weights) in values.iter().zip(&mut weights) {
                    let values = values.map(|v| i32::from(v.cast_signed()));
                    for (acc, weights) in acc.iter_mut().zip(weights) {
                        for (value, &weight) in values.iter().zip(weights) {
                            *acc += value * i32::from(weight);
                        }
                    }
                }
            }
            for (c, (out, acc)) in pixel_out[first..].iter_mut().zip(acc).enumerate() {
                *out = requantize(acc, job.constants.factors.multiplier(first + c), &job.constants.factors.stage);
            }
        }
    }
}

/// Computes a row of a depthwise convolution.
pub(super) fn depthwise(job: &Job<'_>, plan: &DepthwisePlan, scratch: &mut [u8], out: &mut [i8]) {
    let p = job.params;
    prepare_depthwise(p, plan, job.zero, job.rows, job.y, 0, scratch);
    let stride = plan.channels.next_multiple_of(BLOCK);
    for (block, prepared) in scratch.chunks_exact(plan.block_bytes).take(stride / BLOCK).enumerate() {
        let first = block * BLOCK;
        let bias = job.constants.block(block).bias;
        for (x, pixel_out) in out.chunks_exact_mut(plan.channels).enumerate() {
            let mut acc = bias;
            for cell in 0..plan.cells {
                let start = plan.cell_offset(p, cell / p.kernel[1], cell % p.kernel[1]) + x * BLOCK;
                let weights = &job.constants.weights[cell * stride + first..];
                for (acc, (&value, &weight)) in acc.iter_mut().zip(prepared[start..].iter().zip(weights)) {
                    *acc += i32::from(value.cast_signed()) * i32::from(weight);
                }
            }
            for (c, (out, acc)) in pixel_out[first..].iter_mut().zip(acc).enumerate() {
                *out = requantize(acc, job.constants.factors.multiplier(first + c), &job.constants.factors.stage);
            }
        }
    }
}

/// Adds `b` to `a`.
pub(super) fn add(params: &AddParams, a: &mut [i8], b: &[i8]) {
    for (a, &b) in a.iter_mut().zip(b) {
        *a = add_one(params, *a, b);
    }
}
