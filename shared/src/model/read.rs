//! A borrowing view of a model file, checked once.

use super::records::{ALIGN, Header, MAGIC, NONE, OpRecord, Tensor, VERSION, flag, kind};
use super::{LoadError, Strings, crc32, validate};
use crate::image::{ColorOrder, InputSpec, Resize};
use crate::ir::Shape;
use crate::kernels::isa::Requantization;
use crate::quant::{Multiplier, OutputStage};
use crate::runtime::{EVERY_KIND, INT4};
use crate::schedule::Graph;
use crate::to_usize;

/// A model file whose every offset, shape and parameter has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Model<'m> {
    bytes: &'m [u8],
    header: &'m Header,
    ops: &'m [OpRecord],
    tensors: &'m [Tensor],
}

/// The constant tables of an operator.
#[derive(Clone, Copy, Debug)]
pub struct Constants<'m> {
    /// Weights ([`layout`](super::records::layout)), or a lookup's table; empty for an operator without.
    pub weights: &'m [i8],
    /// One an output channel, at input scale times weight scale, zero points folded in; empty for an operator without. Of a blocked
    /// operator the sums of the weights follow, one an output channel.
    pub bias: &'m [i32],
    /// Multipliers: one an output channel from accumulator to output scale; add has three (both inputs, the sum), others one or none.
    pub multipliers: &'m [i32],
    /// Their shifts, positive to the left.
    pub shifts: &'m [i8],
}

impl<'m> Constants<'m> {
    /// No tables.
    pub const EMPTY: Self = Self { weights: &[], bias: &[], multipliers: &[], shifts: &[] };

    /// Multiplier and shift of an output channel, or of index `channel`.
    #[inline]
    #[must_use]
    pub fn multiplier(&self, channel: usize) -> Multiplier {
        let multiplier = self.multipliers.get(channel).copied().unwrap_or(0);
        Multiplier { multiplier, shift: self.shifts.get(channel).map_or(0, |&shift| i32::from(shift)) }
    }

    /// The factors of some channels.
    #[inline]
    #[must_use]
    pub fn requantization(&self, channels: core::ops::Range<usize>, stage: OutputStage) -> Requantization<'m> {
        let multipliers = self.multipliers.get(channels.clone()).unwrap_or(&[]);
        Requantization { multipliers, shifts: self.shifts.get(channels).unwrap_or(&[]), stage }
    }
}

impl<'m> Model<'m> {
    /// Checks a model file and borrows it. Nothing is copied.
    ///
    /// # Errors
    /// When the file is not one, is of another version, was damaged, or states anything that could make a run fail; see
    /// [`LoadError`].
    pub fn parse(bytes: &'m [u8]) -> Result<Self, LoadError> {
        Self::parse_for::<EVERY_KIND>(bytes)
    }

    /// As [`parse`](Self::parse); a model that needs other kernels than those of the set `KINDS`
    /// ([`kinds_of`](crate::runtime::kinds_of)) is refused as well.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and for an operator of another kind.
    #[inline]
    pub fn parse_for<const KINDS: u32>(bytes: &'m [u8]) -> Result<Self, LoadError> {
        let header = check_head(bytes)?;
        let (body, stored) = bytes.split_last_chunk::<4>().ok_or(LoadError::NotAModel)?;
        let (computed, stored) = (crc32(body), u32::from_le_bytes(*stored));
        if computed != stored {
            return Err(LoadError::Checksum { computed, stored });
        }
        Self::parse_structure::<KINDS>(bytes, header)
    }

    /// As [`parse`](Self::parse), for a file whose integrity is known by other means; all structure checks are made.
    ///
    /// # Errors
    /// As [`parse`](Self::parse) but for the checksum.
    pub fn parse_without_checksum(bytes: &'m [u8]) -> Result<Self, LoadError> {
        Self::parse_structure::<EVERY_KIND>(bytes, check_head(bytes)?)
    }

    #[inline]
    fn parse_structure<const KINDS: u32>(bytes: &'m [u8], header: &'m Header) -> Result<Self, LoadError> {
        let count = u32::from(header.op_count);
        let tensors = table(bytes, header.tensors, count + 1).ok_or(LoadError::Field { what: "tensors" })?;
        let ops = table(bytes, header.ops, count).ok_or(LoadError::Field { what: "ops" })?;
        let model = Self { bytes, header, ops, tensors };
        match validate::check::<KINDS>(&model) {
            Ok(()) => Ok(model),
            Err(refusal) => Err(refusal.to_error()),
        }
    }

