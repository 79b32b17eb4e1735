//! Ring heights, gates and arena offsets. The heights come from a run of the runtime's own schedule, not from a formula.

use super::blocks;
use super::pack::{self, Packing, Region};
use super::passes::Passes;
use super::tile;
use anyhow::{Context, ensure};
use ocelli::model::memory::lives_of;
use ocelli::model::records::{MAX_SCHEDULE, OpRecord, Tensor, flag, kind};
use ocelli::model::write::{ModelFile, OpEntry};
use ocelli::schedule::Graph;

/// Every region starts at a multiple of this, so that kernels may load words.
pub(super) const REGION_ALIGN: u32 = 4;

/// Decides what works in place, which operators wait for whole tensors and how tall every ring is, and gives everything its place.
///
/// # Errors
/// When the network takes more steps than a device would accept, or its memory does not fit 32 bits.
pub fn plan(file: &mut ModelFile, passes: Passes) -> anyhow::Result<Packing> {
    if passes.in_place {
        work_in_place(file);
    }
    let schedule = schedule_of(file)?;
    let constants: Vec<OpEntry> = file.ops.iter_mut().map(take_constants).collect(); // the tries copy what is left
    let tried = try_gates(file, if passes.gates { gates(file.ops.len(), schedule) } else { vec![file.ops.len()] });
    if let Ok((_, planned)) = &tried {
        *file = planned.clone();
    }
    for (entry, constants) in file.ops.iter_mut().zip(constants) {
        *entry = OpEntry { record: entry.record, ..constants };
    }
    tried.map(|(packing, _)| packing)
}

/// Work that the search for the best gate may take, in operators looked at: a network of 60 operators on pictures of 224 rows takes
/// less than half of it.
const SEARCH: u64 = 1 << 25;

/// The gates to try, the latest first: all of them, or for a long network as many as [`SEARCH`] allows, evenly spaced. `schedule` is the
/// work that a simulation of the schedule may take.
fn gates(ops: usize, schedule: u64) -> Vec<usize> {
    let tries = usize::try_from(SEARCH / schedule.max(1)).unwrap_or(usize::MAX).max(1);
    (0..=ops).rev().step_by((ops + 1).div_ceil(tries).max(1)).collect()
}

/// The smallest packing of those that begin to wait at one of `gates`, the first where several are equal.
fn try_gates(file: &ModelFile, gates: Vec<usize>) -> anyhow::Result<(Packing, ModelFile)> {
    let mut best: Option<(Packing, ModelFile)> = None;
    for gate in gates {
        let mut candidate = file.clone();
        for entry in candidate.ops.iter_mut().skip(gate) {
            entry.record.flags |= flag::WAITS;
        }
        let heights = ring_rows(&candidate)?;
        let packing = with_heights(&mut candidate, &heights)?;
        if best.as_ref().is_none_or(|(least, _)| packing.bytes < least.bytes) {
            best = Some((packing, candidate));
        }
    }
    best.context("the network has no operators")
}

/// An operator's constants, which are then missing from it; its record is copied.
fn take_constants(entry: &mut OpEntry) -> OpEntry {
    let empty = OpEntry {
        name: String::new(),
        record: entry.record,
        weights: Vec::new(),
        bias: Vec::new(),
        multipliers: Vec::new(),
    };
    std::mem::replace(entry, empty)
}

/// Steps of a frame times operators: what a simulation of the schedule takes at most.
///
/// # Errors
/// When that is more than a device would accept.
fn schedule_of(file: &ModelFile) -> anyhow::Result<u64> {
    let ops: Vec<OpRecord> = file.ops.iter().map(|entry| entry.record).collect();
    let graph = Graph { ops: &ops, tensors: &file.tensors };
    let steps: u64 = (0..ops.len()).map(|op| u64::from(graph.steps(op))).sum();
    let schedule = steps * ops.len() as u64;
    ensure!(
        schedule <= MAX_SCHEDULE,
        "the network has {} operators and computes {steps} rows a frame: more than a schedule may have ({schedule} of {MAX_SCHEDULE})",
        ops.len()
    );
    Ok(schedule)
}

