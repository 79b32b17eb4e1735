//! Times the block kernels on the layers of MLPerf Tiny's ResNet-8 (CIFAR-10), row by row with random data, at every level of this CPU.
//!
//! `cargo bench -p ocelli --features std --bench blocked [-- LEVEL]`: microseconds, the least of many runs, one thread.

use std::hint::black_box;
use std::time::Instant;

use ocelli::kernels::blocked::{
    Blocked, InstructionSet, Layout, Level, add_row, conv2d_row, conv2d_scratch_bytes, dense, depthwise_row,
    depthwise_scratch_bytes, layout,
};
use ocelli::kernels::isa::{AddParams, Requantization};
use ocelli::kernels::{Rows, WindowParams};
use ocelli::quant::OutputStage;

/// Runs of each layer; the least time counts.
const RUNS: usize = 300;
const STAGE: OutputStage = OutputStage { zero_point: -128, act_min: -128, act_max: 127 };
const ADD: AddParams = AddParams {
    input_zero_points: [-128, -3],
    multipliers: [1_234_567_890, 1 << 30, 1_700_000_000],
    shifts: [-1, 0, -18],
    stage: STAGE,
};

/// What a layer computes.
#[derive(Clone, Copy)]
enum Kind {
    Conv,
    Depthwise,
    Add,
    Dense,
}

/// `size`: rows and columns of the input; SAME padding.
#[derive(Clone, Copy)]
struct Layer {
    name: &'static str,
    kind: Kind,
    size: usize,
    c_in: usize,
    c_out: usize,
    kernel: usize,
    stride: usize,
    /// How often ResNet-8 has it; none belongs to another network.
    times: usize,
}

const fn layer(name: &'static str, kind: Kind, shape: [usize; 3], kernel: [usize; 2], times: usize) -> Layer {
    let [size, c_in, c_out] = shape;
    Layer { name, kind, size, c_in, c_out, kernel: kernel[0], stride: kernel[1], times }
}

const LAYERS: [Layer; 17] = [
    layer("conv 3x3 32x32x3 -> 16", Kind::Conv, [32, 3, 16], [3, 1], 1),
    layer("conv 3x3 32x32x16 -> 16", Kind::Conv, [32, 16, 16], [3, 1], 2),
    layer("conv 3x3 s2 32x32x16 -> 32", Kind::Conv, [32, 16, 32], [3, 2], 1),
    layer("conv 3x3 16x16x32 -> 32", Kind::Conv, [16, 32, 32], [3, 1], 1),
    layer("conv 1x1 s2 32x32x16 -> 32", Kind::Conv, [32, 16, 32], [1, 2], 1),
    layer("conv 3x3 s2 16x16x32 -> 64", Kind::Conv, [16, 32, 64], [3, 2], 1),
    layer("conv 3x3 8x8x64 -> 64", Kind::Conv, [8, 64, 64], [3, 1], 1),
    layer("conv 1x1 s2 16x16x32 -> 64", Kind::Conv, [16, 32, 64], [1, 2], 1),
    layer("add 32x32x16", Kind::Add, [32, 16, 16], [1, 1], 1),
    layer("add 16x16x32", Kind::Add, [16, 32, 32], [1, 1], 1),
    layer("add 8x8x64", Kind::Add, [8, 64, 64], [1, 1], 1),
    layer("dense 64 -> 10", Kind::Dense, [1, 64, 10], [1, 1], 1),
    layer("depthwise 3x3 48x48x8", Kind::Depthwise, [48, 8, 8], [3, 1], 0),
    layer("depthwise 3x3 s2 48x48x16", Kind::Depthwise, [48, 16, 16], [3, 2], 0),
    layer("depthwise 3x3 6x6x128", Kind::Depthwise, [6, 128, 128], [3, 1], 0),
    layer("conv 1x1 24x24x16 -> 32", Kind::Conv, [24, 16, 32], [1, 1], 0),
    layer("conv 1x1 6x6x128 -> 128", Kind::Conv, [6, 128, 128], [1, 1], 0),
];

fn noise(count: usize) -> Vec<i8> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as i8
    };
    (0..count).map(|_| next().max(-127)).collect()
}

/// The least time of a layer, in microseconds.
fn time(level: Level, l: &Layer) -> f64 {
    let pad_total = l.kernel.saturating_sub(l.stride);
    let p = WindowParams {
        kernel: [l.kernel; 2],
        stride: [l.stride; 2],
        dilation: [1, 1],
        pad: [pad_total / 2; 2],
        width: l.size,
        c_in: l.c_in,
        c_out: l.c_out,
        groups: 1,
        input_zero_point: 0,
        weight_zero_point: 0,
        output: STAGE,
    };
    let size = l.size / l.stride;
    let input = noise(l.size * l.size * l.c_in);
    let ohwi = noise(l.kernel * l.kernel * l.c_in * l.c_out);
    let (weights, sums) = match l.kind {
        Kind::Depthwise => (layout::pack_depthwise(&ohwi, l.c_in), layout::depthwise_sums(&ohwi, l.c_in)),
        _ => (layout::pack(&ohwi, &Layout::new(l.c_out, p.kernel, l.c_in, 1)), layout::sums(&ohwi, l.c_out)),
    };
    let tables = (vec![100_i32; l.c_out], vec![1_500_000_000_i32; l.c_out], vec![-9_i8; l.c_out]);
    let factors = Requantization { multipliers: &tables.1, shifts: &tables.2, stage: STAGE };
    let constants = Blocked { weights: &weights, bias: &tables.0, sums: &sums, is_symmetric: true, factors };
    let mut out = vec![0_i8; size * size * l.c_out];
    let bytes = conv2d_scratch_bytes(&p, size).max(depthwise_scratch_bytes(&p, size));
    let mut scratch = vec![0_u8; bytes];
    let height = u32::try_from(l.size).unwrap_or(u32::MAX);
    let rows = Rows::new(&input, l.size * l.c_in, height, height);
    let mut run = || {
        for (y, out) in (0..height).zip(out.chunks_exact_mut(size * l.c_out)) {
            match l.kind {
                Kind::Conv => conv2d_row(level, &p, -128, rows, y, &constants, &mut scratch, out),
                Kind::Depthwise => depthwise_row(level, &p, -128, rows, y, &constants, &mut scratch, out),
                Kind::Add => add_row(level, &ADD, out, rows.get(y).unwrap_or_default()),
                Kind::Dense => dense(level, &input, &constants, &mut scratch, out),
            }
        }
        black_box(&out);
    };
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run();
        least = least.min(start.elapsed().as_secs_f64() * 1e6);
    }
    least
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let levels: Vec<Level> = InstructionSet::ALL
        .into_iter()
        .filter(|set| wanted.as_deref().is_none_or(|name| name == set.name()))
        .filter_map(Level::new)
        .collect();
    print!("{:28}", "microseconds");
    levels.iter().for_each(|level| print!("{:>14}", level.instruction_set().name()));
    println!();
    let mut totals = vec![0.0; levels.len()];
    for l in &LAYERS {
        print!("{:28}", l.name);
        for (level, total) in levels.iter().zip(&mut totals) {
            let least = time(*level, l);
            *total += least * l.times as f64;
            print!("{least:14.2}");
        }
        println!("{}", if l.times == 0 { "  (not in the sum)" } else { "" });
    }
    print!("{:28}", "ResNet-8");
    totals.iter().for_each(|total| print!("{total:14.2}"));
    println!();
}
