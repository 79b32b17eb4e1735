//! What one image goes through.

use super::{Affine, AugmentationConfig, ColorTransform};
use ocelli::image::ColorOrder;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// What one image goes through, in this order: rotation of what is shifted, sheared and zoomed (Keras' order of matrices), crop,
/// flips; then brightness, contrast, saturation, hue; then the cutout.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// Degrees.
    pub rotation: f64,
    /// Pixels along x and y.
    pub shift: [f64; 2],
    /// Degrees.
    pub shear: f64,
    /// Factors along x and y.
    pub zoom: [f64; 2],
    /// Whole pixels along x and y by which the crop lies off the centre.
    pub crop: [i32; 2],
    /// Whether left and right, top and bottom are exchanged.
    pub flip: [bool; 2],
    /// Factor.
    pub brightness: f32,
    /// Factor.
    pub contrast: f32,
    /// Factor.
    pub saturation: f32,
    /// Share of a full turn.
    pub hue: f32,
    /// Row and column of the centre of the cutout's square.
    pub cutout: Option<[usize; 2]>,
}

impl Parameters {
    /// What changes nothing.
    pub const NONE: Self = Self {
        rotation: 0.0,
        shift: [0.0; 2],
        shear: 0.0,
        zoom: [1.0; 2],
        crop: [0; 2],
        flip: [false; 2],
        brightness: 1.0,
        contrast: 1.0,
        saturation: 1.0,
        hue: 0.0,
        cutout: None,
    };

    /// Draws from the ranges of `config` for images of `[height, width]` pixels.
    ///
    /// As many values are drawn whatever the configuration is: to turn one kind on leaves the others as they were.
    pub(super) fn draw(config: &AugmentationConfig, [height, width]: [usize; 2], rng: &mut ChaCha8Rng) -> Self {
        let mut between = |[low, high]: [f64; 2]| low + (high - low) * rng.random::<f64>();
        let both = |limit: f64| [-limit, limit];
        let rotation = between(both(config.rotation));
        let shift =
            [between(both(config.width_shift)) * width as f64, between(both(config.height_shift)) * height as f64];
        let shear = between(both(config.shear));
        let zoom = [between(config.zoom_x.unwrap_or(config.zoom)), between(config.zoom_y.unwrap_or(config.zoom))];
        let flip =
            [between([0.0, 1.0]) < 0.5 && config.horizontal_flip, between([0.0, 1.0]) < 0.5 && config.vertical_flip];
        // factors are small numbers: f32 is enough
        let brightness = between(config.brightness) as f32;
        let contrast = between(config.contrast) as f32;
        let saturation = between(config.saturation) as f32;
        let hue = between(both(config.hue)) as f32;
        let pad = i32::try_from(config.random_crop).unwrap_or(i32::MAX);
        let crop = [rng.random_range(-pad..=pad), rng.random_range(-pad..=pad)];
        let center = [rng.random_range(0..height.max(1)), rng.random_range(0..width.max(1))];
        let cutout = (config.cutout > 0).then_some(center);
        Self { rotation, shift, shear, zoom, crop, flip, brightness, contrast, saturation, hue, cutout }
    }

    /// Where each pixel of the moved image comes from.
    #[must_use]
    pub fn affine(&self, height: usize, width: usize) -> Affine {
        let moved = Affine::rotation(self.rotation)
            .after(Affine::shift(self.shift[0], self.shift[1]))
            .after(Affine::shear(self.shear))
            .after(Affine::zoom(self.zoom[0], self.zoom[1]));
        let sign = |flip: bool| if flip { -1.0 } else { 1.0 };
        moved
            .centered(height, width)
            .after(Affine::shift(self.crop[0].into(), self.crop[1].into()))
            .after(Affine::zoom(sign(self.flip[0]), sign(self.flip[1])).centered(height, width))
    }

    /// What happens to the colours of `pixels`; `None` when they stay.
    pub(super) fn color(&self, pixels: &[u8], color: ColorOrder) -> Option<ColorTransform> {
        let Self { brightness, contrast, saturation, hue, .. } = *self;
        if [brightness, contrast, saturation] == [1.0; 3] && hue == 0.0 {
            return None;
        }
        let mut change = ColorTransform::brightness(brightness);
        if contrast != 1.0 {
            let mean = means(pixels, color).map(|mean| mean * brightness);
            change = ColorTransform::contrast(contrast, mean).after(change);
        }
        if color != ColorOrder::Gray {
            change = ColorTransform::saturation(saturation).after(change);
            change = ColorTransform::hue(hue).after(change);
        }
        Some(change)
    }
}

/// The mean of red, green and blue; of a gray image, thrice its own.
fn means(pixels: &[u8], color: ColorOrder) -> [f32; 3] {
    let channels = color.channels() as usize;
    let count = (pixels.len() / channels).max(1) as f64;
    let mut sums = [0_u64; 3];
    for pixel in pixels.chunks_exact(channels) {
        sums.iter_mut().zip(pixel).for_each(|(sum, &v)| *sum += u64::from(v));
    }
    let [a, b, c] = sums.map(|sum| (sum as f64 / count) as f32);
    match color {
        ColorOrder::Gray => [a; 3],
        ColorOrder::Rgb => [a, b, c],
        ColorOrder::Bgr => [c, b, a],
    }
}
