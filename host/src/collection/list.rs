//! The list of a collection's photos with their labels: `tags.json`, and `tags.csv` for spreadsheets.

use crate::files::write_atomically_with;
use crate::report::evaluation::quoted;
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

/// The name of the list.
pub const JSON: &str = "tags.json";
/// The name of the table.
pub const CSV: &str = "tags.csv";
/// The version of the list's format.
const VERSION: u32 = 1;

/// A label with its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tag {
    /// The model's name of the class.
    pub label: String,
    /// Its probability, 0 to 1.
    pub score: f32,
}

/// A photo of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Photo {
    /// The file as seen from the folder of the photos, with `/` between the parts.
    pub path: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// When the file was changed last, in microseconds since 1970.
    pub modified: i64,
    /// SHA-256 of the file; empty when it could not be read.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The likeliest labels, the best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Tag>,
    /// Why there are no labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which model made a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelId {
    /// As the command was given it.
    pub name: String,
    /// SHA-256 of its file.
    pub sha256: String,
}

/// The list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tags {
    /// The format's version.
    version: u32,
    /// The folder of the photos as seen from the folder of the list.
    pub folder: String,
    /// The model.
    pub model: ModelId,
    /// Labels kept of each photo.
    pub top: usize,
    /// All labels that the model has.
    pub labels: Vec<String>,
    /// Photos with labels, in the order of their paths.
    pub photos: Vec<Photo>,
    /// Photos that could not be read or decoded, in the order of their paths.
    pub corrupt: Vec<Photo>,
}

impl Tags {
    /// An empty list.
    #[must_use]
    pub fn new(folder: String, model: ModelId, top: usize, labels: Vec<String>) -> Self {
        Self { version: VERSION, folder, model, top, labels, photos: Vec::new(), corrupt: Vec::new() }
    }

    /// Adds photos and puts all in order.
    pub fn extend(&mut self, photos: impl IntoIterator<Item = Photo>) {
        for photo in photos {
            if photo.reason.is_some() { &mut self.corrupt } else { &mut self.photos }.push(photo);
        }
        self.photos.sort_by(|a, b| a.path.cmp(&b.path));
        self.corrupt.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Reads the list in a folder; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or of another version; the error names the file.
    pub fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let path = folder.join(JSON);
        let shown = path.display();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
        };
        let tags: Self = serde_json::from_reader(BufReader::new(file)).with_context(|| {
            format!("{shown} is damaged, or no list of tags: make it anew with `ocelli tag --anew`, or remove it")
        })?;
        ensure!(
            tags.version == VERSION,
            "{shown} is of version {}, this ocelli writes version {VERSION}: make it anew with `ocelli tag --anew`",
            tags.version
        );
        Ok(Some(tags))
    }

    /// Writes list and table into a folder, a photo a line.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        write_atomically_with(&folder.join(JSON), |out| self.write_json(out))?;
        write_atomically_with(&folder.join(CSV), |out| self.write_csv(out))
    }

    fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{{\n\"version\": {},\n\"folder\": {},", self.version, text(&self.folder)?)?;
        writeln!(out, "\"model\": {},\n\"top\": {},", text(&self.model)?, self.top)?;
        writeln!(out, "\"labels\": {},", text(&self.labels)?)?;
        for (name, photos, end) in [("photos", &self.photos, ","), ("corrupt", &self.corrupt, "")] {
            writeln!(out, "\"{name}\": [")?;
            for (i, photo) in photos.iter().enumerate() {
                writeln!(out, "{}{}", text(photo)?, if i + 1 < photos.len() { "," } else { "" })?;
            }
            writeln!(out, "]{end}")?;
        }
        writeln!(out, "}}")
    }

    /// A line a label, the best first; of a corrupt photo one line with the reason.
    fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "path,label,score,reason")?;
        for photo in &self.photos {
            for Tag { label, score } in &photo.labels {
                writeln!(out, "{},{},{score:.6},", quoted(&photo.path), quoted(label))?;
            }
        }
        for photo in &self.corrupt {
            writeln!(out, "{},,,{}", quoted(&photo.path), quoted(photo.reason.as_deref().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// A value as JSON in one line.
pub(super) fn text<T: Serialize + ?Sized>(value: &T) -> io::Result<String> {
    Ok(serde_json::to_string(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Tags {
        let photo = |path: &str| Photo {
            path: path.to_owned(),
            bytes: 7,
            modified: 1_700_000_000_123_456,
            sha256: "00ff".to_owned(),
            labels: vec![],
            reason: None,
        };
        let tag = |label: &str, score| Tag { label: label.to_owned(), score };
        let model = ModelId { name: "runs/mine".to_owned(), sha256: "ab".to_owned() };
        let mut tags = Tags::new(".".to_owned(), model, 2, vec!["cat, tabby".to_owned(), "dog".to_owned()]);
        tags.extend([
            Photo { labels: vec![tag("dog", 0.75), tag("cat, tabby", 0.25)], ..photo("z \"2\".png") },
            Photo { labels: vec![tag("dog", 1.0)], ..photo("a/1.png") },
            Photo { reason: Some("truncated, they say".to_owned()), ..photo("b.jpg") },
        ]);
        tags
    }

    #[test]
    fn a_list_is_read_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Tags::read(folder.path()).unwrap().is_none());
        list().write(folder.path()).unwrap();
        assert_eq!(Tags::read(folder.path()).unwrap().unwrap(), list());
        let table = std::fs::read_to_string(folder.path().join(CSV)).unwrap();
        assert_eq!(
            table,
            "path,label,score,reason\na/1.png,dog,1.000000,\n\"z \"\"2\"\".png\",dog,0.750000,\n\
             \"z \"\"2\"\".png\",\"cat, tabby\",0.250000,\nb.jpg,,,\"truncated, they say\"\n"
        );
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JSON);
        let refused = |text: &str| {
            std::fs::write(&path, text).unwrap();
            format!("{:#}", Tags::read(folder.path()).unwrap_err())
        };
        list().write(folder.path()).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for text in ["", "[]", &good[..good.len() / 2], &good.replace("\"top\": 2", "\"top\": -2")] {
            let error = refused(text);
            assert!(error.contains("tags.json is damaged") && error.contains("--anew"), "{error}");
        }
        assert!(refused(&good.replace("\"version\": 1", "\"version\": 9")).contains("is of version 9"));
    }
}
