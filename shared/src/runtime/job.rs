//! One step of an operator: where it reads and writes, and the kernel that it calls.

use super::{INT4, Made, OF_UINT8, REFERENCE_KERNELS, kind_bit};
#[cfg(feature = "blocked")]
use crate::kernels::blocked::{self, Level};
use crate::kernels::isa::{AddParams, Isa, PIXELS};
use crate::kernels::{Native, Rows, WindowParams, reference, tiled};
use crate::model::Constants;
use crate::model::records::{OpRecord, Tensor, flag, kind};
use crate::quant::OutputStage;
use crate::schedule::{Pace, pace};
use crate::team::Team;
use crate::to_usize;
use core::ops::Range;

/// One step of an operator. The checks at load have shown that every range lies inside the arena, and that those of one step do not
/// overlap; a step that finds it otherwise does nothing. The larger operators are not inlined: each then has a stack frame of its own,
/// instead of a share in one for all.
pub(super) struct Job<'m> {
    pub(super) record: &'m OpRecord,
    pub(super) step: u32,
    pub(super) input: &'m Tensor,
    pub(super) other: Option<&'m Tensor>,
    pub(super) output: &'m Tensor,
    pub(super) constants: &'m Constants<'m>,
    pub(super) scratch: Range<usize>,
    #[cfg(feature = "blocked")]
    pub(super) level: Level,
}

/// The arena's parts that a step works on. What an operator does not use is empty.
struct Parts<'a> {
    /// The input: row `step`, or the ring where there is a window.
    input: &'a [i8],
    /// Scratch memory or accumulators, or the row of the second input.
    second: &'a mut [u8],
    /// The output's row, or all of it where the steps take an input row each. Of an operator in place it holds the input, and `input`
    /// is empty.
    output: &'a mut [i8],
}

