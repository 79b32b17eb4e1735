//! Colours against Pillow's (tools/augmentation_cases.py), by hand, and by what a hue must keep.

use super::*;
use ocelli::image::ColorOrder;

fn changed(change: ColorTransform, pixels: &[u8], color: ColorOrder) -> Vec<u8> {
    let mut out = pixels.to_vec();
    change.apply(&mut out, color);
    out
}

#[test]
fn brightness_and_saturation_are_those_of_pillow() {
    let cases: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/data/augmentation/cases.json")).unwrap();
    let cases = cases["colors"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let bytes = |key: &str| -> Vec<u8> { serde_json::from_value(case[key].clone()).unwrap() };
        let factor = case["factor"].as_f64().unwrap() as f32;
        let change = match case["change"].as_str().unwrap() {
            "brightness" => ColorTransform::brightness(factor),
            _ => ColorTransform::saturation(factor),
        };
        let out = changed(change, &bytes("image"), ColorOrder::Rgb);
        for (out, expected) in out.iter().zip(bytes("expected")) {
            assert!(out.abs_diff(expected) <= 1, "{case}: {out}"); // Pillow rounds luma, and down
        }
    }
}

#[test]
fn contrast_is_about_the_mean_of_each_channel() {
    let change = ColorTransform::contrast(2.0, [100.0, 50.0, 10.0]);
    assert_eq!(changed(change, &[110, 50, 0], ColorOrder::Rgb), [120, 50, 0]);
    assert_eq!(changed(ColorTransform::contrast(0.0, [100.0; 3]), &[7, 200], ColorOrder::Gray), [100, 100]);
}

#[test]
fn a_hue_keeps_gray_and_luma_and_goes_from_red_to_green() {
    for turn in [-0.5, -0.1, 0.25] {
        let gray = changed(ColorTransform::hue(turn), &[90, 90, 90], ColorOrder::Rgb);
        assert!(gray.iter().all(|v| v.abs_diff(90) <= 1), "{turn}: {gray:?}");
        let pixel = [140, 110, 120];
        let luma = |p: &[u8]| LUMA.iter().zip(p).map(|(l, &v)| l * f32::from(v)).sum::<f32>();
        let out = changed(ColorTransform::hue(turn), &pixel, ColorOrder::Rgb);
        assert!((luma(&out) - luma(&pixel)).abs() < 1.0, "{turn}: {out:?}");
    }
    let third = changed(ColorTransform::hue(1.0 / 3.0), &[160, 100, 100], ColorOrder::Rgb);
    assert!(third[1] > third[0] && third[1] > third[2], "{third:?}");
    let third = ColorTransform::hue(1.0 / 3.0);
    let whole = changed(third.after(third).after(third), &[160, 100, 30], ColorOrder::Rgb);
    assert!(whole.iter().zip([160, 100, 30]).all(|(a, b)| a.abs_diff(b) <= 1), "{whole:?}");
}

#[test]
fn blue_first_gets_the_same_colours() {
    let pixels = [200, 30, 90, 0, 255, 128];
    let swapped = |pixels: &[u8]| -> Vec<u8> { pixels.chunks_exact(3).flat_map(|p| [p[2], p[1], p[0]]).collect() };
    let both = ColorTransform::hue(0.1).after(ColorTransform::saturation(0.5));
    let diagonal = ColorTransform::contrast(1.5, [10.0, 20.0, 30.0]);
    for change in [both, diagonal, both.after(diagonal)] {
        let rgb = changed(change, &pixels, ColorOrder::Rgb);
        assert_ne!(rgb, pixels);
        assert_eq!(swapped(&changed(change, &swapped(&pixels), ColorOrder::Bgr)), rgb);
    }
}

#[test]
fn tables_give_what_the_matrix_gives() {
    let pixels: Vec<u8> = (0..=255).flat_map(|v| [v, 255 - v, v / 2]).collect();
    let change = ColorTransform::contrast(1.7, [90.0, 120.5, 60.25]).after(ColorTransform::brightness(0.8));
    let mut mixed = pixels.clone();
    change.mix([0, 1, 2], &mut mixed);
    assert_eq!(changed(change, &pixels, ColorOrder::Rgb), mixed);
}
