//! One random case of each method: the core's own result against the portable one.

use crate::random::Rng;
use crate::{Lane, MAX_CELLS, MAX_K, MAX_VALUES, Memory};
use bytemuck::{cast_slice, cast_slice_mut};
use ocelli::kernels::Native;
use ocelli::kernels::isa::{Isa, PIXELS, Requantization};
use ocelli::kernels::portable::Portable;

/// Where the first difference of a case is.
pub type Outcome = Result<(), usize>;
/// Makes and runs a case.
pub type Case = fn(&mut Memory, &mut Rng) -> Outcome;

/// The first place where two slices differ.
fn equal<T: PartialEq>(a: &[T], b: &[T]) -> Outcome {
    a.iter().zip(b).position(|(a, b)| a != b).map_or(Ok(()), Err)
}

/// A random `k`, often short.
fn random_k(rng: &mut Rng) -> usize {
    let most = if rng.one_in(4) { MAX_K / 4 } else { 20 };
    (1 + rng.below(most)) * 4
}

/// Writes random runs into both columns, some over others, until every place is written. The core's own begins at lane `start`.
fn random_column(m: &mut Memory, rng: &mut Rng, k: usize, start: usize) {
    let column: &mut [Lane] = &mut cast_slice_mut(&mut m.column)[start..start + k * PIXELS];
    let portable = &mut m.portable_column[..k * PIXELS];
    rng.fill(&mut m.values);
    for pixel in 0..PIXELS {
        Native::gather(column, 0, pixel, &m.values[pixel..pixel + k]);
        Portable::gather(portable, 0, pixel, &m.values[pixel..pixel + k]);
    }
    for _ in 0..rng.below(10) {
        if rng.one_in(2) {
            random_tile(&m.values, rng, k, column, portable);
            continue;
        }
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

/// Gathers a tile into both columns; where pixels are missing, all of them are then written.
fn random_tile(values: &[i8], rng: &mut Rng, k: usize, column: &mut [Lane], portable: &mut [i8]) {
    let first = rng.below(k / 4) * 4;
    let most = if rng.one_in(4) { k - first } else { (k - first).min(32) };
    let len = (1 + rng.below(most / 4)) * 4;
    let (pixels, start) = (1 + rng.below(PIXELS), rng.below(8));
    let step = rng.below((values.len() - start - len).min(200) / (PIXELS - 1));
    // not a value more than there must be
    let source = &values[start..start + (pixels - 1) * step + len];
    Native::gather_tile(column, first, source, step, len, pixels);
    Portable::gather_tile(portable, first, source, step, len, pixels);
    for pixel in pixels..PIXELS {
        Native::gather(column, first, pixel, &values[..len]);
        Portable::gather(portable, first, pixel, &values[..len]);
    }
}

/// The shape of the weights.
struct Weights {
    k: usize,
    channels: usize,
    stride: usize,
}

/// Accumulates the column from lane `start` on, and compares.
fn compare_accumulators(m: &mut Memory, rng: &mut Rng, start: usize, shape: Weights) -> Outcome {
    let Weights { k, channels, stride } = shape;
    for acc in m.accumulators[0].as_flattened_mut() {
        *acc = rng.accumulator() / 4;
    }
    m.accumulators[1] = m.accumulators[0];
    let weights = &cast_slice(&m.weights)[..(channels - 1) * stride + k];
    let [fast, portable] = &mut m.accumulators;
    let column = &cast_slice(&m.column)[start..start + k * PIXELS];
    if rng.one_in(3) {
        Native::accumulate_two(column, weights, stride, &mut fast[..channels]);
        Portable::accumulate(&m.portable_column[..k * PIXELS], weights, stride, &mut portable[..channels]);
        for (fast, portable) in fast[..channels].iter_mut().zip(portable.iter()) {
            fast[2..].copy_from_slice(&portable[2..]); // any values
        }
        return equal(m.accumulators[0].as_flattened(), m.accumulators[1].as_flattened());
    }
    Native::accumulate(column, weights, stride, &mut fast[..channels]);
    Portable::accumulate(&m.portable_column[..k * PIXELS], weights, stride, &mut portable[..channels]);
    // all channels: those beyond the last must not change
    equal(fast.as_flattened(), portable.as_flattened())
}

/// Whether the core's own column may start at a lane that begins no word: it is taken as empty otherwise.
fn takes_any_alignment(m: &mut Memory) -> bool {
    m.column.fill(0);
    Native::fill(&mut cast_slice_mut(&mut m.column)[1..1 + 4 * PIXELS], 0, 4, 0, 1);
    m.column.iter().any(|&word| word != 0)
}

/// [`Isa::accumulate`] of a column that was gathered and filled at random.
pub fn accumulate(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let k = random_k(rng);
    // for some cores a lane's own alignment must do
    let start = usize::from(rng.one_in(8) && takes_any_alignment(m));
    random_column(m, rng, k, start);
    let channels = 1 + rng.below(9);
    let stride = k + if rng.one_in(3) { rng.below(4) * 4 } else { 0 };
    rng.fill(&mut cast_slice_mut(&mut m.weights)[..channels * stride]);
    compare_accumulators(m, rng, start, Weights { k, channels, stride })
}

/// One weight or one value apart from constants: finds a place that is written or read in another's stead.
pub fn accumulate_one(m: &mut Memory, rng: &mut Rng) -> Outcome {
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
    compare_accumulators(m, rng, 0, Weights { k, channels, stride: k })
}

/// [`Isa::requantize`].
pub fn requantize(m: &mut Memory, rng: &mut Rng) -> Outcome {
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

/// [`Isa::depthwise`].
pub fn depthwise(m: &mut Memory, rng: &mut Rng) -> Outcome {
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

/// [`Isa::depthwise_run`].
pub fn depthwise_run(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let channels = if rng.one_in(4) { 1 + rng.below(24) } else { 4 * (1 + rng.below(6)) };
    let stride = channels.next_multiple_of(4) + if rng.one_in(4) { 4 } else { 0 };
    let count = if rng.one_in(4) { 1 + rng.below(MAX_CELLS) } else { 9 };
    let (pixels, step) = (1 + rng.below(10), channels * (1 + rng.below(2)));
    rng.fill(&mut m.values);
    rng.fill(&mut cast_slice_mut(&mut m.weights)[..count * stride]);
    rng.factors(&mut m.multipliers[..channels], &mut m.shifts[..channels]);
    if rng.one_in(2) {
        for shift in &mut m.shifts[..channels] {
            *shift = rng.within(-22, -1) as i8; // what the fast loops know
        }
    }
    for bias in &mut m.bias[..channels] {
        *bias = rng.within(-1000, 1000) << rng.below(17);
    }
    let stage = rng.stage();
    let factors = Requantization { multipliers: &m.multipliers[..channels], shifts: &m.shifts[..channels], stage };
    let mut cells: [&[i8]; MAX_CELLS] = [&[]; MAX_CELLS];
    let len = (pixels - 1) * step + channels;
    for cell in &mut cells[..count] {
        let start = rng.below(m.values.len() - len);
        *cell = &m.values[start..start + len];
    }
    let mut portable_cells = cells;
    let weights = &cast_slice(&m.weights)[..count * stride];
    let start = rng.below(4);
    let places = start..start + pixels * channels;
    let bias = &m.bias[..channels];
    let [fast, portable] = &mut m.out;
    Native::depthwise_run(&mut cells[..count], step, weights, stride, bias, &factors, &mut fast[places.clone()]);
    let cells = &mut portable_cells[..count];
    Portable::depthwise_run(cells, step, weights, stride, bias, &factors, &mut portable[places]);
    equal(fast, portable)
}

/// [`Isa::dot`].
pub fn dot(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let weights: &mut [i8] = &mut cast_slice_mut(&mut m.weights)[..MAX_VALUES];
    rng.fill(&mut m.values);
    rng.fill(weights);
    let (a, b) = (rng.below(8), rng.below(8));
    let most = if rng.one_in(4) { MAX_VALUES - 8 } else { 40 };
    let count = rng.below(most);
    let (a, b) = (&m.values[a..a + count], &weights[b..b + count]);
    equal(&[Native::dot(a, b)], &[Portable::dot(a, b)])
}

/// [`Isa::dot_nibbles`].
pub fn dot_nibbles(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let packed: &mut [i8] = &mut cast_slice_mut(&mut m.weights)[..MAX_VALUES];
    rng.fill(&mut m.values);
    rng.fill(packed);
    let (a, b) = (rng.below(8), rng.below(8));
    let most = if rng.one_in(4) { MAX_VALUES - 8 } else { 80 };
    let count = rng.below(most);
    // not a byte more than there must be
    let (values, packed) = (&m.values[a..a + count], &packed[b..b + count / 8 * 4]);
    equal(&[Native::dot_nibbles(values, packed)], &[Portable::dot_nibbles(values, packed)])
}

/// [`Isa::add`].
pub fn add(m: &mut Memory, rng: &mut Rng) -> Outcome {
    let params = rng.add_params();
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
