//! The camera's parallel port: a PIO program samples the bytes of each line, DMA writes them into a ring.

use embassy_rp::Peri;
use embassy_rp::gpio::Input;
use embassy_rp::pac;
use embassy_rp::pac::dma::vals::DataSize;
use embassy_rp::peripherals::{DMA_CH0, PIN_0, PIN_1, PIN_2, PIN_3, PIN_4, PIN_5, PIN_6, PIN_7, PIN_8, PIN_9, PIO0};
use embassy_rp::pio::program::pio_asm;
use embassy_rp::pio::{Common, Config, Direction, FifoJoin, Pio, ShiftConfig, ShiftDirection, StateMachine};
use embassy_time::{Duration, Instant};
use ocelli_app::camera::{ByteRing, Fault};

/// The ring's size in bytes as a power of two.
const RING_BITS: u8 = 12;
/// Words of the ring.
const RING_WORDS: usize = (1 << RING_BITS) / 4;
/// The DMA channel.
const CHANNEL: usize = 0;
/// The longest frame, with the sensor's clock at its slowest: 64 * 510 lines * 784 columns * 2 / 12 MHz = 4.3 s.
const PATIENCE: Duration = Duration::from_secs(6);

/// The ring's memory. DMA wraps addresses at a multiple of the size.
#[repr(C, align(4096))]
pub struct Ring([u32; RING_WORDS]);

impl Ring {
    /// Not yet used.
    pub const fn new() -> Self {
        Self([0; RING_WORDS])
    }
}

/// The pins of D0 to D7: the program takes them as the first eight of the chip.
type DataPins = (
    Peri<'static, PIN_0>,
    Peri<'static, PIN_1>,
    Peri<'static, PIN_2>,
    Peri<'static, PIN_3>,
    Peri<'static, PIN_4>,
    Peri<'static, PIN_5>,
    Peri<'static, PIN_6>,
    Peri<'static, PIN_7>,
);

/// The camera's pins.
pub struct Pins {
    /// D0 to D7.
    pub data: DataPins,
    /// The clock of a byte.
    pub pclk: Peri<'static, PIN_8>,
    /// High during a line.
    pub href: Peri<'static, PIN_9>,
    /// High before a frame.
    pub vsync: Input<'static>,
}

/// The port.
pub struct Dvp {
    machine: StateMachine<'static, PIO0, 0>,
    config: Config<'static, PIO0>,
    vsync: Input<'static>,
    ring: *const u32,
    row_bytes: u32,
    frame_words: u32,
    _common: Common<'static, PIO0>,
    _channel: Peri<'static, DMA_CH0>,
}

impl Dvp {
    /// A port for frames of `size` (width and height) with two bytes a pixel.
    pub fn new(
        pio: Pio<'static, PIO0>,
        channel: Peri<'static, DMA_CH0>,
        pins: Pins,
        size: [u32; 2],
        ring: &'static mut Ring,
    ) -> Self {
        let Pio { mut common, sm0: mut machine, .. } = pio;
        // A line has exactly the bytes that are asked for: one too many or too few does not shift the lines after it.
        let program = pio_asm!(
            "    pull block", // bytes of a line less one
            "    mov y, osr",
            ".wrap_target",
            "    wait 0 gpio 9", // HREF
            "    wait 1 gpio 9",
            "    mov x, y",
            "byte:",
            "    wait 0 gpio 8", // PCLK: data is read at its rising edge
            "    wait 1 gpio 8",
            "    in pins, 8",
            "    jmp x-- byte",
            ".wrap",
        );
        let program = common.load_program(&program.program);
        let (d0, d1, d2, d3, d4, d5, d6, d7) = pins.data;
        let data = [
            common.make_pio_pin(d0),
            common.make_pio_pin(d1),
            common.make_pio_pin(d2),
            common.make_pio_pin(d3),
            common.make_pio_pin(d4),
            common.make_pio_pin(d5),
            common.make_pio_pin(d6),
            common.make_pio_pin(d7),
        ];
        let clocks = [common.make_pio_pin(pins.pclk), common.make_pio_pin(pins.href)];
        let [d0, d1, d2, d3, d4, d5, d6, d7] = &data;
        let data = [d0, d1, d2, d3, d4, d5, d6, d7];
        let [pclk, href] = &clocks;
        let mut config = Config::default();
        config.use_program(&program, &[]);
        config.set_in_pins(&data);
        // Shifted to the right, the first byte of four ends as the lowest: as memory has it.
        config.shift_in = ShiftConfig { threshold: 32, direction: ShiftDirection::Right, auto_fill: true };
        config.fifo_join = FifoJoin::Duplex; // the way out brings the length of a line
        machine.set_pin_dirs(Direction::In, &data);
        machine.set_pin_dirs(Direction::In, &[pclk, href]);
        let row_bytes = 2 * size[0];
        Self {
            machine,
            config,
            vsync: pins.vsync,
            ring: ring.0.as_ptr(),
            row_bytes,
            frame_words: row_bytes * size[1] / 4,
            _common: common,
            _channel: channel,
        }
    }

