//! Boot drives: some boards appear as a USB drive when they are started with a button held down, and take a UF2 file that is copied there.
//!
//! Such a drive has a file `INFO_UF2.TXT` that names the board, and a drive of another board is never written to: two boards of one family may
//! be plugged in at once.

use super::uf2::BLOCK_BYTES;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// The file that tells a boot drive from others.
pub const INFO_FILE: &str = "INFO_UF2.TXT";
/// Longest such file that is read: boot ROMs have some sixty bytes.
const MAX_INFO_BYTES: u64 = 4096;

/// A boot drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// Where it is mounted.
    pub folder: PathBuf,
    /// What it says of itself.
    pub info: Info,
}

/// What a boot drive says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// `Model:`.
    pub model: String,
    /// `Board-ID:`.
    pub board_id: String,
}

/// What became of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The file on the drive.
    pub file: PathBuf,
    /// Whether the drive went away while the last bytes were written to it: the board has restarted with the new firmware.
    pub is_gone: bool,
}

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// There is no boot drive of this board.
    #[error(
        "no boot drive with Board-ID {wanted} is mounted{}: hold the board's {BUTTON} button while you plug it in, wait until its drive \
         appears (mount it, where that is not done for you), or name its folder with --drive", Others(.others)
    )]
    None {
        /// The Board-ID that was looked for.
        wanted: String,
        /// Boot drives of other boards.
        others: Vec<Drive>,
    },
    /// There are several.
    #[error("{} boot drives with Board-ID {wanted} are mounted ({}): choose one with --drive", .drives.len(), List(.drives))]
    Several {
        /// The Board-ID that was looked for.
        wanted: String,
        /// All of them.
        drives: Vec<Drive>,
    },
    /// The folder is no boot drive.
    #[error("{} is no boot drive: {reason}", folder.display())]
    NoDrive {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder is the boot drive of another board.
    #[error("{} is the boot drive of another board (Board-ID {found}, {model}; this firmware is for {wanted}): choose that board, or another drive", folder.display())]
    OtherBoard {
        /// The folder.
        folder: PathBuf,
        /// Its Board-ID.
        found: String,
        /// Its model.
        model: String,
        /// The Board-ID that was looked for.
        wanted: String,
    },
    /// The file could not be written.
    #[error("cannot copy the firmware to {}: {error}", file.display())]
    Copy {
        /// The file on the drive.
        file: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// The button that most boards with a boot drive have for it.
const BUTTON: &str = "BOOTSEL";

/// The boot drive in a folder that somebody named; it must be of the board with this `Board-ID`.
///
/// # Errors
/// When the folder is none, or of another board.
pub fn open(folder: &Path, board_id: &str) -> Result<Drive, DriveError> {
    let refuse = |reason: String| DriveError::NoDrive { folder: folder.to_owned(), reason };
    let text = read_info(folder).map_err(|error| refuse(format!("its {INFO_FILE} cannot be read ({error})")))?;
    let info = parse_info(&text).ok_or_else(|| refuse(format!("its {INFO_FILE} has no line Board-ID")))?;
    if info.board_id != board_id {
        let Info { model, board_id: found } = info;
        return Err(DriveError::OtherBoard { folder: folder.to_owned(), found, model, wanted: board_id.to_owned() });
    }
    Ok(Drive { folder: folder.to_owned(), info })
}

/// The one boot drive of the board with this `Board-ID` among folders: those of [`mount_points`](super::mounts::mount_points).
///
/// # Errors
/// When there is none, or more than one.
pub fn find(folders: &[PathBuf], board_id: &str) -> Result<Drive, DriveError> {
    let drives = folders.iter().filter_map(|folder| {
        let info = parse_info(&read_info(folder).ok()?)?;
        Some(Drive { folder: folder.clone(), info })
    });
    let (mut drives, others): (Vec<_>, Vec<_>) = drives.partition(|drive| drive.info.board_id == board_id);
    let wanted = board_id.to_owned();
    match drives.len() {
        0 => Err(DriveError::None { wanted, others }),
        1 => Ok(drives.remove(0)),
        _ => Err(DriveError::Several { wanted, drives }),
    }
}

/// Copies a UF2 file to a drive, to its last byte.
///
/// There is no rename here: a boot drive is no file system but takes blocks as they come, and restarts the board behind the last one. So the
/// drive may be gone before it has said that all was written. That the other blocks have arrived is made sure of before the last one is
/// sent; a drive that fails after that, and is gone within two seconds (it takes the system a moment to notice), has done its work.
///
/// # Errors
/// When the file cannot be written.
pub fn copy(uf2: &[u8], drive: &Drive, name: &str) -> Result<Copied, DriveError> {
    let path = drive.folder.join(name);
    let failed = |error| DriveError::Copy { file: path.clone(), error };
    let mut file = File::create(&path).map_err(failed)?;
    let is_gone = || read_info(&drive.folder).is_err();
    let is_gone = send(uf2, &mut file, is_gone, PATIENCE).map_err(failed)?;
    Ok(Copied { file: path, is_gone })
}

/// How long the system may take to notice that a drive is gone.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file whose bytes can be waited for.
trait Sink: Write {
    /// Waits until all that was written is where it belongs.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Writes the blocks; `Ok(true)` when the drive went away at the last one.
fn send(uf2: &[u8], file: &mut impl Sink, is_gone: impl Fn() -> bool, patience: Duration) -> io::Result<bool> {
    let (blocks, last) = uf2.split_at(uf2.len().saturating_sub(BLOCK_BYTES));
    file.write_all(blocks)?;
    file.sync()?;
    let Err(error) = file.write_all(last).and_then(|()| file.sync()) else { return Ok(false) };
    let start = Instant::now();
    loop {
        if is_gone() {
            return Ok(true);
        }
        if start.elapsed() >= patience {
            return Err(error);
        }
        thread::sleep(patience / 20);
    }
}

fn read_info(folder: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    // a file system may give the names in small letters
    let file = File::open(folder.join(INFO_FILE))
        .or_else(|error| File::open(folder.join(INFO_FILE.to_lowercase())).map_err(|_| error))?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    file.take(MAX_INFO_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads the text of an `INFO_UF2.TXT`; `None` without a `Board-ID`.
#[must_use]
pub fn parse_info(text: &str) -> Option<Info> {
    let field = |name: &str| {
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    };
    let board_id = field("Board-ID").filter(|id| !id.is_empty())?;
    Some(Info { model: field("Model").unwrap_or_default(), board_id })
}

/// Drives in words.
struct List<'d>(&'d [Drive]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, drive) in self.0.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{}: {}", drive.folder.display(), drive.info.board_id)?;
        }
        Ok(())
    }
}

/// Drives of other boards in words; nothing where there are none.
struct Others<'d>(&'d [Drive]);

impl fmt::Display for Others<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (others are: {})", List(self.0)) }
    }
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
