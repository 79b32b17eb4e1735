//! Sends a model to a device over a serial line: the other side of `ocelli_app::update::receiver`, and what `ocelli push` calls.
//!
//! One request at a time is on the line. A request without an answer is repeated, and whatever the device says of how far it is counts, so
//! that lost, damaged and doubled frames do no harm. A device that was reset in the middle of a transfer has forgotten it (it must:
//! `docs/update.md`); the sender begins anew.
//!
//! ```no_run
//! use ocelli_firmware_tools::push::{Options, Sender, Stream};
//! # fn main() -> anyhow::Result<()> {
//! let line = std::os::unix::net::UnixStream::connect("/tmp/device")?; // or a serial port: anything that reads and writes
//! line.set_read_timeout(Some(std::time::Duration::from_millis(20)))?;
//! let mut sender = Sender::new(Stream(line), Options::default());
//! let pushed = sender.push(&std::fs::read("model.ocelli")?, None, &mut |at| println!("{} of {}", at.received, at.total))?;
//! println!("{:08x} is in slot {:?}", pushed.active.crc, pushed.active.slot);
//! # Ok(())
//! # }
//! ```

mod error;
pub mod key;
mod port;
pub mod serial;

pub use error::PushError;
pub use key::{KeyError, SecretKey};
pub use ocelli_app::update::signature::ModelKey;
pub use port::{Port, Stream};

use ocelli_app::update::frame::{Collector, encode, frame_bytes};
use ocelli_app::update::protocol::{ActiveModel, Begin, PROTOCOL, Reply, Request, Status};
use ocelli_app::update::{ModelRefusal, Refusal, Signature, model_crc};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How patient a sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long an answer may take: longer than the device needs to erase a page of flash and to check a whole model. It is counted from
    /// the last byte that came.
    pub timeout: Duration,
    /// How often a request is sent before the device counts as gone.
    pub attempts: u32,
    /// How often a transfer is begun anew when the device was reset.
    pub restarts: u32,
}

impl Default for Options {
    /// Answers within two seconds, five attempts, three restarts.
    fn default() -> Self {
        Self { timeout: Duration::from_secs(2), attempts: 5, restarts: 3 }
    }
}

/// How far a transfer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that the device has.
    pub received: u32,
    /// Bytes of the file.
    pub total: u32,
    /// How often the transfer was begun anew.
    pub restarts: u32,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The active model, which is the one that was to be sent.
    pub active: ActiveModel,
    /// Whether it was active before, so that nothing was sent.
    pub was_there: bool,
    /// How often the transfer was begun anew.
    pub restarts: u32,
}

/// What a device says of itself: [`ocelli_app::update::protocol::Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The board's name.
    pub board: String,
    /// Bytes of the longest model file.
    pub capacity_bytes: u32,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// The version of the model format that the firmware reads.
    pub format_version: u16,
    /// Bytes of working memory that the firmware has for a model.
    pub arena_bytes: u32,
    /// The kernels that the firmware has (`ocelli::runtime::kinds_of`).
    pub kinds: u32,
    /// The first bytes of the key that models must be signed by, if they must.
    pub key_id: Option<[u8; 8]>,
}

/// What the active model sees in the device's picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The model's CRC-32.
    pub crc: u32,
    /// The best class.
    pub class: u16,
    /// The network's int8 output for it.
    pub score: i8,
    /// Its label.
    pub label: String,
}

/// A reply that is kept.
#[derive(Clone, Debug)]
enum Answer {
    Hello(DeviceInfo),
    Status(Status),
    Received { transfer: u32, next: u32 },
    Finished { transfer: u32, active: ActiveModel },
    Aborted,
    Ran(Ran),
    Refused(Refusal),
}

/// The sending side.
#[derive(Debug)]
pub struct Sender<P> {
    port: P,
    options: Options,
    line: Collector<Vec<u8>>,
    /// The latest request's number.
    number: u16,
    /// The latest transfer's number.
    transfer: u32,
}

