//! What networks take pixel values as: the conventions of the programs that they come from.

use ocelli::image::{ColorOrder, InputSpec};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A convention of pixel values.
///
/// # Source
/// `preprocess_input` of `keras.applications.imagenet_utils` ("tf", "torch", "caffe"); torchvision's `transforms.Normalize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// TensorFlow's: -1 to 1.
    Tf,
    /// PyTorch's: 0 to 1, ImageNet's mean taken off, divided by its deviation.
    Torch,
    /// Caffe's: blue first, 0 to 255, ImageNet's mean taken off.
    Caffe,
    /// 0 to 1.
    Unit,
    /// 0 to 255, as they are.
    None,
}

impl Style {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Tf, Self::Torch, Self::Caffe, Self::Unit, Self::None];

    /// Mean and deviation of pixels on the scale 0 to 1, in the order of the network's channels.
    const fn normalization(self) -> ([f32; 3], [f32; 3]) {
        const TO_255: [f32; 3] = [1.0 / 255.0; 3];
        match self {
            Self::Tf => ([0.5; 3], [0.5; 3]),
            Self::Torch => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            Self::Caffe => ([103.939 / 255.0, 116.779 / 255.0, 123.68 / 255.0], TO_255),
            Self::Unit => ([0.0; 3], [1.0; 3]),
            Self::None => ([0.0; 3], TO_255),
        }
    }

    /// The input in this style. `spec` is the input where the file takes pixels of 0 to 1: what it does to them itself, such as a
    /// normalization in the graph, stays.
    ///
    /// # Arithmetic
    /// The file computes `(x - mean) / std` of its input `x`, which is `(p - m) / s` of a pixel: together
    /// `(p - (m + s * mean)) / (s * std)`.
    ///
    /// # Errors
    /// When the style is one of colours and the network takes gray pictures.
    pub fn apply(self, mut spec: InputSpec) -> Result<InputSpec, String> {
        if spec.color == ColorOrder::Gray && matches!(self, Self::Torch | Self::Caffe) {
            return Err(format!(
                "the network takes gray pictures: the style {self} is one of colours (tf, unit, none)"
            ));
        }
        if self == Self::Caffe {
            spec.color = ColorOrder::Bgr;
        }
        let (mean, std) = self.normalization();
        for channel in 0..3 {
            spec.mean[channel] = mean[channel] + std[channel] * spec.mean[channel];
            spec.std[channel] *= std[channel];
        }
        Ok(spec)
    }

    /// What it makes of pixel values, in words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Tf => "pixels of -1 to 1",
            Self::Torch => "pixels of 0 to 1, ImageNet's mean and deviation taken out",
            Self::Caffe => "blue first, pixels of 0 to 255, ImageNet's mean taken off",
            Self::Unit => "pixels of 0 to 1",
            Self::None => "pixels of 0 to 255",
        }
    }
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tf => "tf",
            Self::Torch => "torch",
            Self::Caffe => "caffe",
            Self::Unit => "unit",
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::image::Resize;
    use ocelli::ir::Shape;

    fn plain(color: ColorOrder) -> InputSpec {
        let shape = Shape::new(4, 4, color.channels());
        InputSpec { shape, color, resize: Resize::Stretch, mean: [0.0; 3], std: [1.0; 3] }
    }

    #[test]
    fn pixels_become_what_keras_makes_of_them() {
        // by keras.applications' definitions, worked by hand for a pixel of red 200, green 100, blue 50:
        // tf x / 127.5 - 1; torch (x / 255 - mean) / std; caffe [b - 103.939, g - 116.779, r - 123.68]
        for (style, color, expected) in [
            (Style::Tf, ColorOrder::Rgb, [0.568_627_5, -0.215_686_3, -0.607_843_1]),
            (Style::Torch, ColorOrder::Rgb, [1.307_047, -0.285_013_8, -0.932_984_8]),
            (Style::Caffe, ColorOrder::Bgr, [-53.939, -16.779, 76.32]),
            (Style::Unit, ColorOrder::Rgb, [0.784_313_7, 0.392_156_9, 0.196_078_4]),
            (Style::None, ColorOrder::Rgb, [200.0, 100.0, 50.0]),
        ] {
            let spec = style.apply(plain(ColorOrder::Rgb)).unwrap();
            assert_eq!(spec.color, color, "{style}");
            let pixel = if color == ColorOrder::Bgr { [50, 100, 200] } else { [200, 100, 50] };
            for (channel, (&value, expected)) in pixel.iter().zip(expected).enumerate() {
                let found = spec.normalize(channel, value);
                assert!(
                    (found - expected).abs() <= 2e-6 * expected.abs().max(1.0),
                    "{style} {channel}: {found}, {expected}"
                );
            }
        }
    }

    #[test]
    fn what_the_file_does_itself_stays() {
        // a file that computes x / 127.5 - 1 of pixels of 0 to 255: (x - 127.5) / 127.5
        let mut own = plain(ColorOrder::Rgb);
        (own.mean, own.std) = ([127.5; 3], [127.5; 3]);
        let spec = Style::None.apply(own).unwrap();
        for (pixel, expected) in [(0, -1.0), (51, -0.6), (255, 1.0)] {
            assert!((spec.normalize(1, pixel) - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn styles_of_colours_are_refused_for_gray_pictures() {
        assert!(Style::Tf.apply(plain(ColorOrder::Gray)).is_ok());
        for style in [Style::Torch, Style::Caffe] {
            assert!(style.apply(plain(ColorOrder::Gray)).unwrap_err().contains("gray"), "{style}");
        }
    }
}
