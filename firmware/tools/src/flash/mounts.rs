//! Where drives are mounted.

#[cfg(any(target_os = "linux", test))]
use std::ffi::OsString;
use std::path::PathBuf;

/// Folders that may be a USB drive. On Linux these are the mount points of file systems that such drives have, and no other folder is
/// touched: one of a network that is gone would hang. On Windows all letters, elsewhere what lies where systems mount drives.
#[must_use]
pub fn mount_points() -> Vec<PathBuf> {
    #[cfg(target_os = "linux")]
    let mut folders = parse_mountinfo(&std::fs::read("/proc/self/mountinfo").unwrap_or_default());
    #[cfg(windows)]
    let mut folders: Vec<PathBuf> = ('A'..='Z').map(|letter| PathBuf::from(format!("{letter}:\\"))).collect();
    #[cfg(not(any(target_os = "linux", windows)))]
    let mut folders: Vec<PathBuf> = {
        let subfolders = |top: &str| std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
        ["/Volumes", "/media", "/mnt"].into_iter().flat_map(subfolders).collect()
    };
    folders.sort();
    folders.dedup();
    folders
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
    fn of_this_computer_only_such_drives_are_looked_at() {
        let text = std::fs::read("/proc/self/mountinfo").unwrap();
        let mut expected = parse_mountinfo(&text);
        expected.sort();
        expected.dedup();
        assert_eq!(mount_points(), expected);
    }
}
