//! A NOR flash memory for tests that loses its power at any byte, and then is in the worst state that it may be in.
//!
//! An erased byte is FF, writing only clears bits, and a word is written once between two erasures. Power that fails leaves the word that
//! was being written, or the page that was being erased, with each bit on its way done, not done, or *in doubt*: a bit in doubt reads
//! either way, and another way after the next reset.

use super::ModelFlash;
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use std::vec::Vec;

/// A flash memory that is erased in pages of `ERASE` bytes and written in words of `WRITE`.
#[derive(Clone, Debug)]
pub struct SimFlash<const ERASE: usize, const WRITE: usize> {
    /// As it reads now. Words, so that it is aligned as a model must be.
    words: Vec<u32>,
    /// Bits that read either way.
    doubtful: Vec<u8>,
    random: Random,
    fuel: Option<u64>,
    is_off: bool,
    /// What was done, in bytes erased and written.
    work: u64,
}

impl<const ERASE: usize, const WRITE: usize> SimFlash<ERASE, WRITE> {
    /// A memory of so many bytes (a multiple of 4), full of random bytes.
    #[must_use]
    pub fn new(bytes: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let words = (0..bytes / 4).map(|_| random.next() as u32).collect();
        Self { words, doubtful: std::vec![0; bytes], random, fuel: None, is_off: false, work: 0 }
    }

    /// Lets the power fail when so many more bytes have been erased or written.
    pub const fn fail_after(&mut self, bytes: u64) {
        self.fuel = Some(bytes);
    }

    /// Whether the power has failed.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.is_off
    }

    /// Bytes that were erased and written so far.
    #[must_use]
    pub const fn work(&self) -> u64 {
        self.work
    }

    /// Lets chance take another course.
    pub const fn shuffle(&mut self, seed: u64) {
        self.random = Random(seed);
    }

    /// Turns bits of a byte around, as a fault would.
    pub fn turn(&mut self, at: usize, bits: u8) {
        *self.byte_mut(at) ^= bits;
    }

    /// Starts again, with power that does not fail; bits in doubt read as they like.
    pub fn reset(&mut self) {
        (self.fuel, self.is_off) = (None, false);
        for at in 0..self.doubtful.len() {
            let doubtful = self.doubtful[at];
            if doubtful != 0 {
                let random = self.random.byte();
                let byte = self.byte_mut(at);
                *byte = (*byte & !doubtful) | (random & doubtful);
            }
        }
    }

    fn byte_mut(&mut self, at: usize) -> &mut u8 {
        &mut bytemuck::cast_slice_mut(&mut self.words)[at]
    }

    /// Takes the power for a byte.
    fn use_power(&mut self) -> bool {
        match &mut self.fuel {
            Some(0) => false,
            Some(fuel) => {
                *fuel -= 1;
                self.work += 1;
                true
            }
            None => {
                self.work += 1;
                true
            }
        }
    }

    /// Leaves the bits of `goal` that differ from what is there on their way: of 256 such bits `done` are there, as many of the others
    /// are in doubt.
    fn tear(&mut self, at: usize, goal: u8, done: u8) {
        for bit in 0..8 {
            let mask = 1 << bit;
            if (*self.byte_mut(at) ^ goal) & mask == 0 {
                continue;
            }
            if self.random.byte() < done {
                *self.byte_mut(at) ^= mask;
            } else if self.random.byte() < done {
                self.doubtful[at] |= mask;
                *self.byte_mut(at) ^= mask & self.random.byte();
            }
        }
    }
}

impl<const ERASE: usize, const WRITE: usize> ErrorType for SimFlash<ERASE, WRITE> {
    type Error = NorFlashErrorKind;
}

impl<const ERASE: usize, const WRITE: usize> ReadNorFlash for SimFlash<ERASE, WRITE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        let from = self.mapped().get(offset as usize..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(NorFlashErrorKind::OutOfBounds)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.doubtful.len()
    }
}

impl<const ERASE: usize, const WRITE: usize> NorFlash for SimFlash<ERASE, WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        let (from, to) = (from as usize, to as usize);
        assert!(from <= to && to <= self.capacity(), "erased outside: {from}..{to}");
        assert!(from.is_multiple_of(ERASE) && to.is_multiple_of(ERASE), "pages are erased whole: {from}..{to}");
        if self.is_off {
            return Err(NorFlashErrorKind::Other);
        }
        for page in (from..to).step_by(ERASE) {
            for spent in 0..ERASE {
                if self.use_power() {
                    continue;
                }
                self.is_off = true;
                // Some memories clear a page evenly, some from one end to the other.
                let is_even = self.random.byte() & 1 == 0;
                let done = u8::try_from(spent * 256 / ERASE).unwrap_or(u8::MAX);
                for at in 0..ERASE {
                    let done = match at.cmp(&spent) {
                        _ if is_even => done,
                        core::cmp::Ordering::Less => u8::MAX,
                        core::cmp::Ordering::Equal => 128,
                        core::cmp::Ordering::Greater => 0,
                    };
                    self.tear(page + at, 0xFF, done);
                }
                return Err(NorFlashErrorKind::Other);
            }
            for at in page..page + ERASE {
                *self.byte_mut(at) = 0xFF;
                self.doubtful[at] = 0;
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let offset = offset as usize;
        assert!(offset + bytes.len() <= self.capacity(), "written outside: {offset}");
        assert!(
            offset.is_multiple_of(WRITE) && bytes.len().is_multiple_of(WRITE),
            "words are written whole: {offset} {}",
            bytes.len()
        );
        if self.is_off {
            return Err(NorFlashErrorKind::Other);
        }
        for (at, word) in (offset..).step_by(WRITE).zip(bytes.chunks_exact(WRITE)) {
            let is_blank = (at..at + WRITE).all(|at| *self.byte_mut(at) == 0xFF);
            assert!(is_blank, "the word at {at} is written without having been erased");
            for spent in 0..WRITE {
                if self.use_power() {
                    continue;
                }
                self.is_off = true;
                let done = u8::try_from(spent * 256 / WRITE + 64 / WRITE).unwrap_or(u8::MAX);
                for (at, &goal) in (at..).zip(word) {
                    self.tear(at, goal, done);
                }
                return Err(NorFlashErrorKind::Other);
            }
            for (at, &goal) in (at..).zip(word) {
                *self.byte_mut(at) = goal;
                self.doubtful[at] = 0;
            }
        }
        Ok(())
    }
}

impl<const ERASE: usize, const WRITE: usize> ModelFlash for SimFlash<ERASE, WRITE> {
    fn mapped(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }
}

/// splitmix64: random enough for tests, the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "it never ends")]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A byte.
    pub const fn byte(&mut self) -> u8 {
        (self.next() >> 56) as u8
    }

    /// A number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
