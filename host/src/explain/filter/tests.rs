use super::*;
use crate::explain::cell::{byte, sum};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;

/// Cases by scipy, see tools/make_filter_cases.py.
const CASES: &str = include_str!("../../../../tests/data/filter-cases.json");

#[derive(Deserialize)]
struct Case {
    kernel: String,
    stride: u16,
    dilation: u16,
    padding: String,
    /// Rows of the picture and of the expected result, the latter in units of full brightness.
    picture: Vec<Vec<u8>>,
    expected: Vec<Vec<f32>>,
}

fn gray(rows: &[Vec<u8>]) -> RawImage {
    let (width, height) = (rows[0].len() as u32, rows.len() as u32);
    RawImage { width, height, format: PixelFormat::Gray8, pixels: rows.concat() }
}

fn noise(width: u32, height: u32, format: PixelFormat) -> RawImage {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let pixels = (0..format.row_bytes(width) * u64::from(height)).map(|_| rng.random()).collect();
    RawImage { width, height, format, pixels }
}

const PLAIN: Options =
    Options { stride: 1, dilation: 1, padding: Padding::Same, relu: false, pool: None, channel: Channel::Each };

#[test]
fn float_is_what_scipy_computes_and_int8_is_within_a_step_of_it() {
    let cases: Vec<Case> = serde_json::from_str(CASES).unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let padding = if case.padding == "same" { Padding::Same } else { Padding::Valid };
        let options = Options { stride: case.stride, dilation: case.dilation, padding, ..PLAIN };
        let kernel = Kernel::parse(&case.kernel).unwrap();
        let filtered = filter(&gray(&case.picture), &kernel, &options).unwrap();
        let result = &filtered.inside.tensors[1];
        assert_eq!([result.shape.h, result.shape.w], [case.expected.len() as u32, case.expected[0].len() as u32]);
        let expected = case.expected.concat();
        for (at, (&ours, &scipy)) in result.float.as_ref().unwrap().iter().zip(&expected).enumerate() {
            assert!((ours - scipy).abs() < 1e-5, "{} at {at}: {ours}, scipy has {scipy}", case.kernel);
        }
        let QuantParams { scale, zero_point } = result.params;
        for (at, (&q, &scipy)) in result.int8.iter().zip(&expected).enumerate() {
            let wanted = (scipy / scale + zero_point as f32).clamp(-128.0, 127.0);
            // rounded twice: after the multiplication, in halves of a step or less, and after the shift
            assert!((f32::from(q) - wanted).abs() <= 0.76, "{} at {at}: {q}, wanted {wanted}", case.kernel);
        }
    }
}

#[test]
fn the_identity_gives_the_photo_back() {
    let photo = noise(13, 7, PixelFormat::Rgb888);
    let filtered = filter(&photo, &Kernel::parse("identity").unwrap(), &PLAIN).unwrap();
    assert_eq!(filtered.int8_pixels(), photo.pixels);
    assert_eq!(filtered.float_pixels(), photo.pixels);
    // of the float result float32 itself may leave a trace
    assert!(filtered.difference().0 < 1e-3);
}

#[test]
fn a_one_beside_the_middle_shifts_the_photo() {
    let photo = noise(9, 5, PixelFormat::Gray8);
    let kernel = Kernel::parse("[[0,0,0],[0,0,1],[0,0,0]]").unwrap();
    let shifted = filter(&photo, &kernel, &PLAIN).unwrap().int8_pixels();
    for y in 0..5 {
        for x in 0..9 {
            let expected = if x == 8 { 0 } else { photo.pixels[9 * y + x + 1] };
            assert_eq!(shifted[9 * y + x], expected, "not mirrored, and black outside: {x},{y}");
        }
    }
}

