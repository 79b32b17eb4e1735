//! The fixed-size records of a model file, read in place. All numbers are little-endian; `docs/model-format.md` is the spec.

use crate::kernels::tiled::Tile;
use bytemuck::{Pod, Zeroable};

/// First eight bytes of every model file.
pub const MAGIC: [u8; 8] = *b"OCELLI\r\n";
/// The format version that this library reads and writes.
pub const VERSION: u16 = 2;
/// Alignment of a model file in memory, of every table in it, and of every row of weights.
pub const ALIGN: usize = 4;
/// Most operators a model may have.
pub const MAX_OPS: usize = 512;
/// Most steps (rows computed) of a frame times operators; bounds the time that the schedule and its check at load take.
pub const MAX_SCHEDULE: u64 = 1 << 22;
/// Most multiply-accumulates, or values looked at by pools, of a frame; bounds the time that a run takes.
pub const MAX_WORK: u64 = 1 << 36;
/// Value of a file or arena offset that is not used.
pub const NONE: u32 = u32::MAX;
/// Value of an operator's second input that is not used.
pub const NO_INPUT: u16 = u16::MAX;

/// The head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION`].
    pub version: u16,
    /// Number of operators.
    pub op_count: u16,
    /// Bytes of the file, CRC included.
    pub file_bytes: u32,
    /// Bytes of working memory that a session needs.
    pub arena_bytes: u32,
    /// Arena offset of the schedule's state, two bytes an operator and two for the input.
    pub state: u32,
    /// Arena offset of the operators' common scratch memory.
    pub scratch: u32,
    /// Bytes of scratch memory.
    pub scratch_bytes: u32,
    /// File offset of `op_count + 1` tensor records.
    pub tensors: u32,
    /// File offset of `op_count` op records.
    pub ops: u32,
    /// File offset and bytes of the class labels, each ended by a zero byte.
    pub labels: [u32; 2],
    /// File offset and bytes of the operators' names, each ended by a zero byte, `op_count` of them.
    pub names: [u32; 2],
    /// 0 gray, 1 RGB, 2 BGR; 255 when the input is no picture.
    pub color: u8,
    /// 0 stretch, 1 centre crop.
    pub resize: u8,
    /// How weights lie: [`layout`].
    pub layout: u8,
    /// Bytes of a widened activation that the scratch memory was measured for: 1, 2 or 4.
    pub lane_bytes: u8,
    /// Subtracted from a pixel in `0..=1`, per channel (gray uses the first).
    pub mean: [f32; 3],
    /// What the difference is then divided by.
    pub std: [f32; 3],
    /// File offset of `256 * channels` int8 values: the quantized input for each pixel value, channel by channel
    /// ([`NONE`] when the input is no picture).
    pub pixel_lut: u32,
}

/// A tensor: its shape, its quantization and the ring of rows that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Tensor {
    /// Rows.
    pub h: u32,
    /// Columns.
    pub w: u32,
    /// Channels.
    pub c: u32,
    /// Rows that the ring holds; row `y` lies in slot `y % rows`.
    pub rows: u32,
    /// Arena offset of the ring.
    pub offset: u32,
    /// Index of the last operator that reads the tensor; for the network's output, which none reads, its producer's.
    pub last_reader: u32,
    /// Real value of one step.
    pub scale: f32,
    /// The quantized value that stands for 0.
    pub zero_point: i32,
}

/// An operator. Operator `i` writes tensor `i + 1`; tensor 0 is the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct OpRecord {
    /// What it computes: [`kind`].
    pub kind: u8,
    /// Smallest output.
    pub act_min: i8,
    /// Largest output.
    pub act_max: i8,
    /// [`flag`] bits.
    pub flags: u8,
    /// Indices of the tensors that are read; [`NO_INPUT`] for a second one that there is not.
    pub inputs: [u16; 2],
    /// Rows and columns of the kernel.
    pub kernel: [u16; 2],
    /// Stride along rows and columns.
    pub stride: [u16; 2],
    /// Dilation along rows and columns.
    pub dilation: [u16; 2],
    /// Cells added at the top, left, bottom and right.
    pub pads: [u16; 4],
    /// Groups of a conv2d, output channels an input channel of a depthwise_conv2d; 1 for the others.
    pub groups: u16,
    /// What every weight is short of its real value; 0 but for networks that came as uint8.
    pub weight_zero_point: i16,
    /// Values of a pixel's window that a tile takes at a time (see `kernels::tiled`); 0: the operator is computed by its reference
    /// kernel.
    pub tile_values: u16,
    /// Output channels that a tile takes at a time.
    pub tile_channels: u16,
    /// File offset of the int8 weights, or of a lookup's table.
    pub weights: u32,
    /// File offset of one int32 bias an output channel, at input scale times weight scale, the zero points folded in.
    pub bias: u32,
    /// File offset of int32 multipliers.
    pub multipliers: u32,
    /// File offset of their int8 shifts.
    pub shifts: u32,
    /// Arena offset of int32 accumulators, one an output channel.
    pub accumulators: u32,
}

