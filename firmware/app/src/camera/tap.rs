//! A camera whose rows somebody else sees too: the live picture is drawn from them while the network runs.

use super::{Camera, Fault};
use ocelli::image::PixelFormat;

/// Hands every row of a camera to a closure, with its number, before it is passed on.
///
/// Of a frame that breaks off the closure has seen the first rows; the next call has number 0 again.
#[derive(Debug)]
pub struct Tap<C, F> {
    camera: C,
    see: F,
    row: u32,
}

impl<C: Camera, F: FnMut(u32, &[u8])> Tap<C, F> {
    /// A camera whose rows are shown to `see`.
    pub const fn new(camera: C, see: F) -> Self {
        Self { camera, see, row: 0 }
    }
}

impl<C: Camera, F: FnMut(u32, &[u8])> Camera for Tap<C, F> {
    type Error = C::Error;

    fn format(&self) -> PixelFormat {
        self.camera.format()
    }

    fn size(&self) -> [u32; 2] {
        self.camera.size()
    }

    fn begin_frame(&mut self) -> Result<(), Self::Error> {
        self.row = 0;
        self.camera.begin_frame()
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Self::Error> {
        let number = core::mem::take(&mut self.row);
        self.camera.next_row(row)?;
        (self.see)(number, row);
        let next = number + 1; // a frame has at most 65,535 rows
        self.row = if next < self.camera.size()[1] { next } else { 0 };
        Ok(())
    }

    fn recover(&mut self, fault: Fault) -> Result<(), Self::Error> {
        self.camera.recover(fault)
    }

    fn wake(&mut self) -> Result<(), Self::Error> {
        self.camera.wake()
    }

    fn standby(&mut self) -> Result<(), Self::Error> {
        self.camera.standby()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    /// Rows of one byte, which count up; the sixth call fails.
    struct Counting(u8);

    impl Camera for Counting {
        type Error = ();

        fn format(&self) -> PixelFormat {
            PixelFormat::Gray8
        }

        fn size(&self) -> [u32; 2] {
            [1, 3]
        }

        fn next_row(&mut self, row: &mut [u8]) -> Result<(), ()> {
            self.0 += 1;
            row.fill(self.0);
            if self.0 == 6 { Err(()) } else { Ok(()) }
        }
    }

    #[test]
    fn rows_are_seen_with_their_number_and_a_broken_frame_starts_over() {
        let mut seen = vec![];
        let mut tap = Tap::new(Counting(0), |number, row: &[u8]| seen.push((number, row[0])));
        for call in 1..=8 {
            assert_eq!(tap.next_row(&mut [0]).is_err(), call == 6);
        }
        tap.begin_frame().unwrap();
        tap.next_row(&mut [0]).unwrap();
        assert_eq!(seen, [(0, 1), (1, 2), (2, 3), (0, 4), (1, 5), (0, 7), (1, 8), (0, 9)]);
    }
}
