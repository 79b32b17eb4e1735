//! Two models in flash, one of them active: a new one is written over the other, and counts with the last word that is written.
//!
//! Everything that a new model consists of is erased, written, checked and sealed in one go, without a reset between: what was written
//! before a loss of power is never built upon, because a word or a page at which it happened may read one way now and another way
//! later. For the same reason a choice that was made at a start is made lasting before anything else is touched, see [`Store::open`].

use super::slot::{CONTENT, Header, MARK_BYTES, RECORD_BYTES, RECORDS, Record, SEAL, WITNESS, is_newer};
use super::{Judge, ModelFlash, Refusal, Signature, model_crc};

/// Slots that there are.
pub const SLOTS: u32 = 2;

/// Where the slots lie in a flash memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Offset of the first slot in bytes, a multiple of the erase size; the second follows it.
    pub first: u32,
    /// Bytes of a slot, a multiple of the erase size.
    pub slot_bytes: u32,
}

/// The slots do not lie as they must, or the flash memory is written in units that a slot's records are not made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BadRegion;

/// The model that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Its slot, 0 or 1.
    pub slot: u32,
    /// Its sequence number.
    pub sequence: u32,
    /// Bytes of the file.
    pub length: u32,
    /// [`model_crc`] of the file.
    pub crc: u32,
}

/// A model that is being written.
#[derive(Clone, Copy, Debug)]
struct Upload {
    slot: u32,
    length: u32,
    /// Bytes of the file that are written.
    written: u32,
    /// Bytes of the slot that are erased.
    erased: u32,
}

/// The two slots.
#[derive(Debug)]
pub struct Store<F> {
    flash: F,
    region: Region,
    active: Option<Active>,
    /// The newest sequence number of all records that there are.
    newest: u32,
    upload: Option<Upload>,
}

impl<F: ModelFlash> Store<F> {
    /// Finds the active model: of the slots whose model counts, is whole and is accepted by `judge`, the newer one.
    ///
    /// Where its record is in doubt (power failed while it was sealed) a fresh one is written behind it, so that the choice lasts. That
    /// does not succeed only where the flash memory fails; the model is active all the same.
    ///
    /// # Errors
    /// When the slots do not lie in the flash memory at multiples of its erase size, have no room for a model, or the flash memory is
    /// not written in units of 1, 2, 4, 8, 16 or 32 bytes.
    pub fn open(flash: F, region: Region, judge: &mut impl Judge) -> Result<Self, BadRegion> {
        let erase = u32::try_from(F::ERASE_SIZE).ok().filter(|&bytes| bytes > 0).ok_or(BadRegion)?;
        let slots = region.slot_bytes.checked_mul(SLOTS).and_then(|bytes| bytes.checked_add(region.first));
        let end = slots.and_then(|end| usize::try_from(end).ok()).ok_or(BadRegion)?;
        let is_aligned =
            [region.first, region.slot_bytes].iter().all(|at| at.is_multiple_of(erase) && at.is_multiple_of(4));
        let unit = F::WRITE_SIZE;
        let is_written_in_words = unit.is_power_of_two() && unit <= MARK_BYTES && F::ERASE_SIZE.is_multiple_of(unit);
        let has_room = region.slot_bytes > CONTENT && end <= flash.capacity() && end <= flash.mapped().len();
        if !(is_aligned && is_written_in_words && has_room && flash.mapped().as_ptr().align_offset(4) == 0) {
            return Err(BadRegion);
        }
        let mut store = Self { flash, region, active: None, newest: 0, upload: None };
        F::tolerating(|| {
            store.choose(judge);
            if store.active.is_some_and(|active| !store.is_firm(active)) {
                let _ = store.renew(); // tried again before the other slot is touched
            }
        });
        Ok(store)
    }

    /// The active model; `None`: neither slot has one, and the firmware's own is used.
    #[must_use]
    pub const fn active(&self) -> Option<Active> {
        self.active
    }

