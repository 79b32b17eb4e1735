//! The arena's check: whatever is alive at the same time has memory of its own.
//!
//! The schedule is run once without arithmetic, and every ring and accumulator table remembers its first and its last use. Two of
//! them may share bytes when one is done before the other begins. What the check itself must remember lies in the arena, which is not
//! in use yet.

use super::records::{ALIGN, flag, kind};
use super::{LoadError, Model, Region};
use crate::schedule::Graph;
use crate::to_usize;

/// First and last use, counted in steps from 1; `[0, 0]` for what is never used.
type Life = [u32; 2];

/// In use all the time.
const ALWAYS: Life = [0, u32::MAX];

impl Model<'_> {
    /// Bytes of arena that the check at load needs; a model's `arena_bytes` is at least that.
    #[must_use]
    pub fn load_bytes(&self) -> u32 {
        let ops = u32::from(self.header().op_count);
        state_bytes(ops) + 8 * (2 * ops + 1)
    }

    /// Checks that a frame can be finished, and that nothing is overwritten while it is needed. `arena` is used and left as it may be.
    pub(crate) fn check_memory(&self, arena: &mut [u8]) -> Result<(), LoadError> {
        let graph = self.graph();
        let too_small = LoadError::Field { what: "arena_bytes" };
        let (state, lives) =
            arena.split_at_mut_checked(to_usize(state_bytes(graph.ops.len() as u32))).ok_or(too_small)?;
        let lives = lives.get_mut(..8 * (graph.tensors.len() + graph.ops.len())).ok_or(too_small)?;
        let state: &mut [u16] = bytemuck::try_cast_slice_mut(state).map_err(|_| too_small)?;
        let lives: &mut [Life] = bytemuck::try_cast_slice_mut(lives).map_err(|_| too_small)?;
        let state = state.get_mut(..=graph.ops.len()).ok_or(too_small)?;
        if !lives_of(&graph, state, lives) {
            return Err(LoadError::Stalls);
        }
        let count = lives.len() + 2;
        for i in 0..count {
            if !self.is_alone(i, lives) {
                return Err(self.name(i));
            }
        }
        Ok(())
    }

    /// Whether region `i` lies in the arena and shares no byte with one before it that is in use at the same time.
    fn is_alone(&self, i: usize, lives: &[Life]) -> bool {
        let Some(one) = self.place(i, lives) else { return false };
        (0..i).all(|j| {
            self.place(j, lives).is_some_and(|other| {
                let apart_in_space = one.end <= other.start || other.end <= one.start;
                let apart_in_time = one.life[1] < other.life[0] || other.life[1] < one.life[0];
                apart_in_space || apart_in_time
            })
        })
    }

    /// What region `i` takes: the rings, then the operators' accumulators, then the state, then the scratch memory. `None` when that
    /// leaves the arena or is not aligned.
    fn place(&self, i: usize, lives: &[Life]) -> Option<Place> {
        let (graph, header) = (self.graph(), self.header());
        let tensors = graph.tensors.len();
        let (start, bytes) = if let Some(tensor) = graph.tensors.get(i) {
            // written in place, it has no ring of its own
            let bytes = if producer_in_place(&graph, i).is_some() { 0 } else { tensor.row_len() * tensor.rows };
            (tensor.offset, bytes)
        } else if let Some(op) = graph.ops.get(i - tensors) {
            match op.kind {
                kind::DENSE | kind::MEAN | kind::GLOBAL_AVERAGE_POOL => {
                    (op.accumulators, graph.tensors.get(i - tensors + 1)?.c.checked_mul(4)?)
                }
                _ => (0, 0),
            }
        } else if i == lives.len() {
            (header.state, 2 * (u32::from(header.op_count) + 1))
        } else {
            (header.scratch, header.scratch_bytes)
        };
        let end = start.checked_add(bytes).filter(|&end| end <= header.arena_bytes)?;
        if bytes == 0 {
            return Some(Place { start: 0, end: 0, life: [0, 0] });
        }
        let life = lives.get(i).copied().unwrap_or(ALWAYS);
        start.is_multiple_of(ALIGN as u32).then_some(Place { start, end, life })
    }

    fn name(&self, i: usize) -> LoadError {
        let (tensors, ops) = (self.graph().tensors.len(), self.graph().ops.len());
        let (what, index) = match i {
            i if i < tensors => (Region::Tensor, i),
            i if i < tensors + ops => (Region::Accumulators, i - tensors),
            i if i == tensors + ops => (Region::State, 0),
            _ => (Region::Scratch, 0),
        };
        LoadError::Memory { what, index: u16::try_from(index).unwrap_or(u16::MAX) }
    }
}

/// Bytes of the arena from `start` to `end`, and when they are in use.
struct Place {
    start: u32,
    end: u32,
    life: Life,
}

const fn state_bytes(ops: u32) -> u32 {
    (2 * (ops + 1)).next_multiple_of(ALIGN as u32)
}

/// The operator that writes a tensor over its own input.
fn producer_in_place(graph: &Graph<'_>, tensor: usize) -> Option<usize> {
    let producer = tensor.checked_sub(1)?;
    graph.ops.get(producer).filter(|op| op.has(flag::IN_PLACE)).map(|_| producer)
}

/// The tensor whose ring holds a tensor: itself, or the one that it is written over.
fn holder(graph: &Graph<'_>, mut tensor: usize) -> usize {
    while let Some(input) = producer_in_place(graph, tensor).and_then(|op| graph.ops.get(op)).map(|op| op.inputs[0]) {
        tensor = usize::from(input); // made before it is read: the index falls
    }
    tensor
}

/// First and last use of every tensor's ring (by the tensor that holds it), then of every operator's accumulators.
///
/// `state` has a counter for the input and one for each operator, `lives` an entry for each tensor and each operator. Returns whether a
/// frame can be finished.
pub fn lives_of(graph: &Graph<'_>, state: &mut [u16], lives: &mut [Life]) -> bool {
    bytemuck::cast_slice_mut::<_, u8>(lives).fill(0);
    let tensors = graph.tensors.len();
    let mut time = 0_u32;
    let complete = graph.simulate(state, |_, worked| {
        time += 1; // at most 2^22 steps
        let mut touch = |i: usize| {
            if let Some(life) = lives.get_mut(i) {
                *life = [if life[0] == 0 { time } else { life[0] }, time];
            }
        };
        touch(holder(graph, worked));
        if let Some(op) = worked.checked_sub(1).and_then(|op| graph.ops.get(op)) {
            op.reads().for_each(|input| touch(holder(graph, input)));
            touch(tensors + worked - 1);
        }
    });
    if let Some(output) = lives.get_mut(holder(graph, graph.ops.len())) {
        output[1] = u32::MAX; // the scores are read after the frame
    }
    complete
}