/// Bytes of a frame that a device may send: more than any reply has.
const REPLY_BYTES: usize = 512;

impl<P: Port> Sender<P> {
    /// A sender on a line.
    pub fn new(port: P, options: Options) -> Self {
        // No two senders use the same numbers, so that none takes the answers to another for its own.
        let chance = RandomState::new().hash_one(0).to_le_bytes();
        let [a, b, c, d, e, f, ..] = chance;
        let (number, transfer) = (u16::from_le_bytes([a, b]), u32::from_le_bytes([c, d, e, f]));
        Self { port, options, line: Collector::new(vec![0; REPLY_BYTES]), number, transfer }
    }

    /// The line.
    pub const fn port_mut(&mut self) -> &mut P {
        &mut self.port
    }

    /// Asks who is there.
    ///
    /// # Errors
    /// When nobody answers, or in another version of the protocol.
    pub fn hello(&mut self) -> Result<DeviceInfo, PushError> {
        match self.ask("who is there", &Request::Hello)? {
            Answer::Hello(info) => Ok(info),
            other => Err(unexpected("who is there", &other)),
        }
    }

    /// Asks how things stand.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn status(&mut self) -> Result<Status, PushError> {
        match self.ask("its status", &Request::Status)? {
            Answer::Status(status) => Ok(status),
            other => Err(unexpected("its status", &other)),
        }
    }

    /// Has the device classify its picture.
    ///
    /// # Errors
    /// When nobody answers, or the board has no picture.
    pub fn run(&mut self) -> Result<Ran, PushError> {
        match self.ask("a picture's class", &Request::Run)? {
            Answer::Ran(ran) => Ok(ran),
            other => Err(unexpected("a picture's class", &other)),
        }
    }

    /// Sends a model file and makes it the active one; `progress` hears how far it is.
    ///
    /// A device that has the model already is left alone. When this fails, the device runs the model that it ran before; only when no
    /// answer came to the very last request may it be either ([`status`](Self::status) tells).
    ///
    /// # Errors
    /// When the file is none that the device can take, nobody answers, or the device refuses it.
    pub fn push(
        &mut self,
        file: &[u8],
        signature: Option<&Signature>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Pushed, PushError> {
        let crc = model_crc(file).filter(|crc| file.ends_with(&crc.to_le_bytes()));
        let (Some(crc), Ok(length)) = (crc, u32::try_from(file.len())) else {
            return Err(PushError::File);
        };
        let device = self.hello()?;
        check(file, length, signature, &device).map_err(PushError::Refused)?;
        let is_there = |active: ActiveModel| active.length == length && active.crc == crc;
        let job = Job { file, length, crc, signature, block_bytes: device.block_bytes.max(1) };
        for restarts in 0..=self.options.restarts {
            let active = self.status()?.active;
            if is_there(active) {
                return Ok(Pushed { active, was_there: restarts == 0, restarts });
            }
            if let Some(active) =
                self.transfer(&job, &mut |received| progress(Progress { received, total: length, restarts }))?
            {
                return Ok(Pushed { active, was_there: false, restarts });
            }
        }
        // the last transfer may have been finished before the reset
        let active = self.status()?.active;
        let restarts = self.options.restarts;
        if is_there(active) {
            Ok(Pushed { active, was_there: false, restarts })
        } else {
            Err(PushError::Restarts { restarts })
        }
    }

    /// Sends a file; `None` when the device forgot the transfer.
    fn transfer(&mut self, job: &Job<'_>, progress: &mut dyn FnMut(u32)) -> Result<Option<ActiveModel>, PushError> {
        self.transfer = self.transfer.wrapping_add(1);
        let number = self.transfer;
        let signature = job.signature.map_or(&[][..], |signature| signature);
        let begin = Begin { transfer: number, length: job.length, crc: job.crc, signature };
        let mut answer = self.ask("to take a model", &Request::Begin(begin))?;
        let mut last = None;
        loop {
            let next = match answer {
                Answer::Received { transfer, next } if transfer == number && next <= job.length => next,
                Answer::Refused(Refusal::Incomplete { written }) if written < job.length => written,
                Answer::Finished { transfer, active } if transfer == number => return Ok(Some(active)),
                Answer::Refused(Refusal::NoTransfer) => return Ok(None),
                Answer::Refused(refusal) => return Err(PushError::Refused(refusal)),
                other => return Err(unexpected("a block", &other)),
            };
            if last.is_some_and(|last| next < last) {
                return Err(PushError::Stuck { at: next });
            }
            // A block that was taken moves on; one that was not was asked for at another place.
            if last == Some(next) && next < job.length {
                return Err(PushError::Stuck { at: next });
            }
            last = Some(next);
            progress(next);
            answer = if next == job.length {
                self.ask("to check the model", &Request::Finish { transfer: number })?
            } else {
                let start = next as usize;
                let end = job.file.len().min(start + job.block_bytes as usize);
                let data = job.file.get(start..end).unwrap_or(&[]);
                self.ask("to take a block", &Request::Block { transfer: number, offset: next, data })?
            };
        }
    }

    /// Has the device forget the transfer that was begun last.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn abort(&mut self) -> Result<(), PushError> {
        let transfer = self.transfer;
        match self.ask("to forget the transfer", &Request::Abort { transfer })? {
            Answer::Aborted => Ok(()),
            other => Err(unexpected("to forget the transfer", &other)),
        }
    }

    /// Sends a request until it is answered.
    fn ask(&mut self, what: &'static str, request: &Request<'_>) -> Result<Answer, PushError> {
        self.number = self.number.wrapping_add(1);
        let data = if let Request::Block { data, .. } = request { data.len() } else { 0 };
        let bytes = frame_bytes(data + 128);
        let (mut scratch, mut out) = (vec![0; bytes], vec![0; bytes]);
        let frame = encode(self.number, request, &mut scratch, &mut out).ok_or(PushError::File)?;
        let Options { attempts, timeout, .. } = self.options;
        let (attempts, mut came) = (attempts.max(1), Came::default());
        for _ in 0..attempts {
            self.port.send(frame).map_err(PushError::Line)?;
            if let Some(answer) = self.listen(&mut came)? {
                return Ok(answer);
            }
        }
        Err(match came {
            Came { bytes: 1.., frames: 0 } => PushError::Noise { what, attempts, bytes: came.bytes },
            _ => PushError::NoAnswer { what, attempts, timeout },
        })
    }

    /// The answer to the latest request, if it comes in time.
    fn listen(&mut self, came: &mut Came) -> Result<Option<Answer>, PushError> {
        let mut buffer = [0; 256];
        // A line with nothing but noise on it must not be listened to for ever, nor given up before an answer could have come.
        let start = Instant::now();
        loop {
            let count = self.port.receive(&mut buffer, self.options.timeout).map_err(PushError::Line)?;
            if count == 0 || start.elapsed() > NOISY_TIMEOUTS * self.options.timeout {
                return Ok(None);
            }
            came.bytes += u64::try_from(count).unwrap_or(u64::MAX);
            // What comes behind the answer is dropped: it answers nothing that was asked.
            for &byte in buffer.iter().take(count) {
                let Some(frame) = self.line.push(byte) else { continue };
                came.frames += 1;
                if frame.number != self.number {
                    continue;
                }
                if frame.version != PROTOCOL {
                    return Err(PushError::Version { found: frame.version, known: PROTOCOL });
                }
                return match frame.message::<Reply<'_>>() {
                    Some(reply) => Ok(Some(Answer::from(reply))),
                    None => Err(PushError::Reply { what: "a reply".into(), found: "a message that is none".into() }),
                };
            }
        }
    }
}

