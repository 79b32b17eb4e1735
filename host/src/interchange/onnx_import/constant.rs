//! Constants of an ONNX file: initializers and what is computed from them.

use super::attributes::MAX_RANK;
use anyhow::{Context, bail, ensure};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::{StringStringEntryProto, TensorProto};

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Its dimensions; none for a single value.
    pub dims: Vec<usize>,
    /// Its elements, in memory order.
    pub data: Data,
    /// The integers that real elements come from, where a DequantizeLinear made them.
    pub stored: Option<Box<Stored>>,
}

/// Elements, in the type that covers those of the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Half, single and double precision.
    Floats(Vec<f32>),
    /// Integers and truth values, with their type in the file.
    Ints(Vec<i64>, DataType),
}

/// `real = scale * (q - zero_point)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The integers, as many as elements.
    pub ints: Vec<i64>,
    /// Their type.
    pub kind: DataType,
    /// One for all, or one for each index of `axis`.
    pub scales: Vec<f32>,
    /// As many as scales.
    pub zero_points: Vec<i64>,
    /// The dimension that several scales are for.
    pub axis: usize,
}

impl Constant {
    /// Real values.
    pub fn floats(dims: Vec<usize>, values: Vec<f32>) -> Self {
        Self { dims, data: Data::Floats(values), stored: None }
    }

    /// Whole numbers.
    pub fn ints(dims: Vec<usize>, values: Vec<i64>) -> Self {
        Self { dims, data: Data::Ints(values, DataType::Int64), stored: None }
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Floats(values) => values.len(),
            Data::Ints(values, _) => values.len(),
        }
    }

    /// The elements as real numbers; integers are refused.
    pub fn real(&self) -> anyhow::Result<&[f32]> {
        match &self.data {
            Data::Floats(values) => Ok(values),
            Data::Ints(_, kind) => bail!("has a constant of {}, floats are needed", type_name(*kind as i32)),
        }
    }

    /// The elements as whole numbers; real numbers are refused.
    pub fn whole(&self) -> anyhow::Result<&[i64]> {
        match &self.data {
            Data::Ints(values, _) => Ok(values),
            Data::Floats(_) => bail!("has a constant of floats, integers are needed"),
        }
    }

    /// The only element, as a real number.
    pub fn scalar(&self) -> Option<f32> {
        match &self.data {
            Data::Floats(values) if values.len() == 1 => values.first().copied(),
            _ => None,
        }
    }

    /// The element of each place of another tensor, `from(place)` being its place in this one.
    pub fn picked(&self, dims: Vec<usize>, len: usize, from: impl Fn(usize) -> usize) -> Self {
        let data = match &self.data {
            Data::Floats(values) => Data::Floats((0..len).map(|at| values[from(at)]).collect()),
            Data::Ints(values, kind) => Data::Ints((0..len).map(|at| values[from(at)]).collect(), *kind),
        };
        Self { dims, data, stored: None }
    }
}

/// Reads a tensor of the file; `folder` is where the file's other files lie. Sizes are compared before anything is made of them.
pub fn read(tensor: &TensorProto, folder: Option<&Path>) -> anyhow::Result<Constant> {
    ensure!(tensor.dims.len() <= MAX_RANK, "the constant '{}' has {} dimensions", tensor.name, tensor.dims.len());
    let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&n| usize::try_from(n).ok()).collect();
    let dims = dims.with_context(|| format!("the constant '{}' has a negative dimension", tensor.name))?;
    let count = elements(&dims).with_context(|| format!("the constant '{}' is too large", tensor.name))?;
    let kind = DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined);
    ensure!(tensor.segment.is_none(), "the constant '{}' is stored in segments: not supported", tensor.name);
    let needed = size_of(kind).and_then(|size| count.checked_mul(size));
    let needed = needed.with_context(|| {
        format!("the constant '{}' is of {}: not supported", tensor.name, type_name(tensor.data_type))
    })?;
    let outside_bytes;
    let mut raw = tensor.raw_data.as_slice();
    if tensor.data_location == Some(DataLocation::External as i32) {
        outside_bytes = outside(&tensor.external_data, needed, folder)
            .with_context(|| format!("the constant '{}' lies in another file", tensor.name))?;
        raw = &outside_bytes;
    }
    ensure!(
        raw.is_empty() || raw.len() == needed,
        "the constant '{}' has {} bytes for the shape {dims:?}; was the file copied completely?",
        tensor.name,
        raw.len()
    );
    let data = if raw.is_empty() { typed(tensor, kind) } else { packed(raw, kind) };
    let data = data.with_context(|| {
        format!("the constant '{}' is of {}: not supported", tensor.name, type_name(tensor.data_type))
    })?;
    let constant = Constant { dims, data, stored: None };
    ensure!(
        constant.len() == count,
        "the constant '{}' has {} values for the shape {:?}; was the file copied completely?",
        tensor.name,
        constant.len(),
        constant.dims
    );
    Ok(constant)
}

