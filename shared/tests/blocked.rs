//! The block kernels, at every level that this CPU has, against plain loops over unpacked weights.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli::kernels::blocked::{
    Blocked, InstructionSet, Layout, Level, add_row, conv2d_row, conv2d_rows, conv2d_rows_scratch_bytes,
    conv2d_scratch_bytes, dense, dense_scratch_bytes, depthwise_row, depthwise_scratch_bytes, dot_nibbles, layout,
};
use ocelli::kernels::isa::{AddParams, Requantization};
use ocelli::kernels::portable::add_one;
use ocelli::kernels::reference::{dense_accumulate_nibbles, nibble};
use ocelli::kernels::{Rows, WindowParams};
use ocelli::model::Constants;
use ocelli::model::records::packed_nibbles;
use ocelli::quant::{Multiplier, OutputStage, requantize};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Numbers that look random, the same for the same seed (an xorshift generator).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// `count` values; when `extreme`, only the outermost of int8.
    fn bytes(&mut self, count: usize, extreme: bool, lowest: i8) -> Vec<i8> {
        let pick = |bits: u64| match (extreme, bits & 1) {
            (false, _) => ((bits >> 8) as i8).max(lowest),
            (true, 0) => lowest,
            (true, _) => i8::MAX,
        };
        (0..count).map(|_| pick(self.next() >> 16)).collect()
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

/// Every level that this CPU has.
fn levels() -> Vec<Level> {
    InstructionSet::ALL.into_iter().filter_map(Level::new).collect()
}

#[test]
fn the_instructions_that_must_be_tested_are_there() {
    // `cargo xtask ci` says so where it chooses the CPU
    let Ok(required) = std::env::var("OCELLI_REQUIRE_LEVEL") else { return };
    let names: Vec<&str> = levels().iter().map(|level| level.instruction_set().name()).collect();
    assert!(names.contains(&required.as_str()), "{required} is not among {names:?}");
}

/// The tables of a layer.
#[derive(Debug)]
struct Tables {
    bias: Vec<i32>,
    multipliers: Vec<i32>,
    shifts: Vec<i8>,
    stage: OutputStage,
}

impl Tables {
    /// Factors that bring sums of `terms` products into int8, some of them zero, enlarging or far too small.
    fn new(noise: &mut Noise, channels: usize, terms: usize) -> Self {
        let scale = 14_i64 + i64::from(usize::BITS - terms.leading_zeros()) / 2;
        let shift = |noise: &mut Noise| match noise.below(16) {
            0 => noise.below(31) as i8,
            1 => -(noise.below(32) as i8),
            2 => 0,
            _ => (-scale + 6 + noise.below(3) as i64).max(-31) as i8,
        };
        let multiplier = |noise: &mut Noise| match noise.below(12) {
            0 => 0,
            1 => 1 << 30,
            2 => i32::MAX,
            _ => (1 << 30) + noise.below(1 << 30) as i32,
        };
        let (a, b) = (noise.next() as i8, noise.next() as i8);
        Self {
            bias: (0..channels).map(|_| noise.below(1 << 16) as i32 - (1 << 15)).collect(),
            multipliers: (0..channels).map(|_| multiplier(noise)).collect(),
            shifts: (0..channels).map(|_| shift(noise)).collect(),
            stage: OutputStage {
                zero_point: i32::from(noise.next() as i8),
                act_min: if a < b { a } else { -128 },
                act_max: if a < b { b } else { 127 },
            },
        }
    }

    fn requantize(&self, channel: usize, acc: i64) -> i8 {
        let factor = Multiplier { multiplier: self.multipliers[channel], shift: i32::from(self.shifts[channel]) };
        requantize(i32::try_from(acc).unwrap(), factor, &self.stage)
    }

    fn factors(&self) -> Requantization<'_> {
        Requantization { multipliers: &self.multipliers, shifts: &self.shifts, stage: self.stage }
    }
}

