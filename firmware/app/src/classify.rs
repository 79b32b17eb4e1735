//! Pulls rows from a camera and turns them into class scores; a frame is never stored.

use crate::camera::{Camera, CameraError, Recovery};
use core::fmt;
use heapless::Vec;
use ocelli::image::{FrameConverter, FrameError, InputSpec};
use ocelli::ir::Shape;
use ocelli::model::records::kind;
use ocelli::model::{LoadError, Model};
use ocelli::runtime::{EVERY_KIND, SessionOf};
use ocelli::team::{Solo, Team};

/// The memory that a [`ClassifierOf`] works in; a board makes it `static`.
#[derive(Debug)]
pub struct Memory<'b> {
    /// [`Model::arena_bytes`] bytes, aligned to 4 (see `ocelli::runtime::Arena`).
    pub arena: &'b mut [u8],
    /// [`FrameConverter::scratch_words`] words for the model's input.
    pub scratch: &'b mut [u32],
    /// One camera row: as many bytes as the widest frame needs.
    pub row: &'b mut [u8],
}

/// A classifier that takes any model.
pub type Classifier<'m, 'b> = ClassifierOf<'m, 'b, EVERY_KIND>;

/// A model that classifies pictures, and the memory it works in. Only the kernels of the set `KINDS` are compiled in
/// (see [`SessionOf`]).
#[derive(Debug)]
pub struct ClassifierOf<'m, 'b, const KINDS: u32> {
    session: SessionOf<'m, 'b, KINDS>,
    spec: InputSpec,
    scratch: &'b mut [u32],
    row: &'b mut [u8],
}

/// A class and how sure the network is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scored {
    /// Index of the class, for [`Model::label`].
    pub class: usize,
    /// The network's int8 output for the class.
    pub score: i8,
    /// Probability in 1/1000; `None` when the network does not end in softmax.
    pub permille: Option<u16>,
}

/// Why a model cannot classify pictures here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SetupError {
    /// The model file was refused.
    Load(LoadError),
    /// The model's input is no picture.
    NotAPicture,
    /// The scratch memory is too short.
    Scratch {
        /// Words that there are.
        found: usize,
        /// Words that are needed.
        needed: usize,
    },
}

/// Why a frame was not classified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ClassifyError<E> {
    /// The camera's frames cannot be converted to the network's input.
    Frame(FrameError),
    /// A camera row is longer than the row memory.
    Row {
        /// Bytes that there are.
        found: usize,
        /// Bytes of a row.
        needed: u64,
    },
    /// The camera failed.
    Camera(E),
}

