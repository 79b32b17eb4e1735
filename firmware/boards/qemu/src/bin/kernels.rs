//! Holds the core's own inner loops to the portable ones, over random cases, and counts their instructions.
//!
//! Writes text by semihosting; the exit code is 1 when a result differs.
#![no_std]
#![no_main]

#[path = "../clock.rs"]
mod clock;
#[path = "../fault.rs"]
mod fault;
#[path = "../stack.rs"]
mod stack;

use bytemuck::{cast_slice, cast_slice_mut};
use clock::Clock;
use core::hint::black_box;
use defmt_semihosting as _;
use ocelli::kernels::Native;
use ocelli::kernels::isa::{AddParams, Isa, PIXELS, Requantization};
use ocelli::kernels::portable::Portable;
use ocelli::quant::OutputStage;
use semihosting::println;
use semihosting::process::ExitCode;

/// Cases of each method.
const CASES: u32 = 3000;
/// The longest column.
const MAX_K: usize = 640;
/// The most channels.
const MAX_C: usize = 64;
/// The most cells of a window.
const MAX_CELLS: usize = 12;
/// The longest run of values.
const MAX_VALUES: usize = 700;
const MAX_WEIGHTS: usize = MAX_K * 66;
/// Instructions of a measurement, at least.
const MEASURED: u32 = 400_000;

type Lane = <Native as Isa>::Lane;

/// Everything that a case needs.
struct Memory {
    values: [i8; MAX_CELLS * (MAX_C + 4) + MAX_VALUES],
    /// The weights begin at a multiple of 4.
    weights: [u32; MAX_WEIGHTS / 4],
    column: [u64; MAX_K * PIXELS * size_of::<Lane>() / 8],
    portable_column: [i8; MAX_K * PIXELS],
    accumulators: [[[i32; PIXELS]; MAX_C]; 2],
    multipliers: [i32; MAX_C],
    shifts: [i8; MAX_C],
    bias: [i32; MAX_C],
    out: [[i8; MAX_VALUES]; 2],
}

impl Memory {
    const fn new() -> Self {
        Self {
            values: [0; _],
            weights: [0; _],
            column: [0; _],
            portable_column: [0; _],
            accumulators: [[[0; PIXELS]; MAX_C]; 2],
            multipliers: [0; _],
            shifts: [0; _],
            bias: [0; _],
            out: [[0; MAX_VALUES]; 2],
        }
    }
}

/// Where the first difference of a case is.
type Outcome = Result<(), usize>;

#[cortex_m_rt::entry]
fn main() -> ! {
    static mut MEMORY: Memory = Memory::new();
    let mut rng = Rng(0x0CE1_1106_2025_1003);
    let suite: [(&str, fn(&mut Memory, &mut Rng) -> Outcome); 6] = [
        ("gather, fill, accumulate", accumulate),
        ("accumulate, all columns", accumulate_extremes),
        ("requantize", requantize),
        ("depthwise", depthwise),
        ("dot", dot),
        ("add", add),
    ];
    for (name, case) in suite {
        for i in 0..CASES {
            if let Err(index) = case(MEMORY, &mut rng) {
                println!("{name}: case {i} differs at {index}");
                ExitCode::FAILURE.exit_process();
            }
        }
        println!("{name}: {CASES} cases are equal");
    }
    let Some(core) = cortex_m::Peripherals::take() else { ExitCode::FAILURE.exit_process() };
    measure(MEMORY, &mut rng, &Meter::new(Clock::start(core.SYST)));
    fault::check_stack();
    ExitCode::SUCCESS.exit_process()
}

