//! A model file on disk, and frames through it on all cores.

use crate::frame::{Frame, yuyv_to_rgb};
use anyhow::{Context, bail};
use ocelli::image::{FrameConverter, FrameError, InputSpec, PixelFormat, quantize_row};
use ocelli::kernels::blocked::Level;
use ocelli::model::Model;
use ocelli::runtime::threads::{Team, with_threads};
use std::path::{Path, PathBuf};

/// The model's name in a run folder.
const MODEL_FILE: &str = "model.ocelli";
/// Bytes that a model file may have.
const MOST_BYTES: u64 = 1 << 30;

/// A model file, aligned as the runtime wants it.
#[derive(Clone, Debug)]
pub struct ModelFile {
    path: PathBuf,
    words: Vec<u64>,
    len: usize,
}

impl ModelFile {
    /// Reads and checks a model file, or the one in a run folder.
    ///
    /// # Errors
    /// When it cannot be read, is refused, or its input is no picture.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let path = if path.is_dir() { path.join(MODEL_FILE) } else { path.to_owned() };
        let size = std::fs::metadata(&path)
            .with_context(|| format!("cannot read the model {}: give a model.ocelli or a run folder", path.display()))?
            .len();
        if size > MOST_BYTES {
            bail!("{}: {size} bytes are no model file", path.display());
        }
        let file = std::fs::read(&path).with_context(|| format!("cannot read the model {}", path.display()))?;
        let mut words = vec![0_u64; file.len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..file.len()].copy_from_slice(&file);
        let found = Self { path, words, len: file.len() };
        let model = Model::parse(found.bytes()).with_context(|| found.path.display().to_string())?;
        model.input_spec().with_context(|| format!("{}: the model's input is no picture", found.path.display()))?;
        Ok(found)
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice::<u64, u8>(&self.words).get(..self.len).unwrap_or(&[])
    }

    /// Where it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that it lies in: a run folder holds the networks that it was made from, too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }

    /// The checked view.
    ///
    /// # Errors
    /// When the file is refused.
    pub fn model(&self) -> anyhow::Result<Model<'_>> {
        Model::parse(self.bytes()).with_context(|| self.path.display().to_string())
    }

    /// The names of the classes, in the order of the scores.
    ///
    /// # Errors
    /// When the file is refused.
    pub fn labels(&self) -> anyhow::Result<Vec<String>> {
        let model = self.model()?;
        let classes = model.output().map_or(0, |output| output.h * output.w * output.c);
        let label = |class: u32| model.label(usize::try_from(class).unwrap_or(usize::MAX)).map(str::to_owned);
        Ok((0..classes).map(|class| label(class).unwrap_or_else(|| class.to_string())).collect())
    }

    /// Calls `work` with a classifier on `threads` threads. A model for a chip keeps a few rows of a picture, and runs on one thread.
    ///
    /// # Errors
    /// When the model is refused.
    pub fn with_classifier<T>(
        &self,
        threads: usize,
        work: impl FnOnce(&mut Classifier<'_, '_, '_, '_>) -> T,
    ) -> anyhow::Result<T> {
        let model = self.model()?;
        let spec = model.input_spec().context("the model's input is no picture")?;
        let done = with_threads(model, threads, Level::detect(), |team| {
            let elements = usize::try_from(spec.shape.elements().unwrap_or(0)).unwrap_or(0);
            work(&mut Classifier {
                lut: model.pixel_lut().to_vec(),
                spec,
                scratch: vec![0; FrameConverter::scratch_words(spec.shape)],
                rgb: Vec::new(),
                keeps_pixels: false,
                pixels: Vec::new(),
                input: Vec::with_capacity(elements),
                team,
            })
        });
        done.with_context(|| self.path.display().to_string())
    }
}

/// Runs frames through a model.
pub struct Classifier<'c, 't, 'm, 'a> {
    /// The quantized input for each pixel value, of each channel.
    lut: Vec<i8>,
    spec: InputSpec,
    scratch: Vec<u32>,
    /// A row of the frame, where its layout is not converted as it is.
    rgb: Vec<u8>,
    keeps_pixels: bool,
    /// The network's input as pixel values, `[h, w, c]`, where they are kept.
    pixels: Vec<u8>,
    input: Vec<i8>,
    team: &'c mut Team<'t, 'm, 'a>,
}

