//! Where pictures come from: one row at a time, as sensors deliver them.

use ocelli::image::PixelFormat;

/// A source of frames that is read row by row, so that no frame has to be stored.
pub trait Camera {
    /// Why a row could not be delivered.
    type Error;

    /// Layout of the pixels in a row.
    fn format(&self) -> PixelFormat;

    /// Width and height of a frame in pixels.
    fn size(&self) -> [u32; 2];

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
}