/// A xorshift generator.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// A number below `end`, which is small.
    fn below(&mut self, end: usize) -> usize {
        ((u64::from(self.next()) * end as u64) >> 32) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// A number of `low..=high`.
    fn within(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    /// Any int8, the extremes more often.
    fn value(&mut self) -> i8 {
        match self.below(16) {
            0 => -128,
            1 => 127,
            2 => 0,
            _ => self.next() as i8,
        }
    }

    /// Fills a slice: with anything, with few values, or with extremes alone.
    fn fill(&mut self, values: &mut [i8]) {
        let kind = self.below(8);
        for value in values {
            *value = match kind {
                0 => -128,
                1 => [-128, 127][self.below(2)],
                2 => self.within(-2, 2) as i8,
                _ => self.value(),
            };
        }
    }

    /// An accumulator, `-2^30..2^30`, of any magnitude.
    fn accumulator(&mut self) -> i32 {
        match self.below(8) {
            0 => -(1 << 30) + self.within(0, 3),
            1 => (1 << 30) - 1 - self.within(0, 3),
            2 => self.within(-3, 3),
            // beside a multiple of a power of two: half ways of the second rounding
            3 => (((self.next() as i32) >> 20) << self.below(18)) + self.within(-1, 1),
            _ => (self.next() as i32) >> (2 + self.below(28)),
        }
    }

    fn multiplier(&mut self) -> i32 {
        match self.below(8) {
            0 => 1 << 30,
            1 => i32::MAX,
            2 => (1 << 30) + (1 << 29),
            3 if self.one_in(4) => 0,
            _ => (1 << 30) | (self.next() >> 2) as i32,
        }
    }

    fn stage(&mut self) -> OutputStage {
        let zero_point = if self.one_in(3) { -128 } else { i32::from(self.value()) };
        let (a, b) = (self.value(), self.value());
        match self.below(4) {
            0 => OutputStage { zero_point, act_min: a.min(b), act_max: a.max(b) },
            1 => OutputStage { zero_point, act_min: zero_point as i8, act_max: 127 },
            _ => OutputStage { zero_point, act_min: -128, act_max: 127 },
        }
    }

    fn factors(&mut self, multipliers: &mut [i32], shifts: &mut [i8]) {
        let kind = self.below(4);
        for (multiplier, shift) in multipliers.iter_mut().zip(shifts) {
            *multiplier = self.multiplier();
            *shift = match kind {
                0 => self.within(-31, 30),
                1 => self.within(-24, 2),
                2 if self.one_in(8) => 0,
                _ => self.within(-12, -1),
            } as i8;
        }
    }
}

/// The first place where two slices differ.
fn equal<T: PartialEq>(a: &[T], b: &[T]) -> Outcome {
    a.iter().zip(b).position(|(a, b)| a != b).map_or(Ok(()), Err)
}

/// A random `k`, often short.
fn random_k(rng: &mut Rng) -> usize {
    let most = if rng.one_in(4) { MAX_K / 4 } else { 20 };
    (1 + rng.below(most)) * 4
}

/// Writes random runs into both columns, some over others, until every place is written.
fn random_column(m: &mut Memory, rng: &mut Rng, k: usize) {
    let column: &mut [Lane] = &mut cast_slice_mut(&mut m.column)[..k * PIXELS];
    let portable = &mut m.portable_column[..k * PIXELS];
    rng.fill(&mut m.values);
    for pixel in 0..PIXELS {
        Native::gather(column, 0, pixel, &m.values[pixel..pixel + k]);
        Portable::gather(portable, 0, pixel, &m.values[pixel..pixel + k]);
    }
    for _ in 0..rng.below(10) {
        let (first, pixel, start) = (rng.below(k), rng.below(PIXELS), rng.below(64));
        let count = match rng.below(3) {
            0 => rng.below(k - first + 1),
            _ => rng.below((k - first).min(28) + 1),
        };
        if rng.one_in(3) {
            let value = rng.value();
            Native::fill(column, first, count, pixel, value);
            Portable::fill(portable, first, count, pixel, value);
        } else {
            Native::gather(column, first, pixel, &m.values[start..start + count]);
            Portable::gather(portable, first, pixel, &m.values[start..start + count]);
        }
    }
}

/// Accumulates a column over random weights and compares.
fn compare_accumulators(m: &mut Memory, rng: &mut Rng, k: usize, channels: usize, stride: usize) -> Outcome {
    for acc in m.accumulators[0].as_flattened_mut() {
        *acc = rng.accumulator() / 4;
    }
    m.accumulators[1] = m.accumulators[0];
    let weights = &cast_slice(&m.weights)[..(channels - 1) * stride + k];
    let [fast, portable] = &mut m.accumulators;
    Native::accumulate(&cast_slice(&m.column)[..k * PIXELS], weights, stride, &mut fast[..channels]);
    Portable::accumulate(&m.portable_column[..k * PIXELS], weights, stride, &mut portable[..channels]);
    // all channels: those beyond the last must not change
    equal(fast.as_flattened(), portable.as_flattened())
}

fn accumulate(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let k = random_k(rng);
    random_column(m, rng, k);
    let channels = 1 + rng.below(9);
    let stride = k + if rng.one_in(3) { rng.below(4) * 4 } else { 0 };
    rng.fill(&mut cast_slice_mut(&mut m.weights)[..channels * stride]);
    compare_accumulators(m, rng, k, channels, stride)
}

/// One weight or one value apart from constants: finds a place that is written or read in another's stead.
fn accumulate_extremes(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let k = random_k(rng).min(64);
    let (weight, value) = (rng.value(), rng.value());
    let column: &mut [Lane] = &mut cast_slice_mut(&mut m.column)[..k * PIXELS];
    let portable = &mut m.portable_column[..k * PIXELS];
    for pixel in 0..PIXELS {
        Native::fill(column, 0, k, pixel, value);
        Portable::fill(portable, 0, k, pixel, value);
    }
    let (place, pixel, other) = (rng.below(k), rng.below(PIXELS), [rng.value()]);
    Native::gather(column, place, pixel, &other);
    Portable::gather(portable, place, pixel, &other);
    let channels = 1 + rng.below(3);
    let weights: &mut [i8] = &mut cast_slice_mut(&mut m.weights)[..channels * k];
    weights.fill(weight);
    weights[rng.below(channels * k)] = rng.value();
    compare_accumulators(m, rng, k, channels, k)
}

fn requantize(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let channels = 1 + rng.below(20);
    let (row, pixels) = (channels + rng.below(5), 1 + rng.below(PIXELS));
    let start = rng.below(4);
    rng.factors(&mut m.multipliers[..channels], &mut m.shifts[..channels]);
    for acc in m.accumulators[0][..channels].as_flattened_mut() {
        *acc = rng.accumulator();
    }
    let stage = rng.stage();
    let factors = Requantization { multipliers: &m.multipliers[..channels], shifts: &m.shifts[..channels], stage };
    let places = start..start + (pixels - 1) * row + channels;
    let [fast, portable] = &mut m.out;
    Native::requantize(&m.accumulators[0][..channels], &factors, &mut fast[places.clone()], row, pixels);
    Portable::requantize(&m.accumulators[0][..channels], &factors, &mut portable[places], row, pixels);
    equal(fast, portable)
}

fn depthwise(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let channels = 1 + rng.below(24);
    let stride = channels.next_multiple_of(4) + if rng.one_in(4) { 4 } else { 0 };
    let count = if rng.one_in(2) { 9 } else { 1 + rng.below(MAX_CELLS) };
    rng.fill(&mut m.values);
    rng.fill(&mut cast_slice_mut(&mut m.weights)[..count * stride]);
    rng.factors(&mut m.multipliers[..channels], &mut m.shifts[..channels]);
    for bias in &mut m.bias[..channels] {
        *bias = rng.within(-1000, 1000) << rng.below(17);
    }
    let stage = rng.stage();
    let factors = Requantization { multipliers: &m.multipliers[..channels], shifts: &m.shifts[..channels], stage };
    let mut cells: [&[i8]; MAX_CELLS] = [&[]; MAX_CELLS];
    for cell in &mut cells[..count] {
        let start = rng.below(MAX_VALUES);
        *cell = &m.values[start..start + channels];
    }
    let cells = &cells[..count];
    let weights = &cast_slice(&m.weights)[..count * stride];
    let start = rng.below(4);
    let places = start..start + channels;
    let [fast, portable] = &mut m.out;
    Native::depthwise(cells, weights, stride, &m.bias[..channels], &factors, &mut fast[places.clone()]);
    Portable::depthwise(cells, weights, stride, &m.bias[..channels], &factors, &mut portable[places]);
    equal(fast, portable)
}

fn dot(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let weights: &mut [i8] = &mut cast_slice_mut(&mut m.weights)[..MAX_VALUES];
    rng.fill(&mut m.values);
    rng.fill(weights);
    let (a, b) = (rng.below(8), rng.below(8));
    let most = if rng.one_in(4) { MAX_VALUES - 8 } else { 40 };
    let count = rng.below(most);
    let (a, b) = (&m.values[a..a + count], &weights[b..b + count]);
    equal(&[Native::dot(a, b)], &[Portable::dot(a, b)])
}

fn add(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let params = add_params(rng);
    let most = if rng.one_in(4) { 600 } else { 40 };
    let (start, count) = (rng.below(4), rng.below(most));
    rng.fill(&mut m.out[0]);
    m.out[1] = m.out[0];
    rng.fill(&mut m.values);
    let b = &m.values[rng.below(4)..][..count];
    let [fast, portable] = &mut m.out;
    Native::add(&params, &mut fast[start..start + count], b);
    Portable::add(&params, &mut portable[start..start + count], b);
    equal(fast, portable)
}

/// The numbers of an addition: mostly as TensorFlow Lite makes them, where one input's factor is one half.
fn add_params(rng: &mut Rng) -> AddParams {
    let mut multipliers = [rng.multiplier(), rng.multiplier(), rng.multiplier()];
    let mut shifts = [rng.within(-6, 0), rng.within(-6, 0), rng.within(-22, -16)];
    match rng.below(8) {
        0 => shifts = [rng.within(-31, 0), rng.within(-31, 0), rng.within(-31, 0)],
        kind => {
            let half = rng.below(2);
            (multipliers[half], shifts[half]) = (1 << 30, 0);
            if kind == 1 {
                (multipliers[1 - half], shifts[1 - half]) = (1 << 30, 0);
            }
        }
    }
    let input_zero_points = [i32::from(rng.value()), i32::from(rng.value())];
    AddParams { input_zero_points, multipliers, shifts, stage: rng.stage() }
}

/// Counts instructions.
struct Meter {
    clock: Clock,
    /// Ticks of the calibration's instructions.
    ticks: u32,
}

impl Meter {
    fn new(clock: Clock) -> Self {
        // The counter stands at zero, which is its end, until its first tick.
        let start = clock.now();
        while clock.now() == start {}
        Self { clock, ticks: clock.calibrate() }
    }

    /// Prints the instructions of a call, also by `units`.
    fn print(&self, name: &str, units: u32, unit: &str, mut call: impl FnMut()) {
        let once = self.instructions(1, &mut call).max(1);
        let times = MEASURED / once + 1;
        let hundredths = |n: u64| (n / 100, n % 100);
        let all = u64::from(self.instructions(times, &mut call)) * 100;
        let (call, call_rest) = hundredths(all / u64::from(times));
        let (each, each_rest) = hundredths(all / (u64::from(times) * u64::from(units)));
        println!("{name:32} {call:7}.{call_rest:02} a call  {each:4}.{each_rest:02} {unit}");
    }

    fn instructions(&self, times: u32, call: &mut impl FnMut()) -> u32 {
        let start = self.clock.now();
        for _ in 0..times {
            call();
        }
        let ticks = u64::from(self.clock.now().wrapping_sub(start));
        (ticks * u64::from(clock::CALIBRATION_INSTRUCTIONS) / u64::from(self.ticks.max(1))) as u32
    }
}

/// Counts the instructions of every method on typical sizes.
fn measure(m: &mut Memory, rng: &mut Rng, meter: &Meter) {
    rng.fill(&mut m.values);
    for value in &mut m.values {
        *value = rng.next() as i8;
    }
    for (multiplier, shift) in m.multipliers.iter_mut().zip(&mut m.shifts) {
        (*multiplier, *shift) = ((1 << 30) | (rng.next() >> 2) as i32, rng.within(-11, -5) as i8);
    }
    let values: &[i8] = &m.values;
    let weights: &[i8] = cast_slice(&m.weights);
    let column: &mut [Lane] = cast_slice_mut(&mut m.column);
    for (k, c) in [(144, 16), (192, 64), (576, 64), (8, 16), (16, 32), (28, 16)] {
        meter.print(name("accumulate", k, c).as_str(), (k * c * PIXELS) as u32, "a MAC", || {
            Native::accumulate(&column[..k * PIXELS], black_box(weights), k, &mut m.accumulators[0][..c]);
        });
    }
    for (k, first) in [(48, 0), (9, 0), (9, 9), (8, 0)] {
        let name = name("gather", k, first);
        meter.print(name.as_str(), k as u32, "a value", || {
            Native::gather(column, black_box(first), 1, black_box(&values[..k]));
        });
    }
    meter.print("fill 48", 48, "a value", || Native::fill(column, black_box(0), black_box(48), 1, -1));
    for zero_point in [-128, 3] {
        let stage = OutputStage { zero_point, act_min: -128, act_max: 127 };
        let factors = Requantization { multipliers: &m.multipliers, shifts: &m.shifts, stage };
        let pick = |c: usize| Requantization { multipliers: &m.multipliers[..c], shifts: &m.shifts[..c], ..factors };
        println!("zero point {zero_point}:");
        for acc in m.accumulators[0].as_flattened_mut() {
            *acc >>= 10;
        }
        meter.print("requantize 16 channels", 64, "an output", || {
            Native::requantize(&m.accumulators[0][..16], black_box(&pick(16)), &mut m.out[0], 16, 4);
        });
        for (cells, c) in [(9, 64), (9, 8), (25, 16)] {
            let windows: [&[i8]; 25] = core::array::from_fn(|i| &values[i * 4..i * 4 + c]);
            meter.print(name("depthwise", cells, c).as_str(), (cells * c) as u32, "a MAC with its output", || {
                let (cells, factors) = (black_box(&windows[..cells]), pick(c));
                Native::depthwise(cells, weights, c, &m.bias[..c], &factors, &mut m.out[0][..c]);
            });
        }
        let params = AddParams {
            input_zero_points: [3, -5],
            multipliers: [1 << 30, 1_503_238_553, 1_288_490_188],
            shifts: [0, -1, -18],
            stage,
        };
        meter.print("add 512", 512, "an element", || {
            Native::add(black_box(&params), &mut m.out[0][..512], &values[..512]);
        });
    }
    meter.print("dot 512", 512, "a MAC", || {
        black_box(Native::dot(black_box(&values[..512]), &weights[..512]));
    });
}

/// `name a x b`.
fn name(name: &str, a: usize, b: usize) -> Text {
    let mut text = Text { bytes: [0; 32], len: 0 };
    // A name that is too long is cut.
    let _ = core::fmt::write(&mut text, format_args!("{name} {a} x {b}"));
    text
}

/// A short text.
struct Text {
    bytes: [u8; 32],
    len: usize,
}

impl Text {
    fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl core::fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for &byte in s.as_bytes() {
            *self.bytes.get_mut(self.len).ok_or(core::fmt::Error)? = byte;
            self.len += 1;
        }
        Ok(())
    }
}
