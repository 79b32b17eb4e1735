//! Models are pushed to an emulated board over its UART while it is reset at every place. Where QEMU or the target is missing the tests
//! say so and pass, unless `OCELLI_REQUIRE_DEVICE` is set, as `cargo xtask ci` does.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli::model::{Aligned, crc32};
use ocelli::runtime::{Arena, Session};
use ocelli_app::update::protocol::ActiveModel;
use ocelli_app::update::signature::{public_key, sign};
use ocelli_app::update::sim::Random;
use ocelli_app::update::{Refusal, Signature};
use ocelli_firmware_tools::push::{Options, Port, PushError, Ran, Sender, Stream};
use ocelli_firmware_tools::toolchain::find_emulator;
use ocelli_firmware_tools::update::{self, Emulated};
use ocelli_firmware_tools::{Board, Firmware, Toolchain, find};
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

const OPTIONS: Options = Options { timeout: Duration::from_secs(2), attempts: 15, restarts: 0 };

/// A model file of the golden ones, aligned, under another label for each `name`: what a device that runs it must say.
struct Sample {
    file: Vec<u8>,
    crc: u32,
    ran: Ran,
}

fn sample(golden: &str, name: u8) -> Sample {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(golden);
    let mut file = std::fs::read(path).unwrap();
    let [at, len] = [40, 44].map(|at| u32::from_le_bytes(*file[at..].first_chunk().unwrap()) as usize);
    if len > 0 {
        file[at..at + len].iter_mut().filter(|byte| **byte != 0).for_each(|byte| *byte = b'a' + name);
    }
    let body = file.len() - 4;
    let crc = crc32(&file[..body]);
    file[body..].copy_from_slice(&crc.to_le_bytes());

    // the picture of firmware/boards/qemu/src/bin/update.rs, by the runtime of this computer
    let mut aligned = Box::new(Aligned([0; 16 << 10]));
    aligned.0[..file.len()].copy_from_slice(&file);
    let mut arena = Box::new(Arena::<65_536>::new());
    let mut session = Session::load(&aligned.0[..file.len()], arena.bytes_mut()).unwrap();
    let scores = session.run(|y, row| {
        for (i, value) in row.iter_mut().enumerate() {
            *value = ((31 * y as usize + i) as u8).wrapping_sub(128).cast_signed();
        }
    });
    let scores = scores.to_vec();
    let score = *scores.iter().max().unwrap();
    let class = scores.iter().position(|&other| other == score).unwrap();
    let label = session.model().label(class).unwrap_or("").to_owned();
    let ran = Ran { crc, class: u16::try_from(class).unwrap(), score, label };
    Sample { file, crc, ran }
}

/// The board and its firmware, built once; `None` when it cannot be.
fn firmware() -> Option<&'static (&'static Board, Toolchain, Firmware)> {
    static FIRMWARE: OnceLock<Option<(&'static Board, Toolchain, Firmware)>> = OnceLock::new();
    let build = || {
        let board = find("qemu-m4").unwrap();
        let toolchain = match (find_emulator(board), Toolchain::find(board.target)) {
            (Ok(_), Ok(toolchain)) => toolchain,
            (Err(missing), _) | (_, Err(missing)) => {
                assert!(std::env::var_os("OCELLI_REQUIRE_DEVICE").is_none(), "{missing}");
                eprintln!("not run: {missing}");
                return None;
            }
        };
        let firmware = update::build(board, &toolchain, &built_in(), None, None).unwrap();
        Some((board, toolchain, firmware))
    };
    FIRMWARE.get_or_init(build).as_ref()
}

fn built_in() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/tiny-v2.ocelli")
}

/// A line with faults: noise between frames and damaged frames by chance, and a reset of the board after so many bytes.
struct Faulty<'d> {
    board: &'d mut Emulated,
    random: &'d mut Random,
    /// Bytes that are sent before the next reset.
    bytes: Option<usize>,
    /// Frames that are sent before the next reset, which comes as soon as the frame is sent.
    frames: Option<usize>,
    resets: u32,
    /// Something was lost: the next answer is not waited for.
    is_lost: bool,
}

impl<'d> Faulty<'d> {
    fn new(board: &'d mut Emulated, random: &'d mut Random) -> Self {
        Self { board, random, bytes: None, frames: None, resets: 0, is_lost: false }
    }

    fn reset(&mut self) {
        // somewhere in what the board does with the last frame
        sleep(Duration::from_micros(self.random.below(1500)));
        self.board.reset().unwrap();
        (self.bytes, self.frames, self.is_lost) = (None, None, true);
        self.resets += 1;
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let now = self.bytes.unwrap_or(usize::MAX);
        if now < bytes.len() {
            Stream(self.board.line_mut()).send(&bytes[..now])?;
            self.reset();
            return Ok(()); // the rest of the frame comes to nobody
        }
        self.bytes = self.bytes.map(|left| left - bytes.len());
        Stream(self.board.line_mut()).send(bytes)
    }
}