/// How many timeouts an answer is waited for among bytes that are none.
const NOISY_TIMEOUTS: u32 = 2;

/// What came while an answer was waited for.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    bytes: u64,
    /// Whole frames, if not those that were waited for.
    frames: u64,
}

/// A file to send.
struct Job<'j> {
    file: &'j [u8],
    length: u32,
    crc: u32,
    signature: Option<&'j Signature>,
    block_bytes: u32,
}

/// What the device would refuse after the file was sent, as far as it can be known before.
fn check(file: &[u8], length: u32, signature: Option<&Signature>, device: &DeviceInfo) -> Result<(), Refusal> {
    if length > device.capacity_bytes {
        return Err(Refusal::Length { capacity: device.capacity_bytes });
    }
    if device.key_id.is_some() && signature.is_none() {
        return Err(Refusal::Unsigned);
    }
    // offsets of docs/model-format.md
    let version = file.get(8..10).and_then(|bytes| bytes.first_chunk()).map(|&bytes| u16::from_le_bytes(bytes));
    let arena = file.get(16..20).and_then(|bytes| bytes.first_chunk()).map(|&bytes| u32::from_le_bytes(bytes));
    let (Some(found), Some(needed)) = (version, arena) else { return Err(Refusal::Model(ModelRefusal::NotAModel)) };
    if found != device.format_version {
        return Err(Refusal::Model(ModelRefusal::Version { found, supported: device.format_version }));
    }
    if needed > device.arena_bytes {
        return Err(Refusal::Model(ModelRefusal::Ram { needed, available: device.arena_bytes }));
    }
    Ok(())
}

