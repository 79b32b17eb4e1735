//! Power that fails at every byte of an update, and again at the next one.
//!
//! Each trial starts from a flash memory with an active model and an older one behind it (or nothing at all), fails in the middle of an
//! update, and then starts again and again, while the bits that were on their way read another way each time. All that a device must
//! hold to is asserted after each start.

use super::samples::{TakesModels, relabeled, tiny};
use super::sim::{Random, SimFlash};
use super::store::{Region, Store};
use super::{ModelFlash, Refusal, model_crc};
use std::vec::Vec;

const PAGE: usize = 256;
const SLOT: usize = 2048;
const REGION: Region = Region { first: 256, slot_bytes: SLOT as u32 };

type Flash<const WRITE: usize> = SimFlash<PAGE, WRITE>;

fn open<const PAGE: usize, const WRITE: usize>(
    flash: SimFlash<PAGE, WRITE>,
    region: Region,
) -> Store<SimFlash<PAGE, WRITE>> {
    Store::open(flash, region, &mut TakesModels::new()).unwrap()
}

/// A whole update, in blocks of 64 bytes.
fn update<F: ModelFlash>(store: &mut Store<F>, model: &[u8]) -> Result<(), Refusal> {
    store.begin(model.len() as u32)?;
    model.chunks(64).try_for_each(|block| store.write(block))?;
    store.finish(model_crc(model).unwrap(), None, &mut TakesModels::new()).map(drop)
}

/// Starts anew: the flash memory as it reads after a reset.
fn reset<const PAGE: usize, const WRITE: usize>(store: Store<SimFlash<PAGE, WRITE>>) -> SimFlash<PAGE, WRITE> {
    let mut flash = store.into_flash();
    flash.reset();
    flash
}

/// A device that has had `updates` updates, the first of which got the record after `newest`.
fn device<const PAGE: usize, const WRITE: usize>(
    size: usize,
    region: Region,
    seed: u64,
    newest: u32,
    models: &[Vec<u8>],
) -> SimFlash<PAGE, WRITE> {
    let mut store = open(SimFlash::new(size, seed), region);
    assert_eq!(store.active(), None, "random bytes are no model");
    if newest != 0 {
        store.pretend_newest(newest);
    }
    for model in models {
        update(&mut store, model).unwrap();
        assert_eq!(store.model(), Some(&model[..]));
    }
    reset(store)
}

/// The file that is active after a start. Starting again changes it only from `old` to `new`, and only once.
fn settled<const PAGE: usize, const WRITE: usize>(
    mut flash: SimFlash<PAGE, WRITE>,
    region: Region,
    old: Option<&[u8]>,
    new: &[u8],
    trial: &str,
) -> (SimFlash<PAGE, WRITE>, bool) {
    let mut is_new = false;
    for start in 0..4 {
        let store = open(flash, region);
        let found = store.model();
        assert!(found == Some(new) || (found == old && !is_new), "{trial}, start {start}: {:?}", store.active());
        is_new = found == Some(new);
        flash = reset(store);
    }
    (flash, is_new)
}

/// What a trial needs to know.
struct Plan<'p> {
    region: Region,
    old: Option<&'p [u8]>,
    new: &'p [u8],
    next: &'p [u8],
    last: &'p [u8],
}

/// Power fails after `cut` bytes of an update to `new`, after a random number of bytes of an update to `next`, and not in an update to
/// `last`. Returns whether the first update was done before, and whether `new` was active after it.
fn trial<const PAGE: usize, const WRITE: usize>(
    mut flash: SimFlash<PAGE, WRITE>,
    plan: &Plan<'_>,
    cut: u64,
    random: &mut Random,
) -> (bool, bool) {
    let &Plan { region, old, new, next, last } = plan;
    let name = std::format!("cut at {cut}");
    flash.fail_after(cut);
    let mut store = open(flash, region);
    let done = update(&mut store, new).is_ok();
    assert!(done || store.model() == old, "{name}: a failed update changes nothing");
    let was_cut = store.flash().is_off();
    let (mut flash, is_new) = settled(reset(store), region, old, new, &name);
    assert!(is_new || !done, "{name}: an update that was done is lost");

    // again, in the middle of the next update; the first start of a device whose power failed may fail as well
    let before = if is_new { Some(new) } else { old };
    let work = 2 * (SLOT as u64).max(new.len() as u64);
    flash.fail_after(if random.byte() < 64 { random.below(300) } else { random.below(work) });
    let mut store = open(flash, region);
    assert!(store.model() == before || store.model() == Some(new), "{name}: start of the second update");
    let before = store.model().map(<[u8]>::to_vec);
    let done = update(&mut store, next).is_ok();
    let name = std::format!("{name}, then in the next update");
    let (flash, is_next) = settled(reset(store), region, before.as_deref(), next, &name);
    assert!(is_next || !done, "{name}: an update that was done is lost");

    let mut store = open(flash, region);
    update(&mut store, last).unwrap();
    let (_, is_last) = settled(reset(store), region, None, last, "the last update");
    assert!(is_last, "{name}: the last update is lost");
    (!was_cut, is_new)
}

