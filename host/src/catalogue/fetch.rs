//! Fetches the files of an entry: from its addresses, going on where a transfer was cut, or from a folder of this machine. A file gets its
//! name only when size and checksum are the catalogue's.

use super::http::{self, Answer};
use super::verify::{Sum, blocks, check_file};
use super::{Entry, RemoteFile};
use crate::files::{persist, write_atomically_with};
use anyhow::{Context, anyhow, bail, ensure};
use etcetera::BaseStrategy;
use flate2::read::GzDecoder;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that names another folder than the platform's cache.
const CACHE: &str = "OCELLI_CACHE";
/// Tries in a row that bring no byte.
const TRIES: u32 = 4;
/// How often a transfer is gone on with.
const MAX_CUTS: u32 = 1000;
/// What is unpacked has at most this many times its archive's bytes.
const MAX_RATIO: u64 = 64;

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// It is there already and right.
    There(&'a RemoteFile),
    /// It is begun, or gone on with after so many bytes.
    Begin(&'a RemoteFile, u64),
    /// So many of its bytes are there.
    Bytes(u64),
    /// Its transfer was cut, for this reason, and goes on.
    Cut(&'a str),
    /// It is done.
    Done(&'a RemoteFile),
}

/// The folder of an entry: below the platform's cache, or below `OCELLI_CACHE`.
///
/// # Errors
/// When the platform has no such folder.
pub fn place(entry: &Entry) -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os(CACHE).filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder).join(&entry.name));
    }
    let platform = etcetera::base_strategy::choose_native_strategy()
        .with_context(|| format!("this machine has no cache folder: choose one with --out or {CACHE}"))?;
    Ok(platform.cache_dir().join("ocelli").join(&entry.name))
}

/// Fetches all files of an entry into a folder, made where it is missing, `from` a file or folder of this machine or else from their
/// addresses; returns the path to use: a data set's folder or archive, a network's file.
///
/// # Errors
/// When a file cannot be had, is not the one that the catalogue means (it is removed then), or cannot be written.
pub fn fetch(
    entry: &Entry,
    folder: &Path,
    from: Option<&Path>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<PathBuf> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}: choose another with --out", folder.display()))?;
    let fetched = into_folder(entry, folder, from, progress);
    if fetched.is_err() {
        // only empty ones: what a cut transfer brought stays
        let _ = missing.iter().try_for_each(std::fs::remove_dir);
    }
    fetched
}

