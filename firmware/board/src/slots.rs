//! The part of a chip's flash memory in which models are kept that come over a line.
#![allow(unsafe_code, reason = "flash memory is read where the core sees it")]

use core::marker::PhantomData;
use core::slice;
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};
use ocelli_app::update::{ModelFlash, Region};

/// What becomes of reading a word that a loss of power has torn.
pub trait TornWords {
    /// Does `work`, in which the core reads such words as any bytes.
    fn tolerating<R>(work: impl FnOnce() -> R) -> R;
}

/// Flash memory without error correction: every word can be read.
#[derive(Clone, Copy, Debug)]
pub struct ReadAsBytes;

impl TornWords for ReadAsBytes {
    fn tolerating<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}

/// Flash memory, by the HAL's driver `F`, of which only the slots are seen: offset 0 is where they begin.
#[derive(Debug)]
pub struct Slots<F, T = ReadAsBytes> {
    flash: F,
    /// Offset of the slots in the driver's memory.
    first: u32,
    bytes: u32,
    /// Where the core reads the byte at that offset.
    address: *const u8,
    torn: PhantomData<T>,
}

impl<F: NorFlash, T: TornWords> Slots<F, T> {
    /// The slots, and the region that they are in this memory; of `slot_bytes` each, from the driver's offset `first` on, which the core
    /// reads at `address`.
    ///
    /// # Safety
    /// As long as this value lives, the core must be able to read `2 * slot_bytes` bytes from `address` on; they must be what the driver writes
    /// from `first` on, change by nothing else, and be seen changed when the driver returns (caches included).
    pub const unsafe fn new(flash: F, first: u32, slot_bytes: u32, address: *const u8) -> (Self, Region) {
        let slots = Self { flash, first, bytes: 2 * slot_bytes, address, torn: PhantomData };
        (slots, Region { first: 0, slot_bytes })
    }

    /// The driver's offset of an offset in the slots.
    const fn offset(&self, at: u32) -> u32 {
        self.first.saturating_add(at)
    }
}

impl<F: NorFlash, T> ErrorType for Slots<F, T> {
    type Error = F::Error;
}

impl<F: NorFlash, T: TornWords> ReadNorFlash for Slots<F, T> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), F::Error> {
        self.flash.read(self.offset(offset), bytes)
    }

    fn capacity(&self) -> usize {
        // as much of the slots as the driver's memory has
        self.flash.capacity().saturating_sub(self.first as usize).min(self.bytes as usize)
    }
}

impl<F: NorFlash, T: TornWords> NorFlash for Slots<F, T> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.flash.erase(self.offset(from), self.offset(to))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.flash.write(self.offset(offset), bytes)
    }
}

impl<F: NorFlash, T: TornWords> ModelFlash for Slots<F, T> {
    fn mapped(&self) -> &[u8] {
        // SAFETY: `new` was promised that these bytes can be read. They change by `erase` and `write` only, which borrow this value
        // mutably, so not while the slice lives.
        unsafe { slice::from_raw_parts(self.address, self.bytes as usize) }
    }

    fn tolerating<R>(work: impl FnOnce() -> R) -> R {
        T::tolerating(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ocelli_app::update::sim::SimFlash;
    use ocelli_app::update::{Judge, Refusal, Signature, Store, model_crc};
    use std::cell::Cell;
    use std::vec::Vec;

    const SLOT: u32 = 2048;
    const FIRST: u32 = 1024;

    std::thread_local! {
        static TOLERATED: Cell<u32> = const { Cell::new(0) };
    }

    struct Counted;

    impl TornWords for Counted {
        fn tolerating<R>(work: impl FnOnce() -> R) -> R {
            TOLERATED.set(TOLERATED.get() + 1);
            work()
        }
    }

    struct Any;

    impl Judge for Any {
        fn judge(&mut self, _: &[u8], _: Option<&Signature>) -> Result<(), Refusal> {
            Ok(())
        }
    }

    /// Slots in the middle of a memory.
    fn slots(flash: SimFlash<256, 4>) -> (Slots<SimFlash<256, 4>, Counted>, Region) {
        let address = flash.mapped()[FIRST as usize..].as_ptr();
        // SAFETY: the address is that of the driver's bytes, which lie on the heap and stay there.
        unsafe { Slots::new(flash, FIRST, SLOT, address) }
    }

    fn file(fill: u8) -> Vec<u8> {
        let mut file = std::vec![fill; 400];
        file.extend(ocelli::model::crc32(&file).to_le_bytes());
        file
    }

    #[test]
    fn models_are_kept_in_the_slots_and_nothing_else_changes() {
        let flash = SimFlash::<256, 4>::new((FIRST + 2 * SLOT + 512) as usize, 3);
        let before = flash.mapped().to_vec();
        let (slots, region) = slots(flash);
        assert_eq!((slots.capacity(), region.first), (2 * SLOT as usize, 0));
        let mut store = Store::open(slots, region, &mut Any).unwrap();
        for fill in [1, 2, 3] {
            let file = file(fill);
            store.begin(404).unwrap();
            store.write(&file).unwrap();
            store.finish(model_crc(&file).unwrap(), None, &mut Any).unwrap();
            assert_eq!(store.model(), Some(&file[..]));
        }
        // the start, and the three times that the slots' records were looked at before one was erased
        assert_eq!(TOLERATED.get(), 4);
        let slots = store.into_flash();
        let (first, end) = (FIRST as usize, (FIRST + 2 * SLOT) as usize);
        let after = slots.flash.mapped();
        assert!(after[..first] == before[..first] && after[end..] == before[end..]);
        assert!(after[first..end] != before[first..end] && slots.mapped() == &after[first..end]);
        let store = Store::open(slots, region, &mut Any).unwrap();
        assert_eq!(store.model(), Some(&file(3)[..]));
    }

    #[test]
    fn slots_that_reach_beyond_the_memory_are_refused() {
        let flash = SimFlash::<256, 4>::new((FIRST + 2 * SLOT) as usize, 3);
        let address = flash.mapped()[FIRST as usize..].as_ptr();
        // SAFETY: nothing is read: the store refuses them.
        let (slots, region) = unsafe { Slots::<_, Counted>::new(flash, FIRST + 256, SLOT, address) };
        assert_eq!(slots.capacity(), 2 * SLOT as usize - 256);
        assert!(Store::open(slots, region, &mut Any).is_err());
    }
}
