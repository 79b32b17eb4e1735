//! A frame on several cores: every layer's rows are shared out, and neighbours tell each other the rows at their borders.
//!
//! Each thread has a [`Session`] of its own over the same model. It computes its share of the rows of a layer in memory of its own, puts
//! them on its *board* if another thread's window reaches into them, and takes from the boards of others what its windows reach into. A
//! thread waits only for rows that it needs: layers without a border (sums, 1x1 convolutions) wait for nobody. Small layers are computed by
//! every thread, which is cheaper than to tell. All of it is safe code, and every output byte is that of one thread, for the same kernels
//! compute the same rows.

use super::Session;
use super::host::{self, place_of};
use crate::kernels::blocked::Level;
use crate::model::records::kind;
use crate::model::{LoadError, Model};
use crate::schedule::Graph;
use crate::to_usize;
use alloc::{vec, vec::Vec};
use core::hint::spin_loop;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::thread::{self, Thread};

/// Looks at a counter before a thread lets others run: some ten microseconds.
const SPINS: u32 = 1_000;
/// As many looks, most of them letting others run, before it sleeps.
const PATIENCE: u32 = SPINS + 200;
/// Work of a layer, in products or values, below which it is computed by every thread.
const SMALL: u64 = 1 << 15;

/// Bytes as a cache line holds them: sessions do not share one.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A counter in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicUsize);

