//! The fixed-size records of a model file, read in place. All numbers are little-endian; `docs/model-format.md` is the spec.

use bytemuck::{Pod, Zeroable};

/// First eight bytes of every model file.
pub const MAGIC: [u8; 8] = *b"OCELLI\r\n";
/// The format version that this library reads and writes.
pub const VERSION: u16 = 1;
/// Alignment of a model file in memory, and of every table in it.
pub const ALIGN: usize = 4;
/// Most operators a model may have.
pub const MAX_OPS: usize = 512;
/// Most steps (rows computed) of a frame times operators; bounds the time that the schedule and its check at load take.
pub const MAX_SCHEDULE: u64 = 1 << 22;
/// Most multiply-accumulates, or values looked at by pools, of a frame; bounds the time that a run takes.
pub const MAX_WORK: u64 = 1 << 36;
/// Value of an op's `weights`, `bias`, `multipliers`, `shifts` or `scratch` offset that is not used.
pub const NONE: u32 = u32::MAX;

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
    /// Zero.
    pub reserved: u16,
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
    /// 1 conv2d, 2 max_pool2d, 3 average_pool2d, 4 dense, 5 flatten, 6 softmax.
    pub kind: u8,
    /// Smallest output.
    pub act_min: i8,
    /// Largest output.
    pub act_max: i8,
    /// Zero.
    pub reserved: u8,
    /// Index of the tensor that is read.
    pub input: u32,
    /// Rows and columns of the kernel.
    pub kernel: [u16; 2],
    /// Stride along rows and columns.
    pub stride: [u16; 2],
    /// Dilation along rows and columns.
    pub dilation: [u16; 2],
    /// Cells added at the top, left, bottom and right.
    pub pads: [u16; 4],
    /// File offset of the int8 weights (OHWI, or `[out, in]`).
    pub weights: u32,
    /// File offset of one int32 bias an output channel, at input scale times weight scale.
    pub bias: u32,
    /// File offset of one int32 multiplier an output channel (softmax: one for all).
    pub multipliers: u32,
    /// File offset of one int32 shift an output channel (softmax: one for all).
    pub shifts: u32,
    /// Arena offset of int32 accumulators (dense), one an output channel.
    pub scratch: u32,
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
    /// Memory order to a flat tensor.
    pub const FLATTEN: u8 = 5;
    /// Softmax over channels.
    pub const SOFTMAX: u8 = 6;
}

const _: () = assert!(size_of::<Header>() == 80 && size_of::<Tensor>() == 32 && size_of::<OpRecord>() == 48);
