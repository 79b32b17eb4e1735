//! Images by number, wherever their pixels are: what the feed takes its batches from, and what a network is judged on.

use super::{DataError, Dataset, Skipped};
use ocelli::ir::Shape;
use std::sync::Arc;

/// Images at a network's input size with their classes; a [`Dataset`] holds them in memory, an
/// image set larger than memory decodes each when it is asked for.
pub trait ImageSource: Send + Sync {
    /// Class names, in the order of the network's outputs.
    fn labels(&self) -> &[String];

    /// Rows, columns and channels of an image.
    fn shape(&self) -> Shape;

    /// The right class of each image.
    fn targets(&self) -> &[usize];

    /// What to call each image: its file in the dataset's folder, or set and index (`test image 17`).
    fn names(&self) -> &[String];

    /// Files that could not be used.
    fn skipped(&self) -> &[Skipped];

    /// Writes the pixels of image `i` before normalization, `[h, w, c]`, to `out`.
    ///
    /// # Errors
    /// When the file has changed or gone since the set was opened.
    ///
    /// # Panics
    /// When there is no such image, or `out` has another length.
    fn pixels(&self, i: usize, out: &mut [u8]) -> Result<(), DataError>;

    /// The pixels of image `i`, where they are in memory.
    fn in_memory(&self, _i: usize) -> Option<&[u8]> {
        None
    }

    /// Number of images.
    fn len(&self) -> usize {
        self.targets().len()
    }

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.targets().is_empty()
    }

    /// The right class of image `i`.
    ///
    /// # Panics
    /// When there is no such image.
    fn target(&self, i: usize) -> usize {
        self.targets()[i]
    }

    /// Bytes of an image.
    fn image_len(&self) -> usize {
        self.shape().elements().unwrap_or(0) as usize
    }
}

impl ImageSource for Dataset {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn targets(&self) -> &[usize] {
        &self.targets
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    fn pixels(&self, i: usize, out: &mut [u8]) -> Result<(), DataError> {
        out.copy_from_slice(self.input(i));
        Ok(())
    }

    fn in_memory(&self, i: usize) -> Option<&[u8]> {
        Some(self.input(i))
    }
}

impl<S: ImageSource + ?Sized> ImageSource for Arc<S> {
    fn labels(&self) -> &[String] {
        (**self).labels()
    }

    fn shape(&self) -> Shape {
        (**self).shape()
    }

    fn targets(&self) -> &[usize] {
        (**self).targets()
    }

    fn names(&self) -> &[String] {
        (**self).names()
    }

    fn skipped(&self) -> &[Skipped] {
        (**self).skipped()
    }

    fn pixels(&self, i: usize, out: &mut [u8]) -> Result<(), DataError> {
        (**self).pixels(i, out)
    }

    fn in_memory(&self, i: usize) -> Option<&[u8]> {
        (**self).in_memory(i)
    }
}
