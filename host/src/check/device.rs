//! The firmware on an emulated board against the runtime on the host, byte for byte.

use super::scores;
use crate::data::Dataset;
use crate::model::{ModelBytes, classify};
use crate::train::argmax;
use anyhow::{Context, ensure};
use ocelli::image::{ColorOrder, InputSpec, PixelFormat, crop_rectangle};
use ocelli::ir::Shape;
use ocelli_firmware_tools::{Board, Event, Firmware, Frames, MissingTool, Toolchain, toolchain};
use serde::Serialize;
use std::path::Path;

/// Whether the board was run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceOutcome {
    /// It was.
    Ran(DeviceCheck),
    /// It was not: a tool is missing. One line, with the command that installs it.
    NotRun(String),
}

/// What a run on a board gave.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceCheck {
    /// The board.
    pub board: String,
    /// Names of the images that were run.
    pub images: Vec<String>,
    /// Output bytes compared.
    pub bytes: usize,
    /// Output bytes that differ from the host's.
    pub differing_bytes: usize,
    /// The first difference, in words.
    pub first_difference: Option<String>,
    /// Share of these images that the board got right.
    pub accuracy: f64,
    /// Instructions an image, conversion of the picture and inference (mean).
    pub instructions: u64,
    /// Flash of the whole image.
    pub flash_bytes: u64,
    /// The model file's part of it.
    pub flash_model_bytes: u64,
    /// Statics, the model's arena among them.
    pub ram_static_bytes: u64,
    /// Deepest stack.
    pub stack_bytes: u64,
    /// What the firmware logged.
    pub log: Vec<String>,
}

impl DeviceCheck {
    /// All the RAM that was used: statics and the deepest stack.
    #[must_use]
    pub const fn ram_bytes(&self) -> u64 {
        self.ram_static_bytes + self.stack_bytes
    }
}

/// Why a board cannot be run here, in one line with the command that helps; `None` when it can.
#[must_use]
pub fn not_available(board: &Board) -> Option<MissingTool> {
    Toolchain::find(board.target).err().or_else(|| toolchain::find_emulator(board).err())
}

/// Builds the firmware with the model at `path`, runs it on the first `images` images and compares every output byte.
///
/// # Errors
/// When the build or the run fails; a missing tool is no error but [`DeviceOutcome::NotRun`].
pub fn run_device(
    board: &'static Board,
    path: &Path,
    data: &Dataset,
    images: usize,
    progress: &mut dyn FnMut(usize),
) -> anyhow::Result<DeviceOutcome> {
    if let Some(missing) = not_available(board) {
        return Ok(DeviceOutcome::NotRun(missing.to_string()));
    }
    let toolchain = Toolchain::find(board.target)?;
    let firmware = ocelli_firmware_tools::build(board, &toolchain, path, None)?;
    run_firmware(board, &firmware, &ModelBytes::read(path)?, data, images, progress).map(DeviceOutcome::Ran)
}

/// Runs a firmware on the first `images` images and compares its outputs with those of `model` on the host.
///
/// # Errors
/// When the run fails or the images do not fit the model.
pub fn run_firmware(
    board: &'static Board,
    firmware: &Firmware,
    model: &ModelBytes,
    data: &Dataset,
    images: usize,
    progress: &mut dyn FnMut(usize),
) -> anyhow::Result<DeviceCheck> {
    ensure!(!data.is_empty() && images > 0, "there are no images to run on the board");
    let data = data.head(images);
    let frames = frames(&model.input_spec()?, (0..data.len()).map(|i| data.input(i)))?;
    let run = ocelli_firmware_tools::run(board, firmware, &frames, progress)?;
    ensure!(run.outputs.len() == data.len(), "the board answered {} of {} images", run.outputs.len(), data.len());
    let host = scores(model, &data)?;
    let classes = host.len() / data.len();
    let mut check = DeviceCheck {
        board: board.name.to_owned(),
        images: data.names.clone(),
        bytes: host.len(),
        differing_bytes: 0,
        first_difference: None,
        accuracy: 0.0,
        instructions: run.instructions.iter().sum::<u64>() / run.instructions.len().max(1) as u64,
        flash_bytes: firmware.flash_bytes,
        flash_model_bytes: firmware.flash_model_bytes,
        ram_static_bytes: firmware.ram_static_bytes,
        stack_bytes: u64::from(run.stack_bytes),
        log: run.log,
    };
    let mut right = 0;
    for (i, (device, host)) in run.outputs.iter().zip(host.chunks_exact(classes)).enumerate() {
        ensure!(device.len() == host.len(), "the board gave {} scores, the host {}", device.len(), host.len());
        let differing = device.iter().zip(host).filter(|(a, b)| a != b).count();
        check.differing_bytes += differing;
        if let (None, Some(at)) = (&check.first_difference, device.iter().zip(host).position(|(a, b)| a != b)) {
            let name = data.names.get(i).context("an image has no name")?;
            check.first_difference =
                Some(format!("image '{name}', score {at}: {} on the board, {} on the host", device[at], host[at]));
        }
        right += usize::from(argmax(device) == data.targets[i]);
    }
    check.accuracy = right as f64 / data.len() as f64;
    Ok(check)
}

