//! What the int8 runtime computes, on whole batches: the integer rules are those of [`ocelli::quant`] and the reference kernels.
//!
//! Tensors are `[n, h, w, c]` in steps from the zero point: `q - zero_point`, whole numbers that an `f32` holds exactly.

use crate::quantize::QuantParams;
use ocelli::ir::{ResolvedWindow, Shape, Window};
use ocelli::kernels::isa::AddParams;
use ocelli::kernels::portable::add_one;
use ocelli::kernels::reference::average_finish;
use ocelli::model::write::OpEntry;
use ocelli::quant::{Multiplier, OutputStage, clamp_i8, multiply_by_quantized_multiplier};

/// The int8 value of a number of steps.
pub fn int8(steps: f32, params: QuantParams) -> i8 {
    (steps as i32 + params.zero_point).clamp(-128, 127) as i8 // exact: both are whole numbers
}

/// Steps of an int8 value.
pub fn steps(value: i8, params: QuantParams) -> f32 {
    (i32::from(value) - params.zero_point) as f32
}

/// Clamp and zero point of an operator's output.
pub fn stage(entry: &OpEntry, output: QuantParams) -> OutputStage {
    OutputStage { zero_point: output.zero_point, act_min: entry.record.act_min, act_max: entry.record.act_max }
}

/// A sum of products, with its bias added: the output in int8, and whether it lay within the clamp.
pub fn requantized(acc: i32, factor: Multiplier, stage: &OutputStage) -> (i8, bool) {
    let value = multiply_by_quantized_multiplier(acc, factor).saturating_add(stage.zero_point);
    let clamped = clamp_i8(value, stage);
    (clamped, i32::from(clamped) == value)
}

/// Sums of two tensors; `b` may have one value a channel.
pub fn add(
    a: &[f32],
    b: &[f32],
    area: usize,
    c: usize,
    [pa, pb]: [QuantParams; 2],
    entry: &OpEntry,
    out: QuantParams,
) -> Vec<i8> {
    let factor = |i: usize| entry.multipliers.get(i).copied().unwrap_or(Multiplier { multiplier: 0, shift: 0 });
    let params = AddParams {
        input_zero_points: [pa.zero_point, pb.zero_point],
        multipliers: std::array::from_fn(|i| factor(i).multiplier),
        shifts: std::array::from_fn(|i| factor(i).shift),
        stage: stage(entry, out),
    };
    let other = broadcast(b, a.len(), area, c);
    a.iter().enumerate().map(|(at, &a)| add_one(&params, int8(a, pa), int8(other(at), pb))).collect()
}

/// Products of two tensors; `b` may have one value a channel.
pub fn mul(a: &[f32], b: &[f32], area: usize, c: usize, entry: &OpEntry, out: QuantParams) -> Vec<i8> {
    let factor = entry.multipliers.first().copied().unwrap_or(Multiplier { multiplier: 0, shift: 0 });
    let (stage, other) = (stage(entry, out), broadcast(b, a.len(), area, c));
    a.iter().enumerate().map(|(at, &a)| requantized((a * other(at)) as i32, factor, &stage).0).collect()
}

/// The value of `b` beside each place of a tensor of `len` values, images of `area`.
fn broadcast(b: &[f32], len: usize, area: usize, c: usize) -> impl Fn(usize) -> f32 + '_ {
    let whole = b.len() == len;
    move |at| if whole { b[at] } else { b[at / area * c + at % c] }
}

/// Means over the whole picture, at another scale.
pub fn global_mean(x: &[f32], area: usize, c: usize, entry: &OpEntry, out: QuantParams) -> Vec<i8> {
    let factor = entry.multipliers.first().copied().unwrap_or(Multiplier { multiplier: 0, shift: 0 });
    let stage = stage(entry, out);
    let mut means = Vec::with_capacity(x.len() / area.max(1) * c);
    for image in x.chunks_exact(area.max(1)) {
        let mut sums = vec![0; c];
        for pixel in image.chunks_exact(c) {
            sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += value as i32);
        }
        means.extend(sums.into_iter().map(|sum| requantized(sum, factor, &stage).0));
    }
    means
}

/// Means over windows, at the same scale.
pub fn average(
    x: &[f32],
    window: &Window,
    resolved: &ResolvedWindow,
    input: Shape,
    params: QuantParams,
    stage: &OutputStage,
) -> Vec<i8> {
    let [h, w, c] = [input.h, input.w, input.c].map(|n| n as usize);
    let [out_h, out_w] = resolved.out.map(|n| n as usize);
    let [kh, kw] = window.kernel.map(usize::from);
    let [sh, sw] = window.stride.map(usize::from);
    let [top, left, ..] = resolved.pads.map(usize::from);
    let (mut means, mut pixel_out) = (Vec::new(), vec![0; c]);
    for image in x.chunks_exact((h * w * c).max(1)) {
        for (y, x) in (0..out_h).flat_map(|y| (0..out_w).map(move |x| (y, x))) {
            let rows = (y * sh).saturating_sub(top)..(y * sh + kh).saturating_sub(top).min(h);
            let columns = (x * sw).saturating_sub(left)..(x * sw + kw).saturating_sub(left).min(w);
            let count = (rows.len() * columns.len()) as i32;
            let mut sums = vec![count * params.zero_point; c];
            for (row, column) in rows.flat_map(|row| columns.clone().map(move |column| (row, column))) {
                let pixel = &image[(row * w + column) * c..][..c];
                sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += value as i32);
            }
            average_finish(&sums, count, false, stage, &mut pixel_out);
            means.extend_from_slice(&pixel_out);
        }
    }
    means
}

/// A table's values.
pub fn lookup(x: &[f32], params: QuantParams, table: &[i8]) -> Vec<i8> {
    let entry = |value: i8| table.get(usize::from((value as u8) ^ 0x80)).copied().unwrap_or(value);
    x.iter().map(|&x| entry(int8(x, params))).collect()
}
