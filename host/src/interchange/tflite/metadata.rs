//! What a file says beside its network: our own entries, and TensorFlow's normalization of pixels.

use super::TfliteError;
use super::flatbuffer::{Reader, Table};
use super::schema;

/// The bytes of all metadata, by name.
fn entries<'a>(root: Table<'_, 'a>) -> Result<Vec<(String, &'a [u8])>, TfliteError> {
    let buffers = root.tables(schema::model::BUFFERS)?;
    let mut found = Vec::new();
    for entry in root.tables(schema::model::METADATA)?.all()? {
        let entry = entry?;
        let name = entry.text(schema::metadata::NAME)?;
        let index = entry.number(schema::metadata::BUFFER, 0_u32)?;
        if !name.starts_with(schema::METADATA_PREFIX) && name != schema::TENSORFLOW_METADATA {
            continue;
        }
        let Some(buffer) = usize::try_from(index).ok().map(|index| buffers.get(index)).transpose()?.flatten() else {
            continue;
        };
        found.push((name, buffer.bytes(schema::buffer::DATA)?.unwrap_or_default()));
    }
    Ok(found)
}

/// The metadata that this project's files have, by name without `ocelli.`.
pub(super) fn own(reader: &Reader<'_>, root: Table<'_, '_>) -> Result<Vec<(String, String)>, TfliteError> {
    let mut own = Vec::new();
    for (name, text) in entries(root)? {
        let Some(key) = name.strip_prefix(schema::METADATA_PREFIX) else { continue };
        reader.charge(text.len())?; // it is copied
        let readable = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
        own.push((key.to_owned(), String::from_utf8_lossy(text).chars().map(readable).collect()));
    }
    Ok(own)
}

/// Mean and deviation of the input's pixels of 0 to 255 in TensorFlow's metadata. Broken metadata are as none: the network is whole.
///
/// # Source
/// `tensorflow/lite/schema/metadata_schema.fbs`, `NormalizationOptions`.
pub(super) fn normalization(reader: &Reader<'_>, root: Table<'_, '_>) -> Result<Option<[Vec<f32>; 2]>, TfliteError> {
    for (name, bytes) in entries(root)? {
        if name == schema::TENSORFLOW_METADATA {
            reader.charge(bytes.len())?; // it is read again
            return Ok(of_input(bytes).ok().flatten());
        }
    }
    Ok(None)
}

fn of_input(bytes: &[u8]) -> Result<Option<[Vec<f32>; 2]>, TfliteError> {
    let reader = Reader::new(bytes);
    let subgraphs = reader.root()?.tables(schema::model_metadata::SUBGRAPH_METADATA)?;
    let Some(subgraph) = subgraphs.get(0)? else { return Ok(None) };
    let Some(input) = subgraph.tables(schema::subgraph_metadata::INPUT_TENSOR_METADATA)?.get(0)? else {
        return Ok(None);
    };
    for unit in input.tables(schema::tensor_metadata::PROCESS_UNITS)?.all()? {
        let unit = unit?;
        if unit.number(schema::process_unit::OPTIONS_TYPE, 0_u8)? != schema::NORMALIZATION_OPTIONS {
            continue;
        }
        let Some(options) = unit.table(schema::process_unit::OPTIONS)? else { continue };
        let mean = options.numbers(schema::normalization::MEAN)?.unwrap_or_default();
        let std = options.numbers(schema::normalization::STD)?.unwrap_or_default();
        return Ok(Some([mean, std]));
    }
    Ok(None)
}