/// What a board makes of photos.
#[derive(Clone, Debug)]
pub struct PhotoRun {
    /// The board's scores of each photo.
    pub outputs: Vec<Vec<i8>>,
    /// Instructions of each.
    pub instructions: Vec<u64>,
    /// Output bytes that differ from the host's.
    pub differing_bytes: usize,
}

/// Runs a firmware on photos that were brought to the model's size ([`to_input`](crate::data::to_input)) and compares its outputs with
/// those of `model` on the host. `hear` is told how far it is, and with `watch` what the firmware logs.
///
/// # Errors
/// When the run fails or the photos do not fit the model.
pub fn run_photos(
    board: &'static Board,
    firmware: &Firmware,
    model: &ModelBytes,
    photos: &[Vec<u8>],
    watch: bool,
    hear: &mut dyn FnMut(Event<'_>),
) -> anyhow::Result<PhotoRun> {
    let frames = frames(&model.input_spec()?, photos.iter().map(Vec::as_slice))?;
    let run = if watch {
        ocelli_firmware_tools::watch(board, firmware, &frames, hear)?
    } else {
        ocelli_firmware_tools::run(board, firmware, &frames, &mut |done| hear(Event::Done(done)))?
    };
    ensure!(run.outputs.len() == photos.len(), "the board answered {} of {} photos", run.outputs.len(), photos.len());
    let host: Vec<Vec<i8>> =
        model.with_session(|session| photos.iter().map(|pixels| classify(session, pixels)).collect())?;
    let mut differing_bytes = 0;
    for (device, host) in run.outputs.iter().zip(&host) {
        ensure!(device.len() == host.len(), "the board gave {} scores, the host {}", device.len(), host.len());
        differing_bytes += device.iter().zip(host).filter(|(a, b)| a != b).count();
    }
    Ok(PhotoRun { outputs: run.outputs, instructions: run.instructions, differing_bytes })
}

/// Pictures of the network's size as camera frames. Where the board crops what a camera delivers, they get a black border that is cropped
/// off again.
fn frames<'p>(spec: &InputSpec, pictures: impl Iterator<Item = &'p [u8]>) -> anyhow::Result<Frames> {
    let format = if spec.color == ColorOrder::Gray { PixelFormat::Gray8 } else { PixelFormat::Rgb888 };
    let [width, height, left, top] = uncropped(spec)?;
    let [bytes, row] = [spec.color.channels() as usize, spec.shape.w as usize * spec.color.channels() as usize];
    let frame = |picture: &[u8]| {
        let mut pixels = vec![0; (width * height) as usize * bytes];
        for (y, picture) in picture.chunks_exact(row.max(1)).enumerate() {
            let start = ((top as usize + y) * width as usize + left as usize) * bytes;
            pixels[start..start + row].copy_from_slice(picture);
        }
        if spec.color == ColorOrder::Bgr {
            pixels.chunks_exact_mut(3).for_each(|pixel| pixel.reverse()); // cameras deliver red first
        }
        pixels
    };
    Ok(Frames { width, height, format, frames: pictures.map(frame).collect() })
}

/// Width and height of the smallest frame of which the network sees a part of its own size, and where that lies.
fn uncropped(spec: &InputSpec) -> anyhow::Result<[u32; 4]> {
    let Shape { h, w, .. } = spec.shape;
    let sizes =
        (h..=h.saturating_mul(2)).flat_map(|height| (w..=w.saturating_mul(2)).map(move |width| [width, height]));
    let mut frames = sizes.map(|size| (size, crop_rectangle(spec, size)));
    let found = frames.find(|(_, [.., width, height])| [*width, *height] == [w, h]);
    let ([width, height], [left, top, ..]) =
        found.with_context(|| format!("no camera frame is cropped to {w} x {h} pixels"))?;
    Ok([width, height, left, top])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli::image::{FrameConverter, Resize};

    #[test]
    fn a_board_sees_the_picture_that_the_host_sees_whatever_it_crops() {
        for resize in Resize::ALL {
            for (h, w, color) in [(8, 8, ColorOrder::Rgb), (24, 32, ColorOrder::Bgr), (15, 7, ColorOrder::Gray)] {
                let shape = Shape::new(h, w, color.channels());
                let spec = InputSpec { shape, color, resize, mean: [0.0; 3], std: [1.0; 3] };
                let picture: Vec<u8> = (1..=shape.elements().unwrap()).map(|v| (v % 251 + 1) as u8).collect();
                let frames = frames(&spec, std::iter::once(&picture[..])).unwrap();
                assert_eq!(resize == Resize::ImagenetCrop, (frames.width, frames.height) != (w, h));
                let mut scratch = vec![0; FrameConverter::scratch_words(shape)];
                let size = [frames.width, frames.height];
                let mut converter = FrameConverter::new(&spec, frames.format, size, &mut scratch).unwrap();
                let row = usize::try_from(frames.format.row_bytes(frames.width)).unwrap();
                let mut seen = Vec::new();
                for row in frames.frames[0].chunks_exact(row) {
                    converter.push_row(row, |_, pixels| seen.extend(pixels.iter().map(|&v| v as u8)));
                }
                assert_eq!(seen, picture, "{resize:?} {h}x{w}");
            }
        }
    }
}