/// Marks the operators that may write over their first input: they look at one value at a time and are its only reader.
pub fn work_in_place(file: &mut ModelFile) {
    for index in 0..file.ops.len() {
        let record = file.ops[index].record;
        let input = usize::from(record.inputs[0]);
        let readers = file.ops.iter().filter(|entry| entry.record.reads().any(|read| read == input)).count();
        if matches!(record.kind, kind::ADD | kind::MUL | kind::LOOKUP) && readers == 1 {
            file.ops[index].record.flags |= flag::IN_PLACE;
        } else if record.kind == kind::ADD {
            swap_to_work_in_place(file, index);
        }
    }
}

/// A sum does not mind the order of its inputs: the one that nobody else reads comes first.
fn swap_to_work_in_place(file: &mut ModelFile, index: usize) {
    let second = usize::from(file.ops[index].record.inputs[1]);
    let readers = file.ops.iter().filter(|entry| entry.record.reads().any(|read| read == second)).count();
    if readers == 1 {
        let entry = &mut file.ops[index];
        entry.record.inputs.swap(0, 1);
        entry.multipliers.swap(0, 1);
        entry.record.flags |= flag::IN_PLACE;
    }
}

/// The least rows each tensor must hold under the runtime's schedule; the output is held whole.
///
/// # Errors
/// When the network takes more steps than a device would accept.
pub fn ring_rows(file: &ModelFile) -> anyhow::Result<Vec<u32>> {
    schedule_of(file)?;
    let ops: Vec<OpRecord> = file.ops.iter().map(|entry| entry.record).collect();
    // rings as tall as the tensors: nothing waits for room, and what is live at most is what is needed
    let tensors: Vec<Tensor> = file.tensors.iter().map(|t| Tensor { rows: t.h, ..*t }).collect();
    let graph = Graph { ops: &ops, tensors: &tensors };
    let mut heights = vec![1; tensors.len()];
    let mut made_before = vec![0; tensors.len()];
    let complete = graph.simulate(&mut vec![0; ops.len() + 1], |state, worked| {
        let made = graph.rows_made(state, worked);
        if made > made_before[worked] {
            // a new row needs a slot while all rows that were needed before it are still there; what is needed of a tensor depends on
            // its readers only, which have not moved in the step that made the row
            let needed = graph.oldest_needed(state, worked).min(made_before[worked]);
            heights[worked] = heights[worked].max(made - needed);
            made_before[worked] = made;
        }
    });
    ensure!(complete, "the network would wait for itself");
    for (index, tensor) in tensors.iter().enumerate() {
        let reshaped = index.checked_sub(1).is_some_and(|op| ops[op].kind == kind::RESHAPE);
        if reshaped || index + 1 == tensors.len() {
            heights[index] = tensor.h; // held whole
        }
    }
    // a tensor that is written over another has that one's ring
    for (index, op) in ops.iter().enumerate().rev().filter(|(_, op)| op.has(flag::IN_PLACE)) {
        let input = usize::from(op.inputs[0]);
        heights[input] = heights[input].max(heights[index + 1]);
    }
    for (index, op) in ops.iter().enumerate().filter(|(_, op)| op.has(flag::IN_PLACE)) {
        heights[index + 1] = heights[usize::from(op.inputs[0])];
    }
    Ok(heights)
}

