//! The camera's parallel port: DCMI takes the lines of a frame, DMA writes them into a ring.

use embassy_stm32::Peri;
use embassy_stm32::dcmi::{Dcmi, FrameDma};
use embassy_stm32::dma::{self, Channel, ReadableRingBuffer, TransferOptions};
use embassy_stm32::interrupt::typelevel::Binding;
use embassy_stm32::pac;
use embassy_stm32::peripherals::{DCMI, DMA1_CH0};
use embassy_time::{Duration, Instant};
use ocelli_app::camera::{ByteRing, Fault};

/// Bytes of a word: DCMI packs the camera's bytes into words.
const WORD_BYTES: usize = 4;
/// Words that are taken out of the ring at a time.
const PIECE_WORDS: usize = 16;
/// The longest frame, with the sensor's clock at its slowest: 64 times that at 30 a second with 24 MHz, here with 16 MHz.
const PATIENCE: Duration = Duration::from_secs(6);

/// The port.
pub struct Dvp {
    /// The HAL's ring: it gives each word once, in order, and says when DMA has written over some that were not taken.
    ring: ReadableRingBuffer<'static, u32>,
    /// Words of the frame that were taken.
    taken: usize,
    /// Words were written over before they were taken.
    is_lost: bool,
    _port: Dcmi<'static, DCMI>,
}

impl Dvp {
    /// A port that has been set up, with a ring for some rows.
    pub fn new(
        port: Dcmi<'static, DCMI>,
        channel: Peri<'static, DMA1_CH0>,
        interrupts: impl Binding<<DMA1_CH0 as dma::ChannelInstance>::Interrupt, dma::InterruptHandler<DMA1_CH0>> + 'static,
        ring: &'static mut [u32],
    ) -> Self {
        let request = FrameDma::<DCMI>::request(&*channel);
        let data = pac::DCMI.dr().as_ptr().cast::<u32>();
        let channel = Channel::new(channel, interrupts);
        // SAFETY: the address is that of DCMI's data, for which the request is; nothing else has the ring.
        let mut ring = unsafe { ReadableRingBuffer::new(channel, request, data, ring, TransferOptions::default()) };
        ring.start();
        Self { ring, taken: 0, is_lost: false, _port: port }
    }

    /// Stops the port, which empties it, and begins with the next frame.
    fn restart(&mut self) {
        let enable = |on| {
            pac::DCMI.cr().modify(|control| {
                control.set_enable(on);
                control.set_capture(on);
            });
        };
        enable(false);
        pac::DCMI.icr().write(|clear| {
            clear.set_ovr_isc(true);
            clear.set_err_isc(true);
            clear.set_frame_isc(true);
            clear.set_vsync_isc(true);
        });
        self.ring.clear();
        (self.taken, self.is_lost) = (0, false);
        enable(true);
    }
}

impl ByteRing for Dvp {
    type Error = Fault;

    fn capacity(&self) -> usize {
        WORD_BYTES * self.ring.capacity()
    }

    fn begin_frame(&mut self) -> Result<(), Fault> {
        // The port waits for VSYNC by itself, and takes no line before it: the wait for the first row is that for the frame.
        self.restart();
        Ok(())
    }

    fn wait(&mut self, bytes: usize) -> Result<usize, Fault> {
        let start = Instant::now();
        loop {
            let status = pac::DCMI.ris().read();
            if self.is_lost || status.ovr_ris() || status.err_ris() {
                return Err(Fault::LostFrame);
            }
            // An error says that words were written over.
            let ahead = self.ring.len().map_err(|_| Fault::LostFrame)?;
            let received = WORD_BYTES * (self.taken + ahead);
            if received >= bytes {
                return Ok(received);
            }
            if start.elapsed() > PATIENCE {
                return Err(Fault::SyncLost);
            }
        }
    }

    /// The rows come in their order, so that the place is where the ring is: its own count is kept.
    fn copy(&mut self, _place: usize, row: &mut [u8]) {
        // Rows are multiples of four bytes: those of 160 pixels of two bytes each.
        for piece in row.chunks_mut(WORD_BYTES * PIECE_WORDS) {
            let mut words = [0_u32; PIECE_WORDS];
            let count = piece.len().div_ceil(WORD_BYTES);
            match self.ring.read(&mut words[..count]) {
                Ok((read, _)) if read == count => self.taken += count,
                _ => self.is_lost = true, // the next wait says so
            }
            for (bytes, word) in piece.chunks_mut(WORD_BYTES).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
            }
        }
    }
}
