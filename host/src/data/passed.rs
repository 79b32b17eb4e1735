//! What lies beside a dataset's pictures and is passed over: it is said once, with its number.

use super::Skipped;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Files that are named of each kind.
const NAMED: usize = 3;
/// Endings of picture files, those of formats that are not read among them: such a file is a picture that cannot be used.
const PICTURES: [&str; 36] = [
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "jif", "gif", "bmp", "dib", "webp", "tif", "tiff", "pbm", "pgm",
    "ppm", "pnm", "pam", "avif", "heic", "heif", "jxl", "jp2", "svg", "ico", "tga", "psd", "dng", "cr2", "nef", "arw",
    "raw", "qoi", "exr", "hdr", "pcx",
];

/// Files that are passed over when a dataset is opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Files in class folders whose ending is no picture format's.
    pub not_pictures: Vec<PathBuf>,
    /// Pictures beside the class folders, which are of no class.
    pub without_class: Vec<PathBuf>,
    /// Entries of an archive whose names lead out of it.
    pub outside: Vec<PathBuf>,
}

/// Whether a file can be a picture, by the ending of its name; a name without one says nothing.
pub(super) fn may_be_picture(name: &Path) -> bool {
    let ending = name.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_none_or(|ending| PICTURES.contains(&ending.as_str()))
}

/// Whether a file is a picture, by the ending of its name.
pub(crate) fn is_picture(name: &Path) -> bool {
    name.extension().is_some() && may_be_picture(name)
}

impl PassedOver {
    /// Whether nothing was passed over.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds().iter().all(|(files, _)| files.is_empty())
    }

    /// The files of each kind, and why one or many are passed over.
    fn kinds(&self) -> [(&[PathBuf], [&'static str; 2]); 3] {
        [
            (
                &self.not_pictures,
                ["no picture, by the ending of its name", "no pictures, by the endings of their names"],
            ),
            (&self.without_class, ["beside the class folders, so of no class"; 2]),
            (&self.outside, ["its name leads out of the archive", "their names lead out of the archive"]),
        ]
    }

    /// A line for each kind: how many files, why, and the first of them.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |(files, why): (&[PathBuf], [&str; 2])| {
            let named: Vec<String> = files.iter().take(NAMED).map(|path| path.display().to_string()).collect();
            let more = if files.len() > NAMED { ", ..." } else { "" };
            let why = why[usize::from(files.len() > 1)];
            format!("{} passed over: {why} ({}{more})", count(files.len()), named.join(", "))
        };
        self.kinds().into_iter().filter(|(files, _)| !files.is_empty()).map(line).collect()
    }

    /// The same as entries of a list of files that could not be used: the first file of each kind stands for all.
    pub(super) fn skipped(&self) -> Vec<Skipped> {
        let entry = |(files, [why, _]): (&[PathBuf], [&str; 2])| {
            let first = files.first()?;
            let others = files.len() - 1;
            let more = if others > 0 { format!("; {} more like it", count(others)) } else { String::new() };
            Some(Skipped { path: first.clone(), reason: format!("{why}{more}") })
        };
        self.kinds().into_iter().filter_map(entry).collect()
    }
}

fn count(files: usize) -> String {
    if files == 1 { "1 file".to_owned() } else { format!("{files} files") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_by_the_ending_of_their_names() {
        for name in ["a.png", "A.JPEG", "x/photo.heic", "no-ending"] {
            assert!(may_be_picture(Path::new(name)), "{name}");
        }
        for name in ["notes.txt", "a.png.txt", "labels.csv", "x.jpg.part"] {
            assert!(!may_be_picture(Path::new(name)) && !is_picture(Path::new(name)), "{name}");
        }
        assert!(is_picture(Path::new("a.png")) && !is_picture(Path::new("README")));
    }

    #[test]
    fn each_kind_is_said_once_with_its_number() {
        let passed = PassedOver {
            not_pictures: (0..5).map(|i| format!("a/{i}.txt").into()).collect(),
            outside: vec!["../x.png".into()],
            ..PassedOver::default()
        };
        assert_eq!(
            passed.lines(),
            [
                "5 files passed over: no pictures, by the endings of their names (a/0.txt, a/1.txt, a/2.txt, ...)",
                "1 file passed over: its name leads out of the archive (../x.png)",
            ]
        );
        let skipped = passed.skipped();
        assert_eq!((skipped.len(), skipped[0].path.clone()), (2, "a/0.txt".into()));
        assert!(skipped[0].reason.ends_with("; 4 files more like it"), "{}", skipped[0].reason);
        assert!(PassedOver::default().is_empty() && PassedOver::default().lines().is_empty());
    }
}