/// A convolution's input and geometry.
#[derive(Debug)]
struct Case {
    p: WindowParams,
    height: usize,
    out: [usize; 2],
    zero: i8,
    input: Vec<i8>,
    extreme: bool,
    lowest: i8,
    noise: u64,
}

impl Case {
    /// The input where kernel cell `(ky, kx)` of output pixel `(y, x)` lies, the zero point outside.
    fn value(&self, [y, x]: [usize; 2], [ky, kx]: [usize; 2], c: usize) -> i8 {
        let p = &self.p;
        let row = (y * p.stride[0] + ky * p.dilation[0]).checked_sub(p.pad[0]).filter(|&row| row < self.height);
        let column = (x * p.stride[1] + kx * p.dilation[1]).checked_sub(p.pad[1]).filter(|&column| column < p.width);
        match (row, column) {
            (Some(row), Some(column)) => self.input[(row * p.width + column) * p.c_in + c],
            _ => self.zero,
        }
    }

    fn rows(&self) -> Rows<'_> {
        let height = u32::try_from(self.height).unwrap();
        Rows::new(&self.input, self.p.width * self.p.c_in, height, height)
    }

    /// Runs a row kernel over all rows, from a ring that is as tall as the image.
    fn run(&self, scratch_bytes: usize, row: impl Fn(Rows<'_>, u32, &mut [u8], &mut [i8])) -> Vec<i8> {
        let [h, w] = self.out;
        let mut scratch = vec![0xa5; scratch_bytes];
        let mut out = vec![0; h * w * self.p.c_out];
        let rows = self.rows();
        for (y, out) in out.chunks_exact_mut(w * self.p.c_out).enumerate() {
            row(rows, u32::try_from(y).unwrap(), &mut scratch, out);
        }
        out
    }
}