impl<'m, 'b, const KINDS: u32> ClassifierOf<'m, 'b, KINDS> {
    /// Checks a model file and takes the memory.
    ///
    /// # Errors
    /// When the file is refused, its input is no picture, or the memory is too small.
    pub fn load(file: &'m [u8], memory: Memory<'b>) -> Result<Self, SetupError> {
        let Memory { arena, scratch, row } = memory;
        let session = SessionOf::load(file, arena).map_err(SetupError::Load)?;
        let spec = session.model().input_spec().ok_or(SetupError::NotAPicture)?;
        let (found, needed) = (scratch.len(), FrameConverter::scratch_words(spec.shape));
        if found < needed {
            return Err(SetupError::Scratch { found, needed });
        }
        Ok(Self { session, spec, scratch, row })
    }

    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Model<'m> {
        self.session.model()
    }

    /// Takes one frame from the camera and returns its int8 scores.
    ///
    /// # Shapes
    /// The camera's rows: [`PixelFormat::row_bytes`](ocelli::image::PixelFormat::row_bytes) of its width, as many as its
    /// height; the result is the network's output, `[h, w, c]`.
    ///
    /// # Errors
    /// When the camera fails or its frames cannot be converted. A frame that failed halfway is dropped: the next call begins
    /// a new one, for which the camera must start at row 0 (see [`Camera::next_row`]), and until it has succeeded
    /// [`top_k`](Self::top_k) means nothing.
    pub fn classify<C: Camera>(&mut self, camera: &mut C) -> Result<&[i8], ClassifyError<C::Error>> {
        self.classify_with(camera, &mut Solo)
    }

    /// As [`classify`](Self::classify), with the cores of `team` sharing the work (see [`SessionOf::push_row_with`]).
    ///
    /// # Errors
    /// As [`classify`](Self::classify).
    pub fn classify_with<C: Camera, T: Team>(
        &mut self,
        camera: &mut C,
        team: &mut T,
    ) -> Result<&[i8], ClassifyError<C::Error>> {
        let (format, size) = (camera.format(), camera.size());
        let row = camera_row(self.row, camera)?;
        let mut converter =
            FrameConverter::new(&self.spec, format, size, self.scratch).map_err(ClassifyError::Frame)?;
        let session = &mut self.session;
        let lut = session.model().pixel_lut();
        session.restart();
        camera.begin_frame().map_err(ClassifyError::Camera)?;
        for _ in 0..size[1] {
            camera.next_row(row).map_err(ClassifyError::Camera)?;
            converter.push_row(row, |_, pixels| {
                session.push_row_with(team, |values| ocelli::image::quantize_row(lut, pixels, values), |_| {});
            });
        }
        Ok(session.output())
    }

    /// Reads a frame and throws it away, as while a camera's exposure settles.
    ///
    /// # Errors
    /// When the camera fails or its rows are longer than the row memory.
    pub fn skip_frame<C: Camera>(&mut self, camera: &mut C) -> Result<(), ClassifyError<C::Error>> {
        let row = camera_row(self.row, camera)?;
        camera.begin_frame().map_err(ClassifyError::Camera)?;
        (0..camera.size()[1]).try_for_each(|_| camera.next_row(row)).map_err(ClassifyError::Camera)
    }

    /// Takes frames until one arrives whole, and returns its int8 scores: a broken frame is dropped and counted in `recovery`, the
    /// camera is put in order ([`Camera::recover`]), and the next frame is tried.
    ///
    /// # Errors
    /// When `recovery` gives up, with the last error, or at once when the frames cannot be converted.
    pub fn classify_whole<C>(
        &mut self,
        camera: &mut C,
        recovery: &mut Recovery,
    ) -> Result<&[i8], ClassifyError<C::Error>>
    where
        C: Camera<Error: CameraError>,
    {
        self.classify_whole_with(camera, recovery, &mut Solo)
    }

    /// As [`classify_whole`](Self::classify_whole), with the cores of `team` sharing the work.
    ///
    /// # Errors
    /// As [`classify_whole`](Self::classify_whole).
    pub fn classify_whole_with<C, T>(
        &mut self,
        camera: &mut C,
        recovery: &mut Recovery,
        team: &mut T,
    ) -> Result<&[i8], ClassifyError<C::Error>>
    where
        C: Camera<Error: CameraError>,
        T: Team,
    {
        let mut result = self.classify_with(camera, team).map(|_| ());
        while let Err(ClassifyError::Camera(error)) = &result {
            let fault = error.fault();
            if !recovery.failed(fault) {
                break;
            }
            result = match camera.recover(fault) {
                Ok(()) => self.classify_with(camera, team).map(|_| ()),
                Err(error) => Err(ClassifyError::Camera(error)),
            };
        }
        result?;
        recovery.succeeded();
        Ok(self.session.output())
    }

    /// The `K` best classes of the latest frame, best first; of equal scores the lower class comes first.
    #[must_use]
    pub fn top_k<const K: usize>(&self) -> Vec<Scored, K> {
        let ends_in_softmax = self.model().graph().ops.last().is_some_and(|op| op.kind == kind::SOFTMAX);
        let mut best = top_k(self.session.output());
        for scored in &mut best {
            scored.permille = ends_in_softmax.then(|| softmax_permille(scored.score));
        }
        best
    }

    /// Shape of the network's input.
    #[must_use]
    pub const fn input_shape(&self) -> Shape {
        self.spec.shape
    }
}

/// The memory of one row of a camera.
fn camera_row<'r, C: Camera>(row: &'r mut [u8], camera: &C) -> Result<&'r mut [u8], ClassifyError<C::Error>> {
    let (found, needed) = (row.len(), camera.format().row_bytes(camera.size()[0]));
    let row = usize::try_from(needed).ok().and_then(|len| row.get_mut(..len));
    row.ok_or(ClassifyError::Row { found, needed })
}

/// The `K` largest of `scores`, largest first, without probabilities.
#[must_use]
pub fn top_k<const K: usize>(scores: &[i8]) -> Vec<Scored, K> {
    let mut best: Vec<Scored, K> = Vec::new();
    for (class, &score) in scores.iter().enumerate() {
        let place = best.iter().position(|other| other.score < score).unwrap_or(best.len());
        if place == K {
            continue;
        }
        if best.is_full() {
            best.pop();
        }
        // cannot be full: either there was room or the last was taken out
        let _ = best.insert(place, Scored { class, score, permille: None });
    }
    best
}

/// Probability, in 1/1000 and rounded, of a softmax output: its scale is 1/256 and its zero point -128.
#[must_use]
pub const fn softmax_permille(score: i8) -> u16 {
    let steps = (score as i16 + 128).unsigned_abs() as u32; // 0..=255
    ((steps * 1000 + 128) / 256) as u16 // at most 996
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => error.fmt(f),
            Self::NotAPicture => f.write_str("the model's input is no picture"),
            Self::Scratch { found, needed } => write!(f, "the model needs {needed} words of scratch, got {found}"),
        }
    }
}

impl core::error::Error for SetupError {}

impl<E: fmt::Display> fmt::Display for ClassifyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Row { found, needed } => write!(f, "a camera row has {needed} bytes, the row memory {found}"),
            Self::Camera(error) => write!(f, "camera: {error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ClassifyError<E> {}

#[cfg(test)]
pub(crate) mod tests;
