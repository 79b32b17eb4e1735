//! The receiver by itself: what it answers, in order and out of order.

use super::super::frame::request_frame_bytes;
use super::super::judge::Verifier;
use super::super::samples::{TakesModels, tiny};
use super::super::sim::{Random, SimFlash};
use super::super::store::Region;
use super::super::{ModelRefusal, model_crc};
use super::*;
use ocelli::model::Aligned;
use proptest::prelude::*;
use std::string::{String, ToString};
use std::vec::Vec;

const REGION: Region = Region { first: 0, slot_bytes: 2048 };
const BLOCK: usize = 64;

static BUILT_IN: Aligned<[u8; 824]> = Aligned(*include_bytes!("../../../../../tests/golden/tiny-v2.ocelli"));

/// A board without a camera: what it "sees" is the first label.
struct Board(TakesModels);

impl Judge for Board {
    fn judge(&mut self, model: &[u8], signature: Option<&Signature>) -> Result<(), Refusal> {
        self.0.judge(model, signature)
    }
}

impl Device for Board {
    fn about(&self) -> About<'_> {
        let key_id = self.0.key.map(|key| key.key_id());
        About {
            board: "a board of a name that is far too long to be told in a reply",
            arena_bytes: 65_536,
            kinds: 6,
            key_id,
        }
    }

    fn built_in(&self) -> &'static [u8] {
        &BUILT_IN.0
    }

    fn run<'m>(&mut self, model: &'m [u8]) -> Result<Best<'m>, Refusal> {
        let model = ocelli::model::Model::parse(model)?;
        Ok(Best { class: 0, score: -3, label: model.label(0).unwrap_or("") })
    }
}

type Flash = SimFlash<256, 4>;

fn receiver(flash: Flash, key: Option<&'static dyn Verifier>) -> Receiver<Flash, Board, Vec<u8>> {
    let mut board = Board(TakesModels::new());
    board.0.key = key;
    let store = Store::open(flash, REGION, &mut board).unwrap();
    Receiver::new(store, board, std::vec![0; request_frame_bytes(BLOCK)], BLOCK as u32)
}

fn new_receiver() -> Receiver<Flash, Board, Vec<u8>> {
    receiver(Flash::new(4096, 1), None)
}

fn frame(number: u16, request: &Request<'_>) -> Vec<u8> {
    let (mut scratch, mut out) = ([0; 256], [0; 256]);
    encode(number, request, &mut scratch, &mut out).unwrap().to_vec()
}

/// The replies to some bytes, printed.
fn replies(receiver: &mut Receiver<Flash, Board, Vec<u8>>, bytes: &[u8]) -> Vec<(u16, String)> {
    let mut collector = Collector::new([0; 256]);
    let mut seen = Vec::new();
    for &byte in bytes {
        for &byte in receiver.push(byte).unwrap_or(&[]) {
            if let Some(frame) = collector.push(byte) {
                seen.push((frame.number, std::format!("{:?}", frame.message::<Reply<'_>>().unwrap())));
            }
        }
    }
    seen
}

/// The reply to a request.
fn ask(receiver: &mut Receiver<Flash, Board, Vec<u8>>, request: &Request<'_>) -> String {
    let mut replies = replies(receiver, &frame(7, request));
    assert_eq!((replies.len(), replies[0].0), (1, 7), "{replies:?}");
    replies.remove(0).1
}

fn begin<'r>(transfer: u32, model: &[u8], signature: &'r [u8]) -> Request<'r> {
    Request::Begin(Begin { transfer, length: model.len() as u32, crc: model_crc(model).unwrap_or(0), signature })
}

fn block(transfer: u32, model: &[u8], index: usize) -> Request<'_> {
    let data = &model[BLOCK * index..model.len().min(BLOCK * (index + 1))];
    Request::Block { transfer, offset: (BLOCK * index) as u32, data }
}

fn send(receiver: &mut Receiver<Flash, Board, Vec<u8>>, transfer: u32, model: &[u8], signature: &[u8]) -> String {
    let reply = ask(receiver, &begin(transfer, model, signature));
    if reply.starts_with("Refused") {
        return reply;
    }
    for index in 0..model.len().div_ceil(BLOCK) {
        let next = model.len().min(BLOCK * (index + 1));
        let reply = ask(receiver, &block(transfer, model, index));
        assert_eq!(reply, std::format!("Received {{ transfer: {transfer}, next: {next} }}"));
    }
    ask(receiver, &Request::Finish { transfer })
}

