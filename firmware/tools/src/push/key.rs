//! The key that models are signed by: a text file with the 64 hexadecimal digits of an ed25519 secret key (RFC 8032).

use ocelli_app::update::Signature;
use ocelli_app::update::signature::{public_key, sign};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes of a key, secret or public.
const BYTES: usize = 32;
/// Longest key file that is read.
const MAX_FILE_BYTES: usize = 4096;

/// A secret key. Its debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; BYTES]);

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey of {}", self.public_hex())
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
    /// There is a file already.
    #[error("{} is there already: a key is not replaced, for devices that know it take no other; choose another name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no key.
    #[error("{} holds no key: it must have 64 hexadecimal digits and nothing else (`ocelli push --new-key FILE` makes one)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a key: {reason}")]
    Random {
        /// Why.
        reason: String,
    },
}

impl SecretKey {
    /// Makes a key from the system's random numbers and writes it to a new file that only its owner may read.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).map_err(|error| KeyError::Random { reason: error.to_string() })?;
        let failed = |error| KeyError::File { path: path.to_owned(), error };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = NamedTempFile::new_in(folder).map_err(failed)?; // private from the start
        writeln!(file, "{}", hex(&bytes)).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist_noclobber(path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.to_owned() },
            _ => failed(error.error),
        })?;
        Ok(Self(bytes))
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it cannot be read or holds no key.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let bytes = fs::read(path).map_err(|error| KeyError::File { path: path.to_owned(), error })?;
        let text = str::from_utf8(bytes.get(..MAX_FILE_BYTES.min(bytes.len())).unwrap_or(&[])).unwrap_or("");
        parse(text.trim()).map(Self).ok_or_else(|| KeyError::NoKey { path: path.to_owned() })
    }

    /// Signs a model file.
    #[must_use]
    pub fn sign(&self, file: &[u8]) -> Signature {
        sign(&self.0, file)
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public(&self) -> [u8; BYTES] {
        public_key(&self.0).0
    }

    /// The public key in hexadecimal digits: what a firmware is built with (`OCELLI_MODEL_KEY`).
    #[must_use]
    pub fn public_hex(&self) -> String {
        hex(&self.public())
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a text takes anything
        text
    })
}

fn parse(text: &str) -> Option<[u8; BYTES]> {
    if text.len() != 2 * BYTES || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = SecretKey::create(&path).unwrap();
        assert_eq!(SecretKey::read(&path).unwrap(), key);
        assert!(matches!(SecretKey::create(&path), Err(KeyError::Exists { .. })));
        assert_eq!(SecretKey::read(&path).unwrap(), key);
        let other = SecretKey::create(&dir.path().join("other")).unwrap();
        assert_ne!(key, other);
        assert!(matches!(SecretKey::create(&dir.path().join("no/key")), Err(KeyError::File { .. })));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(!format!("{key:?}").contains(text.trim()));
    }

    /// RFC 8032, section 7.1, test 3.
    #[test]
    fn a_key_signs_as_the_rfc_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "C5AA8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7\r\n").unwrap();
        let key = SecretKey::read(&path).unwrap();
        assert_eq!(key.public_hex(), "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025");
        assert!(hex(&key.sign(&[0xAF, 0x82])).starts_with("6291d657deec24024827e69c3abe01a3"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let digits = "0".repeat(64);
        let wrong = [
            "",
            "00",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replacen('0', "g", 1),
            &format!("+{}", &digits[1..]),
        ];
        for text in wrong {
            fs::write(&path, text).unwrap();
            let error = SecretKey::read(&path).unwrap_err().to_string();
            assert!(error.contains("holds no key") && error.contains("--new-key"), "{text}: {error}");
        }
        fs::write(&path, [0xFF; 64]).unwrap();
        assert!(matches!(SecretKey::read(&path), Err(KeyError::NoKey { .. })));
        assert!(matches!(SecretKey::read(&dir.path().join("none")), Err(KeyError::File { .. })));
    }
}
