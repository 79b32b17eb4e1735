//! Drawing, order of the steps, cutout.

use super::*;
use ocelli::image::Resize;
use ocelli::ir::Shape;
use rand_chacha::rand_core::SeedableRng;

fn spec(h: u32, w: u32, color: ColorOrder) -> InputSpec {
    let shape = Shape::new(h, w, color.channels());
    InputSpec { shape, color, resize: Resize::Stretch, mean: [0.2, 0.4, 0.6], std: [1.0; 3] }
}

fn everything() -> AugmentationConfig {
    AugmentationConfig {
        rotation: 40.0,
        width_shift: 0.2,
        height_shift: 0.1,
        shear: 10.0,
        zoom: [0.8, 1.2],
        zoom_y: Some([0.5, 0.6]),
        horizontal_flip: true,
        vertical_flip: true,
        random_crop: 4,
        brightness: [0.5, 1.5],
        contrast: [0.9, 1.1],
        saturation: [0.0, 2.0],
        hue: 0.05,
        cutout: 5,
        ..AugmentationConfig::default()
    }
}

#[test]
fn draws_fill_their_ranges_and_stay_inside() {
    let augmenter = Augmenter::new(&everything(), &spec(20, 30, ColorOrder::Rgb)).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let draws: Vec<Parameters> = (0..4000).map(|_| augmenter.draw(&mut rng)).collect();
    let check = |name: &str, value: fn(&Parameters) -> f64, low: f64, high: f64| {
        let values = || draws.iter().map(value);
        let (least, most) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN, f64::max));
        let room = 0.01 * (high - low) + 1e-6;
        assert!(least >= low - 1e-6 && most <= high + 1e-6, "{name}: {least} to {most}");
        assert!(
            least < low + room && most > high - room,
            "{name}: {least} to {most} leaves much of {low} to {high} out"
        );
        let mean = values().sum::<f64>() / 4000.0;
        assert!((mean - f64::midpoint(low, high)).abs() < 0.03 * (high - low), "{name}: a mean of {mean}");
    };
    check("rotation", |p| p.rotation, -40.0, 40.0);
    check("shift x", |p| p.shift[0], -6.0, 6.0);
    check("shift y", |p| p.shift[1], -2.0, 2.0);
    check("shear", |p| p.shear, -10.0, 10.0);
    check("zoom x", |p| p.zoom[0], 0.8, 1.2);
    check("zoom y", |p| p.zoom[1], 0.5, 0.6);
    check("crop x", |p| p.crop[0].into(), -4.0, 4.0);
    check("crop y", |p| p.crop[1].into(), -4.0, 4.0);
    check("flip x", |p| f64::from(u8::from(p.flip[0])), 0.0, 1.0);
    check("flip y", |p| f64::from(u8::from(p.flip[1])), 0.0, 1.0);
    check("brightness", |p| p.brightness.into(), 0.5, 1.5);
    check("contrast", |p| p.contrast.into(), 0.9, 1.1);
    check("saturation", |p| p.saturation.into(), 0.0, 2.0);
    check("hue", |p| p.hue.into(), -0.05, 0.05);
    check("cutout row", |p| p.cutout.unwrap()[0] as f64, 0.0, 19.0);
    check("cutout column", |p| p.cutout.unwrap()[1] as f64, 0.0, 29.0);
    // zooms of the two axes are drawn apart, as Keras does
    assert!(draws.iter().any(|p| (p.zoom[0] - 0.8) / 0.4 - (p.zoom[1] - 0.5) / 0.1 > 0.5));
}

#[test]
fn a_default_configuration_changes_nothing() {
    let augmenter = Augmenter::new(&AugmentationConfig::default(), &spec(4, 5, ColorOrder::Rgb)).unwrap();
    let drawn = augmenter.draw(&mut ChaCha8Rng::seed_from_u64(8));
    assert_eq!(drawn, Parameters::NONE);
    let source: Vec<u8> = (0..60).collect();
    let mut out = vec![0; 60];
    augmenter.apply(&drawn, &source, &mut out);
    assert_eq!(out, source);
}

#[test]
fn turning_one_kind_on_leaves_the_others_as_they_were() {
    let draw = |config: &AugmentationConfig| {
        Augmenter::new(config, &spec(20, 30, ColorOrder::Rgb)).unwrap().draw(&mut ChaCha8Rng::seed_from_u64(3))
    };
    let rotation = AugmentationConfig { rotation: 40.0, ..AugmentationConfig::default() };
    let both = AugmentationConfig { hue: 0.3, width_shift: 0.4, ..rotation.clone() };
    assert_eq!(draw(&rotation).rotation, draw(&both).rotation);
    assert_eq!(draw(&both).hue, draw(&AugmentationConfig { vertical_flip: true, ..both }).hue);
}

#[test]
fn flips_come_after_movements_as_in_keras() {
    let augmenter = Augmenter::new(&AugmentationConfig::default(), &spec(1, 4, ColorOrder::Gray)).unwrap();
    let moved = Parameters { shift: [1.0, 0.0], flip: [true, false], ..Parameters::NONE };
    let mut out = [0; 4];
    augmenter.apply(&moved, &[1, 2, 3, 4], &mut out);
    // shifted: 2 3 4 4; then flipped
    assert_eq!(out, [4, 4, 3, 2]);
    let cropped = Parameters { crop: [-2, 0], ..Parameters::NONE };
    augmenter.apply(&cropped, &[1, 2, 3, 4], &mut out);
    assert_eq!(out, [1, 1, 1, 2]);
}

#[test]
fn cutout_is_a_square_of_the_mean_pixel_cut_at_the_border() {
    let config = AugmentationConfig { cutout: 3, ..AugmentationConfig::default() };
    let augmenter = Augmenter::new(&config, &spec(5, 6, ColorOrder::Rgb)).unwrap();
    let cut = |center| {
        let mut out = vec![0; 90];
        augmenter.apply(&Parameters { cutout: Some(center), ..Parameters::NONE }, &[1; 90], &mut out);
        let pixels: Vec<&[u8]> = out.chunks_exact(3).collect();
        assert!(pixels.iter().all(|p| [[1, 1, 1], [51, 102, 153]].contains(&[p[0], p[1], p[2]])));
        pixels.iter().map(|p| u32::from(p[0] != 1)).collect::<Vec<_>>()
    };
    let middle = cut([2, 3]);
    assert_eq!(middle.iter().sum::<u32>(), 9);
    assert_eq!(middle[6 + 2..6 + 5], [1, 1, 1]);
    assert_eq!(cut([0, 0]).iter().sum::<u32>(), 4);
    assert_eq!(cut([4, 5]).iter().sum::<u32>(), 4);
}

#[test]
fn what_the_input_cannot_have_is_refused() {
    let refused =
        |config: AugmentationConfig, color| Augmenter::new(&config, &spec(8, 8, color)).unwrap_err().to_string();
    let hue = AugmentationConfig { hue: 0.1, ..AugmentationConfig::default() };
    assert!(refused(hue, ColorOrder::Gray).contains("gray"));
    let large = AugmentationConfig { cutout: 9, ..AugmentationConfig::default() };
    assert!(refused(large, ColorOrder::Rgb).contains("8 x 8"));
    let wrong = AugmentationConfig { shear: -1.0, ..AugmentationConfig::default() };
    assert!(refused(wrong, ColorOrder::Rgb).contains("shear"));
}