impl Counter {
    /// Waits until the counter has reached `value`.
    fn wait_for(&self, value: usize) {
        let mut spins = 0;
        while self.0.load(Ordering::Acquire) < value {
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

/// What a thread tells the others.
#[derive(Debug, Default)]
struct Board {
    /// Operators done, in all frames.
    done: Counter,
    /// Frames finished.
    finished: Counter,
    /// The rows of each tensor that this thread computed, as far as others need any.
    tensors: Vec<RwLock<Vec<i8>>>,
}

#[derive(Debug)]
struct Shared {
    boards: Vec<Board>,
    frame: RwLock<Vec<i8>>,
    /// Frames begun.
    begun: Counter,
    stop: AtomicBool,
}

/// Who computes what.
#[derive(Debug)]
struct Plan {
    threads: u32,
    /// The operators, in the order of the schedule.
    order: Vec<usize>,
    /// Where in it an operator is.
    position: Vec<usize>,
    /// Whether a tensor's rows are shared out; else every thread has all of them.
    is_split: Vec<bool>,
    /// Whether a thread needs rows of the tensor that another one computed.
    is_told: Vec<bool>,
}

impl Plan {
    fn new(model: &Model<'_>, threads: u32) -> Self {
        let graph = model.graph();
        let count = graph.ops.len();
        let mut plan = Self {
            threads,
            order: order(&graph),
            position: vec![0; count],
            is_split: vec![false; count + 1],
            is_told: vec![false; count + 1],
        };
        for (position, &op) in plan.order.iter().enumerate() {
            plan.position[op] = position;
            let by_value = matches!(graph.ops[op].kind, kind::ADD | kind::MUL | kind::LOOKUP | kind::CONCAT);
            let stays = by_value && graph.ops[op].reads().any(|input| plan.is_split[input]);
            let is_shareable = graph.is_row_by_row(op) && graph.steps(op) >= threads;
            plan.is_split[op + 1] = is_shareable && (stays || model.work_of(op).is_some_and(|work| work >= SMALL));
        }
        for (op, record) in graph.ops.iter().enumerate() {
            for (input, tensor) in record.reads().enumerate().filter(|&(_, tensor)| plan.is_split[tensor]) {
                let height = graph.tensors[tensor].h;
                plan.is_told[tensor] |= (0..threads).any(|thread| {
                    let (needed, own) = (plan.needs(&graph, op, input, thread), plan.share(height, thread));
                    needed.start < own.start || needed.end > own.end
                });
            }
        }
        plan.is_told[count] = plan.is_split[count]; // the scores
        plan
    }

    /// The rows of a thread.
    fn share(&self, height: u32, thread: u32) -> Range<u32> {
        let at = |thread: u32| (u64::from(height) * u64::from(thread) / u64::from(self.threads)) as u32;
        at(thread)..at(thread + 1)
    }

    /// The steps of an operator that a thread takes.
    fn steps(&self, graph: &Graph<'_>, op: usize, thread: u32) -> Range<u32> {
        let steps = graph.steps(op);
        if self.is_split[op + 1] { self.share(steps, thread) } else { 0..steps }
    }

    /// The rows of an operator's input that a thread needs for its steps.
    fn needs(&self, graph: &Graph<'_>, op: usize, input: usize, thread: u32) -> Range<u32> {
        let steps = self.steps(graph, op, thread);
        if steps.is_empty() {
            return 0..0;
        }
        graph.input_rows(op, input, steps.start).0..graph.input_rows(op, input, steps.end - 1).1
    }
}

/// The operators in the order in which they run when each waits for its inputs.
fn order(graph: &Graph<'_>) -> Vec<usize> {
    let mut state = vec![0_u16; graph.ops.len() + 1];
    state[0] = graph.tensors.first().map_or(0, |input| input.h as u16);
    let mut order = Vec::with_capacity(graph.ops.len());
    while let Some(op) = graph.next_ready(&state) {
        state[op + 1] = graph.steps(op) as u16; // at most 65,535 rows
        order.push(op);
    }
    order
}

/// A thread's part in a frame.
struct Member<'t, 'm, 'a> {
    session: Session<'m, 'a>,
    plan: &'t Plan,
    shared: &'t Shared,
    thread: u32,
}

impl Member<'_, '_, '_> {
    /// Computes this thread's share of frame number `frame` (from 1).
    fn run(&mut self, frame: usize) {
        let (plan, graph) = (self.plan, self.session.model.graph());
        let before = (frame - 1) * plan.order.len();
        for (position, &op) in plan.order.iter().enumerate() {
            for (input, tensor) in graph.ops[op].reads().enumerate() {
                self.fetch(before, tensor, &plan.needs(&graph, op, input, self.thread));
            }
            let steps = plan.steps(&graph, op, self.thread);
            self.session.steps(op, steps.clone());
            if plan.is_told[op + 1] {
                self.tell(op + 1, &steps);
                self.board().done.0.store(before + position + 1, Ordering::Release);
            }
        }
    }

    fn board(&self) -> &Board {
        &self.shared.boards[self.thread as usize]
    }

    /// Takes rows that this thread has not computed from the frame, or from the boards of others.
    fn fetch(&mut self, before: usize, tensor: usize, rows: &Range<u32>) {
        let (plan, shared, own) = (self.plan, self.shared, self.thread);
        let Some(record) = self.session.model.graph().tensors.get(tensor) else { return };
        let Some(producer) = tensor.checked_sub(1) else {
            let frame = shared.frame.read().unwrap_or_else(PoisonError::into_inner);
            return self.copy(tensor, rows, &frame, 0);
        };
        if !plan.is_split[tensor] {
            return;
        }
        for thread in (0..plan.threads).filter(|&thread| thread != own) {
            let theirs = plan.share(record.h, thread);
            let rows = rows.start.max(theirs.start)..rows.end.min(theirs.end);
            if !rows.is_empty() {
                let board = &shared.boards[thread as usize];
                board.done.wait_for(before + plan.position[producer] + 1);
                let values = board.tensors[tensor].read().unwrap_or_else(PoisonError::into_inner);
                self.copy(tensor, &rows, &values, theirs.start);
            }
        }
    }

    /// Copies rows of a tensor from `values`, which begin at row `first`.
    fn copy(&mut self, tensor: usize, rows: &Range<u32>, values: &[i8], first: u32) {
        let Some(record) = self.session.model.graph().tensors.get(tensor) else { return };
        let to = place_of(record, rows).and_then(|place| self.session.arena.get_mut(place));
        let row_len = to_usize(record.w * record.c);
        let from = values.get(to_usize(rows.start - first) * row_len..to_usize(rows.end - first) * row_len);
        if let (Some(to), Some(from)) = (to, from) {
            to.copy_from_slice(bytemuck::cast_slice(from));
        }
    }

    /// Puts this thread's rows of a tensor on its board.
    fn tell(&self, tensor: usize, rows: &Range<u32>) {
        let record = self.session.model.graph().tensors.get(tensor);
        let from = record.and_then(|record| self.session.arena.get(place_of(record, rows)?));
        let mut to = self.board().tensors[tensor].write().unwrap_or_else(PoisonError::into_inner);
        if let Some(from) = from {
            to.clear();
            to.extend_from_slice(bytemuck::cast_slice(from));
        }
    }

    /// Computes frames as they begin, until there are no more.
    fn serve(mut self) {
        for frame in 1.. {
            let mut looks = 0;
            while self.shared.begun.0.load(Ordering::Acquire) < frame {
                if self.shared.stop.load(Ordering::Acquire) {
                    return;
                }
                looks += 1;
                if looks < SPINS {
                    spin_loop();
                } else if looks < PATIENCE {
                    thread::yield_now();
                } else {
                    thread::park(); // the next frame, or the end, wakes it
                }
            }
            self.run(frame);
            self.board().finished.0.store(frame, Ordering::Release);
        }
    }
}

/// Threads that run frames together; see [`with_threads`].
pub struct Team<'t, 'm, 'a> {
    leader: Member<'t, 'm, 'a>,
    frames: usize,
    workers: Vec<Thread>,
}

