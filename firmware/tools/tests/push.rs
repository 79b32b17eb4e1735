//! The sender against a device that is simulated with all that is around it: a line that loses, damages, doubles and delays what is on it,
//! and flash memory whose power fails. Time is simulated too: a wait for what does not come ends at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use ocelli::model::{Aligned, Model, crc32};
use ocelli::runtime::{Arena, EVERY_KIND};
use ocelli_app::update::frame::request_frame_bytes;
use ocelli_app::update::judge::Verifier;
use ocelli_app::update::receiver::{About, Best};
use ocelli_app::update::signature::{ModelKey, public_key, sign};
use ocelli_app::update::sim::{Random, SimFlash};
use ocelli_app::update::{Device, Judge, ModelJudge, ModelRefusal, Receiver, Refusal, Region, Signature, Store};
use ocelli_firmware_tools::push::{Options, Port, PushError, Sender, Stream};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

const REGION: Region = Region { first: 0, slot_bytes: 4096 };
const BLOCK: usize = 64;
const PATIENT: Options = Options { timeout: Duration::from_millis(1), attempts: 1_000, restarts: 1_000 };

static BUILT_IN: Aligned<[u8; 824]> = Aligned(*include_bytes!("../../../tests/golden/tiny-v2.ocelli"));

/// The smallest model there is, under another label for each `name`.
fn tiny(name: u8) -> Vec<u8> {
    let mut file = BUILT_IN.0.to_vec();
    let labels = u32::from_le_bytes(*file[40..].first_chunk().unwrap()) as usize;
    file[labels] = b'a' + name;
    let body = file.len() - 4;
    let crc = crc32(&file[..body]).to_le_bytes();
    file[body..].copy_from_slice(&crc);
    file
}

struct Board {
    arena: Arena<8192>,
    key: Option<ModelKey>,
}

impl Judge for Board {
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal> {
        let key = self.key.as_ref().map(|key| key as &dyn Verifier);
        ModelJudge::<EVERY_KIND> { arena: self.arena.bytes_mut(), scratch_words: 0, classes: 0, key }
            .judge(model, signature)
    }
}

impl Device for Board {
    fn about(&self) -> About<'_> {
        About { board: "simulated", arena_bytes: 8192, kinds: EVERY_KIND, key_id: self.key.map(|key| key.key_id()) }
    }

    fn built_in(&self) -> &'static [u8] {
        &BUILT_IN.0
    }

    fn run<'m>(&mut self, model: &'m [u8]) -> Result<Best<'m>, Refusal> {
        Ok(Best { class: 0, score: 1, label: Model::parse(model)?.label(0).unwrap_or("") })
    }
}

type Flash = SimFlash<256, 8>;

fn boot(flash: Flash, key: Option<ModelKey>) -> Receiver<Flash, Board, Vec<u8>> {
    let mut board = Board { arena: Arena::new(), key };
    let store = Store::open(flash, REGION, &mut board).unwrap();
    Receiver::new(store, board, vec![0; request_frame_bytes(BLOCK)], BLOCK as u32)
}

/// How bad the line is: of 256 frames so many are hit. And how many bytes of flash are erased and written between two losses of power.
#[derive(Clone, Copy, Default)]
struct Faults {
    lost: u8,
    damaged: u8,
    doubled: u8,
    late: u8,
    noise: u8,
    power: Option<u64>,
}

struct World {
    receiver: Option<Receiver<Flash, Board, Vec<u8>>>,
    key: Option<ModelKey>,
    faults: Faults,
    random: Random,
    /// Frames that are on their way to the device, later than they should be.
    late: Vec<Vec<u8>>,
    to_sender: VecDeque<u8>,
    resets: u32,
    /// All models that were ever active.
    seen: Vec<Vec<u8>>,
}

impl World {
    fn new(seed: u64, faults: Faults, key: Option<ModelKey>) -> Self {
        let receiver = Some(boot(Flash::new(8192, seed), key));
        let (late, to_sender) = (Vec::new(), VecDeque::new());
        let mut world = Self {
            receiver,
            key,
            faults,
            random: Random(seed),
            late,
            to_sender,
            resets: 0,
            seen: vec![BUILT_IN.0.to_vec()],
        };
        world.arm();
        world
    }

    fn chance(&mut self, of_256: u8) -> bool {
        self.random.byte() < of_256
    }

    fn active(&self) -> &[u8] {
        self.receiver.as_ref().unwrap().model()
    }

    /// A start of the device after its power failed, with the next failure to come.
    fn reset(&mut self) {
        let mut flash = self.receiver.take().unwrap().into_flash();
        flash.reset();
        self.resets += 1;
        self.receiver = Some(boot(flash, self.key));
        self.arm();
    }

