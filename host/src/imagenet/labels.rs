//! The names of a network's classes, wherever they are.

use crate::run::read_labels;
use anyhow::{Context, ensure};
use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The class that TensorFlow's networks have before ImageNet's: none of them.
const BACKGROUND: &str = "background";
/// Bytes of a list of labels inside a file.
const MAX_LIST_BYTES: u64 = 4 << 20;

/// A list of labels: lines, or Keras' `imagenet_class_index.json` (`{"0": ["n01440764", "tench"], ...}`).
///
/// # Errors
/// When the file cannot be read, or is JSON of another form.
pub fn read(path: &Path) -> anyhow::Result<Vec<String>> {
    if path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("json")) {
        return read_labels(path);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let form = || {
        format!(
            "{}: expected Keras' form {{\"0\": [\"n01440764\", \"tench\"], ...}}, or a text file with a label a line",
            path.display()
        )
    };
    let index: BTreeMap<String, (String, String)> = serde_json::from_str(&text).with_context(form)?;
    let numbers = (0..index.len()).map(|class| index.get(&class.to_string()).map(|(_, label)| label.clone()));
    numbers.collect::<Option<_>>().with_context(form)
}

/// A list for a network of `classes`: with TensorFlow's class for nothing taken off or added where that makes it fit.
///
/// # Errors
/// When the list is of other classes; both numbers are named.
pub fn fitted(mut labels: Vec<String>, classes: usize) -> anyhow::Result<Vec<String>> {
    let found = labels.len();
    let has_background = labels.first().is_some_and(|label| label.eq_ignore_ascii_case(BACKGROUND));
    if found == classes + 1 && has_background {
        labels.remove(0);
    } else if found + 1 == classes && classes == 1001 && !has_background {
        labels.insert(0, BACKGROUND.to_owned());
    }
    ensure!(labels.len() == classes, "{found} labels for a network of {classes} classes");
    Ok(labels)
}

/// The list that a .tflite file with metadata holds: a text file in a zip archive at its end.
#[must_use]
pub fn of_tflite(file: &[u8]) -> Option<Vec<String>> {
    let archive = ZipArchive::from_slice(file).ok()?;
    let mut entries = archive.entries();
    while let Ok(Some(entry)) = entries.next_entry() {
        let path = String::from_utf8_lossy(entry.file_path().as_bytes()).to_ascii_lowercase();
        if !(path.contains("label") && path.ends_with(".txt")) || entry.uncompressed_size_hint() > MAX_LIST_BYTES {
            continue;
        }
        let data = archive.get_entry(entry.wayfinder()).ok()?;
        let mut text = String::new();
        match entry.compression_method() {
            CompressionMethod::STORE => data.data().take(MAX_LIST_BYTES).read_to_string(&mut text).ok()?,
            CompressionMethod::DEFLATE => {
                DeflateDecoder::new(data.data()).take(MAX_LIST_BYTES).read_to_string(&mut text).ok()?
            }
            _ => continue,
        };
        return Some(text.lines().map(str::to_owned).collect());
    }
    None
}

/// A list beside a network's file: `NAME.labels.txt` or `labels.txt`. One of other classes is not its own.
#[must_use]
pub fn beside(file: &Path, classes: usize) -> Option<(String, Vec<String>)> {
    let stem = file.file_stem()?.to_string_lossy().into_owned();
    [format!("{stem}.labels.txt"), "labels.txt".to_owned()].into_iter().find_map(|name| {
        let labels = read_labels(&file.with_file_name(&name)).ok()?;
        Some((name, fitted(labels, classes).ok()?))
    })
}

/// The labels of a network: those that are asked for, else the file's `own`, else a list beside it. Empty where there is none; the note
/// says what was taken or left out.
///
/// # Errors
/// When the list that is asked for is of other classes.
pub fn found(
    asked: &[String],
    own: Vec<String>,
    path: &Path,
    classes: usize,
) -> anyhow::Result<(Vec<String>, Option<String>)> {
    if !asked.is_empty() {
        let labels = fitted(asked.to_vec(), classes).context("the labels that were asked for")?;
        return Ok((labels, None));
    }
    let mut note = None;
    if !own.is_empty() {
        match fitted(own, classes) {
            Ok(labels) => return Ok((labels, None)),
            Err(error) => note = Some(format!("the file's own list is left out: {error}")),
        }
    }
    Ok(match beside(path, classes) {
        Some((name, labels)) => (labels, Some(format!("labels are those of {name}, which lies beside it"))),
        None => (Vec::new(), note),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize) -> Vec<String> {
        (0..count).map(|class| format!("class {class}")).collect()
    }

    #[test]
    fn the_class_for_nothing_comes_and_goes() {
        let mut with = vec!["Background".to_owned()];
        with.extend(numbered(1000));
        assert_eq!(fitted(with.clone(), 1000).unwrap(), numbered(1000));
        assert_eq!(fitted(with.clone(), 1001).unwrap(), with);
        let added = fitted(numbered(1000), 1001).unwrap();
        assert_eq!((added[0].as_str(), &added[1..]), ("background", &numbered(1000)[..]));
        let error = fitted(numbered(999), 1000).unwrap_err().to_string();
        assert!(error.contains("999") && error.contains("1000"), "{error}");
        assert!(fitted(numbered(10), 11).is_err(), "only ImageNet has such a class");
    }

    #[test]
    fn keras_class_index_is_read_in_the_order_of_its_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("imagenet_class_index.json");
        let entries: Vec<String> =
            (0..12).rev().map(|class| format!("\"{class}\": [\"n0\", \"class {class}\"]")).collect();
        std::fs::write(&file, format!("{{{}}}", entries.join(", "))).unwrap();
        assert_eq!(read(&file).unwrap(), numbered(12));
        std::fs::write(&file, r#"{"0": ["n0", "a"], "2": ["n0", "b"]}"#).unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("imagenet_class_index.json"));
        std::fs::write(&file, "[1]").unwrap();
        assert!(format!("{:#}", read(&file).unwrap_err()).contains("a label a line"));
    }

    #[test]
    fn labels_at_the_end_of_a_tflite_file_are_found() {
        // a stored entry, as the zip format has it
        let (name, text) = (b"probability_labels.txt", b"cat\ndog\n");
        let crc = 0x2a46_0ed3_u32; // not looked at
        let sizes = [crc.to_le_bytes(), 8_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat();
        let names = [22_u16.to_le_bytes(), 0_u16.to_le_bytes()].concat();
        let mut file = vec![0_u8; 100];
        let local = [b"PK\x03\x04\x14\0\0\0\0\0\0\0\0\0".as_slice(), &sizes, &names, name, text].concat();
        let central = [
            b"PK\x01\x02\x14\0\x14\0\0\0\0\0\0\0\0\0".as_slice(),
            &sizes,
            &names,
            &[0; 10],
            &0_u32.to_le_bytes(),
            name,
        ]
        .concat();
        let local_bytes = u32::try_from(local.len()).unwrap();
        let central_bytes = u32::try_from(central.len()).unwrap();
        let end = [
            b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(),
            &central_bytes.to_le_bytes(),
            &local_bytes.to_le_bytes(),
            &[0; 2],
        ]
        .concat();
        file.extend([local, central, end].concat());
        assert_eq!(of_tflite(&file), Some(vec!["cat".to_owned(), "dog".to_owned()]));
        assert_eq!(of_tflite(&[0; 300]), None);
    }
}
