//! The one schedule: which operator computes its next row now. The runtime follows it, `load` and the compiler simulate it.
//!
//! An operator works in steps. A windowed operator's step makes one output row from the rows its window covers; an
//! accumulating one (dense, global pools, reshape) takes one input row a step and its output is complete after the last.
//! Whenever an input row has arrived, the deepest operator that can step does, until none can. A row may be overwritten once no
//! reader's next step needs it.

use crate::model::records::{NO_INPUT, OpRecord, Tensor, flag, kind};
use crate::to_usize;

/// How an operator consumes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A step makes output row `step` from a window of rows.
    Window,
    /// A step takes input row `step`; the output is complete after the last.
    Accumulate,
}

pub(crate) const fn pace(op: &OpRecord) -> Pace {
    match op.kind {
        kind::DENSE | kind::RESHAPE | kind::MEAN | kind::GLOBAL_AVERAGE_POOL | kind::GLOBAL_MAX_POOL => {
            Pace::Accumulate
        }
        _ => Pace::Window,
    }
}

/// The operators and tensors of a network; operator `i` writes tensor `i + 1`.
#[derive(Clone, Copy, Debug)]
pub struct Graph<'a> {
    /// The operators, in topological order.
    pub ops: &'a [OpRecord],
    /// The tensors, one more than operators.
    pub tensors: &'a [Tensor],
}