    fn arm(&mut self) {
        if let Some(bytes) = self.faults.power {
            let mut flash = self.receiver.take().unwrap().into_flash();
            let after = self.random.below(bytes);
            flash.fail_after(after);
            self.receiver = Some(boot(flash, self.key));
        }
    }

    /// What the line does to bytes.
    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if self.chance(self.faults.damaged) {
            let at = self.random.below(bytes.len() as u64) as usize;
            match self.random.below(3) {
                0 => bytes[at] ^= 1 << self.random.below(8),
                1 => drop(bytes.drain(..at)),
                _ => bytes.insert(at, self.random.byte()),
            }
        }
        if self.chance(self.faults.lost) {
            bytes.clear();
        }
        if self.chance(self.faults.doubled) {
            bytes.extend_from_within(..);
        }
        if self.chance(self.faults.noise) {
            let noise: Vec<u8> = (0..self.random.below(200)).map(|_| self.random.byte()).collect();
            bytes.splice(0..0, noise);
        }
        bytes
    }

    fn deliver(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let receiver = self.receiver.as_mut().unwrap();
            let reply = receiver.push(byte).map(<[u8]>::to_vec);
            if receiver.store().flash().is_off() {
                self.reset(); // its reply was never sent
                continue;
            }
            if receiver.must_restart() {
                receiver.restarted();
            }
            if let Some(reply) = reply {
                let reply = self.spoil(&reply);
                self.to_sender.extend(reply);
            }
            let active = self.active().to_vec();
            if *self.seen.last().unwrap() != active {
                self.seen.push(active);
            }
        }
    }
}

impl Port for &mut World {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = self.spoil(bytes);
        if self.chance(self.faults.late) {
            self.late.push(bytes);
            return Ok(());
        }
        self.deliver(&bytes);
        if !self.late.is_empty() && self.chance(128) {
            let late = self.late.remove(0);
            self.deliver(&late);
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], _: Duration) -> io::Result<usize> {
        let count = self.to_sender.len().min(buffer.len());
        buffer.iter_mut().zip(self.to_sender.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }
}

#[test]
fn a_model_comes_over_a_good_line_and_is_not_sent_twice() {
    let mut world = World::new(1, Faults::default(), None);
    let mut sender = Sender::new(&mut world, Options { attempts: 1, restarts: 0, ..PATIENT });
    let mut received = Vec::new();
    let pushed = sender.push(&tiny(1), None, &mut |progress| received.push(progress.received)).unwrap();
    assert_eq!((pushed.active.slot, pushed.active.length, pushed.was_there), (Some((0, 1)), 824, false));
    assert_eq!(received, (0..=12).map(|block| block * 64).chain([824]).collect::<Vec<u32>>());
    let again = sender.push(&tiny(1), None, &mut |_| panic!("nothing is to be sent")).unwrap();
    assert_eq!((again.active, again.was_there), (pushed.active, true));
    let info = sender.hello().unwrap();
    assert_eq!((info.board.as_str(), info.capacity_bytes, info.block_bytes), ("simulated", 4096 - 768, 64));
    let ran = sender.run().unwrap();
    assert_eq!((ran.crc, ran.label.as_bytes()[0]), (pushed.active.crc, b'b'));
    sender.abort().unwrap();
    assert_eq!(world.active(), tiny(1));
}

#[test]
fn every_update_arrives_over_a_bad_line() {
    let faults = Faults { lost: 40, damaged: 40, doubled: 40, late: 30, noise: 60, power: None };
    for seed in 0..40 {
        let mut world = World::new(seed, faults, None);
        for name in 1..6 {
            let pushed = Sender::new(&mut world, PATIENT).push(&tiny(name), None, &mut |_| {}).unwrap();
            assert_eq!(world.active(), tiny(name), "seed {seed}: {pushed:?}");
        }
        let expected: Vec<Vec<u8>> = [BUILT_IN.0.to_vec()].into_iter().chain((1..6).map(tiny)).collect();
        assert_eq!(world.seen, expected, "seed {seed}: each once, in their order");
    }
}

#[test]
fn every_update_arrives_when_power_fails_again_and_again() {
    let faults = Faults { lost: 10, damaged: 10, doubled: 10, late: 10, noise: 20, power: Some(9_000) };
    let mut resets = 0;
    for seed in 0..60 {
        let mut world = World::new(seed, faults, None);
        for name in 1..6 {
            Sender::new(&mut world, PATIENT).push(&tiny(name), None, &mut |_| {}).unwrap();
            assert_eq!(world.active(), tiny(name), "seed {seed}");
        }
        resets += world.resets;
        let expected: Vec<Vec<u8>> = [BUILT_IN.0.to_vec()].into_iter().chain((1..6).map(tiny)).collect();
        assert_eq!(world.seen, expected, "seed {seed}: each once, in their order");
    }
    assert!(resets > 100, "{resets}");
}