#[test]
fn an_update_step_by_step() {
    let model = tiny(3);
    let crc = model_crc(&model).unwrap();
    let built_in = model_crc(&BUILT_IN.0).unwrap();
    let mut receiver = new_receiver();
    assert_eq!(
        ask(&mut receiver, &Request::Hello),
        "Hello(Hello { board: \"a board of a name that is far too long to be tol\", capacity_bytes: 1280, block_bytes: 64, \
         format_version: 2, arena_bytes: 65536, kinds: 6, key_id: None })"
    );
    let status = |receiver: &mut _| ask(receiver, &Request::Status);
    let nothing_yet = std::format!(
        "Status(Status {{ active: ActiveModel {{ slot: None, length: 824, crc: {built_in} }}, transfer: None }})"
    );
    assert_eq!(status(&mut receiver), nothing_yet);
    assert_eq!(ask(&mut receiver, &Request::Finish { transfer: 5 }), "Refused(NoTransfer)");
    let finished = std::format!(
        "Finished {{ transfer: 5, active: ActiveModel {{ slot: Some((0, 1)), length: 824, crc: {crc} }} }}"
    );
    assert_eq!(send(&mut receiver, 5, &model, &[]), finished);
    assert_eq!(receiver.model(), model);
    assert!(receiver.must_restart());
    assert_eq!(ask(&mut receiver, &Request::Finish { transfer: 5 }), finished, "asked again");
    assert_eq!(ask(&mut receiver, &begin(5, &model, &[])), finished, "a late double");
    assert_eq!(ask(&mut receiver, &begin(6, &model, &[])), "Refused(Restart)");
    receiver.restarted();
    assert_eq!(
        ask(&mut receiver, &Request::Run),
        std::format!("Ran(RunInfo {{ crc: {crc}, class: 0, score: -3, label: \"dark\" }})")
    );
    assert!(send(&mut receiver, 7, &tiny(4), &[]).contains("slot: Some((1, 2))"));
    assert_eq!(receiver.store().active().map(|active| active.sequence), Some(2));
}

#[test]
fn blocks_that_come_twice_or_early_change_nothing() {
    let model = tiny(3);
    let mut receiver = new_receiver();
    let next = |next: usize| std::format!("Received {{ transfer: 5, next: {next} }}");
    assert_eq!(ask(&mut receiver, &begin(5, &model, &[])), next(0));
    assert_eq!(ask(&mut receiver, &block(5, &model, 1)), next(0), "early");
    assert_eq!(ask(&mut receiver, &block(5, &model, 0)), next(64));
    assert_eq!(ask(&mut receiver, &block(5, &model, 0)), next(64), "twice");
    assert_eq!(ask(&mut receiver, &begin(5, &model, &[])), next(64), "begun already");
    assert_eq!(ask(&mut receiver, &block(4, &model, 1)), "Refused(NoTransfer)", "of another transfer");
    assert_eq!(ask(&mut receiver, &Request::Abort { transfer: 4 }), "Aborted");
    let short = Request::Block { transfer: 5, offset: 64, data: &model[64..100] };
    assert_eq!(ask(&mut receiver, &short), "Refused(Block { next: 64 })");
    assert_eq!(ask(&mut receiver, &Request::Finish { transfer: 5 }), "Refused(Incomplete { written: 64 })");
    for index in 1..13 {
        ask(&mut receiver, &block(5, &model, index));
    }
    let beyond = Request::Block { transfer: 5, offset: 824, data: &[0; 64] };
    assert_eq!(ask(&mut receiver, &beyond), next(824));
    assert!(ask(&mut receiver, &Request::Finish { transfer: 5 }).starts_with("Finished"));
    assert_eq!(ask(&mut receiver, &block(5, &model, 2)), "Refused(NoTransfer)");
}

#[test]
fn a_new_transfer_takes_the_place_of_one_that_was_left() {
    let model = tiny(3);
    let mut receiver = new_receiver();
    ask(&mut receiver, &begin(5, &model, &[]));
    ask(&mut receiver, &block(5, &model, 0));
    assert!(send(&mut receiver, 6, &tiny(4), &[]).starts_with("Finished"));
    assert_eq!(receiver.model(), tiny(4));
    receiver.restarted();
    ask(&mut receiver, &begin(8, &model, &[]));
    assert_eq!(ask(&mut receiver, &Request::Abort { transfer: 8 }), "Aborted");
    assert_eq!(ask(&mut receiver, &block(8, &model, 0)), "Refused(NoTransfer)");
    assert_eq!(receiver.model(), tiny(4));
}