impl Port for Faulty<'_> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let noise: Vec<u8> = (0..self.random.below(24).saturating_sub(12)).map(|_| self.random.byte()).collect();
        self.write(&noise)?;
        let mut bytes = bytes.to_vec();
        if self.random.below(40) == 0 {
            let at = self.random.below(bytes.len() as u64) as usize;
            bytes[at] = self.random.byte();
            self.is_lost = true;
        }
        self.write(&bytes)?;
        self.frames = self.frames.map(|frames| frames.saturating_sub(1));
        if self.frames == Some(0) {
            self.reset();
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize> {
        if std::mem::take(&mut self.is_lost) {
            return Ok(0);
        }
        Stream(self.board.line_mut()).receive(buffer, wait)
    }
}

/// Which of two models is active, having run it; it must be one of them.
fn active(board: &mut Emulated, models: [&Sample; 2], what: &str) -> usize {
    let mut sender = Sender::new(Stream(board.line_mut()), OPTIONS);
    let status = sender.status().unwrap();
    let ran = sender.run().unwrap();
    let index = models.iter().position(|model| model.crc == status.active.crc);
    let index = index.unwrap_or_else(|| panic!("{what}: another model is active: {status:?}"));
    assert_eq!(ran, models[index].ran, "{what}: the model gives other scores");
    assert_eq!(status.active.length as usize, models[index].file.len(), "{what}");
    index
}

#[test]
fn a_reset_keeps_the_slots_and_forgets_everything_else() {
    let Some((kind, _, firmware)) = firmware() else { return };
    let mut board = Emulated::start(kind, &firmware.elf).unwrap();
    let (old, new) = (sample("tiny-v2.ocelli", 5), sample("int4-v2.ocelli", 6));
    let status = |board: &mut Emulated| Sender::new(Stream(board.line_mut()), OPTIONS).status().unwrap();
    assert_eq!(status(&mut board).active.slot, None, "it starts with the model that is built in");
    let pushed = Sender::new(Stream(board.line_mut()), OPTIONS).push(&old.file, None, &mut |_| {}).unwrap();
    assert_eq!(pushed.active, ActiveModel { slot: Some((0, 1)), length: 824, crc: old.crc });

    // a transfer that is left in the middle: held in ordinary variables
    let mut random = Random(1);
    let mut line = Faulty::new(&mut board, &mut random);
    line.frames = Some(5);
    let mut sender = Sender::new(line, OPTIONS);
    let mut received = 0;
    let error = sender.push(&new.file, None, &mut |progress| received = progress.received).unwrap_err();
    assert!(matches!(error, PushError::Restarts { restarts: 0 }), "{error}");
    assert!(received > 0);
    let after = status(&mut board);
    assert_eq!(after.transfer, None, "the transfer is forgotten");
    assert_eq!(after.active, pushed.active, "the slot is as it was");
    let ran = Sender::new(Stream(board.line_mut()), OPTIONS).run().unwrap();
    assert_eq!(ran, old.ran);
    for _ in 0..3 {
        board.reset().unwrap();
        assert_eq!(status(&mut board), after);
    }
}

