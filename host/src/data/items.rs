//! A set's pictures as they lie there: each can be decoded at any time, by any thread.

use super::DataError;
use super::blob::Blob;
use super::image::{RawImage, to_input};
use ocelli::image::{InputSpec, PixelFormat};
use std::path::Path;
use std::sync::Arc;

/// A picture with its class.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// What to call it.
    pub(super) name: String,
    /// The right class.
    pub(super) class: usize,
    pub(super) picture: Picture,
}

/// A picture that is not decoded yet.
#[derive(Clone, Debug)]
pub(super) enum Picture {
    /// A picture file.
    File(Blob),
    /// One of many raw pictures of one size.
    Raw(Arc<RawPictures>, usize),
}

/// Pictures of one size, in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct RawPictures {
    width: u32,
    height: u32,
    gray: bool,
    pixels: Vec<u8>,
}

impl RawPictures {
    /// Adds a picture, which must be like the ones before it.
    pub(super) fn push(&mut self, picture: &RawImage) {
        (self.width, self.height) = (picture.width, picture.height);
        self.gray = picture.format == PixelFormat::Gray8;
        self.pixels.extend_from_slice(&picture.pixels);
    }

    /// Bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.pixels.len() as u64
    }

    fn get(&self, index: usize) -> RawImage {
        let format = if self.gray { PixelFormat::Gray8 } else { PixelFormat::Rgb888 };
        let size = (if self.gray { 1 } else { 3 }) * self.width as usize * self.height as usize;
        let pixels = self.pixels[index * size..(index + 1) * size].to_vec();
        RawImage { width: self.width, height: self.height, format, pixels }
    }
}

impl Picture {
    /// Decodes the picture at its own size.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn decode(&self) -> Result<RawImage, String> {
        match self {
            Self::File(blob) => blob.read().map_err(|e| e.to_string()).and_then(|bytes| RawImage::decode(&bytes)),
            Self::Raw(pictures, index) => Ok(pictures.get(*index)),
        }
    }

    /// Decodes the picture at a network's input size.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn input(&self, spec: &InputSpec) -> Result<Vec<u8>, String> {
        to_input(&self.decode()?, spec).map_err(|e| e.to_string())
    }

    /// The file, if it is one.
    pub(super) fn blob(&self) -> Option<&Blob> {
        match self {
            Self::File(blob) => Some(blob),
            Self::Raw(..) => None,
        }
    }
}

impl Item {
    /// The file, or what stands for it in messages.
    pub(super) fn path(&self) -> &Path {
        self.picture.blob().map_or_else(|| Path::new(&self.name), Blob::path)
    }

    /// An error that names the picture.
    pub(super) fn error(&self, reason: String) -> DataError {
        DataError::Image { path: self.path().to_owned(), reason }
    }
}