    /// The head of the file.
    #[must_use]
    pub const fn header(&self) -> &'m Header {
        self.header
    }

    /// The operators and tensors.
    #[must_use]
    pub const fn graph(&self) -> Graph<'m> {
        Graph { ops: self.ops, tensors: self.tensors }
    }

    /// Bytes of working memory that a [`Session`](crate::runtime::Session) over this model needs: rings, accumulators, state.
    #[must_use]
    pub const fn arena_bytes(&self) -> u32 {
        self.header.arena_bytes
    }

    /// Class labels, in the order of the scores.
    #[must_use]
    pub fn labels(&self) -> Strings<'m> {
        Strings(self.span(self.header.labels).unwrap_or(&[]))
    }

    /// The label of a class.
    #[must_use]
    pub fn label(&self, class: usize) -> Option<&'m str> {
        self.labels().nth(class)
    }

    /// Names of the operators.
    #[must_use]
    pub fn names(&self) -> Strings<'m> {
        Strings(self.span(self.header.names).unwrap_or(&[]))
    }

    /// Shape of the network's input.
    #[must_use]
    pub fn input_shape(&self) -> Shape {
        self.tensors.first().map_or(Shape::new(0, 0, 0), Tensor::shape)
    }

    /// The record of the network's output.
    #[must_use]
    #[cfg_attr(ocelli_isa = "armv6m", inline(never))]
    pub fn output(&self) -> Option<&'m Tensor> {
        self.tensors.last()
    }

    /// How a picture becomes the network's input; `None` for a network whose input is no picture.
    #[must_use]
    pub fn input_spec(&self) -> Option<InputSpec> {
        Some(InputSpec {
            shape: self.input_shape(),
            color: ColorOrder::from_code(self.header.color)?,
            resize: Resize::from_code(self.header.resize)?,
            mean: self.header.mean,
            std: self.header.std,
        })
    }

    /// The quantized input for each pixel value: 256 entries for the first channel, then for the next; empty for a network
    /// whose input is no picture.
    #[must_use]
    pub fn pixel_lut(&self) -> &'m [i8] {
        self.try_pixel_lut().unwrap_or(&[])
    }

    pub(super) fn try_pixel_lut(&self) -> Option<&'m [i8]> {
        let channels = ColorOrder::from_code(self.header.color).map_or(0, ColorOrder::channels);
        table(self.bytes, self.header.pixel_lut, channels * 256)
    }

    /// The constant tables of operator `op`.
    #[must_use]
    pub fn constants(&self, op: usize) -> Constants<'m> {
        self.try_constants::<EVERY_KIND>(op).unwrap_or(Constants::EMPTY)
    }

    /// The same, for a model of kernels of the set `KINDS`; `None` where there is no such operator, or no such tables in the file.
    #[inline(never)]
    pub(crate) fn try_constants<const KINDS: u32>(&self, op: usize) -> Option<Constants<'m>> {
        let record = self.ops.get(op)?;
        let input = self.tensors.get(usize::from(record.inputs[0]))?;
        let channels = self.tensors.get(op + 1)?.c;
        #[cfg(feature = "blocked")]
        let biases = if record.has(flag::BLOCKED) { channels.checked_mul(2)? } else { channels };
        #[cfg(not(feature = "blocked"))]
        let biases = channels;
        let (weights, bias, factors) = match record.kind {
            kind::CONV2D | kind::DEPTHWISE_CONV2D | kind::DENSE => {
                (weight_bytes::<KINDS>(record, input, channels)?, biases, channels)
            }
            kind::LOOKUP => (256, 0, 0),
            kind::ADD => (0, 0, 3),
            kind::SOFTMAX | kind::MUL | kind::MEAN => (0, 0, 1),
            _ => (0, 0, 0),
        };
        Some(Constants {
            weights: table(self.bytes, record.weights, weights)?,
            bias: table(self.bytes, record.bias, bias)?,
            multipliers: table(self.bytes, record.multipliers, factors)?,
            shifts: table(self.bytes, record.shifts, factors)?,
        })
    }

    pub(super) fn span(&self, [offset, len]: [u32; 2]) -> Option<&'m [u8]> {
        bytes_at(self.bytes, offset, len)
    }
}

impl Tensor {
    /// The tensor's shape.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        Shape::new(self.h, self.w, self.c)
    }

    /// Values of a row; known to fit 32 bits once the tensor has been checked.
    #[inline]
    #[must_use]
    pub(crate) const fn row_len(&self) -> u32 {
        self.w.wrapping_mul(self.c)
    }
}

