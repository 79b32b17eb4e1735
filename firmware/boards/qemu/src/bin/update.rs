//! Takes models over the UART and runs the active one: `docs/update.md`. For the boards whose UART is where the MPS2 boards have theirs.
//!
//! There is no camera: the picture that is classified on request is a ramp, byte `i` of row `y` being `31 * y + i`, modulo 256, less 128. So
//! any model can be run, and the host knows what must come out. Built with the feature `signed`, it takes models only that are signed by the key
//! whose 64 hexadecimal digits are in `OCELLI_MODEL_KEY`.
#![no_std]
#![no_main]

#[macro_use]
#[path = "../once.rs"]
mod once;
#[path = "../psram_flash.rs"]
mod psram_flash;
#[path = "../quiet_fault.rs"]
mod quiet_fault;
#[path = "../uart.rs"]
mod uart;

#[cfg(target_arch = "arm")]
use cortex_m as _; // its critical section
use ocelli::model::Aligned;
use ocelli::runtime::{Arena, EVERY_KIND, Session};
use ocelli_app::classify::top_k;
use ocelli_app::update::frame::request_frame_bytes;
use ocelli_app::update::judge::Verifier;
use ocelli_app::update::receiver::{About, Best};
use ocelli_app::update::{Device, Judge, ModelJudge, Receiver, Refusal, Region, Signature, Store};
use psram_flash::PsramFlash;
use semihosting::process::ExitCode;
use uart::Uart;

/// Sizes that `build.rs` read from the model.
mod config {
    #![allow(dead_code, reason = "the classifier uses the others")]
    include!(concat!(env!("OUT_DIR"), "/config.rs"));
}

/// The model, under a name by which the host finds it in the ELF file.
#[unsafe(export_name = "ocelli_model")]
static MODEL: Aligned<[u8; config::MODEL_BYTES]> = Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/model.ocelli")));

/// Bytes of a block.
const BLOCK_BYTES: usize = 512;
/// Working memory for any model that comes.
const ARENA_BYTES: usize = 64 << 10;
/// Both halves of the flash memory.
const REGION: Region = Region { first: 0, slot_bytes: (psram_flash::BYTES / 2) as u32 };

#[cfg(not(feature = "signed"))]
const KEY: Option<&dyn Verifier> = None;
#[cfg(feature = "signed")]
const KEY: Option<&dyn Verifier> =
    Some(match &ocelli_app::update::signature::ModelKey::from_hex(env!("OCELLI_MODEL_KEY")) {
        Some(key) => key,
        None => panic!("OCELLI_MODEL_KEY must have 64 hexadecimal digits"),
    });

/// The board, with the memory that models work in.
struct Board {
    arena: &'static mut [u8],
}

impl Judge for Board {
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal> {
        ModelJudge::<EVERY_KIND> { arena: self.arena, scratch_words: 0, classes: 0, key: KEY }.judge(model, signature)
    }
}

impl Device for Board {
    fn about(&self) -> About<'_> {
        let arena_bytes = u32::try_from(self.arena.len()).unwrap_or(u32::MAX);
        About { board: env!("OCELLI_BOARD"), arena_bytes, kinds: EVERY_KIND, key_id: KEY.map(Verifier::key_id) }
    }

    fn built_in(&self) -> &'static [u8] {
        &MODEL.0
    }

    fn run<'m>(&mut self, model: &'m [u8]) -> Result<Best<'m>, Refusal> {
        let mut session = Session::load(model, self.arena)?;
        let scores = session.run(|y, row| {
            let first = (y as u8).wrapping_mul(31);
            row.iter_mut().zip(0_u32..).for_each(|(value, i)| {
                *value = first.wrapping_add(i as u8).wrapping_sub(128).cast_signed();
            });
        });
        let best = top_k::<1>(scores).first().copied().ok_or(Refusal::NotSupported)?;
        let class = u16::try_from(best.class).unwrap_or(u16::MAX);
        Ok(Best { class, score: best.score, label: session.model().label(best.class).unwrap_or("") })
    }
}

// The start code calls it by this name.
#[unsafe(export_name = "main")]
extern "C" fn main() -> ! {
    let mut uart = Uart::start();
    let mut board = Board { arena: once!(Arena<ARENA_BYTES> = Arena::new()).bytes_mut() };
    // SAFETY: `main` runs once.
    let flash = unsafe { PsramFlash::take() };
    let Ok(store) = Store::open(flash, REGION, &mut board) else { ExitCode::FAILURE.exit_process() };
    let buffer = once!([u8; request_frame_bytes(BLOCK_BYTES)] = [0; request_frame_bytes(BLOCK_BYTES)]);
    let mut receiver = Receiver::new(store, board, &mut buffer[..], BLOCK_BYTES as u32);
    loop {
        if let Some(reply) = receiver.push(uart.receive()) {
            uart.send(reply);
        }
        // Models are run on request only, each time from the slot that is active then.
        if receiver.must_restart() {
            receiver.restarted();
        }
    }
}
