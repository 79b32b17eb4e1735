//! How one output value came to be: the window of input that it saw, the weights, the sum, and what made a byte of it.
//!
//! The arithmetic is written out here once more, step by step and apart from the kernels, because it is what a page shows; tests hold
//! every cell to what the runtime made.

use super::{Inside, Layer, Numbers, Values};
use ocelli::model::records::{flag, kind};
use ocelli::quant::{
    Multiplier, multiply_by_quantized_multiplier, multiply_rounding_once, saturating_rounding_doubling_high_mul,
};

/// One product of a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// Row and column of the input; outside the picture where the window reaches into the padding.
    pub at: [i64; 2],
    /// Channel of the input.
    pub channel: usize,
    /// Input value less its zero point; 0 in the padding.
    pub value: i32,
    /// Weight less its zero point.
    pub weight: i32,
    /// Both as real numbers.
    pub float: Option<[f32; 2]>,
}

/// A sum of products, and how it became a byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum {
    /// The products.
    pub taps: Vec<Tap>,
    /// The bias.
    pub bias: i32,
    /// Products and bias together.
    pub accumulator: i32,
    /// The factor from accumulator to output steps.
    pub factor: Multiplier,
    /// The accumulator, shifted left first where the shift is positive, times the multiplier: the upper half of twice the product,
    /// rounded; `None` where the sum is rounded once only.
    pub high: Option<i32>,
    /// That, shifted right and rounded.
    pub scaled: i32,
    /// With the output's zero point.
    pub shifted: i32,
    /// Clamped to the activation's range.
    pub byte: i8,
    /// Bias, sum and activated sum in float.
    pub float: Option<[f32; 3]>,
}

/// How an output cell of an operator with weights came to be; `None` for other operators, or a cell that there is not.
#[must_use]
pub fn sum(inside: &Inside, layer: usize, [y, x, c]: [usize; 3]) -> Option<Sum> {
    let output = inside.tensors.get(layer + 1)?;
    let layer = inside.layers.get(layer)?;
    let numbers = layer.numbers.as_ref()?;
    let input = inside.tensors.get(*layer.inputs.first()?)?;
    if !holds(output, [y, x, c]) {
        return None;
    }
    let taps = taps(layer, numbers, input, output, [y, x, c])?;
    let bias = *numbers.bias.get(c)?;
    // the file's check bounds every sum: it fits
    let products: i64 = taps.iter().map(|tap| i64::from(tap.value) * i64::from(tap.weight)).sum();
    let accumulator = i32::try_from(products + i64::from(bias)).ok()?;
    let factor = *layer.factors.get(c)?;
    let once = layer.record.kind == kind::DENSE && layer.record.has(flag::ROUND_ONCE);
    let high = (!once).then(|| {
        saturating_rounding_doubling_high_mul(accumulator.wrapping_shl(factor.shift.max(0) as u32), factor.multiplier)
    });
    let scaled = match high {
        Some(high) => half_away(high, (-factor.shift).max(0)),
        None => multiply_rounding_once(accumulator, factor),
    };
    let shifted = scaled.saturating_add(output.params.zero_point);
    let float = float_sum(layer, numbers, &taps, c);
    Some(Sum { taps, bias, accumulator, factor, high, scaled, shifted, byte: clamp(layer, shifted), float })
}

