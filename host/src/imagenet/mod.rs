//! Classifiers in files of other programs, used as they are: .onnx and .tflite files with the pictures and labels that they want.
//!
//! Float networks run in tract: an .onnx file itself, a .tflite file by way of our network and its ONNX form. Quantized networks are
//! compiled in memory and run by the runtime that boards have.

mod classifier;
mod float;
pub mod labels;
mod opened;
pub mod picture;
mod stated;
pub mod style;
mod usual;

pub use classifier::{Classifier, Engine, Request};
pub use float::{End, FloatModel, softmax};
pub use opened::Opened;
pub use picture::{Crop, prepare};
pub use style::Style;
pub use usual::{Kind, Pixels, usual_resize};

use ocelli::image::ColorOrder;
use std::path::Path;

/// Whether a network is taken for a classifier of ImageNet: colours, and 1,000 classes, or 1,001 with one for none of them.
#[must_use]
pub const fn is_imagenet(color: ColorOrder, classes: usize) -> bool {
    !matches!(color, ColorOrder::Gray) && matches!(classes, 1000 | 1001)
}

/// The folder that a file lies in.
fn folder(file: &Path) -> Option<&Path> {
    file.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}