fn unexpected(what: &str, answer: &Answer) -> PushError {
    match answer {
        Answer::Refused(refusal) => PushError::Refused(*refusal),
        other => PushError::Reply { what: what.to_owned(), found: format!("{other:?}") },
    }
}

impl From<Reply<'_>> for Answer {
    fn from(reply: Reply<'_>) -> Self {
        match reply {
            Reply::Hello(hello) => Self::Hello(DeviceInfo {
                board: hello.board.to_owned(),
                capacity_bytes: hello.capacity_bytes,
                block_bytes: hello.block_bytes,
                format_version: hello.format_version,
                arena_bytes: hello.arena_bytes,
                kinds: hello.kinds,
                key_id: hello.key_id,
            }),
            Reply::Status(status) => Self::Status(status),
            Reply::Received { transfer, next } => Self::Received { transfer, next },
            Reply::Finished { transfer, active } => Self::Finished { transfer, active },
            Reply::Aborted => Self::Aborted,
            Reply::Ran(ran) => {
                Self::Ran(Ran { crc: ran.crc, class: ran.class, score: ran.score, label: ran.label.to_owned() })
            }
            Reply::Refused(refusal) => Self::Refused(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// A line on which something always comes, as fast as it is asked for.
    struct Noise {
        byte: u8,
        sent: usize,
    }

    impl Port for Noise {
        fn send(&mut self, _: &[u8]) -> io::Result<()> {
            self.sent += 1;
            Ok(())
        }

        fn receive(&mut self, buffer: &mut [u8], _: Duration) -> io::Result<usize> {
            buffer.iter_mut().for_each(|byte| {
                self.byte = self.byte.wrapping_mul(5).wrapping_add(3);
                *byte = self.byte;
            });
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_line_with_nothing_but_noise_is_named_and_listened_to_as_long_as_an_answer_may_take() {
        let options = Options { timeout: Duration::from_millis(10), attempts: 3, restarts: 0 };
        let mut sender = Sender::new(Noise { byte: 0, sent: 0 }, options);
        let start = Instant::now();
        let error = sender.hello().unwrap_err();
        assert!(start.elapsed() >= 3 * options.timeout, "an answer could still have come");
        assert!(matches!(error, PushError::Noise { attempts: 3, bytes: 1.., .. }), "{error}");
        assert!(error.to_string().starts_with("only noise came when the device was asked for who is there (3 times, "));
        assert_eq!(sender.port_mut().sent, 3);
    }
}
