//! Bytes held to a catalogue's size and checksum while they pass.

use super::RemoteFile;
use crate::collection::hexadecimal;
use anyhow::{bail, ensure};
use ring::digest::{Context as Digest, SHA256};
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a file whose size the catalogue does not say.
const MAX_BYTES: u64 = 4 << 30;
/// Bytes read at a time.
const BLOCK: usize = 1 << 16;

/// Counts and sums bytes up.
pub(super) struct Sum {
    digest: Digest,
    bytes: u64,
}

impl Sum {
    pub(super) fn new() -> Self {
        Self { digest: Digest::new(&SHA256), bytes: 0 }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Whether so many bytes are more than the file has.
    pub(super) fn is_too_long(&self, file: &RemoteFile) -> bool {
        self.bytes > file.bytes.unwrap_or(MAX_BYTES)
    }

    /// Says in what the bytes differ from the file that the catalogue means.
    pub(super) fn check(self, file: &RemoteFile) -> anyhow::Result<()> {
        let expected = file.bytes.unwrap_or(self.bytes);
        ensure!(self.bytes == expected, "it has {} bytes, the catalogue says {expected}", self.bytes);
        let found = hexadecimal(self.digest.finish().as_ref());
        if found != file.sha256 {
            bail!("its SHA-256 is {found}, the catalogue says {}", file.sha256);
        }
        Ok(())
    }
}

/// Reads all there is in blocks; `each` may end it.
pub(super) fn blocks<E: From<io::Error>>(
    mut from: impl Read,
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(bytes) => each(&block[..bytes])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a file is the one that the catalogue means; an error says why not.
pub(super) fn check_file(path: &Path, file: &RemoteFile) -> anyhow::Result<()> {
    let mut sum = Sum::new();
    blocks(std::fs::File::open(path)?, &mut |block| {
        sum.add(block);
        anyhow::Ok(())
    })?;
    sum.check(file)
}
