//! A dataset as a table: a CSV file with the columns `path`, `label` and, if it is divided, `split`.

use super::blob::Blob;
use super::folders::{Set, split_of};
use super::items::Picture;
use super::packed::{Row, sets};
use super::{DataError, Found, Split};
use csv_core::{ReadFieldResult, Reader};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of a table.
const MAX_BYTES: u64 = 1 << 30;
/// Bytes of a field.
const MAX_FIELD_BYTES: usize = 1 << 16;

/// Reads the table at `path`; paths in it are meant from its own folder.
pub(super) fn find(path: &Path) -> Found<Set> {
    let wrong = |reason: String| DataError::Table { path: path.to_owned(), reason };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| DataError::Unreadable { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(DataError::TooLarge { path: path.to_owned(), bytes: bytes.len() as u64, limit: MAX_BYTES });
    }
    let mut records = parse(&bytes).map_err(wrong)?.into_iter();
    let Some((_, header)) = records.next() else { return Ok(None) };
    let column = |names: &[&str]| header.iter().position(|name| names.contains(&name.trim().to_lowercase().as_str()));
    let missing = |what: &str| {
        wrong(format!(
            "its first line has no column \"{what}\" (it says {}){}",
            header.join(","),
            separator_hint(&header)
        ))
    };
    let file = column(&["path", "file", "filename", "image"]).ok_or_else(|| missing("path"))?;
    let label = column(&["label", "class"]).ok_or_else(|| missing("label"))?;
    let split = column(&["split", "set"]);
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut rows = Vec::new();
    for (line, record) in records {
        if record.iter().all(String::is_empty) {
            continue;
        }
        let field = |column: usize, what: &str| match record.get(column).map(|field| field.trim()) {
            Some(field) if !field.is_empty() => Ok(field),
            _ => Err(wrong(format!("line {line} has no {what}"))),
        };
        let (file, class) = (field(file, "path")?, field(label, "label")?);
        let split = match split.and_then(|column| record.get(column)).map(|field| field.trim()) {
            None | Some("") => Split::Train,
            Some(name) => split_of(name).ok_or_else(|| {
                wrong(format!("line {line} has the split \"{name}\": write train, validation or test"))
            })?,
        };
        let picture = Picture::File(Blob::file(folder.join(file)));
        rows.push(Row { split, class: class.to_owned(), name: file.to_owned(), picture });
    }
    if rows.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    sets(path, rows).map(Some)
}

/// What to do when the columns of a header are not told apart by commas.
fn separator_hint(header: &[String]) -> String {
    let [only] = header else { return String::new() };
    let other =
        [(';', "a semicolon"), ('\t', "a tab"), ('|', "a bar")].into_iter().find(|(sign, _)| only.contains(*sign));
    other.map_or_else(String::new, |(_, name)| {
        format!(": its columns are separated by {name}, and must be by a comma: save it as CSV with commas")
    })
}

/// The records with the line on which each begins, from 1.
fn parse(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, String> {
    let mut reader = Reader::new();
    let mut rest = bytes;
    let mut buffer = vec![0; MAX_FIELD_BYTES];
    let (mut records, mut record, mut filled) = (Vec::new(), Vec::new(), 0);
    let mut line = reader.line();
    loop {
        let (result, read, written) = reader.read_field(rest, &mut buffer[filled..]);
        rest = &rest[read..];
        filled += written;
        match result {
            ReadFieldResult::InputEmpty => {} // the parser wants to see the end: an empty input
            ReadFieldResult::OutputFull => {
                return Err(format!("line {line} has a field of more than {MAX_FIELD_BYTES} bytes"));
            }
            ReadFieldResult::Field { record_end } => {
                let text = std::str::from_utf8(&buffer[..filled]);
                record.push(text.map_err(|e| format!("line {line} is not UTF-8 text ({e})"))?.to_owned());
                filled = 0;
                if record_end {
                    records.push((line, std::mem::take(&mut record)));
                    line = reader.line();
                }
            }
            ReadFieldResult::End => return Ok(records),
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
