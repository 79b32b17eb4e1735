//! Movements against scipy's (tools/augmentation_cases.py) and against what they are exactly.

use super::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    fill_value: u8,
    movements: Vec<Movement>,
}

#[derive(Deserialize)]
struct Movement {
    shape: [usize; 3],
    image: Vec<u8>,
    rotation: f64,
    shift: [f64; 2],
    shear: f64,
    zoom: [f64; 2],
    fill: Fill,
    expected: Vec<f64>,
}

const FILLS: [Fill; 4] = [Fill::Nearest, Fill::Reflect, Fill::Wrap, Fill::Constant];

fn warped(source: &[u8], shape: [usize; 3], affine: Affine, fill: Fill) -> Vec<u8> {
    let mut out = vec![0; source.len()];
    warp(source, shape, &affine, fill, 9, &mut out);
    out
}

#[test]
fn movements_are_those_of_keras() {
    let text = include_str!("../../../tests/data/augmentation/cases.json");
    let cases: Cases = serde_json::from_str(text).unwrap();
    assert_eq!(cases.movements.len(), 56);
    for case in cases.movements {
        let [height, width, _] = case.shape;
        let parameters = crate::augment::Parameters {
            rotation: case.rotation,
            shift: case.shift,
            shear: case.shear,
            zoom: case.zoom,
            ..crate::augment::Parameters::NONE
        };
        let mut out = vec![0; case.image.len()];
        let affine = parameters.affine(height, width);
        warp(&case.image, case.shape, &affine, case.fill, cases.fill_value, &mut out);
        for (i, (&out, expected)) in out.iter().zip(&case.expected).enumerate() {
            // half a step of rounding, and weights of 11 bits
            assert!((f64::from(out) - expected).abs() < 0.75, "{parameters:?} {:?} {i}: {out}, {expected}", case.fill);
        }
    }
}

#[test]
fn a_quarter_turn_permutes_the_pixels() {
    let source: Vec<u8> = (0..75).collect();
    // Keras turns the source's place by +90 degrees: numpy.rot90 (k = 1)
    let turned = warped(&source, [5, 5, 3], Affine::rotation(90.0).centered(5, 5), Fill::Constant);
    for y in 0..5 {
        for x in 0..5 {
            let (from_y, from_x) = (x, 4 - y);
            assert_eq!(turned[3 * (5 * y + x)..][..3], source[3 * (5 * from_y + from_x)..][..3], "{y} {x}");
        }
    }
    // half a turn is a copy
    let half = Affine::rotation(180.0).centered(5, 5);
    assert!(half.as_whole_pixels().is_some());
    let reversed: Vec<u8> = source.chunks_exact(3).rev().flatten().copied().collect();
    assert_eq!(warped(&source, [5, 5, 3], half, Fill::Nearest), reversed);
}

#[test]
fn the_four_fills_are_those_of_numpy_pad() {
    let row = [1, 2, 3, 4];
    let shift = |pixels: f64, fill| warped(&row, [1, 4, 1], Affine::shift(pixels, 0.0), fill);
    // numpy.pad: edge, symmetric, wrap, constant
    for (pixels, fill, expected) in [
        (-3.0, Fill::Nearest, [1, 1, 1, 1]),
        (-3.0, Fill::Reflect, [3, 2, 1, 1]),
        (-3.0, Fill::Wrap, [2, 3, 4, 1]),
        (-3.0, Fill::Constant, [9, 9, 9, 1]),
        (2.0, Fill::Nearest, [3, 4, 4, 4]),
        (2.0, Fill::Reflect, [3, 4, 4, 3]),
        (2.0, Fill::Wrap, [3, 4, 1, 2]),
        (2.0, Fill::Constant, [3, 4, 9, 9]),
        (-10.0, Fill::Reflect, [2, 1, 1, 2]),
        (9.0, Fill::Wrap, [2, 3, 4, 1]),
    ] {
        assert_eq!(shift(pixels, fill), expected, "{pixels} {fill:?}");
    }
}

#[test]
fn a_wrapped_shift_is_a_roll_along_both_axes() {
    let source: Vec<u8> = (0..5 * 7).collect();
    let rolled = warped(&source, [5, 7, 1], Affine::shift(3.0, -2.0), Fill::Wrap);
    for y in 0..5 {
        for x in 0..7 {
            assert_eq!(rolled[7 * y + x], source[7 * ((y + 3) % 5) + (x + 3) % 7]);
        }
    }
}

#[test]
fn flips_are_copies_and_undo_themselves() {
    let source: Vec<u8> = (0..4 * 6 * 3).collect();
    let flip = Affine::zoom(-1.0, 1.0).centered(4, 6);
    let flipped = warped(&source, [4, 6, 3], flip, Fill::Constant);
    assert_eq!(flipped[..6], [15, 16, 17, 12, 13, 14]);
    assert_eq!(warped(&flipped, [4, 6, 3], flip, Fill::Constant), source);
}

#[test]
fn the_slow_way_gives_what_copies_give() {
    // a shift by almost whole pixels takes the bilinear way
    let source: Vec<u8> = (0..9 * 8).map(|i| (i * 37 % 251) as u8).collect();
    for (x, y) in [(3.0, -2.0), (-11.0, 20.0), (0.0, 1.0)] {
        for fill in FILLS {
            let near = Affine::shift(x + 1e-5, y + 1e-5);
            assert!(near.as_whole_pixels().is_none());
            let expected = warped(&source, [9, 8, 1], Affine::shift(x, y), fill);
            assert_eq!(warped(&source, [9, 8, 1], near, fill), expected, "{x} {y} {fill:?}");
        }
    }
}

#[test]
fn any_number_of_channels_and_any_size_is_moved() {
    for shape in [[1, 1, 1], [1, 5, 3], [4, 1, 4], [3, 3, 2], [2, 2, 5]] {
        let source = vec![77; shape.iter().product()];
        for fill in [Fill::Nearest, Fill::Reflect, Fill::Wrap] {
            let affine = Affine::rotation(33.0).after(Affine::zoom(17.0, 0.1)).centered(shape[0], shape[1]);
            assert_eq!(warped(&source, shape, affine, fill), source, "an even image stays even");
        }
    }
}

#[test]
fn channels_do_not_mix() {
    let planes: Vec<Vec<u8>> =
        (0..3_usize).map(|c| (0..36).map(|i| ((i * 29 + c * 91) % 256) as u8).collect()).collect();
    let source: Vec<u8> = (0..36).flat_map(|i| [planes[0][i], planes[1][i], planes[2][i]]).collect();
    let affine = Affine::rotation(20.0).after(Affine::shear(15.0)).centered(6, 6);
    let together = warped(&source, [6, 6, 3], affine, Fill::Reflect);
    for (c, plane) in planes.iter().enumerate() {
        let alone = warped(plane, [6, 6, 1], affine, Fill::Reflect);
        assert!(together.iter().skip(c).step_by(3).eq(&alone));
    }
}