    fn stop(&mut self) {
        self.machine.set_enable(false);
        pac::DMA.chan_abort().write(|abort| abort.set_chan_abort(1 << CHANNEL));
        while pac::DMA.chan_abort().read().chan_abort() & (1 << CHANNEL) != 0 {}
    }

    /// Begins a transfer of a frame: its bytes go to the ring's start, and round.
    fn start(&mut self) {
        self.machine.set_config(&self.config); // the program begins anew
        self.machine.clear_fifos();
        self.machine.restart();
        self.machine.rx().stalled(); // forgets what was before
        let channel = pac::DMA.ch(CHANNEL);
        channel.read_addr().write_value(self.machine.rx_fifo_ptr().addr() as u32);
        channel.write_addr().write_value(self.ring.addr() as u32);
        #[cfg(feature = "rp2040")]
        channel.trans_count().write_value(self.frame_words);
        #[cfg(feature = "rp2350")]
        channel.trans_count().write(|count| count.set_count(self.frame_words));
        let request = self.machine.rx_treq();
        channel.ctrl_trig().write(|control| {
            control.set_treq_sel(request);
            control.set_data_size(DataSize::SIZE_WORD);
            control.set_incr_write(true);
            control.set_ring_sel(true); // of the addresses that are written
            control.set_ring_size(RING_BITS);
            control.set_chain_to(CHANNEL as u8); // to none
            control.set_en(true);
        });
        self.machine.tx().push(self.row_bytes - 1);
        self.machine.set_enable(true);
    }

    /// Bytes of the frame that DMA has moved.
    fn received(&self) -> usize {
        let count = pac::DMA.ch(CHANNEL).trans_count().read();
        #[cfg(feature = "rp2350")]
        let count = count.count();
        4 * (self.frame_words - count) as usize // usize has 32 bits here
    }

    /// Waits for a level of VSYNC.
    fn wait_for_vsync(&self, level: bool) -> Result<(), Fault> {
        let start = Instant::now();
        while self.vsync.is_high() != level {
            if start.elapsed() > PATIENCE {
                return Err(Fault::SyncLost);
            }
        }
        Ok(())
    }
}

impl ByteRing for Dvp {
    type Error = Fault;

    fn capacity(&self) -> usize {
        4 * RING_WORDS
    }

    fn begin_frame(&mut self) -> Result<(), Fault> {
        self.stop();
        self.wait_for_vsync(true)?;
        self.wait_for_vsync(false)?;
        self.start(); // the first line comes 17 lines' time after VSYNC
        Ok(())
    }

    fn wait(&mut self, bytes: usize) -> Result<usize, Fault> {
        let start = Instant::now();
        loop {
            let received = self.received();
            if received >= bytes {
                return Ok(received);
            }
            if self.machine.rx().stalled() {
                return Err(Fault::LostFrame);
            }
            if start.elapsed() > PATIENCE {
                return Err(Fault::SyncLost);
            }
        }
    }

    fn copy(&mut self, place: usize, row: &mut [u8]) {
        // Rows and places are multiples of four bytes: those of 160 pixels of two bytes each.
        for (bytes, word) in row.chunks_mut(4).zip(place / 4..) {
            // SAFETY: the index lies in the ring. DMA may write there meanwhile: the read is volatile, and what calls this checks after it
            // whether that has happened, and drops the frame then.
            let word = unsafe { self.ring.add(word % RING_WORDS).read_volatile() };
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
    }
}
