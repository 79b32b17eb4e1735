//! Where drives are mounted.

#[cfg(any(target_os = "linux", test))]
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that may be a USB drive: mount points of the file systems that such drives have, and what lies where systems mount them.
#[must_use]
pub fn mount_points() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    #[cfg(target_os = "linux")]
    folders.extend(parse_mountinfo(&fs::read("/proc/self/mountinfo").unwrap_or_default()));
    if cfg!(windows) {
        folders.extend(('A'..='Z').map(|letter| PathBuf::from(format!("{letter}:\\"))));
    } else {
        for top in ["/media", "/run/media", "/mnt", "/Volumes"] {
            for folder in subfolders(Path::new(top)) {
                // below a folder of the user's name, on most systems
                folders.extend(subfolders(&folder));
                folders.push(folder);
            }
        }
    }
    folders.sort();
    folders.dedup();
    folders
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Mount points of FAT file systems. Others are not looked at: a network's may stand still for minutes.
///
/// # Source
/// proc(5): the fifth field is the mount point, with blanks as octal numbers; the type is the first one behind the field `-`.
#[cfg(any(target_os = "linux", test))]
fn parse_mountinfo(text: &[u8]) -> Vec<PathBuf> {
    let line = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let dash = fields.iter().position(|field| field == b"-")?;
        let kind = fields.get(dash + 1)?;
        let is_fat = [&b"vfat"[..], b"msdos", b"exfat", b"fuseblk"].contains(kind);
        is_fat.then(|| unescape(fields.get(4)?)).flatten()
    };
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}

/// A path in which `\040` stands for a blank.
#[cfg(any(target_os = "linux", test))]
fn unescape(field: &[u8]) -> Option<PathBuf> {
    let (mut bytes, mut rest) = (Vec::new(), field);
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        if let Some(digits) = digits {
            let value = digits.iter().fold(0_u32, |value, digit| 8 * value + u32::from(digit - b'0'));
            bytes.push(u8::try_from(value).ok()?);
            rest = tail.get(3..).unwrap_or(&[]);
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    #[cfg(unix)]
    let path: OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
    #[cfg(not(unix))]
    let path = OsString::from(String::from_utf8(bytes).ok()?);
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fat_drives_are_found_whatever_their_names() {
        let text = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            36 35 98:0 / /media/me/RPI-RP2 rw,noatime master:1 shared:7 - vfat /dev/sdb1 rw,errors=continue\n\
            37 35 98:1 / /media/me/MY\\040PICO\\0112 rw - vfat /dev/sdc1 rw\n\
            38 35 0:50 / /far rw - nfs4 host:/far rw\n\
            39 35 98:2 / /media/vfat rw - ext4 vfat rw\n\
            a line of another kind\n\
            40 35 98:3 / /mnt/a\\777 rw - vfat /dev/sdd1 rw\n\
            41 35 98:3 / /mnt/b\\ rw - msdos /dev/sdd1 rw";
        let expected = ["/media/me/RPI-RP2", "/media/me/MY PICO\t2", "/mnt/b\\"].map(PathBuf::from);
        assert_eq!(parse_mountinfo(text), expected);
        assert_eq!(parse_mountinfo(b""), [] as [PathBuf; 0]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_computers_mounts_are_read() {
        let text = fs::read("/proc/self/mountinfo").unwrap();
        assert!(!text.is_empty());
        let found = mount_points();
        assert!(parse_mountinfo(&text).iter().all(|folder| found.contains(folder)));
    }
}
