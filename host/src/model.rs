//! Model files on the host: read from disk, run on pictures.

use anyhow::{Context, ensure};
use ocelli::image::InputSpec;
use ocelli::model::Model;
use ocelli::runtime::{Session, Step};
use std::path::Path;

/// The bytes of a model file, aligned as the runtime wants them.
#[derive(Clone, Debug)]
pub struct ModelBytes {
    words: Vec<u64>,
    len: usize,
}

impl ModelBytes {
    /// Reads and checks a model file.
    ///
    /// # Errors
    /// When it cannot be read or is refused; the error names the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::read(path).with_context(|| format!("cannot read the model {}", path.display()))?;
        let bytes = Self::new(&file);
        bytes.model().with_context(|| path.display().to_string())?;
        Ok(bytes)
    }

    /// Copies bytes to an aligned place; they are not checked.
    #[must_use]
    pub fn new(file: &[u8]) -> Self {
        let mut words = vec![0_u64; file.len().div_ceil(8)];
        for (word, chunk) in words.iter_mut().zip(file.chunks(8)) {
            let mut bytes = [0; 8];
            bytes[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(bytes);
        }
        Self { words, len: file.len() }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        bytemuck::cast_slice::<u64, u8>(&self.words).get(..self.len).unwrap_or(&[])
    }

    /// The checked view.
    ///
    /// # Errors
    /// When the file is refused.
    pub fn model(&self) -> anyhow::Result<Model<'_>> {
        Ok(Model::parse(self.as_slice())?)
    }

    /// Calls `work` with a session over this model, in working memory of exactly the size that the file states.
    ///
    /// # Errors
    /// When the file is refused, or `work` fails.
    pub fn with_session<T>(&self, work: impl FnOnce(&mut Session<'_, '_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let model = self.model()?;
        let needed = model.arena_bytes() as usize;
        let mut arena = vec![0_u64; needed.div_ceil(8)];
        let arena = bytemuck::cast_slice_mut::<u64, u8>(&mut arena);
        let mut session = Session::with_model(model, arena.get_mut(..needed).unwrap_or_default())?;
        work(&mut session)
    }

    /// How a picture becomes the input.
    ///
    /// # Errors
    /// When the model's input is no picture.
    pub fn input_spec(&self) -> anyhow::Result<InputSpec> {
        self.model()?.input_spec().context("the model's input is no picture")
    }
}

/// Runs a picture that has the network's size and colour order (`[h, w, c]` bytes); returns the int8 scores.
///
/// # Errors
/// When `pixels` has another size than the input.
pub fn classify(session: &mut Session<'_, '_>, pixels: &[u8]) -> anyhow::Result<Vec<i8>> {
    let frame = quantize_pixels(session.model(), pixels)?;
    Ok(session.run_frame(&frame).context("the frame has the wrong size")?.to_vec())
}

/// The int8 input that a picture becomes.
///
/// # Errors
/// When `pixels` has another size than the input.
pub fn quantize_pixels(model: &Model<'_>, pixels: &[u8]) -> anyhow::Result<Vec<i8>> {
    let needed = model.input_shape().elements().unwrap_or(0) as usize;
    ensure!(pixels.len() == needed, "the model takes {} ({needed} values), got {}", model.input_shape(), pixels.len());
    let words: Vec<u32> = pixels.iter().map(|&v| u32::from(v)).collect();
    let mut frame = vec![0; pixels.len()];
    ocelli::image::quantize_row(model.pixel_lut(), &words, &mut frame);
    Ok(frame)
}

/// Runs an int8 frame and collects every operator's whole output.
///
/// # Errors
/// When `frame` has another size than the input.
pub fn run_observed(session: &mut Session<'_, '_>, frame: &[i8]) -> anyhow::Result<Vec<Vec<i8>>> {
    let mut outputs = vec![Vec::new(); session.model().graph().ops.len()];
    run_observing(session, frame, |op, values| {
        if let Some(output) = outputs.get_mut(op) {
            output.extend_from_slice(values);
        }
    })?;
    Ok(outputs)
}

/// Runs a frame and shows the rows of every operator's output, as they are made, with the operator's place.
///
/// # Errors
/// When `frame` has another size than the input.
pub fn run_observing(
    session: &mut Session<'_, '_>,
    frame: &[i8],
    mut observe: impl FnMut(usize, &[i8]),
) -> anyhow::Result<()> {
    let shape = session.model().input_shape();
    let row_len = shape.row_len().unwrap_or(0) as usize;
    ensure!(frame.len() == row_len * shape.h as usize, "the frame has the wrong size");
    session.restart();
    for row in frame.chunks_exact(row_len.max(1)) {
        session.push_row_observed(
            |slot| slot.copy_from_slice(row),
            |Step { op, row }| {
                if let Some((_, values)) = row {
                    observe(op, values);
                }
            },
        );
    }
    Ok(())
}

/// Probabilities of softmax scores: steps of 1/256 from -128.
#[must_use]
pub fn probabilities(scores: &[i8]) -> Vec<f32> {
    scores.iter().map(|&q| f32::from(i16::from(q) + 128) / 256.0).collect()
}
