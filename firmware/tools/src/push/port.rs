//! A line that bytes are sent and received on.

use std::io::{self, ErrorKind, Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a line that does not wait by itself is looked at.
const POLL: Duration = Duration::from_millis(1);

/// A line to a device.
pub trait Port {
    /// Sends all these bytes.
    ///
    /// # Errors
    /// When the line fails.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Waits for bytes: how many came, 0 when none did in time.
    ///
    /// # Errors
    /// When the line fails.
    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize>;
}

/// A serial port or a socket. Its own reading should time out after some 10 ms, for a wait is as exact as that.
#[derive(Debug)]
pub struct Stream<S>(
    /// What is read from and written to.
    pub S,
);

impl<S: Read + Write> Port for Stream<S> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    fn receive(&mut self, buffer: &mut [u8], wait: Duration) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            match self.0.read(buffer) {
                Ok(0) => {} // a serial port without bytes
                Ok(count) => return Ok(count),
                Err(error)
                    if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                }
                Err(error) => return Err(error),
            }
            if start.elapsed() >= wait {
                return Ok(0);
            }
            sleep(POLL);
        }
    }
}
