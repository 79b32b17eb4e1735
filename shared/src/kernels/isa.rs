//! What a set of instructions does fast: the inner loops below the tiled kernels.
//!
//! A tile is four neighbouring pixels of an output row. Their windows are laid side by side in a *column* of widened values
//! (`k` values of each pixel, in an order that is the instruction set's own), and every output channel is accumulated over it.

use crate::quant::OutputStage;

/// Pixels of an output row that are computed together.
pub const PIXELS: usize = 4;

/// What turns accumulators into int8, one entry an output channel.
#[derive(Clone, Copy, Debug)]
pub struct Requantization<'a> {
    /// Multipliers from accumulator to output scale: 0, or `2^30` and more.
    pub multipliers: &'a [i32],
    /// Their shifts, positive to the left, in `-31..=30`.
    pub shifts: &'a [i8],
    /// Zero point and clamp.
    pub stage: OutputStage,
}

/// The numbers of an int8 addition.
///
/// # Source
/// TensorFlow Lite Micro, `reference_integer_ops::Add` (`kernels/internal/reference/integer_ops/add.h`), `left_shift` 20.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddParams {
    /// Zero points of both inputs.
    pub input_zero_points: [i32; 2],
    /// Multipliers of both inputs and of the sum, each of a real factor below one.
    pub multipliers: [i32; 3],
    /// Their shifts, `-31..=0`.
    pub shifts: [i32; 3],
    /// Zero point and clamp.
    pub stage: OutputStage,
}

/// The inner loops of an instruction set. Every method gives the same bytes as [`Portable`](super::portable::Portable).
///
/// Accumulators never leave `-2^30..2^30` (checked when a model is loaded), so that doubling one cannot overflow.
pub trait Isa {
    /// A widened value.
    type Lane: bytemuck::Pod;

    /// Writes `values` to places `first..first + values.len()` of pixel `pixel` (below [`PIXELS`]) of a column.
    ///
    /// # Panics
    /// May panic, and never writes elsewhere, when the column is too short.
    fn gather(column: &mut [Self::Lane], first: usize, pixel: usize, values: &[i8]);

    /// As [`gather`](Self::gather), `count` times the same value.
    fn fill(column: &mut [Self::Lane], first: usize, count: usize, pixel: usize, value: i8);

    /// Gathers from one input row for all pixels of a tile: pixel `p` of the first `pixels` gets `source[p * step..][..len]` at places
    /// `first..first + len`. What the places of other pixels hold then is not said.
    ///
    /// # Shapes
    /// `first` and `len` are multiples of 4, `len` and `pixels` not 0; `source` has at least `(pixels - 1) * step + len` values. Nothing
    /// useful is done otherwise.
    fn gather_tile(column: &mut [Self::Lane], first: usize, source: &[i8], step: usize, len: usize, pixels: usize) {
        for pixel in 0..pixels {
            if let Some(values) = source.get(pixel * step..pixel * step + len) {
                Self::gather(column, first, pixel, values);
            }
        }
    }

    /// Adds to each channel's accumulators the products of its weights with the column.
    ///
    /// # Shapes
    /// `column`: `4 * k` lanes, `k` a multiple of 4; channel `c` has its `k` weights at `weights[c * stride..]`, aligned to 4 bytes
    /// (`stride` is a multiple of 4 and `weights` starts at a multiple of 4);
    /// `accumulators`: `[channels][pixels]`.
    ///
    /// # Arithmetic
    /// `accumulators[c][p] += sum over k of weights[c * stride + k] * column(k, p)`.
    fn accumulate(column: &[Self::Lane], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]);

    /// As [`accumulate`](Self::accumulate), for the first two pixels of a tile; those of the others are left at any value.
    #[inline]
    fn accumulate_two(column: &[Self::Lane], weights: &[i8], stride: usize, accumulators: &mut [[i32; PIXELS]]) {
        Self::accumulate(column, weights, stride, accumulators);
    }

    /// Turns accumulators into outputs: `out[p * row + c]` for the first `pixels` pixels.
    ///
    /// # Shapes
    /// `accumulators`: `[channels][pixels]`; `out`: starts at the tile's first pixel and channel; a pixel has `row` channels.
    fn requantize(
        accumulators: &[[i32; PIXELS]],
        factors: &Requantization<'_>,
        out: &mut [i8],
        row: usize,
        pixels: usize,
    );

    /// Computes one pixel of a depthwise convolution with a multiplier of 1.
    ///
    /// # Shapes
    /// `cells`: the window's pixels, `[c]` each (a cell outside the image is a slice of zero points); `weights`: `[cells][stride]`,
    /// `stride` is `c` rounded up to a multiple of 4; `bias` (zero point folded in) and `out`: `[c]`. Cells need no alignment.
    ///
    /// # Arithmetic
    /// `out[c] = clamp(requantize(bias[c] + sum over cells of cell[c] * weight[c]))`.
    fn depthwise(
        cells: &[&[i8]],
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    );

    /// Computes neighbouring pixels of a depthwise convolution, as [`depthwise`](Self::depthwise) does one: from a pixel to the next
    /// every cell moves on by `step` values.
    ///
    /// # Shapes
    /// `cells`: the first pixel's, each as long as the last pixel's needs, `(pixels - 1) * step + c`; they are not what they were
    /// afterwards. `bias`: `[c]`, and `out`: `[pixels][c]`.
    fn depthwise_run(
        cells: &mut [&[i8]],
        step: usize,
        weights: &[i8],
        stride: usize,
        bias: &[i32],
        factors: &Requantization<'_>,
        out: &mut [i8],
    ) {
        for pixel in out.chunks_exact_mut(bias.len().max(1)) {
            Self::depthwise(cells, weights, stride, bias, factors, pixel);
            for cell in &mut *cells {
                *cell = cell.get(step..).unwrap_or(&[]);
            }
        }
    }

    /// The sum of products of two equally long slices. Neither needs an alignment.
    fn dot(a: &[i8], b: &[i8]) -> i32;

    /// The sum of products of values with weights of four bits, as [`nibble`](super::reference::nibble) reads them.
    ///
    /// # Shapes
    /// `packed`: four bytes for each eight values; values beyond the last eight are left out. Neither needs an alignment.
    ///
    /// # Arithmetic
    /// `sum of values[i] * nibble(packed, i)`: each weight plus 8, 0 to 15. Fewer than 2^16 values give less than `2^27`.
    #[inline]
    fn dot_nibbles(values: &[i8], packed: &[i8]) -> i32 {
        let mut sum = 0;
        for (values, packed) in values.as_chunks::<8>().0.iter().zip(packed.as_chunks::<4>().0) {
            let (low, high) = values.split_at(4);
            for ((&low, &high), &pair) in low.iter().zip(high).zip(packed) {
                let pair = i32::from(pair.cast_unsigned());
                sum += i32::from(low) * (pair & 15) + i32::from(high) * (pair >> 4);
            }
        }
        sum
    }

    /// Adds `b` to `a`, in place: `a[i] = clamp(rescaled(a[i]) + rescaled(b[i]))`.
    fn add(params: &AddParams, a: &mut [i8], b: &[i8]);
}