/// Fails at every `stride`th byte of an update; how often the old model stayed, and how often the new one was there.
fn cut_everywhere<const PAGE: usize, const WRITE: usize>(
    flash: &SimFlash<PAGE, WRITE>,
    plan: &Plan<'_>,
    stride: u64,
    random: &mut Random,
) -> [u32; 2] {
    let mut outcomes = [0; 2];
    let mut cut = 0;
    loop {
        let mut flash = flash.clone();
        flash.shuffle(random.next());
        let (is_whole, is_new) = trial(flash, plan, cut, random);
        outcomes[usize::from(is_new)] += 1;
        if is_whole {
            return outcomes;
        }
        cut += stride;
    }
}

fn tiny_models_at_every_byte<const WRITE: usize>() {
    let models: Vec<Vec<u8>> = (0..6).map(tiny).collect();
    let mut random = Random(0xB0A7 + WRITE as u64);
    for newest in [0, u32::MAX - 2] {
        let flash: Flash<WRITE> = device(PAGE + 2 * SLOT, REGION, 7, newest, &models[..2]);
        let plan = Plan { region: REGION, old: Some(&models[1]), new: &models[2], next: &models[3], last: &models[4] };
        let [old, new] = cut_everywhere(&flash, &plan, 1, &mut random);
        assert!(old > 2_000 && new > 0, "{old} {new}");
    }
    let flash: Flash<WRITE> = device(PAGE + 2 * SLOT, REGION, 7, 0, &[]);
    let plan = Plan { region: REGION, old: None, new: &models[2], next: &models[3], last: &models[4] };
    let [old, new] = cut_everywhere(&flash, &plan, 1, &mut random);
    assert!(old > 2_000 && new > 0, "{old} {new}");
}

#[test]
fn power_that_fails_at_any_byte_leaves_the_old_model_or_the_new_one() {
    tiny_models_at_every_byte::<1>();
    tiny_models_at_every_byte::<4>();
    tiny_models_at_every_byte::<32>();
}

#[test]
fn a_model_of_many_pages_survives_as_well() {
    let mnist = include_bytes!("../../../../models/mnist-cnn/model.ocelli");
    let models: Vec<Vec<u8>> = (0..5).map(|name| relabeled(mnist, name)).collect();
    let region = Region { first: 4096, slot_bytes: 40_960 };
    let flash: SimFlash<4096, 4> = device(4096 + 2 * 40_960, region, 9, 0, &models[..2]);
    let plan = Plan { region, old: Some(&models[1]), new: &models[2], next: &models[3], last: &models[4] };
    let [old, new] = cut_everywhere(&flash, &plan, 619, &mut Random(5));
    assert!(old > 100 && new > 0, "{old} {new}");
}

/// Power fails in the few words that make the switch, over and over, at every place, before anything else can happen.
#[test]
fn power_that_fails_in_every_start_never_takes_the_new_model_back() {
    let models: Vec<Vec<u8>> = (0..4).map(tiny).collect();
    let flash: Flash<4> = device(PAGE + 2 * SLOT, REGION, 7, 0, &models[..2]);
    let work = {
        let mut store = open(flash.clone(), REGION);
        let before = store.flash().work();
        update(&mut store, &models[2]).unwrap();
        store.flash().work() - before
    };
    let mut random = Random(11);
    let mut seen = [0; 2];
    for round in 0..4_000 {
        let mut flash = flash.clone();
        flash.shuffle(random.next());
        flash.fail_after(work - 1 - random.below(12));
        let mut store = open(flash, REGION);
        let _ = update(&mut store, &models[2]);
        let mut flash = reset(store);
        let mut is_new = false;
        for start in 0..3 {
            flash.fail_after(random.below(140));
            let store = open(flash, REGION);
            let found = store.model();
            assert!(
                found == Some(&models[2]) || (found == Some(&models[1]) && !is_new),
                "round {round}, start {start}"
            );
            // a start that came to its end has made its choice last
            is_new = found == Some(&models[2]) && !store.flash().is_off();
            flash = reset(store);
        }
        seen[usize::from(is_new)] += 1;
    }
    assert!(seen[0] > 100 && seen[1] > 100, "{seen:?}");
}

