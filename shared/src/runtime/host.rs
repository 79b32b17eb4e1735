//! What a PC or a Raspberry Pi does otherwise: block kernels, and whole tensors layer by layer.
//!
//! A model for it has no rings: every tensor is whole and every operator waits for its inputs. A layer's rows can then be computed in any
//! order, several at once, and by several cores.

use super::job::{Job, ring, slot};
use super::{Made, SessionOf};
use crate::kernels::blocked::{self, Blocked, Level};
use crate::model::blocks;
use crate::model::records::{Tensor, flag, kind};
use crate::schedule::Graph;
use crate::to_usize;
use core::ops::Range;

/// Whether every tensor is whole and every operator waits for its inputs.
pub(super) fn is_layered(graph: &Graph<'_>) -> bool {
    graph.tensors.iter().all(|tensor| tensor.rows == tensor.h) && graph.ops.iter().all(|op| op.has(flag::WAITS))
}

impl<const KINDS: u32> SessionOf<'_, '_, KINDS> {
    /// Uses other instructions than the fastest that this CPU has; the outputs are the same.
    #[must_use]
    pub fn with_level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// The instructions that are used.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Runs a whole frame, an operator at a time: what the schedule does row by row when every operator waits.
    pub(super) fn run_layers(&mut self, mut fill: impl FnMut(u32, &mut [i8])) -> &[i8] {
        let graph = self.model.graph();
        let Some(input) = graph.tensors.first() else { return &[] };
        for y in 0..input.h {
            if let Some(row) = self.arena.get_mut(slot(input, y)) {
                fill(y, bytemuck::cast_slice_mut(row));
            }
        }
        self.set_steps(0, input.h);
        while let Some(op) = self.next_ready() {
            let steps = graph.steps(op);
            self.steps(op, 0..steps);
            self.set_steps(op + 1, steps);
        }
        self.restart();
        self.output()
    }

    pub(super) fn next_ready(&self) -> Option<usize> {
        self.model.graph().next_ready(self.state()?)
    }

    pub(super) fn set_steps(&mut self, counter: usize, steps: u32) {
        if let Some(count) = self.state_mut().and_then(|state| state.get_mut(counter)) {
            *count = u16::try_from(steps).unwrap_or(u16::MAX); // a tensor has at most that many rows
        }
    }

    /// Takes some of the steps of an operator whose tensors are whole.
    pub(super) fn steps(&mut self, op: usize, steps: Range<u32>) {
        let Some(record) = self.model.graph().ops.get(op) else { return };
        if record.has(flag::BLOCKED) {
            self.blocked_steps(op, steps);
        } else if record.kind != kind::ADD || self.add_steps(op, &steps).is_none() {
            for step in steps {
                self.step_at(op, step, &mut crate::team::Solo);
            }
        }
    }

    /// Takes some steps of an operator whose weights lie in blocks.
    pub(super) fn blocked_steps(&mut self, op: usize, steps: Range<u32>) -> Made {
        let (plain, constants) = (self.model.try_constants::<KINDS>(op)?, self.model.blocks(op)?);
        let job = self.job(op, steps.start, &plain)?;
        match job.record.kind {
            kind::DENSE => job.blocked_dense(&constants, self.arena, &steps),
            kind::DEPTHWISE_CONV2D => job.blocked_depthwise(&constants, self.arena, &steps),
            _ => job.blocked_conv2d(&constants, self.arena, &steps),
        }
    }

