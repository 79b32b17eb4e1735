//! Photo collections: labels for every photo below a folder, kept in a list beside the photos, and the search in that list.
//!
//! [`tag`] runs what is new or has changed and nothing else; [`Tags`] is the list; [`search`] finds photos by words of their labels.

mod journal;
mod list;
mod plan;
mod search;
mod tagger;
mod walk;

pub use self::journal::JOURNAL;
pub use self::list::{CSV, JSON, ModelId, Photo, Tag, Tags};
pub use self::plan::Anew;
pub use self::search::{Match, Unknown, search};
pub use self::tagger::{Event, Options, Outcome, tag};

use ring::digest::{SHA256, digest};
use std::fmt::Write;

/// The SHA-256 of bytes, in hexadecimal digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(digest(&SHA256, bytes).as_ref())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes whatever is written
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // FIPS 180-4's example, as `printf abc | sha256sum` prints it
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
