//! The slots of every board that takes models over a line, on a flash memory that is erased and written as the board's is, and that loses its power.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use ocelli_app::update::sim::{Random, SimFlash};
use ocelli_app::update::{Judge, ModelFlash, Refusal, Region, Signature, Store, model_crc};
use ocelli_firmware_tools::{BOARDS, Updates};
use std::collections::BTreeSet;

/// Bytes of the model files: no multiple of a word or a block.
const FILE_BYTES: usize = 1501;
/// Cuts within an erasure.
const CUTS_IN_AN_ERASURE: u64 = 40;

/// Takes what has the right checksum: what a model is, is none of this test's.
struct Any;

impl Judge for Any {
    fn judge(&mut self, _: &[u8], _: Option<&Signature>) -> Result<(), Refusal> {
        Ok(())
    }
}

fn file(fill: u8) -> Vec<u8> {
    let mut file = vec![fill; FILE_BYTES - 4];
    file.extend(ocelli::model::crc32(&file).to_le_bytes());
    file
}

fn update<F: ModelFlash>(store: &mut Store<F>, file: &[u8]) -> Result<(), Refusal> {
    store.begin(u32::try_from(file.len()).unwrap())?;
    file.chunks(512).try_for_each(|block| store.write(block))?;
    store.finish(model_crc(file).unwrap(), None, &mut Any).map(drop)
}

fn open<const ERASE: usize, const WRITE: usize>(flash: SimFlash<ERASE, WRITE>) -> Store<SimFlash<ERASE, WRITE>> {
    let slot_bytes = u32::try_from(ERASE.max(4096)).unwrap();
    Store::open(flash, Region { first: 0, slot_bytes }, &mut Any).unwrap()
}

/// Power fails after `cut` bytes of the third update. Whether the new model was there then, and whether the update came to its end.
fn trial<const ERASE: usize, const WRITE: usize>(flash: &SimFlash<ERASE, WRITE>, cut: u64, seed: u64) -> (bool, bool) {
    let (old, new, next) = (file(2), file(3), file(4));
    let mut flash = flash.clone();
    flash.shuffle(seed);
    flash.fail_after(cut);
    let mut store = open(flash);
    let is_done = update(&mut store, &new).is_ok();
    let was_cut = store.flash().is_off();
    let mut is_new = false;
    for start in 0..3 {
        let mut flash = store.into_flash();
        flash.reset();
        store = open(flash);
        let found = store.model();
        assert!(found == Some(&new) || (found == Some(&old) && !is_new), "cut at {cut}, start {start}");
        is_new = found == Some(&new);
    }
    assert!(is_new || !is_done, "cut at {cut}: an update that was done is lost");
    update(&mut store, &next).unwrap();
    let mut flash = store.into_flash();
    flash.reset();
    assert_eq!(open(flash).model(), Some(&next[..]), "cut at {cut}: the next update");
    (is_new, !was_cut)
}

/// Cuts at every byte that is written (at every fifth where a sector is large and a trial takes long), and at some of an erasure.
fn cut_everywhere<const ERASE: usize, const WRITE: usize>() {
    let mut store = open(SimFlash::<ERASE, WRITE>::new(2 * ERASE.max(4096), 7));
    update(&mut store, &file(1)).unwrap();
    update(&mut store, &file(2)).unwrap();
    let flash = store.into_flash();
    let mut random = Random(ERASE as u64 + WRITE as u64);
    let (mut cut, mut outcomes) = (0, [0; 2]);
    loop {
        let (is_new, is_whole) = trial(&flash, cut, random.next());
        outcomes[usize::from(is_new)] += 1;
        if is_whole {
            break;
        }
        let erased = ERASE as u64;
        let step = if ERASE > 4096 { 5 } else { 1 };
        cut += if cut < erased { (erased / CUTS_IN_AN_ERASURE).min(erased - cut) } else { step };
    }
    assert!(outcomes[0] > 300 && outcomes[1] > 0, "{ERASE}, {WRITE}: {outcomes:?}");
}

#[test]
fn power_that_fails_leaves_a_model_on_every_boards_flash_memory() {
    let kinds: BTreeSet<(u32, u32)> = BOARDS
        .iter()
        .filter_map(|board| board.updates)
        .map(|Updates { erase_bytes, write_bytes, .. }| (erase_bytes, write_bytes))
        .collect();
    assert!(kinds.len() >= 3);
    for kind in kinds {
        match kind {
            (4096, 1) => cut_everywhere::<4096, 1>(),
            (4096, 4) => cut_everywhere::<4096, 4>(),
            (131_072, 32) => cut_everywhere::<131_072, 32>(),
            other => panic!("a flash memory that is erased and written by {other:?} bytes: add it here"),
        }
    }
}