fn into_folder(
    entry: &Entry,
    folder: &Path,
    from: Option<&Path>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<PathBuf> {
    for file in &entry.files {
        let path = folder.join(&file.name);
        if path.exists() {
            check_file(&path, file).with_context(|| {
                format!("{} is there, but not the file that the catalogue means: remove it first", path.display())
            })?;
            progress(Progress::There(file));
        } else {
            match from {
                Some(from) => copy(entry, file, from, &path, progress)?,
                None => download(file, &path, progress)?,
            }
            progress(Progress::Done(file));
        }
        if let Some(name) = &file.unpack {
            unpack(&path, name, &folder.join(name))?;
        }
    }
    Ok(match entry.files.as_slice() {
        [file] => folder.join(file.unpack.as_ref().unwrap_or(&file.name)),
        _ => folder.to_owned(),
    })
}

/// Copies a file of this machine.
fn copy(
    entry: &Entry,
    file: &RemoteFile,
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> anyhow::Result<()> {
    let is_folder = from.is_dir();
    ensure!(
        is_folder || entry.files.len() == 1,
        "{} has {} files: give the folder that they are in with --from",
        entry.name,
        entry.files.len()
    );
    let source = if is_folder { from.join(&file.name) } else { from.to_owned() };
    let reader = File::open(&source).with_context(|| format!("cannot read {}", source.display()))?;
    progress(Progress::Begin(file, 0));
    let mut sum = Sum::new();
    let folder = to.parent().unwrap_or_else(|| Path::new("."));
    let mut copy = tempfile::NamedTempFile::new_in(folder).with_context(|| cannot_write(to))?;
    blocks(reader, &mut |block| {
        sum.add(block);
        copy.write_all(block).with_context(|| cannot_write(to))?;
        progress(Progress::Bytes(sum.bytes()));
        anyhow::Ok(())
    })?;
    sum.check(file).with_context(|| format!("{} is not the file that the catalogue means", source.display()))?;
    persist(copy, to).with_context(|| cannot_write(to))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}: is the disk full, or the folder closed to you? Choose another with --out", path.display())
}

/// Fetches a file from the first of its addresses that has it.
fn download(file: &RemoteFile, path: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> anyhow::Result<()> {
    let mut part = Part::open(path)?;
    let mut errors = Vec::new();
    for address in &file.addresses {
        match part.fetch(file, address, progress) {
            Ok(()) => return part.finish(path),
            Err(Failure::Disk(error)) => return Err(error),
            Err(Failure::Source(error)) => errors.push(format!("{error:#}")),
        }
    }
    let hint = "without a network: get the file elsewhere and give it with --from";
    if part.is_empty() {
        let _ = std::fs::remove_file(&part.path);
    }
    bail!("{} cannot be fetched: {} ({hint})", file.name, errors.join("; "))
}

/// Why a file was not fetched.
enum Failure {
    /// It cannot be written: another address does not help.
    Disk(anyhow::Error),
    /// The address does not have it.
    Source(anyhow::Error),
}

/// How far an answer brought a file.
enum Step {
    /// To its end, by the server's words.
    Ended,
    /// Not to its end: the transfer was cut.
    Cut(anyhow::Error),
}

/// A file that is not complete, locked against other processes.
struct Part {
    file: File,
    path: PathBuf,
    sum: Sum,
}

impl Part {
    fn open(whole: &Path) -> anyhow::Result<Self> {
        let mut name = whole.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = whole.with_file_name(name);
        let file = OpenOptions::new().create(true).read(true).append(true).open(&path);
        let file = file.with_context(|| cannot_write(&path))?;
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            bail!("another `ocelli models fetch` is at work on {}: wait for its end", whole.display());
        }
        let mut sum = Sum::new();
        blocks(&file, &mut |block| {
            sum.add(block);
            io::Result::Ok(())
        })
        .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { file, path, sum })
    }

    const fn is_empty(&self) -> bool {
        self.sum.bytes() == 0
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.sum = Sum::new();
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.with_context(|| cannot_write(&self.path)).map_err(Failure::Disk)
    }

    /// Fetches what is missing from an address; a transfer that is cut is gone on with. What is not the file that the catalogue means is
    /// removed; if its beginning was from an earlier transfer, all is fetched once more.
    fn fetch(
        &mut self,
        file: &RemoteFile,
        address: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Failure> {
        let mut is_resumed = !self.is_empty();
        loop {
            self.transfer(file, address, progress)?;
            let sum = std::mem::replace(&mut self.sum, Sum::new());
            let Err(error) = sum.check(file) else { return Ok(()) };
            self.clear()?;
            if !is_resumed {
                let what = "the file there is not the one that the catalogue means, and was removed";
                return Err(Failure::Source(error.context(format!("{address}: {what}"))));
            }
            progress(Progress::Cut("what was there of an earlier transfer does not fit"));
            is_resumed = false;
        }
    }

    fn transfer(
        &mut self,
        file: &RemoteFile,
        address: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Failure> {
        let (mut tries, mut cuts) = (0, 0);
        loop {
            let before = self.sum.bytes();
            if self.sum.is_too_long(file) {
                self.clear()?;
            } else if file.bytes == Some(before) {
                return Ok(());
            }
            let error = match self.step(file, address, progress)? {
                Step::Ended => return Ok(()),
                Step::Cut(error) => error,
            };
            (tries, cuts) = (if self.sum.bytes() > before { 0 } else { tries + 1 }, cuts + 1);
            if tries >= TRIES || cuts >= MAX_CUTS {
                return Err(Failure::Source(error));
            }
            progress(Progress::Cut(&format!("{error:#}")));
            std::thread::sleep(Duration::from_millis(if tries == 0 { 0 } else { 250 << tries }));
        }
    }

    /// Asks once and takes what comes.
    fn step(
        &mut self,
        file: &RemoteFile,
        address: &str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Step, Failure> {
        let answer = http::get(address, self.sum.bytes());
        let (from, whole, body) = match answer.map_err(Failure::Source)? {
            Answer::Content { from, whole, body } => (from, whole, body),
            Answer::Nothing(error) => return Ok(Step::Cut(error)),
            Answer::NoSuchRange => {
                self.clear()?;
                return Ok(Step::Cut(anyhow!("{address} has fewer bytes than were there already")));
            }
        };
        if let (Some(whole), Some(bytes)) = (whole, file.bytes)
            && whole != bytes
        {
            return Err(Failure::Source(anyhow!("{address} has {whole} bytes, the catalogue says {bytes}")));
        }
        if from == 0 && !self.is_empty() {
            self.clear()?; // a server that knows no ranges
        }
        progress(Progress::Begin(file, from));
        match self.take(file, body, progress) {
            Ok(()) => {}
            Err(Failure::Source(error)) => return Ok(Step::Cut(error.context(address.to_owned()))),
            Err(error) => return Err(error),
        }
        match whole.or(file.bytes) {
            Some(whole) if self.sum.bytes() < whole => {
                Ok(Step::Cut(anyhow!("{address}: the transfer ended after {} of {whole} bytes", self.sum.bytes())))
            }
            _ => Ok(Step::Ended),
        }
    }

    fn take(
        &mut self,
        file: &RemoteFile,
        body: Box<dyn Read>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Failure> {
        let Self { file: out, path, sum } = self;
        let taken = blocks(body, &mut |block| {
            out.write_all(block).map_err(|error| Failed::Write(anyhow!(error).context(cannot_write(path))))?;
            sum.add(block);
            progress(Progress::Bytes(sum.bytes()));
            if sum.is_too_long(file) { Err(Failed::TooLong) } else { Ok(()) }
        });
        match taken {
            Ok(()) | Err(Failed::TooLong) => Ok(()),
            Err(Failed::Write(error)) => Err(Failure::Disk(error)),
            Err(Failed::Read(error)) => Err(Failure::Source(anyhow!(error))),
        }
    }

    /// Gives the file its name.
    fn finish(self, path: &Path) -> anyhow::Result<()> {
        self.file.sync_all().with_context(|| cannot_write(&self.path))?;
        drop(self.file);
        std::fs::rename(&self.path, path).with_context(|| cannot_write(path))
    }
}

/// Why bytes stopped coming.
enum Failed {
    Read(io::Error),
    Write(anyhow::Error),
    /// There are more than the catalogue says: its check will tell.
    TooLong,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Puts the file `name` of a .tar.gz beside it, unless it is there.
fn unpack(archive: &Path, name: &str, to: &Path) -> anyhow::Result<()> {
    if to.exists() {
        return Ok(());
    }
    let wrong = || format!("{}: cannot be unpacked", archive.display());
    let file = File::open(archive).with_context(wrong)?;
    let limit = MAX_RATIO.saturating_mul(file.metadata().with_context(wrong)?.len());
    let mut archive_of = tar::Archive::new(GzDecoder::new(BufReader::new(file)).take(limit));
    for entry in archive_of.entries().with_context(wrong)? {
        let mut entry = entry.with_context(wrong)?;
        let is_it = entry.header().entry_type().is_file()
            && entry.path().is_ok_and(|path| path.file_name().is_some_and(|found| found == name));
        if is_it {
            let size = entry.size();
            let mut copied = 0;
            write_atomically_with(to, |out| {
                copied = io::copy(&mut entry, out)?;
                if copied == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
            })?;
            return Ok(());
        }
    }
    bail!("{} holds no {name}", archive.display())
}