/// Gives rings of these heights, accumulators, scratch memory and state their places.
///
/// # Errors
/// When the sum does not fit 32 bits.
pub fn with_heights(file: &mut ModelFile, heights: &[u32]) -> anyhow::Result<Packing> {
    for (tensor, &rows) in file.tensors.iter_mut().zip(heights) {
        tensor.rows = rows;
    }
    let ops: Vec<OpRecord> = file.ops.iter().map(|entry| entry.record).collect();
    let graph = Graph { ops: &ops, tensors: &file.tensors };
    let mut lives = vec![[0; 2]; file.tensors.len() + ops.len()];
    // rings that are too short for the schedule leave regions without a life: they are placed all the same, and `load` says no
    let complete = lives_of(&graph, &mut vec![0; ops.len() + 1], &mut lives);
    let too_large = || anyhow::anyhow!("the network needs more than 4 GiB of working memory");
    let aligned =
        |bytes: Option<u32>| bytes.and_then(|b| b.checked_next_multiple_of(REGION_ALIGN)).with_context(too_large);
    let (mut regions, mut owners) = (Vec::new(), Vec::new());
    let always = [0, u32::MAX];
    for (index, tensor) in file.tensors.iter().enumerate() {
        let in_place = index.checked_sub(1).is_some_and(|op| ops[op].has(flag::IN_PLACE));
        if !in_place {
            let bytes = aligned(tensor.shape().row_len().and_then(|n| n.checked_mul(tensor.rows)))?;
            regions.push(Region { bytes, life: if complete { lives[index] } else { always } });
            owners.push(Owner::Tensor(index));
        }
    }
    for (index, op) in ops.iter().enumerate() {
        if matches!(op.kind, kind::DENSE | kind::MEAN | kind::GLOBAL_AVERAGE_POOL) {
            let bytes = aligned(file.tensors[index + 1].c.checked_mul(4))?;
            let life = if complete { lives[file.tensors.len() + index] } else { always };
            regions.push(Region { bytes, life });
            owners.push(Owner::Accumulators(index));
        }
    }
    regions.push(Region { bytes: aligned(u32::try_from(2 * (ops.len() + 1)).ok())?, life: always });
    owners.push(Owner::State);
    let budget = file.scratch[1];
    // what `lower` has asked for is for all cores; a PC's blocks take what they need of it
    let blocked = ops.iter().any(|op| op.has(flag::BLOCKED));
    let scratch = aligned(Some(scratch_bytes(file, budget).max(if blocked { 0 } else { budget })))?;
    regions.push(Region { bytes: scratch, life: always });
    owners.push(Owner::Scratch);
    let total: u64 = regions.iter().map(|region| u64::from(region.bytes)).sum();
    ensure!(total < u64::from(u32::MAX), too_large());
    let mut packing = pack::pack(&regions);
    for (owner, &offset) in owners.iter().zip(&packing.offsets) {
        match *owner {
            Owner::Tensor(index) => file.tensors[index].offset = offset,
            Owner::Accumulators(index) => file.ops[index].record.accumulators = offset,
            Owner::State => file.state = offset,
            Owner::Scratch => file.scratch = [offset, scratch],
        }
    }
    for (index, op) in ops.iter().enumerate().filter(|(_, op)| op.has(flag::IN_PLACE)) {
        file.tensors[index + 1].offset = file.tensors[usize::from(op.inputs[0])].offset;
    }
    let state_bytes = 2 * (ops.len() as u32 + 1);
    let for_load = state_bytes.next_multiple_of(REGION_ALIGN) + 8 * (2 * ops.len() as u32 + 1);
    packing.bytes = packing.bytes.max(for_load);
    file.arena_bytes = packing.bytes;
    Ok(packing)
}

#[derive(Clone, Copy)]
enum Owner {
    Tensor(usize),
    Accumulators(usize),
    State,
    Scratch,
}

/// Scratch memory of the operator that needs most; `budget` is what the block kernels may take to compute several rows at once.
fn scratch_bytes(file: &ModelFile, budget: u32) -> u32 {
    let of = |(index, entry): (usize, &OpEntry)| match &entry.record {
        record if record.has(flag::BLOCKED) => blocks::scratch_bytes(file, index, budget),
        record => tile::scratch_bytes(record, &file.tensors, file.lane_bytes),
    };
    file.ops.iter().enumerate().map(of).max().unwrap_or(0)
}