impl Graph<'_> {
    /// Steps that an operator takes for one frame.
    #[must_use]
    pub fn steps(&self, op: usize) -> u32 {
        let Some(record) = self.ops.get(op) else { return 0 };
        match pace(record) {
            Pace::Window => self.height(op + 1),
            Pace::Accumulate => self.height(usize::from(record.inputs[0])),
        }
    }

    /// Whether each step of an operator makes an output row of its own.
    #[cfg(feature = "threads")]
    pub(crate) fn is_row_by_row(&self, op: usize) -> bool {
        self.ops.get(op).is_some_and(|record| pace(record) == Pace::Window)
    }

    #[cfg_attr(ocelli_isa = "armv6m", inline(never))] // small code counts most there
    fn height(&self, tensor: usize) -> u32 {
        self.tensors.get(tensor).map_or(0, |t| t.h)
    }

    /// Rows `first..end` of its input `input` (0 or 1) that a step needs, clipped to the image. `step` is below `2^16`, as every step
    /// that is counted.
    #[must_use]
    pub fn input_rows(&self, op: usize, input: usize, step: u32) -> (u32, u32) {
        let Some(record) = self.ops.get(op) else { return (0, 0) };
        let h = record.inputs.get(input).map_or(0, |&tensor| self.height(usize::from(tensor)));
        self.rows_needed(record, op, input, step, h)
    }

    /// The same; `h` is the input's height. Where a sum does not fit 32 bits it is more than `h` in any case.
    #[inline]
    fn rows_needed(&self, record: &OpRecord, op: usize, input: usize, step: u32, h: u32) -> (u32, u32) {
        if pace(record) == Pace::Accumulate {
            return (step.min(h), step.saturating_add(1).min(h));
        }
        if input == 1 && h != self.height(op + 1) {
            return (0, h); // one value a channel: needed for every row
        }
        let [start, pad] = [step.wrapping_mul(u32::from(record.stride[0])), u32::from(record.pads[0])];
        let span = u32::from(record.kernel[0].max(1) - 1) * u32::from(record.dilation[0]) + 1;
        (start.saturating_sub(pad).min(h), start.saturating_add(span).saturating_sub(pad).min(h))
    }

    /// Rows of tensor `index` that are complete, given each operator's steps done and the input rows pushed.
    #[must_use]
    pub fn rows_made(&self, state: &[u16], index: usize) -> u32 {
        let done = state.get(index).map_or(0, |&v| u32::from(v));
        match index.checked_sub(1).and_then(|producer| Some((producer, self.ops.get(producer)?))) {
            Some((producer, op)) if pace(op) == Pace::Accumulate => {
                if done == self.steps(producer) {
                    self.height(index)
                } else {
                    0
                }
            }
            _ => done,
        }
    }

    /// The oldest row of tensor `index` that some reader still needs (its height when none does); rows that an operator has put in
    /// their place count as well.
    #[must_use]
    pub fn oldest_needed(&self, state: &[u16], mut index: usize) -> u32 {
        let mut oldest = self.height(index);
        while index < self.ops.len() {
            let Some(tensor) = self.tensors.get(index) else { break };
            let mut heir = 0; // none: no operator makes the input
            for reader in index..self.ops.len().min(to_usize(tensor.last_reader) + 1) {
                let Some(op) = self.ops.get(reader) else { break };
                let Some(input) = op.inputs.iter().position(|&read| usize::from(read) == index) else { continue };
                let step = state.get(reader + 1).map_or(0, |&v| u32::from(v));
                if step < self.steps(reader) {
                    oldest = oldest.min(self.input_rows(reader, input, step).0);
                }
                if input == 0 && op.has(flag::IN_PLACE) {
                    heir = reader + 1;
                }
            }
            if heir == 0 {
                return oldest;
            }
            index = heir;
        }
        0 // the network's output stays
    }

    /// Whether the ring of tensor `index` has a free slot for its next row.
    #[must_use]
    pub fn has_room(&self, state: &[u16], index: usize) -> bool {
        let rows = self.tensors.get(index).map_or(0, |t| t.rows);
        let in_place =
            index.checked_sub(1).and_then(|producer| self.ops.get(producer)).is_some_and(|op| op.has(flag::IN_PLACE));
        let made = self.rows_made(state, index);
        // most rings hold the whole tensor: no reader need be looked at
        in_place || made < rows || made < self.oldest_needed(state, index).saturating_add(rows)
    }

    /// Whether an operator can take its next step.
    #[must_use]
    #[inline]
    pub fn is_ready(&self, state: &[u16], op: usize) -> bool {
        let Some(record) = self.ops.get(op) else { return false };
        let step = state.get(op + 1).map_or(0, |&v| u32::from(v));
        let has_rows = |input: usize, tensor: u16| {
            let tensor = usize::from(tensor);
            let h = self.height(tensor);
            let needed = if record.has(flag::WAITS) { h } else { self.rows_needed(record, op, input, step, h).1 };
            needed <= self.rows_made(state, tensor)
        };
        // the test that fails most often comes first
        has_rows(0, record.inputs[0])
            && step < self.steps(op)
            && (record.inputs[1] == NO_INPUT || has_rows(1, record.inputs[1]))
            && self.has_room(state, op + 1)
    }

    /// The deepest operator that can take its next step.
    #[must_use]
    pub fn next_ready(&self, state: &[u16]) -> Option<usize> {
        (0..self.ops.len()).rev().find(|&op| self.is_ready(state, op))
    }

    /// The same after a step of the deepest operator, which worked on tensor `tensor`, or after a pushed row (tensor 0) when no
    /// operator could step before it: of the deeper operators only those that read the tensor may have become ready.
    #[must_use]
    pub fn next_ready_after(&self, state: &[u16], tensor: usize) -> Option<usize> {
        let last = self.tensors.get(tensor).map_or(0, |tensor| to_usize(tensor.last_reader));
        (0..self.ops.len().min(last + 1)).rev().find(|&op| self.is_ready(state, op))
    }

    /// Runs the schedule for one frame without arithmetic; `visit` sees the state after each step, pushed rows included, and the
    /// tensor that the step worked on (0 for a pushed row).
    ///
    /// `state` has one counter for the input and one for each operator. Returns whether the output came out complete and
    /// every input row found room.
    pub fn simulate(&self, state: &mut [u16], mut visit: impl FnMut(&[u16], usize)) -> bool {
        state.fill(0);
        for _ in 0..self.height(0) {
            if !self.has_room(state, 0) {
                return false;
            }
            let Some(pushed) = state.first_mut() else { return false };
            *pushed += 1;
            visit(state, 0);
            let mut worked = 0;
            while let Some(op) = self.next_ready_after(state, worked) {
                debug_assert_eq!(Some(op), self.next_ready(state), "a deeper operator became ready");
                worked = op + 1;
                let Some(steps) = state.get_mut(op + 1) else { return false };
                *steps += 1;
                visit(state, op + 1);
            }
        }
        let output = self.ops.len();
        let complete = self.rows_made(state, output) == self.height(output);
        state.fill(0);
        complete
    }
}
