//! What is taken where neither a file nor the user says how a network wants its pictures, and the words that tell it.
//!
//! One rule for `predict`, `import`, `export` and `finetune`: what the user says; else what the file says; else for classifiers of
//! ImageNet, whose programs have conventions, the convention of the file's kind and the middle of a picture; else pixels of 0 to 1 and the
//! whole picture.

use super::{Crop, Style, is_imagenet};
use ocelli::image::{ColorOrder, InputSpec, Resize};

/// What a file is, as far as pixels go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A .tflite file.
    Tflite,
    /// An .onnx file that TensorFlow's network was written to.
    OnnxOfTensorflow,
    /// Any other .onnx file.
    Onnx,
}

/// Where the pixels of a network are known from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pixels {
    /// The style, where they have one that is applied to the input.
    pub style: Option<Style>,
    /// Why, in words.
    pub reason: &'static str,
}

impl Pixels {
    /// The user says it.
    pub const ASKED: &str = "as asked for";

    /// What the file says, in numbers that the input holds already.
    pub const STATED: Self = Self { style: None, reason: "as the file says" };

    /// The range of a quantized input.
    pub const SCALE: Self = Self { style: None, reason: "by the scale of its input" };

    /// What is taken of a file that says nothing.
    #[must_use]
    pub const fn guessed(kind: Kind, color: ColorOrder, classes: usize) -> Self {
        let (style, reason) = match kind {
            _ if !is_imagenet(color, classes) => (Style::Unit, "a guess, the file does not say it"),
            Kind::Tflite => (Style::Tf, "a guess, the usual for ImageNet's networks in .tflite files"),
            Kind::OnnxOfTensorflow => (Style::Tf, "a guess, the usual for ImageNet's networks of TensorFlow"),
            Kind::Onnx => (Style::Torch, "a guess, the usual for ImageNet's networks in .onnx files"),
        };
        Self { style: Some(style), reason }
    }

    /// The note that tells what is taken. `others` are the flags that say something else.
    #[must_use]
    pub fn note(&self, spec: &InputSpec, crop: Crop, others: &str) -> String {
        let pixels = match self.style {
            Some(style) => format!("{style}, {}", style.in_words()),
            None => in_words(spec),
        };
        let part = match (crop, spec.resize) {
            (Crop::Middle(share), _) => format!("the middle, {:.1} % of the shorter side", 100.0 * share),
            (Crop::AsStated, Resize::ImagenetCrop) => "the middle, 87.5 % of the shorter side".to_owned(),
            (Crop::AsStated, Resize::CenterCrop) => "the middle".to_owned(),
            (Crop::AsStated, Resize::Stretch) => "the whole picture".to_owned(),
        };
        let (h, w) = (spec.shape.h, spec.shape.w);
        format!("pictures: {pixels} ({}); {part}, at {h}x{w} (others: {others})", self.reason)
    }
}

/// What becomes of a picture of another shape where nobody says it.
#[must_use]
pub const fn usual_resize(color: ColorOrder, classes: usize) -> Resize {
    if is_imagenet(color, classes) { Resize::ImagenetCrop } else { Resize::Stretch }
}

/// What an input's numbers make of pixels.
fn in_words(spec: &InputSpec) -> String {
    let order = if spec.color == ColorOrder::Bgr { "blue first, " } else { "" };
    let channels = (spec.color.channels() as usize).max(1);
    let ends: Vec<[f32; 2]> = (0..channels).map(|c| [0, 255].map(|pixel| spec.normalize(c, pixel))).collect();
    let rounded = |value: f32| (value * 1e3).round() / 1e3 + 0.0; // no -0
    let range = |[black, white]: &[f32; 2]| format!("{} to {}", rounded(*black), rounded(*white));
    match ends.split_first() {
        Some((first, others)) if others.iter().any(|other| range(other) != range(first)) => {
            format!("{order}pixels of {}, by channel", ends.iter().map(range).collect::<Vec<_>>().join(", "))
        }
        first => format!("{order}pixels of {}", first.map_or_else(String::new, |(first, _)| range(first))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::ir::Shape;

    #[test]
    fn only_networks_of_imagenet_are_taken_for_what_is_usual() {
        let style = |kind, color, classes| Pixels::guessed(kind, color, classes).style;
        assert_eq!(style(Kind::Tflite, ColorOrder::Rgb, 1001), Some(Style::Tf));
        assert_eq!(style(Kind::OnnxOfTensorflow, ColorOrder::Rgb, 1000), Some(Style::Tf));
        assert_eq!(style(Kind::Onnx, ColorOrder::Rgb, 1000), Some(Style::Torch));
        for kind in [Kind::Tflite, Kind::OnnxOfTensorflow, Kind::Onnx] {
            assert_eq!(style(kind, ColorOrder::Rgb, 10), Some(Style::Unit), "{kind:?}");
            assert_eq!(style(kind, ColorOrder::Gray, 1000), Some(Style::Unit), "{kind:?}");
        }
        assert_eq!(usual_resize(ColorOrder::Rgb, 1001), Resize::ImagenetCrop);
        assert_eq!(usual_resize(ColorOrder::Rgb, 999), Resize::Stretch);
    }

    #[test]
    fn a_note_names_the_range() {
        let shape = Shape::new(4, 6, 3);
        let spec =
            InputSpec { shape, color: ColorOrder::Rgb, resize: Resize::ImagenetCrop, mean: [0.5; 3], std: [0.5; 3] };
        let note = Pixels::SCALE.note(&spec, Crop::AsStated, "--range");
        assert_eq!(
            note,
            "pictures: pixels of -1 to 1 (by the scale of its input); the middle, 87.5 % of the shorter side, at 4x6 (others: --range)"
        );
        let torch = InputSpec { mean: [0.0, 0.0, 0.5], std: [0.5, 1.0, 0.25], color: ColorOrder::Bgr, ..spec };
        let note = Pixels::STATED.note(&torch, Crop::Middle(0.5), "none");
        assert!(note.contains("blue first, pixels of 0 to 2, 0 to 1, -2 to 2, by channel"), "{note}");
        assert!(note.contains("the middle, 50.0 %"), "{note}");
    }
}
