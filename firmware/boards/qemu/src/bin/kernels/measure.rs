//! Instructions of every method on typical sizes.

use crate::clock::{CALIBRATION_INSTRUCTIONS, Clock};
use crate::random::Rng;
use crate::{Lane, Memory};
use bytemuck::{cast_slice, cast_slice_mut};
use core::hint::black_box;
use ocelli::kernels::Native;
use ocelli::kernels::isa::{AddParams, Isa, PIXELS, Requantization};
use ocelli::quant::OutputStage;
use semihosting::println;

/// Instructions of a measurement, at least.
const MEASURED: u32 = 400_000;

/// Prints the instructions of every method.
pub fn measure(m: &mut Memory, rng: &mut Rng, clock: Clock) {
    let meter = Meter::new(clock);
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
        meter.print(name("accumulate", format_args!("{k} x {c}")).as_str(), (k * c * PIXELS) as u32, "a MAC", || {
            Native::accumulate(&column[..k * PIXELS], black_box(weights), k, &mut m.accumulators[0][..c]);
        });
    }
    meter.print("accumulate_two 144 x 16", 144 * 16 * 2, "a MAC", || {
        Native::accumulate_two(&column[..144 * PIXELS], black_box(weights), 144, &mut m.accumulators[0][..16]);
    });
    for (count, first, text) in [(48, 0, "48"), (9, 0, "9"), (9, 9, "9 from place 9"), (8, 0, "8")] {
        // instruction sets may treat even and odd pixels differently: both
        let values = &values[..count];
        meter.print(name("gather 2 of", text).as_str(), 2 * count as u32, "a value", || {
            Native::gather(column, black_box(first), 0, black_box(values));
            Native::gather(column, black_box(first), 1, black_box(values));
        });
    }
    for (len, pixels) in [(48, 4), (12, 4), (8, 4)] {
        let text = name("gather_tile", format_args!("{len} x {pixels}"));
        meter.print(text.as_str(), (len * pixels) as u32, "a value", || {
            Native::gather_tile(column, black_box(0), black_box(values), 16, len, pixels);
        });
    }
    meter.print("fill 2 of 48", 96, "a value", || {
        Native::fill(column, black_box(0), black_box(48), 0, black_box(-1));
        Native::fill(column, black_box(0), black_box(48), 1, black_box(-1));
    });
    for zero_point in [-128, 3] {
        let stage = OutputStage { zero_point, act_min: -128, act_max: 127 };
        let factors = Requantization { multipliers: &m.multipliers, shifts: &m.shifts, stage };
        let pick = |c: usize| Requantization { multipliers: &m.multipliers[..c], shifts: &m.shifts[..c], ..factors };
        println!("zero point {zero_point}:");
        for acc in m.accumulators[0].as_flattened_mut() {
            *acc >>= 10;
        }
        let sixteen = pick(16);
        meter.print("requantize 16 channels", 64, "an output", || {
            Native::requantize(&m.accumulators[0][..16], black_box(&sixteen), &mut m.out[0], 16, 4);
        });
        for (cells, c) in [(9, 64), (9, 8), (25, 16)] {
            let windows: [&[i8]; 25] = core::array::from_fn(|i| &values[i * 4..i * 4 + c]);
            let (factors, windows, bias, out) = (pick(c), &windows[..cells], &m.bias[..c], &mut m.out[0][..c]);
            meter.print(
                name("depthwise", format_args!("{cells} x {c}")).as_str(),
                (cells * c) as u32,
                "a MAC with its output",
                || {
                    Native::depthwise(black_box(windows), weights, c, bias, &factors, out);
                },
            );
        }
        for (pixels, c) in [(46, 8), (10, 16), (2, 16)] {
            let (factors, bias, out) = (pick(c), &m.bias[..c], &mut m.out[0][..pixels * c]);
            let text = name("depthwise run", format_args!("{pixels} x 9 x {c}"));
            meter.print(text.as_str(), (pixels * 9 * c) as u32, "a MAC with its output", || {
                let mut cells: [&[i8]; 9] = core::array::from_fn(|i| &values[i * 4..i * 4 + pixels * c]);
                Native::depthwise_run(black_box(&mut cells), c, weights, c, bias, &factors, out);
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
    meter.print("dot of four bits 512", 512, "a MAC", || {
        black_box(Native::dot_nibbles(black_box(&values[..512]), &weights[..256]));
    });
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
        (ticks * u64::from(CALIBRATION_INSTRUCTIONS) / u64::from(self.ticks.max(1))) as u32
    }
}

/// A method and what it is measured on.
fn name(method: &str, what: impl core::fmt::Display) -> Text {
    let mut text = Text { bytes: [0; 32], len: 0 };
    // A name that is too long is cut.
    let _ = core::fmt::write(&mut text, format_args!("{method} {what}"));
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
