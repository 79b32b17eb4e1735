//! The one schedule: which operator computes its next row now. The runtime follows it, `load` and the compiler simulate it.
//!
//! An operator works in steps. A windowed operator's step makes one output row from the rows its window covers; an
//! accumulating one (dense, flatten) takes one input row a step and its only output row is complete after the last. Whenever an
//! input row has arrived, the deepest operator that can step does, until none can. A row may be overwritten once no reader's
//! next step needs it.

use crate::model::records::{OpRecord, Tensor, kind};

/// How an operator consumes its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// A step makes output row `step` from a window of rows.
    Window,
    /// A step takes input row `step`; the output is complete after the last.
    Accumulate,
}

const fn pace(op: &OpRecord) -> Pace {
    match op.kind {
        kind::DENSE | kind::FLATTEN => Pace::Accumulate,
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
        let tensor = match pace(record) {
            Pace::Window => self.tensors.get(op + 1),
            Pace::Accumulate => self.tensors.get(crate::to_usize(record.input)),
        };
        tensor.map_or(0, |t| t.h)
    }

    /// Input rows `first..end` that a step needs, clipped to the image.
    #[must_use]
    pub fn input_rows(&self, op: usize, step: u32) -> (u32, u32) {
        let Some(record) = self.ops.get(op) else { return (0, 0) };
        let h = self.tensors.get(crate::to_usize(record.input)).map_or(0, |t| t.h);
        match pace(record) {
            Pace::Accumulate => (step.min(h), step.saturating_add(1).min(h)),
            Pace::Window => {
                let start = i64::from(step) * i64::from(record.stride[0]) - i64::from(record.pads[0]);
                let last = start + i64::from(record.kernel[0].max(1) - 1) * i64::from(record.dilation[0]);
                let clip = |row: i64| u32::try_from(row.clamp(0, i64::from(h))).unwrap_or(h);
                (clip(start), clip(last + 1))
            }
        }
    }

    /// Rows of tensor `index` that are complete, given each operator's steps done and the input rows pushed.
    #[must_use]
    pub fn rows_made(&self, state: &[u16], index: usize) -> u32 {
        let done = state.get(index).map_or(0, |&v| u32::from(v));
        match index.checked_sub(1).and_then(|producer| Some((producer, self.ops.get(producer)?))) {
            Some((producer, op)) if pace(op) == Pace::Accumulate => u32::from(done == self.steps(producer)),
            _ => done,
        }
    }

    /// The oldest row of tensor `index` that some reader still needs (its height when none does).
    #[must_use]
    pub fn oldest_needed(&self, state: &[u16], index: usize) -> u32 {
        let Some(tensor) = self.tensors.get(index) else { return 0 };
        if index == self.ops.len() {
            return 0; // the network's output stays
        }
        let mut oldest = tensor.h;
        for reader in index..=crate::to_usize(tensor.last_reader) {
            if self.ops.get(reader).is_some_and(|op| crate::to_usize(op.input) == index) {
                let step = state.get(reader + 1).map_or(0, |&v| u32::from(v));
                if step < self.steps(reader) {
                    oldest = oldest.min(self.input_rows(reader, step).0);
                }
            }
        }
        oldest
    }

    /// Whether the ring of tensor `index` has a free slot for its next row.
    #[must_use]
    pub fn has_room(&self, state: &[u16], index: usize) -> bool {
        let rows = self.tensors.get(index).map_or(0, |t| t.rows);
        self.rows_made(state, index) < self.oldest_needed(state, index).saturating_add(rows)
    }

    /// The deepest operator that can take its next step.
    #[must_use]
    pub fn next_ready(&self, state: &[u16]) -> Option<usize> {
        (0..self.ops.len()).rev().find(|&op| {
            let step = state.get(op + 1).map_or(0, |&v| u32::from(v));
            let input = self.ops.get(op).map_or(0, |o| crate::to_usize(o.input));
            step < self.steps(op)
                && self.input_rows(op, step).1 <= self.rows_made(state, input)
                && self.has_room(state, op + 1)
        })
    }

    /// Runs the schedule for one frame without arithmetic; `visit` sees the state after each step, pushed rows included.
    ///
    /// `state` has one counter for the input and one for each operator. Returns whether the output came out complete and
    /// every input row found room.
    pub fn simulate(&self, state: &mut [u16], mut visit: impl FnMut(&[u16])) -> bool {
        state.fill(0);
        let height = self.tensors.first().map_or(0, |t| t.h);
        for _ in 0..height {
            if !self.has_room(state, 0) {
                return false;
            }
            let Some(pushed) = state.first_mut() else { return false };
            *pushed += 1;
            visit(state);
            while let Some(op) = self.next_ready(state) {
                let Some(steps) = state.get_mut(op + 1) else { return false };
                *steps += 1;
                visit(state);
            }
        }
        let output = self.ops.len();
        let complete = self.tensors.get(output).is_some_and(|t| self.rows_made(state, output) == t.h);
        state.fill(0);
        complete
    }
}
