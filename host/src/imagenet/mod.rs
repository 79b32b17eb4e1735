//! Classifiers in files of other programs, used as they are: .onnx and .tflite files with the pictures and labels that they want.
//!
//! Float networks run in tract: an .onnx file itself, a .tflite file by way of our network and its ONNX form. Quantized networks are
//! compiled in memory and run by the runtime that boards have.

mod classifier;
mod float;
pub mod labels;
pub mod picture;
mod stated;
pub mod style;

pub use classifier::{Classifier, Engine, Request};
pub use float::{End, FloatModel, softmax};
pub use picture::{Crop, prepare};
pub use style::Style;

use ocelli::image::ColorOrder;

/// Share of the shorter side that classifiers of ImageNet are judged on: 224 pixels of 256.
pub const USUAL_SHARE: f32 = 0.875;

/// Whether a network is taken for a classifier of ImageNet: colours, and 1,000 classes, or 1,001 with one for none of them.
#[must_use]
pub const fn is_imagenet(color: ColorOrder, classes: usize) -> bool {
    !matches!(color, ColorOrder::Gray) && matches!(classes, 1000 | 1001)
}
