//! The bench's loop: a frame in, its scores and ticks out.

use crate::clock::{CALIBRATION_INSTRUCTIONS, Clock};
use crate::config;
use crate::fault;
use crate::file_camera::{FileCamera, OpenError, ReadError};
use ocelli_app::bench::{RESULTS_FILE, ResultsHeader};
use ocelli_app::classify::{ClassifierOf, ClassifyError, Memory, SetupError};
use semihosting::fs::File;
use semihosting::io::Write;

/// Why a run failed.
#[derive(Clone, Copy, Debug, defmt::Format)]
pub enum RunError {
    /// The model was refused.
    Setup(SetupError),
    /// The frames file was refused.
    Frames(OpenError),
    /// A frame was not classified.
    Frame {
        /// Number of the frame.
        index: u32,
        /// The reason.
        error: ClassifyError<ReadError>,
    },
    /// The results file cannot be written.
    Results,
}

/// Classifies all frames; returns how many there were.
pub fn run(model: &[u8], memory: Memory<'_>, clock: Clock) -> Result<u32, RunError> {
    // Without the kernels that the model does not need.
    let mut classifier = ClassifierOf::<{ config::KINDS }>::load(model, memory).map_err(RunError::Setup)?;
    let mut camera = FileCamera::open(clock).map_err(RunError::Frames)?;
    let mut results = Results::create()?;
    let scores = classifier.model().output().and_then(|output| output.shape().elements()).unwrap_or(0);
    let head = ResultsHeader {
        scores,
        calibration_instructions: CALIBRATION_INSTRUCTIONS,
        calibration_ticks: clock.calibrate(),
    };
    results.append(&head.to_bytes())?;
    for index in 0..camera.frames() {
        let start = clock.now();
        let scores = classifier.classify(&mut camera).map_err(|error| RunError::Frame { index, error })?;
        let ticks = clock.now().wrapping_sub(start).wrapping_sub(camera.take_waited());
        results.append(bytemuck::cast_slice(scores))?;
        results.append(&ticks.to_le_bytes())?;
        // not there unless the host builds it with DEFMT_LOG=debug
        defmt::debug!("frame {=u32}: {=str}, score {=i8}", index, best(&classifier).0, best(&classifier).1);
    }
    results.append(&fault::check_stack().to_le_bytes())?;
    Ok(camera.frames())
}

/// Label and score of the latest frame's best class.
fn best<'c, const KINDS: u32>(classifier: &'c ClassifierOf<'_, '_, KINDS>) -> (&'c str, i8) {
    let best = classifier.top_k::<1>();
    best.first().map_or(("", 0), |best| (classifier.model().label(best.class).unwrap_or(""), best.score))
}

/// The results file.
struct Results(File);

impl Results {
    fn create() -> Result<Self, RunError> {
        File::create(RESULTS_FILE).map(Self).map_err(|_| RunError::Results)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), RunError> {
        self.0.write_all(bytes).map_err(|_| RunError::Results)
    }
}
