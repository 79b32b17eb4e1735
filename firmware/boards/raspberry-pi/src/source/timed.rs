//! Reading with a limit in time: a thread of its own reads, and hands on what it got.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 18;
/// Chunks that may wait: enough to be reading while a frame is worked on, few enough that the memory stays small.
const CHUNKS: usize = 8;

/// A reader whose `read` fails with [`ErrorKind::TimedOut`] when nothing comes for too long, and may be called again then.
#[derive(Debug)]
pub struct TimedReader {
    chunks: Receiver<io::Result<Vec<u8>>>,
    spares: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    patience: Duration,
    ended: bool,
}

impl TimedReader {
    /// Reads from `inner`, in a thread that ends when `inner` does, or fails, or this is dropped and something more comes.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn new(inner: impl Read + Send + 'static, patience: Duration) -> io::Result<Self> {
        let (sender, chunks) = sync_channel(CHUNKS);
        let (spares, used) = sync_channel(CHUNKS + 1);
        std::thread::Builder::new().name("pipe".to_owned()).spawn(move || pump(inner, &sender, &used))?;
        Ok(Self { chunks, spares, chunk: Vec::new(), at: 0, patience, ended: false })
    }
}

/// Reads chunks until the end.
fn pump(mut inner: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>, used: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk: Vec<u8> = used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let sent = match inner.read(&mut chunk) {
            Ok(0) => return,
            Ok(count) => {
                chunk.truncate(count);
                sender.send(Ok(chunk))
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = sender.send(Err(error)); // nobody reads any more, or is told
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

impl Read for TimedReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() && !self.ended {
            let chunk = match self.chunks.recv_timeout(self.patience) {
                Ok(chunk) => chunk?,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        format!("nothing has come for {} s", self.patience.as_secs_f64()),
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended = true;
                    Vec::new()
                }
            };
            let _ = self.spares.try_send(std::mem::replace(&mut self.chunk, chunk)); // the pump may have ended
            self.at = 0;
        }
        let rest = self.chunk.get(self.at..).unwrap_or(&[]);
        let count = rest.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn all_bytes_come_through_and_then_the_end() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
        let mut reader = TimedReader::new(io::Cursor::new(bytes.clone()), Duration::from_secs(60)).unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn a_pause_is_an_error_after_which_reading_goes_on() {
        let (pipe, mut writer) = io::pipe().unwrap();
        let mut reader = TimedReader::new(pipe, Duration::from_millis(5)).unwrap();
        let mut out = [0; 8];
        assert_eq!(reader.read(&mut out).unwrap_err().kind(), ErrorKind::TimedOut);
        writer.write_all(b"abc").unwrap();
        let mut got = 0;
        while got < 3 {
            match reader.read(&mut out[got..]) {
                Ok(count) => got += count,
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            }
        }
        assert_eq!(&out[..3], b"abc");
        drop(writer);
        loop {
            match reader.read(&mut out) {
                Ok(count) => break assert_eq!(count, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            }
        }
    }
}