/// Magic, version and length; the header when they are right.
fn check_head(bytes: &[u8]) -> Result<&Header, LoadError> {
    let Some((head, _)) = bytes.split_first_chunk::<10>() else { return Err(LoadError::NotAModel) };
    if !MAGIC.iter().zip(head).all(|(expected, found)| expected == found) {
        return Err(LoadError::NotAModel); // (a comparison of slices would be a call of a library's function)
    }
    let found = u16::from_le_bytes([head[8], head[9]]);
    if found != VERSION {
        return Err(LoadError::Version { found, supported: VERSION });
    }
    let found = u32::try_from(bytes.len()).map_err(|_| LoadError::Field { what: "file of 4 GiB or more" })?;
    let shortest = size_of::<Header>() as u32 + 4;
    if found < shortest {
        return Err(LoadError::Length { found, expected: shortest });
    }
    if bytes.as_ptr().align_offset(ALIGN) != 0 {
        return Err(LoadError::Misaligned);
    }
    let head = bytes.get(..size_of::<Header>()).ok_or(LoadError::NotAModel)?;
    let header: &Header = bytemuck::try_from_bytes(head).map_err(|_| LoadError::Misaligned)?;
    if header.file_bytes == found { Ok(header) } else { Err(LoadError::Length { found, expected: header.file_bytes }) }
}

/// Products that are summed for one output of an operator with weights; `None` for 2^32 and more.
pub(super) fn taps(record: &OpRecord, input: &Tensor) -> Option<u32> {
    let cells = u32::from(record.kernel[0]) * u32::from(record.kernel[1]);
    match record.kind {
        kind::DENSE => Some(input.h.wrapping_mul(input.row_len())), // fits, of a tensor that has been checked
        kind::DEPTHWISE_CONV2D => Some(cells),
        _ => cells.checked_mul(input.c / u32::from(record.groups.max(1))),
    }
}

/// Bytes of the weights of an operator with `c_out` output channels; what its [`taps`] say is known to be below 2^16.
#[cfg_attr(ocelli_isa = "armv6m", inline(never))]
fn weight_bytes<const KINDS: u32>(record: &OpRecord, input: &Tensor, c_out: u32) -> Option<u32> {
    #[cfg(feature = "blocked")]
    if record.has(flag::BLOCKED) {
        return u32::try_from(super::blocks::weight_bytes(record, input, to_usize(c_out))?).ok();
    }
    let [kh, kw] = record.kernel.map(u32::from);
    let aligned = |values: u32| values.wrapping_add(ALIGN as u32 - 1) & !(ALIGN as u32 - 1);
    // The first factor is small by the taps. Where the second wraps, the bias does not fit the file either.
    let (small, large) = match record.kind {
        // (eight weights in four bytes; a shift, for the product may have wrapped)
        kind::DENSE if KINDS & INT4 != 0 && record.has(flag::INT4) => {
            (aligned(input.h.wrapping_mul(input.row_len()).wrapping_add(1) >> 1), c_out)
        }
        kind::DENSE => (aligned(input.h.wrapping_mul(input.row_len())), c_out),
        kind::DEPTHWISE_CONV2D => (kh.wrapping_mul(kw), aligned(c_out)),
        _ => (aligned(kw.wrapping_mul(input.c / u32::from(record.groups.max(1)))).wrapping_mul(kh), c_out),
    };
    small.checked_mul(large)
}

/// `len` bytes at `offset`, a multiple of [`ALIGN`], before the CRC; an empty table has the offset [`NONE`] and no bytes.
fn bytes_at(file: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    if len == 0 {
        return (offset == NONE).then_some(&[]);
    }
    let start = Some(offset).filter(|offset| offset.is_multiple_of(ALIGN as u32))?;
    let body = file.get(..file.len().checked_sub(4)?)?;
    body.get(to_usize(start)..to_usize(start.checked_add(len)?))
}

/// `count` values at `offset`, as [`bytes_at`].
fn table<T: bytemuck::AnyBitPattern>(file: &[u8], offset: u32, count: u32) -> Option<&[T]> {
    let len = count.checked_mul(size_of::<T>() as u32)?;
    let bytes = bytes_at(file, offset, len)?;
    // no bytes lie nowhere in particular, so perhaps not where a value of this type may
    if bytes.is_empty() { Some(&[]) } else { bytemuck::try_cast_slice(bytes).ok() }
}
