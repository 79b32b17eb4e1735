//! Tensors: shapes, types, quantization, and the constants where they lie in the file.

use super::error::{TfliteError, short_name};
use super::flatbuffer::{Reader, Table, Tables};
use super::schema::{TensorType, buffer, model, quantization, subgraph, tensor};
use super::{Data, TfliteQuantization, TfliteTensor};
use std::borrow::Cow;

/// Most dimensions of a tensor; TensorFlow Lite's own operators take up to 6.
pub(super) const MAX_RANK: usize = 8;
/// Most elements of a tensor: far above any network here, far below what could overflow a size in bytes.
const MAX_ELEMENTS: usize = 0x7fff_ffff;

/// All tensors of a network, and what was mended.
pub(super) struct Tensors<'a> {
    pub list: Vec<TfliteTensor<'a>>,
    pub notes: Vec<String>,
}

/// Reads the tensors of `graph`. Those without data are all [`Data::Computed`]; whether something computes them is not known here.
pub(super) fn read<'a>(
    reader: &Reader<'a>,
    root: Table<'_, 'a>,
    graph: Table<'_, 'a>,
) -> Result<Tensors<'a>, TfliteError> {
    let buffers = root.tables(model::BUFFERS)?;
    let (mut list, mut stray) = (Vec::new(), 0_usize);
    for (index, table) in graph.tables(subgraph::TENSORS)?.all()?.enumerate() {
        let table = table?;
        let name = table.text(tensor::NAME)?;
        let wrong = |name: &str, reason| TfliteError::Tensor { index, name: short_name(name), reason };

        let kind = TensorType::from_code(table.number(tensor::TYPE, 0)?);
        let dimensions = table.numbers(tensor::SHAPE)?.unwrap_or_default();
        let signature = table.numbers(tensor::SHAPE_SIGNATURE)?.unwrap_or_default();
        let (shape, unknown_axes) = shape(&dimensions, &signature).map_err(|reason| wrong(&name, reason))?;

        let data = match buffer_of(table, buffers)? {
            Ok(buffer) => data(reader, table, buffer)?,
            Err(reason) => return Err(wrong(&name, reason)),
        };
        let mut read = TfliteTensor {
            name,
            shape,
            unknown_axes,
            kind,
            quantization: None,
            is_variable: table.flag(tensor::IS_VARIABLE)?,
            data,
        };
        check_size(&mut read).map_err(|reason| wrong(&read.name, reason))?;
        if let Some(numbers) = table.table(tensor::QUANTIZATION)? {
            stray += usize::from(quantize(&mut read, numbers, index)?);
        }
        list.push(read);
    }
    let notes = match stray {
        0 => Vec::new(),
        n => vec![format!("{n} biases with a stray quantized_dimension were read with their only dimension")],
    };
    Ok(Tensors { list, notes })
}

/// The dimensions, and the axes that are left open. An open batch is 1.
fn shape(dimensions: &[i32], signature: &[i32]) -> Result<(Vec<usize>, Vec<usize>), String> {
    if dimensions.len() > MAX_RANK {
        return Err(format!("has {} dimensions, at most {MAX_RANK} are read", dimensions.len()));
    }
    if !signature.is_empty() && signature.len() != dimensions.len() {
        return Err(format!("has {} dimensions but a signature of {}", dimensions.len(), signature.len()));
    }
    let (mut shape, mut unknown) = (Vec::with_capacity(dimensions.len()), Vec::new());
    for (axis, &size) in dimensions.iter().enumerate() {
        let open = size == -1 || signature.get(axis) == Some(&-1);
        if open && axis > 0 {
            unknown.push(axis);
        }
        let size = if size == -1 { 1 } else { size };
        shape.push(usize::try_from(size).map_err(|_| format!("has shape {dimensions:?}"))?);
    }
    let elements = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    match elements {
        Some(elements) if elements <= MAX_ELEMENTS => Ok((shape, unknown)),
        _ => Err(format!("has shape {dimensions:?}: more than {MAX_ELEMENTS} elements")),
    }
}

/// The buffer that a tensor names; a file without constants may leave out the empty buffer 0.
fn buffer_of<'r, 'a>(
    table: Table<'r, 'a>,
    buffers: Tables<'r, 'a>,
) -> Result<Result<Option<Table<'r, 'a>>, String>, TfliteError> {
    let index = table.number(tensor::BUFFER, 0_u32)?;
    let buffer = usize::try_from(index).map_or(Ok(None), |index| buffers.get(index))?;
    Ok(match buffer {
        None if index > 0 => Err(format!("names buffer {index}, but there are {}", buffers.len())),
        buffer => Ok(buffer),
    })
}