impl Team<'_, '_, '_> {
    /// Runs a whole frame held in memory: `[h, w, c]` int8 values; `None` when `frame` has another size.
    pub fn run_frame(&mut self, frame: &[i8]) -> Option<&[i8]> {
        if self.workers.is_empty() {
            return self.leader.session.run_frame(frame);
        }
        let shared = self.leader.shared;
        if shared.frame.read().unwrap_or_else(PoisonError::into_inner).len() != frame.len() {
            return None;
        }
        shared.frame.write().unwrap_or_else(PoisonError::into_inner).copy_from_slice(frame);
        self.frames += 1;
        shared.begun.0.store(self.frames, Ordering::Release);
        self.workers.iter().for_each(Thread::unpark);
        self.leader.run(self.frames);
        let (graph, plan) = (self.leader.session.model.graph(), self.leader.plan);
        let height = graph.tensors.last().map_or(0, |output| output.h);
        self.leader.fetch((self.frames - 1) * plan.order.len(), graph.ops.len(), &(0..height));
        for board in shared.boards.iter().skip(1) {
            board.finished.wait_for(self.frames);
        }
        Some(self.leader.session.output())
    }

    /// Threads that share a frame, this one included.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.workers.len() + 1
    }
}

/// Ends the workers, however `work` ends.
struct Stop<'t> {
    shared: &'t Shared,
    workers: Vec<Thread>,
}

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.workers.iter().for_each(Thread::unpark);
    }
}

/// Calls `work` with `threads` threads (this one and others, which end with it) that run frames of a model together.
///
/// A model that was not compiled for PCs has rings, and is run by this thread alone. Every thread takes the model's arena, and what its rows
/// take on its board. Threads that have nothing to do sleep after some microseconds.
///
/// # Errors
/// As [`Session::with_model`].
pub fn with_threads<T>(
    model: Model<'_>,
    threads: usize,
    level: Level,
    work: impl FnOnce(&mut Team<'_, '_, '_>) -> T,
) -> Result<T, LoadError> {
    let threads = if host::is_layered(&model.graph()) { threads.clamp(1, 64) as u32 } else { 1 };
    let plan = Plan::new(&model, threads);
    let tensors = model.graph().tensors.len();
    let board = || Board { tensors: (0..tensors).map(|_| RwLock::default()).collect(), ..Board::default() };
    let elements = to_usize(model.input_shape().elements().unwrap_or(0));
    let shared = Shared {
        boards: (0..threads).map(|_| board()).collect(),
        frame: RwLock::new(vec![0; elements]),
        begun: Counter::default(),
        stop: AtomicBool::new(false),
    };
    let lines = to_usize(model.arena_bytes()).div_ceil(size_of::<Line>());
    let mut arenas: Vec<Vec<Line>> = (0..threads).map(|_| vec![Line([0; 64]); lines]).collect();
    let mut members = Vec::new();
    for (thread, arena) in (0..threads).zip(&mut arenas) {
        let session = Session::with_model(model, bytemuck::cast_slice_mut(arena))?.with_level(level);
        members.push(Member { session, plan: &plan, shared: &shared, thread });
    }
    let mut members = members.into_iter();
    let leader = members.next().ok_or(LoadError::Stalls)?;
    Ok(thread::scope(|scope| {
        let mut stop = Stop { shared: &shared, workers: Vec::new() };
        for member in members {
            stop.workers.push(scope.spawn(move || member.serve()).thread().clone());
        }
        let workers = stop.workers.clone();
        work(&mut Team { leader, frames: 0, workers })
    }))
}
