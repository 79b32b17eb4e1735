//! What a core's kernels need, and how much of a convolution is computed at a time.

use super::plan::REGION_ALIGN;
use ocelli::ir::Shape;
use ocelli::kernels::isa::PIXELS;
use ocelli::kernels::tiled::{MAX_CELLS, Tile};
use ocelli::model::Model;
use ocelli::model::records::{OpRecord, Tensor, flag, kind, layout, padded};
use ocelli::schedule::Graph;
use ocelli_firmware_tools::Board;

/// A kind of core to compile for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Bytes of a widened activation in its kernels' columns.
    pub lane_bytes: u8,
    /// Scratch memory that convolutions may take on each core.
    pub scratch_bytes: u32,
    /// Whether tensors are whole and weights lie in blocks (PCs and the Raspberry Pi).
    pub blocks: bool,
    /// Cores that share a step, each with scratch memory of its own.
    pub cores: u8,
}

impl Target {
    /// This computer.
    pub const HOST: Self = Self { lane_bytes: 1, scratch_bytes: 1 << 16, blocks: true, cores: 1 };

    /// A board's core. The smallest cores get little scratch memory, for they have little: that costs a gather more now and then.
    #[must_use]
    pub const fn of(board: &Board) -> Self {
        // every bare-metal core's kernels widen to 16 bits
        Self {
            lane_bytes: 2,
            scratch_bytes: if matches!(board.core.as_bytes(), b"Cortex-M0" | b"Cortex-M0+") { 1280 } else { 2560 },
            blocks: false,
            cores: board.cores,
        }
    }

    /// The core that a model was compiled for: compiling for it again gives the same tiles.
    #[must_use]
    pub fn of_model(model: &Model<'_>) -> Self {
        let header = model.header();
        let Graph { ops, tensors } = model.graph();
        // (a model for a PC of nothing but dense layers in four bits has no blocks)
        let is_layered =
            tensors.iter().all(|tensor| tensor.rows == tensor.h) && ops.iter().all(|op| op.has(flag::WAITS));
        let blocks = header.layout == layout::BLOCKS || (is_layered && ops.iter().any(|op| op.has(flag::INT4)));
        let each = most_scratch_bytes(ops.iter(), tensors, header.lane_bytes).next_multiple_of(REGION_ALIGN).max(1);
        let cores = if blocks { 1 } else { u8::try_from(header.scratch_bytes / each).unwrap_or(1).max(1) };
        Self { lane_bytes: header.lane_bytes, scratch_bytes: header.scratch_bytes / u32::from(cores), blocks, cores }
    }
}

/// Scratch memory of an operator, as docs/model-format.md has it: a tile for a convolution, a byte an input channel for a depthwise one.
pub(super) fn scratch_bytes(record: &OpRecord, tensors: &[Tensor], lane_bytes: u8) -> u32 {
    let tile = record.tile();
    match record.kind {
        _ if tile.values == 0 => 0,
        kind::CONV2D => u32::try_from(tile.scratch_bytes(usize::from(lane_bytes))).unwrap_or(u32::MAX),
        _ => tensors.get(usize::from(record.inputs[0])).map_or(0, |input| input.c),
    }
}

/// Scratch memory of the operator that needs most.
pub(super) fn most_scratch_bytes<'r>(
    ops: impl Iterator<Item = &'r OpRecord>,
    tensors: &[Tensor],
    lane_bytes: u8,
) -> u32 {
    ops.map(|record| scratch_bytes(record, tensors, lane_bytes)).max().unwrap_or(0)
}

/// Instructions to gather a value, next to one for each product with it (measured on the Cortex-M4).
const GATHER_COST: usize = 2;
/// Instructions around the products of a channel in a part of a window.
const PART_COST: usize = 16;

/// Chooses the tile of a convolution, or none where only the reference kernel can compute it.
pub fn choose(record: &mut OpRecord, input: Shape, output: Shape, target: &Target) {
    let symmetric = record.weight_zero_point == 0 && record.groups == 1;
    let [kh, kw] = record.kernel.map(usize::from);
    if record.kind == kind::DEPTHWISE_CONV2D && symmetric && kh * kw <= MAX_CELLS {
        record.tile_values = 4; // any: the kernel holds no column
    }
    if record.kind != kind::CONV2D || !symmetric || record.dilation[1] != 1 {
        return;
    }
    let (kernel_row, channels) = (padded(kw * input.c as usize), output.c as usize);
    if let Some(tile) = cheapest(kh, kernel_row, channels, target) {
        record.tile_values = u16::try_from(tile.values).unwrap_or(0);
        record.tile_channels =
            if record.tile_values == 0 { 0 } else { u16::try_from(tile.channels).unwrap_or(u16::MAX) };
    }
}

/// The tile with the least work that fits the scratch memory, and the smallest of these.
fn cheapest(kh: usize, kernel_row: usize, channels: usize, target: &Target) -> Option<Tile> {
    let whole_rows = (1..=kh).map(|rows| rows * kernel_row);
    let parts_of_row = (2..=kernel_row / 4).map(|parts| kernel_row.div_ceil(parts).next_multiple_of(4));
    let values = whole_rows.chain(parts_of_row).filter(|&values| values <= usize::from(u16::MAX));
    let tiles = values.flat_map(|values| {
        (1..=channels.div_ceil(4)).map(move |blocks| Tile { values, channels: channels.div_ceil(blocks) })
    });
    let fits = |tile: &Tile| tile.scratch_bytes(usize::from(target.lane_bytes)) <= target.scratch_bytes as usize;
    let work = |tile: &Tile| {
        let blocks = channels.div_ceil(tile.channels);
        let parts = if tile.values >= kernel_row {
            kh.div_ceil(tile.values / kernel_row)
        } else {
            kh * kernel_row.div_ceil(tile.values)
        };
        let gathers = if parts == 1 { 1 } else { blocks };
        gathers * kh * kernel_row * GATHER_COST * PIXELS + parts * channels * PART_COST + blocks * PART_COST
    };
    tiles.filter(fits).min_by_key(|tile| (work(tile), tile.scratch_bytes(usize::from(target.lane_bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_fits_and_a_larger_scratch_memory_never_costs_work() {
        for (kh, kernel_row, channels) in [(3, 12, 16), (3, 192, 64), (1, 256, 256), (5, 320, 7)] {
            for lane_bytes in [1, 2, 4] {
                for scratch_bytes in [256, 512, 1280, 2560, 1 << 16] {
                    let target = Target { lane_bytes, scratch_bytes, blocks: false, cores: 1 };
                    let tile = cheapest(kh, kernel_row, channels, &target).unwrap();
                    assert!(tile.scratch_bytes(usize::from(lane_bytes)) <= scratch_bytes as usize);
                    assert!(tile.values.is_multiple_of(4) && tile.channels <= channels);
                }
            }
        }
        let all = cheapest(3, 192, 64, &Target::HOST).unwrap();
        assert_eq!(all.values, 3 * 192, "a window that fits is gathered once");
    }
}