#[test]
fn what_is_no_model_for_the_board_is_refused_and_the_old_one_stays() {
    let mut receiver = new_receiver();
    assert!(send(&mut receiver, 1, &tiny(1), &[]).starts_with("Finished"));
    receiver.restarted();
    let refused = |refusal: Refusal| std::format!("Refused({refusal:?})");
    let mut other_version = tiny(2);
    other_version[8] = 9;
    let body = other_version.len() - 4;
    let crc = ocelli::model::crc32(&other_version[..body]).to_le_bytes();
    other_version[body..].copy_from_slice(&crc);
    let version = Refusal::Model(ModelRefusal::Version { found: 9, supported: 2 });
    assert_eq!(send(&mut receiver, 2, &other_version, &[]), refused(version));
    assert_eq!(ask(&mut receiver, &Request::Finish { transfer: 2 }), refused(version), "asked again");
    let mut damaged = tiny(2);
    damaged[300] ^= 1;
    let announced = model_crc(&damaged).unwrap();
    assert_eq!(
        send(&mut receiver, 3, &damaged, &[]),
        refused(Refusal::Checksum { found: announced }),
        "its last bytes say else"
    );
    assert_eq!(send(&mut receiver, 4, &[0; 1281], &[]), refused(Refusal::Length { capacity: 1280 }));
    assert_eq!(send(&mut receiver, 5, &[], &[]), refused(Refusal::Length { capacity: 1280 }), "no file at all");
    assert_eq!(receiver.model(), tiny(1));
    assert!(!receiver.must_restart());
}

struct Sevens;

impl Verifier for Sevens {
    fn key_id(&self) -> [u8; 8] {
        [7; 8]
    }

    fn verify(&self, _: &[u8], signature: &Signature) -> bool {
        *signature == [7; 64]
    }
}

#[test]
fn a_firmware_with_a_key_takes_signed_models_only_and_looks_again_at_each_start() {
    let mut signed = receiver(Flash::new(4096, 1), Some(&Sevens));
    assert!(ask(&mut signed, &Request::Hello).contains("key_id: Some([7, 7, 7, 7, 7, 7, 7, 7])"));
    assert_eq!(send(&mut signed, 1, &tiny(1), &[]), "Refused(Unsigned)");
    assert_eq!(send(&mut signed, 2, &tiny(1), &[7; 63]), "Refused(Signature)");
    assert_eq!(send(&mut signed, 3, &tiny(1), &[8; 64]), "Refused(Signature)");
    assert_eq!(signed.model(), BUILT_IN.0);
    assert!(send(&mut signed, 4, &tiny(1), &[7; 64]).starts_with("Finished"));
    assert_eq!(receiver(signed.into_flash(), Some(&Sevens)).model(), tiny(1));
    // an unsigned model that a firmware without a key took
    let mut open = new_receiver();
    assert!(send(&mut open, 1, &tiny(1), &[]).starts_with("Finished"));
    assert_eq!(receiver(open.into_flash(), Some(&Sevens)).model(), BUILT_IN.0);
}

#[test]
fn messages_that_it_does_not_know_are_answered() {
    let mut receiver = new_receiver();
    let (mut scratch, mut out) = ([0; 64], [0; 64]);
    let unknown = encode(9, &200_u8, &mut scratch, &mut out).unwrap().to_vec();
    assert_eq!(replies(&mut receiver, &unknown), [(9, "Refused(Message)".to_string())]);
    let long = encode(10, &(Request::Status, 1_u8), &mut scratch, &mut out).unwrap().to_vec();
    assert_eq!(replies(&mut receiver, &long), [(10, "Refused(Message)".to_string())]);
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(2), ..ProptestConfig::with_cases(150) })]

    /// Any frames in any order with anything between them: the active model is always one that was sent whole.
    #[test]
    fn no_course_of_events_makes_a_wrong_model_active(seed in any::<u64>()) {
        let mut random = Random(seed);
        let models = [tiny(1), tiny(2), tiny(3)];
        let mut receiver = new_receiver();
        let mut place = 0;
        for _ in 0..120 {
            let transfer = 1 + random.below(2) as u32;
            let model = &models[random.below(3) as usize];
            let index = if random.byte() < 200 { place } else { random.below(13) as usize };
            let request = match random.below(24) {
                0 => begin(transfer, model, &[]),
                1 => Request::Finish { transfer },
                2 => Request::Abort { transfer },
                3 => Request::Status,
                4 => { receiver.restarted(); Request::Hello }
                _ => { place = (index + 1) % 13; block(transfer, &models[0], index) }
            };
            let mut bytes = frame(random.next() as u16, &request);
            match random.below(8) {
                0 => { let at = random.below(bytes.len() as u64) as usize; bytes[at] ^= 1 << random.below(8); }
                1 => { bytes.remove(random.below(bytes.len() as u64) as usize); }
                2 => bytes = [&bytes[..], &bytes[..]].concat(),
                3 => for _ in 0..random.below(300) { bytes.insert(0, random.byte()) },
                _ => {}
            }
            replies(&mut receiver, &bytes);
            let active = receiver.model();
            prop_assert!(active == BUILT_IN.0 || models.iter().any(|model| active == model));
        }
        // and then it still takes an update
        receiver.restarted();
        let reply = send(&mut receiver, 99, &tiny(9), &[]);
        prop_assert!(reply.starts_with("Finished"), "{}", reply);
    }
}