/// The byte that an operator's rule gives for an output cell from its inputs' int8 values; `None` for a softmax, whose table arithmetic
/// is not written out, or a cell that there is not.
#[must_use]
pub fn byte(inside: &Inside, index: usize, cell @ [y, x, c]: [usize; 3]) -> Option<i8> {
    let output = inside.tensors.get(index + 1)?;
    let layer = inside.layers.get(index)?;
    let input = |which: usize| inside.tensors.get(*layer.inputs.get(which)?);
    if !holds(output, cell) {
        return None;
    }
    let zero = output.params.zero_point;
    Some(match layer.record.kind {
        kind::CONV2D | kind::DEPTHWISE_CONV2D | kind::DENSE => sum(inside, index, cell)?.byte,
        kind::MAX_POOL2D | kind::GLOBAL_MAX_POOL => {
            clamp(layer, i32::from(window(layer, input(0)?, cell).into_iter().max()?))
        }
        kind::MIN_POOL2D => clamp(layer, i32::from(window(layer, input(0)?, cell).into_iter().min()?)),
        kind::AVERAGE_POOL2D | kind::GLOBAL_AVERAGE_POOL => {
            let values = window(layer, input(0)?, cell);
            let total: i32 = values.iter().map(|&v| i32::from(v)).sum();
            clamp(layer, mean(total, i32::try_from(values.len()).ok()?, layer.record.has(flag::TIES_UP)))
        }
        kind::MEAN => {
            let (values, source) = (window(layer, input(0)?, cell), input(0)?.params.zero_point);
            let total: i32 = values.iter().map(|&v| i32::from(v) - source).sum();
            clamp(layer, multiply_by_quantized_multiplier(total, *layer.factors.first()?) + zero)
        }
        kind::ADD => {
            let [a, b] = [pair(input(0)?, cell)?, pair(input(1)?, cell)?];
            let scaled = |value: i32, factor: usize| {
                Some(multiply_by_quantized_multiplier(value * (1 << 20), *layer.factors.get(factor)?))
            };
            let total = scaled(a, 0)? + scaled(b, 1)?;
            clamp(layer, multiply_by_quantized_multiplier(total, *layer.factors.get(2)?) + zero)
        }
        kind::MUL => {
            let product = pair(input(0)?, cell)? * pair(input(1)?, cell)?;
            clamp(layer, multiply_by_quantized_multiplier(product, *layer.factors.first()?) + zero)
        }
        kind::LOOKUP => *layer.table.get(usize::try_from(i32::from(at(input(0)?, cell)?) + 128).ok()?)?,
        kind::CONCAT => {
            let first = input(0)?.shape.c as usize;
            if c < first { at(input(0)?, cell)? } else { at(input(1)?, [y, x, c - first])? }
        }
        kind::PAD => {
            let [top, left, ..] = layer.record.pads.map(usize::from);
            let inner = y.checked_sub(top).zip(x.checked_sub(left)).and_then(|(y, x)| at(input(0)?, [y, x, c]));
            inner.unwrap_or(zero as i8)
        }
        kind::RESHAPE => {
            let [w, depth] = [output.shape.w as usize, output.shape.c as usize];
            *input(0)?.int8.get((y * w + x) * depth + c)?
        }
        _ => return None,
    })
}

/// The products of one output cell, kernel row by kernel row.
fn taps(layer: &Layer, numbers: &Numbers, input: &Values, output: &Values, [y, x, c]: [usize; 3]) -> Option<Vec<Tap>> {
    let record = &layer.record;
    let weights = numbers.int8.get(c * numbers.taps..(c + 1) * numbers.taps)?;
    let float = numbers.float.as_ref().and_then(|(kernel, _)| kernel.get(c * numbers.taps..(c + 1) * numbers.taps));
    let mut taps = Vec::with_capacity(numbers.taps);
    for (tap, &weight) in weights.iter().enumerate() {
        let (cell, i) = (tap / numbers.depth, tap % numbers.depth);
        let (at, channel) = if record.kind == kind::DENSE {
            let [w, depth] = [input.shape.w as usize, input.shape.c as usize];
            ([(i / depth / w) as i64, (i / depth % w) as i64], i % depth)
        } else {
            let kw = usize::from(record.kernel[1]);
            let place = |axis: usize, out: usize, cell: usize| {
                (out * usize::from(record.stride[axis]) + cell * usize::from(record.dilation[axis])) as i64
                    - i64::from(record.pads[axis])
            };
            let first = if record.kind == kind::DEPTHWISE_CONV2D {
                c / usize::from(record.groups.max(1))
            } else {
                c / (output.shape.c as usize / usize::from(record.groups.max(1))).max(1) * numbers.depth
            };
            ([place(0, y, cell / kw), place(1, x, cell % kw)], first + i)
        };
        let index = index_of(input, at, channel);
        let value =
            index.and_then(|index| input.int8.get(index)).map_or(0, |&v| i32::from(v) - input.params.zero_point);
        let real = match (float, &input.float) {
            (Some(weights), Some(values)) => {
                Some([index.and_then(|index| values.get(index)).copied().unwrap_or(0.0), *weights.get(tap)?])
            }
            _ => None,
        };
        taps.push(Tap { at, channel, value, weight: i32::from(weight) - numbers.weight_zero_point, float: real });
    }
    Some(taps)
}

