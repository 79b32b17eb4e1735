//! Class names as text, one a line.

use super::DataError;
use super::blob::Blob;
use std::io::Read;
use std::path::Path;

/// Bytes of a label file: far more than names need.
const MAX_BYTES: u64 = 1 << 20;

/// Reads class names, one a line; blank lines at the end do not count.
pub(super) fn read(path: &Path) -> Result<Vec<String>, DataError> {
    read_blob(&Blob::file(path.to_owned()))
}

/// The same from wherever the file is.
pub(super) fn read_blob(file: &Blob) -> Result<Vec<String>, DataError> {
    let mut bytes = Vec::new();
    file.open()
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| DataError::Unreadable { path: file.path().to_owned(), source })?;
    parse(&bytes).map_err(|reason| DataError::LabelText { path: file.path().to_owned(), reason })
}

fn parse(bytes: &[u8]) -> Result<Vec<String>, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {MAX_BYTES} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| format!("not text ({e})"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
    let names: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
    match names.iter().position(String::is_empty) {
        Some(line) => Err(format!("line {} is empty", line + 1)),
        None if names.is_empty() => Err("there are no names in it".to_owned()),
        None => match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            Some((line, name)) => Err(format!("line {} repeats the name '{name}'", line + 1)),
            None => Ok(names),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_blank_ends_ignored() {
        assert_eq!(parse("\u{feff}cat\r\n dog \n\n".as_bytes()).unwrap(), ["cat", "dog"]);
    }

    #[test]
    fn what_is_no_list_of_names_is_refused() {
        assert!(parse(b"cat\n\ndog").unwrap_err().contains("line 2"));
        assert!(parse(b"cat\ndog\ncat").unwrap_err().contains("line 3 repeats the name 'cat'"));
        assert!(parse(b"\n \n").unwrap_err().contains("no names"));
        assert!(parse(&[0xff, 0xfe, 0]).unwrap_err().contains("not text"));
        assert!(parse(&vec![b'a'; 2 << 20]).unwrap_err().contains("larger"));
    }
}
