//! The device's side of an update: bytes from the line in, bytes for the line out, and a model in flash.
//!
//! A request may come twice, late or never, and with anything between: every one is answered, and doing it again changes nothing. What
//! a transfer has brought is lost with a reset (see [`store`](super::store)); the sender then begins anew.

use super::frame::{Collector, Frame, REPLY_FRAME_BYTES, TEXT_BYTES, encode};
use super::protocol::{ActiveModel, Begin, Hello, Reply, Request, RunInfo, Status};
use super::{Judge, ModelFlash, Refusal, Signature, Store, model_crc};
use core::mem;

/// A board, as the receiver sees it.
pub trait Device: Judge {
    /// What it says of itself.
    fn about(&self) -> About<'_>;

    /// The model that the firmware was built with, used as long as no slot has one.
    fn built_in(&self) -> &'static [u8];

    /// Classifies a picture that is built in, as a test of the model.
    ///
    /// # Errors
    /// When the board has no picture, or the model does not take it.
    fn run<'m>(&mut self, model: &'m [u8]) -> Result<Best<'m>, Refusal>;
}

/// What a board says of itself: see [`Hello`].
#[derive(Clone, Copy, Debug)]
pub struct About<'d> {
    /// Its name.
    pub board: &'d str,
    /// Bytes of working memory for a model.
    pub arena_bytes: u32,
    /// The kernels that the firmware has.
    pub kinds: u32,
    /// The first bytes of the key that models must be signed by.
    pub key_id: Option<[u8; 8]>,
}

/// A picture's class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Best<'m> {
    /// Its index.
    pub class: u16,
    /// The network's int8 output for it.
    pub score: i8,
    /// Its label, or nothing.
    pub label: &'m str,
}

/// The receiving side. `B` is the memory for a frame as it comes: of
/// [`request_frame_bytes`](super::frame::request_frame_bytes)`(block_bytes)` bytes.
#[derive(Debug)]
pub struct Receiver<F, D, B> {
    line: Collector<B>,
    desk: Desk<F, D>,
    reply: [u8; REPLY_FRAME_BYTES],
}

/// What answers requests.
#[derive(Debug)]
struct Desk<F, D> {
    store: Store<F>,
    device: D,
    block_bytes: u32,
    /// The slot that the board runs its model from.
    running: Option<u32>,
    transfer: Option<Transfer>,
    /// What became of the latest transfer that came to its end: asked for again when the reply was lost.
    ended: Option<(u32, Result<ActiveModel, Refusal>)>,
}

/// A transfer that is under way.
#[derive(Clone, Copy, Debug)]
struct Transfer {
    number: u32,
    length: u32,
    crc: u32,
    signature: Option<Signature>,
}

impl<F: ModelFlash, D: Device, B: AsRef<[u8]> + AsMut<[u8]>> Receiver<F, D, B> {
    /// A receiver of blocks of `block_bytes`, which must be a multiple of the flash memory's write size.
    ///
    /// The board runs the model that is active now.
    pub fn new(store: Store<F>, device: D, buffer: B, block_bytes: u32) -> Self {
        let running = store.active().map(|active| active.slot);
        let desk = Desk { store, device, block_bytes, running, transfer: None, ended: None };
        Self { line: Collector::new(buffer), desk, reply: [0; REPLY_FRAME_BYTES] }
    }

    /// Takes a byte from the line; returns the bytes of a reply when there is one to send.
    ///
    /// A byte that ends a block is written to flash memory, one that ends a finished model has it checked: that takes as long as it
    /// takes. The sender is silent meanwhile, but for requests that it repeats after its timeout, which may be lost.
    pub fn push(&mut self, byte: u8) -> Option<&[u8]> {
        let frame = self.line.push(byte)?;
        let mut scratch = [0; REPLY_FRAME_BYTES];
        let reply = self.desk.answer(&frame);
        encode(frame.number, &reply, &mut scratch, &mut self.reply)
    }

    /// The file of the active model: one of the slots', or the firmware's own.
    pub fn model(&self) -> &[u8] {
        self.desk.model()
    }

    /// As [`model`](Self::model), with the board, whose memory the model may be run in.
    pub fn parts(&mut self) -> (&[u8], &mut D) {
        let Desk { store, device, .. } = &mut self.desk;
        (store.model().unwrap_or(device.built_in()), device)
    }

    /// The active model.
    pub fn active(&self) -> ActiveModel {
        self.desk.active()
    }

    /// Whether another model is active than the one that the board runs. No further update is taken until it
    /// [`restarted`](Self::restarted), for that would be written over the model that runs.
    pub fn must_restart(&self) -> bool {
        self.desk.must_restart()
    }

    /// The board runs the active model from now on, and does not hold the old one's bytes any more.
    pub fn restarted(&mut self) {
        self.desk.running = self.desk.store.active().map(|active| active.slot);
    }

    /// The slots.
    pub const fn store(&self) -> &Store<F> {
        &self.desk.store
    }

    /// The board.
    pub const fn device_mut(&mut self) -> &mut D {
        &mut self.desk.device
    }

    /// Gives the flash memory back.
    pub fn into_flash(self) -> F {
        self.desk.store.into_flash()
    }
}

