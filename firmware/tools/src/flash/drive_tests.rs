//! Folders that look like boot drives, and others.

use super::*;
use std::fs;

/// As the boot ROMs of the RP2040 and the RP2350 have it.
const RP2040: &str = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n";
const RP2350: &str = "UF2 Bootloader v1.0\nModel: Raspberry Pi RP2350\nBoard-ID: RP2350\n";

fn folder(root: &Path, name: &str, info: Option<&str>) -> PathBuf {
    let folder = root.join(name);
    fs::create_dir(&folder).unwrap();
    if let Some(info) = info {
        fs::write(folder.join(INFO_FILE), info).unwrap();
    }
    folder
}

#[test]
fn the_drive_of_the_board_is_found_among_others() {
    let root = tempfile::tempdir().unwrap();
    let stick = folder(root.path(), "stick", None);
    let pico = folder(root.path(), "RPI-RP2", Some(RP2040));
    let pico2 = folder(root.path(), "RP2350", Some(RP2350));
    let odd = folder(root.path(), "odd", Some("UF2 Bootloader\nno fields"));
    let nowhere = root.path().join("nowhere");
    let all = [stick.clone(), pico.clone(), pico2.clone(), odd, nowhere];
    let drive = find(&all, "RP2350").unwrap();
    assert_eq!((drive.folder, drive.info.model), (pico2.clone(), "Raspberry Pi RP2350".to_owned()));
    assert_eq!(find(&all, "RPI-RP2").unwrap().folder, pico);

    let none = find(&[stick, pico2.clone()], "RPI-RP2").unwrap_err().to_string();
    let expected = format!(
        "no boot drive with Board-ID RPI-RP2 is mounted (others are: {}: RP2350): hold the board's BOOTSEL button while you plug it in, \
         wait until its drive appears (mount it, where that is not done for you), or name its folder with --drive",
        pico2.display()
    );
    assert_eq!(none, expected);
    let nothing = find(&[], "RPI-RP2").unwrap_err().to_string();
    assert!(nothing.starts_with("no boot drive with Board-ID RPI-RP2 is mounted: hold"), "{nothing}");
}

#[test]
fn of_two_drives_neither_is_guessed() {
    let root = tempfile::tempdir().unwrap();
    let all = ["a", "b"].map(|name| folder(root.path(), name, Some(RP2350)));
    let error = find(&all, "RP2350").unwrap_err().to_string();
    assert!(
        error.starts_with("2 boot drives with Board-ID RP2350 are mounted (") && error.contains("--drive"),
        "{error}"
    );
    assert!(all.iter().all(|folder| error.contains(&folder.display().to_string())), "{error}");
}

#[test]
fn a_folder_that_was_named_must_be_the_boards_drive() {
    let root = tempfile::tempdir().unwrap();
    let pico = folder(root.path(), "RPI-RP2", Some(RP2040));
    assert_eq!(open(&pico, "RPI-RP2").unwrap().info.board_id, "RPI-RP2");
    let other = open(&pico, "RP2350").unwrap_err().to_string();
    assert!(other.contains("(Board-ID RPI-RP2, Raspberry Pi RP2; this firmware is for RP2350)"), "{other}");
    let plain = folder(root.path(), "plain", None);
    let no_id = folder(root.path(), "no id", Some("Board-ID:\nModel: x\n"));
    let binary = folder(root.path(), "binary", None);
    fs::write(binary.join(INFO_FILE), [0xFF; 10_000]).unwrap();
    let is_folder = folder(root.path(), "folder", None);
    fs::create_dir(is_folder.join(INFO_FILE)).unwrap();
    for wrong in [plain, no_id, binary, is_folder, root.path().join("nowhere")] {
        let error = open(&wrong, "RPI-RP2").unwrap_err().to_string();
        assert!(error.starts_with(&format!("{} is no boot drive: its INFO_UF2.TXT", wrong.display())), "{error}");
    }
    let small = folder(root.path(), "small letters", None);
    fs::write(small.join("info_uf2.txt"), RP2350).unwrap();
    assert!(open(&small, "RP2350").is_ok());
}

#[test]
fn a_copy_is_whole_or_an_error() {
    let root = tempfile::tempdir().unwrap();
    let pico = folder(root.path(), "RPI-RP2", Some(RP2040));
    let drive = open(&pico, "RPI-RP2").unwrap();
    let uf2: Vec<u8> = (0..1024).map(|i| i as u8).collect();
    let copied = copy(&uf2, &drive, "firmware.uf2").unwrap();
    assert_eq!(copied, Copied { file: pico.join("firmware.uf2"), is_gone: false });
    assert_eq!(fs::read(&copied.file).unwrap(), uf2);
    // unplugged in between
    fs::remove_dir_all(&pico).unwrap();
    let error = copy(&uf2, &drive, "firmware.uf2").unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot copy the firmware to {}", copied.file.display())), "{error}");
}

/// A full drive takes the bytes into the cache or not at all; either way there is an error, and no word of success.
#[cfg(target_os = "linux")]
#[test]
fn a_drive_that_is_full_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let pico = folder(root.path(), "RPI-RP2", Some(RP2040));
    std::os::unix::fs::symlink("/dev/full", pico.join("firmware.uf2")).unwrap();
    let drive = open(&pico, "RPI-RP2").unwrap();
    assert!(matches!(copy(&[0; 1024], &drive, "firmware.uf2"), Err(DriveError::Copy { .. })));
}

/// A drive that takes so many bytes, and fails behind them: when they are written, or when they are waited for.
struct Failing {
    takes: usize,
    fails_at_sync: bool,
    taken: usize,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.fails_at_sync && self.taken + bytes.len() > self.takes {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.taken += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Failing {
    fn sync(&mut self) -> io::Result<()> {
        if self.taken > self.takes { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }
}

#[test]
fn a_drive_that_restarts_at_the_last_block_has_taken_all_and_one_that_goes_before_has_not() {
    let uf2 = [7; 4 * 512];
    let short = Duration::from_millis(20);
    for fails_at_sync in [false, true] {
        let drive = |takes| Failing { takes, fails_at_sync, taken: 0 };
        assert!(!send(&uf2, &mut drive(2048), || true, short).unwrap(), "all is well");
        // the drive is seen for a moment longer
        let looks = std::cell::Cell::new(0);
        let gone_after_a_while = || {
            looks.set(looks.get() + 1);
            looks.get() > 5
        };
        assert!(send(&uf2, &mut drive(3 * 512), gone_after_a_while, PATIENCE).unwrap());
        assert_eq!(looks.get(), 6);
        // still there: the error is one of writing
        assert!(send(&uf2, &mut drive(3 * 512), || false, short).is_err());
        // unplugged before the last block
        assert!(send(&uf2, &mut drive(2 * 512), || true, short).is_err());
    }
}
