//! Replaces the model of a device over a serial line: `cargo run --release -p ocelli-firmware-tools --example push_model`.
//!
//! Both sides in one program: the device with two slots of flash, here simulated, and the sender that `ocelli push` is. In the middle of the
//! second transfer the device loses its power: it starts with the model that it had, and the sender begins anew (`docs/update.md`).

use ocelli::model::{Aligned, Model};
use ocelli::runtime::{Arena, EVERY_KIND};
use ocelli_app::update::frame::request_frame_bytes;
use ocelli_app::update::receiver::{About, Best};
use ocelli_app::update::sim::SimFlash;
use ocelli_app::update::{Device, Judge, ModelJudge, Receiver, Refusal, Region, Signature, Store};
use ocelli_firmware_tools::push::{Options, Port, Sender};
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::time::Duration;

const OLD: &[u8] = include_bytes!("../models/mnist-cnn/model.ocelli");
const NEW: &[u8] = include_bytes!("../models/mnist-cnn-60k/model.ocelli");
/// What the firmware was flashed with: it runs when no slot holds a model.
static BUILT_IN: Aligned<[u8; OLD.len()]> = Aligned(*include_bytes!("../models/mnist-cnn/model.ocelli"));

/// Two slots of ten pages.
const REGION: Region = Region { first: 0, slot_bytes: 10 * 4096 };
/// Bytes that are sent at a time.
const BLOCK: u32 = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut line = Line { device: Some(boot(Flash::new(20 * 4096, 1))?), answers: VecDeque::new(), resets: 0 };
    let options = Options { timeout: Duration::from_millis(1), ..Options::default() };
    for (what, model, power_fails_after) in [("a new model", NEW, None), ("the old one again", OLD, Some(20_000))] {
        if let Some(bytes) = power_fails_after {
            line.fail_after(bytes)?;
        }
        let pushed = Sender::new(&mut line, options).push(model, None, &mut |_| {})?;
        let (active, resets) = (pushed.active, line.resets);
        println!(
            "{what}: {} bytes, CRC {:08x}, slot {:?}, {resets} losses of power",
            active.length, active.crc, active.slot
        );
        assert_eq!(line.device.as_ref().map(Receiver::model), Some(model));
    }
    Ok(())
}

type Flash = SimFlash<4096, 8>;
type Running = Receiver<Flash, Board, Vec<u8>>;

/// What a board says of itself, and how it looks at a model before it is taken.
struct Board {
    arena: Arena<16384>,
}

impl Judge for Board {
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal> {
        // with a key here unsigned models are refused
        ModelJudge::<EVERY_KIND> { arena: self.arena.bytes_mut(), scratch_words: 84, classes: 0, key: None }
            .judge(model, signature)
    }
}

impl Device for Board {
    fn about(&self) -> About<'_> {
        About { board: "simulated", arena_bytes: 16384, kinds: EVERY_KIND, key_id: None }
    }

    fn built_in(&self) -> &'static [u8] {
        &BUILT_IN.0
    }

    fn run<'m>(&mut self, model: &'m [u8]) -> Result<Best<'m>, Refusal> {
        Ok(Best { class: 0, score: 0, label: Model::parse(model)?.label(0).unwrap_or("") })
    }
}

/// A start of the device.
fn boot(flash: Flash) -> Result<Running, Box<dyn Error>> {
    let mut board = Board { arena: Arena::new() };
    let store = Store::open(flash, REGION, &mut board).map_err(|error| format!("{error:?}"))?;
    Ok(Receiver::new(store, board, vec![0; request_frame_bytes(BLOCK as usize)], BLOCK))
}

/// The serial line, with the device at its other end.
struct Line {
    device: Option<Running>,
    answers: VecDeque<u8>,
    resets: u32,
}

impl Line {
    /// The power fails once so many bytes of flash were erased or written.
    fn fail_after(&mut self, bytes: u64) -> Result<(), Box<dyn Error>> {
        let mut flash = self.device.take().ok_or("no device")?.into_flash();
        flash.fail_after(bytes);
        self.device = Some(boot(flash)?);
        Ok(())
    }
}

impl Port for &mut Line {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for &byte in bytes {
            let Some(device) = &mut self.device else { return Err(io::ErrorKind::BrokenPipe.into()) };
            let answer = device.push(byte).map(<[u8]>::to_vec);
            if device.must_restart() {
                device.restarted();
            }
            if !device.store().flash().is_off() {
                self.answers.extend(answer.into_iter().flatten());
            } else {
                // what it was about to say was never sent
                self.resets += 1;
                let flash = self.device.take().map(Receiver::into_flash).map(|mut flash| {
                    flash.reset();
                    flash
                });
                self.device = flash.map(boot).transpose().map_err(|error| io::Error::other(error.to_string()))?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _: Duration) -> io::Result<usize> {
        let count = self.answers.len().min(buffer.len());
        buffer.iter_mut().zip(self.answers.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}