/// Convolutions of every shape; `a depthwise one has as many outputs as inputs.
fn cases(is_depthwise: bool, widest: usize) -> impl Strategy<Value = Case> {
    let window = (1..5_usize, 1..5_usize, 1..4_usize, 1..4_usize, 1..4_usize, 1..4_usize);
    let image = (1..8_usize, 1..widest, 1..41_usize, 1..41_usize, 0..6_usize, 0..6_usize, 0..6_usize, 0..6_usize);
    (window, image, any::<i8>(), any::<u64>(), 0..4_u8).prop_filter_map(
        "the window must fit",
        move |((kh, kw, sh, sw, dh, dw), (h, w, c_in, c_out, top, left, bottom, right), zero, seed, kind)| {
            let out = |n: usize, pad: usize, k: usize, d: usize, s: usize| {
                Some((n + pad).checked_sub((k - 1) * d + 1)? / s + 1)
            };
            let out = [out(h, top + bottom, kh, dh, sh)?, out(w, left + right, kw, dw, sw)?];
            let mut noise = Noise(seed | 1);
            let extreme = kind == 0;
            Some(Case {
                p: WindowParams {
                    kernel: [kh, kw],
                    stride: [sh, sw],
                    dilation: [dh, dw],
                    pad: [top, left],
                    width: w,
                    c_in,
                    c_out: if is_depthwise { c_in } else { c_out },
                    groups: 1,
                    input_zero_point: 0,
                    weight_zero_point: 0,
                    output: OutputStage { zero_point: 0, act_min: -128, act_max: 127 },
                },
                height: h,
                out,
                zero,
                input: noise.bytes(h * w * c_in, extreme, -128),
                extreme,
                lowest: if kind % 2 == 0 { -128 } else { -127 },
                noise: noise.next(),
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]
    #[test]
    fn convolution_is_the_plain_sum_at_every_level(mut case in cases(false, 40)) {
        let ([kh, kw], c_in, c_out) = (case.p.kernel, case.p.c_in, case.p.c_out);
        let mut noise = Noise(case.noise | 1);
        let terms = kh * kw * c_in;
        let weights = noise.bytes(c_out * terms, case.extreme, case.lowest);
        let tables = Tables::new(&mut noise, c_out, terms);
        case.p.output = tables.stage;

        let [h, w] = case.out;
        let mut expected = Vec::new();
        for (y, x, o) in (0..h * w * c_out).map(|i| (i / c_out / w, i / c_out % w, i % c_out)) {
            let sum: i64 = (0..terms).map(|i| {
                let (ky, kx, c) = (i / c_in / kw, i / c_in % kw, i % c_in);
                i64::from(case.value([y, x], [ky, kx], c)) * i64::from(weights[o * terms + i])
            }).sum();
            expected.push(tables.requantize(o, sum + i64::from(tables.bias[o])));
        }

        let packed = layout::pack(&weights, &Layout::new(c_out, [kh, kw], c_in, case.p.dilation[1]));
        let constants = Blocked {
            weights: &packed,
            bias: &tables.bias,
            sums: &layout::sums(&weights, c_out),
            is_symmetric: case.lowest == -127,
            factors: tables.factors(),
        };
        for level in levels() {
            let bytes = conv2d_scratch_bytes(&case.p, w);
            let got = case.run(bytes, |rows, y, scratch, out| {
                conv2d_row(level, &case.p, case.zero, rows, y, &constants, scratch, out);
            });
            prop_assert!(got == expected, "{level:?}\n{got:?}\n{expected:?}");

            // all rows at once, and from the second on
            for first in 0..h.min(2) {
                let mut scratch = vec![0xa5; conv2d_rows_scratch_bytes(&case.p, w, h - first)];
                let mut got = vec![0; (h - first) * w * c_out];
                let rows = case.rows();
                let y = u32::try_from(first).unwrap();
                conv2d_rows(level, &case.p, case.zero, rows, y, &constants, &mut scratch, &mut got, w);
                prop_assert!(got == expected[first * w * c_out..], "{level:?}, rows {first} and following");
            }
        }
    }

    #[test]
    fn depthwise_is_the_plain_sum_at_every_level(mut case in cases(true, 24)) {
        let ([kh, kw], c) = (case.p.kernel, case.p.c_in);
        let mut noise = Noise(case.noise | 1);
        let weights = noise.bytes(kh * kw * c, case.extreme, case.lowest);
        let tables = Tables::new(&mut noise, c, kh * kw);
        case.p.output = tables.stage;

        let [h, w] = case.out;
        let mut expected = Vec::new();
        for (y, x, o) in (0..h * w * c).map(|i| (i / c / w, i / c % w, i % c)) {
            let sum: i64 = (0..kh * kw).map(|i| {
                i64::from(case.value([y, x], [i / kw, i % kw], o)) * i64::from(weights[i * c + o])
            }).sum();
            expected.push(tables.requantize(o, sum + i64::from(tables.bias[o])));
        }

        let packed = layout::pack_depthwise(&weights, c);
        let constants = Blocked {
            weights: &packed,
            bias: &tables.bias,
            sums: &layout::depthwise_sums(&weights, c),
            is_symmetric: case.lowest == -127,
            factors: tables.factors(),
        };
        for level in levels() {
            let bytes = depthwise_scratch_bytes(&case.p, w);
            let got = case.run(bytes, |rows, y, scratch, out| {
                depthwise_row(level, &case.p, case.zero, rows, y, &constants, scratch, out);
            });
            prop_assert!(got == expected, "{level:?}\n{got:?}\n{expected:?}");
        }
    }

    #[test]
    fn dense_is_the_plain_sum_at_every_level(
        inputs in 1..700_usize, outputs in 1..100_usize, seed in any::<u64>(), extreme in any::<bool>(), lowest in -128..-126_i8,
    ) {
        let mut noise = Noise(seed | 1);
        let input = noise.bytes(inputs, extreme, -128);
        let weights = noise.bytes(inputs * outputs, extreme, lowest);
        let tables = Tables::new(&mut noise, outputs, inputs);
        let expected: Vec<i8> = (0..outputs).map(|o| {
            let sum: i64 = (0..inputs).map(|i| i64::from(input[i]) * i64::from(weights[o * inputs + i])).sum();
            tables.requantize(o, sum + i64::from(tables.bias[o]))
        }).collect();
        let packed = layout::pack(&weights, &Layout::new(outputs, [1, 1], inputs, 1));
        let constants = Blocked {
            weights: &packed,
            bias: &tables.bias,
            sums: &layout::sums(&weights, outputs),
            is_symmetric: lowest == -127,
            factors: tables.factors(),
        };
        for level in levels() {
            let mut out = vec![0; outputs];
            dense(level, &input, &constants, &mut vec![0xa5; dense_scratch_bytes(inputs)], &mut out);
            prop_assert!(out == expected, "{level:?}\n{out:?}\n{expected:?}");
        }
    }

    #[test]
    fn dense_of_four_bits_is_the_plain_sum_at_every_level(
        row_len in 1..300_usize, rows in 1..5_usize, outputs in 1..20_usize, seed in any::<u64>(), extreme in any::<bool>(),
    ) {
        let mut noise = Noise(seed | 1);
        let inputs = row_len * rows;
        let input = noise.bytes(inputs, extreme, -128);
        // every byte is a pair of weights: with only the outermost, all of 0 and 15
        let packed: Vec<i8> = noise.bytes(outputs * packed_nibbles(inputs), false, -128).into_iter()
            .map(|pair| if extreme { [0, -1, 0x0f, -16][usize::from(pair.cast_unsigned() & 3)] } else { pair }).collect();
        let bias: Vec<i32> = (0..outputs).map(|_| noise.below(1 << 16) as i32 - (1 << 15)).collect();
        let constants = Constants { weights: &packed, bias: &bias, ..Constants::EMPTY };
        let expected: Vec<i32> = packed.chunks_exact(packed_nibbles(inputs)).zip(&bias).map(|(weights, bias)| {
            bias + input.iter().enumerate().map(|(i, &x)| i32::from(x) * (nibble(weights, i) - 8)).sum::<i32>()
        }).collect();
        for level in levels() {
            let mut sums = vec![0; outputs];
            for (y, row) in input.chunks_exact(row_len).enumerate() {
                let dot = |values: &[i8], packed: &[i8]| dot_nibbles(level, values, packed);
                dense_accumulate_nibbles(row, y * row_len, inputs, &constants, &mut sums, dot);
            }
            prop_assert!(sums == expected, "{level:?}\n{sums:?}\n{expected:?}");
            // slices that do not match: the shorter one counts
            let [long, short] = [input.len(), input.len() / 2];
            let whole = dot_nibbles(level, &input[..short], &packed[..packed_nibbles(short) / 4 * 4]);
            prop_assert_eq!(dot_nibbles(level, &input[..short], &packed), whole);
            prop_assert_eq!(dot_nibbles(level, &input[..long], &packed[..short / 8 * 4]), dot_nibbles(level, &input[..short / 8 * 8], &packed));
        }
    }

    #[test]
    fn addition_is_that_of_each_pair_at_every_level(
        len in 0..300_usize, seed in any::<u64>(), half in 0..3_usize, zero_points in any::<[i8; 3]>(),
        shifts in prop_oneof![prop::array::uniform3(-4..=0_i32), prop::array::uniform3(-31..=0_i32)], out_shift in -20..=0_i32,
    ) {
        let mut noise = Noise(seed | 1);
        let (a, b) = (noise.bytes(len, false, -128), noise.bytes(len, false, -128));
        let mut params = AddParams {
            input_zero_points: [i32::from(zero_points[0]), i32::from(zero_points[1])],
            multipliers: [0; 3].map(|_: i32| (1 << 30) + noise.below(1 << 30) as i32),
            shifts: [shifts[0], shifts[1], out_shift],
            stage: OutputStage { zero_point: i32::from(zero_points[2]), act_min: -128, act_max: 127 },
        };
        if half < 2 {
            (params.multipliers[half], params.shifts[half]) = (1 << 30, 0);
        }
        if seed % 3 == 0 {
            (params.stage.act_min, params.stage.act_max) = (-100, 90);
        }
        let expected: Vec<i8> = a.iter().zip(&b).map(|(&a, &b)| add_one(&params, a, b)).collect();
        for level in levels() {
            let mut sum = a.clone();
            add_row(level, &params, &mut sum, &b);
            prop_assert!(sum == expected, "{level:?}\n{sum:?}\n{expected:?}");
        }
    }
}

/// Every accumulator near a tie of the second rounding, and the ends of the range that the kernels promise.
#[test]
fn rounding_is_exact_around_ties_and_at_the_ends_at_every_level() {
    let mut noise = Noise(1);
    for shift in -31..=30_i8 {
        for multiplier in [0, 1 << 30, (1 << 30) + 1, 1_500_000_001, i32::MAX] {
            let factor = Multiplier { multiplier, shift: i32::from(shift) };
            let mut bias = vec![0, 1, -1, 2, -2, (1 << 30) - 1, -(1 << 30), 1 << 15, -(1 << 15)];
            if multiplier > 0 && shift <= 0 {
                for target in -40..40_i128 {
                    // the accumulator whose product is nearest to `target + 1/2`
                    let exact = (2 * target + 1) * (1_i128 << (30 - shift)) / i128::from(multiplier);
                    bias.extend(
                        (exact - 1..=exact + 1)
                            .filter_map(|v| i32::try_from(v).ok())
                            .filter(|v| v.unsigned_abs() < 1 << 30),
                    );
                }
            }
            bias.extend((0..16).map(|_| noise.next() as i32 >> 2));
            let stage = OutputStage { zero_point: -3, act_min: -128, act_max: 127 };
            let expected: Vec<i8> = bias.iter().map(|&acc| requantize(acc, factor, &stage)).collect();
            let (multipliers, shifts) = (vec![multiplier; bias.len()], vec![shift; bias.len()]);
            let constants = Blocked {
                weights: &vec![0; bias.len().next_multiple_of(16) * 4],
                bias: &bias,
                sums: &vec![0; bias.len()],
                is_symmetric: true,
                factors: Requantization { multipliers: &multipliers, shifts: &shifts, stage },
            };
            for level in levels() {
                let mut out = vec![0; bias.len()];
                dense(level, &[77], &constants, &mut vec![0; dense_scratch_bytes(1)], &mut out);
                assert_eq!(out, expected, "{level:?}, multiplier {multiplier}, shift {shift}");
            }
        }
    }
}

#[test]
fn tables_that_are_too_short_leave_the_row_as_it_was() {
    let stage = OutputStage { zero_point: 0, act_min: -128, act_max: 127 };
    let whole = Blocked {
        weights: &[1; 64],
        bias: &[0; 2],
        sums: &[4; 2],
        is_symmetric: true,
        factors: Requantization { multipliers: &[1 << 30; 2], shifts: &[0; 2], stage },
    };
    let short =
        [Blocked { weights: &[1; 63], ..whole }, Blocked { bias: &[0], ..whole }, Blocked { sums: &[4], ..whole }];
    for level in levels() {
        for constants in &short {
            let mut out = [55; 2];
            dense(level, &[2; 4], constants, &mut vec![0; dense_scratch_bytes(4)], &mut out);
            assert_eq!(out, [55; 2]);
        }
        let mut out = [55; 2];
        dense(level, &[2; 4], &whole, &mut [0; 3], &mut out);
        assert_eq!(out, [55; 2], "scratch memory too short");
        dense(level, &[2; 4], &whole, &mut vec![0; dense_scratch_bytes(4)], &mut out);
        assert_eq!(out, [4; 2]);
    }
}