    /// Adds several rows of two tensors of one shape; `None` where they are of two.
    fn add_steps(&mut self, op: usize, steps: &Range<u32>) -> Made {
        let constants = self.model.try_constants::<KINDS>(op)?;
        let job = self.job(op, steps.start, &constants)?;
        let other = job.other.filter(|other| other.shape() == job.output.shape())?;
        let (place, second) = (place_of(job.output, steps)?, place_of(other, steps)?);
        let params = job.add_params(other);
        if job.record.has(flag::IN_PLACE) {
            let [out, second] = self.arena.get_disjoint_mut([place.clone(), second]).ok()?;
            blocked::add_row(self.level, &params, bytemuck::cast_slice_mut(out), bytemuck::cast_slice(second));
        } else {
            let first = place_of(job.input, steps)?;
            let [first, second, out] = self.arena.get_disjoint_mut([first, second, place.clone()]).ok()?;
            out.copy_from_slice(first);
            blocked::add_row(self.level, &params, bytemuck::cast_slice_mut(out), bytemuck::cast_slice(second));
        }
        Some((steps.start, place))
    }
}

impl Job<'_> {
    /// Computes rows `steps`, as many at once as the scratch memory can prepare.
    fn blocked_conv2d(&self, constants: &Blocked<'_>, arena: &mut [u8], steps: &Range<u32>) -> Made {
        let (place, count) = (place_of(self.output, steps)?, steps.end - steps.start);
        let [source, scratch, out] =
            arena.get_disjoint_mut([ring(self.input), self.scratch.clone(), place.clone()]).ok()?;
        let (window, rows) =
            (blocks::window(self.record, self.input, self.output), self.rows(bytemuck::cast_slice(source)));
        let bytes = |rows: u32| blocks::scratch_bytes(self.record, self.input, self.output, rows);
        let at_once = (1..=count).rev().find(|&rows| bytes(rows) <= scratch.len() as u64).unwrap_or(1);
        let (zero, width) = (self.input.zero_point as i8, to_usize(self.output.w));
        let chunks = out.chunks_mut(out.len() / to_usize(count) * to_usize(at_once));
        for (y, out) in steps.clone().step_by(to_usize(at_once)).zip(chunks) {
            let out = bytemuck::cast_slice_mut(out);
            blocked::conv2d_rows(self.level, &window, zero, rows, y, constants, scratch, out, width);
        }
        Some((steps.start, place))
    }

    fn blocked_depthwise(&self, constants: &Blocked<'_>, arena: &mut [u8], steps: &Range<u32>) -> Made {
        let (place, count) = (place_of(self.output, steps)?, steps.end - steps.start);
        let [source, scratch, out] =
            arena.get_disjoint_mut([ring(self.input), self.scratch.clone(), place.clone()]).ok()?;
        let (window, rows) =
            (blocks::window(self.record, self.input, self.output), self.rows(bytemuck::cast_slice(source)));
        let zero = self.input.zero_point as i8;
        let row_len = (out.len() / to_usize(count)).max(1);
        for (y, out) in steps.clone().zip(out.chunks_exact_mut(row_len)) {
            let out = bytemuck::cast_slice_mut(out);
            blocked::depthwise_row(self.level, &window, zero, rows, y, constants, scratch, out);
        }
        Some((steps.start, place))
    }

    /// Computes all outputs at the last step: the input is whole then.
    fn blocked_dense(&self, constants: &Blocked<'_>, arena: &mut [u8], steps: &Range<u32>) -> Made {
        if steps.end < self.input.h {
            return None;
        }
        let place = slot(self.output, 0);
        let [source, scratch, out] =
            arena.get_disjoint_mut([ring(self.input), self.scratch.clone(), place.clone()]).ok()?;
        blocked::dense(self.level, bytemuck::cast_slice(source), constants, scratch, bytemuck::cast_slice_mut(out));
        Some((0, place))
    }
}

/// Arena bytes of one row of a tensor, or of several rows of a whole one.
pub(super) fn place_of(tensor: &Tensor, rows: &Range<u32>) -> Option<Range<usize>> {
    let first = slot(tensor, rows.start);
    let count =
        rows.end.checked_sub(rows.start).filter(|&count| count == 1 || (count > 0 && tensor.rows == tensor.h))?;
    Some(first.start..first.start + first.len() * to_usize(count))
}