impl Classifier<'_, '_, '_, '_> {
    /// Converts a frame by the code that training and chips use, and runs it; returns the int8 scores.
    ///
    /// # Errors
    /// When the frame's size cannot be converted.
    pub fn classify(&mut self, frame: &Frame) -> Result<&[i8], FrameError> {
        self.convert(frame)?;
        Ok(self.run())
    }

    /// Converts a frame to the network's input.
    ///
    /// # Errors
    /// When the frame's size cannot be converted.
    pub fn convert(&mut self, frame: &Frame) -> Result<(), FrameError> {
        let size = [frame.width, frame.height];
        let is_yuyv = frame.format == PixelFormat::Yuyv;
        let format = if is_yuyv { PixelFormat::Rgb888 } else { frame.format };
        let mut converter = FrameConverter::new(&self.spec, format, size, &mut self.scratch)?;
        let row_len = usize::try_from(self.spec.shape.row_len().unwrap_or(0)).unwrap_or(0);
        self.pixels.clear();
        self.input.clear();
        let (input, pixels, lut, keeps_pixels) = (&mut self.input, &mut self.pixels, &self.lut, self.keeps_pixels);
        for row in frame.rows() {
            let row = if is_yuyv { yuyv_to_rgb(row, frame.width, &mut self.rgb) } else { row };
            converter.push_row(row, |_y, values| {
                if keeps_pixels {
                    pixels.extend(values.iter().map(|&value| u8::try_from(value).unwrap_or(u8::MAX)));
                }
                let start = input.len();
                input.resize(start + row_len, 0);
                quantize_row(lut, values, input.get_mut(start..).unwrap_or_default());
            });
        }
        Ok(())
    }

    /// Runs the input that was converted last.
    pub fn run(&mut self) -> &[i8] {
        // a converter hands out every row of the input
        self.team.run_frame(&self.input).unwrap_or(&[])
    }

    /// Keeps the pixels of the inputs to come, for [`real_input`](Self::real_input).
    pub const fn keep_pixels(&mut self) {
        self.keeps_pixels = true;
    }

    /// The real values of the input that was converted last, `[h, w, c]`; none unless [pixels are kept](Self::keep_pixels).
    pub fn real_input(&self) -> impl Iterator<Item = f32> {
        let channels = usize::try_from(self.spec.shape.c).unwrap_or(1).max(1);
        self.pixels.iter().enumerate().map(move |(index, &pixel)| self.spec.normalize(index % channels, pixel))
    }

    /// How a picture becomes the input.
    #[must_use]
    pub const fn spec(&self) -> &InputSpec {
        &self.spec
    }

    /// Threads that share a frame.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.team.threads()
    }
}

/// The number of cores that this program may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_gives_the_scores_of_the_networks_own_conversion() {
        for model in ["mnist-cnn", "cifar-cnn"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../models").join(model);
            let file = ModelFile::read(&path).unwrap();
            // smaller than the input, as large as it, larger, with an odd width
            for [width, height] in [[20, 24], [28, 28], [32, 32], [71, 40], [320, 240]] {
                let row = usize::try_from(PixelFormat::Yuyv.row_bytes(width)).unwrap();
                let bytes = (0..row * usize::try_from(height).unwrap()).map(|i| (i * i / 7 + i / 640) as u8).collect();
                let frame = Frame { width, height, format: PixelFormat::Yuyv, pixels: bytes, ..Frame::default() };
                file.with_classifier(1, |classifier| {
                    classifier.convert(&frame).unwrap();
                    assert_eq!(classifier.real_input().count(), 0, "nothing is kept that nobody wants");
                    let mut expected = Vec::new();
                    let spec = *classifier.spec();
                    let mut scratch = vec![0; FrameConverter::scratch_words(spec.shape)];
                    let mut converter =
                        FrameConverter::new(&spec, frame.format, [width, height], &mut scratch).unwrap();
                    for row in frame.rows() {
                        converter.push_row(row, |_, values| {
                            let start = expected.len();
                            expected.resize(start + values.len(), 0);
                            quantize_row(&classifier.lut, values, &mut expected[start..]);
                        });
                    }
                    assert!(classifier.input == expected, "{model} {width} x {height}");
                })
                .unwrap();
            }
        }
    }
}