fn float_sum(layer: &Layer, numbers: &Numbers, taps: &[Tap], channel: usize) -> Option<[f32; 3]> {
    let bias = *numbers.float.as_ref()?.1.get(channel)?;
    let products: Option<f64> =
        taps.iter().map(|tap| tap.float.map(|[value, weight]| f64::from(value) * f64::from(weight))).sum();
    let total = (products? + f64::from(bias)) as f32;
    let (low, high) = super::inside::bounds(layer);
    Some([bias, total, total.clamp(low, high)])
}

/// The values of a pool's window that lie inside the picture, for one channel; of a global pool the whole picture.
fn window(layer: &Layer, input: &Values, [y, x, c]: [usize; 3]) -> Vec<i8> {
    let record = &layer.record;
    let whole = matches!(record.kind, kind::GLOBAL_MAX_POOL | kind::GLOBAL_AVERAGE_POOL | kind::MEAN);
    let range = |axis: usize, out: usize, size: u32| {
        if whole {
            return 0..i64::from(size);
        }
        let first = (out * usize::from(record.stride[axis])) as i64 - i64::from(record.pads[axis]);
        first..first + i64::from(record.kernel[axis])
    };
    let columns = range(1, x, input.shape.w);
    let places = range(0, y, input.shape.h).flat_map(|row| columns.clone().map(move |column| [row, column]));
    places.filter_map(|place| input.int8.get(index_of(input, place, c)?).copied()).collect()
}

/// `round(total / count)`, ties away from zero, or up.
fn mean(total: i32, count: i32, ties_up: bool) -> i32 {
    let quotient = f64::from(total) / f64::from(count); // both below 2^31: exact enough to tell a tie
    (if ties_up { (quotient + 0.5).floor() } else { quotient.round() }) as i32
}

/// `round(value / 2^bits)`, ties away from zero.
fn half_away(value: i32, bits: i32) -> i32 {
    let (magnitude, half) = (i64::from(value).abs(), (1_i64 << bits) >> 1);
    let rounded = (magnitude + half) >> bits;
    (if value < 0 { -rounded } else { rounded }) as i32 // no larger than |value|, but for 2^31, which no factor reaches
}

fn clamp(layer: &Layer, value: i32) -> i8 {
    value.max(i32::from(layer.record.act_min)).min(i32::from(layer.record.act_max)) as i8
}

fn holds(values: &Values, [y, x, c]: [usize; 3]) -> bool {
    let shape = values.shape;
    [(y, shape.h), (x, shape.w), (c, shape.c)].into_iter().all(|(at, size)| at < size as usize)
}

fn index_of(values: &Values, [y, x]: [i64; 2], channel: usize) -> Option<usize> {
    let shape = values.shape;
    let y = usize::try_from(y).ok().filter(|&y| y < shape.h as usize)?;
    let x = usize::try_from(x).ok().filter(|&x| x < shape.w as usize)?;
    Some((y * shape.w as usize + x) * shape.c as usize + channel)
}

fn at(values: &Values, [y, x, c]: [usize; 3]) -> Option<i8> {
    values.int8.get(index_of(values, [y as i64, x as i64], c)?).copied()
}

/// A value less its zero point; of a `1x1xc` tensor the one for the channel.
fn pair(values: &Values, [y, x, c]: [usize; 3]) -> Option<i32> {
    let place = if (values.shape.h, values.shape.w) == (1, 1) { [0, 0, c] } else { [y, x, c] };
    Some(i32::from(at(values, place)?) - values.params.zero_point)
}