/// Where the bytes of a tensor lie. An empty buffer means that they are computed.
fn data<'a>(reader: &Reader<'a>, table: Table<'_, 'a>, buffer: Option<Table<'_, 'a>>) -> Result<Data<'a>, TfliteError> {
    if table.number(tensor::EXTERNAL_BUFFER, 0_u32)? != 0 {
        return Ok(Data::Unread("lies in another file"));
    }
    let Some(buffer) = buffer else { return Ok(Data::Computed) };
    // what does not fit an address is past the end of the file, too
    let offset = usize::try_from(buffer.number(buffer::OFFSET, 0_u64)?).unwrap_or(usize::MAX);
    let bytes = if offset > 1 {
        let size = usize::try_from(buffer.number(buffer::SIZE, 0_u64)?).unwrap_or(usize::MAX);
        reader.slice(offset, size, buffer::OFFSET.1)?
    } else {
        buffer.bytes(buffer::DATA)?.unwrap_or_default()
    };
    if bytes.is_empty() {
        return Ok(Data::Computed);
    }
    Ok(match table.table(tensor::SPARSITY)? {
        Some(_) => Data::Unread("is stored as a sparse tensor"),
        None => Data::Constant(Cow::Borrowed(bytes)),
    })
}

/// Holds the size of a constant to its shape and type.
fn check_size(tensor: &mut TfliteTensor<'_>) -> Result<(), String> {
    let Some(bytes) = tensor.constant().map(<[u8]>::len) else { return Ok(()) };
    let Some(bits) = tensor.kind.bits() else {
        tensor.data = Data::Unread("has elements without a fixed size");
        return Ok(());
    };
    if !tensor.unknown_axes.is_empty() {
        return Err("is a constant, yet its shape is left open".to_owned());
    }
    let expected = tensor.elements().checked_mul(bits).ok_or("is larger than this machine can address")?.div_ceil(8);
    if bytes != expected {
        return Err(format!("holds {bytes} bytes, but {} of shape {:?} are {expected}", tensor.kind, tensor.shape));
    }
    Ok(())
}

/// Reads the quantization of an integer tensor; says whether its axis was a stray one. Floats may carry the numbers of the training's
/// simulated quantization, which mean nothing to them.
fn quantize(tensor: &mut TfliteTensor<'_>, table: Table<'_, '_>, index: usize) -> Result<bool, TfliteError> {
    let Some((least, greatest)) = tensor.kind.integer_range() else { return Ok(false) };
    if table.number(quantization::DETAILS_TYPE, 0_u8)? != 0 {
        if tensor.data != Data::Computed {
            tensor.data = Data::Unread("is quantized by blocks or in a way of its own");
        }
        return Ok(false);
    }
    let scales = table.numbers::<f32>(quantization::SCALE)?.unwrap_or_default();
    if scales.is_empty() {
        return Ok(false); // least and greatest values only, of a network that is not quantized yet
    }
    let wrong = |reason| TfliteError::Tensor { index, name: short_name(&tensor.name), reason };
    let zero_points = table.numbers::<i64>(quantization::ZERO_POINT)?.filter(|list| !list.is_empty());
    let zero_points = zero_points.unwrap_or_else(|| vec![0; scales.len()]);
    if zero_points.len() != scales.len() {
        return Err(wrong(format!("has {} scales but {} zero points", scales.len(), zero_points.len())));
    }
    // a constant's dead channel has range 0; an activation's scale divides
    let is_constant = tensor.data != Data::Computed;
    let is_valid = |scale: f32| scale.is_finite() && (scale > 0.0 || (scale == 0.0 && is_constant));
    if let Some(scale) = scales.iter().find(|&&scale| !is_valid(scale)) {
        return Err(wrong(format!("has a scale of {scale}")));
    }
    if let Some(zero_point) = zero_points.iter().find(|&&zero_point| !(least..=greatest).contains(&zero_point)) {
        return Err(wrong(format!("has a zero point of {zero_point}, outside {}", tensor.kind)));
    }
    let (axis, stray) = match scales.len() {
        1 => (0, false),
        count => {
            let axis = table.number(quantization::QUANTIZED_DIMENSION, 0_i32)?;
            let fits = |&axis: &usize| tensor.shape.get(axis) == Some(&count);
            match usize::try_from(axis).ok().filter(fits) {
                Some(axis) => (axis, false),
                None if tensor.shape == [count] => (0, true),
                None => {
                    return Err(wrong(format!("has {count} scales for axis {axis} of shape {:?}", tensor.shape)));
                }
            }
        }
    };
    tensor.quantization = Some(TfliteQuantization { scales, zero_points, axis });
    Ok(stray)
}
