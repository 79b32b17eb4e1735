//! The camera's parallel port: DCMI takes the lines of a frame, DMA writes them into a ring.

use embassy_stm32::Peri;
use embassy_stm32::dcmi::{Dcmi, FrameDma};
use embassy_stm32::dma::{self, Channel, ReadableRingBuffer, TransferOptions};
use embassy_stm32::interrupt::typelevel::Binding;
use embassy_stm32::pac;
use embassy_stm32::peripherals::{DCMI, DMA1_CH0};
use embassy_time::{Duration, Instant};
use ocelli::image::PixelFormat;
use ocelli_app::camera::{Camera, Fault};

/// Width and height of a frame.
const SIZE: [u32; 2] = [160, 120];
/// Words of a row: two bytes a pixel.
pub const ROW_WORDS: usize = 80;
/// The longest frame, with the sensor's clock at its slowest: 64 times that at 30 a second with 24 MHz, here with 16 MHz.
const PATIENCE: Duration = Duration::from_secs(6);

/// The port.
pub struct Dvp {
    ring: ReadableRingBuffer<'static, u32>,
    /// Rows left of the frame; `None` before it.
    left: Option<u32>,
    _port: Dcmi<'static, DCMI>,
}

impl Dvp {
    /// A port that has been set up, with a ring of some rows.
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
        Self { ring, left: None, _port: port }
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
        enable(true);
    }
}

impl Camera for Dvp {
    type Error = Fault;

    fn format(&self) -> PixelFormat {
        PixelFormat::Rgb565
    }

    fn size(&self) -> [u32; 2] {
        SIZE
    }

    fn begin_frame(&mut self) -> Result<(), Fault> {
        // The port waits for VSYNC by itself, and takes no line before it; `next_row` waits for the first row.
        self.restart();
        self.left = Some(SIZE[1]);
        Ok(())
    }

    fn next_row(&mut self, row: &mut [u8]) -> Result<(), Fault> {
        if self.left.is_none() {
            self.begin_frame()?;
        }
        let left = self.left.take().unwrap_or(SIZE[1]);
        let (mut words, mut have) = ([0_u32; ROW_WORDS], 0);
        let start = Instant::now();
        while have < ROW_WORDS {
            // An error says that the ring was written over.
            let (read, _) = self.ring.read(&mut words[have..]).map_err(|_| Fault::LostFrame)?;
            have += read;
            let status = pac::DCMI.ris().read();
            if status.ovr_ris() || status.err_ris() {
                return Err(Fault::LostFrame);
            }
            if start.elapsed() > PATIENCE {
                return Err(Fault::SyncLost);
            }
        }
        for (bytes, word) in row.chunks_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
        self.left = Some(left - 1).filter(|&left| left > 0);
        Ok(())
    }
}
