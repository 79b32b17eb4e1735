//! Where pictures come from: one row at a time, as sensors deliver them.

mod asked;
mod recovery;
mod ring;
mod tap;

pub use asked::{Asked, UntilAsked};
pub use recovery::{CameraError, Fault, Faults, Pause, Recovery};
pub use ring::{ByteRing, RingCamera};
pub use tap::Tap;

use ocelli::image::PixelFormat;

/// A source of frames that is read row by row, so that no frame has to be stored.
pub trait Camera {
    /// Why a row could not be delivered.
    type Error;

    /// Layout of the pixels in a row.
    fn format(&self) -> PixelFormat;

    /// Width and height of a frame in pixels.
    fn size(&self) -> [u32; 2];

    /// Gets ready for row 0 of a new frame; what is left of the one before is thrown away. Called before the first
    /// [`next_row`](Self::next_row) of each frame; a sensor waits here for the start of a frame.
    ///
    /// # Errors
    /// When no frame begins.
    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Writes the next row, top to bottom, then the first row of the next frame.
    ///
    /// `row` has exactly [`PixelFormat::row_bytes`] of the frame's width.
    ///
    /// After an error in the middle of a frame the rest of that frame is not asked for: the next call is for row 0 of a new
    /// frame. A camera that goes on where it failed would give pictures whose top is the bottom of another.
    ///
    /// # Errors
    /// When the source failed or ended.
    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error>;

    /// Puts the source in order after a fault, before the next frame is tried: a sensor that lost its settings is set up again.
    ///
    /// # Errors
    /// When that fails too.
    fn recover(&mut self, _fault: Fault) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Leaves [`standby`](Self::standby). The exposure of the first frames may be wrong.
    ///
    /// # Errors
    /// When the sensor does not answer.
    fn wake(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// Takes as little current as it can, until [`wake`](Self::wake).
    ///
    /// # Errors
    /// When the sensor does not answer.
    fn standby(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A camera that is lent.
impl<C: Camera + ?Sized> Camera for &mut C {
    type Error = C::Error;

    fn format(&self) -> PixelFormat {
        (**self).format()
    }

    fn size(&self) -> [u32; 2] {
        (**self).size()
    }

    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        (**self).begin_frame()
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error> {
        (**self).next_row(row)
    }

    fn recover(&mut self, fault: Fault) -> Result<(), Self::Error> {
        (**self).recover(fault)
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        (**self).wake()
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        (**self).standby()
    }
}