#[test]
fn relu_and_pools_do_what_they_do_to_a_ramp() {
    // 0, 30, 60, ... from left to right: its slope by sobel-x is 8 * 30 / 255 inside
    let rows = vec![(0..8).map(|x| 30 * x).collect::<Vec<u8>>(); 6];
    let (photo, kernel) = (gray(&rows), Kernel::parse("sobel-x").unwrap());
    let valid = Options { padding: Padding::Valid, ..PLAIN };
    let slope = filter(&photo, &kernel, &valid).unwrap();
    assert_eq!(slope.inside.tensors[1].int8, vec![127; 24], "one value everywhere: the largest");
    let down = Kernel::parse("[[1,0,-1],[2,0,-2],[1,0,-1]]").unwrap();
    let options = Options { relu: true, pool: Some(Pool::Max), ..valid };
    let cut = filter(&photo, &down, &options).unwrap();
    assert_eq!(cut.inside.tensors[2].shape, Shape::new(2, 3, 1));
    assert_eq!(cut.int8_pixels(), vec![0; 6], "nothing of a falling slope is left");
    let mean = filter(&photo, &Kernel::parse("identity").unwrap(), &Options { pool: Some(Pool::Average), ..PLAIN });
    assert_eq!(mean.unwrap().int8_pixels()[..4], [15, 75, 135, 195]);
}

#[test]
fn channels_are_chosen_before_the_kernel() {
    let photo = noise(6, 4, PixelFormat::Rgb888);
    let identity = Kernel::parse("identity").unwrap();
    let of = |channel| filter(&photo, &identity, &Options { channel, ..PLAIN }).unwrap().int8_pixels();
    for which in 0..3 {
        let expected: Vec<u8> = photo.pixels.iter().skip(which).step_by(3).copied().collect();
        assert_eq!(of(Channel::One(which)), expected);
    }
    let luma = of(Channel::Gray);
    for (gray, rgb) in luma.iter().zip(photo.pixels.chunks_exact(3)) {
        let expected = 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
        assert!((f32::from(*gray) - expected).abs() < 1.2, "{gray} {expected}");
    }
    let gray = noise(6, 4, PixelFormat::Gray8);
    let green = filter(&gray, &identity, &Options { channel: Channel::One(1), ..PLAIN }).unwrap();
    assert_eq!(green.int8_pixels(), gray.pixels, "a gray photo has one channel to choose");
}

#[test]
fn the_arithmetic_that_is_printed_gives_every_byte() {
    let photo = noise(10, 8, PixelFormat::Rgb888);
    for (name, stride, pool) in [("gaussian-blur", 1, None), ("emboss", 2, None), ("outline", 1, Some(Pool::Average))] {
        let options = Options { stride, pool, ..PLAIN };
        let filtered = filter(&photo, &Kernel::parse(name).unwrap(), &options).unwrap();
        for (layer, values) in filtered.inside.tensors.iter().skip(1).enumerate() {
            let [w, c] = [values.shape.w, values.shape.c].map(|n| n as usize);
            for (at, &q) in values.int8.iter().enumerate() {
                let cell = [at / c / w, at / c % w, at % c];
                assert_eq!(byte(&filtered.inside, layer, cell), Some(q), "{name} {cell:?}");
                if layer == 0 {
                    let sum = sum(&filtered.inside, 0, cell).unwrap();
                    let [_, total, _] = sum.float.unwrap();
                    assert!((total - values.float.as_ref().unwrap()[at]).abs() < 1e-5);
                }
            }
        }
    }
}

#[test]
fn a_window_larger_than_the_photo_is_refused_with_the_rule() {
    let photo = noise(4, 4, PixelFormat::Gray8);
    let options = Options { padding: Padding::Valid, dilation: 3, ..PLAIN };
    let error = format!("{:#}", filter(&photo, &Kernel::parse("sobel-x").unwrap(), &options).unwrap_err());
    assert!(error.contains("4 x 4 pixels") && error.contains("floor((n + p - f) / s) + 1"), "{error}");
    assert!(check(&Options { stride: 0, ..PLAIN }).unwrap_err().to_string().contains("--stride"));
}
