//! Runs a model: load once (all checks), then push rows or run a frame (cannot fail, cannot panic).

use crate::ir::Shape;
use crate::kernels::isa::{AddParams, Isa, PIXELS};
use crate::kernels::tiled;
use crate::kernels::{Native, Rows, WindowParams, reference};
use crate::model::records::{OpRecord, Tensor, flag, kind};
use crate::model::{Constants, LoadError, Model};
use crate::quant::OutputStage;
use crate::team::{Solo, Team};
use crate::to_usize;
use core::ops::Range;

#[cfg(feature = "blocked")]
mod host;
#[cfg(feature = "threads")]
pub mod threads;

#[cfg(feature = "blocked")]
use crate::kernels::blocked::{self, Level};

/// Working memory for a [`Session`], aligned as it must be.
#[derive(Clone, Debug)]
#[repr(C, align(16))]
pub struct Arena<const N: usize>([u8; N]);

impl<const N: usize> Arena<N> {
    /// Zeroed memory; `const`, so that it can be a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; N])
    }

    /// The bytes to hand to [`Session::load`].
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Every operator, and the reference kernels of convolutions: a [`SessionOf`] that takes any model.
pub const EVERY_KIND: u32 = u32::MAX;
/// The bit of a kernel set for the reference kernels of convolutions, which take what the tiled ones do not: groups, multipliers,
/// dilated columns, weights with a zero point.
pub const REFERENCE_KERNELS: u32 = 1;

/// The bit of a kernel set for what only networks that came as uint8 have: dense layers whose sums are rounded once.
pub const ROUNDS_ONCE: u32 = 1 << 31;

/// The bit of a kernel set for operators of a [`kind`].
#[must_use]
pub const fn kind_bit(kind: u8) -> u32 {
    1 << kind
}

/// The kernel set that a model needs, for a [`SessionOf`] without the others.
#[must_use]
pub fn kinds_of(model: &Model<'_>) -> u32 {
    model.graph().ops.iter().fold(0, |kinds, op| kinds | kinds_of_op(op))
}

fn kinds_of_op(op: &OpRecord) -> u32 {
    let convolution = matches!(op.kind, kind::CONV2D | kind::DEPTHWISE_CONV2D);
    let by_reference = if convolution && op.tile_values == 0 { REFERENCE_KERNELS } else { 0 };
    let once = if op.has(flag::ROUND_ONCE) { ROUNDS_ONCE } else { 0 };
    kind_bit(op.kind) | by_reference | once
}

/// A session that takes any model.
pub type Session<'m, 'a> = SessionOf<'m, 'a, EVERY_KIND>;

/// A model and its working memory.
///
/// A frame goes in row by row; every operator computes a row as soon as the rows below its window have arrived. Only the kernels of the
/// set `KINDS` are compiled in ([`kinds_of`] tells what a model needs), so that a firmware with one model holds no others.
#[derive(Debug)]
pub struct SessionOf<'m, 'a, const KINDS: u32> {
    model: Model<'m>,
    arena: &'a mut [u8],
    /// The instructions of the block kernels.
    #[cfg(feature = "blocked")]
    level: Level,
    /// Whether every operator waits for whole tensors.
    #[cfg(feature = "blocked")]
    is_layered: bool,
}

/// An operator that has just taken a step, as [`SessionOf::push_row_observed`] reports it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'s> {
    /// Index of the operator.
    pub op: usize,
    /// The rows it completed, if the step completed any: the first one's index, and the values of one row, or of the whole tensor.
    pub row: Option<(u32, &'s [i8])>,
}

impl<'m, 'a, const KINDS: u32> SessionOf<'m, 'a, KINDS> {
    /// Checks a model file and takes the working memory it states.
    ///
    /// # Errors
    /// When the file is refused (see [`LoadError`]) or the arena is too small or not aligned to 4 bytes.
    pub fn load(file: &'m [u8], arena: &'a mut [u8]) -> Result<Self, LoadError> {
        Self::with_model(Model::parse_for::<KINDS>(file)?, arena)
    }

