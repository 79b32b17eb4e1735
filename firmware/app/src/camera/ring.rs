//! A camera whose bytes are written by DMA into a ring of memory, round and round: some rows may arrive while one is used.
//!
//! Where a network takes a row of pixels now and then only (a frame of 120 rows for an input of 28), its work comes in lumps. With two
//! buffers of a row each lump would have to end within a row's time; here the mean counts.

use super::{Camera, CameraError, Fault};
use ocelli::image::PixelFormat;

/// Bytes before the end of the ring that count as written already: what the hardware has counted and not yet written, and the other way
/// round.
const MARGIN_BYTES: usize = 16;

/// A ring of memory that hardware fills. A board writes this over its HAL.
pub trait ByteRing {
    /// Why no bytes come.
    type Error;

    /// Bytes that the ring has.
    fn capacity(&self) -> usize;

    /// Waits for the start of a frame (VSYNC). Its bytes, from the first one on, go to the start of the ring.
    ///
    /// # Errors
    /// When none begins in time.
    fn begin_frame(&mut self) -> Result<(), Self::Error>;

    /// Waits until at least `bytes` of the frame have come; returns how many have, which may be more than the ring holds.
    ///
    /// # Errors
    /// When bytes were lost before they reached the ring, or none come in time.
    fn wait(&mut self, bytes: usize) -> Result<usize, Self::Error>;

    /// Copies bytes out of the ring from `place` on, which is less than the capacity; after the ring's last byte comes its first. The bytes
    /// of a frame are asked for once and in their order, so that a ring that gives them so can take the place for its own.
    fn copy(&mut self, place: usize, row: &mut [u8]);
}

/// A [`Camera`] over a ring.
#[derive(Debug)]
pub struct RingCamera<R> {
    ring: R,
    format: PixelFormat,
    size: [u32; 2],
    row_bytes: usize,
    /// Rows handed out since [`Camera::begin_frame`]; `None` before it.
    row: Option<usize>,
}

impl<R: ByteRing> RingCamera<R> {
    /// A camera of `size` (width and height); `None` when the ring does not hold two rows, or a side is zero.
    pub fn new(ring: R, format: PixelFormat, size: [u32; 2]) -> Option<Self> {
        let row_bytes = usize::try_from(format.row_bytes(size[0])).ok()?;
        let fits = !size.contains(&0) && row_bytes.checked_mul(2)? + MARGIN_BYTES <= ring.capacity();
        fits.then_some(Self { ring, format, size, row_bytes, row: None })
    }

    /// The ring.
    pub const fn ring(&self) -> &R {
        &self.ring
    }
}

impl<R: ByteRing> Camera for RingCamera<R>
where
    R::Error: CameraError + From<Fault>,
{
    type Error = R::Error;

    fn format(&self) -> PixelFormat {
        self.format
    }

    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn begin_frame(&mut self) -> Result<(), R::Error> {
        self.row = None;
        self.ring.begin_frame()?;
        self.row = Some(0);
        Ok(())
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), R::Error> {
        if self.row.is_none() {
            self.begin_frame()?;
        }
        let number = self.row.take().unwrap_or(0);
        let start = number * self.row_bytes; // a frame has at most 65,535 rows of a few kilobytes
        let end = start + self.row_bytes;
        self.ring.wait(end)?;
        self.ring.copy(start % self.ring.capacity(), row);
        // What came meanwhile may have been written over the row.
        if self.ring.wait(end)? + MARGIN_BYTES > start + self.ring.capacity() {
            return Err(Fault::LostFrame.into());
        }
        self.row = Some(number + 1).filter(|&next| u32::try_from(next) != Ok(self.size[1]));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Rows of 8 bytes that count up over a frame; at each wait `ahead` more of them have come than are asked for.
    struct FakeRing {
        memory: Vec<u8>,
        written: usize,
        ahead: usize,
        frames: u32,
        frame_bytes: usize,
        /// Bytes of the frame that were copied.
        copied: usize,
    }

    impl FakeRing {
        fn new(capacity: usize, rows: usize) -> Self {
            Self { memory: vec![0; capacity], written: 0, ahead: 0, frames: 0, frame_bytes: 8 * rows, copied: 0 }
        }
    }

    impl ByteRing for &mut FakeRing {
        type Error = Fault;

        fn capacity(&self) -> usize {
            self.memory.len()
        }

        fn begin_frame(&mut self) -> Result<(), Fault> {
            (self.written, self.copied, self.frames) = (0, 0, self.frames + 1);
            Ok(())
        }

        fn wait(&mut self, bytes: usize) -> Result<usize, Fault> {
            let until = (bytes + self.ahead).min(self.frame_bytes);
            if bytes > until {
                return Err(Fault::SyncLost);
            }
            while self.written < until {
                let place = self.written % self.memory.len();
                self.memory[place] = (self.written % 251) as u8;
                self.written += 1;
            }
            Ok(self.written)
        }

        fn copy(&mut self, place: usize, row: &mut [u8]) {
            assert_eq!(place, self.copied % self.memory.len(), "bytes are asked for once and in their order");
            self.copied += row.len();
            for (index, byte) in row.iter_mut().enumerate() {
                *byte = self.memory[(place + index) % self.memory.len()];
            }
        }
    }

    fn camera(ring: &mut FakeRing) -> RingCamera<&mut FakeRing> {
        let rows = (ring.frame_bytes / 8) as u32;
        RingCamera::new(ring, PixelFormat::Gray8, [8, rows]).unwrap()
    }

    #[test]
    fn rows_come_in_order_while_others_arrive_behind_them() {
        for capacity in [32, 36, 64, 100] {
            let mut ring = FakeRing::new(capacity, 40);
            for ahead in [0, 1, (capacity - MARGIN_BYTES - 8)] {
                ring.ahead = ahead;
                let mut camera = camera(&mut ring);
                for at in (0..80).map(|row| row % 40 * 8) {
                    let mut row = [0; 8];
                    camera.next_row(&mut row).unwrap();
                    let expected: Vec<u8> = (at..at + 8).map(|value| (value % 251) as u8).collect();
                    assert_eq!(row[..], expected, "{capacity} {ahead}");
                }
            }
            assert_eq!(ring.frames, 6);
        }
    }

    #[test]
    fn a_row_that_was_written_over_is_a_lost_frame_and_the_next_row_begins_another() {
        let mut ring = FakeRing::new(64, 40);
        ring.ahead = 64 - MARGIN_BYTES - 8 + 1;
        let mut camera = camera(&mut ring);
        assert_eq!(camera.next_row(&mut [0; 8]), Err(Fault::LostFrame));
        camera.ring.ahead = 0;
        let mut row = [0; 8];
        camera.next_row(&mut row).unwrap();
        assert_eq!(row, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(ring.frames, 2);
    }

    #[test]
    fn a_ring_of_less_than_two_rows_is_refused() {
        let mut ring = FakeRing::new(16 + MARGIN_BYTES - 1, 2);
        assert!(RingCamera::new(&mut ring, PixelFormat::Gray8, [8, 2]).is_none());
        assert!(RingCamera::new(&mut ring, PixelFormat::Gray8, [0, 2]).is_none());
        assert!(RingCamera::new(&mut ring, PixelFormat::Gray8, [4, 2]).is_some());
    }
}