#[test]
fn a_device_that_is_reset_without_end_is_reported() {
    let faults = Faults { power: Some(400), ..Faults::default() };
    let mut world = World::new(3, faults, None);
    let error =
        Sender::new(&mut world, Options { restarts: 4, ..PATIENT }).push(&tiny(1), None, &mut |_| {}).unwrap_err();
    assert!(matches!(error, PushError::Restarts { restarts: 4 }), "{error}");
    assert_eq!(world.active(), BUILT_IN.0);
}

#[test]
fn signed_models_only_with_a_key() {
    let secret = [0x42; 32];
    let mut world = World::new(4, Faults::default(), Some(public_key(&secret)));
    let mut push = |file: &[u8], signature: Option<&Signature>| {
        Sender::new(&mut world, PATIENT).push(file, signature, &mut |_| {}).map(|pushed| pushed.active.slot)
    };
    let file = tiny(1);
    assert_eq!(push(&file, Some(&sign(&secret, &file))).unwrap(), Some((0, 1)));
    let refused = |error: PushError| match error {
        PushError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    };
    assert_eq!(refused(push(&tiny(2), None).unwrap_err()), Refusal::Unsigned);
    assert_eq!(refused(push(&tiny(2), Some(&sign(&secret, &file))).unwrap_err()), Refusal::Signature);
    assert_eq!(refused(push(&tiny(2), Some(&sign(&[1; 32], &tiny(2)))).unwrap_err()), Refusal::Signature);
    assert_eq!(world.active(), tiny(1));
}

#[test]
fn what_the_device_cannot_take_is_refused_before_it_is_sent() {
    let mut world = World::new(5, Faults::default(), None);
    let mut push =
        |file: &[u8]| Sender::new(&mut world, PATIENT).push(file, None, &mut |_| panic!("it was sent")).unwrap_err();
    let fixed = |mut file: Vec<u8>| {
        let body = file.len() - 4;
        let crc = crc32(&file[..body]).to_le_bytes();
        file[body..].copy_from_slice(&crc);
        file
    };
    assert!(matches!(push(&[]), PushError::File));
    assert!(matches!(push(&tiny(1)[..800]), PushError::File), "a piece of a file");
    assert!(matches!(push(&fixed(vec![0; 4000])), PushError::Refused(Refusal::Length { capacity: 3328 })));
    let mut version = tiny(1);
    version[8] = 7;
    let expected = ModelRefusal::Version { found: 7, supported: 2 };
    assert!(matches!(push(&fixed(version)), PushError::Refused(Refusal::Model(found)) if found == expected));
    let mut arena = tiny(1);
    arena[18] = 1;
    let ram = push(&fixed(arena));
    assert!(matches!(ram, PushError::Refused(Refusal::Model(ModelRefusal::Ram { available: 8192, .. }))), "{ram}");
}

/// A line that says what it was told to, whatever it is asked.
struct Says(Vec<u8>);

impl io::Read for Says {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(buffer.len());
        buffer.iter_mut().zip(self.0.drain(..count)).for_each(|(to, from)| *to = from);
        if count == 0 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(count) }
    }
}

impl io::Write for Says {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // answers by the same frame of protocol version 9
        let coded = bytes.strip_prefix(&[0]).and_then(|rest| rest.strip_suffix(&[0])).unwrap();
        let mut plain = cobs_decoded(coded);
        plain[0] = 9;
        let body = plain.len() - 4;
        let crc = crc32(&plain[..body]).to_le_bytes();
        plain[body..].copy_from_slice(&crc);
        self.0.extend([0].iter().chain(&cobs_encoded(&plain)).chain(&[0]));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// COBS by its definition (Cheshire and Baker, 1999), for messages of fewer than 254 bytes.
fn cobs_encoded(plain: &[u8]) -> Vec<u8> {
    plain.split(|&byte| byte == 0).flat_map(|run| [&[run.len() as u8 + 1], run].concat()).collect()
}

fn cobs_decoded(mut coded: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let Some((&code, rest)) = coded.split_first() {
        let (run, rest) = rest.split_at(usize::from(code) - 1);
        plain.extend_from_slice(run);
        plain.push(0);
        coded = rest;
    }
    plain.pop();
    plain
}

#[test]
fn another_version_of_the_protocol_and_silence_are_told_apart() {
    let options = Options { timeout: Duration::from_millis(1), attempts: 3, restarts: 0 };
    let error = Sender::new(Stream(Says(vec![1, 2, 3, 0, 0, 7])), options).hello().unwrap_err();
    assert!(matches!(error, PushError::Version { found: 9, known: 1 }), "{error}");
    let error = Sender::new(Stream(io::Cursor::new(Vec::new())), options).hello().unwrap_err();
    assert!(matches!(error, PushError::NoAnswer { attempts: 3, .. }), "{error}");
}