    /// As [`load`](Self::load), for a model already checked.
    ///
    /// # Errors
    /// When the arena is too small or not aligned, the schedule cannot finish a frame or overwrites what is needed, or the model needs
    /// kernels that are not in the set, or was compiled for another core.
    pub fn with_model(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, LoadError> {
        let needed = model.arena_bytes();
        let found = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        let too_small = LoadError::Arena { found, needed };
        if arena.as_ptr().align_offset(4) != 0 {
            return Err(too_small);
        }
        let arena = arena.get_mut(..to_usize(needed)).ok_or(too_small)?;
        let lane_bytes = size_of::<<Native as Isa>::Lane>() as u8;
        let found = model.header().lane_bytes;
        for (index, op) in (0_u16..).zip(model.graph().ops) {
            if kinds_of_op(op) & !KINDS != 0 {
                return Err(LoadError::Op { op: index, what: "kind: this firmware was built without its kernel" });
            }
            if op.kind == kind::CONV2D && op.tile_values != 0 && found < lane_bytes {
                return Err(LoadError::Lanes { found, needed: lane_bytes });
            }
        }
        model.check_memory(arena)?;
        let mut session = Self {
            model,
            arena,
            #[cfg(feature = "blocked")]
            level: Level::detect(),
            #[cfg(feature = "blocked")]
            is_layered: host::is_layered(&model.graph()),
        };
        session.restart();
        Ok(session)
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// Pushes the next row of the frame: `fill` writes its int8 values (`[w, c]`). Returns the scores when it was the last.
    ///
    /// After the last row the session is ready for the next frame.
    pub fn push_row(&mut self, fill: impl FnOnce(&mut [i8])) -> Option<&[i8]> {
        self.push_row_observed(fill, |_| {})
    }

    /// As [`push_row`](Self::push_row); `observe` sees every step that an operator takes.
    pub fn push_row_observed(&mut self, fill: impl FnOnce(&mut [i8]), observe: impl FnMut(Step<'_>)) -> Option<&[i8]> {
        self.push_row_with(&mut Solo, fill, observe)
    }

    /// As [`push_row_observed`](Self::push_row_observed), with the cores of `team` sharing the rows of convolutions.
    ///
    /// The output is that of one core. Only a model that was compiled for several cores has scratch memory for two; with another
    /// the first core does everything, as it does where a row is no wider than a tile.
    pub fn push_row_with<T: Team>(
        &mut self,
        team: &mut T,
        fill: impl FnOnce(&mut [i8]),
        mut observe: impl FnMut(Step<'_>),
    ) -> Option<&[i8]> {
        let graph = self.model.graph();
        let input = graph.tensors.first()?;
        let y = self.steps_done(0);
        if let Some(row) = slot(input, y).and_then(|span| self.arena.get_mut(span)) {
            fill(bytemuck::cast_slice_mut(row));
        }
        self.count_step(0);
        let mut worked = 0; // the input
        while let Some(op) = self.state().and_then(|state| graph.next_ready_after(state, worked)) {
            worked = op + 1;
            let made = self.step(op, team);
            self.count_step(op + 1);
            let row = made.and_then(|(y, span)| Some((y, bytemuck::cast_slice(self.arena.get(span)?))));
            observe(Step { op, row });
        }
        if self.steps_done(0) < input.h {
            return None;
        }
        self.restart();
        Some(self.output())
    }

    /// Runs a whole frame: `fill` is asked for each row in turn. Cannot fail.
    ///
    /// # Shapes
    /// `fill` writes row `y` as `[w, c]`; the result is the network's output, `[h, w, c]`.
    pub fn run(&mut self, mut fill: impl FnMut(u32, &mut [i8])) -> &[i8] {
        self.restart();
        #[cfg(feature = "blocked")]
        if self.is_layered {
            return self.run_layers(fill);
        }
        for y in 0..self.model.input_shape().h {
            self.push_row(|row| fill(y, row));
        }
        self.output()
    }

    /// Runs a whole frame held in memory: `[h, w, c]` int8 values; `None` when `frame` has another size.
    pub fn run_frame(&mut self, frame: &[i8]) -> Option<&[i8]> {
        let Shape { h, .. } = self.model.input_shape();
        let row_len = to_usize(self.model.input_shape().row_len()?);
        if frame.len() != row_len * to_usize(h) {
            return None;
        }
        let mut rows = frame.chunks_exact(row_len);
        Some(self.run(|_, row| {
            if let Some(source) = rows.next() {
                row.copy_from_slice(source);
            }
        }))
    }

    /// Forgets a frame that was begun.
    pub fn restart(&mut self) {
        if let Some(state) = self.state_mut() {
            state.fill(0);
        }
    }

    /// The latest frame's scores (`[h, w, c]` of the network's output).
    #[must_use]
    pub fn output(&self) -> &[i8] {
        let ring = self.model.output().and_then(ring);
        bytemuck::cast_slice(ring.and_then(|span| self.arena.get(span)).unwrap_or(&[]))
    }

    fn state_span(&self) -> Range<usize> {
        let start = to_usize(self.model.header().state);
        start..start + 2 * (self.model.graph().ops.len() + 1)
    }

    fn state(&self) -> Option<&[u16]> {
        bytemuck::try_cast_slice(self.arena.get(self.state_span())?).ok()
    }

    fn state_mut(&mut self) -> Option<&mut [u16]> {
        let span = self.state_span();
        bytemuck::try_cast_slice_mut(self.arena.get_mut(span)?).ok()
    }

    fn steps_done(&self, counter: usize) -> u32 {
        self.state().and_then(|state| state.get(counter)).map_or(0, |&v| u32::from(v))
    }

    fn count_step(&mut self, counter: usize) {
        if let Some(count) = self.state_mut().and_then(|state| state.get_mut(counter)) {
            *count = count.saturating_add(1);
        }
    }

    /// Takes operator `op`'s next step; returns what it completed: the first row and where the values lie.
    fn step<T: Team>(&mut self, op: usize, team: &mut T) -> Option<(u32, Range<usize>)> {
        let step = self.steps_done(op + 1);
        #[cfg(feature = "blocked")]
        if self.model.graph().ops.get(op)?.has(flag::BLOCKED) {
            return self.blocked_steps(op, step..step + 1);
        }
        self.step_at(op, step, team)
    }

    /// Operator `op`'s step; in line, so that there is one copy of it on the stack.
    #[inline(always)]
    fn job(&self, op: usize, step: u32) -> Option<Job<'m>> {
        let graph = self.model.graph();
        let record = graph.ops.get(op)?;
        Some(Job {
            record,
            step,
            input: graph.tensors.get(usize::from(record.inputs[0]))?,
            other: graph.tensors.get(usize::from(record.inputs[1])),
            output: graph.tensors.get(op + 1)?,
            constants: self.model.constants(op),
            scratch: span(self.model.header().scratch, self.model.header().scratch_bytes)?,
            #[cfg(feature = "blocked")]
            level: self.level,
        })
    }

    #[inline(always)]
    fn step_at<T: Team>(&mut self, op: usize, step: u32, team: &mut T) -> Option<(u32, Range<usize>)> {
        let job = self.job(op, step)?;
        let record = job.record;
        let has = |kind: u8| KINDS & kind_bit(kind) != 0;
        match record.kind {
            kind::CONV2D if has(kind::CONV2D) => job.conv2d::<KINDS, T>(self.arena, team),
            kind::DEPTHWISE_CONV2D if has(kind::DEPTHWISE_CONV2D) => job.depthwise_conv2d::<KINDS, T>(self.arena, team),
            kind::MAX_POOL2D if has(kind::MAX_POOL2D) => job.windowed(self.arena, reference::max_pool2d_row),
            kind::MIN_POOL2D if has(kind::MIN_POOL2D) => job.windowed(self.arena, reference::min_pool2d_row),
            kind::AVERAGE_POOL2D if has(kind::AVERAGE_POOL2D) => job.windowed(self.arena, |p, rows, y, out| {
                reference::average_pool2d_row(p, record.has(flag::TIES_UP), rows, y, out);
            }),
            kind::DENSE if has(kind::DENSE) => job.dense::<KINDS>(self.arena),
            kind::MEAN if has(kind::MEAN) => job.mean(self.arena),
            kind::GLOBAL_AVERAGE_POOL if has(kind::GLOBAL_AVERAGE_POOL) => job.global_average_pool(self.arena),
            kind::GLOBAL_MAX_POOL if has(kind::GLOBAL_MAX_POOL) => job.global_max_pool(self.arena),
            kind::RESHAPE if has(kind::RESHAPE) => job.reshape(self.arena),
            kind::ADD if has(kind::ADD) => job.add(self.arena),
            kind::MUL if has(kind::MUL) => job.mul(self.arena),
            kind::LOOKUP if has(kind::LOOKUP) => job.lookup(self.arena),
            kind::CONCAT if has(kind::CONCAT) => job.concat(self.arena),
            kind::PAD if has(kind::PAD) => job.pad(self.arena),
            kind::SOFTMAX if has(kind::SOFTMAX) => job.softmax(self.arena),
            _ => None,
        }
    }
}

/// What an operator completed: the first row and where the values lie.
type Made = Option<(u32, Range<usize>)>;

/// One step of an operator. The checks at load have shown that every range lies inside the arena, and that those of one step do not
/// overlap; a method that finds it otherwise does nothing. The larger methods are not inlined: each then has a stack frame of its own,
/// instead of a share in one for all.
struct Job<'m> {
    record: &'m OpRecord,
    step: u32,
    input: &'m Tensor,
    other: Option<&'m Tensor>,
    output: &'m Tensor,
    constants: Constants<'m>,
    scratch: Range<usize>,
    #[cfg(feature = "blocked")]
    level: Level,
}

impl Job<'_> {
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

    fn rows<'a>(&self, source: &'a [u8]) -> Rows<'a> {
        let row_len = to_usize(self.input.shape().row_len().unwrap_or(0));
        Rows::new(bytemuck::cast_slice(source), row_len, self.input.rows, self.input.h)
    }

    /// The operator's output row `step` from rows under its window.
    fn windowed(&self, arena: &mut [u8], row: impl FnOnce(&WindowParams, Rows<'_>, u32, &mut [i8])) -> Made {
        let place = slot(self.output, self.step)?;
        let [source, out, _] = disjoint(arena, [ring(self.input)?, place.clone(), 0..0])?;
        row(&self.window(), self.rows(source), self.step, bytemuck::cast_slice_mut(out));
        Some((self.step, place))
    }

    #[inline(never)]
    fn conv2d<const KINDS: u32, T: Team>(&self, arena: &mut [u8], team: &mut T) -> Made {
        let tile = self.record.tile();
        if KINDS & REFERENCE_KERNELS != 0 && tile.values == 0 {
            return self.windowed(arena, |p, rows, y, out| reference::conv2d_row(p, rows, y, &self.constants, out));
        }
        let place = slot(self.output, self.step)?;
        let [source, scratch, out] = disjoint(arena, [ring(self.input)?, self.scratch.clone(), place.clone()])?;
        let (window, rows, out) = (self.window(), self.rows(source), bytemuck::cast_slice_mut(out));
        if T::CORES < 2 {
            tiled::conv2d_row::<Native>(&window, tile, rows, [0, self.step], &self.constants, scratch, out);
        } else {
            let bytes = tile.scratch_bytes(size_of::<<Native as Isa>::Lane>());
            self.share(team, bytes, scratch, out, |x, scratch, out| {
                tiled::conv2d_row::<Native>(&window, tile, rows, [x, self.step], &self.constants, scratch, out);
            });
        }
        Some((self.step, place))
    }

    #[inline(never)]
    fn depthwise_conv2d<const KINDS: u32, T: Team>(&self, arena: &mut [u8], team: &mut T) -> Made {
        if KINDS & REFERENCE_KERNELS != 0 && self.record.tile_values == 0 {
            return self
                .windowed(arena, |p, rows, y, out| reference::depthwise_conv2d_row(p, rows, y, &self.constants, out));
        }
        let place = slot(self.output, self.step)?;
        let [source, scratch, out] = disjoint(arena, [ring(self.input)?, self.scratch.clone(), place.clone()])?;
        let (window, rows, out) = (self.window(), self.rows(source), bytemuck::cast_slice_mut(out));
        if T::CORES < 2 {
            tiled::depthwise_conv2d_row::<Native>(&window, rows, [0, self.step], &self.constants, scratch, out);
        } else {
            self.share(team, window.c_in, scratch, out, |x, scratch, out| {
                tiled::depthwise_conv2d_row::<Native>(&window, rows, [x, self.step], &self.constants, scratch, out);
            });
        }
        Some((self.step, place))
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

    /// Takes input row `step` into accumulators; `finish` makes the output of the last.
    fn accumulated(
        &self,
        arena: &mut [u8],
        take: impl FnOnce(&[i8], &mut [i32]),
        finish: impl FnOnce(&[i32], &mut [i8]),
    ) -> Made {
        let place = slot(self.output, 0)?;
        let words = span(self.record.accumulators, self.output.c.checked_mul(4)?)?;
        let [row, words, out] = disjoint(arena, [slot(self.input, self.step)?, words, place.clone()])?;
        let accumulators: &mut [i32] = bytemuck::try_cast_slice_mut(words).ok()?;
        take(bytemuck::cast_slice(row), accumulators);
        if self.step + 1 < self.input.h {
            return None;
        }
        finish(accumulators, bytemuck::cast_slice_mut(out));
        Some((0, place))
    }

    #[inline(never)]
    fn dense<const KINDS: u32>(&self, arena: &mut [u8]) -> Made {
        let inputs = to_usize(self.input.shape().elements()?);
        let first = to_usize(self.step) * to_usize(self.input.shape().row_len()?);
        let weight_zero_point = i32::from(self.record.weight_zero_point);
        self.accumulated(
            arena,
            |row, sums| {
                reference::dense_accumulate::<Native>(row, first, inputs, weight_zero_point, &self.constants, sums);
            },
            |sums, out| {
                let once = KINDS & ROUNDS_ONCE != 0 && self.record.has(flag::ROUND_ONCE);
                reference::dense_finish(sums, &self.constants, once, &self.stage(), out);
            },
        )
    }

    /// Pixels of the input; at most 2^22.
    fn pixels(&self) -> i32 {
        (self.input.h * self.input.w) as i32
    }

    #[inline(never)]
    fn mean(&self, arena: &mut [u8]) -> Made {
        let factor = self.constants.multiplier(0);
        self.accumulated(
            arena,
            |row, sums| reference::sum_row(row, self.step == 0, sums),
            |sums, out| {
                reference::mean_finish(sums, self.pixels(), self.input.zero_point, factor, &self.stage(), out);
            },
        )
    }

    #[inline(never)]
    fn global_average_pool(&self, arena: &mut [u8]) -> Made {
        let ties_up = self.record.has(flag::TIES_UP);
        self.accumulated(
            arena,
            |row, sums| reference::sum_row(row, self.step == 0, sums),
            |sums, out| reference::average_finish(sums, self.pixels(), ties_up, &self.stage(), out),
        )
    }

    fn global_max_pool(&self, arena: &mut [u8]) -> Made {
        let place = slot(self.output, 0)?;
        let [row, out, _] = disjoint(arena, [slot(self.input, self.step)?, place.clone(), 0..0])?;
        reference::max_row(bytemuck::cast_slice(row), self.step == 0, bytemuck::cast_slice_mut(out));
        (self.step + 1 == self.input.h).then_some((0, place))
    }

    fn reshape(&self, arena: &mut [u8]) -> Made {
        let place = ring(self.output)?;
        let [row, out, _] = disjoint(arena, [slot(self.input, self.step)?, place.clone(), 0..0])?;
        let start = to_usize(self.step) * row.len();
        out.get_mut(start..start + row.len())?.copy_from_slice(row);
        (self.step + 1 == self.input.h).then_some((0, place))
    }

    /// The output row with the first input's values in it, and row `step` of the second input (or no bytes).
    fn copied<'a>(&self, arena: &'a mut [u8], second: Range<usize>) -> Option<(&'a mut [i8], &'a [i8])> {
        let place = slot(self.output, self.step)?;
        if self.record.has(flag::IN_PLACE) {
            let [out, second, _] = disjoint(arena, [place, second, 0..0])?;
            return Some((bytemuck::cast_slice_mut(out), bytemuck::cast_slice(second)));
        }
        let [first, second, out] = disjoint(arena, [slot(self.input, self.step)?, second, place])?;
        out.copy_from_slice(first);
        Some((bytemuck::cast_slice_mut(out), bytemuck::cast_slice(second)))
    }

    /// The row of the second input: of the same height, or one value a channel.
    fn other_row(&self, other: &Tensor) -> u32 {
        if other.h == self.output.h { self.step } else { 0 }
    }

    fn add_params(&self, other: &Tensor) -> AddParams {
        let factors = [0, 1, 2].map(|i| self.constants.multiplier(i));
        AddParams {
            input_zero_points: [self.input.zero_point, other.zero_point],
            multipliers: factors.map(|factor| factor.multiplier),
            shifts: factors.map(|factor| factor.shift),
            stage: self.stage(),
        }
    }

    #[inline(never)]
    fn add(&self, arena: &mut [u8]) -> Made {
        let other = self.other?;
        let params = self.add_params(other);
        let (row, second) = self.copied(arena, slot(other, self.other_row(other))?)?;
        for row in row.chunks_exact_mut(second.len().max(1)) {
            #[cfg(feature = "blocked")]
            blocked::add_row(self.level, &params, row, second);
            #[cfg(not(feature = "blocked"))]
            Native::add(&params, row, second);
        }
        Some((self.step, slot(self.output, self.step)?))
    }

    #[inline(never)]
    fn mul(&self, arena: &mut [u8]) -> Made {
        let other = self.other?;
        let (row, second) = self.copied(arena, slot(other, self.other_row(other))?)?;
        let zero_points = [self.input.zero_point, other.zero_point];
        reference::mul_row(row, second, zero_points, self.constants.multiplier(0), &self.stage());
        Some((self.step, slot(self.output, self.step)?))
    }

    fn lookup(&self, arena: &mut [u8]) -> Made {
        let (row, _) = self.copied(arena, 0..0)?;
        reference::lookup_row(row, self.constants.weights);
        Some((self.step, slot(self.output, self.step)?))
    }

    fn concat(&self, arena: &mut [u8]) -> Made {
        let (other, place) = (self.other?, slot(self.output, self.step)?);
        let [a, b, out] = disjoint(arena, [slot(self.input, self.step)?, slot(other, self.step)?, place.clone()])?;
        let (ca, cb) = (to_usize(self.input.c), to_usize(other.c));
        reference::concat_row(bytemuck::cast_slice(a), bytemuck::cast_slice(b), ca, cb, bytemuck::cast_slice_mut(out));
        Some((self.step, place))
    }

    fn pad(&self, arena: &mut [u8]) -> Made {
        self.windowed(arena, |p, rows, y, out| {
            let row = rows.get(p.input_row(y, 0));
            reference::pad_row(row, p.pad[1] * p.c_in, p.input_zero_point as i8, out);
        })
    }

    #[inline(never)]
    fn softmax(&self, arena: &mut [u8]) -> Made {
        let place = slot(self.output, self.step)?;
        let [row, out, _] = disjoint(arena, [slot(self.input, self.step)?, place.clone(), 0..0])?;
        let scale = reference::SoftmaxScale::new(self.constants.multiplier(0));
        let channels = to_usize(self.input.c);
        let (row, out): (&[i8], &mut [i8]) = (bytemuck::cast_slice(row), bytemuck::cast_slice_mut(out));
        for (pixel, out) in row.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            reference::softmax_row(scale, pixel, out);
        }
        Some((self.step, place))
    }
}