/// The number of elements, `None` when that is more than a file holds.
pub fn elements(dims: &[usize]) -> Option<usize> {
    let count = dims.iter().try_fold(1_usize, |product, &n| product.checked_mul(n))?;
    (count <= 1 << 40).then_some(count)
}

const fn size_of(kind: DataType) -> Option<usize> {
    match kind {
        DataType::Int8 | DataType::Uint8 | DataType::Bool => Some(1),
        DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16 => Some(2),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(4),
        DataType::Double | DataType::Int64 => Some(8),
        _ => None,
    }
}

/// Little-endian bytes.
fn packed(raw: &[u8], kind: DataType) -> Option<Data> {
    let half = |convert: fn(u16) -> f32| {
        Data::Floats(raw.chunks(2).map(|b| convert(b.try_into().map_or(0, u16::from_le_bytes))).collect())
    };
    let ints = |values: Vec<i64>| Data::Ints(values, kind);
    Some(match kind {
        DataType::Float => Data::Floats(raw.chunks(4).map(|b| b.try_into().map_or(0.0, f32::from_le_bytes)).collect()),
        DataType::Double => {
            Data::Floats(raw.chunks(8).map(|b| b.try_into().map_or(0.0, f64::from_le_bytes) as f32).collect())
        }
        DataType::Float16 => half(half_to_f32),
        DataType::Bfloat16 => half(|bits| f32::from_bits(u32::from(bits) << 16)),
        DataType::Int8 => ints(raw.iter().map(|&b| i64::from(b.cast_signed())).collect()),
        DataType::Uint8 | DataType::Bool => ints(raw.iter().map(|&b| i64::from(b)).collect()),
        DataType::Int16 => ints(raw.chunks(2).map(|b| i64::from(b.try_into().map_or(0, i16::from_le_bytes))).collect()),
        DataType::Uint16 => {
            ints(raw.chunks(2).map(|b| i64::from(b.try_into().map_or(0, u16::from_le_bytes))).collect())
        }
        DataType::Uint32 => {
            ints(raw.chunks(4).map(|b| i64::from(b.try_into().map_or(0, u32::from_le_bytes))).collect())
        }
        DataType::Int32 => ints(raw.chunks(4).map(|b| i64::from(b.try_into().map_or(0, i32::from_le_bytes))).collect()),
        DataType::Int64 => ints(raw.chunks(8).map(|b| b.try_into().map_or(0, i64::from_le_bytes)).collect()),
        _ => return None,
    })
}

/// The list that belongs to a type.
fn typed(tensor: &TensorProto, kind: DataType) -> Option<Data> {
    let in_i32 = || tensor.int32_data.iter();
    Some(match kind {
        DataType::Float => Data::Floats(tensor.float_data.clone()),
        DataType::Double => Data::Floats(tensor.double_data.iter().map(|&v| v as f32).collect()),
        DataType::Float16 => Data::Floats(in_i32().map(|&bits| half_to_f32(bits as u16)).collect()),
        DataType::Bfloat16 => Data::Floats(in_i32().map(|&bits| f32::from_bits((bits as u32) << 16)).collect()),
        DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16 | DataType::Bool | DataType::Int32 => {
            Data::Ints(in_i32().map(|&v| i64::from(v)).collect(), kind)
        }
        DataType::Int64 => Data::Ints(tensor.int64_data.clone(), kind),
        _ => return None,
    })
}

