//! Ring heights and arena offsets. The heights come from a run of the runtime's own schedule, not from a formula.

use anyhow::ensure;
use ocelli::model::records::{MAX_SCHEDULE, Tensor, kind};
use ocelli::model::write::ModelFile;
use ocelli::schedule::Graph;

/// Every region starts at a multiple of this, so that kernels may load words.
const REGION_ALIGN: u32 = 4;

/// Chooses the ring of every tensor and gives everything its place in the arena.
///
/// # Errors
/// When the network takes more steps than a device would accept, or its memory does not fit 32 bits.
pub fn plan(file: &mut ModelFile) -> anyhow::Result<()> {
    let heights = ring_rows(file)?;
    with_heights(file, &heights)
}

/// The least rows each tensor must hold under the runtime's schedule; the output is held whole.
///
/// # Errors
/// When the network takes more steps than a device would accept.
pub fn ring_rows(file: &ModelFile) -> anyhow::Result<Vec<u32>> {
    let ops: Vec<_> = file.ops.iter().map(|entry| entry.record).collect();
    // rings as tall as the tensors: nothing waits for room, and what is live at most is what is needed
    let tensors: Vec<Tensor> = file.tensors.iter().map(|t| Tensor { rows: t.h, ..*t }).collect();
    let graph = Graph { ops: &ops, tensors: &tensors };
    let steps: u64 = (0..ops.len()).map(|op| u64::from(graph.steps(op))).sum();
    let schedule = steps * ops.len() as u64;
    ensure!(
        schedule <= MAX_SCHEDULE,
        "the network has {} operators and computes {steps} rows a frame: more than a schedule may have ({schedule} of {MAX_SCHEDULE})",
        ops.len()
    );
    let mut heights = vec![1; tensors.len()];
    let mut made_before = vec![0; tensors.len()];
    let mut needed_before = vec![0; tensors.len()];
    let complete = graph.simulate(&mut vec![0; ops.len() + 1], |state| {
        for (index, height) in heights.iter_mut().enumerate() {
            let made = graph.rows_made(state, index);
            if made > made_before[index] {
                // a new row needs a slot while all rows that were needed before it are still there
                *height = (*height).max(made - needed_before[index]);
                made_before[index] = made;
            }
        }
        for (index, needed) in needed_before.iter_mut().enumerate() {
            *needed = graph.oldest_needed(state, index).min(made_before[index]);
        }
    });
    ensure!(complete, "the network would wait for itself");
    if let (Some(height), Some(output)) = (heights.last_mut(), tensors.last()) {
        *height = output.h;
    }
    Ok(heights)
}

/// Gives rings of these heights, accumulators and state their places, one after the other.
///
/// # Errors
/// When the sum does not fit 32 bits.
pub fn with_heights(file: &mut ModelFile, heights: &[u32]) -> anyhow::Result<()> {
    let mut next = 0_u32;
    let mut place = |bytes: Option<u32>| {
        let start = next;
        let end = bytes.and_then(|b| b.checked_next_multiple_of(REGION_ALIGN)).and_then(|b| next.checked_add(b));
        next = end.ok_or_else(|| anyhow::anyhow!("the network needs more than 4 GiB of working memory"))?;
        anyhow::Ok(start)
    };
    for (tensor, &rows) in file.tensors.iter_mut().zip(heights) {
        tensor.rows = rows;
        tensor.offset = place(tensor.shape().row_len().and_then(|n| n.checked_mul(rows)))?;
    }
    for entry in &mut file.ops {
        if entry.record.kind == kind::DENSE {
            entry.record.scratch = place(u32::try_from(4 * entry.bias.len()).ok())?;
        }
    }
    file.state = place(u32::try_from(2 * (file.ops.len() + 1)).ok())?;
    file.arena_bytes = next;
    Ok(())
}
