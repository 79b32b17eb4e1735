//! Runs a model: load once (all checks), then push rows or run a frame (cannot fail, cannot panic).

use crate::ir::Shape;
use crate::kernels::Native;
use crate::kernels::isa::Isa;
use crate::model::records::{OpRecord, flag, kind};
use crate::model::{Constants, LoadError, Model};
use crate::team::{Solo, Team};
use crate::to_usize;
use core::ops::Range;
use job::{Job, ring, slot, span};

#[cfg(feature = "blocked")]
mod host;
mod job;
#[cfg(feature = "threads")]
pub mod threads;

#[cfg(feature = "blocked")]
use crate::kernels::blocked::Level;

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

/// The bit of a kernel set for what only networks that came as uint8 have: dense layers whose sums are rounded once or whose weights
/// have a zero point, means whose ties round up.
pub const OF_UINT8: u32 = 1 << 31;

/// The bit of a kernel set for dense layers whose weights have four bits.
pub const INT4: u32 = 1 << 30;

/// The bit of a kernel set for operators of a [`kind`].
#[must_use]
pub const fn kind_bit(kind: u8) -> u32 {
    1 << kind
}

/// The kernel set that a model needs, for a [`SessionOf`] without the others.
#[must_use]
pub fn kinds_of(model: &Model<'_>) -> u32 {
    model.graph().ops.iter().fold(0, |kinds, op| kinds | kinds_of_op(op) | int4_of_op(op))
}

/// What the weights of an operator need of a kernel set. Apart from [`kinds_of_op`], which every firmware holds: one without the kernel
/// knows no such flag.
const fn int4_of_op(op: &OpRecord) -> u32 {
    if op.has(flag::INT4) { INT4 } else { 0 }
}

/// What an operator needs of a kernel set, but for [`INT4`]; its kind is one of those that there are.
pub(crate) fn kinds_of_op(op: &OpRecord) -> u32 {
    let convolution = matches!(op.kind, kind::CONV2D | kind::DEPTHWISE_CONV2D);
    let by_reference = if convolution && op.tile_values == 0 { REFERENCE_KERNELS } else { 0 };
    let of_uint8 = op.has(flag::ROUND_ONCE | flag::TIES_UP) || (op.kind == kind::DENSE && op.weight_zero_point != 0);
    kind_bit(op.kind) | by_reference | if of_uint8 { OF_UINT8 } else { 0 }
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
        Self::begin(Model::parse_for::<KINDS>(file)?, arena)
    }

    /// As [`load`](Self::load), for a model already checked.
    ///
    /// # Errors
    /// When the arena is too small or not aligned, the schedule cannot finish a frame or overwrites what is needed, or the model needs
    /// kernels that are not in the set, or was compiled for another core.
    pub fn with_model(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, LoadError> {
        for (index, op) in (0_u16..).zip(model.graph().ops) {
            if (kinds_of_op(op) | int4_of_op(op)) & !KINDS != 0 {
                return Err(LoadError::Op { op: index, what: "kind: this firmware was built without its kernel" });
            }
        }
        Self::begin(model, arena)
    }

    /// A session of a model whose kernels are there.
    #[inline]
    fn begin(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, LoadError> {
        let needed = model.arena_bytes();
        let found = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        let too_small = LoadError::Arena { found, needed };
        if arena.as_ptr().align_offset(4) != 0 {
            return Err(too_small);
        }
        let arena = arena.get_mut(..to_usize(needed)).ok_or(too_small)?;
        let lane_bytes = size_of::<<Native as Isa>::Lane>() as u8;
        let found = model.header().lane_bytes;
        let is_tiled = |op: &OpRecord| op.kind == kind::CONV2D && op.tile_values != 0;
        if found < lane_bytes && model.graph().ops.iter().any(is_tiled) {
            return Err(LoadError::Lanes { found, needed: lane_bytes });
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
        let y = self.count_step(0);
        if let Some(row) = self.arena.get_mut(slot(input, y)) {
            fill(bytemuck::cast_slice_mut(row));
        }
        let mut worked = 0; // the input
        while let Some(op) = self.state_mut().and_then(|state| graph.next_ready_after(state, worked)) {
            worked = op + 1;
            let made = self.step(op, team);
            let row = made.and_then(|(y, span)| Some((y, bytemuck::cast_slice(self.arena.get(span)?))));
            observe(Step { op, row });
        }
        if y + 1 < input.h {
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
            row.iter_mut().zip(rows.next().unwrap_or_default()).for_each(|(to, &from)| *to = from);
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
        let ring = self.model.output().map_or(0..0, ring);
        bytemuck::cast_slice(self.arena.get(ring).unwrap_or_default())
    }

    fn state_span(&self) -> Range<usize> {
        span(self.model.header().state, 2 * (self.model.header().op_count as u32 + 1))
    }

    #[cfg(feature = "blocked")]
    fn state(&self) -> Option<&[u16]> {
        bytemuck::try_cast_slice(self.arena.get(self.state_span())?).ok()
    }

    fn state_mut(&mut self) -> Option<&mut [u16]> {
        let span = self.state_span();
        bytemuck::try_cast_slice_mut(self.arena.get_mut(span)?).ok()
    }

    /// Counts a step: how many there were before it.
    fn count_step(&mut self, counter: usize) -> u32 {
        let Some(count) = self.state_mut().and_then(|state| state.get_mut(counter)) else { return 0 };
        let before = *count;
        *count = before.saturating_add(1);
        before.into()
    }

    /// Takes operator `op`'s next step; returns what it completed: the first row and where the values lie.
    fn step<T: Team>(&mut self, op: usize, team: &mut T) -> Made {
        let step = self.count_step(op + 1);
        #[cfg(feature = "blocked")]
        if self.model.graph().ops.get(op)?.has(flag::BLOCKED) {
            return self.blocked_steps(op, step..step + 1);
        }
        self.step_at(op, step, team)
    }

    /// Operator `op`'s step; in line, so that there is one copy of it on the stack.
    #[inline(always)]
    fn job<'j>(&self, op: usize, step: u32, constants: &'j Constants<'m>) -> Option<Job<'j>> {
        let graph = self.model.graph();
        let record = graph.ops.get(op)?;
        Some(Job {
            record,
            step,
            input: graph.tensors.get(usize::from(record.inputs[0]))?,
            other: graph.tensors.get(usize::from(record.inputs[1])),
            output: graph.tensors.get(op + 1)?,
            constants,
            scratch: span(self.model.header().scratch, self.model.header().scratch_bytes),
            #[cfg(feature = "blocked")]
            level: self.level,
        })
    }

    #[inline(always)]
    fn step_at<T: Team>(&mut self, op: usize, step: u32, team: &mut T) -> Made {
        let constants = self.model.try_constants::<KINDS>(op);
        self.job(op, step, constants.as_ref()?)?.take::<KINDS, T>(self.arena, team)
    }
}

/// What an operator completed: the first row and where the values lie.
type Made = Option<(u32, Range<usize>)>;