/// Three parts of the arena, the empty ones at its start.
#[inline(never)]
fn disjoint(arena: &mut [u8], parts: [Range<usize>; 3]) -> Option<[&mut [u8]; 3]> {
    arena.get_disjoint_mut(parts).ok()
}

/// Arena bytes of a tensor's ring.
fn ring(tensor: &Tensor) -> Option<Range<usize>> {
    span(tensor.offset, tensor.row_len().wrapping_mul(tensor.rows))
}

/// Arena bytes of one row of a tensor, or of several rows of a whole one.
#[cfg(feature = "blocked")]
fn place_of(tensor: &Tensor, rows: &Range<u32>) -> Option<Range<usize>> {
    let first = slot(tensor, rows.start)?;
    let count =
        rows.end.checked_sub(rows.start).filter(|&count| count == 1 || (count > 0 && tensor.rows == tensor.h))?;
    Some(first.start..first.start + first.len() * to_usize(count))
}

/// Arena bytes of row `y` of a tensor.
fn slot(tensor: &Tensor, y: u32) -> Option<Range<usize>> {
    let row = y.checked_rem(tensor.rows)?;
    span(tensor.offset.wrapping_add(row.wrapping_mul(tensor.row_len())), tensor.row_len())
}

/// A range of the arena. It cannot wrap in a model that was checked, and what would is caught where the range is used.
#[inline]
fn span(start: u32, bytes: u32) -> Option<Range<usize>> {
    let start = if bytes == 0 { 0 } else { to_usize(start) };
    Some(start..start.wrapping_add(to_usize(bytes)))
}