impl Job<'_> {
    /// Takes the step.
    #[inline(always)]
    pub(super) fn take<const KINDS: u32, T: Team>(&self, arena: &mut [u8], team: &mut T) -> Made {
        let (record, has) = (self.record, |kinds: u32| KINDS & kinds != 0 && kinds >> (self.record.kind & 31) & 1 != 0);
        let accumulates = pace(record) == Pace::Accumulate;
        let place = if accumulates { ring(self.output) } else { slot(self.output, self.step) };
        let mut parts = self.parts(arena, place.clone());
        let parts = parts.as_mut()?; // where they are: a move would take their size of the stack again
        let by_reference = KINDS & REFERENCE_KERNELS != 0 && record.tile_values == 0;
        if by_reference && has(kind_bit(kind::CONV2D)) {
            self.reference_conv2d(parts);
        } else if by_reference && has(kind_bit(kind::DEPTHWISE_CONV2D)) {
            self.reference_depthwise_conv2d(parts);
        } else if has(kind_bit(kind::CONV2D)) {
            self.conv2d::<T>(parts, team);
        } else if has(kind_bit(kind::DEPTHWISE_CONV2D)) {
            let [rows, columns] = record.kernel;
            if usize::from(rows) * usize::from(columns) <= tiled::FEW_CELLS {
                self.depthwise_conv2d::<T, { tiled::FEW_CELLS }>(parts, team);
            } else {
                self.depthwise_conv2d::<T, { tiled::MAX_CELLS }>(parts, team);
            }
        } else if has(kind_bit(kind::MAX_POOL2D)) {
            self.windowed(parts, reference::max_pool2d_row);
        } else if has(kind_bit(kind::MIN_POOL2D)) {
            self.windowed(parts, reference::min_pool2d_row);
        } else if has(kind_bit(kind::AVERAGE_POOL2D)) {
            let ties_up = KINDS & OF_UINT8 != 0 && record.has(flag::TIES_UP);
            self.windowed(parts, |p, rows, y, out| reference::average_pool2d_row(p, ties_up, rows, y, out));
        } else if has(kind_bit(kind::DENSE)) {
            self.dense::<KINDS>(parts);
        } else if has(kind_bit(kind::MEAN)) {
            self.mean(parts);
        } else if has(kind_bit(kind::GLOBAL_AVERAGE_POOL)) {
            self.global_average_pool::<KINDS>(parts);
        } else if has(kind_bit(kind::GLOBAL_MAX_POOL)) {
            reference::max_row(parts.input, self.step == 0, parts.output);
        } else if has(kind_bit(kind::RESHAPE)) {
            let start = to_usize(self.step) * parts.input.len();
            copy(parts.output.get_mut(start..).unwrap_or_default(), parts.input);
        } else if has(kind_bit(kind::ADD)) {
            copy(parts.output, parts.input);
            self.add(parts);
        } else if has(kind_bit(kind::MUL)) {
            copy(parts.output, parts.input);
            self.mul(parts);
        } else if has(kind_bit(kind::LOOKUP)) {
            copy(parts.output, parts.input);
            reference::lookup_row(parts.output, self.constants.weights);
        } else if has(kind_bit(kind::CONCAT)) {
            let second = bytemuck::cast_slice(parts.second);
            let [ca, cb] = [self.input.c, self.other?.c].map(to_usize);
            reference::concat_row(parts.input, second, ca, cb, parts.output);
        } else if has(kind_bit(kind::PAD)) {
            self.windowed(parts, |p, rows, y, out| {
                let row = rows.get(p.input_row(y, 0));
                reference::pad_row(row, p.pad[1] * p.c_in, p.input_zero_point as i8, out);
            });
        } else if has(kind_bit(kind::SOFTMAX)) {
            self.softmax(parts);
        }
        match accumulates {
            false => Some((self.step, place)),
            true if self.is_last() => Some((0, place)),
            true => None,
        }
    }

    /// Where the step works; its output goes to `place`.
    #[inline(never)]
    fn parts<'a>(&self, arena: &'a mut [u8], place: Range<usize>) -> Option<Parts<'a>> {
        let record = self.record;
        let input = match record.kind {
            kind::CONV2D
            | kind::DEPTHWISE_CONV2D
            | kind::MAX_POOL2D
            | kind::MIN_POOL2D
            | kind::AVERAGE_POOL2D
            | kind::PAD => ring(self.input),
            _ if record.has(flag::IN_PLACE) => 0..0,
            _ => slot(self.input, self.step),
        };
        let second = match (record.kind, self.other) {
            (kind::CONV2D | kind::DEPTHWISE_CONV2D, _) => self.scratch.clone(),
            (kind::DENSE | kind::MEAN | kind::GLOBAL_AVERAGE_POOL, _) => {
                span(record.accumulators, self.output.c.wrapping_mul(4))
            }
            // of the same height, or one value a channel
            (_, Some(other)) => slot(other, if other.h == self.output.h { self.step } else { 0 }),
            _ => 0..0,
        };
        let [input, second, output] = arena.get_disjoint_mut([input, second, place]).ok()?;
        Some(Parts { input: bytemuck::cast_slice(input), second, output: bytemuck::cast_slice_mut(output) })
    }

    /// Whether this is the last of the steps that take an input row each.
    const fn is_last(&self) -> bool {
        self.step + 1 >= self.input.h
    }

    fn stage(&self) -> OutputStage {
        let OpRecord { act_min, act_max, .. } = *self.record;
        OutputStage { zero_point: self.output.zero_point, act_min, act_max }
    }

    #[inline(never)] // its numbers stay in memory, instead of a second time in what is spilled
    fn window(&self) -> WindowParams {
        let record = self.record;
        let pair = |[rows, columns]: [u16; 2]| [usize::from(rows), usize::from(columns)];
        WindowParams {
            kernel: pair(record.kernel),
            stride: pair(record.stride),
            dilation: pair(record.dilation),
            pad: pair([record.pads[0], record.pads[1]]),
            width: to_usize(self.input.w),
            c_in: to_usize(self.input.c),
            c_out: to_usize(self.output.c),
            groups: usize::from(record.groups),
            input_zero_point: self.input.zero_point,
            weight_zero_point: i32::from(record.weight_zero_point),
            output: self.stage(),
        }
    }

    pub(super) fn rows<'a>(&self, source: &'a [i8]) -> Rows<'a> {
        Rows::new(source, to_usize(self.input.row_len()), self.input.rows, self.input.h)
    }

    /// The operator's output row `step` from rows under its window. Not in line: the window would be on the stack of every operator.
    #[inline(never)]
    fn windowed(&self, parts: &mut Parts<'_>, row: impl FnOnce(&WindowParams, Rows<'_>, u32, &mut [i8])) {
        row(&self.window(), self.rows(parts.input), self.step, parts.output);
    }

    #[inline(never)]
    fn reference_conv2d(&self, parts: &mut Parts<'_>) {
        self.windowed(parts, |p, rows, y, out| reference::conv2d_row(p, rows, y, self.constants, out));
    }

    #[inline(never)]
    fn reference_depthwise_conv2d(&self, parts: &mut Parts<'_>) {
        self.windowed(parts, |p, rows, y, out| reference::depthwise_conv2d_row(p, rows, y, self.constants, out));
    }

    #[inline(never)]
    fn conv2d<T: Team>(&self, parts: &mut Parts<'_>, team: &mut T) {
        let tile = self.record.tile();
        let Parts { input, second: scratch, output } = parts;
        let (window, rows) = (self.window(), self.rows(input));
        if T::CORES < 2 {
            tiled::conv2d_row::<Native>(&window, tile, rows, [0, self.step], self.constants, scratch, output);
        } else {
            let bytes = tile.scratch_bytes(size_of::<<Native as Isa>::Lane>());
            self.share(team, bytes, scratch, output, |x, scratch, out| {
                tiled::conv2d_row::<Native>(&window, tile, rows, [x, self.step], self.constants, scratch, out);
            });
        }
    }

    #[inline(never)]
    fn depthwise_conv2d<T: Team, const CELLS: usize>(&self, parts: &mut Parts<'_>, team: &mut T) {
        let Parts { input, second: scratch, output } = parts;
        let (window, rows) = (self.window(), self.rows(input));
        if T::CORES < 2 {
            tiled::depthwise_conv2d_row::<Native, CELLS>(
                &window,
                rows,
                [0, self.step],
                self.constants,
                scratch,
                output,
            );
        } else {
            self.share(team, window.c_in, scratch, output, |x, scratch, out| {
                tiled::depthwise_conv2d_row::<Native, CELLS>(
                    &window,
                    rows,
                    [x, self.step],
                    self.constants,
                    scratch,
                    out,
                );
            });
        }
    }

    /// Computes an output row, a half on each of two cores when the scratch memory has `scratch_bytes` for both.
    ///
    /// `pixels` is given the first pixel, scratch memory, and the values of the pixels to compute.
    fn share<T: Team>(
        &self,
        team: &mut T,
        scratch_bytes: usize,
        scratch: &mut [u8],
        out: &mut [i8],
        pixels: impl Fn(u32, &mut [u8], &mut [i8]) + Sync,
    ) {
        // half a row, in whole tiles
        let middle = (self.output.w / 2).next_multiple_of(PIXELS as u32);
        let values = to_usize(middle) * to_usize(self.output.c);
        if values >= out.len() || scratch.len() < 2 * scratch_bytes {
            return pixels(0, scratch, out);
        }
        let ((scratch_a, scratch_b), (out_a, out_b)) = (scratch.split_at_mut(scratch_bytes), out.split_at_mut(values));
        team.join(&mut || pixels(0, scratch_a, out_a), &mut || pixels(middle, scratch_b, out_b));
    }

    #[inline(never)]
    fn dense<const KINDS: u32>(&self, parts: &mut Parts<'_>) {
        let (sums, constants) = (words(parts.second), self.constants);
        let first = to_usize(self.step) * parts.input.len();
        let inputs = to_usize(self.input.h.wrapping_mul(self.input.row_len()));
        if KINDS & INT4 != 0 && self.record.has(flag::INT4) {
            #[cfg(feature = "blocked")]
            let dot = |values: &[i8], packed: &[i8]| blocked::dot_nibbles(self.level, values, packed);
            #[cfg(not(feature = "blocked"))]
            let dot = Native::dot_nibbles;
            reference::dense_accumulate_nibbles(parts.input, first, inputs, constants, sums, dot);
        } else {
            let zero_point = if KINDS & OF_UINT8 != 0 { i32::from(self.record.weight_zero_point) } else { 0 };
            reference::dense_accumulate::<Native>(parts.input, first, inputs, zero_point, constants, sums);
        }
        if self.is_last() {
            let once = KINDS & OF_UINT8 != 0 && self.record.has(flag::ROUND_ONCE);
            reference::dense_finish(sums, constants, once, &self.stage(), parts.output);
        }
    }

    /// Adds up input row `step`; returns the sums and the pixels of the input (at most 2^22) when it was the last.
    #[inline(always)]
    fn summed<'a>(&self, row: &[i8], sums: &'a mut [u8]) -> Option<(&'a [i32], i32)> {
        let sums = words(sums);
        reference::sum_row(row, self.step == 0, sums);
        self.is_last().then_some((sums, (self.input.h * self.input.w) as i32))
    }

    #[inline(never)]
    fn mean(&self, parts: &mut Parts<'_>) {
        if let Some((sums, pixels)) = self.summed(parts.input, parts.second) {
            let (zero_point, factor) = (self.input.zero_point, self.constants.multiplier(0));
            reference::mean_finish(sums, pixels, zero_point, factor, &self.stage(), parts.output);
        }
    }

    #[inline(never)]
    fn global_average_pool<const KINDS: u32>(&self, parts: &mut Parts<'_>) {
        if let Some((sums, pixels)) = self.summed(parts.input, parts.second) {
            let ties_up = KINDS & OF_UINT8 != 0 && self.record.has(flag::TIES_UP);
            reference::average_finish(sums, pixels, ties_up, &self.stage(), parts.output);
        }
    }

    pub(super) fn add_params(&self, other: &Tensor) -> AddParams {
        let Constants { multipliers, shifts, .. } = *self.constants;
        let shifts = shifts.first_chunk().copied().unwrap_or_default();
        AddParams {
            input_zero_points: [self.input.zero_point, other.zero_point],
            multipliers: multipliers.first_chunk().copied().unwrap_or_default(),
            shifts: shifts.map(i32::from),
            stage: self.stage(),
        }
    }

    #[inline(never)]
    fn add(&self, parts: &mut Parts<'_>) {
        let Some(other) = self.other else { return };
        let params = self.add_params(other);
        let (mut rest, second): (&mut [i8], &[i8]) = (&mut *parts.output, bytemuck::cast_slice(parts.second));
        while let Some((row, others)) = rest.split_at_mut_checked(second.len()).filter(|_| !second.is_empty()) {
            #[cfg(feature = "blocked")]
            blocked::add_row(self.level, &params, row, second);
            #[cfg(not(feature = "blocked"))]
            Native::add(&params, row, second);
            rest = others;
        }
    }

    #[inline(never)]
    fn mul(&self, parts: &mut Parts<'_>) {
        let Some(other) = self.other else { return };
        let zero_points = [self.input.zero_point, other.zero_point];
        let factors = bytemuck::cast_slice(parts.second);
        reference::mul_row(parts.output, factors, zero_points, self.constants.multiplier(0), &self.stage());
    }

    #[inline(never)]
    fn softmax(&self, parts: &mut Parts<'_>) {
        let scale = reference::SoftmaxScale::new(self.constants.multiplier(0));
        let channels = to_usize(self.input.c);
        let mut start = 0;
        while let (Some(pixel), Some(out)) =
            (parts.input.get(start..start + channels), parts.output.get_mut(start..start + channels))
        {
            reference::softmax_row(scale, pixel, out);
            start += channels.max(1);
        }
    }
}

/// Copies what both have.
fn copy(to: &mut [i8], from: &[i8]) {
    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
}

/// Bytes of the arena as accumulators; none where they are not aligned.
fn words(bytes: &mut [u8]) -> &mut [i32] {
    bytemuck::try_cast_slice_mut(bytes).unwrap_or_default()
}

/// Arena bytes of a tensor's ring.
pub(super) fn ring(tensor: &Tensor) -> Range<usize> {
    span(tensor.offset, tensor.row_len().wrapping_mul(tensor.rows))
}

/// Arena bytes of row `y` of a tensor.
#[inline(never)]
pub(super) fn slot(tensor: &Tensor, y: u32) -> Range<usize> {
    let row = y.checked_rem(tensor.rows).unwrap_or(0);
    span(tensor.offset.wrapping_add(row.wrapping_mul(tensor.row_len())), tensor.row_len())
}

/// A range of the arena. It cannot wrap in a model that was checked, and what would is caught where the range is used.
#[inline]
pub(super) fn span(start: u32, bytes: u32) -> Range<usize> {
    let start = if bytes == 0 { 0 } else { to_usize(start) };
    start..start.wrapping_add(to_usize(bytes))
}
