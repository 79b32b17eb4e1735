//! A board between two frames: an update, noise, a model that it has no memory for.

use super::super::frame::{Collector, encode, request_frame_bytes};
use super::super::protocol::{Begin, Reply, Request};
use super::super::samples::tiny;
use super::super::sim::{Random, SimFlash};
use super::super::store::{Region, Store};
use super::super::{ModelRefusal, model_crc};
use super::*;
use core::cell::Cell;
use ocelli::model::Aligned;
use ocelli::runtime::{Arena, EVERY_KIND};
use std::collections::VecDeque;
use std::string::String;
use std::vec;
use std::vec::Vec;

static BUILT_IN: Aligned<[u8; 824]> = Aligned(*include_bytes!("../../../../../tests/golden/tiny-v2.ocelli"));
const REGION: Region = Region { first: 0, slot_bytes: 4096 };

/// A line on which a sender sends its next request when it has its answer.
struct Wire {
    requests: VecDeque<Vec<u8>>,
    coming: VecDeque<u8>,
    replies: Vec<u8>,
}

impl Line for Wire {
    fn has_byte(&mut self) -> bool {
        !self.coming.is_empty()
    }

    fn receive(&mut self) -> Option<u8> {
        self.coming.pop_front()
    }

    fn send(&mut self, bytes: &[u8]) {
        self.replies.extend(bytes);
        self.coming.extend(self.requests.pop_front().unwrap_or_default());
    }
}

impl Wire {
    fn new(requests: &[Request<'_>]) -> Self {
        let mut frames: VecDeque<Vec<u8>> = requests.iter().map(|request| frame(request)).collect();
        let coming = frames.pop_front().unwrap_or_default().into();
        Self { requests: frames, coming, replies: vec![] }
    }

    /// What was answered, printed.
    fn answers(&self) -> Vec<String> {
        let mut collector = Collector::new([0; 256]);
        let mut answers = vec![];
        for &byte in &self.replies {
            if let Some(frame) = collector.push(byte) {
                answers.push(std::format!("{:?}", frame.message::<Reply<'_>>().unwrap()));
            }
        }
        answers
    }
}

fn frame(request: &Request<'_>) -> Vec<u8> {
    let (mut scratch, mut out) = ([0; 600], [0; 600]);
    encode(7, request, &mut scratch, &mut out).unwrap().to_vec()
}

fn update(transfer: u32, model: &[u8]) -> Vec<Request<'_>> {
    let crc = model_crc(model).unwrap();
    let mut requests = vec![Request::Begin(Begin { transfer, length: model.len() as u32, crc, signature: &[] })];
    for (data, offset) in model.chunks(BLOCK_BYTES as usize).zip((0..).step_by(BLOCK_BYTES as usize)) {
        requests.push(Request::Block { transfer, offset, data });
    }
    requests.push(Request::Finish { transfer });
    requests
}

/// Memory for the tests' models, and `run` with a receiver that works in it; the arena has so many bytes.
fn with_board<R>(
    arena_bytes: usize,
    classes: usize,
    run: impl FnOnce(&mut Receiver<SimFlash<4096, 4>, Kit<'_, EVERY_KIND>, Vec<u8>>) -> R,
) -> R {
    let (mut arena, mut scratch, mut row) = (Arena::<4096>::new(), [0; 64], [0; 4]);
    let memory = Memory { arena: &mut arena.bytes_mut()[..arena_bytes], scratch: &mut scratch, row: &mut row };
    let mut kit = Kit { board: "a board", built_in: &BUILT_IN.0, memory, classes, key: None };
    let store = Store::open(SimFlash::new(8192, 1), REGION, &mut kit).unwrap();
    run(&mut Receiver::new(store, kit, vec![0; request_frame_bytes(BLOCK_BYTES as usize)], BLOCK_BYTES))
}

/// A clock that goes on by a millisecond when it is looked at eight times: some 80,000 bits a second.
fn clock() -> impl Fn() -> u64 {
    let time = Cell::new(0);
    move || {
        time.set(time.get() + 1);
        time.get() / 8
    }
}

#[test]
fn models_come_one_after_the_other_without_a_restart() {
    with_board(4096, 2, |receiver| {
        assert_eq!(receiver.parts().0, BUILT_IN.0);
        for (number, name) in (1..).zip([3, 4, 5]) {
            let model = tiny(name);
            let mut wire = Wire::new(&update(number, &model));
            let now = clock();
            assert!(serve(receiver, &mut wire, &now));
            assert!(now() > NEXT_MS, "the next request is waited for");
            assert!(wire.answers().last().unwrap().starts_with("Finished"), "{:?}", wire.answers());
            let (active, kit) = receiver.parts();
            assert_eq!(active, model);
            // and it runs in the board's memory
            assert!(ocelli::runtime::Session::load(active, kit.memory().arena).is_ok());
        }
    });
}

#[test]
fn a_transfer_goes_on_although_the_board_worked_in_between() {
    with_board(4096, 2, |receiver| {
        let model = tiny(3);
        for request in update(1, &model) {
            assert!(serve(receiver, &mut Wire::new(&[request]), clock()));
            let (active, kit) = receiver.parts();
            assert!(ocelli::runtime::Session::load(active, kit.memory().arena).is_ok());
            kit.memory().arena.fill(0xA5);
        }
        assert_eq!(receiver.parts().0, model);
    });
}

#[test]
fn noise_is_listened_to_for_a_moment_only() {
    with_board(4096, 2, |receiver| {
        let mut random = Random(5);
        let coming = (0..100_000).map(|_| random.byte()).collect();
        let mut noise = Wire { requests: VecDeque::new(), coming, replies: vec![] };
        let now = clock();
        assert!(!serve(receiver, &mut noise, &now));
        assert!(now() <= WHOLE_MS + 1 && noise.replies.is_empty() && noise.has_byte());
        // what comes behind it is understood
        assert!(serve(receiver, &mut Wire::new(&[Request::Status]), clock()));
    });
}

#[test]
fn a_model_that_there_is_no_memory_for_does_not_become_active() {
    let needed = u32::from_le_bytes(*BUILT_IN.0[16..].first_chunk().unwrap());
    let needed_bytes = needed as usize;
    let model = tiny(3);
    let refused = |arena_bytes, classes| {
        with_board(arena_bytes, classes, |receiver| {
            let mut wire = Wire::new(&update(1, &model));
            serve(receiver, &mut wire, clock());
            assert_eq!(receiver.parts().0, BUILT_IN.0);
            wire.answers().pop().unwrap()
        })
    };
    let refusal = |needed, available| {
        std::format!("{:?}", Reply::Refused(Refusal::Model(ModelRefusal::Ram { needed, available })))
    };
    assert_eq!(refused(needed_bytes - 4, 2), refusal(needed, needed - 4));
    assert_eq!(refused(needed_bytes, 1), refusal(8, 4));
}

#[test]
fn a_board_says_what_it_has_and_runs_no_picture() {
    with_board(4000, 2, |receiver| {
        let mut wire = Wire::new(&[Request::Hello, Request::Run]);
        serve(receiver, &mut wire, clock());
        let answers = wire.answers();
        for part in ["a board", "capacity_bytes: 3328", "block_bytes: 512", "arena_bytes: 4000", "key_id: None"] {
            assert!(answers[0].contains(part), "{part}: {answers:?}");
        }
        assert_eq!(answers[1], "Refused(NotSupported)");
    });
}