impl<F: ModelFlash, D: Device> Desk<F, D> {
    fn answer(&mut self, frame: &Frame<'_>) -> Reply<'_> {
        let Some(request) = frame.message() else { return Reply::Refused(Refusal::Message) };
        let reply = match request {
            Request::Hello => return Reply::Hello(self.hello()),
            Request::Run => return self.run().map_or_else(Reply::Refused, Reply::Ran),
            Request::Status => Ok(Reply::Status(self.status())),
            Request::Begin(begin) => self.begin(&begin),
            Request::Block { transfer, offset, data } => self.block(transfer, offset, data),
            Request::Finish { transfer } => self.finish(transfer),
            Request::Abort { transfer } => {
                if self.transfer.is_some_and(|current| current.number == transfer) {
                    self.give_up();
                }
                Ok(Reply::Aborted)
            }
        };
        reply.unwrap_or_else(Reply::Refused)
    }

    fn hello(&self) -> Hello<'_> {
        let About { board, arena_bytes, kinds, key_id } = self.device.about();
        Hello {
            board: cut(board),
            capacity_bytes: self.store.capacity(),
            block_bytes: self.block_bytes,
            format_version: ocelli::model::records::VERSION,
            arena_bytes,
            kinds,
            key_id,
        }
    }

    fn status(&self) -> Status {
        let transfer = self.transfer.map(|transfer| (transfer.number, self.store.written().unwrap_or(0)));
        Status { active: self.active(), transfer }
    }

    fn begin(&mut self, begin: &Begin<'_>) -> Result<Reply<'static>, Refusal> {
        let Begin { transfer, length, crc, signature } = *begin;
        if let Some(reply) = self.ended_as(transfer) {
            return reply;
        }
        if let Some(current) = self.transfer.filter(|current| current.number == transfer) {
            return Ok(self.received(current.number));
        }
        if self.must_restart() {
            return Err(Refusal::Restart);
        }
        let signature = match signature {
            [] if self.device.about().key_id.is_some() => return Err(Refusal::Unsigned),
            [] => None,
            bytes => Some(Signature::try_from(bytes).map_err(|_| Refusal::Signature)?),
        };
        self.give_up();
        self.store.begin(length)?;
        self.transfer = Some(Transfer { number: transfer, length, crc, signature });
        Ok(self.received(transfer))
    }

    fn block(&mut self, transfer: u32, offset: u32, data: &[u8]) -> Result<Reply<'static>, Refusal> {
        let current = self.current(transfer)?;
        let next = self.store.written().ok_or(Refusal::NoTransfer)?;
        if offset == next && next < current.length {
            let expected = self.block_bytes.min(current.length - next);
            if u32::try_from(data.len()) != Ok(expected) {
                return Err(Refusal::Block { next });
            }
            if let Err(refusal) = self.store.write(data) {
                self.give_up();
                return Err(refusal);
            }
        }
        Ok(self.received(transfer))
    }

    fn finish(&mut self, transfer: u32) -> Result<Reply<'static>, Refusal> {
        if let Some(reply) = self.ended_as(transfer) {
            return reply;
        }
        let Transfer { crc, signature, .. } = self.current(transfer)?;
        let result = self.store.finish(crc, signature, &mut self.device);
        if let Err(refusal @ Refusal::Incomplete { .. }) = result {
            return Err(refusal); // the rest may yet come
        }
        self.give_up();
        self.ended = Some((transfer, result.map(|_| self.active())));
        self.ended_as(transfer).unwrap_or(Err(Refusal::NoTransfer))
    }

    fn run(&mut self) -> Result<RunInfo<'_>, Refusal> {
        let model = self.store.model().unwrap_or(self.device.built_in());
        let crc = model_crc(model).unwrap_or(0);
        let Best { class, score, label } = self.device.run(model)?;
        Ok(RunInfo { crc, class, score, label: cut(label) })
    }

    /// The reply to the end of a transfer, if it was this one that ended.
    fn ended_as(&self, transfer: u32) -> Option<Result<Reply<'static>, Refusal>> {
        let (_, result) = self.ended.filter(|&(number, _)| number == transfer)?;
        Some(result.map(|active| Reply::Finished { transfer, active }))
    }

    fn current(&self, transfer: u32) -> Result<Transfer, Refusal> {
        self.transfer.filter(|current| current.number == transfer).ok_or(Refusal::NoTransfer)
    }

    fn received(&self, transfer: u32) -> Reply<'static> {
        Reply::Received { transfer, next: self.store.written().unwrap_or(0) }
    }

    fn give_up(&mut self) {
        mem::take(&mut self.transfer);
        self.store.abort();
    }

    fn must_restart(&self) -> bool {
        self.store.active().is_some_and(|active| self.running != Some(active.slot))
    }

    fn model(&self) -> &[u8] {
        self.store.model().unwrap_or(self.device.built_in())
    }

    fn active(&self) -> ActiveModel {
        if let Some(active) = self.store.active() {
            let slot = u8::try_from(active.slot).unwrap_or(u8::MAX);
            return ActiveModel { slot: Some((slot, active.sequence)), length: active.length, crc: active.crc };
        }
        let file = self.device.built_in();
        let length = u32::try_from(file.len()).unwrap_or(u32::MAX);
        ActiveModel { slot: None, length, crc: model_crc(file).unwrap_or(0) }
    }
}

/// The start of a text, as much as a reply has room for.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES)).unwrap_or("")
}

#[cfg(test)]
mod tests;