/// The slot that is written over may hold a newer model than the active one: one that this firmware refuses.
#[test]
fn a_newer_model_that_is_refused_does_not_come_back_from_a_torn_erasure() {
    struct Refuses<'r>(&'r [u8]);
    impl super::Judge for Refuses<'_> {
        fn judge(&mut self, model: &[u8], _: Option<&super::Signature>) -> Result<(), Refusal> {
            if model == self.0 { Err(Refusal::Signature) } else { Ok(()) }
        }
    }
    /// Header and seal of the fresh record: as soon as it counts, nothing else does.
    const RENEWAL: u64 = 128 + 4;
    let models: Vec<Vec<u8>> = (0..3).map(tiny).collect();
    let flash: Flash<4> = device(PAGE + 2 * SLOT, REGION, 7, 0, &models[..2]);
    let mut random = Random(3);
    for cut in 0..1_200 {
        let mut flash = flash.clone();
        flash.shuffle(random.next());
        flash.fail_after(cut);
        let mut store = Store::open(flash, REGION, &mut Refuses(&models[1])).unwrap();
        assert_eq!(store.model(), Some(&models[0][..]));
        let _ = store.begin(824).and_then(|()| store.write(&models[2][..512]));
        // a firmware that would take the model finds the one or the other, and stays with it
        let flash = reset(store);
        let store = open(flash, REGION);
        let found = store.model().map(<[u8]>::to_vec);
        assert!(
            found.as_ref() == Some(&models[0]) || (found.as_ref() == Some(&models[1]) && cut < RENEWAL),
            "cut {cut}"
        );
        let mut flash = reset(store);
        for _ in 0..3 {
            let store = open(flash, REGION);
            assert_eq!(store.model().map(<[u8]>::to_vec), found, "cut {cut}");
            flash = reset(store);
        }
    }
}

#[test]
fn sequence_numbers_go_on_behind_the_last() {
    let models: Vec<Vec<u8>> = (0..7).map(tiny).collect();
    let mut store = open(Flash::<4>::new(PAGE + 2 * SLOT, 1), REGION);
    store.pretend_newest(u32::MAX - 2);
    let mut seen = Vec::new();
    for model in &models {
        update(&mut store, model).unwrap();
        store = open(reset(store), REGION);
        assert_eq!(store.model(), Some(&model[..]));
        seen.push(store.active().map(|active| (active.slot, active.sequence)).unwrap());
    }
    let last = u32::MAX;
    assert_eq!(seen, [(0, last - 1), (1, last), (0, 0), (1, 1), (0, 2), (1, 3), (0, 4)]);
}

#[test]
fn a_damaged_model_is_not_used_and_the_older_one_is() {
    let models: Vec<Vec<u8>> = (0..2).map(tiny).collect();
    let flash: Flash<4> = device(PAGE + 2 * SLOT, REGION, 1, 0, &models);
    let slots = [PAGE, PAGE + SLOT];
    for at in [0, 12, 16, 20, 127, 768, 768 + 400, 768 + 823] {
        let mut flash = flash.clone();
        flash.turn(slots[1] + at, 0x04);
        let store = open(flash, REGION);
        assert_eq!(store.model(), Some(&models[0][..]), "byte {at}");
        let mut flash = store.into_flash();
        flash.turn(slots[0] + at, 0x04);
        assert_eq!(open(flash, REGION).model(), None, "byte {at} of both");
    }
}

#[test]
fn slots_that_cannot_be_used_are_refused() {
    let refused = |first: u32, slot_bytes: u32| {
        Store::open(Flash::<4>::new(PAGE + 2 * SLOT, 1), Region { first, slot_bytes }, &mut TakesModels::new()).is_err()
    };
    assert!(!refused(256, 2048) && !refused(0, 1024));
    assert!(refused(256, 2304), "beyond the end");
    assert!(refused(128, 1024) && refused(0, 1000), "not at pages");
    assert!(refused(0, 768), "no room for a model");
    assert!(refused(u32::MAX - 255, 2048) && refused(0, 1 << 31), "beyond all numbers");
    assert!(Store::open(SimFlash::<256, 64>::new(8192, 1), REGION, &mut TakesModels::new()).is_err(), "words too long");
}

#[test]
fn what_does_not_fit_or_is_out_of_order_is_refused() {
    let model = tiny(0);
    let mut store = open(Flash::<8>::new(PAGE + 2 * SLOT, 1), REGION);
    assert_eq!(store.capacity(), 2048 - 768);
    assert_eq!(store.begin(1281), Err(Refusal::Length { capacity: 1280 }));
    assert_eq!(store.begin(3), Err(Refusal::Length { capacity: 1280 }));
    assert_eq!(store.write(&[0; 8]), Err(Refusal::NoTransfer));
    store.begin(824).unwrap();
    assert_eq!(store.write(&model[..12]), Err(Refusal::Block { next: 0 }), "half a word");
    store.write(&model[..16]).unwrap();
    assert_eq!(store.write(&[0; 809]), Err(Refusal::Block { next: 16 }), "more than was announced");
    let mut judge = TakesModels::new();
    let crc = model_crc(&model).unwrap();
    assert_eq!(store.finish(crc, None, &mut judge), Err(Refusal::Incomplete { written: 16 }));
    store.write(&model[16..]).unwrap();
    assert_eq!(store.finish(crc ^ 1, None, &mut judge), Err(Refusal::Checksum { found: crc }));
    assert_eq!(store.finish(crc, None, &mut judge), Err(Refusal::NoTransfer), "it has to be sent again");
    update(&mut store, &model).unwrap();
    let junk = [7; 40];
    assert_eq!(update(&mut store, &junk), Err(Refusal::Checksum { found: model_crc(&junk).unwrap() }));
    assert_eq!(store.model(), Some(&model[..]));
}
