//! Runs a model: load once (all checks), then push rows or run a frame (cannot fail, cannot panic).

use crate::ir::Shape;
use crate::kernels::{Rows, WindowParams, reference};
use crate::model::records::{OpRecord, Tensor, kind};
use crate::model::{LoadError, Model};
use crate::quant::OutputStage;
use crate::to_usize;

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

/// A model and its working memory.
///
/// A frame goes in row by row; every operator computes a row as soon as the rows below its window have arrived.
#[derive(Debug)]
pub struct Session<'m, 'a> {
    model: Model<'m>,
    arena: &'a mut [u8],
}

/// An operator that has just taken a step, as [`Session::push_row_observed`] reports it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'s> {
    /// Index of the operator.
    pub op: usize,
    /// The row it completed and its values, if the step completed one.
    pub row: Option<(u32, &'s [i8])>,
}

impl<'m, 'a> Session<'m, 'a> {
    /// Checks a model file and takes the working memory it states.
    ///
    /// # Errors
    /// When the file is refused (see [`LoadError`]) or the arena is too small or not aligned to 4 bytes.
    pub fn load(file: &'m [u8], arena: &'a mut [u8]) -> Result<Self, LoadError> {
        Self::with_model(Model::parse(file)?, arena)
    }

    /// As [`load`](Self::load), for a model already checked.
    ///
    /// # Errors
    /// When the arena is too small or not aligned, or the schedule cannot finish a frame.
    pub fn with_model(model: Model<'m>, arena: &'a mut [u8]) -> Result<Self, LoadError> {
        let needed = model.arena_bytes();
        let found = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        let too_small = LoadError::Arena { found, needed };
        if arena.as_ptr().align_offset(4) != 0 {
            return Err(too_small);
        }
        let arena = arena.get_mut(..to_usize(needed)).ok_or(too_small)?;
        let mut session = Self { model, arena };
        let graph = model.graph();
        let state = session.state_mut().ok_or(too_small)?;
        if graph.simulate(state, |_| {}) { Ok(session) } else { Err(LoadError::Stalls) }
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
    pub fn push_row_observed(
        &mut self,
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
        while let Some(op) = self.state().and_then(|state| graph.next_ready(state)) {
            let row = self.step(op);
            self.count_step(op + 1);
            let values = row.and_then(|y| Some((y, slot(graph.tensors.get(op + 1)?, y)?)));
            let row = values.and_then(|(y, span)| Some((y, bytemuck::cast_slice(self.arena.get(span)?))));
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

    fn state_span(&self) -> core::ops::Range<usize> {
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

    /// Takes operator `op`'s next step; returns the output row it completed.
    fn step(&mut self, op: usize) -> Option<u32> {
        let step = self.steps_done(op + 1);
        let graph = self.model.graph();
        let record = graph.ops.get(op)?;
        let input = graph.tensors.get(to_usize(record.input))?;
        let output = graph.tensors.get(op + 1)?;
        let constants = self.model.constants(op);
        let accumulates = matches!(record.kind, kind::DENSE | kind::FLATTEN);
        let y = if accumulates { 0 } else { step };
        let scratch = if record.kind == kind::DENSE { words(record.scratch, output.c)? } else { 0..0 };
        // The checks at load have shown these to be disjoint and inside the arena.
        let [source, destination, scratch] =
            self.arena.get_disjoint_mut([ring(input)?, slot(output, y)?, scratch]).ok()?;
        let row_len = to_usize(input.shape().row_len()?);
        let rows = Rows::new(bytemuck::cast_slice(source), row_len, input.rows, input.h);
        let out: &mut [i8] = bytemuck::cast_slice_mut(destination);
        let stage = output_stage(record, output);
        match record.kind {
            kind::CONV2D => {
                reference::conv2d_row(&window(record, input, output), input.zero_point, rows, y, &constants, out);
            }
            kind::MAX_POOL2D => reference::max_pool2d_row(&window(record, input, output), rows, y, out),
            kind::AVERAGE_POOL2D => reference::average_pool2d_row(&window(record, input, output), rows, y, out),
            kind::DENSE => {
                let accumulators = bytemuck::try_cast_slice_mut(scratch).ok()?;
                let row = rows.get(i64::from(step))?;
                reference::dense_accumulate(row, to_usize(step) * row_len, input.zero_point, &constants, accumulators);
                if step + 1 < input.h {
                    return None;
                }
                reference::dense_finish(accumulators, &constants, &stage, out);
            }
            kind::FLATTEN => {
                let start = to_usize(step) * row_len;
                out.get_mut(start..start + row_len)?.copy_from_slice(rows.get(i64::from(step))?);
                if step + 1 < input.h {
                    return None;
                }
            }
            kind::SOFTMAX => {
                let scale = reference::SoftmaxScale::new(constants.multiplier(0));
                let channels = to_usize(input.c);
                let row = rows.get(i64::from(y))?;
                for (pixel, out) in row.chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
                    reference::softmax_row(scale, pixel, out);
                }
            }
            _ => return None,
        }
        Some(y)
    }
}

/// Arena bytes of a tensor's ring.
fn ring(tensor: &Tensor) -> Option<core::ops::Range<usize>> {
    let start = to_usize(tensor.offset);
    Some(start..start.checked_add(to_usize(tensor.shape().row_len()?).checked_mul(to_usize(tensor.rows))?)?)
}

/// Arena bytes of row `y` of a tensor.
fn slot(tensor: &Tensor, y: u32) -> Option<core::ops::Range<usize>> {
    let row_len = to_usize(tensor.shape().row_len()?);
    let start = to_usize(tensor.offset) + to_usize(y.checked_rem(tensor.rows)?) * row_len;
    Some(start..start + row_len)
}

fn words(offset: u32, count: u32) -> Option<core::ops::Range<usize>> {
    let start = to_usize(offset);
    Some(start..start.checked_add(to_usize(count).checked_mul(4)?)?)
}

fn output_stage(record: &OpRecord, output: &Tensor) -> OutputStage {
    OutputStage { zero_point: output.zero_point, act_min: record.act_min, act_max: record.act_max }
}

fn window(record: &OpRecord, input: &Tensor, output: &Tensor) -> WindowParams {
    WindowParams {
        kernel: record.kernel.map(usize::from),
        stride: record.stride.map(usize::from),
        dilation: record.dilation.map(usize::from),
        pad: [record.pads[0], record.pads[1]].map(usize::from),
        width: to_usize(input.w),
        c_in: to_usize(input.c),
        c_out: to_usize(output.c),
        output: output_stage(record, output),
    }
}