    /// The active model's file.
    #[must_use]
    pub fn model(&self) -> Option<&[u8]> {
        let Active { slot, length, .. } = self.active?;
        self.content(slot, length)
    }

    /// Bytes of the longest model file.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.region.slot_bytes.saturating_sub(CONTENT)
    }

    /// The flash memory.
    #[must_use]
    pub const fn flash(&self) -> &F {
        &self.flash
    }

    /// Gives the flash memory back.
    #[must_use]
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// Bytes of the model that is being written that are there; `None` when none is being written.
    #[must_use]
    pub fn written(&self) -> Option<u32> {
        Some(self.upload?.written)
    }

    /// Begins to write a model of `length` bytes over the slot that is not active. One that was begun before is given up.
    ///
    /// # Errors
    /// When it is too long or the flash memory fails.
    pub fn begin(&mut self, length: u32) -> Result<(), Refusal> {
        self.upload = None;
        let capacity = self.capacity();
        if length < 4 || length > capacity {
            return Err(Refusal::Length { capacity });
        }
        let slot = self.active.map_or(0, |active| 1 - active.slot.min(1));
        F::tolerating(|| self.secure_active(slot))?;
        self.upload = Some(Upload { slot, length, written: 0, erased: 0 });
        // The records go first: from here on the slot's old model does not count.
        let erased = self.erase_to(1);
        self.or_give_up(erased)
    }

    /// Writes the next bytes of the model: a multiple of the flash memory's write size, but for the last ones.
    ///
    /// # Errors
    /// When no model was begun, the bytes are not as above or too many, or the flash memory fails, which ends the writing.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let Upload { slot, length, written, .. } = self.upload.ok_or(Refusal::NoTransfer)?;
        let end = u32::try_from(bytes.len()).ok().and_then(|count| written.checked_add(count));
        let end = end.filter(|&end| end <= length).ok_or(Refusal::Block { next: written })?;
        let whole = bytes.len() - bytes.len() % F::WRITE_SIZE.max(1);
        let (words, rest) = bytes.split_at_checked(whole).unwrap_or((bytes, &[]));
        if !rest.is_empty() && end != length {
            return Err(Refusal::Block { next: written });
        }
        let start = CONTENT.saturating_add(written);
        let written = self.erase_to(CONTENT.saturating_add(end)).and_then(|()| {
            self.program(slot, start, words)?;
            self.program_padded(slot, start.saturating_add(u32::try_from(whole).unwrap_or(u32::MAX)), rest)
        });
        self.or_give_up(written)?;
        if let Some(upload) = &mut self.upload {
            upload.written = end;
        }
        Ok(())
    }

    /// Checks the model that was written and makes it the active one.
    ///
    /// # Errors
    /// When bytes are missing, the flash memory does not hold the file of this CRC-32, or `judge` refuses it. Then the active model is the
    /// one that it was, and the writing has ended, but after [`Refusal::Incomplete`].
    pub fn finish(
        &mut self,
        crc: u32,
        signature: Option<Signature>,
        judge: &mut impl Judge,
    ) -> Result<Active, Refusal> {
        let Upload { slot, length, written, .. } = self.upload.ok_or(Refusal::NoTransfer)?;
        if written != length {
            return Err(Refusal::Incomplete { written });
        }
        self.upload = None;
        let content = self.content(slot, length).unwrap_or(&[]);
        let found = model_crc(content).unwrap_or(0);
        if !is_file(content, crc) {
            return Err(Refusal::Checksum { found });
        }
        judge.judge(content, signature.as_ref())?;
        let header = Header { sequence: self.newest.wrapping_add(1), length, crc, signature };
        self.record(slot, 0, &header)?;
        let active = Active { slot, sequence: header.sequence, length, crc };
        self.active = Some(active);
        Ok(active)
    }

    /// Gives up the model that is being written.
    pub fn abort(&mut self) {
        self.upload = None;
    }

    /// Ends the writing after a failure.
    fn or_give_up(&mut self, result: Result<(), Refusal>) -> Result<(), Refusal> {
        if result.is_err() {
            self.upload = None;
        }
        result
    }

    /// Looks at both slots.
    fn choose(&mut self, judge: &mut impl Judge) {
        let mut found = [0, 1].map(|slot| self.sealed(slot).map(|header| (slot, header)));
        if let [Some((_, first)), Some((_, second))] = found
            && is_newer(second.sequence, first.sequence)
        {
            found.swap(0, 1);
        }
        self.newest = self.newest_sequence();
        let is_good = |&(slot, header): &(u32, Header)| {
            let content = self.content(slot, header.length).filter(|content| is_file(content, header.crc));
            content.is_some_and(|content| judge.judge(content, header.signature.as_ref()).is_ok())
        };
        let best = found.into_iter().flatten().find(is_good);
        self.active = best.map(|(slot, Header { sequence, length, crc, .. })| Active { slot, sequence, length, crc });
    }

    /// Sees to it that the active model stays the active one whatever becomes of the other slot, which is about to be erased.
    ///
    /// An erasure that power ended may leave bits that read either way, and a record that did not count would count. So the active
    /// model gets a record that is newer than any that was ever begun there.
    fn secure_active(&mut self, other: u32) -> Result<(), Refusal> {
        let Some(active) = self.active else { return Ok(()) };
        let is_rival = |header: Header| is_newer(header.sequence, active.sequence);
        let has_rival = self.records(other).any(|record| record.header.is_some_and(is_rival));
        if has_rival || !self.is_firm(active) { self.renew() } else { Ok(()) }
    }

    /// Writes a fresh record of the active model, newer than all others. Where all places for records are used up nothing happens:
    /// that takes as many losses of power, each in the instant in which a word is written.
    fn renew(&mut self) -> Result<(), Refusal> {
        let Some(active) = self.active else { return Ok(()) };
        let Some(header) = self.sealed(active.slot) else { return Ok(()) };
        let used = (0..).zip(self.records(active.slot)).filter(|(_, record)| !record.is_blank).map(|(index, _)| index);
        let index = used.last().map_or(0, |last: u32| last + 1);
        if index >= RECORDS {
            return Ok(());
        }
        let header = Header { sequence: self.newest.wrapping_add(1), ..header };
        // counted even if it fails: the number may have been written
        self.newest = header.sequence;
        self.record(active.slot, index, &header)?;
        self.active = Some(Active { sequence: header.sequence, ..active });
        Ok(())
    }

    /// Writes a record: first the header, then, when that reads as it should, the seal, and last the witness that both are whole.
    fn record(&mut self, slot: u32, index: u32, header: &Header) -> Result<(), Refusal> {
        let start = index.saturating_mul(RECORD_BYTES);
        self.program(slot, start, &header.to_bytes())?;
        if self.records(slot).nth(index as usize).and_then(|record| record.header) != Some(*header) {
            return Err(Refusal::Flash);
        }
        self.newest = header.sequence;
        self.program_mark(slot, start.saturating_add(SEAL))?;
        // From here on the record counts; without a witness the next start writes another.
        let _ = self.program_mark(slot, start.saturating_add(WITNESS));
        Ok(())
    }

    /// The newest header of a slot that counts.
    fn sealed(&self, slot: u32) -> Option<Header> {
        newest(self.records(slot).filter(|record| record.is_sealed).filter_map(|record| record.header))
    }

    /// Whether the record by which a model is active is written to its end.
    fn is_firm(&self, active: Active) -> bool {
        let is_its_own = |header: Header| header.sequence == active.sequence;
        self.records(active.slot).any(|record| record.is_firm && record.header.is_some_and(is_its_own))
    }

    /// The newest sequence number in both slots, whether it counts or not; 0 where there is none.
    fn newest_sequence(&self) -> u32 {
        let records = self.records(0).chain(self.records(1));
        newest(records.filter_map(|record| record.header)).map_or(0, |header| header.sequence)
    }

    fn records(&self, slot: u32) -> impl Iterator<Item = Record> {
        let bytes = self.bytes(slot, 0, CONTENT).unwrap_or(&[]);
        (0..RECORDS).map(|index| Record::read(bytes, index))
    }

    fn content(&self, slot: u32, length: u32) -> Option<&[u8]> {
        self.bytes(slot, CONTENT, length)
    }

    /// Bytes of a slot; `None` when it has not so many.
    fn bytes(&self, slot: u32, offset: u32, count: u32) -> Option<&[u8]> {
        offset.checked_add(count).filter(|&end| end <= self.region.slot_bytes)?;
        let start = usize::try_from(self.offset(slot, offset)).ok()?;
        self.flash.mapped().get(start..)?.get(..usize::try_from(count).ok()?)
    }

    /// Erases what is not yet erased of the first `end` bytes of the slot that is being written.
    fn erase_to(&mut self, end: u32) -> Result<(), Refusal> {
        let Upload { slot, erased, .. } = self.upload.ok_or(Refusal::NoTransfer)?;
        let unit = u32::try_from(F::ERASE_SIZE).unwrap_or(u32::MAX).max(1);
        let end = end.checked_next_multiple_of(unit).unwrap_or(u32::MAX).min(self.region.slot_bytes);
        if end <= erased {
            return Ok(());
        }
        let (from, to) = (self.offset(slot, erased), self.offset(slot, end));
        self.flash.erase(from, to).map_err(|_| Refusal::Flash)?;
        if let Some(upload) = &mut self.upload {
            upload.erased = end;
        }
        Ok(())
    }

    /// Writes a seal or a witness: zeros, which is what a word can be written to at any time.
    fn program_mark(&mut self, slot: u32, offset: u32) -> Result<(), Refusal> {
        let zeros = [0; MARK_BYTES];
        self.program(slot, offset, zeros.get(..F::WRITE_SIZE.max(4)).unwrap_or(&zeros))
    }

    /// Writes fewer bytes than the memory is written in.
    fn program_padded(&mut self, slot: u32, offset: u32, bytes: &[u8]) -> Result<(), Refusal> {
        let mut word = [0xFF; MARK_BYTES];
        word.iter_mut().zip(bytes).for_each(|(to, &from)| *to = from);
        let word = word.get(..F::WRITE_SIZE).filter(|_| !bytes.is_empty()).unwrap_or(&[]);
        self.program(slot, offset, word)
    }

    fn program(&mut self, slot: u32, offset: u32, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        offset.checked_add(count).filter(|&end| end <= self.region.slot_bytes).ok_or(Refusal::Flash)?;
        self.flash.write(self.offset(slot, offset), bytes).map_err(|_| Refusal::Flash)
    }

    /// Offset in the flash memory of an offset in a slot.
    const fn offset(&self, slot: u32, offset: u32) -> u32 {
        let slot_start = self.region.first.saturating_add(slot.saturating_mul(self.region.slot_bytes));
        slot_start.saturating_add(offset)
    }
}

/// Whether these bytes are the file of this CRC-32, which its last four bytes must state.
fn is_file(content: &[u8], crc: u32) -> bool {
    model_crc(content) == Some(crc) && content.last_chunk::<4>() == Some(&crc.to_le_bytes())
}

fn newest(headers: impl Iterator<Item = Header>) -> Option<Header> {
    headers.reduce(|best, header| if is_newer(header.sequence, best.sequence) { header } else { best })
}

#[cfg(test)]
impl<F: ModelFlash> Store<F> {
    /// As if so many records had been written.
    pub(super) fn pretend_newest(&mut self, sequence: u32) {
        self.newest = sequence;
    }
}
