//! Networks and data sets of others that can be fetched: a small catalogue with checksums, downloads that go on where they were cut, and a
//! cache.

mod fetch;
mod http;
mod verify;

pub use self::fetch::{Progress, fetch, place};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;
use strsim::osa_distance;

/// The catalogue that this program brings.
const BUILT_IN: &str = include_str!("catalogue.toml");

/// What can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Networks and data sets.
    #[serde(rename = "entry")]
    pub entries: Vec<Entry>,
}

/// A network or a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What `ocelli models fetch` takes.
    pub name: String,
    /// A network, or data.
    pub kind: Kind,
    /// What it is for.
    pub task: String,
    /// Under which terms.
    pub licence: String,
    /// Where sizes and checksums are from.
    pub source: String,
    /// Its files, at least one.
    #[serde(rename = "file")]
    pub files: Vec<RemoteFile>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A data set, for `--data`.
    Data,
    /// A network, for `ocelli import`.
    Network,
}

/// A file that lies elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteFile {
    /// Its name here.
    pub name: String,
    /// Its bytes, where they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Where it lies; tried in this order.
    pub addresses: Vec<String>,
    /// The file of this archive (.tar.gz) that is wanted; it is put beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpack: Option<String>,
}

impl Entry {
    /// Bytes of all its files, where they are known.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

impl Catalogue {
    /// The catalogue that this program brings.
    ///
    /// # Errors
    /// Never, which a test proves.
    pub fn built_in() -> anyhow::Result<Self> {
        Self::parse(BUILT_IN).context("the built-in catalogue")
    }

    /// Reads a catalogue of one's own.
    ///
    /// # Errors
    /// When it cannot be read or is wrong; the error names the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{}: no catalogue", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let catalogue: Self = toml::from_str(text)?;
        for (i, entry) in catalogue.entries.iter().enumerate() {
            entry.check().with_context(|| format!("entry \"{}\"", entry.name))?;
            let twice = catalogue.entries.iter().take(i).any(|other| other.name == entry.name);
            ensure!(!twice, "two entries have the name \"{}\"", entry.name);
        }
        Ok(catalogue)
    }

    /// The entry of a name.
    ///
    /// # Errors
    /// Names the entries that there are, the nearest first.
    pub fn find(&self, name: &str) -> anyhow::Result<&Entry> {
        if let Some(entry) = self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name)) {
            return Ok(entry);
        }
        let mut names: Vec<&str> = self.entries.iter().map(|entry| entry.name.as_str()).collect();
        names.sort_by_cached_key(|other| osa_distance(name, other));
        bail!("the catalogue has no \"{name}\": it has {}", names.join(", "))
    }
}

impl Entry {
    fn check(&self) -> anyhow::Result<()> {
        ensure!(is_file_name(&self.name), "its name must be that of a folder");
        ensure!(!self.files.is_empty(), "it has no files");
        for file in &self.files {
            let name = &file.name;
            for name in [Some(name), file.unpack.as_ref()].into_iter().flatten() {
                ensure!(is_file_name(name), "\"{name}\" is no name of a file");
            }
            let is_digit = |digit: char| digit.is_ascii_digit() || ('a'..='f').contains(&digit);
            ensure!(
                file.sha256.len() == 64 && file.sha256.chars().all(is_digit),
                "{name}: sha256 must be 64 hexadecimal digits in lower case"
            );
            ensure!(!file.addresses.is_empty(), "{name} has no addresses");
            file.addresses.iter().try_for_each(|address| http::check_address(address))?;
        }
        Ok(())
    }
}

/// A name without folders in it, that is not hidden.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_is_right() {
        let catalogue = Catalogue::built_in().unwrap();
        for name in ["mnist", "fashion-mnist", "cifar10", "cifar100", "mobilenet-v2-1.0-onnx"] {
            let entry = catalogue.find(name).unwrap();
            assert!(entry.bytes().is_some() && !entry.licence.is_empty() && !entry.source.is_empty(), "{name}");
        }
        assert_eq!(catalogue.find("MNIST").unwrap().bytes(), Some(11_594_722)); // as torchvision and Keras show it
        let error = catalogue.find("cifar").unwrap_err().to_string();
        assert!(error.contains("no \"cifar\": it has cifar10, "), "{error}");
        for address in catalogue.entries.iter().flat_map(|e| &e.files).flat_map(|f| &f.addresses) {
            assert!(address.starts_with("https://"), "{address}");
        }
    }

    #[test]
    fn a_catalogue_cannot_write_elsewhere_nor_fetch_without_a_checksum() {
        let of = |name: &str, file: &str, sha256: &str, address: &str| {
            Catalogue::parse(&format!(
                "[[entry]]\nname = \"{name}\"\nkind = \"data\"\ntask = \"t\"\nlicence = \"l\"\nsource = \"s\"\n\
                 [[entry.file]]\nname = \"{file}\"\nsha256 = \"{sha256}\"\naddresses = [\"{address}\"]\n"
            ))
            .map_err(|error| format!("{error:#}"))
        };
        let sum = "0".repeat(64);
        of("a", "b", &sum, "https://example.org/b").unwrap();
        of("a", "b", &sum, "http://127.0.0.1:9/b").unwrap();
        assert!(of("a", "../b", &sum, "https://example.org/b").unwrap_err().contains("no name of a file"));
        assert!(of("..", "b", &sum, "https://example.org/b").unwrap_err().contains("that of a folder"));
        assert!(of("a", "b", "12", "https://example.org/b").unwrap_err().contains("64 hexadecimal digits"));
        for address in
            ["http://example.org/b", "ftp://example.org/b", "file:///etc/passwd", "http://127.0.0.1.example.org/"]
        {
            assert!(of("a", "b", &sum, address).unwrap_err().contains("https"), "{address}");
        }
    }
}