/// `kind` values.
pub mod kind {
    /// 2-D convolution.
    pub const CONV2D: u8 = 1;
    /// Max pooling.
    pub const MAX_POOL2D: u8 = 2;
    /// Average pooling.
    pub const AVERAGE_POOL2D: u8 = 3;
    /// Fully connected.
    pub const DENSE: u8 = 4;
    /// The same values in memory order under another shape.
    pub const RESHAPE: u8 = 5;
    /// Softmax over channels.
    pub const SOFTMAX: u8 = 6;
    /// Depthwise 2-D convolution.
    pub const DEPTHWISE_CONV2D: u8 = 7;
    /// Sum of two tensors.
    pub const ADD: u8 = 8;
    /// Product of two tensors, the second perhaps one factor a channel.
    pub const MUL: u8 = 9;
    /// Two tensors side by side along the channels.
    pub const CONCAT: u8 = 10;
    /// Zeros around the picture.
    pub const PAD: u8 = 11;
    /// Mean over the picture, to another scale.
    pub const MEAN: u8 = 12;
    /// A function of each value, by a table.
    pub const LOOKUP: u8 = 13;
    /// Mean over the picture, rounded as a pool rounds.
    pub const GLOBAL_AVERAGE_POOL: u8 = 14;
    /// Largest value over the picture.
    pub const GLOBAL_MAX_POOL: u8 = 15;
    /// Min pooling.
    pub const MIN_POOL2D: u8 = 16;
    /// The highest of them.
    pub const LAST: u8 = MIN_POOL2D;
}

/// Bits of `flags`.
pub mod flag {
    /// The operator starts when its inputs are complete.
    pub const WAITS: u8 = 1;
    /// The output takes the place of the first input, row by row.
    pub const IN_PLACE: u8 = 2;
    /// An average pool's ties round up, as TensorFlow Lite's uint8 kernels do, and not away from zero.
    pub const TIES_UP: u8 = 4;
    /// A dense layer's sums are rounded once, as TensorFlow Lite's uint8 kernel does, and not twice.
    pub const ROUND_ONCE: u8 = 8;
    /// The weights lie in blocks of sixteen output channels, and the bias table is followed by the sums of each channel's weights.
    pub const BLOCKED: u8 = 16;
    /// No weight of a blocked operator is -128.
    pub const SYMMETRIC: u8 = 32;
    /// The weights of a dense layer have four bits each ([`packed_nibbles`](super::packed_nibbles)).
    pub const INT4: u8 = 64;
    /// All of them.
    pub const ALL: u8 = WAITS | IN_PLACE | TIES_UP | ROUND_ONCE | BLOCKED | SYMMETRIC | INT4;
}

/// `layout` values: how the weights of conv2d and depthwise_conv2d lie. Dense is `[out, in]`, rows padded as below.
pub mod layout {
    /// Row by row: conv2d `[c_out, kh, kw * c_in]`, depthwise `[kh * kw, c_out]`, the last axis zero-padded to a multiple of four.
    pub const ROWS: u8 = 0;
    /// Operators with [`flag::BLOCKED`](super::flag::BLOCKED) have theirs in blocks (`kernels::blocked::layout`), the others row by row.
    pub const BLOCKS: u8 = 1;
}

/// Bytes of a row of `values` weights, with its padding.
#[inline]
#[must_use]
pub const fn padded(values: usize) -> usize {
    values.next_multiple_of(ALIGN)
}

/// Bytes of a row of `values` weights of four bits: four for each eight of them.
#[inline]
#[must_use]
pub const fn packed_nibbles(values: usize) -> usize {
    values.div_ceil(8) * 4
}

const _: () = assert!(size_of::<Header>() == 88 && size_of::<Tensor>() == 32 && size_of::<OpRecord>() == 56);

impl OpRecord {
    /// The tensors that are read, first to last.
    #[inline]
    pub fn reads(&self) -> impl Iterator<Item = usize> + Clone + use<> {
        self.inputs.into_iter().filter(|&input| input != NO_INPUT).map(usize::from)
    }

    /// How much of a convolution is computed at a time; no values: the reference kernel computes it.
    #[inline]
    #[must_use]
    pub const fn tile(&self) -> Tile {
        Tile { values: self.tile_values as usize, channels: self.tile_channels as usize }
    }

    /// Whether a flag is set.
    #[inline]
    #[must_use]
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}