/// The value of a number in half precision.
pub fn half_to_f32(bits: u16) -> f32 {
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, u32::from(bits & 1023));
    let size = match exponent {
        0 => fraction as f32 * 2.0_f32.powi(-24),
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// The bytes of a constant in another file: of the folder of the ONNX file, or of a folder in it.
fn outside(entries: &[StringStringEntryProto], needed: usize, folder: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let entry = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
    let location = entry("location").context("which it does not name")?;
    let inside = Path::new(location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(inside && !location.is_empty(), "'{location}', which is not in the folder of the ONNX file: refused");
    let number =
        |key: &str| entry(key).map(str::parse::<u64>).transpose().with_context(|| format!("its '{key}' is no number"));
    let offset = number("offset")?.unwrap_or(0);
    if let Some(length) = number("length")? {
        ensure!(length == needed as u64, "of which it takes {length} bytes, but its shape needs {needed}");
    }
    let path: PathBuf = folder.context("and no folder is known to look for it")?.join(location);
    let mut file = File::open(&path).with_context(|| format!("{}: put it beside the ONNX file", path.display()))?;
    let there = file.metadata()?.len();
    let end = offset.checked_add(needed as u64).filter(|&end| end <= there);
    ensure!(end.is_some(), "{}, which has {there} bytes, fewer than are needed", path.display());
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; needed];
    file.read_exact(&mut bytes).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

/// The name of an element type.
pub fn type_name(kind: i32) -> String {
    match DataType::try_from(kind) {
        Ok(kind) => kind.as_str_name().to_lowercase(),
        Err(_) => format!("the unknown type {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_half_precision_are_read() {
        // IEEE 754-2008, binary16: 1, -2, the largest, the smallest normal and subnormal, infinity
        for (bits, value) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0400, 6.103_515_6e-5),
            (0x0001, 5.960_464_5e-8),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(half_to_f32(bits), value);
        }
        assert!(half_to_f32(0x7e00).is_nan());
    }

    #[test]
    fn a_shape_and_its_values_must_agree() {
        let tensor = |dims: &[i64], data_type: DataType, raw_data: Vec<u8>| TensorProto {
            name: "w".to_owned(),
            dims: dims.to_vec(),
            data_type: data_type as i32,
            raw_data,
            ..TensorProto::default()
        };
        let good = read(&tensor(&[2], DataType::Float, vec![0, 0, 128, 63, 0, 0, 0, 64]), None).unwrap();
        assert_eq!(good, Constant::floats(vec![2], vec![1.0, 2.0]));
        for (dims, kind, bytes, expected) in [
            (&[3][..], DataType::Float, 8, "has 8 bytes for the shape [3]"),
            (&[2], DataType::Float, 7, "has 7 bytes"),
            (&[2], DataType::Float, 0, "has 0 values for the shape [2]"),
            (&[-1], DataType::Float, 4, "negative"),
            (&[i64::MAX, 4], DataType::Float, 4, "too large"),
            (&[1 << 39], DataType::Float, 4, "has 4 bytes"),
            (&[1], DataType::Complex64, 8, "complex64: not supported"),
        ] {
            let error = format!("{:#}", read(&tensor(dims, kind, vec![0; bytes]), None).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn data_of_other_files_is_read_from_the_folder_only() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), [9, 1, 2, 3]).unwrap();
        let entry = |key: &str, value: &str| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
        let tensor = |location: &str, offset: &str, dims: i64| TensorProto {
            dims: vec![dims],
            data_type: DataType::Int8 as i32,
            data_location: Some(DataLocation::External as i32),
            external_data: vec![entry("location", location), entry("offset", offset)],
            ..TensorProto::default()
        };
        let read = |tensor: &TensorProto| read(tensor, Some(folder.path())).map_err(|e| format!("{e:#}"));
        assert_eq!(read(&tensor("data", "1", 3)).unwrap().whole().unwrap(), [1, 2, 3]);
        for (location, offset, dims, expected) in [
            ("../data", "0", 1, "refused"),
            ("/etc/passwd", "0", 1, "refused"),
            ("missing", "0", 1, "put it beside the ONNX file"),
            ("data", "2", 3, "has 4 bytes, fewer than are needed"),
            ("data", "-1", 3, "'offset' is no number"),
            ("data", "18446744073709551615", 3, "fewer than are needed"),
            ("data", "0", 1 << 40, "fewer than are needed"),
        ] {
            let error = read(&tensor(location, offset, dims)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
