//! The kernels for x86-64. Each entry is a safe function; a [`Level`](super::Level) is the proof that the CPU has its instructions.
#![allow(unsafe_code)]

pub(super) mod avx2;
pub(super) mod avx2_rows;
pub(super) mod avx512;
pub(super) mod avx512_rows;
mod avx512_scaling;
pub(super) mod nibbles;

use core::arch::x86_64::*;

use super::layout::{BLOCK, GROUP, GROUP_BYTES};
use super::plan::DepthwisePlan;
use crate::kernels::WindowParams;

/// Cells of the largest depthwise kernel that has a vector kernel.
const MAX_CELLS: usize = 64;

/// Where pixel 0 reads each cell, from the start of a block, and the furthest of these. Cells that fill a group up read the first.
fn cell_offsets(p: &WindowParams, plan: &DepthwisePlan) -> ([usize; MAX_CELLS], usize) {
    let mut offsets = [0; MAX_CELLS];
    let mut last = 0;
    for (cell, offset) in offsets.iter_mut().enumerate().take(plan.cells) {
        *offset = plan.cell_offset(p, cell / p.kernel[1], cell % p.kernel[1]);
        last = last.max(*offset);
    }
    (offsets, last)
}

/// Lays a block's depthwise weights as `[groups][16 channels][4 cells]`, zero for cells that fill a group up.
#[inline]
#[target_feature(enable = "sse2")]
fn interleave_weights(weights: &[i8], plan: &DepthwisePlan, block: usize, to: &mut [[u8; GROUP_BYTES]]) {
    for (group, to) in to.iter_mut().enumerate() {
        let cells: [__m128i; GROUP] = core::array::from_fn(|i| load_cell(weights, plan, block, group * GROUP + i));
        let low = [_mm_unpacklo_epi8(cells[0], cells[1]), _mm_unpacklo_epi8(cells[2], cells[3])];
        let high = [_mm_unpackhi_epi8(cells[0], cells[1]), _mm_unpackhi_epi8(cells[2], cells[3])];
        let quads = [
            _mm_unpacklo_epi16(low[0], low[1]),
            _mm_unpackhi_epi16(low[0], low[1]),
            _mm_unpacklo_epi16(high[0], high[1]),
            _mm_unpackhi_epi16(high[0], high[1]),
        ];
        for (to, quad) in to.as_chunks_mut::<16>().0.iter_mut().zip(quads) {
            // SAFETY: the array is sixteen writable bytes.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), quad) }
        }
    }
}

/// A cell's depthwise weights of a block, zero beyond the last cell.
#[inline]
#[target_feature(enable = "sse2")]
fn load_cell(weights: &[i8], plan: &DepthwisePlan, block: usize, cell: usize) -> __m128i {
    let start = cell * plan.channels.next_multiple_of(BLOCK) + block * BLOCK;
    match weights.get(start..).and_then(|rest| rest.first_chunk::<BLOCK>()) {
        // SAFETY: the array is sixteen readable bytes.
        Some(weights) if cell < plan.cells => unsafe { _mm_loadu_si128(weights.as_ptr().cast()) },
        _ => _mm_setzero_si128(),
    }
}