#[test]
fn resets_at_every_block_and_at_random_leave_the_old_model_or_the_new_one() {
    let Some((kind, _, firmware)) = firmware() else { return };
    let mut board = Emulated::start(kind, &firmware.elf).unwrap();
    let mut random = Random(0x05CE_1117);
    let samples = [
        sample("tiny-v2.ocelli", 0),
        sample("every-operator-v2.ocelli", 1),
        sample("int4-v2.ocelli", 2),
        sample("mobile-uint8-v2.ocelli", 3),
    ];
    Sender::new(Stream(board.line_mut()), OPTIONS).push(&samples[0].file, None, &mut |_| {}).unwrap();
    let (mut current, mut resets, mut switched) = (0, 0, [0; 2]);
    // every request of the longest model: hello, status, begin, twenty blocks, finish
    let boundaries = (1..=24).map(|frame| (1, Some(frame)));
    let chance = (0..200).map(|_| ([0, 3, 0, 3, 2][random.below(5) as usize], None)).collect::<Vec<_>>();
    for (trial, (model, frame)) in boundaries.chain(chance).enumerate() {
        // the longest model while the resets are at its blocks, else one of the shorter ones that is not active
        let next = if model != current {
            model
        } else if model == 0 {
            3
        } else {
            0
        };
        let what = format!("trial {trial}, frame {frame:?}");
        let bytes = samples[next].file.len();
        let mut line = Faulty::new(&mut board, &mut random);
        line.frames = frame;
        if frame.is_none() {
            line.bytes = Some(line.random.below(bytes as u64 + 400) as usize);
        }
        // every eighth time the sender goes on after the reset
        let restarts = u32::from(trial % 8 == 7) * 2;
        let mut sender = Sender::new(line, Options { restarts, ..OPTIONS });
        let result = sender.push(&samples[next].file, None, &mut |_| {});
        assert!(result.is_ok() || restarts == 0, "{what}: {}", result.unwrap_err());
        assert!(matches!(result, Ok(_) | Err(PushError::Restarts { .. })), "{what}: {}", result.unwrap_err());
        resets += sender.port_mut().resets;
        if sender.port_mut().resets == 0 {
            sender.port_mut().reset(); // the model was shorter than thought
            resets += 1;
        }
        let is_new = active(&mut board, [&samples[current], &samples[next]], &what) == 1;
        assert!(is_new || result.is_err(), "{what}: an update that was done is lost");
        switched[usize::from(is_new)] += 1;
        if is_new {
            current = next;
        }
    }
    eprintln!("{resets} resets; the old model stayed {} times, the new one came {} times", switched[0], switched[1]);
    assert!(resets >= 220 && switched[0] > 20 && switched[1] > 20, "{resets} resets, {switched:?}");
    // and then, without any
    let pushed =
        Sender::new(Stream(board.line_mut()), OPTIONS).push(&sample("tiny-v2.ocelli", 9).file, None, &mut |_| {});
    assert!(!pushed.unwrap().was_there);
}

#[test]
fn a_firmware_with_a_key_takes_signed_models_only() {
    let Some((_, toolchain, _)) = firmware() else { return };
    // another board with the same memory map, and not the one that is the default when none is named
    let kind = find("qemu-m3").unwrap();
    let secret = [0x17; 32];
    let firmware = update::build(kind, toolchain, &built_in(), Some(&public_key(&secret).0), None).unwrap();
    let mut board = Emulated::start(kind, &firmware.elf).unwrap();
    let model = sample("mobile-uint8-v2.ocelli", 3);
    let mut sender = Sender::new(Stream(board.line_mut()), OPTIONS);
    let device = sender.hello().unwrap();
    assert_eq!(device.board, kind.name);
    assert_eq!(device.key_id, Some(*public_key(&secret).0.first_chunk().unwrap()));
    let mut push = |signature: Option<Signature>| match sender.push(&model.file, signature.as_ref(), &mut |_| {}) {
        Ok(pushed) => Ok(pushed.active.crc),
        Err(PushError::Refused(refusal)) => Err(refusal),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(push(None), Err(Refusal::Unsigned));
    assert_eq!(push(Some(sign(&[0x18; 32], &model.file))), Err(Refusal::Signature));
    assert_eq!(push(Some(sign(&secret, &model.file))), Ok(model.crc));
    board.reset().unwrap();
    let mut sender = Sender::new(Stream(board.line_mut()), OPTIONS);
    assert_eq!(sender.run().unwrap(), model.ran, "it is checked at each start, and runs");
}

/// As `ocelli push` does it, with a pseudo terminal in place of the cable.
#[cfg(target_os = "linux")]
#[test]
fn a_model_goes_over_a_terminal_to_the_board() {
    use ocelli_firmware_tools::push::serial;
    use serial2::SerialPort;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::thread::spawn;

    fn pass_on(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) {
        spawn(move || {
            let mut buffer = [0; 256];
            loop {
                match from.read(&mut buffer) {
                    Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
                    Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {}
                    _ => return,
                }
            }
        });
    }

    let Some((kind, _, firmware)) = firmware() else { return };
    let mut board = Emulated::start(kind, &firmware.elf).unwrap();
    let (mut terminal, other) = SerialPort::pair().unwrap();
    let name = std::fs::read_link(format!("/proc/self/fd/{}", other.as_raw_fd())).unwrap();
    let mut sender = Sender::new(serial::open(name.to_str().unwrap(), 115_200).unwrap(), OPTIONS);
    terminal.set_read_timeout(Duration::from_millis(20)).unwrap();
    pass_on(terminal.try_clone().unwrap(), board.line_mut().try_clone().unwrap());
    pass_on(board.line_mut().try_clone().unwrap(), terminal);
    let model = sample("every-operator-v2.ocelli", 4);
    let pushed = sender.push(&model.file, None, &mut |_| {}).unwrap();
    assert_eq!((pushed.active.crc, pushed.was_there), (model.crc, false));
    assert_eq!(sender.run().unwrap(), model.ran);
}
