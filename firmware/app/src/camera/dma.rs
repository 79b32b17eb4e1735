//! A camera whose rows are written by DMA, into two buffers in turn: while one row is used the next one arrives.

use super::{Camera, CameraError, Fault};
use ocelli::image::PixelFormat;

/// A transfer that ended: its buffer and its result; `None` when none was started.
pub type Finished<B, E> = Option<(B, Result<(), E>)>;

/// A DMA channel that is fed by a sensor, one row a transfer. A board writes this over its HAL; buffers are moved in and out, so that
/// nobody reads what is being written.
pub trait RowDma {
    /// Memory of one row.
    type Buffer: AsRef<[u8]>;
    /// Why a transfer failed.
    type Error;

    /// Waits for the start of a frame (VSYNC), so that the next transfer gets row 0.
    ///
    /// # Errors
    /// When none begins in time.
    fn begin_frame(&mut self) -> Result<(), Self::Error>;

    /// Begins to fill `buffer` with the next row, and returns at once.
    fn start(&mut self, buffer: Self::Buffer);

    /// Waits until the transfer ended, and gives its buffer back. On an error nothing is said about the
    /// buffer's content, and no transfer runs any more.
    fn finish(&mut self) -> Finished<Self::Buffer, Self::Error>;
}

/// A [`Camera`] over a DMA channel and two buffers. The next row's transfer is started before the finished row is handed out.
#[derive(Debug)]
pub struct DmaCamera<D: RowDma> {
    dma: D,
    format: PixelFormat,
    size: [u32; 2],
    free: [Option<D::Buffer>; 2],
    /// Rows handed out since [`Camera::begin_frame`]; `None` before it.
    row: Option<u32>,
}

impl<D: RowDma> DmaCamera<D> {
    /// A camera of `size` (width and height); `None` when a buffer is shorter than a row, or a side is zero.
    pub fn new(dma: D, format: PixelFormat, size: [u32; 2], buffers: [D::Buffer; 2]) -> Option<Self> {
        let needed = usize::try_from(format.row_bytes(size[0])).ok()?;
        let fits = !size.contains(&0) && buffers.iter().all(|buffer| buffer.as_ref().len() >= needed);
        fits.then(|| Self { dma, format, size, free: buffers.map(Some), row: None })
    }

    fn start(&mut self) {
        if let Some(buffer) = self.free.iter_mut().find_map(Option::take) {
            self.dma.start(buffer);
        }
    }

    fn release(&mut self, buffer: D::Buffer) {
        if let Some(place) = self.free.iter_mut().find(|place| place.is_none()) {
            *place = Some(buffer);
        }
    }
}

impl<D: RowDma> Camera for DmaCamera<D>
where
    D::Error: CameraError + From<Fault>,
{
    type Error = D::Error;

    fn format(&self) -> PixelFormat {
        self.format
    }

    fn size(&self) -> [u32; 2] {
        self.size
    }

    fn begin_frame(&mut self) -> Result<(), D::Error> {
        self.row = None;
        if let Some((buffer, _)) = self.dma.finish() {
            self.release(buffer); // a row of the frame before
        }
        self.dma.begin_frame()?;
        self.row = Some(0);
        self.start();
        Ok(())
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), D::Error> {
        if self.row.is_none() {
            self.begin_frame()?;
        }
        let done = self.row.take().unwrap_or(0) + 1;
        let (full, result) = self.dma.finish().ok_or(Fault::LostFrame)?;
        let more = done < self.size[1];
        if result.is_ok() && more {
            self.start();
            self.row = Some(done);
        }
        // a buffer has at least a row's bytes
        for (byte, &received) in row.iter_mut().zip(full.as_ref()) {
            *byte = received;
        }
        self.release(full);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        Vsync,
        Start,
        Finish,
    }

    /// Fills rows with a count that goes on over frames; the transfer with number `fails` ends in an error.
    struct FakeDma {
        steps: Vec<Step>,
        running: Option<Vec<u8>>,
        transfers: u8,
        fails: u8,
    }

    impl RowDma for &mut FakeDma {
        type Buffer = Vec<u8>;
        type Error = Fault;

        fn begin_frame(&mut self) -> Result<(), Fault> {
            self.steps.push(Step::Vsync);
            Ok(())
        }

        fn start(&mut self, buffer: Vec<u8>) {
            assert!(self.running.is_none(), "two transfers at a time");
            self.steps.push(Step::Start);
            self.running = Some(buffer);
        }

        fn finish(&mut self) -> Finished<Vec<u8>, Fault> {
            let mut buffer = self.running.take()?;
            self.steps.push(Step::Finish);
            self.transfers += 1;
            buffer.fill(self.transfers);
            let result = if self.transfers == self.fails { Err(Fault::LostFrame) } else { Ok(()) };
            Some((buffer, result))
        }
    }

    fn fake(fails: u8) -> FakeDma {
        FakeDma { steps: vec![], running: None, transfers: 0, fails }
    }

    fn buffers() -> [Vec<u8>; 2] {
        [vec![0; 2], vec![0; 3]] // may be longer than a row
    }

    #[test]
    fn the_next_transfer_runs_before_a_row_is_handed_out() {
        let mut dma = fake(0);
        let mut camera = DmaCamera::new(&mut dma, PixelFormat::Gray8, [2, 3], buffers()).unwrap();
        let mut row = [0; 2];
        let rows = [(); 6].map(|()| {
            camera.next_row(&mut row).unwrap();
            row
        });
        assert_eq!(rows, [1, 2, 3, 4, 5, 6].map(|i| [i; 2]));
        let frame = [Step::Vsync, Step::Start, Step::Finish, Step::Start, Step::Finish, Step::Start, Step::Finish];
        assert_eq!(dma.steps, [frame, frame].concat());
    }

    #[test]
    fn after_an_error_the_next_row_is_the_first_of_a_new_frame() {
        let mut dma = fake(2);
        let mut camera = DmaCamera::new(&mut dma, PixelFormat::Gray8, [2, 3], buffers()).unwrap();
        let results = [(); 3].map(|()| camera.next_row(&mut [0; 2]));
        assert_eq!(results, [Ok(()), Err(Fault::LostFrame), Ok(())]);
        drop(camera);
        assert_eq!(dma.steps.iter().filter(|&&step| step == Step::Vsync).count(), 2);
    }

    #[test]
    fn a_frame_that_is_given_up_frees_its_buffers() {
        let mut dma = fake(0);
        let mut camera = DmaCamera::new(&mut dma, PixelFormat::Gray8, [2, 3], buffers()).unwrap();
        for _ in 0..5 {
            camera.begin_frame().unwrap();
            camera.next_row(&mut [0; 2]).unwrap();
        }
        drop(camera);
        assert_eq!(dma.transfers, 5 + 4, "each frame's second transfer is waited for, but the last");
    }

    #[test]
    fn a_buffer_shorter_than_a_row_is_refused() {
        let mut dma = fake(0);
        assert!(DmaCamera::new(&mut dma, PixelFormat::Rgb565, [2, 3], buffers()).is_none());
        assert!(DmaCamera::new(&mut dma, PixelFormat::Gray8, [2, 0], buffers()).is_none());
    }
}
